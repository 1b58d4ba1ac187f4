//! The public shapes of schedules.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;
use taskhook_core::Deadline;
use taskhook_core::schedule::{Fate, Missed, Overlap, Rule, Schedule, What, Why};
use taskhook_core::{Occurrence, Recurrence, RetryAsked, limits};
use utoipa::ToSchema;

use crate::http::duration::show;
use crate::http::wire::{RetryDefaultBody, StatusBody, completion_name, late_success_name, raw};
use crate::secrets::credentials;
use crate::store::read::ScheduleView;

/// How many instants of the future are shown.
const NEXT_SHOWN: usize = 10;

/// A schedule.
#[derive(Debug, Serialize, ToSchema)]
pub struct ScheduleBody {
    /// Its name.
    pub name: String,
    /// When it is due, as a cron expression; null where it is due `every` so often.
    pub cron: Option<String>,
    /// How often it is due; null where it has a `cron` expression.
    pub every: Option<String>,
    /// The IANA time zone of its clocks.
    pub timezone: String,
    /// The task of each instant.
    pub task: TemplateBody,
    /// What happens while an earlier task of it has not ended: `skip`, `allow`, `buffer_one`, `cancel_previous`.
    #[schema(value_type = String)]
    pub overlap: &'static str,
    /// How far back instants count that were not decided in time.
    pub catch_up: String,
    /// Which of those make a task: `latest`, `all`, `skip`.
    #[schema(value_type = String)]
    pub missed: &'static str,
    /// Each task starts up to this much later.
    pub jitter: String,
    /// No instant before this one.
    pub start_at: Option<String>,
    /// No instant after this one.
    pub end_at: Option<String>,
    /// It makes no tasks by itself.
    pub paused: bool,
    /// When it was made.
    pub created_at: String,
    /// Every instant up to this one is decided.
    pub decided_until: String,
    /// The next instants, at most ten; none while it is paused.
    pub next: Vec<InstantBody>,
    /// What became of the newest instants, newest first, at most ten.
    pub last: Vec<FateBody>,
    /// What has become of its instants so far.
    pub counts: CountsBody,
    /// The backfill that is under way.
    pub backfill: Option<BackfillBody>,
    /// Why it makes no tasks, where that is not asked for.
    pub note: Option<String>,
}

/// The task of each instant of a schedule: what was given, with the names of the API.
#[derive(Debug, Serialize, ToSchema)]
pub struct TemplateBody {
    /// What kind of work it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where it is dispatched; absent for an external task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The method of its request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The headers of its request, with `[redacted]` in the place of credentials: sent back so, they stay.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The body of its request.
    #[schema(value_type = serde_json::Value)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<Box<RawValue>>,
    /// Its queue.
    pub queue: String,
    /// The source that may report on it; left out where it is `default`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Whose limits it shares within its queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency_key: Option<String>,
    /// −100 to 100, higher first.
    pub priority: i16,
    /// Which answers complete it.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion: Option<&'static str>,
    /// An attempt must be complete this long after its dispatch began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// The HTTP exchange itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_timeout: Option<String>,
    /// How failed attempts are tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryDefaultBody>,
    /// While it runs, a sign of life at least this often.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat: Option<String>,
    /// So long after its creation each has ended, or fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// Whether only a success of the current attempt counts.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late_success: Option<&'static str>,
    /// Where the remote is asked how each is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<StatusBody>,
    /// The URL that is called when one is cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel_url: Option<String>,
    /// How the remote's own id of each task is found in the response to its dispatch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlate: Option<String>,
    /// Words to find it by.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// An instant of a schedule.
#[derive(Debug, Serialize, ToSchema)]
pub struct InstantBody {
    /// The instant.
    pub at: String,
    /// What the clocks of its time zone show then.
    pub local: String,
    /// Why it is then, where a change of the clocks moved it or made it one of two.
    pub note: Option<String>,
}

/// What became of an instant, or of several in a row.
#[derive(Debug, Serialize, ToSchema)]
pub struct FateBody {
    /// The instant, or the last of them.
    pub at: String,
    /// `fired`: its task was made. `requested`: somebody asked for this task. `existed`: its task was there already.
    /// `overlapped`: an earlier task had not ended. `missed`: it was not decided in time. `skipped`: the schedule was
    /// paused or changed.
    #[schema(value_type = String)]
    pub outcome: &'static str,
    /// The id of its task, or of the one that had not ended.
    pub task: Option<String>,
    /// How many instants; where `missed` or `skipped` says 10,000, at least so many.
    pub count: u64,
    /// The first of them.
    pub first: String,
    /// The same in one sentence, with the reason.
    pub text: String,
}

/// How many instants have come to what.
#[derive(Debug, Serialize, ToSchema)]
pub struct CountsBody {
    /// A task was made when they were due.
    pub fired: u64,
    /// A task was made since somebody asked for it, by trigger or backfill.
    pub requested: u64,
    /// Not decided in time, and no task was made.
    pub missed: u64,
    /// An earlier task had not ended, and no task was made.
    pub overlapped: u64,
    /// The schedule was paused or changed, and no task was made.
    pub skipped: u64,
}

/// Instants of the past that were asked for.
#[derive(Debug, Serialize, ToSchema)]
pub struct BackfillBody {
    /// Instants up to this one are made.
    pub made_until: String,
    /// The last one is not after this.
    pub until: String,
    /// Whether their tasks may run at the same time; else each waits for the one before it.
    pub overlapping: bool,
    /// How many tasks were made.
    pub made: u32,
}

/// What a backfill comes to.
#[derive(Debug, Serialize, ToSchema)]
pub struct BackfillAnswer {
    /// How many instants there are; those that have a task get no second one.
    pub count: u64,
    /// The first of them.
    pub first: Option<String>,
    /// The last of them.
    pub last: Option<String>,
    /// Nothing was made.
    pub dry_run: bool,
}

/// The instants of a preview.
#[derive(Debug, Serialize, ToSchema)]
pub struct PreviewBody {
    /// The instants, in order.
    pub data: Vec<InstantBody>,
}

impl From<Occurrence> for InstantBody {
    fn from(occurrence: Occurrence) -> InstantBody {
        InstantBody { at: occurrence.at.to_string(), local: occurrence.local, note: occurrence.note }
    }
}

impl ScheduleBody {
    /// A schedule as it is shown.
    #[must_use]
    pub fn of(view: ScheduleView) -> ScheduleBody {
        let schedule = &view.schedule;
        let settings = &schedule.settings;
        let recurrence = schedule.recurrence();
        let (cron, every) = match &settings.rule {
            Rule::Cron(expression) => (Some(expression.clone()), None),
            Rule::Every(interval) => (None, Some(show(*interval))),
        };
        let next = match &recurrence {
            Ok(recurrence) if !schedule.paused && !schedule.quarantined => next(schedule, recurrence),
            _ => Vec::new(),
        };
        let note = match &recurrence {
            Err(reason) => Some(format!("this release cannot read it, so it is left alone: {reason}")),
            Ok(_) if schedule.quarantined => Some(
                "deciding about it failed by a defect of Taskhook; it is left alone until it is given again"
                    .into(),
            ),
            Ok(_) if next.is_empty() && !schedule.paused => Some("it is never due again".into()),
            Ok(_) => None,
        };
        let counts = schedule.counts;
        ScheduleBody {
            name: schedule.name.to_string(),
            cron,
            every,
            timezone: settings.timezone.clone(),
            task: template(&view),
            overlap: overlap_name(settings.overlap),
            catch_up: show(settings.catch_up),
            missed: missed_name(settings.missed),
            jitter: show(settings.jitter),
            start_at: settings.start_at.map(|at| at.to_string()),
            end_at: settings.end_at.map(|at| at.to_string()),
            paused: schedule.paused,
            created_at: schedule.created_at.to_string(),
            decided_until: schedule.decided_until.to_string(),
            next,
            last: schedule.last.iter().rev().map(|fate| fate_body(&view, fate)).collect(),
            counts: CountsBody {
                fired: counts.fired,
                requested: counts.requested,
                missed: counts.missed,
                overlapped: counts.overlapped,
                skipped: counts.skipped,
            },
            backfill: schedule.backfill.map(|backfill| BackfillBody {
                made_until: backfill.after.to_string(),
                until: backfill.until.to_string(),
                overlapping: backfill.overlapping,
                made: backfill.made,
            }),
            note,
        }
    }
}

fn next(schedule: &Schedule, recurrence: &Recurrence) -> Vec<InstantBody> {
    let instants = schedule.instants(recurrence, schedule.decided_until).take(NEXT_SHOWN);
    instants.map(|at| recurrence.describe(at).into()).collect()
}

fn template(view: &ScheduleView) -> TemplateBody {
    let (asked, spec) = (&view.schedule.settings.asked, &view.schedule.settings.spec);
    let request = spec.request.as_deref();
    let text = |payload: &Vec<u8>| String::from_utf8_lossy(payload).into_owned();
    let retry = asked.retry;
    TemplateBody {
        name: spec.name.clone(),
        url: request.map(|request| request.url.clone()),
        method: request.map(|request| request.method.clone()),
        headers: request
            .map(|request| request.headers.iter().cloned().map(credentials::shown).collect())
            .unwrap_or_default(),
        payload: raw(request.and_then(|request| request.payload.as_ref()).map(text)),
        queue: view.queue.clone(),
        source: Some(view.source.clone()).filter(|source| source != "default"),
        concurrency_key: spec.concurrency_key.clone(),
        priority: asked.priority,
        completion: asked.completion.map(completion_name),
        timeout: asked.timeout.flatten().map(show),
        request_timeout: asked.request_timeout.map(show),
        retry: (retry != RetryAsked::default()).then(|| RetryDefaultBody::of(retry)),
        heartbeat: asked.oversight.heartbeat.map(show),
        deadline: asked.oversight.deadline.map(|deadline| match deadline {
            Deadline::After(span) => show(span),
            Deadline::At(at) => at.to_string(),
        }),
        late_success: asked.oversight.rejects_late_success.then_some(late_success_name(true)),
        status: spec.status.as_ref().map(|status| {
            StatusBody::of(status, asked.oversight.status.and_then(|status| status.after), None)
        }),
        cancel_url: spec.cancel_url.clone(),
        correlate: spec.correlate.clone(),
        labels: spec.labels.clone(),
    }
}

fn fate_body(view: &ScheduleView, fate: &Fate) -> FateBody {
    let at = fate.at;
    let own = || Some(view.schedule.task_id(at));
    let (outcome, task, first, count, text) = match fate.what {
        What::Fired(_) => ("fired", own(), at, 1, "its task was made".to_string()),
        What::Existed(_) => ("existed", own(), at, 1, "its task was there already".into()),
        What::Requested(_) => ("requested", own(), at, 1, "its task was asked for".into()),
        What::Overlapped(task) => {
            let name = view.names.get(&task).cloned();
            let other = name.as_deref().unwrap_or("that is no longer kept");
            let text = format!(
                "no task: task {other} had not ended, and overlap is {}",
                overlap_name(view.schedule.settings.overlap)
            );
            ("overlapped", name, at, 1, text)
        }
        What::Missed { first, count, why } => {
            let outcome = if why.is_wanted() { "skipped" } else { "missed" };
            (outcome, None, first, count, format!("no task{}: {}", for_each(count), reason(view, why)))
        }
    };
    FateBody { at: at.to_string(), outcome, task, count, first: first.to_string(), text }
}

fn for_each(count: u64) -> String {
    match count {
        1 => String::new(),
        limits::INSTANTS_COUNTED_MAX => format!(" for at least {count} instants"),
        _ => format!(" for {count} instants"),
    }
}

fn reason(view: &ScheduleView, why: Why) -> String {
    let catch_up = show(view.schedule.settings.catch_up);
    match why {
        Why::TooLate => format!("it was longer ago than catch_up ({catch_up}) when Taskhook could decide it"),
        Why::Newer => "Taskhook could not decide it in time, and the newest instant stands for it".into(),
        Why::Skip => "Taskhook could not decide it in time, and missed is skip".into(),
        Why::TooMany => {
            format!(
                "Taskhook could not decide it in time, and makes up for the newest {} only",
                limits::CAUGHT_UP_MAX
            )
        }
        Why::Paused => "the schedule was paused".into(),
        Why::Changed => "the schedule was changed at that time".into(),
    }
}

/// The contract's word for what happens while an earlier task has not ended.
#[must_use]
pub fn overlap_name(overlap: Overlap) -> &'static str {
    match overlap {
        Overlap::Skip => "skip",
        Overlap::Allow => "allow",
        Overlap::BufferOne => "buffer_one",
        Overlap::CancelPrevious => "cancel_previous",
    }
}

/// The contract's word for which instants make a task that were not decided in time.
#[must_use]
pub fn missed_name(missed: Missed) -> &'static str {
    match missed {
        Missed::Latest => "latest",
        Missed::All => "all",
        Missed::Skip => "skip",
    }
}
