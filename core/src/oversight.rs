//! How a task is watched over: signs of life, a deadline, where its remote is asked how it is, and who is told of a cancel.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::id::HostKey;
use crate::input::Request;
use crate::limits;
use crate::time::Timestamp;

/// How a task is watched over, as a caller asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OversightAsked {
    /// While it runs, a sign of life at least this often.
    pub heartbeat: Option<Duration>,
    /// It is over by then, whatever happens.
    pub deadline: Option<Deadline>,
    /// Only a success of the current attempt completes it.
    pub rejects_late_success: bool,
    /// Where its remote is asked how it is.
    pub status: Option<StatusAsked>,
    /// The host that is told when it is cancelled.
    pub cancel_host: Option<HostKey>,
}

/// When a task is over, whatever happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// At this instant.
    At(Timestamp),
    /// So long after its creation.
    After(Duration),
}

/// Where the remote of a task is asked how it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StatusAsked {
    /// The host of the URL; `None`: the response to the dispatch names one.
    pub host: Option<HostKey>,
    /// How long after an attempt has begun it is asked first.
    pub after: Option<Duration>,
}

/// How a task is watched over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Oversight {
    /// While it runs, a sign of life at least this often.
    pub heartbeat: Option<Duration>,
    /// It is over by then, whatever happens.
    pub deadline: Option<Timestamp>,
    /// Only a success of the current attempt completes it.
    pub rejects_late_success: bool,
    /// Where its remote is asked how it is.
    pub status: Option<Status>,
    /// The host that is told when it is cancelled.
    pub cancel_host: Option<HostKey>,
}

/// Where the remote of a task is asked how it is, and when first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// The host of the URL; `None`: the response to the dispatch names one.
    pub host: Option<HostKey>,
    /// How long after an attempt has begun.
    pub after: Duration,
}

impl Oversight {
    /// What is asked at `now`, for a task whose attempts may take so long.
    #[must_use]
    pub fn of(asked: &OversightAsked, timeout: Option<Duration>, now: Timestamp) -> Oversight {
        let after = timeout.map_or(limits::POLL_AFTER, |timeout| limits::POLL_AFTER.min(timeout / 4));
        // Times are kept to the microsecond.
        let after = Duration::from_micros(u64::try_from(after.as_micros()).unwrap_or(u64::MAX));
        Oversight {
            heartbeat: asked.heartbeat,
            deadline: asked.deadline.map(|deadline| match deadline {
                Deadline::At(at) => at,
                Deadline::After(span) => now + span,
            }),
            rejects_late_success: asked.rejects_late_success,
            status: asked
                .status
                .map(|status| Status { host: status.host, after: status.after.unwrap_or(after) }),
            cancel_host: asked.cancel_host,
        }
    }

    /// Whether it asks for anything that changes what is kept of an attempt.
    #[must_use]
    pub fn keeps_watch(&self) -> bool {
        self.heartbeat.is_some() || self.status.is_some()
    }
}

impl From<&Oversight> for OversightAsked {
    fn from(oversight: &Oversight) -> OversightAsked {
        OversightAsked {
            heartbeat: oversight.heartbeat,
            deadline: oversight.deadline.map(Deadline::At),
            rejects_late_success: oversight.rejects_late_success,
            status: oversight
                .status
                .map(|status| StatusAsked { host: status.host, after: Some(status.after) }),
            cancel_host: oversight.cancel_host,
        }
    }
}

/// How a task's remote is asked how it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StatusRequest {
    /// What is sent; `None`: it goes to the `Location` of the response to the dispatch.
    pub request: Option<Request>,
    /// Where in an answer its meaning is found, by expressions.
    pub map: BTreeMap<String, String>,
}

/// A URL that the response to a dispatch has named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The URL, absolute.
    pub url: Arc<str>,
    /// Its `host:port`.
    pub host_name: Arc<str>,
    /// The key of that; filled in where names get their keys.
    pub host: HostKey,
}
