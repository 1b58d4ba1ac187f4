//! A task as it is asked for: from JSON to a draft, with every fault named.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method};
use serde_json::value::RawValue;
use taskhook_core::id::is_callers_id;
use taskhook_core::unique::Until;
use taskhook_core::{
    Asked, Completion, ConcurrencyKey, Deadline, On, QueueKey, Request, RetryAsked, SourceKey, Spec,
    Timestamp, Unique, UniqueKey, limits,
};

use crate::engine::submission::Draft;
use crate::expression::{self, Expression, checked_id};
use crate::http::asked::{RetryRequest, TaskRequest, UniqueRequest};
use crate::http::duration;
use crate::http::fields::Fields;
use crate::http::oversight;
use crate::http::problem::FieldError;
use crate::json::{self, Members};
use crate::reserved::is_reserved;
use crate::secrets::fingerprint;
use crate::target;

/// Reads one task. `fresh_id` is used where the caller gives none.
pub(super) fn read(
    text: &str,
    members: Members<'_>,
    pointer: &str,
    now: Timestamp,
    fresh_id: impl FnOnce() -> String,
) -> Result<Draft, Vec<FieldError>> {
    let of_a_request =
        ["method", "headers", "payload"].into_iter().filter(|field| members.contains_key(*field));
    let of_a_request: Vec<&str> = of_a_request.collect();
    let mut fields = Fields::of::<TaskRequest>(members, pointer);
    let id = id(&mut fields);
    let name = short_text(&mut fields, "name", limits::NAME_BYTES_MAX);
    let target = request(&mut fields);
    let external = target.is_none();
    let priority = priority(&mut fields);
    let queue = named(&mut fields, "queue");
    let source = named(&mut fields, "source");
    let key = short_text(&mut fields, "concurrency_key", limits::CONCURRENCY_KEY_BYTES_MAX);
    let (unique_key, unique) = unique(&mut fields, pointer).unzip();
    let run_at = run_at(&mut fields, now);
    let after = after(&mut fields);
    let completion = completion(&mut fields);
    let timeout = positive(&mut fields, "timeout").map(Some);
    let request_timeout = positive(&mut fields, "request_timeout");
    let retry = retry(&mut fields, pointer);
    let (correlate, known_id) = correlate(&mut fields, external).unzip();
    let watched = oversight::read(&mut fields, pointer, external);
    let labels = labels(&mut fields);
    if external {
        for field in of_a_request {
            fields.wrong(
                field,
                "needs_url",
                "makes sense with a url only; without one the task is only tracked",
            );
        }
    }
    let errors = fields.finish();
    if !errors.is_empty() {
        return Err(errors);
    }
    let (host, request) = target.unzip();
    let payload_bytes = request.as_ref().and_then(|request| request.payload.as_ref()).map_or(0, Vec::len);
    Ok(Draft {
        id: id.unwrap_or_else(fresh_id),
        host,
        queue: queue.unwrap_or_else(|| "default".into()),
        source: source.unwrap_or_else(|| "default".into()),
        external: known_id.flatten(),
        other_hosts: watched.hosts,
        asked: Asked {
            host: None,
            queue: QueueKey::DEFAULT,
            source: SourceKey::DEFAULT,
            concurrency_key: key.as_deref().map_or(ConcurrencyKey::NONE, concurrency_key),
            unique,
            priority,
            run_at,
            completion,
            timeout,
            request_timeout,
            retry,
            oversight: watched.asked,
            payload_bytes: u32::try_from(payload_bytes).unwrap_or(u32::MAX),
            scheduled: None,
        },
        spec: Spec {
            name,
            concurrency_key: key,
            unique_key,
            request: request.map(Arc::new),
            correlate,
            status: watched.status.map(Arc::new),
            cancel_url: watched.cancel_url,
            signer: None,
            labels,
            after,
        },
        content: fingerprint(&[&json::canonical(text)]),
    })
}

/// Reads the task of a schedule, whose id and time the schedule says.
pub(super) fn template(
    text: &str,
    mut members: Members<'_>,
    pointer: &str,
    now: Timestamp,
) -> Result<Draft, Vec<FieldError>> {
    let own = ["id", "run_at", "delay", "after", "unique"]
        .into_iter()
        .filter(|name| members.remove(*name).is_some());
    let errors = own.map(|name| FieldError {
        pointer: format!("{pointer}/{name}"),
        code: "not_for_schedules",
        detail: "makes no sense here: the schedule says which task it is, and when".into(),
    });
    let mut errors: Vec<FieldError> = errors.collect();
    let draft = read(text, members, pointer, now, String::new);
    if draft.as_ref().is_ok_and(|draft| draft.external.is_some()) {
        errors.push(FieldError {
            pointer: format!("{pointer}/correlate"),
            code: "not_for_schedules",
            detail: "is one id for all tasks of the schedule; ask for it in the response of each".into(),
        });
    }
    let has_instant = |draft: &Draft| matches!(draft.asked.oversight.deadline, Some(Deadline::At(_)));
    if draft.as_ref().is_ok_and(has_instant) {
        errors.push(FieldError {
            pointer: format!("{pointer}/deadline"),
            code: "not_for_schedules",
            detail: "is one instant for all tasks of the schedule; give a duration from the creation of each"
                .into(),
        });
    }
    match draft {
        Ok(draft) if errors.is_empty() => Ok(draft),
        Ok(_) => Err(errors),
        Err(others) => {
            errors.extend(others);
            Err(errors)
        }
    }
}

fn id(fields: &mut Fields<'_>) -> Option<String> {
    let id: String = fields.take("id", "a string")?;
    if !is_callers_id(&id, limits::ID_BYTES_MAX) {
        let detail = "must begin with a letter or digit and have at most 128 of A-Z a-z 0-9 . _ : @ -";
        fields.wrong("id", "not_an_id", detail);
    }
    Some(id)
}

fn short_text(fields: &mut Fields<'_>, name: &str, bytes_max: usize) -> Option<String> {
    let text: String = fields.take(name, "a string")?;
    if text.is_empty() || text.len() > bytes_max || text.chars().any(char::is_control) {
        fields.wrong(
            name,
            "not_a_name",
            format!("must have 1 to {bytes_max} bytes and no control characters"),
        );
    }
    Some(text)
}

/// The host it goes to, and the request.
fn request(fields: &mut Fields<'_>) -> Option<(String, Request)> {
    let url: Option<String> = fields.take("url", "a string");
    let method = fields.take::<String>("method", "a string");
    let headers = headers(fields);
    let payload = fields.raw_or_null("payload").map(|raw: &RawValue| raw.get().as_bytes().to_vec());
    if payload.as_ref().is_some_and(|payload| payload.len() > limits::BODY_BYTES_MAX) {
        fields.wrong("payload", "too_large", "has more than 1 MiB; store it elsewhere and send a link");
    }
    let url = url?;
    let host = host(fields, "url", &url).unwrap_or_default();
    let method = method.unwrap_or_else(|| "POST".into());
    let known = matches!(method.as_str(), "GET" | "POST" | "PUT" | "PATCH" | "DELETE");
    if !known || Method::from_bytes(method.as_bytes()).is_err() {
        fields.wrong("method", "not_a_method", "must be GET, POST, PUT, PATCH or DELETE");
    }
    Some((host, Request { method, url, headers, payload }))
}

/// The host of a URL that was given in this field.
pub(super) fn host(fields: &mut Fields<'_>, name: &str, url: &str) -> Option<String> {
    match target::read(url) {
        Ok(uri) => Some(target::host_and_port(&uri)),
        Err(wrong) => {
            fields.wrong(name, "not_a_url", wrong);
            None
        }
    }
}

pub(super) fn headers(fields: &mut Fields<'_>) -> Vec<(String, String)> {
    let wanted = "an object of strings";
    let Some(given) = fields.take::<BTreeMap<String, String>>("headers", wanted) else { return Vec::new() };
    let bytes: usize = given.iter().map(|(name, value)| name.len() + value.len()).sum();
    if given.len() > limits::HEADERS_MAX || bytes > limits::HEADER_BYTES_MAX {
        fields.wrong("headers", "too_many", "may have at most 32 headers with 8 KiB in all");
    }
    for (name, value) in &given {
        if is_reserved(&name.to_ascii_lowercase()) {
            fields.wrong_within("headers", name, "own_header", "is set by Taskhook itself");
        } else if HeaderName::from_bytes(name.as_bytes()).is_err() {
            fields.wrong_within("headers", name, "not_a_header", "is no header name");
        } else if HeaderValue::from_str(value).is_err() {
            fields.wrong_within("headers", name, "not_a_header", "is no header value");
        }
    }
    given.into_iter().collect()
}

fn priority(fields: &mut Fields<'_>) -> i16 {
    let wanted = "an integer from -100 to 100";
    let priority: i64 = fields.take("priority", wanted).unwrap_or(0);
    if !(-100..=100).contains(&priority) {
        fields.wrong("priority", "out_of_range", format!("must be {wanted}"));
    }
    i16::try_from(priority).unwrap_or(0)
}

fn named(fields: &mut Fields<'_>, field: &str) -> Option<String> {
    let name: String = fields.take(field, "a string")?;
    if !is_callers_id(&name, limits::NAME_BYTES_MAX) {
        fields.wrong(
            field,
            "not_a_name",
            "must begin with a letter or digit and have at most 64 of A-Z a-z 0-9 . _ : @ -",
        );
    }
    Some(name)
}

/// What is remembered of a concurrency key.
fn concurrency_key(key: &str) -> ConcurrencyKey {
    let [a, b, c, d, e, f, g, h, ..] = fingerprint(&[key.as_bytes()]);
    // Zero is no key.
    ConcurrencyKey(i64::from_be_bytes([a, b, c, d, e, f, g, h]).saturating_abs().max(1))
}

fn run_at(fields: &mut Fields<'_>, now: Timestamp) -> Timestamp {
    let (run_at, delay) = (fields.instant("run_at"), fields.duration("delay"));
    if run_at.is_some() && delay.is_some() {
        fields.wrong("delay", "conflict", "give either run_at or delay");
    }
    run_at.unwrap_or(now + delay.unwrap_or_default())
}

fn after(fields: &mut Fields<'_>) -> Vec<(String, On)> {
    let wanted = "a list of ids, or of objects with task and on";
    let Some(list) = fields.take::<Vec<Box<RawValue>>>("after", wanted) else { return Vec::new() };
    if list.len() > limits::DEPENDENCIES_MAX {
        fields.wrong("after", "too_many", format!("may name at most {} tasks", limits::DEPENDENCIES_MAX));
        return Vec::new();
    }
    let mut after: Vec<(String, On)> = Vec::new();
    let mut named: BTreeSet<String> = BTreeSet::new();
    for (position, raw) in list.iter().enumerate() {
        match dependency(raw) {
            Ok((id, _)) if !named.insert(id.clone()) => {
                fields.wrong_within(
                    "after",
                    &position.to_string(),
                    "twice",
                    format!("names {id:?} a second time"),
                );
            }
            Ok(dependency) => after.push(dependency),
            Err(wrong) => fields.wrong_within("after", &position.to_string(), "not_a_dependency", wrong),
        }
    }
    after
}

fn dependency(raw: &RawValue) -> Result<(String, On), String> {
    if let Ok(id) = serde_json::from_str::<String>(raw.get()) {
        return Ok((id, On::Succeeded));
    }
    let object: BTreeMap<String, String> = serde_json::from_str(raw.get())
        .map_err(|_| "must be an id, or {\"task\": id, \"on\": how it ends}".to_string())?;
    if let Some(unknown) = object.keys().find(|key| !["task", "on"].contains(&key.as_str())) {
        return Err(format!("has an unknown field {unknown:?}; there are task and on"));
    }
    let id = object.get("task").ok_or("names no task")?;
    let on = match object.get("on").map_or("succeeded", String::as_str) {
        "succeeded" => On::Succeeded,
        "failed" => On::Failed,
        "not_failed" => On::NotFailed,
        "finished" => On::Finished,
        other => return Err(format!("on {other:?} must be succeeded, failed, not_failed or finished")),
    };
    Ok((id.clone(), on))
}

pub(super) fn completion(fields: &mut Fields<'_>) -> Option<Completion> {
    match fields.take::<String>("completion", "a string").as_deref() {
        None => None,
        Some("auto") => Some(Completion::Auto),
        Some("response") => Some(Completion::Response),
        Some("callback") => Some(Completion::Callback),
        Some(_) => {
            fields.wrong("completion", "unknown_value", "must be auto, response or callback");
            None
        }
    }
}

/// How the remote's own id of the task is found, as it is given; and the id itself, where it is known before.
fn correlate(fields: &mut Fields<'_>, external: bool) -> Option<(String, Option<String>)> {
    let given: String = fields.take("correlate", "a string")?;
    let id = match (Expression::known(&given), external) {
        // Nobody answers for a task that is not dispatched: what it is given is the id itself.
        (parsed, true) => {
            let constant = parsed.ok().and_then(|expression| expression.constant());
            Some(constant.as_ref().and_then(expression::text_of).unwrap_or_else(|| given.clone()))
        }
        (Ok(expression), false) => {
            expression.constant().map(|constant| expression::text_of(&constant).unwrap_or_default())
        }
        (Err(why), false) => {
            let detail = format!("{why}; an id that is known before stands in quotes, such as \"'pi_123'\"");
            fields.wrong("correlate", "not_an_expression", detail);
            None
        }
    };
    if let Some(Err(why)) = id.clone().map(checked_id) {
        fields.wrong("correlate", "not_an_id", format!("is no id: {why}"));
    }
    Some((given, id))
}

pub(super) fn positive(fields: &mut Fields<'_>, name: &str) -> Option<Duration> {
    let duration = fields.duration(name)?;
    if duration.is_zero() {
        fields.wrong(name, "out_of_range", "must be longer than nothing");
    }
    Some(duration)
}

pub(super) fn retry(fields: &mut Fields<'_>, pointer: &str) -> RetryAsked {
    let Some(raw) = fields.raw("retry") else { return RetryAsked::default() };
    let Ok(members) = serde_json::from_str::<Members<'_>>(raw.get()) else {
        fields.wrong("retry", "wrong_type", "must be an object with max_attempts, initial, factor, max");
        return RetryAsked::default();
    };
    let mut inner = Fields::of::<RetryRequest>(members, format!("{pointer}/retry"));
    let max_attempts = inner.take::<u32>("max_attempts", "an integer from 1 to 100");
    if max_attempts.is_some_and(|attempts| !(1..=limits::ATTEMPTS_MAX).contains(&attempts)) {
        inner.wrong("max_attempts", "out_of_range", "must be from 1 to 100");
    }
    let factor = inner.take::<f64>("factor", "a number from 1 to 100");
    if factor.is_some_and(|factor| !(1.0..=100.0).contains(&factor)) {
        inner.wrong("factor", "out_of_range", "must be from 1 to 100");
    }
    let initial = inner.duration("initial");
    let max = inner.duration("max");
    if max.is_some_and(|max| max > limits::RETRY_PAUSE_MAX) {
        inner.wrong("max", "out_of_range", "must be at most 24h");
    }
    let errors = inner.finish();
    fields.errors.extend(errors);
    RetryAsked { max_attempts, initial, factor, max }
}

/// The key that the task holds, as it is given and as it is remembered.
fn unique(fields: &mut Fields<'_>, pointer: &str) -> Option<(String, Unique)> {
    let raw = fields.raw("unique")?;
    let Ok(members) = serde_json::from_str::<Members<'_>>(raw.get()) else {
        fields.wrong("unique", "wrong_type", "must be an object with key and perhaps until");
        return None;
    };
    let mut inner = Fields::of::<UniqueRequest>(members, format!("{pointer}/unique"));
    if !inner.has("key") {
        inner.wrong("key", "missing", "says which tasks are the same");
    }
    let key = short_text(&mut inner, "key", limits::UNIQUE_KEY_BYTES_MAX);
    let until = until(&mut inner);
    fields.errors.extend(inner.finish());
    let key = key?;
    let hash = fingerprint(&[b"default", key.as_bytes()]);
    Some((key, Unique { key: UniqueKey(hash), until }))
}

fn until(fields: &mut Fields<'_>) -> Until {
    let wanted = "\"finished\" or a duration such as \"1h\"";
    match fields.take::<String>("until", wanted).as_deref() {
        None | Some("finished") => Until::Finished,
        Some(text) => match duration::parse(text) {
            Ok(span) if !span.is_zero() => Until::For(span),
            Ok(_) => {
                fields.wrong("until", "not_a_duration", format!("must be {wanted}, longer than nothing"));
                Until::Finished
            }
            Err(wrong) => {
                fields.wrong("until", "not_a_duration", format!("{wrong}, or \"finished\""));
                Until::Finished
            }
        },
    }
}

fn labels(fields: &mut Fields<'_>) -> BTreeMap<String, String> {
    let wanted = "an object of strings";
    let labels: BTreeMap<String, String> = fields.take("labels", wanted).unwrap_or_default();
    if labels.len() > limits::LABELS_MAX {
        fields.wrong("labels", "too_many", "may have at most 32 labels");
    }
    for (name, value) in &labels {
        if name.is_empty() || name.len() > limits::LABEL_BYTES_MAX || value.len() > limits::LABEL_BYTES_MAX {
            fields.wrong_within("labels", name, "too_long", "name and value may have at most 128 bytes each");
        }
    }
    labels
}
