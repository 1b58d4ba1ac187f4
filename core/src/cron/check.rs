//! Whether the fields of a cron expression are ones, and what to say if not.
//!
//! croner would take a few things for something else than was meant (`0 L * * *`, `MON` for a month, `1,,2`), and
//! does not say in which field it met what it refuses. So each field is looked at before croner reads it.

use crate::limits;

/// What may stand in a field.
struct Field {
    name: &'static str,
    min: u16,
    max: u16,
    /// Names for the values, counted from `min`.
    names: &'static [&'static str],
}

const FIELDS: [Field; 6] = [
    Field { name: "second", min: 0, max: 59, names: &[] },
    Field { name: "minute", min: 0, max: 59, names: &[] },
    Field { name: "hour", min: 0, max: 23, names: &[] },
    Field { name: "day of month", min: 1, max: 31, names: &[] },
    Field {
        name: "month",
        min: 1,
        max: 12,
        names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
    },
    // Sunday is 0 and 7.
    Field { name: "day of week", min: 0, max: 7, names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"] },
];
const DAY_OF_MONTH: usize = 3;
const DAY_OF_WEEK: usize = 5;

/// The six fields of an expression, in capitals.
pub(super) fn fields(text: &str) -> Result<[String; 6], String> {
    if text.len() > limits::CRON_BYTES_MAX {
        return Err(format!("the cron expression is longer than {} bytes", limits::CRON_BYTES_MAX));
    }
    let upper = text.to_ascii_uppercase();
    let upper = match upper.trim() {
        name if name.starts_with('@') => named(name)?,
        fields => fields,
    };
    let mut given: Vec<&str> = upper.split_ascii_whitespace().collect();
    if given.len() == 5 {
        given.insert(0, "0");
    }
    let Ok(fields) = <[&str; 6]>::try_from(given) else {
        let count = upper.split_ascii_whitespace().count();
        let year = if count == 7 { "; there is no field for the year" } else { "" };
        return Err(format!(
            "{text:?} has {count} fields instead of 5 (minute, hour, day of month, month, day of week) or 6 (second before them){year}"
        ));
    };
    for (place, field) in fields.iter().enumerate() {
        check(place, field)
            .map_err(|reason| format!("the {} {field:?} of {text:?}: {reason}", FIELDS[place].name))?;
    }
    Ok(fields.map(str::to_string))
}

/// What a name such as `@daily` stands for.
fn named(name: &str) -> Result<&'static str, String> {
    match name {
        "@HOURLY" => Ok("0 * * * *"),
        "@DAILY" | "@MIDNIGHT" => Ok("0 0 * * *"),
        "@WEEKLY" => Ok("0 0 * * 0"),
        "@MONTHLY" => Ok("0 0 1 * *"),
        "@YEARLY" | "@ANNUALLY" => Ok("0 0 1 1 *"),
        "@REBOOT" => {
            Err("@reboot names no time: a schedule is due by the clock, not by a start of the server".into())
        }
        name if name.starts_with("@EVERY") => {
            Err("@every is no cron expression; an interval is given as `every` instead of `cron`".into())
        }
        name => Err(format!(
            "there is no {}; there are @hourly, @daily, @midnight, @weekly, @monthly, @yearly and @annually",
            name.to_ascii_lowercase()
        )),
    }
}

fn check(place: usize, field: &str) -> Result<(), String> {
    for item in field.split(',') {
        check_item(place, item)?;
    }
    let has = |item| field.split(',').any(|given| given == item);
    // croner has one mark for both and would take them for the second.
    if has("L") && has("LW") {
        return Err("L and LW cannot stand together".into());
    }
    Ok(())
}

fn check_item(place: usize, item: &str) -> Result<(), String> {
    let field = &FIELDS[place];
    match item {
        "" => return Err("there is an empty place in the list".into()),
        "?" => return Err("write * instead of ?".into()),
        "L" if place == DAY_OF_WEEK => return Err("L needs a day, as in 5L for the last Friday".into()),
        "L" | "LW" if place == DAY_OF_MONTH => return Ok(()),
        _ => {}
    }
    if place == DAY_OF_MONTH
        && let Some(day) = item.strip_suffix('W')
    {
        return value(field, day).map(drop);
    }
    if place == DAY_OF_WEEK && item.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        if let Some(day) = item.strip_suffix('L') {
            return value(field, day).map(drop);
        }
        if let Some((day, number)) = item.split_once('#') {
            value(field, day)?;
            return match number {
                "1" | "2" | "3" | "4" | "5" => Ok(()),
                _ => Err(format!("{number:?} after # is not from 1 to 5")),
            };
        }
    }
    let (range, step) = match item.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (item, None),
    };
    let is_range = check_range(field, range)?;
    match step {
        Some(step) if !is_range => {
            Err(format!("a step needs a range: {range}-{}/{step} or */{step}", field.max))
        }
        Some(step) => check_step(field, step),
        None => Ok(()),
    }
}

/// Checks `*`, a value or a range; tells whether it is more than one value.
fn check_range(field: &Field, range: &str) -> Result<bool, String> {
    if range == "*" {
        return Ok(true);
    }
    let Some((from, to)) = range.split_once('-') else {
        return value(field, range).map(|_| false);
    };
    let first = value(field, from)?;
    // A range may end with Sunday, as it may begin with it.
    let last = if to == "SUN" && from != "SUN" { value(field, to)? + 7 } else { value(field, to)? };
    if first > last {
        let end = if field.name == "day of week" { 6 } else { field.max };
        return Err(format!("{range} runs backwards; write {from}-{end},{}-{to}", field.min));
    }
    if range == "SUN-SUN" {
        return Err("a range from a day to itself is the day: write SUN".into());
    }
    Ok(true)
}

fn check_step(field: &Field, step: &str) -> Result<(), String> {
    match number(step) {
        Some(0) => Err("a step of 0 leads nowhere".into()),
        // `*/90` for every 90 minutes would quietly be every hour.
        Some(step) if step > field.max => Err(format!(
            "a step of {step} is more than the field has; longer intervals are given as `every` instead of `cron`"
        )),
        Some(_) => Ok(()),
        None => Err(format!("the step {step:?} is no number")),
    }
}

/// A value by number or name.
fn value(field: &Field, text: &str) -> Result<u16, String> {
    if let Some(place) = field.names.iter().position(|name| *name == text) {
        return Ok(field.min + u16::try_from(place).unwrap_or(0));
    }
    let names = match field.names {
        [first, .., last] => format!(", nor a name from {first} to {last}"),
        _ => String::new(),
    };
    match number(text) {
        Some(number) if (field.min..=field.max).contains(&number) => Ok(number),
        Some(_) => Err(format!("{text} is not from {} to {}", field.min, field.max)),
        None if text.is_empty() => Err("a number is missing".into()),
        None => Err(format!("{text:?} is not a number from {} to {}{names}", field.min, field.max)),
    }
}

/// A number without a sign. One with more digits than any field needs is still a number, only too large.
fn number(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u16::MAX))
}
