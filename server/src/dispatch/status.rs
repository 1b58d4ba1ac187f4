//! What the answer of a status URL says of an attempt.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use serde_json::value::RawValue;
use taskhook_core::limits::{self, RESPONSE_BYTES_KEPT};
use taskhook_core::{EventKind, PollAnswer, ReplyKind, Response};

use crate::dispatch::response::{self, Unread};
use crate::expression::{Expression, Scope, text_of};
use crate::json;
use crate::report;

/// What became of a poll. `unread`: why a 2xx has no JSON. `map` says where in an answer its meaning is found, for what is not
/// found where it is by default.
pub(super) async fn read(
    kind: ReplyKind,
    unread: Option<Unread>,
    map: Arc<BTreeMap<String, String>>,
) -> PollAnswer {
    match kind {
        ReplyKind::Lost(failure) | ReplyKind::NotAllowed(failure) => PollAnswer::Lost(failure),
        ReplyKind::Response(response) if map.is_empty() => understood(&response, unread, &map),
        ReplyKind::Response(response) => {
            // Reading expressions takes time that others need on this thread.
            let read = tokio::task::spawn_blocking(move || understood(&response, unread, &map)).await;
            read.unwrap_or_else(|_| PollAnswer::Unclear("reading it failed by a defect of Taskhook".into()))
        }
    }
}

fn understood(response: &Response, unread: Option<Unread>, map: &BTreeMap<String, String>) -> PollAnswer {
    match response.status {
        200..300 => said(response, unread, map)
            .unwrap_or_else(|why| PollAnswer::Unclear(report::cut(&why, limits::MESSAGE_BYTES_MAX).into())),
        404 => PollAnswer::NotFound,
        status => PollAnswer::Unclear(format!("it answered {status}").into()),
    }
}

fn said(
    response: &Response,
    unread: Option<Unread>,
    map: &BTreeMap<String, String>,
) -> Result<PollAnswer, String> {
    let answer = Answer::of(response, unread, map)?;
    let found = answer.find("status")?;
    let status = found.as_ref().and_then(text_of).ok_or_else(|| answer.has_no_status(found.as_ref()))?;
    // Of the rest only that is looked for which belongs to the status: what is wrong with it takes nothing from the others.
    let kind = match status.as_str() {
        "running" => match answer.find("progress") {
            Ok(progress) => report::progress(progress.map(|part| part.to_string()).as_deref(), None),
            // It is a sign of life all the same.
            Err(why) => report::progress(None, Some(format!("no progress is known: {why}"))),
        },
        "completed" => {
            let result = answer.find("result")?;
            EventKind::Completed(result.map(|result| result.to_string().into_bytes().into()))
        }
        "failed" => {
            let error = answer.find("error")?;
            let error = error.and_then(|error| RawValue::from_string(error.to_string()).ok());
            report::failed(error.as_deref(), None)
        }
        "cancelled" => EventKind::Cancelled,
        other => {
            let other = report::cut(other, 64);
            return Err(format!(
                "its status {other:?} is none of {STATUSES}; say in status.map what it means"
            ));
        }
    };
    Ok(PollAnswer::Says(kind))
}

/// What a remote may say.
const STATUSES: &str = "running, completed, failed, cancelled";

/// An answer in which something can be looked for.
struct Answer<'a> {
    json: Option<Value>,
    /// Why there is none.
    unread: Option<Unread>,
    map: &'a BTreeMap<String, String>,
    /// What the expressions of the map may ask for, where there are some.
    scope: Option<Scope>,
}

impl<'a> Answer<'a> {
    fn of(
        response: &Response,
        unread: Option<Unread>,
        map: &'a BTreeMap<String, String>,
    ) -> Result<Answer<'a>, String> {
        match &unread {
            // An expression would see a part of it, and might find the wrong end there.
            Some(why @ Unread::TooLarge) => {
                return Err(format!("{why}; answer with less, such as a link to the result"));
            }
            Some(Unread::NoJson(_)) if response.truncated && !map.is_empty() => {
                return Err(format!(
                    "it is no JSON, and of a text no more than {} KiB are read",
                    RESPONSE_BYTES_KEPT >> 10
                ));
            }
            Some(why) if map.is_empty() => return Err(why.to_string()),
            _ => {}
        }
        let json = match response.result.as_deref() {
            None => None,
            Some(text) => {
                // Of one key twice, two readers may see two different ends.
                json::check(text).map_err(|why| format!("it is refused: {why}"))?;
                serde_json::from_slice(text).ok()
            }
        };
        let scope = match map.is_empty() {
            true => None,
            false => Some(Scope::new(vec![("response", response::shown(response))])?),
        };
        Ok(Answer { json, unread, map, scope })
    }

    /// Why it says nothing that it could say.
    fn has_no_status(&self, found: Option<&Value>) -> String {
        match (found.filter(|found| !found.is_null()), self.map.contains_key("status")) {
            (Some(_), _) => format!("its status is no text, and is to be one of {STATUSES}"),
            (None, true) => "status.map.status finds nothing in it".into(),
            (None, false) => format!("it names no status ({STATUSES}); say in status.map where it is"),
        }
    }

    /// The member of this name, as it stands in the answer or as the task says that it is found.
    fn find(&self, name: &str) -> Result<Option<Value>, String> {
        let Some((text, scope)) = self.map.get(name).zip(self.scope.as_ref()) else {
            let member = self.json.as_ref().and_then(|json| json.get(name));
            return Ok(member.filter(|member| !member.is_null()).cloned());
        };
        let found = Expression::known(text).and_then(|expression| expression.evaluate(scope));
        found.map_err(|why| match &self.unread {
            // What is asked of a text that is no object fails in words of the language.
            Some(unread) => format!("{unread} (status.map.{name}: {why})"),
            None => format!("status.map.{name}: {why}"),
        })
    }
}
