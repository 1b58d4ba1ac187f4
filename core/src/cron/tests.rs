use std::time::Duration;

use proptest::prelude::*;

use super::{BadRecurrence, Occurrence, Recurrence, jitter};
use crate::{Timestamp, limits};

/// Zones whose clocks have been changed in unusual ways, and one whose clocks never are.
const ZONES: [&str; 9] = [
    "Europe/Stockholm",
    "America/New_York",
    "Africa/Cairo",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/St_Johns",
    "Pacific/Apia",
    "Africa/Casablanca",
    "UTC",
];

fn at(text: &str) -> Timestamp {
    Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
}

fn cron(expression: &str, zone: &str) -> Recurrence {
    Recurrence::cron(expression, zone).unwrap_or_else(|bad| panic!("{bad}"))
}

fn every(seconds: u64, anchor: &str) -> Recurrence {
    Recurrence::every(Duration::from_secs(seconds), at(anchor), "UTC").unwrap()
}

/// Checks what an expression shows after an instant: local times without the zone's name, and notes after a bar.
/// Walking back from the last of them must lead over the same instants.
#[track_caller]
fn check(expression: &str, zone: &str, from: &str, expected: &[&str]) {
    let recurrence = cron(expression, zone);
    let found: Vec<Occurrence> = recurrence.upcoming(at(from)).take(expected.len()).collect();
    let line = |found: &Occurrence| {
        let local = found.local.replace(&format!("[{zone}]"), "");
        found.note.as_ref().map_or(local.clone(), |note| format!("{local} | {note}"))
    };
    assert_eq!(found.iter().map(line).collect::<Vec<_>>(), expected, "{expression} in {zone} after {from}");

    let mut until = found.last().unwrap().at;
    for occurrence in found.iter().rev() {
        assert_eq!(recurrence.latest_between(at(from), until), Some(occurrence.at), "{expression} back");
        until = Timestamp(occurrence.at.0 - 1);
    }
    assert_eq!(recurrence.latest_between(at(from), until), None, "{expression} back to the beginning");
}

#[test]
fn a_fixed_time_in_a_gap_is_due_once_at_its_end() {
    check(
        "30 2 * * *",
        "America/New_York",
        "2026-03-07T05:00:00Z",
        &[
            "2026-03-07T02:30:00-05:00",
            "2026-03-08T03:00:00-04:00 | 02:30 does not exist on 2026-03-08 in America/New_York: clocks go from 02:00 to 03:00, so it runs at 03:00",
            "2026-03-09T02:30:00-04:00",
        ],
    );
    check(
        "10,20,30 2 * * *",
        "America/New_York",
        "2026-03-08T05:00:00Z",
        &[
            "2026-03-08T03:00:00-04:00 | 02:10 to 02:30 do not exist on 2026-03-08 in America/New_York: clocks go from 02:00 to 03:00, so they run once, at 03:00",
            "2026-03-09T02:10:00-04:00",
        ],
    );
    check(
        "30 2,3 * * *",
        "America/New_York",
        "2026-03-08T05:00:00Z",
        &[
            "2026-03-08T03:00:00-04:00 | 02:30 does not exist on 2026-03-08 in America/New_York: clocks go from 02:00 to 03:00, so it runs at 03:00",
            "2026-03-08T03:30:00-04:00",
        ],
    );
    check(
        "0 2,3 * * *",
        "America/New_York",
        "2026-03-08T05:00:00Z",
        &[
            "2026-03-08T03:00:00-04:00 | 02:00 does not exist on 2026-03-08 in America/New_York: clocks go from 02:00 to 03:00, so it runs at 03:00, together with what is due then",
            "2026-03-09T02:00:00-04:00",
        ],
    );
    // Half an hour is left out.
    check(
        "15 2 * * *",
        "Australia/Lord_Howe",
        "2026-10-02T16:00:00Z",
        &[
            "2026-10-04T02:30:00+11:00 | 02:15 does not exist on 2026-10-04 in Australia/Lord_Howe: clocks go from 02:00 to 02:30, so it runs at 02:30",
            "2026-10-05T02:15:00+11:00",
        ],
    );
    // Midnight is left out, and one minute past it.
    check(
        "0 0 * * *",
        "Africa/Cairo",
        "2026-04-23T12:00:00Z",
        &[
            "2026-04-24T01:00:00+03:00 | 00:00 does not exist on 2026-04-24 in Africa/Cairo: clocks go from 00:00 to 01:00, so it runs at 01:00",
            "2026-04-25T00:00:00+03:00",
        ],
    );
    check(
        "1 0 * * *",
        "America/St_Johns",
        "2009-03-07T12:00:00Z",
        &[
            "2009-03-08T01:01:00-02:30 | 00:01 does not exist on 2009-03-08 in America/St_Johns: clocks go from 00:01 to 01:01, so it runs at 01:01",
            "2009-03-09T00:01:00-02:30",
        ],
    );
    // A whole day is left out.
    check(
        "0 9 * * *",
        "Pacific/Apia",
        "2011-12-29T12:00:00Z",
        &[
            "2011-12-29T09:00:00-10:00",
            "2011-12-31T00:00:00+14:00 | 09:00 does not exist on 2011-12-30 in Pacific/Apia: clocks go from 00:00 to 2011-12-31 00:00, so it runs at 2011-12-31 00:00",
            "2011-12-31T09:00:00+14:00",
        ],
    );
}

#[test]
fn a_fixed_time_that_comes_twice_is_due_the_first_time() {
    check(
        "30 1 * * *",
        "America/New_York",
        "2026-10-31T12:00:00Z",
        &[
            "2026-11-01T01:30:00-04:00 | 01:30 happens twice on 2026-11-01 in America/New_York: clocks go back from 02:00 to 01:00, so it runs the first time only",
            "2026-11-02T01:30:00-05:00",
        ],
    );
    // A list or a range of hours is fixed, with one gap of two hours; only `*` follows elapsed time.
    check(
        "0 0-23 * * *",
        "Europe/Stockholm",
        "2026-10-24T23:30:00Z",
        &[
            "2026-10-25T02:00:00+02:00 | 02:00 happens twice on 2026-10-25 in Europe/Stockholm: clocks go back from 03:00 to 02:00, so it runs the first time only",
            "2026-10-25T03:00:00+01:00",
        ],
    );
    check(
        "45 1 * * *",
        "Australia/Lord_Howe",
        "2026-04-04T12:00:00Z",
        &[
            "2026-04-05T01:45:00+11:00 | 01:45 happens twice on 2026-04-05 in Australia/Lord_Howe: clocks go back from 02:00 to 01:30, so it runs the first time only",
            "2026-04-06T01:45:00+10:30",
        ],
    );
    // The repeated hour belongs to the day before.
    check(
        "30 23 * * *",
        "Africa/Cairo",
        "2026-10-29T12:00:00Z",
        &[
            "2026-10-29T23:30:00+03:00 | 23:30 happens twice on 2026-10-29 in Africa/Cairo: clocks go back from 2026-10-30 00:00 to 23:00, so it runs the first time only",
            "2026-10-30T23:30:00+02:00",
        ],
    );
    // Asked in the second pass, it waits for what the clock has not shown yet.
    check("30 1,2 * * *", "America/New_York", "2026-11-01T06:10:00Z", &["2026-11-01T02:30:00-05:00"]);
}

#[test]
fn a_wildcard_follows_elapsed_time() {
    check(
        "*/30 * * * *",
        "America/New_York",
        "2026-11-01T05:20:00Z",
        &[
            "2026-11-01T01:30:00-04:00",
            "2026-11-01T01:00:00-05:00",
            "2026-11-01T01:30:00-05:00",
            "2026-11-01T02:00:00-05:00",
        ],
    );
    check(
        "@hourly",
        "America/New_York",
        "2026-03-08T05:30:00Z",
        &["2026-03-08T01:00:00-05:00", "2026-03-08T03:00:00-04:00", "2026-03-08T04:00:00-04:00"],
    );
    check("*/20 2 * * *", "America/New_York", "2026-03-08T05:00:00Z", &["2026-03-09T02:00:00-04:00"]);
    check(
        "0 */2 * * *",
        "Europe/Stockholm",
        "2026-03-28T22:30:00Z",
        &["2026-03-29T00:00:00+01:00", "2026-03-29T04:00:00+02:00"],
    );
    check(
        "*/30 * * * *",
        "Pacific/Apia",
        "2011-12-30T09:00:00Z",
        &["2011-12-29T23:30:00-10:00", "2011-12-31T00:00:00+14:00", "2011-12-31T00:30:00+14:00"],
    );
    // Seconds that begin with `*` do not make an expression follow elapsed time.
    check("*/30 30 1 * * *", "America/New_York", "2026-11-01T05:30:30Z", &["2026-11-02T01:30:00-05:00"]);
}

#[test]
fn days_are_those_of_cron() {
    let days = |expression: &str, count| -> Vec<String> {
        let recurrence = cron(expression, "UTC");
        let found = recurrence.upcoming(at("2026-01-01T00:00:00Z")).take(count);
        found.map(|occurrence| occurrence.local[..10].to_string()).collect()
    };
    for (expression, expected) in [
        ("0 12 L * *", ["2026-01-31", "2026-02-28", "2026-03-31"]),
        ("0 12 LW * *", ["2026-01-30", "2026-02-27", "2026-03-31"]),
        // The 15th of February is a Sunday, the 1st of August a Saturday in a new month.
        ("0 12 15W * *", ["2026-01-15", "2026-02-16", "2026-03-16"]),
        ("0 12 1W 8,9,10 *", ["2026-08-03", "2026-09-01", "2026-10-01"]),
        ("0 12 * * FRI#2", ["2026-01-09", "2026-02-13", "2026-03-13"]),
        ("0 12 * * 5L", ["2026-01-30", "2026-02-27", "2026-03-27"]),
        ("0 12 * * sun", ["2026-01-04", "2026-01-11", "2026-01-18"]),
        ("0 12 * * 7", ["2026-01-04", "2026-01-11", "2026-01-18"]),
        ("0 12 * JAN SAT-SUN", ["2026-01-03", "2026-01-04", "2026-01-10"]),
        // Either of two days is enough, unless one of the fields begins with `*`.
        ("0 12 13 * FRI", ["2026-01-02", "2026-01-09", "2026-01-13"]),
        ("0 12 */2 * FRI", ["2026-01-09", "2026-01-23", "2026-02-13"]),
        ("0 12 13 * */5", ["2026-02-13", "2026-03-13", "2026-09-13"]),
        // Rare days: the leap day, on a Sunday, and the fifth Monday of a February.
        ("0 0 29 2 *", ["2028-02-29", "2032-02-29", "2036-02-29"]),
        ("0 0 29 2 */7", ["2032-02-29", "2060-02-29", "2088-02-29"]),
        ("0 0 * 2 1#5", ["2044-02-29", "2072-02-29", "2112-02-29"]),
        ("@weekly", ["2026-01-04", "2026-01-11", "2026-01-18"]),
        ("@monthly", ["2026-02-01", "2026-03-01", "2026-04-01"]),
        ("@annually", ["2027-01-01", "2028-01-01", "2029-01-01"]),
        ("@midnight", ["2026-01-02", "2026-01-03", "2026-01-04"]),
    ] {
        assert_eq!(days(expression, 3), expected, "{expression}");
    }
}

#[test]
fn what_can_never_be_due_or_be_read_is_refused_with_what_and_where() {
    for (expression, reason) in [
        ("0 0 31 2 *", r#""0 0 31 2 *" is never due: no year has day 31 in month 2"#),
        ("0 0 30,31 feb *", r#""0 0 30,31 feb *" is never due: no year has day 30,31 in month FEB"#),
        ("61 * * * *", r#"the minute "61" of "61 * * * *": 61 is not from 0 to 59"#),
        ("60 0 * * * *", r#"the second "60" of "60 0 * * * *": 60 is not from 0 to 59"#),
        ("0 24 * * *", r#"the hour "24" of "0 24 * * *": 24 is not from 0 to 23"#),
        ("0 0 0 * *", r#"the day of month "0" of "0 0 0 * *": 0 is not from 1 to 31"#),
        ("0 0 * 13 *", r#"the month "13" of "0 0 * 13 *": 13 is not from 1 to 12"#),
        ("0 0 * * 8", r#"the day of week "8" of "0 0 * * 8": 8 is not from 0 to 7"#),
        ("0 MON * * *", r#"the hour "MON" of "0 MON * * *": "MON" is not a number from 0 to 23"#),
        (
            "0 0 * MON *",
            r#"the month "MON" of "0 0 * MON *": "MON" is not a number from 1 to 12, nor a name from JAN to DEC"#,
        ),
        ("1,,2 * * * *", r#"the minute "1,,2" of "1,,2 * * * *": there is an empty place in the list"#),
        ("0 22-2 * * *", r#"the hour "22-2" of "0 22-2 * * *": 22-2 runs backwards; write 22-23,0-2"#),
        ("*/0 * * * *", r#"the minute "*/0" of "*/0 * * * *": a step of 0 leads nowhere"#),
        (
            "*/90 * * * *",
            r#"the minute "*/90" of "*/90 * * * *": a step of 90 is more than the field has; longer intervals are given as `every` instead of `cron`"#,
        ),
        ("5/15 * * * *", r#"the minute "5/15" of "5/15 * * * *": a step needs a range: 5-59/15 or */15"#),
        ("0 0 ? * *", r#"the day of month "?" of "0 0 ? * *": write * instead of ?"#),
        ("0 0 * * L", r#"the day of week "L" of "0 0 * * L": L needs a day, as in 5L for the last Friday"#),
        ("0 0 L,LW * *", r#"the day of month "L,LW" of "0 0 L,LW * *": L and LW cannot stand together"#),
        ("0 0 * * 1#6", r#"the day of week "1#6" of "0 0 * * 1#6": "6" after # is not from 1 to 5"#),
        (
            "0 0 * * +1",
            r#"the day of week "+1" of "0 0 * * +1": "+1" is not a number from 0 to 7, nor a name from SUN to SAT"#,
        ),
        (
            "* * * *",
            r#""* * * *" has 4 fields instead of 5 (minute, hour, day of month, month, day of week) or 6 (second before them)"#,
        ),
        (
            "0 0 0 1 1 * 2027",
            r#""0 0 0 1 1 * 2027" has 7 fields instead of 5 (minute, hour, day of month, month, day of week) or 6 (second before them); there is no field for the year"#,
        ),
        ("@reboot", "@reboot names no time: a schedule is due by the clock, not by a start of the server"),
        ("@every 90s", "@every is no cron expression; an interval is given as `every` instead of `cron`"),
        (
            "@noon",
            "there is no @noon; there are @hourly, @daily, @midnight, @weekly, @monthly, @yearly and @annually",
        ),
    ] {
        let refused = Recurrence::cron(expression, "UTC").unwrap_err();
        assert_eq!(refused, BadRecurrence::Cron(reason.into()), "{expression}");
    }
    let long = "1,".repeat(limits::CRON_BYTES_MAX);
    assert!(matches!(Recurrence::cron(&long, "UTC"), Err(BadRecurrence::Cron(_))));
}

#[test]
fn an_unknown_zone_is_refused_with_one_that_may_have_been_meant() {
    for (zone, reason) in [
        ("Stockholm", r#"there is no time zone "Stockholm"; did you mean Europe/Stockholm?"#),
        ("america/new york", r#"there is no time zone "america/new york"; did you mean America/New_York?"#),
        ("Europe/Stokholm", r#"there is no time zone "Europe/Stokholm"; did you mean Europe/Stockholm?"#),
        (
            "../etc/passwd",
            r#"there is no time zone "../etc/passwd"; write an IANA name such as Europe/Stockholm or UTC"#,
        ),
        ("+02:00", r#"there is no time zone "+02:00"; write an IANA name such as Europe/Stockholm or UTC"#),
        ("", r#"there is no time zone ""; write an IANA name such as Europe/Stockholm or UTC"#),
    ] {
        let refused = Recurrence::cron("@daily", zone).unwrap_err();
        assert_eq!(refused, BadRecurrence::Timezone(reason.into()));
    }
    assert_eq!(cron("@daily", "europe/STOCKHOLM").timezone(), "Europe/Stockholm");
}

#[test]
fn an_interval_is_counted_from_its_anchor() {
    let every_ten = every(10, "2026-11-24T00:00:03.7Z");
    let found: Vec<_> = every_ten.upcoming(at("2026-11-24T00:00:00Z")).take(2).map(|o| o.local).collect();
    assert_eq!(found, ["2026-11-24T00:00:13+00:00[UTC]", "2026-11-24T00:00:23+00:00[UTC]"]);
    assert_eq!(every_ten.next_after(at("2026-11-24T00:00:13Z")), Some(at("2026-11-24T00:00:23Z")));
    assert_eq!(every_ten.latest_between(at("2026-01-01T00:00:00Z"), at("2026-11-24T00:00:12Z")), None);

    // Days of down-time cost nothing.
    let every_second = every(1, "2020-01-01T00:00:00Z");
    let (from, to) = (at("2026-01-01T00:00:00Z"), at("2026-12-31T00:00:00Z"));
    assert_eq!(every_second.latest_between(from, to), Some(to));
    assert_eq!(every_second.count_between(from, to, u64::MAX), 364 * 86_400);
    assert_eq!(every_second.count_between(from, to, 7), 7);

    for (interval, reason) in [
        (Duration::ZERO, "the interval must be at least one second"),
        (Duration::from_millis(999), "the interval must be at least one second"),
        (Duration::from_millis(1_500), "the interval must be a whole number of seconds"),
        (Duration::MAX, "the interval must not be longer than ten years"),
    ] {
        let refused = Recurrence::every(interval, from, "UTC").unwrap_err();
        assert_eq!(refused, BadRecurrence::Every(reason.into()));
    }
}

#[test]
fn there_is_an_end_of_time() {
    let last = Timestamp::MAX;
    for expression in ["* * * * * *", "30 2 * * *", "@yearly"] {
        let recurrence = cron(expression, "Pacific/Apia");
        assert_eq!(recurrence.next_after(last), None, "{expression}");
        assert_eq!(recurrence.next_after(Timestamp(i64::MAX)), None, "{expression}");
        assert!(recurrence.next_after(Timestamp(i64::MIN)).is_some(), "{expression}");
        let until = recurrence.latest_between(Timestamp(i64::MIN), Timestamp(i64::MAX)).unwrap();
        assert_eq!(recurrence.next_after(until), None, "{expression}");
    }
    assert_eq!(every(86_400, "9999-12-30T00:00:00Z").next_after(at("9999-12-30T00:00:00Z")), None);
}

#[test]
fn a_day_begins_at_midnight_or_after_its_gap() {
    for (zone, day, expected) in [
        ("America/New_York", jiff::civil::date(2026, 3, 7), "2026-03-07T05:00:00Z"),
        ("Africa/Cairo", jiff::civil::date(2026, 4, 24), "2026-04-23T22:00:00Z"),
        ("UTC", jiff::civil::date(2026, 3, 7), "2026-03-07T00:00:00Z"),
    ] {
        assert_eq!(cron("@daily", zone).start_of_day(day), at(expected), "{zone}");
    }
}

#[test]
fn jitter_is_spread_evenly_and_the_same_every_time() {
    let max = Duration::from_secs(100);
    let due = at("2026-11-24T00:00:00Z");
    for drawn in [
        // The instants of one schedule, and the schedules of one instant.
        (0..1_000).map(|hour| jitter("nightly", due + Duration::from_secs(hour * 3_600), max)).collect(),
        (0..1_000).map(|number| jitter(&format!("tenant-{number}"), due, max)).collect::<Vec<_>>(),
    ] {
        for tenth in 0..10 {
            let range = Duration::from_secs(tenth * 10)..Duration::from_secs(tenth * 10 + 10);
            let within = drawn.iter().filter(|pause| range.contains(pause)).count();
            assert!((60..140).contains(&within), "{within} of 1000 in tenth {tenth}");
        }
    }
    // Nodes of different releases must agree: this number may not change.
    assert_eq!(jitter("nightly", due, max), Duration::from_nanos(83_188_628_031));
    assert_eq!(jitter("nightly", due, Duration::ZERO), Duration::ZERO);
}

/// One item of a field, in a few forms.
fn item(min: u32, max: u32) -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just("*".to_string()),
        1 => (1..=(max - min)).prop_map(|step| format!("*/{step}")),
        3 => (min..=max).prop_map(|value| value.to_string()),
        1 => (min..=max, min..=max, 1..=max)
            .prop_map(|(a, b, step)| format!("{}-{}/{step}", a.min(b), a.max(b))),
        1 => (min..=max, min..=max).prop_map(|(a, b)| format!("{a},{b}")),
    ]
}

fn expression() -> impl Strategy<Value = String> {
    let day = prop_oneof![
        4 => item(1, 31),
        1 => Just("L".to_string()),
        1 => Just("LW".to_string()),
        1 => (1..=31).prop_map(|day| format!("{day}W")),
    ];
    let weekday = prop_oneof![
        4 => item(0, 7),
        1 => (0..=7).prop_map(|day| format!("{day}L")),
        1 => (0..=7, 1..=5).prop_map(|(day, number)| format!("{day}#{number}")),
    ];
    let second = prop_oneof![3 => Just(String::new()), 1 => item(0, 59)];
    (second, item(0, 59), item(0, 23), day, item(1, 12), weekday)
        .prop_map(|(s, m, h, day, month, weekday)| format!("{s} {m} {h} {day} {month} {weekday}"))
}

/// Instants anywhere, and often near a change of some clock.
fn instant() -> impl Strategy<Value = Timestamp> {
    let changes = [
        "2026-03-08T07:00:00Z",
        "2026-11-01T06:00:00Z",
        "2026-03-29T01:00:00Z",
        "2026-10-25T01:00:00Z",
        "2026-10-03T15:30:00Z",
        "2026-04-04T15:00:00Z",
        "2011-12-30T10:00:00Z",
        "2009-11-01T02:31:00Z",
        "2026-10-29T21:00:00Z",
    ];
    prop_oneof![
        (0..changes.len(), -90_000_000_000..90_000_000_000_i64)
            .prop_map(move |(change, off)| Timestamp(at(changes[change]).0 + off)),
        (-70_000_000_000_000_000..260_000_000_000_000_000_i64).prop_map(Timestamp),
    ]
}

fn recurrence() -> impl Strategy<Value = Recurrence> {
    let parts = (expression(), 0..ZONES.len());
    prop_oneof![
        9 => parts.prop_filter_map("never due", |(text, zone)| Recurrence::cron(&text, ZONES[zone]).ok()),
        1 => (1..10_000_000_u64, instant()).prop_map(|(seconds, anchor)| {
            Recurrence::every(Duration::from_secs(seconds), anchor, "UTC").unwrap()
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn instants_rise_and_each_is_found_again_from_behind(recurrence in recurrence(), after in instant()) {
        let mut last = after;
        let mut found = Vec::new();
        while let Some(next) = recurrence.next_after(last).filter(|_| found.len() < 12) {
            prop_assert!(next > last, "{next} after {last}");
            prop_assert_eq!(next.0 % 1_000_000, 0);
            let latest = recurrence.latest_between(last, next);
            prop_assert_eq!(latest, Some(next));
            let before = Timestamp(next.0 - 1);
            let latest = recurrence.latest_between(last, before);
            prop_assert_eq!(latest, None);
            last = next;
            found.push(next);
        }
        prop_assert_eq!(recurrence.count_between(after, last, 100), found.len() as u64);
        prop_assert_eq!(recurrence.latest_between(after, last), found.last().copied());
    }

    #[test]
    fn what_is_due_does_not_depend_on_when_it_is_asked(recurrence in recurrence(), after in instant(), part in 0.0..1.0) {
        if let Some(next) = recurrence.next_after(after) {
            let between = Timestamp(after.0 + ((next.0 - after.0 - 1) as f64 * part) as i64);
            prop_assert_eq!(recurrence.next_after(between), Some(next));
        }
    }

    #[test]
    fn no_text_panics(text in "[0-9*,/#LWMONJAFEB@? +-]{0,24}|.{0,40}", zone in ".{0,30}", after in any::<i64>()) {
        let _ = Recurrence::cron("@daily", &zone);
        if let Ok(recurrence) = Recurrence::cron(&text, "Africa/Cairo") {
            let after = Timestamp(after);
            let next = recurrence.next_after(after);
            prop_assert!(next.is_none_or(|next| next > after));
            let _ = recurrence.describe(after);
        }
    }
}
