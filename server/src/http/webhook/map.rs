//! What a webhook says: from the members of its body to an event.

use axum::http::HeaderMap;
use serde_json::value::RawValue;
use taskhook_core::{EventKind, Failure, limits};

use crate::http::json::Members;
use crate::http::webhook::cut;
use crate::source::facts::{attribute, header, text_of};
use crate::source::registry::Live;
use crate::source::verify::Seen;

/// What a webhook says.
#[derive(Debug)]
pub(in crate::http) struct Mapped {
    /// The name of its event, as it came.
    pub(in crate::http) name: Option<String>,
    /// The task it names.
    pub(in crate::http) task: Option<String>,
    /// The attempt it names.
    pub(in crate::http) attempt: Option<u32>,
    /// What that means.
    pub(in crate::http) kind: EventKind,
}

/// What a webhook of this source says; `by_token`: it came by a callback URL, which names its task.
pub(in crate::http) fn map(source: &Live, members: &Members<'_>, seen: &Seen<'_>, by_token: bool) -> Mapped {
    let names = &source.definition.event_names;
    if source.preset().is_none_or(|preset| preset.is_worker) || by_token {
        let attribute = attribute(seen.headers, "ce-type");
        return read(members, attribute, |name| names.get(name).cloned(), by_token);
    }
    // A sender of its own kind says nothing about tasks, unless its source says where.
    let name = source.kind(seen);
    let kind = match name.as_ref().and_then(|name| names.get(name)) {
        Some(_) => EventKind::Other(Some("it names no task")),
        None => EventKind::Other(None),
    };
    Mapped { name, task: None, attempt: None, kind }
}

/// The delivery id of a webhook of this source: as its sender says it, or the header `webhook-id`, or the id of a
/// CloudEvent within its source.
pub(in crate::http) fn delivery_id(source: &Live, members: &Members<'_>, seen: &Seen<'_>) -> Option<String> {
    if source.preset().is_some_and(|preset| !preset.is_worker) {
        return source.delivery_id(seen);
    }
    delivery_id_of(seen.headers, members)
}

/// The default mapping: of each the first that is present and a string or integer. `attribute` is the type of a
/// CloudEvent whose body is only its data.
fn read(
    members: &Members<'_>,
    attribute: Option<String>,
    meaning: impl Fn(&str) -> Option<String>,
    by_token: bool,
) -> Mapped {
    let data: Members<'_> =
        members.get("data").and_then(|data| serde_json::from_str(data.get()).ok()).unwrap_or_default();
    // What is null is not there, and hides nothing.
    let either = |name: &str| {
        [members, &data].into_iter().find_map(|all| all.get(name).copied().filter(|raw| raw.get() != "null"))
    };
    let name = || ["event", "type"].iter().find_map(|key| text_of(members.get(*key).copied()?));
    let name = attribute.or_else(name);
    let task = text_of_either(members.get("task_id").copied(), data.get("task_id").copied());
    let attempt = either("attempt").map(|raw| text_of(raw).and_then(|text| text.parse().ok()).unwrap_or(0));
    let Some(name) = name else {
        let kind = EventKind::Other(Some("it has no event name"));
        return Mapped { name: None, task: None, attempt, kind };
    };
    let kind = match meaning(&name).unwrap_or_else(|| name.replace('.', "_")).as_str() {
        "task_started" => EventKind::Started,
        "task_heartbeat" => EventKind::Heartbeat,
        "task_progress" => EventKind::Progress(
            either("progress").and_then(|raw| raw.get().parse().ok()).map(|part: f64| part.clamp(0.0, 1.0)),
            either("message").and_then(text_of).map(|text| cut(&text, limits::MESSAGE_BYTES_MAX)),
        ),
        "task_completed" => EventKind::Completed(either("result").map(|raw| raw.get().as_bytes().into())),
        "task_failed" => failed(either("error"), either("message")),
        "task_cancelled" => EventKind::Cancelled,
        _ => EventKind::Other(None),
    };
    let name = Some(name);
    let mapped = |task, kind| Mapped { name, task, attempt, kind };
    if matches!(kind, EventKind::Other(_)) {
        return mapped(task.filter(|task| by_token || is_task_id(task)), kind);
    }
    match task {
        // That no task can be called so does not make it the one that a token stands for.
        Some(task) if by_token || is_task_id(&task) => mapped(Some(task), kind),
        Some(_) => mapped(None, EventKind::Other(Some("its task_id is no id of a task"))),
        None if by_token => mapped(None, kind),
        None => mapped(None, EventKind::Other(Some("it names no task"))),
    }
}

fn failed(error: Option<&RawValue>, message: Option<&RawValue>) -> EventKind {
    let parts: Members<'_> = error.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    let text = |name: &str| parts.get(name).copied().and_then(text_of);
    let said = error.and_then(text_of).or_else(|| text("message")).or_else(|| message.and_then(text_of));
    let message = said.unwrap_or_else(|| "the worker reported a failure without a message".into());
    let code = text("code").unwrap_or_else(|| "reported".into());
    let retryable = parts.get("retryable").is_none_or(|raw| raw.get() != "false");
    let failure = Failure {
        code: cut(&code, limits::CODE_BYTES_MAX),
        message: cut(&message, limits::MESSAGE_BYTES_MAX),
    };
    EventKind::Failed(failure, retryable)
}

/// Whether a task can have this id: one that a caller may choose, or one that Taskhook derives.
fn is_task_id(text: &str) -> bool {
    let shape = |byte: u8| byte.is_ascii_alphanumeric() || b"._:@-~".contains(&byte);
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.len() <= limits::ID_BYTES_MAX * 2
        && text.bytes().all(shape)
}

fn text_of_either(first: Option<&RawValue>, second: Option<&RawValue>) -> Option<String> {
    first.and_then(text_of).or_else(|| second.and_then(text_of))
}

/// The header `webhook-id`, or the id of a CloudEvent within its source.
fn delivery_id_of(headers: &HeaderMap, members: &Members<'_>) -> Option<String> {
    if let Some(id) = header(headers, "webhook-id") {
        return Some(id.to_string());
    }
    if let (Some(source), Some(id)) = (attribute(headers, "ce-source"), attribute(headers, "ce-id")) {
        return Some(format!("{source}\n{id}"));
    }
    let member = |name: &str| members.get(name).copied().and_then(text_of);
    member("specversion")?;
    Some(format!("{}\n{}", member("source")?, member("id")?))
}
