//! What of a batch goes into the audit log: each request that somebody made and that has changed something.

use taskhook_core::access::AccessChange;
use taskhook_core::source::SourceCommand;
use taskhook_core::{Command, Decided, HoldCommand, Outcome, QueueCommand, ScheduleCommand};

use crate::engine::submission::{BulkAsk, ScheduleAsk, Submission};
use crate::store::AuditEntry;

/// The entries of the first round of a batch, whose submissions come first and in order.
#[must_use]
pub fn entries(submissions: &[&Submission], decided: &[Decided]) -> Vec<AuditEntry> {
    submissions.iter().zip(decided).filter_map(|(submission, decided)| entry(submission, decided)).collect()
}

fn entry(submission: &Submission, decided: &Decided) -> Option<AuditEntry> {
    let Submission::By(author, asked) = submission else { return None };
    let created: Vec<usize> = match &decided.decision.outcome {
        // Nothing has changed.
        Outcome::Refused(_)
        | Outcome::Repeated
        | Outcome::Unchanged
        | Outcome::Duplicate(_)
        | Outcome::Rejected(_)
        | Outcome::Quarantined => return None,
        Outcome::Created(created) => {
            created.iter().enumerate().filter(|(_, (_, new))| *new).map(|(at, _)| at).collect()
        }
        _ => Vec::new(),
    };
    let (action, subject) = match asked.inner() {
        // Those that were there before are not made.
        Submission::Create(drafts) => ("task.create", drafts.get(*created.first()?)?.id.clone()),
        Submission::Command(id, command) => (task(*command), id.clone()),
        Submission::Queue(name, command) => (queue(command), name.clone()),
        Submission::Schedule(name, ask) => (schedule(ask), name.clone()),
        Submission::Source(name, command) => (source(command), name.clone()),
        Submission::Bulk(id, BulkAsk::Begin(..)) => ("bulk.begin", id.clone()),
        Submission::Bulk(id, BulkAsk::Cancel) => ("bulk.cancel", id.clone()),
        Submission::Hold(HoldCommand::Hold) => ("server.hold", String::new()),
        Submission::Hold(HoldCommand::Resume) => ("server.resume", String::new()),
        Submission::Event(heard) => ("event.replay", heard.received.replay_of?.to_string()),
        Submission::Access(_) => access(decided.decision.access.first()?),
        Submission::Reply(_)
        | Submission::Polled(_)
        | Submission::Answered(_)
        | Submission::Once(..)
        | Submission::By(..) => {
            return None;
        }
    };
    Some(AuditEntry { author: author.clone(), action, subject, count: created.len().max(1) })
}

fn task(command: Command) -> &'static str {
    match command {
        Command::Cancel => "task.cancel",
        Command::Retry { .. } => "task.retry",
        Command::Trigger => "task.trigger",
    }
}

fn queue(command: &QueueCommand) -> &'static str {
    match command {
        QueueCommand::Define { .. } => "queue.define",
        QueueCommand::Pause => "queue.pause",
        QueueCommand::Resume => "queue.resume",
    }
}

fn schedule(ask: &ScheduleAsk) -> &'static str {
    match ask {
        ScheduleAsk::Define(_) | ScheduleAsk::Command(ScheduleCommand::Define { .. }) => "schedule.define",
        ScheduleAsk::Command(ScheduleCommand::Pause) => "schedule.pause",
        ScheduleAsk::Command(ScheduleCommand::Resume) => "schedule.resume",
        ScheduleAsk::Command(ScheduleCommand::Delete) => "schedule.delete",
        ScheduleAsk::Command(ScheduleCommand::Trigger { .. }) => "schedule.trigger",
        ScheduleAsk::Command(ScheduleCommand::Backfill { .. }) => "schedule.backfill",
        ScheduleAsk::Command(ScheduleCommand::ClockSetBack) => "schedule.clock_set_back",
    }
}

fn access(change: &AccessChange) -> (&'static str, String) {
    match change {
        AccessChange::KeyCreated(key) => ("key.create", key.name.to_string()),
        AccessChange::KeyRevoked { name, .. } => ("key.revoke", name.to_string()),
        AccessChange::SecretsKept(secrets) => {
            ("secret.rotate", secrets.first().map(|(name, _)| name.to_string()).unwrap_or_default())
        }
    }
}

fn source(command: &SourceCommand) -> &'static str {
    match command {
        SourceCommand::Define { .. } => "source.define",
        SourceCommand::Rotate { .. } => "source.rotate_secret",
        SourceCommand::Delete => "source.delete",
    }
}
