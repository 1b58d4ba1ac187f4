//! The pure step of a transaction: a round of inputs becomes a round of decisions.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::decision::{BulkChange, Cause, Change, Decision, Effect, Outcome, RecordedEvent, ScheduleChange};
use crate::id::TaskKey;
use crate::input::{FollowUp, Input, Once, PollAnswer};
use crate::queue::admission;
use crate::subjects::Subjects;
use crate::task::{Task, cancelled, commanded, dependency, polled, replied, reported, woken};
use crate::{Context, access, bulk, create, hold, queue, schedule, source};

/// One input's decision, with the cause that its changes carry.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    /// What caused it.
    pub cause: Cause,
    /// What follows.
    pub decision: Decision,
    /// The message of a panic: a defect of Taskhook, to be reported loudly.
    pub defect: Option<String>,
}

/// What one input means. Everything that can happen is reached from this match.
pub fn decide(cx: &Context, subjects: &Subjects, input: &Input) -> Decision {
    match input {
        Input::Create(create) => create::decide(cx, subjects, create),
        Input::Event(event) => reported::decide(cx, subjects, event),
        Input::Command(task, command) => commanded::decide(cx, subjects, *task, *command),
        Input::Queue(key, command) => queue::command(cx, subjects, *key, command),
        Input::Schedule(key, command) => schedule::commanded::decide(cx, subjects, *key, command),
        Input::Bulk(key, command) => bulk::commanded::decide(subjects, *key, command),
        Input::Source(key, command) => source::command(cx, subjects, *key, command),
        Input::WakeBulk(key) => bulk::woken::decide(cx, subjects, *key),
        Input::WakeSchedule(key) => schedule::woken::decide(cx, subjects, *key),
        Input::Access(command) => access::command(cx, subjects, command),
        Input::Hold(command) => hold::command(cx, *command),
        Input::Reply(reply) => replied::decide(cx, subjects, reply),
        Input::Polled(polled) => polled::decide(cx, subjects, polled),
        Input::Wake(task) => woken::decide(cx, subjects, *task),
        Input::FollowUp(follow_up) => follow(cx, subjects, *follow_up),
        Input::Once(once, input) => decide_once(cx, subjects, *once, input),
        Input::Answered(answered) => {
            let mut decision = Decision::answer(Outcome::Applied);
            decision.answered = Some(answered.clone());
            decision
        }
    }
}

/// An input under a key: the first one happens, its repeats do not.
fn decide_once(cx: &Context, subjects: &Subjects, once: Once, input: &Input) -> Decision {
    if subjects.claimed(once.claim).is_some() && !cfg!(planted = "repeated_request_happens_again") {
        return Decision::answer(Outcome::Repeated);
    }
    let mut decision = decide(cx, subjects, input);
    decision.once = Some(once);
    decision
}

fn follow(cx: &Context, subjects: &Subjects, follow_up: FollowUp) -> Decision {
    match follow_up {
        FollowUp::Look(queue) => admission::decide(cx, subjects, queue),
        FollowUp::HostFree(host) => admission::host_free(subjects, host),
        FollowUp::Unpark { task, after } => reported::unpark(cx, subjects, task, after),
        FollowUp::UnparkExternal { external, after } => {
            reported::unpark_external(cx, subjects, external, after)
        }
        FollowUp::EndDependents { parent, generation, after } => {
            dependency::end_dependents(subjects, parent, generation, after)
        }
        FollowUp::ReopenDependents { parent, generation, after } => {
            dependency::reopen_dependents(subjects, parent, generation, after)
        }
        FollowUp::ParentEnded { task, parent, generation, end } => {
            dependency::parent_ended(cx, subjects, (task, parent), generation, end)
        }
        FollowUp::ParentReopened { task, parent, generation } => {
            dependency::parent_reopened(cx, subjects, (task, parent), generation)
        }
        FollowUp::EndPrevious { by, after } => schedule::end_previous(subjects, by, after),
        FollowUp::Bulk { bulk, task } => bulk::woken::tell(cx, subjects, bulk, task),
        FollowUp::CallCancel { task, generation } => cancelled::call(cx, subjects, task, generation),
        FollowUp::Supersede { task, by: _ } => schedule::superseded(subjects, task),
    }
}

/// Decides a round: each input sees what those before it decided, and the permits they took.
///
/// A decision that panics is a defect: it becomes [`Outcome::Quarantined`], and the others go on.
pub fn decide_all(cx: &mut Context, subjects: &mut Subjects, round: &[Input]) -> Vec<Decided> {
    let mut decided = Vec::with_capacity(round.len());
    for input in round {
        learn(cx, subjects, input);
        // `decide` holds shared references only, so an unwound one leaves nothing half done.
        let decide = || {
            let mut decision = decide(cx, subjects, input);
            let evolved = subjects.evolved(cx.now, &decision);
            for look in places_given_back(subjects, &evolved) {
                if !decision.follow_ups.contains(&look) {
                    decision.follow_ups.push(look);
                }
            }
            (decision, evolved)
        };
        let ((decision, evolved), defect) = match catch_unwind(AssertUnwindSafe(decide)) {
            Ok(decided) => (decided, None),
            Err(panic) => {
                let decision = quarantined(subjects, input);
                let evolved = subjects.evolved(cx.now, &decision);
                ((decision, evolved), Some(message_of(panic.as_ref())))
            }
        };
        subjects.take_in(cx.now, &decision, evolved);
        if let Some(change) = decision.hold {
            cx.held = change.since(cx.now);
            cx.permits.forget_silence(cx.now);
        }
        for effect in &decision.effects {
            take_permit(cx, subjects, effect);
        }
        // What a parked webhook does is its own doing, not that of the creation that found it.
        let parked = decision.unparked.first().map(|unparked| Cause::Event(unparked.event));
        decided.push(Decided { cause: parked.unwrap_or_else(|| input.cause()), decision, defect });
    }
    decided
}

fn take_permit(cx: &mut Context, subjects: &Subjects, effect: &Effect) {
    match effect {
        Effect::Dispatch { task, .. } => {
            let plan = subjects.task(*task).map(|task| &task.plan);
            if let Some((host, plan)) = plan.and_then(|plan| Some((plan.host?, plan))) {
                cx.permits.take(host, plan.payload_bytes, cx.now);
            }
        }
        Effect::Poll { .. } if cfg!(planted = "poll_takes_no_place") => {}
        Effect::Poll { host, .. } => cx.permits.take_poll(*host),
    }
}

/// What the end of an exchange says about its host, whatever it means for its task.
fn learn(cx: &mut Context, subjects: &Subjects, input: &Input) {
    match input {
        Input::Reply(reply) => {
            let task = subjects.has_loaded(reply.task).then(|| subjects.task(reply.task)).flatten();
            if let Some(host) = task.and_then(|task| task.plan.host) {
                cx.permits.learn(host, replied::health(reply), cx.now);
            }
        }
        Input::Polled(polled) => match polled.answer {
            // Nobody is asked again before it goes on.
            PollAnswer::Lost(_) if cx.rests() => {}
            // It was not asked at all.
            PollAnswer::Lost(ref failure) if failure.code == "egress_not_allowed" => {}
            PollAnswer::Lost(_) => cx.permits.hear_nothing(polled.host, cx.now),
            _ => cx.permits.hear(polled.host),
        },
        _ => {}
    }
}

/// The queues in which these tasks held a place and hold none any more: somebody else may have it.
fn places_given_back(subjects: &Subjects, evolved: &BTreeMap<TaskKey, Task>) -> Vec<FollowUp> {
    let held = |key| subjects.has_loaded(key) && subjects.task(key).is_some_and(Task::holds_a_place);
    let given_back = evolved.iter().filter(|(key, after)| held(**key) && !after.holds_a_place());
    let queues: BTreeSet<_> = given_back.map(|(_, task)| task.plan.queue).collect();
    queues.into_iter().map(FollowUp::Look).collect()
}

/// What a defect leaves behind: a webhook is kept, a task that was woken is left alone.
fn quarantined(subjects: &Subjects, input: &Input) -> Decision {
    let mut decision = Decision::answer(Outcome::Quarantined);
    match input {
        Input::Event(event) => {
            // It claims no delivery id: it is not answered 200, and its sender may try again.
            decision.event = Some(RecordedEvent { event: event.clone(), parked: false, claim: None });
        }
        Input::Wake(key) if subjects.has_loaded(*key) && subjects.task(*key).is_some() => {
            decision.changes.push((*key, Change::Quarantined));
        }
        Input::Reply(reply) if subjects.has_loaded(reply.task) && subjects.task(reply.task).is_some() => {
            decision.changes.push((reply.task, Change::Quarantined));
        }
        Input::Polled(polled) if subjects.has_loaded(polled.task) && subjects.task(polled.task).is_some() => {
            decision.changes.push((polled.task, Change::Quarantined));
        }
        Input::WakeSchedule(key)
            if subjects.has_loaded_schedule(*key) && subjects.schedule(*key).is_some() =>
        {
            decision.schedules.push((*key, ScheduleChange::Quarantined));
        }
        Input::WakeBulk(key) if subjects.has_loaded_bulk(*key) && subjects.bulk(*key).is_some() => {
            decision.bulks.push((*key, BulkChange::Failed));
        }
        // The bulk waits for every task that it has told.
        Input::FollowUp(FollowUp::Bulk { bulk, .. })
            if subjects.has_loaded_bulk(*bulk) && subjects.bulk(*bulk).is_some() =>
        {
            decision.bulks.push((*bulk, BulkChange::Refused));
        }
        Input::Once(_, inner) => return quarantined(subjects, inner),
        _ => {}
    }
    decision
}

fn message_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".into())
}

impl Input {
    /// What the changes that follow from this input name as their cause.
    #[must_use]
    pub fn cause(&self) -> Cause {
        match self {
            Input::Create(_) => Cause::Creation,
            Input::Event(event) => Cause::Event(event.key),
            Input::Command(..)
            | Input::Queue(..)
            | Input::Schedule(..)
            | Input::Bulk(..)
            | Input::Source(..)
            | Input::Access(_)
            | Input::Hold(_) => Cause::Command,
            Input::WakeSchedule(key) => Cause::Schedule(*key),
            Input::WakeBulk(key) | Input::FollowUp(FollowUp::Bulk { bulk: key, .. }) => Cause::Bulk(*key),
            Input::Reply(reply) => Cause::Reply(reply.attempt),
            Input::Polled(_) => Cause::Reconciliation,
            Input::Wake(_) => Cause::Time,
            Input::Once(_, input) => input.cause(),
            Input::Answered(_) => Cause::Command,
            Input::FollowUp(FollowUp::Look(_) | FollowUp::HostFree(_)) => admission::CAUSE,
            Input::FollowUp(FollowUp::Unpark { .. } | FollowUp::UnparkExternal { .. }) => Cause::Creation,
            Input::FollowUp(FollowUp::CallCancel { task, .. }) => Cause::Parent(*task),
            Input::FollowUp(
                FollowUp::EndDependents { parent, .. }
                | FollowUp::ReopenDependents { parent, .. }
                | FollowUp::ParentEnded { parent, .. }
                | FollowUp::ParentReopened { parent, .. },
            ) => Cause::Parent(*parent),
            // The task that takes their place says which schedule made it.
            Input::FollowUp(FollowUp::EndPrevious { by, .. } | FollowUp::Supersede { by, .. }) => {
                Cause::Parent(*by)
            }
        }
    }
}
