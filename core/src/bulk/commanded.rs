//! What a user's command does to a bulk.

use std::sync::Arc;

use crate::bulk::{Settings, State};
use crate::decision::{BulkChange, Decision, Outcome, Refused};
use crate::id::BulkKey;
use crate::input::BulkCommand;
use crate::limits;
use crate::subjects::Subjects;

/// A command through the API.
pub fn decide(subjects: &Subjects, key: BulkKey, command: &BulkCommand) -> Decision {
    match (command, subjects.bulk(key).map(|bulk| bulk.state)) {
        (BulkCommand::Begin(settings), None) => begin(subjects, key, settings),
        // Nobody else gives it the same id.
        (BulkCommand::Begin(_), Some(_)) => Decision::nothing(),
        (BulkCommand::Cancel, None) => refused(Refused::NoSuchBulk),
        (BulkCommand::Cancel, Some(State::Running)) => applied(key, BulkChange::Cancelled),
        (BulkCommand::Cancel, Some(State::Cancelled)) => Decision::nothing(),
        (BulkCommand::Cancel, Some(State::Done | State::Failed)) => refused(Refused::BulkEnded),
    }
}

fn begin(subjects: &Subjects, key: BulkKey, settings: &Arc<Settings>) -> Decision {
    if settings.filter.queue.is_some_and(|queue| subjects.queue(queue).is_none()) {
        return refused(Refused::NoSuchQueue { position: 0 });
    }
    if subjects.running_bulks() >= limits::BULKS_RUNNING_MAX {
        return refused(Refused::TooMany { what: "bulks that run", max: limits::BULKS_RUNNING_MAX });
    }
    let until = subjects.newest_task();
    applied(key, BulkChange::Began { settings: settings.clone(), until })
}

fn applied(key: BulkKey, change: BulkChange) -> Decision {
    let mut decision = Decision::answer(Outcome::Applied);
    decision.bulks.push((key, change));
    decision
}

fn refused(why: Refused) -> Decision {
    Decision::answer(Outcome::Refused(why))
}
