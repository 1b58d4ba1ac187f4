//! What a request says of itself, and where: its delivery id, the kind of its event.

use std::collections::BTreeMap;

use axum::http::HeaderMap;
use serde_json::value::RawValue;

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

/// What is found in a request; `fields` are those of its body, where that is a form.
#[must_use]
pub fn find(ways: Ways, headers: &HeaderMap, body: &[u8], fields: &[(String, String)]) -> Option<String> {
    let one = |fact: &Fact| match fact {
        Fact::Header(name) => header(headers, name).map(Into::into),
        Fact::Body(path) => member(body, path),
        Fact::Field(name) => fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone()),
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
