//! The stored shapes of schedules. Durations are microseconds, and so are times.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use taskhook_core::schedule::{Backfill, Counts, Fate, Missed, Overlap, Rule, Schedule, Settings, What, Why};
use taskhook_core::{
    Asked, ConcurrencyKey, HostKey, QueueKey, RetryAsked, ScheduleKey, SourceKey, Spec, TaskKey, Timestamp,
};

use super::oversight::OversightRow;
use super::{completion_number, completion_of, micros, span};

numbered!(overlap_number, overlap_of, Overlap, {
    1 => Overlap::Skip, 2 => Overlap::Allow, 3 => Overlap::BufferOne, 4 => Overlap::CancelPrevious,
});
numbered!(missed_number, missed_of, Missed, {
    1 => Missed::Latest, 2 => Missed::All, 3 => Missed::Skip,
});
numbered!(why_number, why_of, Why, {
    1 => Why::TooLate, 2 => Why::Newer, 3 => Why::Skip, 4 => Why::TooMany, 5 => Why::Paused, 6 => Why::Changed,
});

/// What a schedule says, but for what its tasks send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScheduleSettingsRow {
    /// A cron expression, or
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cron: Option<String>,
    /// an interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    every: Option<i64>,
    timezone: String,
    overlap: i64,
    catch_up: i64,
    missed: i64,
    jitter: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end_at: Option<i64>,
    task: AskedRow,
}

/// What is asked of the task of each instant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct AskedRow {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    host: Option<i64>,
    queue: i64,
    /// That of the source `default` where it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<i64>,
    concurrency_key: i64,
    priority: i16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    completion: Option<i64>,
    /// Negative: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request_timeout: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_max_attempts: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_initial: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_factor: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_max: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    oversight: Option<OversightRow>,
    payload_bytes: u32,
}

/// What has become of a schedule's instants, and what is still to be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProgressRow {
    /// Fired, requested, missed, overlapped, skipped.
    counts: [u64; 5],
    /// Instant, what, task or first instant, count, why.
    last: Vec<(i64, u8, i64, u64, i64)>,
    /// Whether it is making up for instants.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    catching_up: bool,
    /// After, until, overlapping, made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backfill: Option<(i64, i64, bool, u32)>,
}

impl ScheduleSettingsRow {
    /// The stored form.
    #[must_use]
    pub fn of(settings: &Settings) -> ScheduleSettingsRow {
        let (cron, every) = match &settings.rule {
            Rule::Cron(expression) => (Some(expression.clone()), None),
            Rule::Every(interval) => (None, Some(micros(*interval))),
        };
        let asked = &settings.asked;
        ScheduleSettingsRow {
            cron,
            every,
            timezone: settings.timezone.clone(),
            overlap: overlap_number(settings.overlap),
            catch_up: micros(settings.catch_up),
            missed: missed_number(settings.missed),
            jitter: micros(settings.jitter),
            start_at: settings.start_at.map(|at| at.0),
            end_at: settings.end_at.map(|at| at.0),
            task: AskedRow {
                host: asked.host.map(|host| host.0),
                queue: asked.queue.0,
                source: Some(asked.source.0).filter(|_| asked.source != SourceKey::DEFAULT),
                concurrency_key: asked.concurrency_key.0,
                priority: asked.priority,
                completion: asked.completion.map(completion_number),
                timeout: asked.timeout.map(|timeout| timeout.map_or(-1, micros)),
                request_timeout: asked.request_timeout.map(micros),
                retry_max_attempts: asked.retry.max_attempts,
                retry_initial: asked.retry.initial.map(micros),
                retry_factor: asked.retry.factor,
                retry_max: asked.retry.max.map(micros),
                oversight: OversightRow::of_asked(&asked.oversight),
                payload_bytes: asked.payload_bytes,
            },
        }
    }

    /// What it says, with what its tasks send; `None` where this version does not know a word of it.
    #[must_use]
    pub fn settings(self, spec: Spec) -> Option<Settings> {
        let rule = match (self.cron, self.every) {
            (Some(expression), None) => Rule::Cron(expression),
            (None, Some(interval)) => Rule::Every(span(interval)),
            _ => return None,
        };
        let task = self.task;
        Some(Settings {
            rule,
            timezone: self.timezone,
            asked: Asked {
                host: task.host.map(HostKey),
                queue: QueueKey(task.queue),
                source: task.source.map_or(SourceKey::DEFAULT, SourceKey),
                concurrency_key: ConcurrencyKey(task.concurrency_key),
                priority: task.priority,
                run_at: Timestamp(0),
                completion: task.completion.map(completion_of).map_or(Some(None), |known| known.map(Some))?,
                timeout: task.timeout.map(|timeout| (timeout >= 0).then(|| span(timeout))),
                request_timeout: task.request_timeout.map(span),
                retry: RetryAsked {
                    max_attempts: task.retry_max_attempts,
                    initial: task.retry_initial.map(span),
                    factor: task.retry_factor,
                    max: task.retry_max.map(span),
                },
                oversight: task.oversight.map(OversightRow::asked).unwrap_or_default(),
                payload_bytes: task.payload_bytes,
                scheduled: None,
                unique: None,
            },
            spec,
            overlap: overlap_of(self.overlap)?,
            catch_up: span(self.catch_up),
            missed: missed_of(self.missed)?,
            jitter: span(self.jitter),
            start_at: self.start_at.map(Timestamp),
            end_at: self.end_at.map(Timestamp),
        })
    }
}

impl ProgressRow {
    /// The stored form.
    #[must_use]
    pub fn of(schedule: &Schedule) -> ProgressRow {
        let Counts { fired, requested, missed, overlapped, skipped } = schedule.counts;
        let last = schedule.last.iter().map(|fate| match fate.what {
            What::Fired(task) => (fate.at.0, 1, task.0, 1, 0),
            What::Existed(task) => (fate.at.0, 2, task.0, 1, 0),
            What::Requested(task) => (fate.at.0, 3, task.0, 1, 0),
            What::Overlapped(task) => (fate.at.0, 4, task.0, 1, 0),
            What::Missed { first, count, why } => (fate.at.0, 5, first.0, count, why_number(why)),
        });
        ProgressRow {
            counts: [fired, requested, missed, overlapped, skipped],
            last: last.collect(),
            catching_up: schedule.catching_up,
            backfill: schedule
                .backfill
                .map(|backfill| (backfill.after.0, backfill.until.0, backfill.overlapping, backfill.made)),
        }
    }

    fn counts(&self) -> Counts {
        let [fired, requested, missed, overlapped, skipped] = self.counts;
        Counts { fired, requested, missed, overlapped, skipped }
    }

    fn last(&self) -> Option<Vec<Fate>> {
        let fate = |(at, what, other, count, why): &(i64, u8, i64, u64, i64)| {
            let (at, task) = (Timestamp(*at), TaskKey(*other));
            let what = match what {
                1 => What::Fired(task),
                2 => What::Existed(task),
                3 => What::Requested(task),
                4 => What::Overlapped(task),
                5 => What::Missed { first: Timestamp(*other), count: *count, why: why_of(*why)? },
                _ => return None,
            };
            Some(Fate { at, what })
        };
        self.last.iter().map(fate).collect()
    }
}

/// A schedule's own columns, beside its settings.
#[derive(Debug, Clone)]
pub struct ScheduleRow {
    /// Its key.
    pub key: i64,
    /// Its name.
    pub name: String,
    /// [`ScheduleSettingsRow`] as JSON.
    pub settings: String,
    /// It makes no tasks by itself.
    pub paused: bool,
    /// It is left alone.
    pub quarantined: bool,
    /// When it was made.
    pub created_at: i64,
    /// Up to where its instants are decided.
    pub decided_until: i64,
    /// When it wants to be looked at.
    pub wake_at: Option<i64>,
    /// [`ProgressRow`] as JSON.
    pub progress: String,
}

impl ScheduleRow {
    /// The schedule, with what its tasks send; `None` where this version does not know a word of it.
    #[must_use]
    pub fn schedule(&self, spec: Spec) -> Option<Schedule> {
        let settings: ScheduleSettingsRow = serde_json::from_str(&self.settings).ok()?;
        let progress: ProgressRow = serde_json::from_str(&self.progress).ok()?;
        Some(Schedule {
            key: ScheduleKey(self.key),
            name: self.name.as_str().into(),
            settings: Arc::new(settings.settings(spec)?),
            paused: self.paused,
            quarantined: self.quarantined,
            created_at: Timestamp(self.created_at),
            decided_until: Timestamp(self.decided_until),
            catching_up: progress.catching_up,
            backfill: progress.backfill.map(|(after, until, overlapping, made)| Backfill {
                after: Timestamp(after),
                until: Timestamp(until),
                overlapping,
                made,
            }),
            wake_at: self.wake_at.map(Timestamp),
            counts: progress.counts(),
            last: progress.last()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use taskhook_core::limits;

    use taskhook_core::{Deadline, OversightAsked};

    use super::*;

    #[test]
    fn every_schedule_survives_storage() {
        let at = Timestamp(1_795_447_297_000_001);
        let task = TaskKey(i64::MIN);
        let whys = [Why::TooLate, Why::Newer, Why::Skip, Why::TooMany, Why::Paused, Why::Changed];
        let mut last: Vec<Fate> = whys
            .into_iter()
            .map(|why| Fate { at, what: What::Missed { first: at, count: u64::MAX, why } })
            .collect();
        let made = [What::Fired(task), What::Existed(task), What::Requested(task), What::Overlapped(task)];
        last.extend(made.into_iter().map(|what| Fate { at, what }));
        assert_eq!(last.len(), limits::FATES_KEPT);
        let second = Duration::from_secs(1);
        for (rule, overlap, missed) in [
            (Rule::Cron("@daily".into()), Overlap::Skip, Missed::Latest),
            (Rule::Every(second), Overlap::Allow, Missed::All),
            (Rule::Every(second), Overlap::BufferOne, Missed::Skip),
            (Rule::Every(second), Overlap::CancelPrevious, Missed::Skip),
        ] {
            let asked = Asked {
                host: Some(HostKey(9)),
                queue: QueueKey(3),
                source: SourceKey(4),
                concurrency_key: ConcurrencyKey(-4),
                priority: -100,
                run_at: Timestamp(0),
                completion: Some(taskhook_core::Completion::Callback),
                timeout: Some(None),
                request_timeout: Some(second),
                retry: RetryAsked {
                    max_attempts: Some(3),
                    initial: Some(second),
                    factor: Some(1.5),
                    max: Some(second),
                },
                oversight: OversightAsked {
                    heartbeat: Some(second),
                    deadline: Some(Deadline::After(second)),
                    ..OversightAsked::default()
                },
                payload_bytes: u32::MAX,
                scheduled: None,
                unique: None,
            };
            let settings = Settings {
                rule,
                timezone: "Europe/Stockholm".into(),
                asked,
                spec: Spec { name: Some("kind".into()), ..Spec::default() },
                overlap,
                catch_up: second,
                missed,
                jitter: second,
                start_at: Some(at),
                end_at: Some(at),
            };
            let schedule = Schedule {
                paused: true,
                quarantined: true,
                catching_up: true,
                backfill: Some(Backfill { after: at, until: at, overlapping: true, made: 7 }),
                wake_at: Some(at),
                counts: Counts { fired: 1, requested: 2, missed: 3, overlapped: 4, skipped: u64::MAX },
                last: last.clone(),
                ..Schedule::new(ScheduleKey(5), "nightly".into(), Arc::new(settings), at)
            };
            let row = ScheduleRow {
                key: 5,
                name: "nightly".into(),
                settings: serde_json::to_string(&ScheduleSettingsRow::of(&schedule.settings)).unwrap(),
                paused: true,
                quarantined: true,
                created_at: at.0,
                decided_until: at.0,
                wake_at: Some(at.0),
                progress: serde_json::to_string(&ProgressRow::of(&schedule)).unwrap(),
            };
            assert_eq!(row.schedule(schedule.settings.spec.clone()), Some(schedule));
        }
    }
}
