//! What a worker says of an attempt: the same words in a webhook, and in the answer of a status URL.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use taskhook_core::{EventKind, Failure, limits};

use crate::source::facts::text_of;

/// Header fields by name, the values of repeated ones as one list (RFC 9110, 5.3).
#[must_use]
pub fn joined(fields: Vec<(String, String)>) -> BTreeMap<String, String> {
    let mut joined: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in fields {
        match joined.get_mut(&name) {
            Some(values) => {
                values.push_str(", ");
                values.push_str(&value);
            }
            None => drop(joined.insert(name, value)),
        }
    }
    joined
}

/// A failure: `error` is a text, or an object with `message`, `code` and `retryable`; `message` stands in for it.
#[must_use]
pub fn failed(error: Option<&RawValue>, message: Option<String>) -> EventKind {
    let parts: BTreeMap<String, &RawValue> =
        error.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    let text = |name: &str| parts.get(name).copied().and_then(text_of);
    let said = error.and_then(text_of).or_else(|| text("message")).or(message);
    let message = said.unwrap_or_else(|| "the worker reported a failure without a message".into());
    let code = text("code").unwrap_or_else(|| "reported".into());
    let retryable = parts.get("retryable").is_none_or(|raw| raw.get() != "false");
    let failure = Failure {
        code: cut(&code, limits::CODE_BYTES_MAX),
        message: cut(&message, limits::MESSAGE_BYTES_MAX),
    };
    EventKind::Failed(failure, retryable)
}

/// Progress: a part from 0 to 1, as JSON, and a few words. What is no such part is left out, and the words say so where
/// nobody gave any.
#[must_use]
pub fn progress(part: Option<&str>, message: Option<String>) -> EventKind {
    let read = |text: &str| text.parse().ok().filter(|part| (0.0..=1.0).contains(part));
    let (part, unread) = part.map_or((None, None), |text| match read(text) {
        Some(part) => (Some(part), None),
        None => {
            let (shown, more) = (cut(text, 64), if text.len() > 64 { "…" } else { "" });
            (None, Some(format!("progress {shown}{more} is left out: it has to be a number from 0 to 1")))
        }
    });
    EventKind::Progress(part, message.or(unread).map(|text| cut(&text, limits::MESSAGE_BYTES_MAX)))
}

/// At most `bytes_max` bytes of `text`, ending with a whole character.
#[must_use]
pub fn cut(text: &str, bytes_max: usize) -> String {
    text[..text.floor_char_boundary(bytes_max)].to_string()
}
