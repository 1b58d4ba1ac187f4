//! What the store tells, in the oracle's words.

use std::mem::discriminant;

use taskhook::store::row::micros;
use taskhook_core::{Cause, Change, EventId, EventKind, Outcome, PollAnswer, TaskKey, Timestamp};

use super::World;
use super::ground::Ground;
use super::mortal::Saved;
use crate::memory::Entry;
use crate::model::{self, Answer, Fact, Kind, State, Told, What, Why};

/// The number of a webhook is its id.
pub(super) fn number_of(id: EventId) -> u64 {
    u64::try_from(u128::from_be_bytes(id.0)).unwrap_or(u64::MAX)
}

/// The id of a webhook with this number.
pub(super) fn id_of(number: u64) -> EventId {
    EventId(u128::from(number).to_be_bytes())
}

pub(super) fn state(state: taskhook_core::State) -> State {
    match state {
        taskhook_core::State::Blocked => State::Blocked,
        taskhook_core::State::Scheduled => State::Scheduled,
        taskhook_core::State::Queued => State::Queued,
        taskhook_core::State::Dispatching => State::Dispatching,
        taskhook_core::State::Running => State::Running,
        taskhook_core::State::Succeeded => State::Succeeded,
        taskhook_core::State::Failed => State::Failed,
        taskhook_core::State::Cancelled => State::Cancelled,
        taskhook_core::State::Skipped => State::Skipped,
    }
}

pub(super) fn outcome(outcome: &Outcome) -> model::Outcome {
    match outcome {
        Outcome::Applied => model::Outcome::Applied,
        Outcome::Duplicate(first) => model::Outcome::Duplicate(number_of(*first)),
        Outcome::Stale => model::Outcome::Stale,
        Outcome::Ignored(_) => model::Outcome::Ignored,
        Outcome::Unmatched => model::Outcome::Unmatched,
        Outcome::Refused(_) => model::Outcome::Refused,
        _ => model::Outcome::Other,
    }
}

fn told(answer: &PollAnswer) -> Told {
    match answer {
        PollAnswer::Says(EventKind::Completed(_)) => Told::Ended(Kind::Completed),
        PollAnswer::Says(EventKind::Failed(_, retryable)) => {
            Told::Ended(Kind::Failed { retryable: *retryable })
        }
        PollAnswer::Says(EventKind::Cancelled) => Told::Ended(Kind::Cancelled),
        PollAnswer::Says(EventKind::Progress(None, None)) => Told::Running { shows_progress: false },
        PollAnswer::Says(EventKind::Progress(..)) => Told::Running { shows_progress: true },
        PollAnswer::NotFound => Told::NotFound,
        PollAnswer::Says(_) | PollAnswer::Unclear(_) | PollAnswer::Lost(_) => Told::Nothing,
    }
}

impl<G: Ground> World<G> {
    /// What has become true since the last look. That a remote is asked stands in no history: its place is that in the
    /// newest transaction, which alone can have changed anything since.
    pub(super) fn look(&mut self) -> Vec<Fact> {
        let told = self.ground.told_since(self.position);
        self.position = told.last().map_or(self.position, |(position, _)| *position);
        let is_committed = !told.is_empty();
        let mut told = told.into_iter().map(|(_, entry)| entry).peekable();
        let mut facts = Vec::new();
        for Saved { task, at, kind, asks } in std::mem::take(&mut self.saved) {
            if let Some(attempt) = asks.filter(|_| is_committed || self.was_asked(task, at)) {
                let id = self.name_of(task);
                facts.push(Fact { at: at.0, task: id, why: Why::Time, what: What::Asks(attempt) });
            }
            // Not every change is told.
            let is_it = |entry: &Entry| entry.task == task && discriminant(&entry.change) == kind;
            facts.extend(told.next_if(is_it).map(|entry| self.fact(&entry)));
        }
        facts.extend(told.map(|entry| self.fact(&entry)));
        facts
    }

    /// Whether the store knows that the remote of a task was asked at this time.
    fn was_asked(&self, key: TaskKey, at: Timestamp) -> bool {
        let mut was_asked = false;
        self.ground.each_task(&mut |task| {
            let sent_at = task.attempt.and_then(|attempt| attempt.polling.sent_at);
            was_asked |= task.key == key && sent_at == Some(at);
        });
        was_asked
    }

    fn name_of(&mut self, task: TaskKey) -> String {
        let ground = &self.ground;
        self.names.entry(task).or_insert_with(|| ground.task(task).unwrap_or_default()).clone()
    }

    fn fact(&mut self, entry: &Entry) -> Fact {
        let id = self.name_of(entry.task);
        let known = |key| self.names.get(&key).cloned().or_else(|| self.ground.task(key));
        let name = |key| known(key).unwrap_or_default();
        let why = match entry.cause {
            Cause::Creation => Why::Creation,
            Cause::Command => Why::Command,
            Cause::Event(key) => Why::Event(self.ground.event_id(key).map_or(0, number_of)),
            Cause::Reply(attempt) => Why::Reply(attempt),
            Cause::Time => Why::Time,
            Cause::Parent(parent) => Why::Parent(name(parent)),
            Cause::Queue => Why::Queue,
            Cause::Reconciliation => Why::Asked,
            _ => Why::Other,
        };
        let what = match &entry.change {
            Change::Created { .. } => What::Created,
            Change::Blocked => What::Blocked,
            Change::Scheduled => What::Scheduled,
            Change::Queued => What::Queued,
            Change::Begun { attempt } => What::Begun(*attempt),
            Change::Dispatched { attempt } => What::Dispatched(*attempt),
            Change::Resent { attempt, send } => What::Resent(*attempt, *send),
            Change::Started { .. } => What::Started,
            Change::Alive { .. } => What::Alive,
            Change::Responded { attempt, response } => {
                let answer = response.as_ref().map(|response| Answer {
                    status: response.status,
                    retry_after: response.retry_after.map(micros),
                });
                What::Responded(*attempt, answer.unwrap_or_default())
            }
            Change::AttemptFailed { attempt, .. } => What::AttemptFailed(*attempt),
            Change::RetryPlanned { at } => What::RetryPlanned(at.0),
            Change::Succeeded { attempt, .. } => What::Succeeded(*attempt),
            Change::Failed => What::Failed,
            Change::Cancelled => What::Cancelled,
            Change::Skipped { parent } => What::Skipped(name(*parent)),
            Change::Triggered => What::Triggered,
            Change::Reopened { .. } => What::Reopened,
            Change::EventIgnored { outcome: Outcome::Stale } => What::Stale,
            Change::EventIgnored { .. } => What::Ignored,
            Change::Correlated { attempt, external } => What::Correlated(external.id.to_string(), *attempt),
            Change::DependencyEnded { parent, generation, end, allowed } => What::DependencyEnded {
                parent: name(*parent),
                generation: *generation,
                end: state(*end),
                allowed: *allowed,
            },
            Change::DependencyReopened { parent, generation, .. } => {
                What::DependencyReopened { parent: name(*parent), generation: *generation }
            }
            Change::Located { attempt, location } => What::Located(*attempt, location.is_ok()),
            Change::PollSent { attempt } => What::Asks(*attempt),
            Change::Polled { attempt, answer } => What::Told(*attempt, told(answer)),
            Change::DeadlinePassed => What::DeadlinePassed,
            Change::Quarantined => What::Defect,
            _ => What::Other,
        };
        Fact { at: entry.at.0, task: id, why, what }
    }
}
