//! Which tasks a request is about: the same query parameters wherever tasks are listed or counted.

use taskhook_core::State;

use crate::http::fields::parse_instant;
use crate::http::list::Query;
use crate::http::problem::{Problem, hint};
use crate::store::read::TaskFilter;

/// The names of the parameters.
pub(super) const NAMES: [&str; 5] = ["state", "queue", "name", "label", "created_after"];

/// The filter that a query asks for; without any of its parameters it lets every task through.
///
/// # Errors
/// If a value cannot be read.
pub(super) fn of(query: &Query) -> Result<TaskFilter, Problem> {
    let mut filter = TaskFilter {
        name: query.one("name")?.map(String::from),
        queue: query.one("queue")?.map(String::from),
        ..TaskFilter::default()
    };
    for name in query.all("state").flat_map(|states| states.split(',')) {
        let state = State::from_name(name).ok_or_else(|| {
            let states = State::ALL.map(State::name);
            let hint = hint(name, &states);
            Problem::bad_query(format!("{name:?} is no state{hint}; the states are {}", states.join(", ")))
        })?;
        filter.states.push(state);
    }
    for label in query.all("label") {
        let (key, value) =
            label.split_once(':').ok_or_else(|| Problem::bad_query("label must be key:value"))?;
        filter.labels.push((key.into(), value.into()));
    }
    if let Some(text) = query.one("created_after")? {
        filter.created_after = Some(parse_instant(text).map_err(Problem::bad_query)?);
    }
    Ok(filter)
}
