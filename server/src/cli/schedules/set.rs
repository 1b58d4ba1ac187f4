//! `taskhook schedules set`: changes what is given, and keeps the rest.
//!
//! The API replaces all that a schedule says. So the schedule is read first, and what the server told goes back to it as
//! it was, with the changes: a setting that this program does not know is kept too.

use clap::{Args, ValueEnum};

use crate::cli::client::{Answer, Ask, Client};
use crate::cli::schedules::command::Overlap;
use crate::cli::schedules::get;
use crate::cli::work::{Members, Work, put};
use crate::cli::{Code, Failed, input, out};

/// What the API tells of a schedule that is not for a caller to set.
const TOLD: [&str; 8] = ["name", "created_at", "decided_until", "next", "last", "counts", "backfill", "note"];

/// Make a schedule, or change what is given of it and keep the rest
///
/// A change never makes up for the past. Tasks that it has made stay as they are.
#[derive(Debug, Args)]
#[command(
    before_help = "taskhook schedules set nightly https://worker.example/report --cron '30 2 * * *' --timezone Europe/Stockholm\n\
                   taskhook schedules set sync https://worker.example/sync --every 15m --overlap cancel_previous\n\
                   taskhook schedules set nightly --jitter 5m --clear end-at",
    after_help = "The schedule is read, changed and written back: what somebody else changes in between is overwritten."
)]
pub(super) struct Arguments {
    /// The schedule's name
    #[arg(value_name = "SCHEDULE", value_parser = input::filled)]
    schedule: String,
    #[command(flatten)]
    work: Work,
    /// When it is due: minute, hour, day of month, month and day of week, with seconds before them if there are six,
    /// or a name such as @daily
    #[arg(long, value_name = "CRON", conflicts_with = "every")]
    cron: Option<String>,
    /// How often it is due, a whole number of seconds
    #[arg(long, value_name = "DURATION")]
    every: Option<String>,
    /// The IANA time zone of its clocks
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,
    /// What happens while an earlier task of it has not ended
    #[arg(long, value_enum)]
    overlap: Option<Overlap>,
    /// How far back instants count that were not decided in time
    #[arg(long, value_name = "DURATION")]
    catch_up: Option<String>,
    /// Which of those make a task
    #[arg(long, value_enum)]
    missed: Option<Missed>,
    /// Each task starts up to this much later, always the same for the same instant
    #[arg(long, value_name = "DURATION")]
    jitter: Option<String>,
    /// No instant before this one (RFC 3339)
    #[arg(long, value_name = "TIME")]
    start_at: Option<String>,
    /// No instant after this one (RFC 3339)
    #[arg(long, value_name = "TIME")]
    end_at: Option<String>,
    /// Make no tasks by itself; `taskhook schedules resume` ends it
    #[arg(long)]
    paused: bool,
    /// Take back a setting; several with commas between them
    #[arg(long, value_enum, value_name = "SETTING", value_delimiter = ',')]
    clear: Vec<Setting>,
}

/// Which instants make a task that were not decided in time.
#[derive(Debug, Clone, Copy, serde::Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
enum Missed {
    /// The last of them
    Latest,
    /// The newest 100
    All,
    /// None
    Skip,
}

/// What can be taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Setting {
    Timezone,
    Overlap,
    CatchUp,
    Missed,
    Jitter,
    StartAt,
    EndAt,
    Url,
    Method,
    Headers,
    Payload,
    Name,
    Queue,
    ConcurrencyKey,
    Priority,
    Completion,
    Timeout,
    RequestTimeout,
    Retry,
    Labels,
}

impl Setting {
    /// Its name in the API, and whether it is one of the task.
    fn field(self) -> (&'static str, bool) {
        match self {
            Setting::Timezone => ("timezone", false),
            Setting::Overlap => ("overlap", false),
            Setting::CatchUp => ("catch_up", false),
            Setting::Missed => ("missed", false),
            Setting::Jitter => ("jitter", false),
            Setting::StartAt => ("start_at", false),
            Setting::EndAt => ("end_at", false),
            Setting::Url => ("url", true),
            Setting::Method => ("method", true),
            Setting::Headers => ("headers", true),
            Setting::Payload => ("payload", true),
            Setting::Name => ("name", true),
            Setting::Queue => ("queue", true),
            Setting::ConcurrencyKey => ("concurrency_key", true),
            Setting::Priority => ("priority", true),
            Setting::Completion => ("completion", true),
            Setting::Timeout => ("timeout", true),
            Setting::RequestTimeout => ("request_timeout", true),
            Setting::Retry => ("retry", true),
            Setting::Labels => ("labels", true),
        }
    }
}

/// Runs it.
///
/// # Errors
/// If it was called wrongly, no server answers, or not with a success.
pub(super) async fn run(client: &Client, arguments: Arguments) -> anyhow::Result<Code> {
    let name = arguments.schedule.clone();
    let path = ["v1", "schedules", name.as_str()];
    let says = match client.get(Ask { path: &path, ..Ask::default() }).await {
        Ok(answer) => settings(&answer)?,
        Err(error) if Failed::is_not_found(&error) => Members::new(),
        Err(error) => return Err(error),
    };
    let body = Some(serde_json::to_vec(&changed(says, arguments)?)?);
    let answer = client.put(Ask { path: &path, body, ..Ask::default() }).await?;
    if answer.is_created() {
        out::message(format_args!("schedule {} is new", out::visible(&name)));
    }
    client.print(&answer, get::print)?;
    Ok(Code::Done)
}

/// What a schedule says, as the server tells it.
fn settings(answer: &Answer) -> std::io::Result<Members> {
    let mut says: Members = answer.read()?;
    says.retain(|name, _| !TOLD.contains(&name.as_str()));
    Ok(says)
}

/// What it says with what is given; what is taken back first may be given anew.
fn changed(mut says: Members, arguments: Arguments) -> anyhow::Result<Members> {
    let task = says.remove("task").map(|task| serde_json::from_str::<Members>(task.get())).transpose()?;
    let mut task = task.unwrap_or_default();
    for setting in arguments.clear {
        let (field, of_task) = setting.field();
        if of_task {
            task.remove(field)
        } else {
            says.remove(field)
        };
    }
    // The one takes the other's place.
    if arguments.cron.is_some() || arguments.every.is_some() {
        says.remove("cron");
        says.remove("every");
    }
    put(&mut says, "cron", arguments.cron)?;
    put(&mut says, "every", arguments.every)?;
    put(&mut says, "timezone", arguments.timezone)?;
    put(&mut says, "overlap", arguments.overlap)?;
    put(&mut says, "catch_up", arguments.catch_up)?;
    put(&mut says, "missed", arguments.missed)?;
    put(&mut says, "jitter", arguments.jitter)?;
    put(&mut says, "start_at", arguments.start_at)?;
    put(&mut says, "end_at", arguments.end_at)?;
    put(&mut says, "paused", arguments.paused.then_some(true))?;
    arguments.work.put_into(&mut task)?;
    put(&mut says, "task", Some(task))?;
    Ok(says)
}
