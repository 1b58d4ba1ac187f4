//! The history of the SQLite store, read back into what was decided, as far as the oracle looks at it.

use std::sync::Arc;
use std::time::Duration;

use rusqlite::Row;
use taskhook::store::row::{self, Detail};
use taskhook_core::queue::Settings;
use taskhook_core::{
    Asked, Change, ConcurrencyKey, EventKind, External, ExternalKey, Failure, HostKey, Location, NewTask,
    NotCorrelated, Outcome, OversightAsked, Plan, PollAnswer, QueueKey, Response, RetryAsked, SourceKey,
    Spec, TaskKey, Timestamp,
};

use crate::memory::Entry;

/// Everything that [`entry`] reads.
pub(super) const COLUMNS: &str = "position, task, at, cause, cause_key, change, attempt, detail, body";

/// An entry of the history, with its position; `None`: this version does not know it.
pub(super) fn entry(row: &Row<'_>) -> rusqlite::Result<Option<(i64, Entry)>> {
    let detail: Option<String> = row.get(7)?;
    let detail = detail.map(|detail| serde_json::from_str(&detail));
    let Ok(detail) = detail.unwrap_or_else(|| Ok(Detail::default())) else { return Ok(None) };
    let (task, at) = (TaskKey(row.get(1)?), Timestamp(row.get(2)?));
    let change = change_of(row.get(5)?, row.get::<_, Option<u32>>(6)?, detail, at);
    let cause = row::cause_of(row.get(3)?, row.get(4)?);
    let position = row.get(0)?;
    Ok(cause.zip(change).map(|(cause, change)| (position, Entry { task, at, cause, change })))
}

fn change_of(kind: i64, attempt: Option<u32>, detail: Detail, at: Timestamp) -> Option<Change> {
    let number = attempt.unwrap_or(0);
    let parent = TaskKey(detail.task.unwrap_or(0));
    let generation = detail.generation.unwrap_or(0);
    let reason = || detail.reason.clone().unwrap_or_default().into();
    Some(match kind {
        1 => created(at),
        2 => Change::Blocked,
        3 => Change::DependencyEnded {
            parent,
            generation,
            end: row::state_of(detail.end?)?,
            allowed: detail.allowed?,
        },
        4 => Change::DependencyReopened { parent, generation, was_broken: false },
        5 => Change::Scheduled,
        6 => Change::Queued,
        7 => Change::Begun { attempt: number },
        8 => Change::Dispatched { attempt: number },
        9 => Change::Resent { attempt: number, send: detail.send? },
        10 => Change::Started { attempt: number },
        11 => Change::Alive { progress: detail.progress, message: detail.message },
        12 => Change::Responded { attempt: number, response: response(detail) },
        13 => Change::AttemptFailed { attempt: number, counted: detail.counted?, failure: failure(&detail) },
        14 => Change::RetryPlanned { at: Timestamp(detail.at?) },
        15 => Change::Succeeded { attempt: number, result: None, by_response: detail.by_response? },
        16 => Change::Failed,
        17 => Change::Cancelled,
        18 => Change::Skipped { parent },
        19 => Change::Triggered,
        20 => Change::Reopened { ignore_dependencies: detail.ignore_dependencies? },
        21 => Change::EventIgnored {
            // The others are one to the oracle.
            outcome: if detail.outcome? == 3 { Outcome::Stale } else { Outcome::Unmatched },
        },
        22 => Change::Quarantined,
        23 => Change::Correlated { attempt, external: external(detail.external_id?) },
        24 => Change::NotCorrelated { attempt: number, why: NotCorrelated::NotFound(reason()) },
        25 => Change::Located {
            attempt: number,
            location: match detail.url {
                Some(url) => Ok(Location { url: url.into(), host_name: "".into(), host: HostKey(0) }),
                None => Err(reason()),
            },
        },
        26 => Change::Polled { attempt: number, answer: polled(&detail)? },
        27 => Change::DeadlinePassed,
        28 => Change::PollLost { attempt: number },
        _ => return None,
    })
}

/// What it was created with is not in the history, and nothing that the oracle asks the store for.
fn created(at: Timestamp) -> Change {
    let asked = Asked {
        host: None,
        queue: QueueKey(0),
        source: SourceKey::DEFAULT,
        concurrency_key: ConcurrencyKey::default(),
        unique: None,
        priority: 0,
        run_at: at,
        completion: None,
        timeout: None,
        request_timeout: None,
        retry: RetryAsked::default(),
        oversight: OversightAsked::default(),
        payload_bytes: 0,
        scheduled: None,
    };
    let plan = Arc::new(Plan::of(&asked, &Settings::default(), at));
    let new = NewTask {
        key: TaskKey(0),
        asked,
        spec: Spec::default(),
        after: Vec::new(),
        external: None,
        content: [0; 16],
    };
    Change::Created { new: Arc::new(new), plan, edges: Vec::new() }
}

fn response(detail: Detail) -> Result<Arc<Response>, Failure> {
    let Some(status) = detail.status else { return Err(failure(&detail)) };
    let pause = detail.headers.iter().find(|(name, _)| name == "retry-after");
    let pause = pause.and_then(|(_, seconds)| seconds.parse().ok()).map(Duration::from_secs);
    Ok(Arc::new(Response { status, headers: detail.headers, retry_after: pause, ..Response::default() }))
}

fn failure(detail: &Detail) -> Failure {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Failure { code: text(&detail.code), message: text(&detail.message) }
}

fn external(id: String) -> External {
    External { key: ExternalKey::default(), source: "default".into(), id: id.into() }
}

fn polled(detail: &Detail) -> Option<PollAnswer> {
    Some(match detail.said.as_deref()? {
        "running" => PollAnswer::Says(EventKind::Progress(detail.progress, None)),
        "completed" => PollAnswer::Says(EventKind::Completed(None)),
        "failed" => PollAnswer::Says(EventKind::Failed(failure(detail), detail.retryable.unwrap_or(true))),
        "cancelled" => PollAnswer::Says(EventKind::Cancelled),
        "not_found" => PollAnswer::NotFound,
        "unclear" => PollAnswer::Unclear(detail.reason.clone().unwrap_or_default().into()),
        "no_answer" => PollAnswer::Lost(failure(detail)),
        _ => return None,
    })
}
