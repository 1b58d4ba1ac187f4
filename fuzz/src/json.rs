//! JSON: what passes is JSON to every reader, and says the same whichever way it is written; what a webhook says is read
//! from it without harm.

use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use taskhook::http::webhook::map::{Found, delivery_id, map};
use taskhook::json;
use taskhook::source::registry::Live;
use taskhook::source::verify::Seen;
use taskhook_core::id::SourceKey;
use taskhook_core::{EventKind, Timestamp, limits};

static SOURCE: LazyLock<Live> = LazyLock::new(|| Live::saying_nothing(SourceKey(1), "default".into()));

/// Takes any bytes as the body of a webhook.
pub fn check(data: &[u8]) {
    let checked = json::check(data);
    let loose: Result<Value, _> = serde_json::from_slice(data);
    let Ok(()) = checked else {
        let why = checked.expect_err("it is refused");
        return assert!(!why.is_empty() && !why.contains('\n'), "{why:?}");
    };
    let value = loose.expect("others read it too");
    let text = std::str::from_utf8(data).expect("checked JSON is UTF-8");
    let canonical = json::canonical(text);
    // Numbers are kept as they are written, which no value remembers.
    if !has_numbers(&value) {
        let written = serde_json::to_string_pretty(&value).expect("a value can be written");
        assert_eq!(json::canonical(&written), canonical, "the same, written another way");
    }

    let Ok(members) = json::object(data) else { return };
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_static("ce-id"), HeaderValue::from_static("1"));
    let seen =
        Seen { headers: &headers, body: data, url: "http://127.0.0.1/webhook", at: Timestamp::from_secs(0) };
    for by_token in [false, true] {
        let mapped = map(&SOURCE, &members, &seen, by_token, &Found::default());
        match mapped.kind {
            EventKind::Progress(part, message) => {
                assert!(part.is_none_or(|part| (0.0..=1.0).contains(&part)), "{part:?}");
                assert!(message.is_none_or(|text| text.len() <= limits::MESSAGE_BYTES_MAX));
            }
            EventKind::Failed(failure, _) => {
                assert!(failure.code.len() <= limits::CODE_BYTES_MAX);
                assert!(failure.message.len() <= limits::MESSAGE_BYTES_MAX);
            }
            _ => {}
        }
    }
    let _ = delivery_id(&SOURCE, &members, &seen, &Found::default());
}

fn has_numbers(value: &Value) -> bool {
    match value {
        Value::Number(_) => true,
        Value::Array(items) => items.iter().any(has_numbers),
        Value::Object(members) => members.values().any(has_numbers),
        _ => false,
    }
}
