//! The one engine: whether a request proves that it comes from its source.
//!
//! It looks at raw bytes and headers alone. A proof that is there and wrong is never made up for by a weaker one; codes
//! are compared as they are written, in constant time, so that there is one spelling of each.

use std::borrow::Cow;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use taskhook_core::Timestamp;

use crate::secrets::sha256;
use crate::source::facts;
use crate::source::rule::{Encoding, Form, KeyForm, Part, Proof, Rule, Signed, Time, TimePlace};
use crate::source::secret::Key;

/// Proofs that are looked at in one header: more than senders have secrets.
pub const PROOFS_MAX: usize = 16;

/// Bytes of a signature of Ed25519 (RFC 8032, 5.1.6).
const ED25519_BYTES: usize = 64;

/// A request as it came.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its raw body.
    pub body: &'a [u8],
    /// The address that its sender knows, with path and query.
    pub url: &'a str,
    /// When it came.
    pub at: Timestamp,
}

/// Why a request is not taken for its source's: for those who own the source, not for the sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Denied(pub String);

/// Checks a request against `rules`, of which those for the first header that is there count. Gives the position of the
/// key that has proved it. `tolerance` takes the place of the rules' own.
///
/// # Errors
/// Why it proves nothing. The message holds no secret, and no code that would have been right.
pub fn verify(
    rules: &[Rule],
    keys: &[Key],
    tolerance: Option<Duration>,
    seen: &Seen<'_>,
) -> Result<usize, Denied> {
    let mut names = rules.iter().flat_map(|rule| rule.headers.iter()).map(String::as_str);
    let Some(name) = names.clone().find(|name| seen.headers.contains_key(*name)) else {
        let mut wanted: Vec<&str> = names.by_ref().collect();
        wanted.dedup();
        return Err(Denied(format!("it has no header {}", wanted.join(" or "))));
    };
    let Some(value) = facts::header(seen.headers, name) else {
        return Err(Denied(format!("the header {name} is empty, is there twice, or is no text")));
    };
    let mut why = None;
    for rule in rules.iter().filter(|rule| rule.headers.iter().any(|header| header == name)) {
        match check(rule, keys, name, value, seen) {
            Ok(position) => {
                let time = rule.proof.signed().and_then(|signed| signed.time.as_ref());
                return time
                    .map_or(Ok(()), |time| in_time(time, tolerance, &rule.form, value, seen))
                    .map_or_else(|wrong| Err(Denied(wrong)), |()| Ok(position));
            }
            // Of several forms of proof in one header, the first that was really tried says most.
            Err(Failed::Tried(wrong)) => why = Some(wrong),
            Err(Failed::NotThere(wrong)) => drop(why.get_or_insert(wrong)),
        }
    }
    Err(Denied(why.unwrap_or_default()))
}

enum Failed {
    NotThere(String),
    Tried(String),
}

/// Checks the proofs in one header's value by one rule.
fn check(rule: &Rule, keys: &[Key], name: &str, value: &str, seen: &Seen<'_>) -> Result<usize, Failed> {
    let keys: Vec<(usize, &Key)> =
        keys.iter().enumerate().filter(|(_, key)| rule.proof.takes(key.form())).collect();
    if keys.is_empty() {
        return Err(Failed::NotThere(format!("no secret of the source is for what the header {name} holds")));
    }
    let not_there = |wrong| Failed::NotThere(format!("the header {name} {wrong}"));
    let proofs = proofs(&rule.form, value).map_err(not_there)?;
    let messages = match rule.proof.signed() {
        Some(signed) => messages(signed, &rule.form, value, seen).map_err(Failed::Tried)?,
        None => Vec::new(),
    };
    // Every key is tried, whether or not an earlier one fits: what takes time is then no secret.
    let mut proved = None;
    for (position, key) in &keys {
        if proves(&rule.proof, key, &messages, &proofs) {
            proved.get_or_insert(*position);
        }
    }
    proved.ok_or_else(|| {
        let (tried, of) = (keys.len(), if keys.len() == 1 { "secret" } else { "secrets" });
        let what = match rule.proof {
            Proof::Token | Proof::Basic => "is none of them".into(),
            Proof::Hmac(..) | Proof::Ed25519(..) => format!(
                "was made by none of them over this request (body: {} bytes, SHA-256 {})",
                seen.body.len(),
                hex::encode(sha256(seen.body))
            ),
        };
        Failed::Tried(format!("{tried} {of} tried: what the header {name} holds {what}"))
    })
}

impl Proof {
    /// Whether a key of this form can make it.
    #[must_use]
    pub fn takes(&self, form: KeyForm) -> bool {
        match self {
            Proof::Token | Proof::Hmac(..) => matches!(form, KeyForm::Text | KeyForm::Standard),
            Proof::Basic => form == KeyForm::Pair,
            Proof::Ed25519(..) => form == KeyForm::Public,
        }
    }

    fn signed(&self) -> Option<&Signed> {
        match self {
            Proof::Token | Proof::Basic => None,
            Proof::Hmac(_, _, signed) | Proof::Ed25519(_, signed) => Some(signed),
        }
    }
}

/// The proofs in a header's value.
fn proofs<'a>(form: &Form, value: &'a str) -> Result<Vec<&'a str>, String> {
    let proofs = match form {
        Form::Behind(prefix) => {
            let proof = value.strip_prefix(prefix.as_str());
            vec![proof.ok_or_else(|| format!("does not begin with {prefix:?}"))?]
        }
        Form::Items { name, equals, .. } => {
            let proofs = items(form, value, name);
            if proofs.is_empty() {
                return Err(format!("holds no {name}{equals}"));
            }
            proofs
        }
    };
    if proofs.len() > PROOFS_MAX {
        return Err(format!("holds more than {PROOFS_MAX} signatures"));
    }
    Ok(proofs)
}

/// What the items of this name say.
fn items<'a>(form: &Form, value: &'a str, name: &str) -> Vec<&'a str> {
    let Form::Items { separator, equals, .. } = form else { return Vec::new() };
    let pairs = value.split(*separator).filter_map(|item| item.split_once(*equals));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).collect()
}

/// What may have been signed: more than one text where a sender is not exact about its URL.
fn messages(signed: &Signed, form: &Form, value: &str, seen: &Seen<'_>) -> Result<Vec<Vec<u8>>, String> {
    let has_url = signed.parts.contains(&Part::Url);
    let urls = if has_url { spellings(seen.url) } else { vec![String::new()] };
    let part = |part: &Part, url: &str| -> Result<Cow<'_, [u8]>, String> {
        Ok(match part {
            Part::Text(text) => text.clone().into_bytes().into(),
            Part::Body => seen.body.into(),
            Part::Url => url.as_bytes().to_vec().into(),
            Part::Header(name) => {
                let value = facts::header(seen.headers, name);
                value.ok_or_else(|| format!("it has no header {name}, which is signed"))?.as_bytes().into()
            }
            Part::Time => {
                let text = signed.time.as_ref().map(|time| time_text(time, form, value, seen));
                text.transpose()?.unwrap_or_default().into_bytes().into()
            }
            Part::SortedForm => sorted_form(seen)?.into(),
        })
    };
    let message = |url: &String| {
        let parts: Result<Vec<_>, _> = signed.parts.iter().map(|one| part(one, url)).collect();
        parts.map(|parts| parts.concat())
    };
    urls.iter().map(message).collect()
}

/// Whether one of `given` is what `key` makes of one of the messages. However many are given, a code is made once: the
/// sender, who may be anybody, chooses how many that are.
fn proves(proof: &Proof, key: &Key, messages: &[Vec<u8>], given: &[&str]) -> bool {
    match proof {
        Proof::Token => given.iter().any(|given| key.is(given.as_bytes())),
        Proof::Basic => given.iter().any(|given| STANDARD.decode(given).is_ok_and(|pair| key.is(&pair))),
        Proof::Hmac(algorithm, encoding, _) => messages.iter().any(|message| {
            let ours = encoded(*encoding, &key.code(*algorithm, &[message]));
            given.iter().any(|given| verify_slices_are_equal(ours.as_bytes(), given.as_bytes()).is_ok())
        }),
        Proof::Ed25519(encoding, _) => messages.iter().any(|message| {
            let decoded = given.iter().filter_map(|given| decoded(*encoding, given));
            decoded
                .filter(|given| given.len() == ED25519_BYTES)
                .any(|given| key.has_signed(&[message], &given))
        }),
    }
}

fn encoded(encoding: Encoding, bytes: &[u8]) -> String {
    match encoding {
        Encoding::Hex => hex::encode(bytes),
        Encoding::Base64 => STANDARD.encode(bytes),
    }
}

/// The bytes of `text`, if it is how they are written: there is one spelling.
fn decoded(encoding: Encoding, text: &str) -> Option<Vec<u8>> {
    let bytes = match encoding {
        Encoding::Hex => hex::decode(text).ok()?,
        Encoding::Base64 => STANDARD.decode(text).ok()?,
    };
    (encoded(encoding, &bytes) == text).then_some(bytes)
}

/// When the request says that it was signed, as it is written.
fn time_text(time: &Time, form: &Form, value: &str, seen: &Seen<'_>) -> Result<String, String> {
    match &time.place {
        TimePlace::Header(name) => facts::header(seen.headers, name)
            .map(Into::into)
            .ok_or_else(|| format!("it has no header {name}, which says when it was signed")),
        TimePlace::Item(name) => match items(form, value, name).as_slice() {
            [text] => Ok((*text).into()),
            _ => Err(format!("its signature does not say once when it was made ({name})")),
        },
        TimePlace::Body(path) => facts::member(seen.body, path)
            .ok_or_else(|| format!("its body has no {}, which says when it was signed", path.join("."))),
    }
}

/// Whether a request was signed within the tolerance.
fn in_time(
    time: &Time,
    tolerance: Option<Duration>,
    form: &Form,
    value: &str,
    seen: &Seen<'_>,
) -> Result<(), String> {
    let Some(tolerance) = tolerance.or(time.tolerance) else { return Ok(()) };
    let text = time_text(time, form, value, seen)?;
    let signed_at =
        instant(&text).ok_or_else(|| format!("{:?} is no time in seconds since 1970", shown(&text)))?;
    let (apart, way) = match signed_at <= seen.at {
        true => (seen.at.since(signed_at), "ago"),
        false => (signed_at.since(seen.at), "from now"),
    };
    if apart > tolerance {
        let seconds = apart.as_secs();
        return Err(format!(
            "it was signed {seconds} s {way}, and {} s are tolerated: it is a repeat, or a clock is wrong",
            tolerance.as_secs()
        ));
    }
    Ok(())
}

/// Seconds since 1970, or milliseconds: seconds have ten digits until the year 2286.
fn instant(text: &str) -> Option<Timestamp> {
    let is_number = !text.is_empty() && text.len() <= 15 && text.bytes().all(|byte| byte.is_ascii_digit());
    let number: i64 = text.parse().ok().filter(|_| is_number)?;
    Some(Timestamp(number * if text.len() > 11 { 1_000 } else { 1_000_000 }))
}

fn shown(text: &str) -> &str {
    &text[..text.floor_char_boundary(32)]
}

/// A URL as it is, and with its default port left out or written out.
fn spellings(url: &str) -> Vec<String> {
    let mut all = vec![url.to_string()];
    let Some((scheme, rest)) = url.split_once("://") else { return all };
    let port = if scheme == "https" { ":443" } else { ":80" };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.strip_suffix(port) {
        Some(host) => all.push(format!("{scheme}://{host}{path}")),
        None if authority.rfind(':').is_none_or(|colon| authority[colon..].contains(']')) => {
            all.push(format!("{scheme}://{authority}{port}{path}"));
        }
        None => {}
    }
    all
}

/// The fields of a form by name, names and values with nothing between, each pair once. A body that is no form is
/// vouched for by its hash in the query (`bodySHA256`), which is signed with the URL.
fn sorted_form(seen: &Seen<'_>) -> Result<Vec<u8>, String> {
    let Some(mut fields) = facts::fields(seen.headers, seen.body) else {
        let query = seen.url.split_once('?').map(|(_, query)| query).unwrap_or_default();
        let hash = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "bodySHA256");
        let is_so = hash.is_some_and(|(_, hash)| hash == hex::encode(sha256(seen.body)));
        return match is_so || (seen.body.is_empty() && !query.contains("bodySHA256")) {
            true => Ok(Vec::new()),
            false => Err("its body is not the one whose SHA-256 its URL says (bodySHA256)".into()),
        };
    };
    fields.sort();
    fields.dedup();
    Ok(fields.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()].concat()).collect())
}

#[cfg(test)]
mod tests;
