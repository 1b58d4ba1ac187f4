//! What a webhook says: from the members of its body to an event.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::HeaderMap;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use taskhook_core::{EventKind, limits};

use crate::expression::{self, Expression, Scope, checked_id};
use crate::http::webhook::{stored_headers, stored_query};
use crate::json::Members;
use crate::report;
use crate::report::joined;
use crate::source::facts::{attribute, header, text_of};
use crate::source::registry::Live;
use crate::source::verify::Seen;

/// What a webhook says.
#[derive(Debug)]
pub struct Mapped {
    /// The name of its event, as it came.
    pub name: Option<String>,
    /// The task it names.
    pub task: Option<String>,
    /// The remote's own id of the task that it names in the place of a task's.
    pub external: Option<String>,
    /// The attempt it names.
    pub attempt: Option<u32>,
    /// What that means.
    pub kind: EventKind,
}

/// What the expressions of a source have found in a webhook; `None`: it is null, or not there.
#[derive(Debug, Default)]
pub struct Found(BTreeMap<String, Option<Value>>);

impl Found {
    /// Looks for everything that the source says where to find. `text` is the body as JSON, checked.
    ///
    /// # Errors
    /// Which expression failed, and why.
    pub async fn of(source: &Arc<Live>, text: &[u8], seen: &Seen<'_>) -> Result<Found, String> {
        if source.maps.is_empty() {
            return Ok(Found::default());
        }
        let body: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let headers = joined(stored_headers(seen.headers, &source.secret_headers()));
        // As it is kept: a replay finds the same, and no credential comes into a result.
        let query = stored_query(seen.url.split_once('?').map(|(_, query)| query).unwrap_or_default());
        let query: Map<String, Value> = form_urlencoded::parse(query.as_bytes())
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        let variables =
            vec![("body", body), ("headers", serde_json::json!(headers)), ("query", query.into())];
        let source = source.clone();
        let has_loops = source.maps.values().any(Expression::has_loops);
        let look = move || {
            let scope = Scope::new(variables)?;
            let one = |(name, expression): (&String, &Expression)| {
                let found = expression.evaluate(&scope).map_err(|why| format!("map.{name}: {why}"))?;
                Ok((name.clone(), found))
            };
            source.maps.iter().map(one).collect::<Result<_, String>>().map(Found)
        };
        match has_loops {
            // It may take some milliseconds, and others are to be answered meanwhile.
            true => {
                tokio::task::spawn_blocking(look).await.map_err(|_| "an expression failed".to_string())?
            }
            false => look(),
        }
    }

    /// What was found under a name, as text; `None`: the source says nothing about it.
    fn text(&self, name: &str) -> Option<Option<String>> {
        self.0.get(name).map(|found| found.as_ref().and_then(expression::text_of))
    }

    /// The same as JSON.
    fn raw(&self, name: &str) -> Option<Option<Box<RawValue>>> {
        let found = self.0.get(name)?;
        Some(found.as_ref().and_then(|value| RawValue::from_string(value.to_string()).ok()))
    }
}

/// What a webhook says, before it is known what that means.
#[derive(Default)]
struct Said<'a> {
    /// The name of its event.
    name: Option<String>,
    /// What that is said to mean.
    meaning: Option<String>,
    task: Option<String>,
    external: Option<String>,
    attempt: Option<u32>,
    result: Option<Cow<'a, RawValue>>,
    error: Option<Cow<'a, RawValue>>,
    progress: Option<Cow<'a, RawValue>>,
    message: Option<String>,
}

/// What a webhook of this source says; `by_token`: it came by a callback URL, which names its task.
pub fn map(source: &Live, members: &Members<'_>, seen: &Seen<'_>, by_token: bool, found: &Found) -> Mapped {
    let is_worker = source.preset().is_none_or(|preset| preset.is_worker) || by_token;
    // A sender of its own kind says nothing about tasks, unless its source says where.
    let mut said = match is_worker {
        true => Said::by_default(members, attribute(seen.headers, "ce-type")),
        false => Said { name: source.kind(seen), ..Said::default() },
    };
    said.meaning = said.name.as_ref().and_then(|name| source.definition.event_names.get(name)).cloned();
    if is_worker && said.meaning.is_none() {
        said.meaning = said.name.as_ref().map(|name| name.replace('.', "_"));
    }
    said.take(found);
    said.meant(by_token)
}

/// The delivery id of a webhook of this source: as its sender says it, or the header `webhook-id`, or the id of a
/// CloudEvent within its source.
pub fn delivery_id(source: &Live, members: &Members<'_>, seen: &Seen<'_>, found: &Found) -> Option<String> {
    if let Some(id) = found.text("delivery_id") {
        return id;
    }
    if source.preset().is_some_and(|preset| !preset.is_worker) {
        return source.delivery_id(seen);
    }
    delivery_id_of(seen.headers, members)
}

impl<'a> Said<'a> {
    /// The default mapping: of each the first that is present and a string or integer. `attribute` is the type of a
    /// CloudEvent whose body is only its data.
    fn by_default(members: &Members<'a>, attribute: Option<String>) -> Said<'a> {
        let data: Members<'a> =
            members.get("data").and_then(|data| serde_json::from_str(data.get()).ok()).unwrap_or_default();
        // What is null is not there, and hides nothing.
        let either = |name: &str| {
            [members, &data]
                .into_iter()
                .find_map(|all| all.get(name).copied().filter(|raw| raw.get() != "null"))
        };
        let name = || ["event", "type"].iter().find_map(|key| text_of(members.get(*key).copied()?));
        let attempt =
            either("attempt").map(|raw| text_of(raw).and_then(|text| text.parse().ok()).unwrap_or(0));
        Said {
            name: attribute.or_else(name),
            meaning: None,
            external: None,
            task: text_of_either(members.get("task_id").copied(), data.get("task_id").copied()),
            attempt,
            result: either("result").map(Cow::Borrowed),
            error: either("error").map(Cow::Borrowed),
            progress: either("progress").map(Cow::Borrowed),
            message: either("message").and_then(text_of),
        }
    }

    /// What its source has found otherwise counts in the place of what is said by default.
    fn take(&mut self, found: &Found) {
        if let Some(meaning) = found.text("event") {
            self.name = self.name.take().or_else(|| meaning.clone());
            self.meaning = meaning.map(|meaning| meaning.replace('.', "_"));
        }
        if let Some(task) = found.text("task_id") {
            self.task = task;
        }
        if let Some(external) = found.text("external_id") {
            self.external = external;
        }
        if let Some(attempt) = found.text("attempt") {
            // What is no number is no attempt that ever was.
            self.attempt = attempt.map(|text| text.parse().unwrap_or(0));
        }
        if let Some(result) = found.raw("result") {
            self.result = result.map(Cow::Owned);
        }
        if let Some(error) = found.raw("error") {
            self.error = error.map(Cow::Owned);
        }
        if let Some(progress) = found.raw("progress") {
            self.progress = progress.map(Cow::Owned);
        }
    }

    fn meant(self, by_token: bool) -> Mapped {
        let Said { name, meaning, task, external, attempt, result, error, progress, message } = self;
        let Some(name) = name else {
            let kind = EventKind::Other(Some("it has no event name"));
            return Mapped { name: None, task: None, external: None, attempt, kind };
        };
        let kind = match meaning.as_deref() {
            Some("task_started") => EventKind::Started,
            Some("task_heartbeat") => EventKind::Heartbeat,
            Some("task_progress") => report::progress(progress.as_ref().map(|raw| raw.get()), message),
            Some("task_completed") => EventKind::Completed(result.map(|raw| raw.get().as_bytes().into())),
            Some("task_failed") => report::failed(error.as_deref(), message),
            Some("task_cancelled") => EventKind::Cancelled,
            _ => EventKind::Other(None),
        };
        let name = Some(name);
        let mapped = |task, external, kind| Mapped { name, task, external, attempt, kind };
        if matches!(kind, EventKind::Other(_)) {
            return mapped(task.filter(|task| by_token || is_task_id(task)), None, kind);
        }
        match (task, external.map(checked_id)) {
            // That no task can be called so does not make it the one that a token stands for.
            (Some(task), _) if by_token || is_task_id(&task) => mapped(Some(task), None, kind),
            (Some(_), _) => mapped(None, None, EventKind::Other(Some("its task_id is no id of a task"))),
            (None, _) if by_token => mapped(None, None, kind),
            (None, Some(Ok(external))) => mapped(None, Some(external), kind),
            (None, Some(Err(_))) => mapped(None, None, EventKind::Other(Some("its external_id is no id"))),
            (None, None) => mapped(None, None, EventKind::Other(Some("it names no task"))),
        }
    }
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
