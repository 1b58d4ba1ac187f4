//! A target's answer, as far as it is kept.

use std::fmt;
use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::body::Incoming;
use hyper::header::{HeaderName, RETRY_AFTER};
use serde_json::Value;
use serde_json::value::RawValue;
use taskhook_core::limits::{BODY_BYTES_MAX, JSON_DEPTH_MAX, RESPONSE_BYTES_KEPT};
use taskhook_core::{Response, Timestamp};

use crate::dispatch::retry_after;
use crate::json;
use crate::report::{cut, joined};

/// Headers kept on an attempt.
const HEADERS_KEPT_MAX: usize = 32;
/// Bytes kept of one header's value.
const HEADER_VALUE_BYTES_KEPT: usize = 1_024;

/// Headers of interest, beside `taskhook-…`. None of them is known to carry secrets.
const KEPT: [&str; 8] = [
    "content-type",
    "content-length",
    "retry-after",
    "location",
    "server",
    "date",
    "x-request-id",
    "webhook-id",
];

/// Bytes of what is told of a body that is no JSON: it may repeat what a stranger has sent.
const WHY_BYTES_MAX: usize = 300;

/// A target's answer.
pub(super) struct Answer {
    /// As far as it is kept.
    pub(super) kept: Response,
    /// Why a 2xx has no JSON.
    pub(super) unread: Option<Unread>,
}

/// Why no JSON is read in the body of an answer.
pub(super) enum Unread {
    /// There is nothing in it.
    Empty,
    /// There is more in it than is read.
    TooLarge,
    /// It is something else, or too deep: why, as the end of a sentence.
    NoJson(String),
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unread::Empty => f.write_str("it is empty"),
            Unread::TooLarge => {
                write!(f, "it has more than {} MiB, and no more is read", BODY_BYTES_MAX >> 20)
            }
            Unread::NoJson(why) => write!(f, "it is no JSON: {why}"),
        }
    }
}

/// Reads an answer. Of its body at most [`BODY_BYTES_MAX`] are taken in; an answer that goes on is cut off by
/// dropping the connection. Bounded in time by the caller.
///
/// # Errors
/// If the connection broke before the end of the body.
pub(super) async fn read(
    response: hyper::Response<Incoming>,
    clock: fn() -> Timestamp,
) -> Result<Answer, hyper::Error> {
    let (head, mut body) = response.into_parts();
    // Beyond what is kept, the body matters only where it may be a result.
    let held_max = if head.status.is_success() { BODY_BYTES_MAX } else { RESPONSE_BYTES_KEPT };
    let mut held = Vec::new();
    let mut body_bytes = 0_usize;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        body_bytes = body_bytes.saturating_add(data.len());
        held.extend_from_slice(&data[..data.len().min(held_max - held.len())]);
        if body_bytes > BODY_BYTES_MAX {
            break;
        }
    }
    // Dropping a body that is not at its end closes the connection.
    drop(body);

    let is_whole = body_bytes == held.len();
    let result = if head.status.is_success() && is_whole { as_json(&held) } else { None };
    let unread = match &result {
        None if head.status.is_success() => Some(unread(&held, is_whole)),
        _ => None,
    };
    held.truncate(RESPONSE_BYTES_KEPT);
    held.shrink_to_fit();
    let asks = |name: &str, what: &str| {
        head.headers.get_all(name).iter().any(|value| value.as_bytes().eq_ignore_ascii_case(what.as_bytes()))
    };
    let pause = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let kept = Response {
        status: head.status.as_u16(),
        truncated: body_bytes > held.len(),
        body: held,
        result,
        no_retry: asks("taskhook-no-retry", "true"),
        retry_after: pause.and_then(|value| retry_after::pause(value, clock())),
        headers: of_interest(&head.headers),
    };
    Ok(Answer { kept, unread })
}

fn unread(held: &[u8], is_whole: bool) -> Unread {
    if !is_whole {
        return Unread::TooLarge;
    }
    if held.is_empty() {
        return Unread::Empty;
    }
    let why = json::check(held).err();
    Unread::NoJson(why.map_or_else(|| "it cannot be read".into(), |why| cut(&why, WHY_BYTES_MAX)))
}

/// An answer as expressions see it.
pub(super) fn shown(response: &Response) -> Value {
    let body = match &response.result {
        Some(json) => serde_json::from_slice(json).unwrap_or_default(),
        None => Value::from(String::from_utf8_lossy(&response.body)),
    };
    let headers = joined(response.headers.clone());
    serde_json::json!({"status": response.status, "headers": headers, "body": body})
}

/// The body without the space around it, if it is JSON that is not too deep to be given back.
fn as_json(body: &[u8]) -> Option<Arc<[u8]>> {
    let value: &RawValue = serde_json::from_slice(body).ok()?;
    let value = value.get().as_bytes();
    (depth(value) <= JSON_DEPTH_MAX).then(|| value.into())
}

/// How many objects and lists lie within each other in a JSON text.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_text, mut is_escaped) = (false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_text => depth -= 1,
            _ => {}
        }
    }
    deepest
}

fn of_interest(headers: &HeaderMap) -> Vec<(String, String)> {
    let is_kept = |name: &HeaderName| KEPT.contains(&name.as_str()) || name.as_str().starts_with("taskhook-");
    let found = headers.iter().filter(|(name, _)| is_kept(name)).take(HEADERS_KEPT_MAX);
    found
        .map(|(name, value)| {
            let mut value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            value.truncate(value.floor_char_boundary(HEADER_VALUE_BYTES_KEPT));
            (name.as_str().into(), value)
        })
        .collect()
}
