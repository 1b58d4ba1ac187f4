//! What it means that a schedule's time has come.

use crate::Context;
use crate::cron::Recurrence;
use crate::decision::{Decision, Outcome, ScheduleChange};
use crate::id::ScheduleKey;
use crate::limits;
use crate::schedule::make::{Making, Turn};
use crate::schedule::{Backfill, Fate, Missed, Overlap, Schedule, What, Why};
use crate::subjects::Subjects;
use crate::time::Timestamp;

/// A schedule is looked at: its due instants are decided, and a page of its backfill is made.
pub fn decide(cx: &Context, subjects: &Subjects, key: ScheduleKey) -> Decision {
    // A server that rests fires nothing; once it goes on, what was due meanwhile is late.
    let schedule =
        subjects.schedule(key).filter(|_| !cx.rests() || cfg!(planted = "schedules_fire_while_held"));
    let Some(schedule) = schedule else { return Decision::nothing() };
    let Ok(recurrence) = schedule.recurrence() else {
        // What this release cannot read any more is left alone, and shown so.
        let mut decision = Decision::answer(Outcome::Applied);
        decision.schedules.push((key, ScheduleChange::Quarantined));
        return decision;
    };
    let mut making = Making::new(cx, subjects, schedule);
    let mut changes = Vec::new();
    // A schedule that an earlier input of the round has changed may be due at others than were loaded: next time.
    let knows = |instants: &[Timestamp]| instants.iter().all(|at| subjects.knows_instant(key, *at));
    if let Some(due) = Due::of(schedule, &recurrence, cx.shown).filter(|due| knows(&due.make)) {
        let mut fates: Vec<Fate> = due.missed(schedule, &recurrence).into_iter().collect();
        for at in &due.make {
            let what = making.make(*at, schedule.run_at(*at), due.turn);
            fates.push(Fate { at: *at, what });
        }
        changes.push(ScheduleChange::Decided { until: due.until, fates, more: due.more });
    }
    if let Some(backfill) = schedule.backfill {
        let instants = page(schedule, backfill, &recurrence);
        let is_last = instants.len() < schedule.tasks_per_look();
        changes.extend(knows(&instants).then(|| go_on(&mut making, backfill, &instants, is_last)));
    }
    let mut decision = making.decision();
    if !changes.is_empty() {
        decision.outcome = Outcome::Applied;
    }
    decision.schedules = changes.into_iter().map(|change| (key, change)).collect();
    decision
}

/// The instants whose tasks a look at `shown` makes, if nothing is in the way: what has to be loaded for it.
#[must_use]
pub fn instants(schedule: &Schedule, shown: Timestamp) -> Vec<Timestamp> {
    let Ok(recurrence) = schedule.recurrence() else { return Vec::new() };
    let due = Due::of(schedule, &recurrence, shown).map(|due| due.make);
    let asked = schedule.backfill.map(|backfill| page(schedule, backfill, &recurrence));
    due.into_iter().flatten().chain(asked.into_iter().flatten()).collect()
}

/// The instants of a schedule that are due and not decided.
struct Due {
    /// Those that make a task, in order.
    make: Vec<Timestamp>,
    /// While an earlier task has not ended.
    turn: Turn,
    /// All of them are after this one,
    after: Timestamp,
    /// and not after this one.
    until: Timestamp,
    /// There are more that are made up for.
    more: bool,
    /// Those that make no task, where there are any: up to this one, for this reason.
    missed: Option<(Timestamp, Why)>,
}

impl Due {
    /// `None` where none is due.
    fn of(schedule: &Schedule, recurrence: &Recurrence, shown: Timestamp) -> Option<Due> {
        if schedule.paused {
            return None;
        }
        let settings = &schedule.settings;
        // What was before the schedule begins is not made up for.
        let after = match cfg!(planted = "start_of_a_schedule_is_overlooked") {
            true => schedule.decided_until,
            false => schedule.not_before(schedule.decided_until),
        };
        let until = shown.min(settings.end_at.unwrap_or(Timestamp::MAX));
        let first = schedule.instants(recurrence, after).next().filter(|first| *first <= until)?;
        let newest = recurrence.latest_between(after, until)?;
        let by_schedule = Turn::By(settings.overlap);
        let due = |make, turn, missed| Some(Due { make, turn, after, until: newest, more: false, missed });
        let window = match settings.missed {
            Missed::Skip => limits::ON_TIME_WITHIN,
            Missed::Latest | Missed::All => settings.catch_up.max(limits::ON_TIME_WITHIN),
        };
        let counts_from = shown - window;
        if newest < counts_from {
            let why = if settings.missed == Missed::Skip { Why::Skip } else { Why::TooLate };
            return due(Vec::new(), by_schedule, Some((newest, why)));
        }
        // The last of those that are made up for is one of them.
        if first == newest && !schedule.catching_up {
            return due(vec![newest], by_schedule, None);
        }
        if settings.missed != Missed::All || cfg!(planted = "missed_instants_are_left_out") {
            let before = Timestamp(newest.0 - 1);
            let why = if settings.missed == Missed::Skip { Why::Skip } else { Why::Newer };
            return due(vec![newest], by_schedule, Some((before, why)));
        }
        let mut make = newest_first(recurrence, after.max(Timestamp(counts_from.0 - 1)), newest);
        let turn = if settings.overlap == Overlap::Allow { by_schedule } else { Turn::InOrder };
        let missed = make.first().filter(|oldest| first < **oldest).map(|oldest| {
            let why = if make.len() == limits::CAUGHT_UP_MAX { Why::TooMany } else { Why::TooLate };
            (Timestamp(oldest.0 - 1), why)
        });
        let more = make.len() > schedule.tasks_per_look();
        make.truncate(schedule.tasks_per_look());
        let until = make.last().copied().unwrap_or(newest);
        Some(Due { make, turn, after, until, more, missed })
    }

    /// What becomes of those that make no task.
    fn missed(&self, schedule: &Schedule, recurrence: &Recurrence) -> Option<Fate> {
        let (until, why) = self.missed?;
        missed(schedule, recurrence, self.after, until, why)
    }
}

/// What becomes of the instants after `after` and not after `until` that make no task for the same reason, if there are
/// any.
pub(super) fn missed(
    schedule: &Schedule,
    recurrence: &Recurrence,
    after: Timestamp,
    until: Timestamp,
    why: Why,
) -> Option<Fate> {
    let until = until.min(schedule.settings.end_at.unwrap_or(Timestamp::MAX));
    let first = schedule.instants(recurrence, after).next().filter(|first| *first <= until)?;
    let at = recurrence.latest_between(after, until)?;
    let count = recurrence.count_between(Timestamp(first.0 - 1), until, limits::INSTANTS_COUNTED_MAX);
    Some(Fate { at, what: What::Missed { first, count, why } })
}

/// The newest instants after `after` up to `newest`, as many as are made up for, in order.
fn newest_first(recurrence: &Recurrence, after: Timestamp, newest: Timestamp) -> Vec<Timestamp> {
    let mut instants = vec![newest];
    let mut oldest = newest;
    while instants.len() < limits::CAUGHT_UP_MAX {
        let Some(before) = recurrence.latest_between(after, Timestamp(oldest.0 - 1)) else { break };
        instants.push(before);
        oldest = before;
    }
    instants.reverse();
    instants
}

/// The next instants of a backfill.
fn page(schedule: &Schedule, backfill: Backfill, recurrence: &Recurrence) -> Vec<Timestamp> {
    let instants = schedule.instants(recurrence, backfill.after);
    instants.take_while(|at| *at <= backfill.until).take(schedule.tasks_per_look()).collect()
}

/// Makes the tasks of one page of a backfill.
fn go_on(
    making: &mut Making<'_>,
    backfill: Backfill,
    instants: &[Timestamp],
    is_last: bool,
) -> ScheduleChange {
    let turn = if backfill.overlapping { Turn::By(Overlap::Allow) } else { Turn::InOrder };
    // They are of the past: whatever draws them apart has no meaning any more.
    let made = instants.iter().filter(|at| matches!(making.make(**at, **at, turn), What::Fired(_))).count();
    let after = instants.last().filter(|_| !is_last).copied().unwrap_or(backfill.until);
    ScheduleChange::BackfillWentOn { after, made: u32::try_from(made).unwrap_or(u32::MAX) }
}
