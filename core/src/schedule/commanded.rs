//! What a user's command does to a schedule.

use std::sync::Arc;

use crate::Context;
use crate::decision::{Decision, Outcome, Refused, ScheduleChange};
use crate::id::ScheduleKey;
use crate::input::ScheduleCommand;
use crate::limits;
use crate::schedule::make::{Making, Turn};
use crate::schedule::{Backfill, Fate, Overlap, Schedule, Settings, What, Why, woken};
use crate::subjects::Subjects;
use crate::time::Timestamp;

/// A command through the API.
pub fn decide(cx: &Context, subjects: &Subjects, key: ScheduleKey, command: &ScheduleCommand) -> Decision {
    let schedule = subjects.schedule(key);
    let changes = match (command, schedule) {
        (ScheduleCommand::Define { name, settings, paused }, schedule) => {
            return define(cx, subjects, (key, schedule), name, settings, *paused);
        }
        (_, None) => return refused(Refused::NoSuchSchedule),
        (ScheduleCommand::Pause, Some(schedule)) if schedule.paused => return Decision::nothing(),
        (ScheduleCommand::Resume, Some(schedule)) if !schedule.paused => return Decision::nothing(),
        (ScheduleCommand::Pause, Some(schedule)) => {
            // What is due already is due before the pause.
            let decision = woken::decide(cx, subjects, key);
            return then(decision, schedule, [ScheduleChange::Paused]);
        }
        (ScheduleCommand::Resume, Some(schedule)) => {
            vec![leave_out(schedule, cx.shown, Why::Paused), ScheduleChange::Resumed]
        }
        (ScheduleCommand::Delete, Some(_)) => vec![ScheduleChange::Deleted],
        (ScheduleCommand::Trigger { at, overlap }, Some(schedule)) => {
            return trigger(cx, subjects, schedule, *at, *overlap);
        }
        (ScheduleCommand::Backfill { after, until, overlapping }, Some(schedule)) => {
            if schedule.backfill.is_some() {
                return refused(Refused::BackfillGoesOn);
            }
            let overlapping = overlapping.unwrap_or(schedule.settings.overlap == Overlap::Allow);
            let backfill = Backfill { after: *after, until: *until, overlapping, made: 0 };
            vec![ScheduleChange::BackfillBegan { backfill }]
        }
        (ScheduleCommand::ClockSetBack, Some(schedule)) => {
            if schedule.decided_until <= cx.shown + limits::SET_BACK_MIN {
                return Decision::nothing();
            }
            vec![ScheduleChange::Decided { until: cx.shown, fates: Vec::new(), more: false }]
        }
    };
    let mut decision = Decision::answer(Outcome::Applied);
    decision.schedules = changes.into_iter().map(|change| (key, change)).collect();
    decision
}

/// Makes a schedule, or replaces what it says. The past is never made up for by that.
fn define(
    cx: &Context,
    subjects: &Subjects,
    (key, schedule): (ScheduleKey, Option<&Schedule>),
    name: &Arc<str>,
    settings: &Arc<Settings>,
    paused: bool,
) -> Decision {
    if subjects.queue(settings.asked.queue).is_none() {
        return refused(Refused::NoSuchQueue { position: 0 });
    }
    if subjects.source(settings.asked.source).is_none() {
        return refused(Refused::NoSuchSource { position: 0 });
    }
    let defined =
        ScheduleChange::Defined { name: name.clone(), settings: settings.clone(), paused, shown: cx.shown };
    let Some(schedule) = schedule else {
        if subjects.schedules_count() >= limits::SCHEDULES_MAX {
            return refused(Refused::TooMany { what: "schedules", max: limits::SCHEDULES_MAX });
        }
        let mut decision = Decision::answer(Outcome::Defined { new: true });
        decision.schedules.push((key, defined));
        return decision;
    };
    // The same instants as before go on as before, so that a definition that is given again and again loses none.
    let changes = match (schedule.paused, settings.is_due_as(&schedule.settings)) {
        (true, _) => vec![leave_out(schedule, cx.shown, Why::Paused), defined],
        (false, false) => vec![leave_out(schedule, cx.shown, Why::Changed), defined],
        (false, true) if paused => {
            let decision = woken::decide(cx, subjects, key);
            let decision = then(decision, schedule, [defined]);
            return Decision { outcome: Outcome::Defined { new: false }, ..decision };
        }
        (false, true) => vec![defined],
    };
    let mut decision = Decision::answer(Outcome::Defined { new: false });
    decision.schedules = changes.into_iter().map(|change| (key, change)).collect();
    decision
}

/// Everything up to now is decided: no task.
fn leave_out(schedule: &Schedule, shown: Timestamp, why: Why) -> ScheduleChange {
    let recurrence = schedule.recurrence().ok();
    let fate = recurrence
        .and_then(|recurrence| woken::missed(schedule, &recurrence, schedule.decided_until, shown, why));
    // A clock that was set back shows what is decided already.
    let until = shown.max(schedule.decided_until);
    ScheduleChange::Decided { until, fates: fate.into_iter().collect(), more: false }
}

/// Makes a task now, paused or not.
fn trigger(
    cx: &Context,
    subjects: &Subjects,
    schedule: &Schedule,
    at: Timestamp,
    overlap: Option<Overlap>,
) -> Decision {
    let mut making = Making::new(cx, subjects, schedule);
    let made = making.make(at, cx.now, Turn::By(overlap.unwrap_or(schedule.settings.overlap)));
    let (outcome, what) = match made {
        What::Fired(task) => (Outcome::Created(vec![(task, true)]), What::Requested(task)),
        What::Existed(task) => return Decision::answer(Outcome::Created(vec![(task, false)])),
        What::Overlapped(task) => return refused(Refused::Overlaps { task }),
        What::Requested(_) | What::Missed { .. } => return Decision::nothing(),
    };
    let decided = ScheduleChange::Decided {
        until: schedule.decided_until,
        fates: vec![Fate { at, what }],
        more: schedule.catching_up,
    };
    let decision = then(making.decision(), schedule, [decided]);
    Decision { outcome, ..decision }
}

fn then<const N: usize>(
    mut decision: Decision,
    schedule: &Schedule,
    changes: [ScheduleChange; N],
) -> Decision {
    decision.outcome = Outcome::Applied;
    decision.schedules.extend(changes.into_iter().map(|change| (schedule.key, change)));
    decision
}

fn refused(why: Refused) -> Decision {
    Decision::answer(Outcome::Refused(why))
}
