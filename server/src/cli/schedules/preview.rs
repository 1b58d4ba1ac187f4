//! `taskhook schedules preview`

use std::time::Duration;

use clap::Args;
use jiff::civil::Date;
use serde_json::json;
use taskhook_core::{BadRecurrence, Occurrence, Recurrence, Timestamp};

use crate::cli::answer::{Instant, Preview};
use crate::cli::client::{Ask, Client};
use crate::cli::{Code, Failed, input, out, table};
use crate::clock::wall_clock;

/// Show when a cron expression or an interval is due, without a server; or a schedule of a server
#[derive(Debug, Args)]
#[command(
    before_help = "taskhook schedules preview '30 2 * * *' --timezone America/New_York --from 2026-03-07 --count 3\n\
                   taskhook schedules preview --every 90m --start-at 2026-03-07T12:00:00Z\n\
                   taskhook schedules preview --schedule nightly --count 3"
)]
pub(super) struct Arguments {
    /// A cron expression: minute, hour, day of month, month and day of week, with seconds before them if there
    /// are six, or a name such as @daily
    #[arg(value_name = "CRON", required_unless_present_any = ["every", "schedule"])]
    cron: Option<String>,
    /// A fixed interval instead, a whole number of seconds
    #[arg(long, value_name = "DURATION", value_parser = input::duration, conflicts_with = "cron")]
    every: Option<Duration>,
    /// From when the interval is counted (RFC 3339): first due one interval later; without it, from now
    #[arg(long, value_name = "TIME", value_parser = instant, conflicts_with = "cron")]
    start_at: Option<Timestamp>,
    /// A schedule of the server instead, paused or not
    #[arg(long, value_name = "NAME", value_parser = input::filled, conflicts_with_all = ["cron", "every", "timezone"])]
    schedule: Option<String>,
    /// The IANA time zone in which the expression is read and times are shown
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    timezone: String,
    /// Show what is due after this time (RFC 3339), or after the midnight with which a day such as 2026-03-07
    /// begins in the time zone; without it, after now
    #[arg(long, value_name = "TIME", value_parser = from)]
    from: Option<From>,
    /// How many
    #[arg(long, value_name = "NUMBER", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    count: u16,
}

/// After what is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    At(Timestamp),
    /// The midnight with which it begins, wherever that is.
    Day(Date),
}

/// Runs it.
///
/// # Errors
/// If there is no such expression, interval or time zone, or nobody reads the answer.
pub(super) async fn run(client: &Client, arguments: &Arguments) -> anyhow::Result<Code> {
    match &arguments.schedule {
        Some(name) => of_schedule(client, name, arguments).await,
        None => offline(client, arguments),
    }
}

fn offline(client: &Client, arguments: &Arguments) -> anyhow::Result<Code> {
    let now = wall_clock();
    let recurrence = recurrence(arguments, now).map_err(|bad| Failed::new(Code::Usage, bad.to_string()))?;
    let after = match arguments.from {
        None => now,
        Some(From::At(at)) => at,
        Some(From::Day(day)) => recurrence.start_of_day(day),
    };
    let due: Vec<Occurrence> = recurrence.upcoming(after).take(arguments.count.into()).collect();
    if client.prints_json() {
        let data =
            due.iter().map(|due| json!({"at": due.at.to_string(), "local": due.local, "note": due.note}));
        out::data(json!({"data": data.collect::<Vec<_>>()}).to_string())?;
        return Ok(Code::Done);
    }
    print(due.into_iter().map(|due| Instant { at: due.at.to_string(), local: due.local, note: due.note }))?;
    Ok(Code::Done)
}

async fn of_schedule(client: &Client, name: &str, arguments: &Arguments) -> anyhow::Result<Code> {
    let mut query = vec![("count", arguments.count.to_string())];
    match arguments.from {
        None => {}
        Some(From::At(at)) => query.push(("from", at.to_string())),
        Some(From::Day(_)) => {
            let text = "--from takes a time such as 2026-03-07T05:00:00Z where it is about a schedule";
            return Err(Failed::new(Code::Usage, text).into());
        }
    }
    let answer =
        client.get(Ask { path: &["v1", "schedules", name, "preview"], query, ..Ask::default() }).await?;
    client.print(&answer, |preview: Preview| print(preview.data.into_iter()))?;
    Ok(Code::Done)
}

fn print(instants: impl Iterator<Item = Instant>) -> std::io::Result<()> {
    let rows = instants.map(|due| [due.at, due.local, due.note.unwrap_or_default()]);
    table::rows(["AT", "LOCAL", "NOTE"], rows)
}

fn recurrence(arguments: &Arguments, now: Timestamp) -> Result<Recurrence, BadRecurrence> {
    match (arguments.every, &arguments.cron) {
        (Some(interval), _) => {
            Recurrence::every(interval, arguments.start_at.unwrap_or(now), &arguments.timezone)
        }
        (None, cron) => Recurrence::cron(cron.as_deref().unwrap_or_default(), &arguments.timezone),
    }
}

fn instant(text: &str) -> Result<Timestamp, String> {
    let at: jiff::Timestamp =
        text.parse().map_err(|_| "must be a time such as 2026-03-07T05:00:00Z".to_string())?;
    Ok(Timestamp(at.as_microsecond()))
}

fn from(text: &str) -> Result<From, String> {
    // A date is read as one only in full: jiff would take the date of `2026-03-07T05:00` without its time.
    if text.len() == "2026-03-07".len()
        && let Ok(day) = text.parse()
    {
        return Ok(From::Day(day));
    }
    let wrong = |_| "must be a time such as 2026-03-07T05:00:00Z, or a day such as 2026-03-07".to_string();
    instant(text).map(From::At).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_read_as_one_only_without_a_time() {
        assert_eq!(from("2026-03-07"), Ok(From::Day(jiff::civil::date(2026, 3, 7))));
        assert_eq!(from("1970-01-01T01:00:00+01:00"), Ok(From::At(Timestamp(0))));
        for wrong in ["", "2026-03-07T05:00", "2026-03-32", "2026-03", "tomorrow", "20260307T0"] {
            assert!(from(wrong).is_err(), "{wrong}");
        }
    }
}
