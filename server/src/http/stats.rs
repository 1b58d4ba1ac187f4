//! `/v1/stats`: counts.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query as RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use taskhook_core::Timestamp;
use utoipa::ToSchema;

use crate::http::list::Query;
use crate::http::problem::{Problem, hint};
use crate::http::{App, filter, respond};
use crate::store::read::{GroupBy, TaskGroup, TaskStats};

/// How long tasks are looked at for one answer.
const TIME: Duration = Duration::from_secs(2);

/// What tasks may be told apart by.
const WORDS: [&str; 4] = ["queue", "name", "state", "code"];

/// Tasks, counted.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TaskStatsBody {
    /// One row for each group that has a task, in the order of queue, name, state and code.
    pub data: Vec<TaskGroupBody>,
    /// When counting began.
    pub as_of: String,
    /// Whether this is all: false where 2 s were not enough, or where there are more than 1,000 groups.
    pub complete: bool,
}

/// The tasks of a group. Of `queue`, `name`, `state` and `code` it has those that `by` asks for.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TaskGroupBody {
    /// Their queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Their kind of work; null: they have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub name: Option<Option<String>>,
    /// Their state.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "queued")]
    pub state: Option<&'static str>,
    /// The code of what they wait for; null: they have ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "capacity")]
    pub code: Option<Option<&'static str>>,
    /// How many they are.
    pub count: u64,
    /// The one that was created first; null where it was not reached in time.
    pub oldest: Option<OldestBody>,
    /// The ids of the newest, at most three.
    pub sample: Vec<String>,
}

/// The oldest task of a group.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OldestBody {
    /// Its id.
    pub id: String,
    /// When it was created.
    pub created_at: String,
    /// How long ago that is.
    pub age_seconds: f64,
}

/// Counts tasks, with the oldest and the three newest of each group.
///
/// `by` says what tells them apart; the filters are those of the list. Counts by queue and state are those that the
/// store keeps: whole and at once, however many tasks there are. So is the code, but for tasks that are queued: each of
/// those is looked at. By name, or with another filter than queue and state, all tasks are looked at, the newest first.
/// Looking ends after 2 s; then `complete` is false, the counts are those of the tasks looked at, and `oldest` is null
/// where it was not reached.
#[utoipa::path(
    get, path = "/v1/stats/tasks", tag = "tasks",
    params(
        ("by" = Option<String>, Query, description = "One or more of `queue`, `name`, `state` and `code`, with commas between them. Default: `queue,state`"),
        ("state" = Option<String>, Query, description = "One or more states, with commas between them"),
        ("queue" = Option<String>, Query), ("name" = Option<String>, Query),
        ("label" = Option<String>, Query, description = "`key:value`; may be given several times"),
        ("created_after" = Option<String>, Query, description = "RFC 3339"),
    ),
    responses((status = 200, body = TaskStatsBody), Problem)
)]
pub(super) async fn tasks(
    State(app): State<Arc<App>>,
    RawQuery(pairs): RawQuery<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let query = Query::new(pairs, &[&filter::NAMES[..], &["by"]].concat())?;
    let by = group_by(query.one("by")?.unwrap_or("queue,state"))?;
    let filter = filter::of(&query)?;
    let as_of = (app.clock)();
    let stats = app.reader.task_stats(filter, by, TIME).await?;
    Ok(respond::json(StatusCode::OK, &TaskStatsBody::of(stats, by, as_of)))
}

fn group_by(text: &str) -> Result<GroupBy, Problem> {
    let mut by = GroupBy::default();
    for word in text.split(',') {
        let asked = match word {
            "queue" => &mut by.queue,
            "name" => &mut by.name,
            "state" => &mut by.state,
            "code" => &mut by.code,
            _ => {
                let hint = hint(word, &WORDS);
                let detail = format!(
                    "tasks cannot be told apart by {word:?}{hint}; by is one or more of {}",
                    WORDS.join(", ")
                );
                return Err(Problem::bad_query(detail));
            }
        };
        if std::mem::replace(asked, true) {
            return Err(Problem::bad_query(format!("by has {word:?} twice")));
        }
    }
    Ok(by)
}

impl TaskStatsBody {
    fn of(stats: TaskStats, by: GroupBy, as_of: Timestamp) -> TaskStatsBody {
        let data = stats.groups.into_iter().map(|group| TaskGroupBody::of(group, by, as_of)).collect();
        TaskStatsBody { data, as_of: as_of.to_string(), complete: stats.complete }
    }
}

impl TaskGroupBody {
    fn of(group: TaskGroup, by: GroupBy, as_of: Timestamp) -> TaskGroupBody {
        TaskGroupBody {
            queue: group.queue,
            name: by.name.then_some(group.name),
            state: group.state.map(taskhook_core::State::name),
            code: by.code.then_some(group.code),
            count: group.count,
            oldest: group.oldest.map(|(id, created_at)| OldestBody {
                id,
                created_at: created_at.to_string(),
                age_seconds: as_of.since(created_at).as_secs_f64(),
            }),
            sample: group.sample,
        }
    }
}
