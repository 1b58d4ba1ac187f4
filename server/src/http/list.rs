//! What all lists share: `limit`, `cursor`, and query parameters by name.

use crate::http::cursor;
use crate::http::problem::{Problem, hint};

/// Rows of a page where none are asked for.
const LIMIT: usize = 100;

/// Most rows of a page.
const LIMIT_MAX: usize = 1_000;

/// The query of a request, read once: a parameter that nobody asks for is an error, not a filter that is
/// quietly left out.
pub(super) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Reads the pairs of a query.
    pub(super) fn new(pairs: Vec<(String, String)>, known: &[&str]) -> Result<Query, Problem> {
        for (name, _) in &pairs {
            if !known.contains(&name.as_str()) {
                let hint = hint(name, known);
                return Err(Problem::bad_query(format!("the parameter {name:?} is not known here{hint}")));
            }
        }
        Ok(Query { pairs })
    }

    /// The value of a parameter that may be given once.
    pub(super) fn one(&self, name: &str) -> Result<Option<&str>, Problem> {
        let mut values = self.all(name);
        let first = values.next();
        match values.next() {
            Some(_) => Err(Problem::bad_query(format!("the parameter {name:?} may be given only once"))),
            None => Ok(first),
        }
    }

    /// All values of a parameter.
    pub(super) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// How many rows a page has.
    pub(super) fn limit(&self) -> Result<usize, Problem> {
        self.number("limit", LIMIT)
    }

    /// A number from 1 to 1,000.
    pub(super) fn number(&self, name: &str, default: usize) -> Result<usize, Problem> {
        let Some(text) = self.one(name)? else { return Ok(default) };
        let number = text.parse().ok().filter(|number| (1..=LIMIT_MAX).contains(number));
        number.ok_or_else(|| Problem::bad_query(format!("{name} must be from 1 to 1000")))
    }

    /// The name behind which a page of things with names begins.
    pub(super) fn name_cursor(&self) -> Result<Option<String>, Problem> {
        let Some(cursor) = self.one("cursor")? else { return Ok(None) };
        cursor::read_name(cursor).map(Some).ok_or_else(not_a_cursor)
    }

    /// How many rows, and behind which.
    pub(super) fn page(&self) -> Result<(usize, Option<i64>), Problem> {
        let limit = self.limit()?;
        let cursor = self.one("cursor")?;
        let cursor = cursor.map(|text| cursor::read_row(text).ok_or_else(not_a_cursor)).transpose()?;
        Ok((limit, cursor))
    }
}

fn not_a_cursor() -> Problem {
    Problem::bad_query("this is no cursor of a list; leave it out")
}
