//! How a task is watched over, as stored: what was asked for, and what is known of its newest attempt.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use taskhook_core::{
    Attempt, Deadline, HostKey, Location, Oversight, OversightAsked, Polling, Request, Status, StatusAsked,
    StatusRequest, Task, Timestamp,
};

use super::{micros, span};

/// What was asked for. Durations and instants are microseconds; what is absent is not asked for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct OversightRow {
    #[serde(skip_serializing_if = "Option::is_none")]
    heartbeat: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<i64>,
    /// Of a schedule's tasks, from the creation of each.
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline_after: Option<i64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    rejects_late_success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<StatusRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancel_host: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct StatusRow {
    /// Absent: the response names the URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<i64>,
}

impl OversightRow {
    /// The stored form; `None` where nothing is asked for.
    #[must_use]
    pub fn of(oversight: &Oversight) -> Option<OversightRow> {
        OversightRow::of_asked(&OversightAsked::from(oversight))
    }

    /// The stored form of what is asked for the tasks of a schedule.
    #[must_use]
    pub fn of_asked(asked: &OversightAsked) -> Option<OversightRow> {
        let OversightAsked { heartbeat, deadline, rejects_late_success, status, cancel_host } = *asked;
        let row = OversightRow {
            heartbeat: heartbeat.map(micros),
            deadline: deadline.and_then(|deadline| match deadline {
                Deadline::At(at) => Some(at.0),
                Deadline::After(_) => None,
            }),
            deadline_after: deadline.and_then(|deadline| match deadline {
                Deadline::After(span) => Some(micros(span)),
                Deadline::At(_) => None,
            }),
            rejects_late_success,
            status: status.map(|status| StatusRow {
                host: status.host.map(|host| host.0),
                after: status.after.map(micros),
            }),
            cancel_host: cancel_host.map(|host| host.0),
        };
        (row != OversightRow::default()).then_some(row)
    }

    /// What is asked for.
    #[must_use]
    pub fn asked(self) -> OversightAsked {
        let at = self.deadline.map(|at| Deadline::At(Timestamp(at)));
        OversightAsked {
            heartbeat: self.heartbeat.map(span),
            deadline: at.or(self.deadline_after.map(|after| Deadline::After(span(after)))),
            rejects_late_success: self.rejects_late_success,
            status: self
                .status
                .map(|status| StatusAsked { host: status.host.map(HostKey), after: status.after.map(span) }),
            cancel_host: self.cancel_host.map(HostKey),
        }
    }

    /// How a task is watched over.
    #[must_use]
    pub fn oversight(self) -> Oversight {
        let asked = self.asked();
        Oversight {
            heartbeat: asked.heartbeat,
            deadline: asked.deadline.and_then(|deadline| match deadline {
                Deadline::At(at) => Some(at),
                Deadline::After(_) => None,
            }),
            rejects_late_success: asked.rejects_late_success,
            status: asked
                .status
                .map(|status| Status { host: status.host, after: status.after.unwrap_or(Duration::ZERO) }),
            cancel_host: asked.cancel_host,
        }
    }
}

/// What is known of the newest attempt of a task that is watched over.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WatchRow {
    alive_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent_at: Option<i64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    open: bool,
    #[serde(skip_serializing_if = "is_zero")]
    count: u32,
    #[serde(skip_serializing_if = "is_zero")]
    not_found: u32,
    #[serde(skip_serializing_if = "is_zero")]
    unanswered: u32,
    /// The URL that its response has named, the `host:port` of that, and its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<(String, String, i64)>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde asks for")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl WatchRow {
    /// The stored form; `None` where nothing is watched.
    #[must_use]
    pub fn of(task: &Task) -> Option<WatchRow> {
        let Attempt { alive_at, polling, .. } = task.attempt.filter(|_| task.plan.oversight.keeps_watch())?;
        Some(WatchRow {
            alive_at: alive_at.0,
            next_at: polling.next_at.map(|at| at.0),
            sent_at: polling.sent_at.map(|at| at.0),
            open: polling.open,
            count: polling.count,
            not_found: polling.not_found.into(),
            unanswered: polling.unanswered,
            location: task
                .location
                .as_ref()
                .map(|location| (location.url.to_string(), location.host_name.to_string(), location.host.0)),
        })
    }

    /// The last sign of life, and what has come of asking.
    #[must_use]
    pub fn polling(&self) -> (Timestamp, Polling) {
        let polling = Polling {
            next_at: self.next_at.map(Timestamp),
            sent_at: self.sent_at.map(Timestamp),
            open: self.open,
            count: self.count,
            not_found: u8::try_from(self.not_found).unwrap_or(u8::MAX),
            unanswered: self.unanswered,
        };
        (Timestamp(self.alive_at), polling)
    }

    /// Where the attempt can be asked for.
    #[must_use]
    pub fn location(self) -> Option<Location> {
        let (url, host_name, host) = self.location?;
        Some(Location { url: url.into(), host_name: host_name.into(), host: HostKey(host) })
    }
}

/// How a remote is asked, as stored: URL, headers, and where in an answer its meaning is found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusRequestRow {
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(String, String)>,
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    map: std::collections::BTreeMap<String, String>,
}

impl StatusRequestRow {
    /// The stored form.
    #[must_use]
    pub fn of(status: &StatusRequest) -> StatusRequestRow {
        let request = status.request.clone();
        let (url, headers) = request.map(|request| (request.url, request.headers)).unzip();
        StatusRequestRow { url, headers: headers.unwrap_or_default(), map: status.map.clone() }
    }

    /// How the remote is asked.
    #[must_use]
    pub fn status(self) -> StatusRequest {
        let StatusRequestRow { url, headers, map } = self;
        let request = url.map(|url| Request { method: "GET".into(), url, headers, payload: None });
        StatusRequest { request, map }
    }
}

/// What is sent to ask how a task is: to the URL that it names, or that its response has named.
#[must_use]
pub fn poll_request(status: &StatusRequest, location: Option<&Location>) -> Option<Arc<Request>> {
    let named = location.map(|location| Request {
        method: "GET".into(),
        url: location.url.to_string(),
        ..Request::default()
    });
    status.request.clone().or(named).map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_survives_storage() {
        let second = Duration::from_secs(1);
        for asked in [
            OversightAsked { heartbeat: Some(second), ..OversightAsked::default() },
            OversightAsked { deadline: Some(Deadline::At(Timestamp(7))), ..OversightAsked::default() },
            OversightAsked { deadline: Some(Deadline::After(second)), ..OversightAsked::default() },
            OversightAsked { rejects_late_success: true, ..OversightAsked::default() },
            OversightAsked {
                status: Some(StatusAsked { host: None, after: None }),
                ..OversightAsked::default()
            },
            OversightAsked {
                status: Some(StatusAsked { host: Some(HostKey(3)), after: Some(second) }),
                cancel_host: Some(HostKey(4)),
                ..OversightAsked::default()
            },
        ] {
            let text = serde_json::to_string(&OversightRow::of_asked(&asked).unwrap()).unwrap();
            assert_eq!(serde_json::from_str::<OversightRow>(&text).unwrap().asked(), asked, "{text}");
        }
        assert_eq!(OversightRow::of_asked(&OversightAsked::default()), None);
    }
}
