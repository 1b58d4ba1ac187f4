//! What a source is to say: from JSON, with every fault named.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::{HeaderValue, Uri};
use taskhook_core::limits;

use crate::expression::Expression;
use crate::http::asked::{MapRequest, ResponseRequest, SourceRequest, VerifyRequest};
use crate::http::fields::{Fields, escaped};
use crate::http::problem::{FieldError, hint};
use crate::http::queues::retention;
use crate::json::Members;
use crate::secrets::sha256;
use crate::source::definition::{Answer, Definition, MAPPED, VARIABLES, Verify, schemes};
use crate::source::secret::{Key, SECRET_BYTES_MIN};

/// What is asked of a source's secrets.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Secrets {
    /// Those that it has.
    Keep,
    /// These.
    Replace(Vec<String>),
}

/// The names that an event can be given.
const MEANINGS: [&str; 6] =
    ["task_started", "task_progress", "task_heartbeat", "task_completed", "task_failed", "task_cancelled"];

/// Names of events that a source may give a meaning.
const EVENT_NAMES_MAX: usize = 100;

/// Bytes of the body of an answer.
const ANSWER_BYTES_MAX: usize = 4_096;

/// Longest tolerance: behind it, delivery ids are no longer remembered.
const TOLERANCE_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);

/// Reads what a source is to say, and what becomes of its secrets.
pub(super) fn read(members: Members<'_>) -> Result<(Definition, Secrets), Vec<FieldError>> {
    let mut fields = Fields::of::<SourceRequest>(members, "");
    let mut secrets = Secrets::Keep;
    let verify = match nested(&mut fields, "verify", "an object with scheme and secrets") {
        None => None,
        Some(inner) => {
            let (verify, given, errors) = verify(Fields::of::<VerifyRequest>(inner, "/verify"));
            fields.errors.extend(errors);
            secrets = given;
            Some(verify)
        }
    };
    let (event_names, maps) = match nested(&mut fields, "map", "an object with event, task_id …") {
        None => Map::default(),
        Some(inner) => {
            let (names, errors) = map(Fields::of::<MapRequest>(inner, "/map"));
            fields.errors.extend(errors);
            names
        }
    };
    let response =
        nested(&mut fields, "response", "an object with status, body and content_type").map(|inner| {
            let (answer, errors) = response(Fields::of::<ResponseRequest>(inner, "/response"));
            fields.errors.extend(errors);
            answer
        });
    let retention_ms = retention(&mut fields)
        .map(|age| age.map_or(-1, |age| i64::try_from(age.as_millis().max(1)).unwrap_or(i64::MAX)));
    let errors = fields.finish();
    if errors.is_empty() {
        Ok((Definition { verify, event_names, maps, response, retention_ms }, secrets))
    } else {
        Err(errors)
    }
}

fn nested<'a>(fields: &mut Fields<'a>, name: &str, wanted: &str) -> Option<Members<'a>> {
    let raw = fields.raw(name)?;
    match serde_json::from_str(raw.get()) {
        Ok(members) => Some(members),
        Err(_) => {
            fields.wrong(name, "wrong_type", format!("must be {wanted}"));
            None
        }
    }
}

fn verify(mut fields: Fields<'_>) -> (Verify, Secrets, Vec<FieldError>) {
    let scheme = fields.take::<String>("scheme", "the name of a scheme").unwrap_or_default();
    let text = |fields: &mut Fields<'_>, name: &str| fields.take::<String>(name, "a string");
    let mut verify = Verify {
        header: text(&mut fields, "header"),
        algorithm: text(&mut fields, "algorithm"),
        encoding: text(&mut fields, "encoding"),
        prefix: text(&mut fields, "prefix"),
        signed: text(&mut fields, "signed"),
        timestamp_header: text(&mut fields, "timestamp_header"),
        url: text(&mut fields, "url"),
        verify_token: text(&mut fields, "verify_token"),
        jwks: fields.take("jwks", "a JSON Web Key Set"),
        audience: text(&mut fields, "audience"),
        issuer: text(&mut fields, "issuer"),
        tolerance_ms: None,
        scheme,
    };
    if let Some(tolerance) = fields.duration("tolerance") {
        if tolerance.is_zero() || tolerance > TOLERANCE_MAX {
            fields.wrong("tolerance", "out_of_range", "must be more than nothing and at most 30d");
        }
        verify.tolerance_ms = Some(u64::try_from(tolerance.as_millis()).unwrap_or(u64::MAX));
    }
    let names = schemes();
    if verify.scheme.is_empty() {
        let detail = "says how requests prove themselves, such as \"github\" or \"hmac\"; \"none\" must be written out";
        fields.wrong("scheme", "missing", detail);
    } else if names.contains(&verify.scheme.as_str()) {
        let given = [
            ("header", verify.header.is_some()),
            ("algorithm", verify.algorithm.is_some()),
            ("encoding", verify.encoding.is_some()),
            ("prefix", verify.prefix.is_some()),
            ("signed", verify.signed.is_some()),
            ("timestamp_header", verify.timestamp_header.is_some()),
            ("url", verify.url.is_some()),
            ("verify_token", verify.verify_token.is_some()),
            ("jwks", verify.jwks.is_some()),
            ("audience", verify.audience.is_some()),
            ("issuer", verify.issuer.is_some()),
            ("tolerance", verify.tolerance_ms.is_some()),
        ];
        let takes = Verify::fields(&verify.scheme);
        for (name, _) in given.into_iter().filter(|(name, given)| *given && !takes.contains(name)) {
            let detail = format!("is not for the scheme {}, which says so by itself", verify.scheme);
            fields.wrong(name, "not_for_this_scheme", detail);
        }
        if let Err((name, why)) = verify.rules().and_then(|_| verify.tokens().map(|_| ())) {
            fields.wrong(name, "invalid", why);
        }
    } else {
        let known = names.join(", ");
        let hint = hint(&verify.scheme, &names);
        fields.wrong("scheme", "unknown_value", format!("must be one of {known}{hint}"));
    }
    if let Some(url) = &verify.url
        && !url.parse::<Uri>().is_ok_and(|uri| uri.scheme().is_some() && uri.authority().is_some())
    {
        fields.wrong("url", "not_a_url", "must be the absolute URL that the sender knows, https://…");
    }
    if let Some(token) = &mut verify.verify_token {
        if token.len() < SECRET_BYTES_MIN {
            fields.wrong("verify_token", "not_a_secret", format!("has fewer than {SECRET_BYTES_MIN} bytes"));
        }
        // It is only ever compared.
        *token = hex::encode(sha256(token.as_bytes()));
    }
    let secrets = secrets(&mut fields, &verify);
    (verify, secrets, fields.finish())
}

fn secrets(fields: &mut Fields<'_>, verify: &Verify) -> Secrets {
    let Some(raw) = fields.raw_or_null("secrets") else { return Secrets::Keep };
    if raw.get() == "null" {
        return Secrets::Replace(Vec::new());
    }
    let Ok(given) = serde_json::from_str::<Vec<String>>(raw.get()) else {
        fields.wrong("secrets", "wrong_type", "must be a list of strings");
        return Secrets::Keep;
    };
    if given.len() > limits::SECRETS_PER_SOURCE_MAX {
        let max = limits::SECRETS_PER_SOURCE_MAX;
        fields.wrong("secrets", "too_many", format!("there may be at most {max}"));
    }
    if !verify.needs_secrets() && !given.is_empty() {
        fields.wrong("secrets", "not_for_this_scheme", format!("are not for the scheme {}", verify.scheme));
    }
    for (position, text) in given.iter().enumerate().take(limits::SECRETS_PER_SOURCE_MAX) {
        if let Err(why) = Key::parse(text, verify.key_forms()) {
            fields.wrong_within("secrets", &position.to_string(), "not_a_secret", why);
        } else if given[..position].contains(text) {
            fields.wrong_within("secrets", &position.to_string(), "twice", "is there twice");
        }
    }
    Secrets::Replace(given)
}

/// What the requests of a source mean: names of events, and expressions.
type Map = (BTreeMap<String, String>, BTreeMap<String, String>);

fn map(mut fields: Fields<'_>) -> (Map, Vec<FieldError>) {
    let (mut names, mut maps) = Map::default();
    if let Some(raw) = fields.raw("event") {
        match serde_json::from_str::<BTreeMap<String, String>>(raw.get()) {
            Ok(given) => names = given,
            Err(_) => match serde_json::from_str::<String>(raw.get()) {
                Ok(text) => drop(maps.insert("event".into(), text)),
                Err(_) => fields.wrong(
                    "event",
                    "wrong_type",
                    "must be a table of names, such as {\"job.done\": \"task_completed\"}, or an expression",
                ),
            },
        }
    }
    if names.len() > EVENT_NAMES_MAX {
        fields.wrong("event", "too_many", format!("may have at most {EVENT_NAMES_MAX} names"));
    }
    for (name, meaning) in names.iter().take(EVENT_NAMES_MAX) {
        if !MEANINGS.contains(&meaning.as_str()) {
            let detail = format!("must be one of {}", MEANINGS.join(", "));
            fields.wrong_within("event", &escaped(name), "unknown_value", detail);
        }
    }
    for name in MAPPED.into_iter().filter(|name| *name != "event") {
        if let Some(text) = fields.take::<String>(name, "an expression, such as \"body.job.id\"") {
            maps.insert(name.into(), text);
        }
    }
    for (name, text) in &maps {
        if let Err(why) = Expression::parse(text, &VARIABLES) {
            fields.wrong(name, "not_an_expression", why);
        }
    }
    ((names, maps), fields.finish())
}

fn response(mut fields: Fields<'_>) -> (Answer, Vec<FieldError>) {
    let wanted = "a status from 200 to 299";
    let status = fields.take::<u16>("status", wanted).unwrap_or(200);
    if !(200..=299).contains(&status) {
        fields.wrong("status", "out_of_range", format!("must be {wanted}: what is taken in is a success"));
    }
    let body = fields.take::<String>("body", "a string").unwrap_or_default();
    if body.len() > ANSWER_BYTES_MAX {
        fields.wrong("body", "too_long", format!("may have at most {ANSWER_BYTES_MAX} bytes"));
    }
    if [204, 205].contains(&status) && !body.is_empty() {
        fields.wrong("body", "conflict", format!("a {status} has no body"));
    }
    let content_type = fields.take::<String>("content_type", "a media type");
    if content_type.as_ref().is_some_and(|kind| HeaderValue::from_str(kind).is_err() || kind.is_empty()) {
        fields.wrong("content_type", "not_a_header", "is no value of a header");
    }
    (Answer { status, body, content_type }, fields.finish())
}
