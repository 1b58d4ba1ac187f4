//! Ten years of instants, compared with those of another implementation: cronsim, which follows Debian's cron and
//! has nothing in common with ours but the release of its time zones.
//!
//! Each difference is either one of [`KNOWN`] or a failure.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Child, Stdio};

use jiff::tz::TimeZoneDatabase;
use serde_json::{Value, json};
use taskhook_core::{Recurrence, Timestamp};

use crate::binary::python;

const ZONES: [&str; 7] = [
    "Europe/Stockholm",
    "America/New_York",
    "Africa/Cairo",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/St_Johns",
    "Pacific/Apia",
];

/// A few instants a day or fewer: compared over all of 2026 to 2035.
const SPARSE: [&str; 28] = [
    // In the gaps and the repeated hours of these zones, beside them, and at their very edges.
    "30 2 * * *",
    "30 1 * * *",
    "0 2 * * *",
    "0 3 * * *",
    "59 1 * * *",
    "15 2 * * *",
    "45 1 * * *",
    "0 0 * * *",
    "30 0 * * *",
    "1 0 * * *",
    "0 1 * * *",
    "30 23 * * *",
    "10,20,40 2 * * *",
    "0,30 1-3 * * SUN",
    "5 0,12 * * *",
    // Days.
    "0 9 * * MON-FRI",
    "0 12 13 * FRI",
    "0 12 */2 * FRI",
    "0 12 13 * */5",
    "30 2 L * *",
    "30 2 LW * *",
    "0 0 29 2 *",
    "0 0 * 2 1#5",
    "30 2 * 3 SUN#2",
    "30 1 * 4,10,11 SUN#1",
    "30 2 * 3,10 7L",
    "0 0 1 1 *",
    "15 6 1-7 1-12/3 2,4",
];

/// Many instants a day: compared from a day and a half before each change of the clocks until so long after it.
const DENSE: [&str; 14] = [
    "* * * * *",
    "*/15 * * * *",
    "*/7 * * * *",
    "0 * * * *",
    "30 * * * *",
    "0 */2 * * *",
    "30 */3 * * *",
    "*/20 2 * * *",
    "*/20 1 * * *",
    "*/30 0,23 * * *",
    "0 0-23 * * *",
    "0,30 0-23 * * *",
    // With seconds.
    "0 */10 * * * *",
    "*/20 */30 1,2 * * *",
];

/// What is known to differ, with the reason why ours is right.
const KNOWN: [(&str, Known); 1] = [(
    "Looking for the next match of a wildcard, cronsim adds whole hours and minutes to the clock, or sets it back to \
     midnight's first pass. Where the clocks are changed by half an hour, at 00:01 or at midnight, it so passes over \
     times that the clock does show within the next day; ours are due whenever the clock shows them",
    |it| {
        it.only == Side::Ours && is_wildcard(it.expression) && clock_shows(it.expression, it.timezone, it.at)
    },
)];

/// Whether a difference is the one that is known.
type Known = fn(&Difference) -> bool;

/// Minute and hour of an expression, the first of which may be preceded by seconds.
fn minute_and_hour(expression: &str) -> (&str, &str) {
    let fields: Vec<&str> = expression.split(' ').collect();
    (fields[fields.len() - 5], fields[fields.len() - 4])
}

/// Whether an entry follows elapsed time: its minute or hour begins with `*`.
fn is_wildcard(expression: &str) -> bool {
    let (minute, hour) = minute_and_hour(expression);
    minute.starts_with('*') || hour.starts_with('*')
}

/// Whether the clocks of a zone show a time that the expression names, seconds and days aside: all that is needed
/// here, written without a look at anybody's implementation.
fn clock_shows(expression: &str, timezone: &str, at: Timestamp) -> bool {
    let zone = TimeZoneDatabase::bundled().get(timezone).unwrap();
    let local = zone.to_datetime(jiff::Timestamp::from_microsecond(at.0).unwrap());
    let (minute, hour) = minute_and_hour(expression);
    names(minute, local.minute()) && names(hour, local.hour())
}

/// Whether a field, of `*`, steps, ranges and lists, names a value.
fn names(field: &str, value: i8) -> bool {
    field.split(',').any(|part| {
        let (range, step) = part.split_once('/').unwrap_or((part, "1"));
        let (from, to) = match range {
            "*" => (0, 59),
            range => {
                let (from, to) = range.split_once('-').unwrap_or((range, range));
                (from.parse().unwrap(), to.parse().unwrap())
            }
        };
        (from..=to).contains(&value) && (value - from) % step.parse::<i8>().unwrap() == 0
    })
}

/// Wildcards are due exactly when the clock shows their time, through every gap and every repeated hour.
#[test]
fn wildcards_are_due_whenever_the_clock_shows_them() {
    let wildcards = DENSE.into_iter().filter(|expression| {
        is_wildcard(expression) && expression.split(' ').count() == 5 && *expression != "* * * * *"
    });
    let wildcards: Vec<&str> = wildcards.collect();
    let mut compared = 0;
    for timezone in ZONES {
        let zone = TimeZoneDatabase::bundled().get(timezone).unwrap();
        for change in changes(timezone) {
            let (from, to) = (change - DAY, change + DAY);
            let shown: Vec<(i64, i8, i8)> = (from / 60 + 1..=to / 60)
                .map(|minute| {
                    let local = zone.to_datetime(jiff::Timestamp::from_second(minute * 60).unwrap());
                    (minute * 60, local.minute(), local.hour())
                })
                .collect();
            for expression in &wildcards {
                let (minute, hour) = minute_and_hour(expression);
                let wanted = shown.iter().filter(|(_, m, h)| names(minute, *m) && names(hour, *h));
                let wanted: BTreeSet<i64> = wanted.map(|(at, ..)| *at).collect();
                let case = Case { expression, timezone, windows: vec![(from, to)] };
                compared += wanted.len();
                assert_eq!(ours(&case), wanted, "{expression} in {timezone} around {change}");
            }
        }
    }
    assert!(compared > 100_000, "only {compared} instants were compared");
}

/// An instant that only one of the two has.
#[derive(Debug)]
struct Difference {
    expression: &'static str,
    timezone: &'static str,
    at: Timestamp,
    only: Side,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Side {
    Ours,
    Theirs,
}

/// One expression in one zone, between instants: after the first, until the second of each pair.
struct Case {
    expression: &'static str,
    timezone: &'static str,
    windows: Vec<(i64, i64)>,
}

const DAY: i64 = 86_400;

fn seconds(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().unwrap().as_second()
}

/// The changes of a zone's clocks in the years that are compared: 2026 to 2035, and before them those in which Samoa
/// left a day out and Egypt changed its mind several times.
fn changes(timezone: &str) -> Vec<i64> {
    let zone = TimeZoneDatabase::bundled().get(timezone).unwrap();
    let mut changes = Vec::new();
    for (from, to) in [("2010", "2016"), ("2023", "2024"), ("2026", "2036")] {
        let [from, to] = [from, to].map(|year| format!("{year}-01-01T00:00:00Z").parse().unwrap());
        let within = zone.following(from).take_while(|change| change.timestamp() < to);
        changes.extend(within.map(|change| change.timestamp().as_second()));
    }
    changes
}

fn cases() -> Vec<Case> {
    let whole = (seconds("2026-01-01T00:00:00Z"), seconds("2036-01-01T00:00:00Z"));
    let quiet = (seconds("2026-06-01T00:00:00Z"), seconds("2026-06-03T00:00:00Z"));
    let mut cases = Vec::new();
    for timezone in ZONES {
        let changes = changes(timezone);
        let around = |days: i64| changes.iter().map(move |at| (at - days * DAY / 2, at + days * DAY / 2));
        let past = || around(20).filter(|window| window.1 < whole.0);
        for expression in SPARSE {
            let windows = apart(past().chain([whole]));
            cases.push(Case { expression, timezone, windows });
        }
        for expression in DENSE {
            // In Newfoundland the repeated hour began at 00:01 until 2011: cronsim looks there for 00:30, finds 23:01
            // of the day before, and goes around in circles without an end.
            if (timezone, expression) == ("America/St_Johns", "30 */3 * * *") {
                continue;
            }
            let windows = apart(around(3).chain([quiet]));
            cases.push(Case { expression, timezone, windows });
        }
    }
    cases
}

/// The windows in order, those that overlap made one.
fn apart(windows: impl Iterator<Item = (i64, i64)>) -> Vec<(i64, i64)> {
    let mut sorted: Vec<_> = windows.collect();
    sorted.sort_unstable();
    let mut apart: Vec<(i64, i64)> = Vec::new();
    for window in sorted {
        match apart.last_mut() {
            Some(last) if window.0 <= last.1 => last.1 = last.1.max(window.1),
            _ => apart.push(window),
        }
    }
    apart
}

/// Starts the other implementation on the cases.
fn start(cases: &[Case]) -> Child {
    let wanted = |case: &Case| json!({"expression": case.expression, "timezone": case.timezone, "windows": case.windows});
    let wanted: Vec<Value> = cases.iter().map(wanted).collect();
    let mut command = python::program("cron_instants.py", "cronsim, tzdata");
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = piped.spawn().unwrap();
    child.stdin.take().unwrap().write_all(Value::from(wanted).to_string().as_bytes()).unwrap();
    child
}

fn ours(case: &Case) -> BTreeSet<i64> {
    let recurrence = Recurrence::cron(case.expression, case.timezone).unwrap();
    let mut due = BTreeSet::new();
    for (after, until) in &case.windows {
        let mut last = Timestamp::from_secs(*after);
        while let Some(next) =
            recurrence.next_after(last).filter(|next| *next <= Timestamp::from_secs(*until))
        {
            assert!(due.insert(next.0 / 1_000_000), "{} is due twice at {next}", case.expression);
            last = next;
        }
    }
    due
}

#[test]
fn ten_years_are_as_another_implementation_has_them_but_for_what_is_known() {
    let cases = cases();
    let theirs = start(&cases);
    let reader = std::thread::spawn(move || theirs.wait_with_output().unwrap());
    let ours: Vec<BTreeSet<i64>> = cases.iter().map(ours).collect();
    let output = reader.join().unwrap();
    assert!(output.status.success(), "cron_instants.py failed");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), taskhook_core::cron::timezones_release(), "both have the same time zones");

    let (mut compared, mut unexplained, mut used) = (0, Vec::new(), BTreeSet::new());
    for (case, ours) in cases.iter().zip(&ours) {
        let theirs: BTreeSet<i64> =
            lines.next().unwrap().split_whitespace().map(|at| at.parse().unwrap()).collect();
        compared += ours.intersection(&theirs).count();
        let mut differ = |at: &i64, only| {
            let at = Timestamp::from_secs(*at);
            let difference = Difference { expression: case.expression, timezone: case.timezone, at, only };
            match KNOWN.iter().position(|(_, applies)| applies(&difference)) {
                Some(known) => drop(used.insert(known)),
                None => unexplained.push(difference),
            }
        };
        ours.difference(&theirs).for_each(|at| differ(at, Side::Ours));
        theirs.difference(ours).for_each(|at| differ(at, Side::Theirs));
    }
    let mut shown = BTreeSet::new();
    for it in &unexplained {
        let first = unexplained.iter().find(|other| {
            (other.expression, other.timezone, other.only) == (it.expression, it.timezone, it.only)
        });
        shown.extend(first.map(|first| {
            format!(
                "{} in {}: only {:?}, first at {}",
                first.expression, first.timezone, first.only, first.at
            )
        }));
    }
    let shown: Vec<String> = shown.into_iter().collect();
    assert!(unexplained.is_empty(), "{} differences:\n{}", unexplained.len(), shown.join("\n"));
    assert_eq!(used.len(), KNOWN.len(), "a difference that is known is there no more: {used:?}");
    assert!(compared > 400_000, "only {compared} instants were compared");
}
