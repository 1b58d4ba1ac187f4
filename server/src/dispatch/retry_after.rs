//! `Retry-After`, as a pause. What is made of it is decided elsewhere.

use std::time::Duration;

use jiff::civil;
use jiff::fmt::strtime;
use taskhook_core::{Timestamp, limits};

/// The three forms of an HTTP date (RFC 9110, 5.6.7).
const DATES: [&str; 3] = ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];

/// The pause that `value` asks for at `now`: so many seconds, or until a date. Zero where that is past;
/// `None` where it is neither.
pub(super) fn pause(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    let (is_negative, digits) = value.strip_prefix('-').map_or((false, value), |digits| (true, digits));
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number has mean for ever.
        let seconds = if is_negative { 0 } else { digits.parse().unwrap_or(u64::MAX) };
        return Some(Duration::from_secs(seconds).min(limits::DURATION_MAX));
    }
    let until = DATES.iter().find_map(|format| date(format, value))?;
    Some(until.since(now).min(limits::DURATION_MAX))
}

fn date(format: &str, value: &str) -> Option<Timestamp> {
    let mut parsed = strtime::parse(format, value).ok()?;
    // A date with the wrong day of the week is still a date.
    parsed.set_weekday(None);
    let since_epoch = parsed.to_datetime().ok()?.duration_since(civil::date(1970, 1, 1).at(0, 0, 0, 0));
    Some(Timestamp::from_secs(since_epoch.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_pauses() {
        // 1994-11-06T08:49:07Z, thirty seconds before the date that RFC 9110 gives as its example.
        let now = Timestamp::from_secs(784_111_747);
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (value, expected) in [
            ("0", seconds(0)),
            ("120", seconds(120)),
            (" 7 ", seconds(7)),
            ("-5", seconds(0)),
            ("99999999999999999999999", Some(limits::DURATION_MAX)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", seconds(30)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", seconds(30)),
            ("Sun Nov  6 08:49:37 1994", seconds(30)),
            ("Mon, 06 Nov 1994 08:49:37 GMT", seconds(30)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", seconds(0)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", seconds(0)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(limits::DURATION_MAX)),
            ("", None),
            ("-", None),
            ("+5", None),
            ("1.5", None),
            ("5s", None),
            ("soon", None),
            ("Sun, 31 Feb 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 08:49:37 PST", None),
            ("1994-11-06T08:49:37Z", None),
        ] {
            assert_eq!(pause(value, now), expected, "{value:?}");
        }
    }
}
