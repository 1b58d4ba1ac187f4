//! What the flags of several commands have in common.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::time::Duration;

use clap::ValueEnum;
use jiff::{Span, SpanRelativeTo};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::cli::{Code, Failed};

/// Which answers complete an attempt.
#[derive(Debug, Clone, Copy, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(super) enum Completion {
    /// 202 waits for a webhook, any other 2xx is success
    Auto,
    /// Every 2xx is success
    Response,
    /// Every 2xx waits for a webhook
    Callback,
}

/// The JSON of a flag: the text itself, `@file`, or `-` for standard input. Its bytes are kept as they are.
///
/// # Errors
/// A usage error if it cannot be read or is no JSON.
pub(super) fn json(flag: &str, given: &str) -> Result<Box<RawValue>, Failed> {
    let unreadable = |error| Failed::new(Code::Usage, format!("{flag} {given}: {error}"));
    let text = match given.strip_prefix('@') {
        Some(path) => std::fs::read_to_string(path).map_err(unreadable)?,
        None if given == "-" => {
            let mut text = String::new();
            std::io::stdin().lock().read_to_string(&mut text).map_err(unreadable)?;
            text
        }
        None => given.to_string(),
    };
    serde_json::from_str(&text).map_err(|error| {
        let hint = if text.trim_start().starts_with(['{', '[', '"']) {
            ""
        } else {
            "; a text needs quotes: '\"done\"'"
        };
        Failed::new(Code::Usage, format!("{flag} is not JSON: {error}{hint}"))
    })
}

/// A `name=value` pair.
///
/// # Errors
/// What is wrong with it.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("must be NAME=VALUE".into()),
    }
}

/// The pairs of a flag that may be repeated, but not with the same name: only one of the values would count.
///
/// # Errors
/// A usage error if a name is given twice.
pub(super) fn each_once(
    flag: &str,
    pairs: Vec<(String, String)>,
) -> Result<BTreeMap<String, String>, Failed> {
    let mut map = BTreeMap::new();
    for (name, value) in pairs {
        if map.contains_key(&name) {
            return Err(Failed::new(Code::Usage, format!("{flag} names {name} twice")));
        }
        map.insert(name, value);
    }
    Ok(map)
}

/// A duration as the API reads it.
///
/// # Errors
/// What one looks like, if it is none.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "must be a duration such as 30s, \"1h 30m\" or PT30S".to_string();
    let span: Span = text.parse().map_err(|_| wrong())?;
    let signed = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    Duration::try_from(signed).map_err(|_| wrong())
}

/// A value that may not be empty.
///
/// # Errors
/// If it is.
pub(super) fn filled(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("must not be empty".into()) } else { Ok(text.into()) }
}

/// A number that JSON can hold.
///
/// # Errors
/// If it is none.
pub(super) fn number(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or_else(|| "must be a number".into())
}

/// `LIMIT/PER` or `LIMIT/PER+BURST`, as the API takes it.
///
/// # Errors
/// What one looks like, if it is none.
pub(super) fn rate(text: &str) -> Result<Value, String> {
    let wrong = || "must be LIMIT/PER or LIMIT/PER+BURST, such as 100/1s or 100/1s+20".to_string();
    let (limit, rest) = text.split_once('/').ok_or_else(wrong)?;
    let (per, burst) = rest.split_once('+').unwrap_or((rest, "1"));
    let count = |text: &str| text.parse::<u32>().map_err(|_| wrong());
    let (limit, burst) = (count(limit)?, count(burst)?);
    duration(per)?;
    Ok(json!({"limit": limit, "per": per, "burst": burst}))
}

/// A secret from a file, `-` for standard input: on the command line, other users of the machine would see it.
///
/// # Errors
/// A usage error if it cannot be read.
pub(super) fn secret(path: &str) -> Result<String, Failed> {
    let text = file("--secret-file", path)?;
    // Editors end the last line.
    Ok(text.trim_end_matches(['\r', '\n']).to_string())
}

/// The text of a file, or with `-` of standard input.
///
/// # Errors
/// A usage error if it cannot be read.
pub(super) fn file(flag: &str, path: &str) -> Result<String, Failed> {
    let text = match path {
        "-" => std::io::read_to_string(std::io::stdin().lock()),
        path => std::fs::read_to_string(path),
    };
    text.map_err(|error| Failed::new(Code::Usage, format!("{flag} {path}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_kept_byte_for_byte_wherever_it_comes_from() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("payload.json");
        std::fs::write(&path, "{\"a\": 1.00, \"a b\":[ ]}\n").unwrap();
        assert_eq!(json("--payload", "{\"n\":  1e3}").unwrap().get(), "{\"n\":  1e3}");
        assert_eq!(
            json("--payload", &format!("@{}", path.display())).unwrap().get(),
            "{\"a\": 1.00, \"a b\":[ ]}"
        );
        let wrong = json("--result", "done").unwrap_err();
        assert_eq!(wrong.code, Code::Usage);
        assert!(wrong.text.ends_with("a text needs quotes: '\"done\"'"), "{wrong}");
        assert_eq!(json("--result", "@/no/such/file").unwrap_err().code, Code::Usage);
    }

    #[test]
    fn a_rate_is_a_limit_a_span_and_maybe_a_burst() {
        let check = |text: &str, limit: u32, per: &str, burst: u32| {
            assert_eq!(rate(text), Ok(json!({"limit": limit, "per": per, "burst": burst})), "{text}");
        };
        check("100/1s", 100, "1s", 1);
        check("100/1s+20", 100, "1s", 20);
        check("5/1h 30m+2", 5, "1h 30m", 2);
        check("5/PT30S", 5, "PT30S", 1);
        for wrong in ["", "100", "100/", "/1s", "100/s", "100/1s+", "1s/100", "-1/1s", "1/1s+2+3", "1.5/1s"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_are_read_as_the_api_reads_them() {
        assert_eq!(duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(duration("PT30S"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1d"), Ok(Duration::from_secs(86_400)));
        for wrong in ["", "60", "-1s", "soon"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
