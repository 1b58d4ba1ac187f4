//! The remotes' own ids of tasks: kept, found again, and gone with their tasks.

use std::sync::Arc;
use std::time::Duration;

use taskhook::engine::submission::{Draft, Heard, Submission};
use taskhook_core::{
    EventKind, External, ExternalKey, Outcome, Refused, Reply, ReplyKind, Response, State, TaskKey, limits,
};

use super::backend::Backend;
use super::retention::{HOUR, everything_for};
use super::world::{World, create, event, external, failure, heard, hosted};

/// `task_completed` for whatever `source` calls `id`.
fn named(number: u64, source: &str, id: &str, kind: EventKind) -> Heard {
    let mut heard = Heard { task: None, external: Some(id.into()), ..heard(number, "none", kind) };
    let received = Arc::make_mut(&mut heard.received);
    (received.source, received.task_name) = (source.into(), None);
    received.external_id = Some(id.into());
    heard
}

fn completed(number: u64, id: &str) -> Submission {
    event(named(number, "default", id, EventKind::Completed(None)))
}

/// The target takes an attempt on, and says what it calls it.
fn accepted(task: TaskKey, attempt: u32, id: &str) -> Submission {
    let response = Arc::new(Response { status: 202, ..Response::default() });
    let external = External { key: ExternalKey::default(), source: "default".into(), id: id.into() };
    let kind = ReplyKind::Response(response);
    Submission::Reply(Box::new(Reply { task, attempt, kind, external: Some(Ok(external)), location: None }))
}

fn known_as(id: &str, external: &str) -> Draft {
    Draft { external: Some(external.into()), ..super::world::external(id) }
}

fn dispatched<B: Backend>(world: &mut World<B>, id: &str) -> TaskKey {
    world.settle(&[create([hosted(id, "h")])]);
    assert_eq!(world.state(id), State::Dispatching);
    world.key(id)
}

pub(super) fn what_a_remote_calls_a_task_survives<B: Backend>(world: &mut World<B>) {
    let a = dispatched(world, "a");
    world.settle(&[accepted(a, 1, "x"), create([known_as("b", "y")])]);
    let before = world.backend.all();
    world.restart();
    assert_eq!(world.backend.all(), before);
    assert_eq!(world.submit(completed(1, "x")), Outcome::Applied);
    assert_eq!(world.submit(completed(2, "y")), Outcome::Applied);
    assert_eq!((world.state("a"), world.state("b")), (State::Succeeded, State::Succeeded));
    assert_eq!(world.submit(completed(3, "x")), Outcome::Ignored(taskhook_core::Ignored::Terminal));
    // Another source speaks of something else by the same id.
    let other = named(4, "shop", "x", EventKind::Completed(None));
    assert_eq!(world.submit(event(other)), Outcome::Unmatched);
}

pub(super) fn a_webhook_may_come_before_its_task_is_known<B: Backend>(world: &mut World<B>) {
    let a = dispatched(world, "a");
    for number in 1..=3 {
        let kind = EventKind::Failed(failure("late"), false);
        let kind = if number < 3 { EventKind::Heartbeat } else { kind };
        assert_eq!(world.submit(event(named(number, "default", "x", kind))), Outcome::Unmatched);
    }
    assert_eq!(world.submit(completed(4, "y")), Outcome::Unmatched);
    world.restart();
    world.settle(&[accepted(a, 1, "x"), create([known_as("b", "y")])]);
    assert_eq!((world.state("a"), world.state("b")), (State::Failed, State::Succeeded));
    assert!(world.backend.parked().is_empty());
    // They are listed under the task that they turned out to be about.
    let about = |key: TaskKey| format!("task Some({}) None", key.0);
    let b = world.key("b");
    let events = world.backend.events();
    assert!(events[..3].iter().all(|line| line.contains(&about(a))), "{events:?}");
    assert!(events[3].contains(&about(b)), "{events:?}");
}

pub(super) fn those_of_one_transaction_know_of_each_other<B: Backend>(world: &mut World<B>) {
    let (a, b) = (dispatched(world, "a"), dispatched(world, "b"));
    let before = [completed(1, "x"), accepted(a, 1, "x")];
    let committed = world.settle(&before);
    assert_eq!(*committed.receipts[0].outcome(), Outcome::Unmatched);
    let committed = world.settle(&[accepted(b, 1, "y"), completed(2, "y")]);
    assert_eq!(*committed.receipts[1].outcome(), Outcome::Applied);
    assert_eq!((world.state("a"), world.state("b")), (State::Succeeded, State::Succeeded));
}

pub(super) fn an_id_is_that_of_one_open_task<B: Backend>(world: &mut World<B>) {
    let (a, b) = (dispatched(world, "a"), dispatched(world, "b"));
    world.settle(&[accepted(a, 1, "x"), accepted(b, 1, "x")]);
    let taken = Outcome::Refused(Refused::ExternalTaken { position: 1 });
    assert_eq!(world.submit(create([external("d"), known_as("c", "x")])), taken);
    world.restart();
    assert_eq!(world.submit(create([external("d"), known_as("c", "x")])), taken);
    assert_eq!(world.submit(completed(1, "x")), Outcome::Applied);
    assert_eq!((world.state("a"), world.state("b")), (State::Succeeded, State::Running));
    // It is free again.
    world.settle(&[create([known_as("c", "x")])]);
    assert_eq!(world.submit(completed(2, "x")), Outcome::Applied);
    assert_eq!(world.state("c"), State::Succeeded);
}

pub(super) fn an_id_goes_with_its_task_or_with_what_waits_for_it<B: Backend>(world: &mut World<B>) {
    let a = dispatched(world, "a");
    let first = world.backend.names().len();
    world.settle(&[accepted(a, 1, "x"), completed(1, "x"), completed(2, "nobody")]);
    assert_eq!(world.backend.names().len(), first + 2);
    world.clock.advance(2 * HOUR);
    world.sweep(&everything_for(HOUR), 100);
    let names = world.backend.names();
    assert!(names.iter().any(|(_, _, text)| text == "default\nnobody"), "{names:?}");
    assert!(!names.iter().any(|(_, _, text)| text == "default\nx" || text == "a"), "{names:?}");
    assert!(world.backend.externals().is_empty());
    world.clock.advance(limits::PARKED_FOR + Duration::from_secs(1));
    world.sweep(&everything_for(HOUR), 100);
    let names = world.backend.names();
    assert!(!names.iter().any(|(_, _, text)| text.contains("nobody")), "{names:?}");
    // A later task may be called so.
    world.settle(&[create([known_as("b", "x")])]);
    assert_eq!(world.submit(completed(3, "x")), Outcome::Applied);
    assert_eq!(world.state("b"), State::Succeeded);
}
