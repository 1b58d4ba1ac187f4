//! Decisions in words: `applied; responded 503, attempt 1 failed: http_503, retry in 2.314s; look`.

use taskhook_core::queue::Closed;
use taskhook_core::{
    Change, Decision, Effect, EventKind, FollowUp, HoldChange, Ignored, Line, NotCorrelated, Outcome,
    PollAnswer, QueueChange, QueueKey, Refused, Response, State, TaskKey, Timestamp,
};

use super::World;
use super::bulks::bulks;
use super::schedules::fates;
use super::script::{key_of, name_of};

/// Checks a table. Each row is what has happened `+` what happens now, and what follows: `=` the decision, or
/// `=>` the states of all tasks after all that follows, or `->` what became of the instants of the schedule, or `~>`
/// of bulks. Rows that differ are printed as they would be right.
pub(crate) fn check(table: &str) {
    let mut wrong = String::new();
    for row in table.lines().map(str::trim).filter(|row| !row.is_empty()) {
        let sign = [" => ", " -> ", " ~> "].into_iter().find(|sign| row.contains(sign)).unwrap_or(" = ");
        let (script, expected) = row.split_once(sign).expect("what follows");
        let (given, input) = script.split_once(" + ").expect("what happens now");
        let mut world = World::after(given);
        let steps = world.play(input);
        let actual = match sign {
            " => " => states(&world),
            " -> " => fates(&world),
            " ~> " => bulks(&world),
            _ => decision(&steps[0].decided.decision, key_of("a"), world.now),
        };
        if expected.trim() != actual {
            wrong.push_str(&format!("\n{script}{sign}{actual}\n  but expected: {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// The outcome; the changes; the effects; the follow-ups. Tasks other than `subject` are named.
pub(crate) fn decision(decision: &Decision, subject: TaskKey, now: Timestamp) -> String {
    let of = |key: TaskKey| if key == subject { String::new() } else { format!("{} ", name_of(key)) };
    let changes = decision.changes.iter().map(|(key, change)| format!("{}{}", of(*key), words(change, now)));
    let effects = decision.effects.iter().map(|effect| match effect {
        Effect::Dispatch { task, attempt, send: 1 } => format!("send {}#{attempt}", of(*task)),
        Effect::Dispatch { task, attempt, send } => format!("send {}#{attempt}, time {send}", of(*task)),
        Effect::Poll { task, attempt, .. } => format!("ask {}#{attempt}", of(*task)),
    });
    let follow_ups = decision.follow_ups.iter().map(|follow_up| follow(*follow_up, subject));
    let unparked = decision.unparked.iter();
    let unparked = unparked.map(|one| format!("event {}: {}", one.event.0, outcome(&one.outcome)));
    let hold = decision.hold.map(|change| match change {
        HoldChange::Held => "held",
        HoldChange::Resumed => "resumed",
    });
    let queues = decision.queues.iter().filter_map(|(_, change)| of_queue(change, now));
    let parts = [
        outcome(&decision.outcome),
        hold.unwrap_or_default().into(),
        list(changes),
        list(unparked),
        list(effects),
        list(queues),
        list(follow_ups),
    ];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

/// Every task's state, in the order of their names.
pub(crate) fn states(world: &World) -> String {
    list(world.tasks.values().map(|task| {
        let number = task.attempt_number();
        let attempt = if number > 0 { format!(" #{number}") } else { String::new() };
        format!("{} {}{attempt}", name_of(task.key), task.state.name())
    }))
}

fn list(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

pub(crate) fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Applied => "applied".into(),
        Outcome::Duplicate(_) => "duplicate".into(),
        Outcome::Stale => "stale".into(),
        Outcome::Ignored(why) => format!("ignored {}", Ignored::code(*why)),
        Outcome::Unmatched => "unmatched".into(),
        Outcome::Recorded(None) => "recorded".into(),
        Outcome::Recorded(Some(why)) => format!("recorded ({why})"),
        Outcome::Created(keys) => list(keys.iter().map(|(key, new)| {
            format!("{} {}", if *new { "created" } else { "there already" }, name_of(*key))
        })),
        Outcome::Defined { new } => if *new { "made" } else { "replaced" }.into(),
        Outcome::Unchanged => "unchanged".into(),
        Outcome::Repeated => "repeated".into(),
        Outcome::Rejected(why) => format!("rejected ({why})"),
        Outcome::Refused(why) => format!("refused: {}", refused(why)),
        Outcome::Quarantined => "quarantined".into(),
    }
}

fn refused(why: &Refused) -> String {
    let ended = |state: &State| format!("it is {}", state.name());
    match why {
        Refused::NotFound => "no such task".into(),
        Refused::IdTaken { position } => format!("id {position} is taken"),
        Refused::NoSuchDependency { position, dependency } => {
            format!("task {position} names no task in {dependency}")
        }
        Refused::Cycle(path) => format!("a circle {path:?}"),
        Refused::Ended(state) | Refused::NotScheduled(state) | Refused::NotRetryable(state) => ended(state),
        Refused::DependenciesUnmet => "dependencies unmet".into(),
        Refused::Gone => "gone".into(),
        Refused::NamesAnotherTask => "it names another task".into(),
        Refused::ParkingFull => "parking full".into(),
        Refused::NoSuchQueue { position } => format!("task {position} names no queue"),
        Refused::NoSuchSource { position } => format!("task {position} names no source"),
        Refused::NoSuchSchedule => "no such schedule".into(),
        Refused::Overlaps { task } => format!("{} has not ended", name_of(*task)),
        Refused::NoSuchBulk => "no such bulk".into(),
        Refused::NoSuchKey => "no such key".into(),
        Refused::KeyNameTaken => "the name is taken".into(),
        Refused::AdminKeyFirst => "an admin key first".into(),
        Refused::LastAdminKey => "the last admin key".into(),
        Refused::BulkEnded => "it has ended".into(),
        Refused::BackfillGoesOn => "a backfill goes on".into(),
        Refused::DependsOnReplaced { position, dependency } => {
            format!("task {position} names one that is not made in {dependency}")
        }
        Refused::ExternalTaken { position } => format!("the remote id of {position} is taken"),
        Refused::KeyHeld { holder } => format!("{} holds its key", name_of(*holder)),
        Refused::TooMany { what, max } => format!("there are {max} {what}"),
    }
}

fn follow(follow_up: FollowUp, subject: TaskKey) -> String {
    let of = |key: TaskKey| if key == subject { String::new() } else { format!(" of {}", name_of(key)) };
    match follow_up {
        FollowUp::Look(QueueKey::DEFAULT) => "look".into(),
        FollowUp::Look(queue) => format!("look at queue {}", queue.0),
        FollowUp::HostFree(host) => format!("host {} is free", host.0),
        FollowUp::Unpark { .. } => "unpark".into(),
        FollowUp::UnparkExternal { .. } => "unpark what names it".into(),
        FollowUp::EndDependents { parent, .. } => format!("tell dependents{}", of(parent)),
        FollowUp::ReopenDependents { parent, .. } => format!("tell dependents{} to wait", of(parent)),
        FollowUp::ParentEnded { task, end, .. } => format!("tell {} it {}", name_of(task), end.name()),
        FollowUp::ParentReopened { task, .. } => format!("tell {} it is open", name_of(task)),
        FollowUp::EndPrevious { by, .. } => format!("cancel those before {}", name_of(by)),
        FollowUp::Bulk { bulk, task } => format!("bulk {} to {}", bulk.0, name_of(task)),
        FollowUp::CallCancel { task, .. } => format!("tell the remote{}", of(task)),
        FollowUp::Supersede { task, .. } => format!("cancel {}", name_of(task)),
    }
}

/// What has become of a queue. That a line has nobody left is not told.
fn of_queue(change: &QueueChange, now: Timestamp) -> Option<String> {
    let name = |line: &Line| format!("line {}/{}", line.priority, line.key.0);
    Some(match change {
        QueueChange::Began { .. } | QueueChange::LineClosed { why: Closed::Empty, .. } => return None,
        QueueChange::Defined { .. } => "defined".into(),
        QueueChange::Paused => "paused".into(),
        QueueChange::Resumed => "resumed".into(),
        QueueChange::LineOpened { line } => format!("{} opened", name(line)),
        QueueChange::LineClosed { line, why: Closed::KeyLimit } => {
            format!("{} closed by its key", name(line))
        }
        QueueChange::LineClosed { line, why: Closed::KeyRate(until) } => {
            format!("{} closed for {:?}", name(line), until.since(now))
        }
        QueueChange::LineClosed { line, why: Closed::Hosts(hosts) } => {
            let hosts: Vec<i64> = hosts.iter().map(|host| host.0).collect();
            format!("{} closed by hosts {hosts:?}", name(line))
        }
        QueueChange::Rearmed { wake_at: None } => "no look by itself".into(),
        QueueChange::Rearmed { wake_at: Some(at) } => format!("look at it in {:?}", at.since(now)),
    })
}

fn words(change: &Change, now: Timestamp) -> String {
    match change {
        Change::Created { .. } => "created".into(),
        Change::Blocked => "blocked".into(),
        Change::DependencyEnded { parent, end, allowed, .. } => {
            let asked = if *allowed { "as asked" } else { "not as asked" };
            format!("{} {} {asked}", name_of(*parent), end.name())
        }
        Change::DependencyReopened { parent, .. } => format!("{} reopened", name_of(*parent)),
        Change::Scheduled => "scheduled".into(),
        Change::Queued => "queued".into(),
        Change::Begun { attempt } => format!("begun #{attempt}"),
        Change::Dispatched { attempt } => format!("dispatched #{attempt}"),
        Change::Resent { attempt, .. } => format!("resent #{attempt}"),
        Change::Started { attempt } => format!("started #{attempt}"),
        Change::Alive { progress: Some(progress), .. } => format!("alive at {progress}"),
        Change::Alive { progress: None, .. } => "alive".into(),
        Change::Correlated { attempt: Some(attempt), external } => format!("#{attempt} is {}", external.id),
        Change::Correlated { attempt: None, external } => format!("it is {}", external.id),
        Change::NotCorrelated { why: NotCorrelated::NotFound(why), .. } => why.to_string(),
        Change::NotCorrelated { why: NotCorrelated::Taken { id, by }, .. } => {
            format!("{id} is {}", name_of(*by))
        }
        Change::Located { attempt, location: Ok(_) } => format!("#{attempt} is located"),
        Change::Located { location: Err(why), .. } => why.to_string(),
        Change::PollSent { attempt } => format!("#{attempt} asked"),
        Change::PollLost { attempt } => format!("#{attempt} did not answer"),
        Change::Polled { attempt, answer } => format!("#{attempt} says {}", answer_words(answer)),
        Change::DeadlinePassed => "deadline passed".into(),
        Change::Responded { response: Ok(response), .. } => format!("responded {}", status(response)),
        Change::Responded { response: Err(failure), .. } => format!("no response: {}", failure.code),
        Change::AttemptFailed { attempt, failure, counted } => {
            let counted = if *counted { "" } else { " (not counted)" };
            format!("#{attempt} failed: {}{counted}", failure.code)
        }
        Change::RetryPlanned { at } => format!("retry in {:.1?}", at.since(now)),
        Change::Succeeded { attempt, result, by_response } => {
            let how = if *by_response { " by response" } else { "" };
            let result = result.as_ref().map(|result| format!(" with {}", String::from_utf8_lossy(result)));
            format!("succeeded #{attempt}{how}{}", result.unwrap_or_default())
        }
        Change::Failed => "failed".into(),
        Change::Cancelled => "cancelled".into(),
        Change::Skipped { parent } => format!("skipped because of {}", name_of(*parent)),
        Change::Triggered => "triggered".into(),
        Change::Reopened { ignore_dependencies: true } => "reopened, ignoring dependencies".into(),
        Change::Reopened { .. } => "reopened".into(),
        Change::EventIgnored { .. } => "noted".into(),
        Change::Rearmed { wake_at } => format!("look again in {:.1?}", wake_at.since(now)),
        Change::Quarantined => "quarantined".into(),
    }
}

fn answer_words(answer: &PollAnswer) -> &'static str {
    match answer {
        PollAnswer::Says(EventKind::Progress(..)) => "it runs",
        PollAnswer::Says(EventKind::Completed(_)) => "completed",
        PollAnswer::Says(EventKind::Failed(..)) => "failed",
        PollAnswer::Says(EventKind::Cancelled) => "cancelled",
        PollAnswer::Says(_) => "something else",
        PollAnswer::NotFound => "404",
        PollAnswer::Unclear(_) => "nothing clear",
        PollAnswer::Lost(_) => "nothing",
    }
}

fn status(response: &Response) -> u16 {
    response.status
}
