//! What the answer of a status URL says of an attempt.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use serde_json::value::RawValue;
use taskhook_core::{EventKind, PollAnswer, ReplyKind, Response};

use crate::dispatch::response;
use crate::expression::{Expression, Scope, text_of};
use crate::report::{self, MAPPED};

/// What became of a poll. `map` says where in an answer its meaning is found, for what is not found where it is by default.
pub(super) async fn read(kind: ReplyKind, map: Arc<BTreeMap<String, String>>) -> PollAnswer {
    match kind {
        ReplyKind::Lost(failure) | ReplyKind::NotAllowed(failure) => PollAnswer::Lost(failure),
        ReplyKind::Response(response) if map.is_empty() => understood(&response, &map),
        ReplyKind::Response(response) => {
            // Reading expressions takes time that others need on this thread.
            let read = tokio::task::spawn_blocking(move || understood(&response, &map)).await;
            read.unwrap_or_else(|_| PollAnswer::Unclear("reading it failed by a defect of Taskhook".into()))
        }
    }
}

fn understood(response: &Response, map: &BTreeMap<String, String>) -> PollAnswer {
    match response.status {
        200..300 => said(response, map).unwrap_or_else(|why| PollAnswer::Unclear(why.into())),
        404 => PollAnswer::NotFound,
        status => PollAnswer::Unclear(format!("it answered {status}").into()),
    }
}

fn said(response: &Response, map: &BTreeMap<String, String>) -> Result<PollAnswer, String> {
    let found = Found::of(response, map)?;
    let status = found.text("status").ok_or("it names no status")?;
    let kind = match status.as_str() {
        "running" => report::progress(found.json("progress").and_then(Value::as_f64), None),
        "completed" => {
            let result = found.json("result").map(|result| result.to_string().into_bytes().into());
            EventKind::Completed(result)
        }
        "failed" => report::failed(found.raw("error").as_deref(), None),
        "cancelled" => EventKind::Cancelled,
        other => {
            let other = report::cut(other, 64);
            return Err(format!(
                "its status {other:?} is none of running, completed, failed, cancelled; say in status.map what it means"
            ));
        }
    };
    Ok(PollAnswer::Says(kind))
}

/// The members of an answer, each as it stands in it or as the task says that it is found.
struct Found(BTreeMap<&'static str, Value>);

impl Found {
    fn of(response: &Response, map: &BTreeMap<String, String>) -> Result<Found, String> {
        let json = response.result.as_deref().and_then(|json| serde_json::from_slice::<Value>(json).ok());
        if json.is_none() && map.is_empty() {
            return Err("it is no JSON".into());
        }
        let scope = match map.is_empty() {
            true => None,
            false => Some(Scope::new(vec![("response", response::shown(response))])?),
        };
        let mut found = BTreeMap::new();
        for name in MAPPED {
            let value = match (map.get(name), &scope) {
                (Some(text), Some(scope)) => {
                    let expression = Expression::known(text)?;
                    expression.evaluate(scope).map_err(|why| format!("status.map.{name}: {why}"))?
                }
                _ => json.as_ref().and_then(|json| json.get(name)).filter(|value| !value.is_null()).cloned(),
            };
            found.extend(value.map(|value| (name, value)));
        }
        Ok(Found(found))
    }

    fn json(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    fn text(&self, name: &str) -> Option<String> {
        self.json(name).and_then(text_of)
    }

    fn raw(&self, name: &str) -> Option<Box<RawValue>> {
        self.json(name).and_then(|value| RawValue::from_string(value.to_string()).ok())
    }
}
