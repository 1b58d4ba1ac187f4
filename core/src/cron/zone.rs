//! What the clocks of a time zone show, and when they first show it.
//!
//! Instants and local times are both whole seconds; a local time counts them as if its clock were UTC's.

use jiff::civil::Date;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::limits;

/// The first and the last second that local times are computed for: year 1, and the last instant that is printed.
pub(super) const SECONDS_MIN: i64 = -62_135_596_800;
pub(super) const SECONDS_MAX: i64 = 253_402_207_200;
pub(super) const DAY: i64 = 86_400;
/// No clock is further from UTC than this.
const OFFSET_MAX: i64 = 26 * 3_600;

/// A time zone with a name.
#[derive(Debug, Clone)]
pub(super) struct Zone {
    zone: TimeZone,
    name: String,
}

/// A stretch of time in which a clock is not changed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    /// Its first second, and the first one after it.
    pub(super) start: i64,
    pub(super) end: i64,
    /// What is added to an instant to get the local time.
    pub(super) offset: i64,
}

impl Zone {
    /// The zone of this IANA name, in any case. Only the data that the program was built with is asked:
    /// `jiff::tz::db()` and `TimeZone::get` would look into the machine's first, where another crate of the build
    /// turns that on.
    pub(super) fn named(name: &str) -> Result<Zone, String> {
        let bundled = TimeZoneDatabase::bundled();
        let found = bundled.get(name).ok().filter(|zone| !zone.is_unknown());
        let Some(zone) = found else {
            let hint = similar(&bundled, name).map_or_else(
                || "; write an IANA name such as Europe/Stockholm or UTC".into(),
                |name| format!("; did you mean {name}?"),
            );
            let shown: String = name.chars().take(limits::NAME_BYTES_MAX).collect();
            return Err(format!("there is no time zone {shown:?}{hint}"));
        };
        let name = zone.iana_name().unwrap_or(name).to_string();
        Ok(Zone { zone, name })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The stretch around an instant.
    pub(super) fn stretch(&self, at: i64) -> Stretch {
        let start = self.zone.preceding(instant(at.saturating_add(1))).next();
        let end = self.zone.following(instant(at)).next();
        Stretch {
            start: start.map_or(i64::MIN, |change| change.timestamp().as_second()),
            end: end.map_or(i64::MAX, |change| change.timestamp().as_second()),
            offset: self.offset(at),
        }
    }

    /// The latest local time, in whole seconds, that the clock has shown until then, which after it was set back
    /// is later than what it shows.
    pub(super) fn shown_until(&self, at: i64) -> i64 {
        let mut latest = at + self.offset(at);
        for change in self.zone.preceding(instant(at.saturating_add(1))) {
            let change = change.timestamp().as_second();
            // What was shown longer ago than two offsets can differ is earlier than what is shown now.
            if change < at - 2 * OFFSET_MAX {
                break;
            }
            latest = latest.max(change - 1 + self.offset(change - 1));
        }
        latest
    }

    /// The first instant at which the clock shows this local time or a later one: the end of the gap if it is
    /// never shown, and the first of two if it is shown twice.
    pub(super) fn first_showing(&self, local: i64) -> i64 {
        let mut from = local - OFFSET_MAX;
        loop {
            let stretch = self.stretch(from);
            let at = from.max(local - stretch.offset);
            if at < stretch.end {
                return at;
            }
            from = stretch.end;
        }
    }

    /// What the clock shows, with its offset and the zone's name.
    pub(super) fn show(&self, at: i64) -> String {
        instant(at).to_zoned(self.zone.clone()).to_string()
    }

    pub(super) fn offset(&self, at: i64) -> i64 {
        i64::from(self.zone.to_offset(instant(at)).seconds())
    }
}

/// An instant for the time zone database, which ends with the year 9999.
fn instant(seconds: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(seconds).unwrap_or(if seconds < 0 {
        jiff::Timestamp::MIN
    } else {
        jiff::Timestamp::MAX
    })
}

/// The local time of a day's midnight.
pub(super) fn local_seconds(day: Date) -> i64 {
    i64::from((day - EPOCH).get_days()) * DAY
}

/// The day that a local time is on.
pub(super) fn day_of(local: i64) -> Option<Date> {
    let days = i32::try_from(local.div_euclid(DAY)).ok()?;
    EPOCH.checked_add(jiff::Span::new().try_days(days).ok()?).ok()
}

const EPOCH: Date = Date::constant(1970, 1, 1);

/// The name that somebody may have meant: with the same place, or spelled almost so.
fn similar(bundled: &TimeZoneDatabase, name: &str) -> Option<String> {
    if name.is_empty() || name.len() > limits::NAME_BYTES_MAX {
        return None;
    }
    let wanted = name.trim().to_ascii_lowercase().replace(' ', "_");
    let place = |name: &str| name.rsplit('/').next().unwrap_or(name).to_string();
    let mut nearest = None;
    for known in bundled.available() {
        let lower = known.as_str().to_ascii_lowercase();
        let typos = if place(&lower) == place(&wanted) { 0 } else { typos_between(&lower, &wanted) };
        if typos <= 2 && nearest.as_ref().is_none_or(|(least, _)| typos < *least) {
            nearest = Some((typos, known.as_str().to_string()));
        }
    }
    nearest.map(|(_, name)| name)
}

/// The number of letters that were changed, added or left out (Levenshtein's distance).
fn typos_between(known: &str, given: &str) -> usize {
    let mut row: Vec<usize> = (0..=given.len()).collect();
    for (line, ours) in known.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for (column, theirs) in given.bytes().enumerate() {
            let changed = diagonal + usize::from(ours != theirs);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[given.len()]
}
