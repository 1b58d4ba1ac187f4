//! The one schedule of the small world. It is called `s`, and its tasks get the next free letters.
//!
//! `schedule every=1m overlap=allow`, or `cron=30_2_*_*_*`, makes or replaces it; `schedule pause`, `resume`, `delete`,
//! `trigger`, `trigger overlap=allow`, `backfill 3h 1h` (from three hours ago until one hour ago) are commands to it. `clock
//! +1h` sets the machine's clock.

use std::sync::Arc;
use std::time::Duration;

use taskhook_core::schedule::{Fate, Missed, Overlap, Rule, Settings, What, Why};
use taskhook_core::subjects::Page;
use taskhook_core::{
    Context, Input, OpenTask, ScheduleChange, ScheduleCommand, ScheduleKey, Subjects, Task, TaskKey,
    Timestamp, limits, schedule,
};

use super::script::{name_of, span, value_of};
use super::{BEGINNING, Step, World};

/// The schedule's key.
pub(crate) const SCHEDULE: ScheduleKey = ScheduleKey(1);

impl World {
    /// What the machine's clock shows.
    pub(crate) fn shown(&self) -> Timestamp {
        Timestamp(self.now.0 + self.clock_is_off_by)
    }

    pub(crate) fn schedule_command(&self, options: &str) -> Input {
        let (verb, rest) = options.split_once(' ').unwrap_or((options, ""));
        let ago = |text: &str| self.shown() - span(text);
        let command = match verb {
            "pause" => ScheduleCommand::Pause,
            "resume" => ScheduleCommand::Resume,
            "delete" => ScheduleCommand::Delete,
            "set_back" => ScheduleCommand::ClockSetBack,
            "trigger" => ScheduleCommand::Trigger {
                at: Timestamp(self.now.0 + 1_000),
                overlap: value_of(rest, "overlap").map(overlap),
            },
            "backfill" => {
                let mut words = rest.split(' ');
                let (from, to) = (words.next().expect("from"), words.next().expect("to"));
                let overlapping = words.next().map(|word| word == "overlapping");
                ScheduleCommand::Backfill {
                    after: Timestamp(ago(from).0 - 1),
                    until: Timestamp(ago(to).0 - 1),
                    overlapping,
                }
            }
            _ => ScheduleCommand::Define {
                name: "s".into(),
                settings: Arc::new(self.settings(options)),
                paused: options.contains("paused"),
            },
        };
        Input::Schedule(SCHEDULE, command)
    }

    fn settings(&self, options: &str) -> Settings {
        let value = |name: &str| value_of(options, name);
        let instant = |text: &str| BEGINNING + span(text);
        let rule = match value("cron") {
            Some(expression) => Rule::Cron(expression.replace('_', " ")),
            None => Rule::Every(value("every").map_or(Duration::from_secs(60), span)),
        };
        let template = self.new_task(&format!("a {}", value("task").unwrap_or_default().replace('_', " ")));
        Settings {
            rule,
            timezone: value("timezone").unwrap_or("UTC").into(),
            asked: template.asked,
            spec: template.spec,
            overlap: value("overlap").map_or(Overlap::Skip, overlap),
            catch_up: value("catch_up").map_or(limits::CATCH_UP_DEFAULT, span),
            missed: match value("missed") {
                None | Some("latest") => Missed::Latest,
                Some("all") => Missed::All,
                Some("skip") => Missed::Skip,
                Some(other) => panic!("no such word: {other}"),
            },
            jitter: value("jitter").map_or(Duration::ZERO, span),
            start_at: value("start").map(instant),
            end_at: value("end").map(instant),
        }
    }

    /// The machine's clock is set.
    pub(crate) fn set_clock(&mut self, by: &str) {
        let (sign, by) = by.split_at(1);
        let micros = i64::try_from(span(by).as_micros()).expect("not so long");
        self.clock_is_off_by += if sign == "-" { -micros } else { micros };
    }

    /// When the schedule wants to be looked at, by the time of the world.
    pub(crate) fn schedule_wakes(&self) -> Option<Timestamp> {
        // A lane leaves schedules alone while it is held.
        let schedule = self.schedule.as_ref().filter(|_| self.held_since.is_none());
        let at = schedule?.wake_at?;
        Some(Timestamp(at.0 - self.clock_is_off_by))
    }

    pub(crate) fn load_schedule(
        &self,
        cx: &Context,
        command: Option<&ScheduleCommand>,
        subjects: &mut Subjects,
    ) {
        if let Some(ScheduleCommand::Define { settings, .. }) = command {
            self.load_queue(subjects, settings.asked.queue);
            self.load_source(subjects, settings.asked.source);
        }
        if let Some(schedule) = &self.schedule {
            self.load_queue(subjects, schedule.settings.asked.queue);
            let mut instants = schedule::woken::instants(schedule, cx.shown);
            if let Some(ScheduleCommand::Trigger { at, .. }) = command {
                instants.push(*at);
            }
            let fresh = self.tasks.keys().next_back().map_or(1, |last| last.0 + 1);
            let mut fresh = (fresh..).map(TaskKey);
            for at in instants {
                let known = |task: &&Task| task.plan.scheduled.is_some_and(|scheduled| scheduled.at == at);
                let known = self.tasks.values().find(known).map(|task| task.key);
                let key = known.or_else(|| fresh.next()).expect("keys have no end");
                self.load_task(subjects, key);
                subjects.put_instant(SCHEDULE, at, key);
            }
        }
        let open =
            self.tasks.values().filter(|task| task.plan.scheduled.is_some() && !task.state.is_terminal());
        let mut rows: Vec<OpenTask> =
            open.map(|task| OpenTask { key: task.key, id: name_of(task.key).into() }).collect();
        let older = rows.len().saturating_sub(limits::OPEN_TASKS_KNOWN);
        let rows = rows.split_off(older);
        rows.iter().for_each(|open| self.load_task(subjects, open.key));
        subjects.put_open_tasks(SCHEDULE, Page { rows, more: older > 0 });
        subjects.put_schedules_count(usize::from(self.schedule.is_some()));
        subjects.put_schedule(SCHEDULE, self.schedule.clone());
    }

    pub(crate) fn load_previous(&self, by: TaskKey, after: TaskKey, subjects: &mut Subjects) {
        let open =
            self.tasks.values().filter(|task| task.plan.scheduled.is_some() && !task.state.is_terminal());
        let rows = open.map(|task| task.key).filter(|key| *key > after && *key < by).collect();
        subjects.put_previous(by, after, Page { rows, more: false });
    }

    /// What has become of the schedule.
    pub(crate) fn save_schedule(&mut self, changes: &[(ScheduleKey, ScheduleChange)], subjects: &Subjects) {
        if !changes.is_empty() {
            self.schedule = subjects.schedule(SCHEDULE).cloned();
        }
        for (_, change) in changes {
            if let ScheduleChange::Decided { fates, .. } = change {
                self.fates.extend(fates);
            }
        }
    }

    /// Looks at the schedule.
    pub(crate) fn wake_schedule(&mut self) -> Vec<Step> {
        self.commit(vec![Input::WakeSchedule(SCHEDULE)])
    }
}

/// What became of all instants: `14:01 a, 14:02 overlapped a, 3 to 14:05 missed (newer)`.
pub(crate) fn fates(world: &World) -> String {
    let words = world.fates.iter().map(fate).collect::<Vec<_>>();
    if words.is_empty() { "nothing".into() } else { words.join(", ") }
}

fn fate(fate: &Fate) -> String {
    let at = clock(fate.at);
    match fate.what {
        What::Fired(task) => format!("{at} {}", name_of(task)),
        What::Existed(task) => format!("{at} {} was there", name_of(task)),
        What::Requested(task) => format!("{} on request", name_of(task)),
        What::Overlapped(task) => format!("{at} overlapped {}", name_of(task)),
        What::Missed { first, count, why } => {
            let what = if why.is_wanted() { "skipped" } else { "missed" };
            let why = match why {
                Why::TooLate => "too late",
                Why::Newer => "newer",
                Why::Skip => "skip",
                Why::TooMany => "too many",
                Why::Paused => "paused",
                Why::Changed => "changed",
            };
            match count {
                1 => format!("{at} {what} ({why})"),
                _ => format!("{count} from {} to {at} {what} ({why})", clock(first)),
            }
        }
    }
}

/// `14:01`, `14:01:30`, on the first day; else with the date.
fn clock(at: Timestamp) -> String {
    let text = at.to_string();
    let (date, time) = text.split_once('T').expect("a date and a time");
    let time = time.trim_end_matches('Z').trim_end_matches(".000").trim_end_matches(":00");
    let time = if time.len() < 5 { format!("{time}:00") } else { time.to_string() };
    match BEGINNING.to_string().starts_with(date) {
        true => time,
        false => format!("{} {time}", &date[5..]),
    }
}

fn overlap(text: &str) -> Overlap {
    match text {
        "skip" => Overlap::Skip,
        "allow" => Overlap::Allow,
        "buffer_one" => Overlap::BufferOne,
        "cancel_previous" => Overlap::CancelPrevious,
        other => panic!("no such word: {other}"),
    }
}
