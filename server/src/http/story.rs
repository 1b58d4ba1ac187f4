//! A task's history in sentences: the answer to "why?".

use serde_json::{Map, Value};
use taskhook_core::Timestamp;

use crate::store::read::HistoryEntry;
use crate::store::row;

/// What became true, in one sentence with its cause.
pub(super) fn sentence(entry: &HistoryEntry) -> String {
    let what = what(entry);
    match why(entry) {
        Some(why) => format!("{what}, {why}"),
        None => what,
    }
}

fn what(entry: &HistoryEntry) -> String {
    let attempt = entry.attempt.unwrap_or(0);
    let detail = &entry.detail;
    let other = entry.other.as_deref().unwrap_or("that is no longer kept");
    let message = || detail.message.as_deref().unwrap_or("no reason was given");
    match entry.change {
        "created" => "created".into(),
        "blocked" => "blocked, waits for other tasks".into(),
        "dependency_ended" => {
            let end = detail.end.and_then(row::state_of).map_or("ended", |state| state.name());
            let verdict = if detail.allowed == Some(true) { "as asked" } else { "which rules this task out" };
            format!("task {other} ended as {end}, {verdict}")
        }
        "dependency_reopened" => format!("task {other} was reopened"),
        "scheduled" => "scheduled, waits for its time".into(),
        "queued" => "queued, waits for its turn".into(),
        "begun" => format!("attempt {attempt} begun, waits for its webhook"),
        "dispatched" => format!("attempt {attempt} dispatched"),
        "resent" => {
            format!(
                "attempt {attempt} sent again (send {}), since Taskhook stopped before its response",
                detail.send.unwrap_or(2)
            )
        }
        "started" => format!("attempt {attempt} runs at the worker"),
        "alive" => sign_of_life(detail),
        "responded" => match detail.status {
            Some(status) => format!("attempt {attempt} was answered {status}"),
            None => format!("attempt {attempt} got no answer: {}", message()),
        },
        "correlated" => {
            let id = detail.external_id.as_deref().unwrap_or_default();
            match entry.attempt {
                Some(attempt) => {
                    format!("the remote calls attempt {attempt} {id:?}: webhooks may name it so")
                }
                None => format!("the remote calls it {id:?}: webhooks may name it so"),
            }
        }
        "not_correlated" => match detail.external_id.as_deref() {
            Some(id) => format!(
                "the remote calls attempt {attempt} {id:?}, but that is task {other}, which had not ended"
            ),
            None => format!(
                "how the remote calls attempt {attempt} is not known: {}",
                detail.reason.as_deref().unwrap_or("no reason was given")
            ),
        },
        "located" => match (detail.url.as_deref(), detail.reason.as_deref()) {
            (Some(url), _) => format!("attempt {attempt} can be asked about at {url}"),
            (None, why) => {
                format!("attempt {attempt} cannot be asked about: {}", why.unwrap_or("no reason was given"))
            }
        },
        "polled" => polled(attempt, detail),
        "poll_lost" => format!(
            "the remote is asked about attempt {attempt} again: no answer had come to the last question, as when \
             Taskhook stops before it comes"
        ),
        "deadline_passed" => "its deadline passed".into(),
        "attempt_failed" => {
            let uncounted = if detail.counted == Some(false) { "; this uses up no attempt" } else { "" };
            format!("attempt {attempt} failed: {}{uncounted}", message())
        }
        "retry_planned" => {
            let at = detail.at.map(|at| Timestamp(at).to_string()).unwrap_or_default();
            format!("the next attempt is planned for {at}")
        }
        "succeeded" if detail.by_response == Some(true) => "succeeded".into(),
        "succeeded" => format!("succeeded in attempt {attempt}"),
        "failed" => "failed for good".into(),
        "cancelled" => match entry.other.as_deref() {
            Some(call) => format!("cancelled, which task {call} is to tell its remote"),
            None => "cancelled".into(),
        },
        "skipped" => format!("skipped, because of how task {other} ended"),
        "triggered" => "made due now".into(),
        "reopened" if detail.ignore_dependencies == Some(true) => "reopened, whatever it waited for".into(),
        "reopened" => "reopened".into(),
        "event_ignored" => {
            let who = match (cause_kind(entry.cause), entry.cause_ref.as_deref()) {
                ("reconciliation", _) => "the remote's answer".into(),
                (_, Some(event)) => format!("webhook {event}"),
                (_, None) => "a webhook that is no longer kept".into(),
            };
            format!("{who} changed nothing: {}", ignored(detail))
        }
        _ => "left alone: deciding about it failed by a defect of Taskhook".into(),
    }
}

/// Why a report changed nothing.
fn ignored(detail: &row::Detail) -> String {
    let outcome = detail.outcome.map_or("ignored", row::outcome_name);
    let Some(reason) = detail.reason.as_deref() else {
        return match outcome {
            "stale" => "stale: it is about an older attempt, of which nothing counts but a success, and not even that \
                        where `late_success` is `reject` or the task was reopened since"
                .into(),
            outcome => outcome.into(),
        };
    };
    let why = match reason {
        "source_not_allowed" => ": only another source may report on this task",
        "terminal" => ": the task had ended",
        "contradiction" => ": it says that the task ended otherwise",
        "not_started" => ": the task had not been dispatched yet",
        "completed_by_response" => ": the response had completed the task already",
        "unknown_attempt" => ": no attempt had that number",
        "attempt_ended" => ": the attempt had ended",
        _ => "",
    };
    format!("{outcome} ({reason}){why}")
}

fn sign_of_life(detail: &row::Detail) -> String {
    match (detail.progress, detail.message.as_deref()) {
        (Some(part), Some(words)) => format!("progress {:.0} %: {words}", part * 100.0),
        (Some(part), None) => format!("progress {:.0} %", part * 100.0),
        (None, Some(words)) => format!("sign of life: {words}"),
        (None, None) => "sign of life".into(),
    }
}

/// What a remote said when it was asked.
fn polled(attempt: u32, detail: &row::Detail) -> String {
    let asked = format!("the remote was asked about attempt {attempt}, since its end was not reported");
    let why = || detail.reason.as_deref().or(detail.message.as_deref()).unwrap_or("no reason was given");
    match detail.said.as_deref().unwrap_or_default() {
        "running" => match detail.progress {
            Some(part) => format!("{asked}: it runs, progress {:.0} %", part * 100.0),
            None => format!("{asked}: it runs"),
        },
        "not_found" => format!("{asked}: it has no such task (404)"),
        "unclear" => format!("{asked}, and its answer says nothing: {}", why()),
        "no_answer" if detail.code.as_deref() == Some("egress_not_allowed") => {
            format!("the remote could not be asked about attempt {attempt}: {}", why())
        }
        "no_answer" => format!("{asked}, and there was no answer: {}", why()),
        "cancelled" => format!("{asked}: it was cancelled"),
        said => format!("{asked}: it has {said}"),
    }
}

fn why(entry: &HistoryEntry) -> Option<String> {
    let reference = entry.cause_ref.as_deref();
    match (cause_kind(entry.cause), reference) {
        _ if entry.change == "event_ignored" => None,
        ("event", Some(event)) => Some(format!("by webhook {event}")),
        ("event", None) => Some("by a webhook that is no longer kept".into()),
        ("command", _) => Some("by a call of the API".into()),
        // Those whose sentence says already what has run out, or what is behind it.
        ("time", _)
            if matches!(
                entry.change,
                "poll_lost" | "resent" | "deadline_passed" | "attempt_failed" | "retry_planned" | "failed"
            ) =>
        {
            None
        }
        ("time", _) => Some("since its time came".into()),
        ("queue", _) if matches!(entry.change, "deadline_passed" | "failed") => None,
        ("queue", _) => Some("since there was a free exchange".into()),
        ("creation", _) if entry.change == "created" => Some("by a call of the API".into()),
        ("creation", _) => None,
        // Those whose sentence names the other task or the response already.
        ("task", Some(_)) if entry.other.is_some() && entry.change != "cancelled" => None,
        ("task", Some(task)) => Some(format!("because of task {task}")),
        ("schedule", Some(schedule)) => Some(format!("by schedule {schedule}")),
        ("bulk", Some(bulk)) => Some(format!("by bulk {bulk}")),
        ("bulk", None) => Some("by a bulk that is no longer kept".into()),
        ("response", _)
            if matches!(entry.change, "responded" | "attempt_failed" | "not_correlated" | "located") =>
        {
            None
        }
        ("reconciliation", _) if entry.change == "polled" => None,
        ("reconciliation", _) if entry.change == "alive" => Some("when its remote was asked".into()),
        ("reconciliation", _) => Some("since its remote said so when it was asked".into()),
        ("response", Some(attempt)) => Some(format!("by the response to attempt {attempt}")),
        _ => None,
    }
}

/// The word for what caused a change.
pub(super) fn cause_kind(number: i64) -> &'static str {
    match number {
        1 => "creation",
        2 => "command",
        3 => "event",
        4 => "response",
        5 => "time",
        6 => "task",
        8 => "schedule",
        9 => "bulk",
        10 => "reconciliation",
        _ => "queue",
    }
}

/// What else is known of a change, for programs.
pub(super) fn detail(entry: &HistoryEntry) -> Map<String, Value> {
    let detail = &entry.detail;
    let mut map = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            map.insert(key.into(), value);
        }
    };
    put("task", entry.other.clone().map(Value::from));
    put("end", detail.end.and_then(row::state_of).map(|state| state.name().into()));
    put("allowed", detail.allowed.map(Value::from));
    put("code", detail.code.clone().map(Value::from));
    put("message", detail.message.clone().map(Value::from));
    put("counted", detail.counted.map(Value::from));
    put("retry_at", detail.at.map(|at| Timestamp(at).to_string().into()));
    put("progress", detail.progress.map(Value::from));
    put("status", detail.status.map(Value::from));
    let headers: Map<String, Value> =
        detail.headers.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
    put("headers", (!headers.is_empty()).then(|| headers.into()));
    put("truncated", detail.truncated.map(Value::from));
    put("by_response", detail.by_response.map(Value::from));
    put("send", detail.send.map(Value::from));
    put("outcome", detail.outcome.map(|number| row::outcome_name(number).into()));
    put("reason", detail.reason.clone().map(Value::from));
    put("external_id", detail.external_id.clone().map(Value::from));
    put("url", detail.url.clone().map(Value::from));
    put("said", detail.said.clone().map(Value::from));
    let text = entry.body.as_ref().map(|body| String::from_utf8_lossy(body).into_owned());
    match entry.change {
        "responded" => put("body", text.map(Value::from)),
        _ => put("result", text.and_then(|text| serde_json::from_str(&text).ok())),
    }
    map
}
