//! Answers to requests that happen at most once.

use rusqlite::{OptionalExtension, params};
use taskhook_core::{ClaimKey, EventId, TaskKey, Timestamp, limits};

use crate::store::read::{ReadError, Reader};

/// What is known of a request that happened under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerView {
    /// A hash of the request.
    pub request: [u8; 16],
    /// The tasks that it created or changed, while the body of its answer is not kept.
    pub tasks: Vec<TaskKey>,
    /// The webhook that it took in, while the body of its answer is not kept.
    pub event: Option<EventId>,
    /// The status of its answer; `None`: the process ended before it was given.
    pub status: Option<u16>,
    /// The body of its answer; `None`: it was not given, or is too large to keep.
    pub body: Option<Vec<u8>>,
}

impl Reader {
    /// The request that happened under this key, as seen at `now`.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn answer(&self, claim: ClaimKey, now: Timestamp) -> Result<Option<AnswerView>, ReadError> {
        self.run(move |connection| {
            let since = now - limits::IDEMPOTENCY_KEPT_FOR;
            let mut statement = connection.prepare_cached(
                "SELECT request, tasks, event, status, body FROM answer WHERE claim = ?1 AND at > ?2",
            )?;
            let row = statement.query_row(params![claim.0, since.0], |row| {
                let tasks: Option<String> = row.get(1)?;
                let tasks: Vec<i64> =
                    tasks.and_then(|keys| serde_json::from_str(&keys).ok()).unwrap_or_default();
                Ok(AnswerView {
                    request: row.get(0)?,
                    tasks: tasks.into_iter().map(TaskKey).collect(),
                    event: row.get::<_, Option<[u8; 16]>>(2)?.map(EventId),
                    status: row.get(3)?,
                    body: row.get(4)?,
                })
            });
            row.optional()
        })
        .await
    }
}
