//! What a request says of itself, and where: its delivery id, the kind of its event.

use std::collections::BTreeMap;

use axum::http::HeaderMap;
use serde_json::value::RawValue;

use crate::source::verify::Seen;

/// Where a request says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// In this header.
    Header(&'static str),
    /// In this member of the JSON body, a string or an integer.
    Body(&'static [&'static str]),
    /// In this field of the form.
    Field(&'static str),
}

/// Ways to find something: the first of which every part is there. The parts are joined with dots.
pub type Ways = &'static [&'static [Fact]];

/// What is found in a request.
#[must_use]
pub fn find(ways: Ways, seen: &Seen<'_>) -> Option<String> {
    let one = |fact: &Fact| match fact {
        Fact::Header(name) => header(seen.headers, name).map(Into::into),
        Fact::Body(path) => member(seen.body, path),
        Fact::Field(name) => {
            let fields = fields(seen.headers, seen.body)?;
            fields.into_iter().find(|(field, _)| field == name).map(|(_, value)| value)
        }
    };
    let found = |way: &&[Fact]| way.iter().map(one).collect::<Option<Vec<_>>>().map(|parts| parts.join("."));
    ways.iter().find_map(found).filter(|text| !text.is_empty())
}

/// The value of a header that is there once, in visible ASCII.
#[must_use]
pub fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok().filter(|text| !text.is_empty())?;
    values.next().is_none().then_some(value)
}

/// An attribute of a CloudEvent in binary mode, where it is a header: `ce-type` (CloudEvents 1.0.2, HTTP binding, 3.1.3).
#[must_use]
pub fn attribute(headers: &HeaderMap, name: &str) -> Option<String> {
    is_binary(headers).then(|| header(headers, name)).flatten().and_then(decoded)
}

/// Whether a request is a CloudEvent in binary mode.
fn is_binary(headers: &HeaderMap) -> bool {
    let structured = "application/cloudevents";
    let is_structured =
        |kind: &str| kind.get(..structured.len()).is_some_and(|start| start.eq_ignore_ascii_case(structured));
    headers.contains_key("ce-id") && !header(headers, "content-type").is_some_and(is_structured)
}

/// The attribute of a CloudEvent that is no percent-encoded UTF-8.
#[must_use]
pub fn wrong_attribute(headers: &HeaderMap) -> Option<&str> {
    let attributes =
        headers.iter().filter(|(name, _)| name.as_str().starts_with("ce-") && is_binary(headers));
    let mut wrong = attributes.filter(|(_, value)| value.to_str().ok().and_then(decoded).is_none());
    wrong.next().map(|(name, _)| name.as_str())
}

fn decoded(value: &str) -> Option<String> {
    percent_encoding::percent_decode_str(value).decode_utf8().ok().map(Into::into)
}

/// The name of a header, in lower case.
///
/// # Errors
/// If it is none.
pub fn header_name(text: &str) -> Result<String, String> {
    let name = axum::http::HeaderName::from_bytes(text.as_bytes());
    name.map(|name| name.as_str().into()).map_err(|_| format!("{text:?} is no name of a header"))
}

/// The member of a JSON object at `path`, a string or an integer, as text.
#[must_use]
pub fn member(body: &[u8], path: &[&str]) -> Option<String> {
    let (last, before) = path.split_last()?;
    let mut object: BTreeMap<String, &RawValue> = serde_json::from_slice(body).ok()?;
    for name in before {
        object = serde_json::from_str(object.remove(*name)?.get()).ok()?;
    }
    text_of(object.remove(*last)?)
}

/// A string, or an integer as its decimal text.
#[must_use]
pub fn text_of(raw: &RawValue) -> Option<String> {
    let text = raw.get();
    if text.starts_with('"') {
        return serde_json::from_str(text).ok();
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.to_string())
}

/// The fields of a body that is a form (`application/x-www-form-urlencoded`), in order.
#[must_use]
pub fn fields(headers: &HeaderMap, body: &[u8]) -> Option<Vec<(String, String)>> {
    let kind = header(headers, "content-type")?.split(';').next()?.trim();
    let is_form = kind.eq_ignore_ascii_case("application/x-www-form-urlencoded");
    is_form.then(|| form_urlencoded::parse(body).into_owned().collect())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    /// CloudEvents 1.0.2, HTTP protocol binding, 3.1.3.2.
    #[test]
    fn an_attribute_in_a_header_is_percent_encoded() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("ce-id", HeaderValue::from_static("1"));
            headers.insert("ce-type", HeaderValue::from_static(value));
            (attribute(&headers, "ce-type"), wrong_attribute(&headers).map(ToString::to_string))
        };
        assert_eq!(of("Euro%20%E2%82%AC%20%F0%9F%98%80"), (Some("Euro € 😀".into()), None));
        assert_eq!(of("Euro%20%e2%82%ac%20%f0%9f%98%80").0.as_deref(), Some("Euro € 😀"));
        assert_eq!(of("%C0%A0"), (None, Some("ce-type".into())), "no UTF-8");
        let mut headers = HeaderMap::new();
        headers.insert("ce-type", HeaderValue::from_static("x"));
        assert_eq!(attribute(&headers, "ce-type"), None, "no CloudEvent");
    }
}
