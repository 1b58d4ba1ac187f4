//! Durations as people write them: `"250ms"`, `"30s"`, `"1h 30m"`, `"PT30S"`, `"7d"`.

use std::time::Duration;

use jiff::{SignedDuration, Span, SpanRelativeTo};
use taskhook_core::limits;

/// Reads a duration.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("{text:?} is no duration; write for instance \"250ms\", \"30s\", \"1h 30m\" or \"PT30S\"");
    let span: Span = text.parse().map_err(|_| wrong())?;
    let signed = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    let duration = Duration::try_from(signed).map_err(|_| format!("{text:?} is negative"))?;
    if duration > limits::DURATION_MAX {
        return Err(format!("{text:?} is longer than ten years"));
    }
    Ok(duration)
}

/// Reads how long something is kept; `None`: for ever.
///
/// # Errors
/// What is wrong with it.
pub fn age(text: &str) -> Result<Option<Duration>, String> {
    if text == "never" {
        return Ok(None);
    }
    match parse(text) {
        Ok(age) if age.is_zero() => {
            Err("must be longer than nothing; write \"never\" to keep everything".into())
        }
        Ok(age) => Ok(Some(age)),
        Err(_) => Err(format!(
            "must be a duration of at most ten years, such as \"30d\" or \"12h\", or \"never\"; it is {text:?}"
        )),
    }
}

/// Writes a duration as briefly as it can be read back: `1h 30m`.
#[must_use]
pub fn show(duration: Duration) -> String {
    SignedDuration::try_from(duration)
        .map_or_else(|_| format!("{}s", duration.as_secs()), |signed| format!("{signed:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_in_every_form_of_the_contract() {
        for (text, millis) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("1h 30m", 5_400_000),
            ("1h30m", 5_400_000),
            ("PT30S", 30_000),
            ("7d", 604_800_000),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "30", "-5s", "5 parsecs", "20000d", "1mo"] {
            assert!(parse(text).is_err(), "{text}");
        }
        for text in ["250ms", "30s", "1h 30m", "5m"] {
            assert_eq!(show(parse(text).unwrap()), text);
        }
    }
}
