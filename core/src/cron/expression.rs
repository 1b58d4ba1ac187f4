//! A cron expression: which local times match it. It knows nothing of time zones.
//!
//! croner reads the fields and knows which days match; the time of day is three sets of bits.

use croner::parser::{CronParser, Seconds, Year};
use croner::{Cron, CronComponent, Weekday as CronWeekday};
use jiff::civil::Date;

use super::check;
use super::zone::{DAY, day_of, local_seconds};

/// The Gregorian calendar repeats itself after so many years, weekdays included: what is not found in them never is.
const CALENDAR_YEARS: i16 = 400;

/// A cron expression that matches again and again.
#[derive(Debug, Clone)]
pub(super) struct Expression {
    cron: Cron,
    seconds: u64,
    minutes: u64,
    hours: u64,
    follows_elapsed_time: bool,
}

impl Expression {
    pub(super) fn parse(text: &str) -> Result<Expression, String> {
        let fields = check::fields(text)?;
        let unlimited = |field: &String| field.starts_with('*');
        let parser = CronParser::builder()
            .seconds(Seconds::Required)
            .year(Year::Disallowed)
            // As in cron: either day is enough, unless one of the two fields begins with `*`.
            .dom_and_dow(unlimited(&fields[3]) || unlimited(&fields[5]))
            .build();
        // The fields have been checked one by one; croner refusing them all the same would still be no panic.
        let cron = parser.parse(&fields.join(" ")).map_err(|error| format!("{text:?}: {error}"))?;
        let expression = Expression {
            seconds: bits(&cron.pattern.seconds),
            minutes: bits(&cron.pattern.minutes),
            hours: bits(&cron.pattern.hours),
            follows_elapsed_time: unlimited(&fields[1]) || unlimited(&fields[2]),
            cron,
        };
        if expression.first_day_from(Date::constant(2000, 1, 1)).is_none() {
            let [.., day, month, _] = &fields;
            return Err(format!("{text:?} is never due: no year has day {day} in month {month}"));
        }
        Ok(expression)
    }

    /// Whether it follows elapsed time, since its minute or its hour begins with `*`.
    pub(super) fn follows_elapsed_time(&self) -> bool {
        self.follows_elapsed_time
    }

    /// The first matching local time at or after this one.
    pub(super) fn first_from(&self, local: i64) -> Option<i64> {
        let today = day_of(local)?;
        if self.is_due_on(today)
            && let Some(time) = self.first_time_from(local.rem_euclid(DAY))
        {
            return Some(local_seconds(today) + time);
        }
        let day = self.first_day_from(today.tomorrow().ok()?)?;
        Some(local_seconds(day) + self.first_time_from(0)?)
    }

    /// The last matching local time at or before this one.
    pub(super) fn last_until(&self, local: i64) -> Option<i64> {
        let today = day_of(local)?;
        if self.is_due_on(today)
            && let Some(time) = self.last_time_until(local.rem_euclid(DAY))
        {
            return Some(local_seconds(today) + time);
        }
        let day = self.last_day_until(today.yesterday().ok()?)?;
        Some(local_seconds(day) + self.last_time_until(DAY - 1)?)
    }

    fn first_day_from(&self, from: Date) -> Option<Date> {
        let mut day = from;
        while day.year() <= from.year().saturating_add(CALENDAR_YEARS) {
            if !self.is_due_in_month(day) {
                day = day.last_of_month().tomorrow().ok()?;
            } else if self.is_due_on(day) {
                return Some(day);
            } else {
                day = day.tomorrow().ok()?;
            }
        }
        None
    }

    fn last_day_until(&self, until: Date) -> Option<Date> {
        let mut day = until;
        while day.year() >= until.year().saturating_sub(CALENDAR_YEARS) {
            if !self.is_due_in_month(day) {
                day = day.first_of_month().yesterday().ok()?;
            } else if self.is_due_on(day) {
                return Some(day);
            } else {
                day = day.yesterday().ok()?;
            }
        }
        None
    }

    fn is_due_in_month(&self, day: Date) -> bool {
        self.cron.pattern.month_match(day.month().unsigned_abs().into()).unwrap_or(false)
    }

    fn is_due_on(&self, day: Date) -> bool {
        let number = day.day().unsigned_abs().into();
        let month = day.month().unsigned_abs().into();
        let matches = self.cron.pattern.day_match(day.year().into(), month, number, weekday(day));
        self.is_due_in_month(day) && matches.unwrap_or(false)
    }

    /// The first matching second of a day at or after this one.
    fn first_time_from(&self, from: i64) -> Option<i64> {
        let (hour, minute, second) = parts(from);
        let first_second = first(self.seconds, 0)?;
        if is_in(self.hours, hour) {
            if is_in(self.minutes, minute)
                && let Some(second) = first(self.seconds, second)
            {
                return Some(time(hour, minute, second));
            }
            if let Some(minute) = first(self.minutes, minute + 1) {
                return Some(time(hour, minute, first_second));
            }
        }
        Some(time(first(self.hours, hour + 1)?, first(self.minutes, 0)?, first_second))
    }

    /// The last matching second of a day at or before this one.
    fn last_time_until(&self, until: i64) -> Option<i64> {
        let (hour, minute, second) = parts(until);
        let last_second = last(self.seconds, 60)?;
        if is_in(self.hours, hour) {
            if is_in(self.minutes, minute)
                && let Some(second) = last(self.seconds, second + 1)
            {
                return Some(time(hour, minute, second));
            }
            if let Some(minute) = last(self.minutes, minute) {
                return Some(time(hour, minute, last_second));
            }
        }
        Some(time(last(self.hours, hour)?, last(self.minutes, 60)?, last_second))
    }
}

/// The values of a field, as bits.
fn bits(field: &CronComponent) -> u64 {
    field.values().into_iter().fold(0, |bits, value| bits | 1 << (value & 63))
}

fn is_in(bits: u64, value: u32) -> bool {
    first(bits, value) == Some(value)
}

/// The first value at or after this one.
fn first(bits: u64, from: u32) -> Option<u32> {
    let left = bits.checked_shr(from)?;
    (left != 0).then(|| from + left.trailing_zeros())
}

/// The last value before this one.
fn last(bits: u64, before: u32) -> Option<u32> {
    let left = bits & (1_u64.checked_shl(before)? - 1);
    (left != 0).then(|| left.ilog2())
}

/// Hour, minute and second of a second of the day.
fn parts(time: i64) -> (u32, u32, u32) {
    let part = |value: i64| u32::try_from(value).unwrap_or(0);
    (part(time / 3_600), part(time / 60 % 60), part(time % 60))
}

fn time(hour: u32, minute: u32, second: u32) -> i64 {
    i64::from(hour * 3_600 + minute * 60 + second)
}

fn weekday(day: Date) -> CronWeekday {
    use jiff::civil::Weekday;
    match day.weekday() {
        Weekday::Monday => CronWeekday::Monday,
        Weekday::Tuesday => CronWeekday::Tuesday,
        Weekday::Wednesday => CronWeekday::Wednesday,
        Weekday::Thursday => CronWeekday::Thursday,
        Weekday::Friday => CronWeekday::Friday,
        Weekday::Saturday => CronWeekday::Saturday,
        Weekday::Sunday => CronWeekday::Sunday,
    }
}
