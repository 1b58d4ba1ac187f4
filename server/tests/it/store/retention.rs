//! What is old goes, in bounded steps, and nothing of it ever comes back.

use std::sync::Arc;
use std::time::Duration;

use taskhook::engine::commit::Batch;
use taskhook::engine::submission::Submission;
use taskhook::store::Transaction;
use taskhook_core::retention::Ages;
use taskhook_core::source::SourceCommand;
use taskhook_core::{
    Answered, ClaimKey, Command, EventKind, FollowUp, On, Once, Outcome, Permits, Refused, State, TaskKey,
    limits,
};

use super::backend::Backend;
use super::world::{
    World, after, answered, command, completed, create, delivered, event, external, failed, heard, hosted,
};

pub(super) const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

fn tasks_for(age: Duration) -> Ages {
    Ages { tasks: Some(age), ..Ages::NEVER }
}

pub(super) fn everything_for(age: Duration) -> Ages {
    Ages { tasks: Some(age), events: Some(age), rejected: Some(age), audit: Some(age) }
}

/// What a sweep takes away in all: tasks and webhooks.
fn swept<B: Backend>(world: &mut World<B>, ages: &Ages) -> (usize, usize) {
    let steps = world.sweep(ages, limits::PRUNED_ROWS_MAX);
    steps.iter().fold((0, 0), |sum, step| (sum.0 + step.tasks, sum.1 + step.events))
}

/// A webhook by a callback token.
fn called_back(number: u64, task: TaskKey) -> Submission {
    let mut heard = heard(number, "by-token", EventKind::Completed(None));
    (heard.task, heard.token, heard.attempt) = (None, Some(task), Some(1));
    event(heard)
}

pub(super) fn what_has_ended_goes_with_all_that_is_its_own<B: Backend>(world: &mut World<B>) {
    world.settle(&[create([
        external("old"),
        external("open"),
        after(external("child"), &[("old", On::Succeeded)]),
    ])]);
    world.settle(&[completed(1, "old")]);
    let old = world.key("old");
    world.clock.advance(HOUR);
    world.settle(&[completed(2, "child")]);
    assert_eq!(swept(world, &tasks_for(HOUR)), (0, 0), "nothing is older than an hour yet");
    world.clock.advance(Duration::from_micros(1));
    assert_eq!(swept(world, &tasks_for(HOUR)), (1, 0));

    assert_eq!(world.name(1, "old"), None);
    assert_eq!(world.backend.tasks().len(), 2);
    assert_eq!(world.backend.specs().len(), 2);
    assert_eq!(world.submit(called_back(3, old)), Outcome::Refused(Refused::Gone));
    assert_eq!(world.submit(command("old", Command::Cancel)), Outcome::Refused(Refused::NotFound));
    // What was created before with it as a dependency is what it was, and nothing new can wait for it.
    let again = create([after(external("child"), &[("old", On::Succeeded)])]);
    assert!(matches!(world.submit(again), Outcome::Created(tasks) if !tasks[0].1));
    let refused = world.submit(create([after(external("new"), &[("old", On::Succeeded)])]));
    assert!(matches!(refused, Outcome::Refused(Refused::NoSuchDependency { .. })), "{refused:?}");

    world.clock.advance(HOUR);
    assert_eq!(swept(world, &tasks_for(HOUR)), (1, 0));
    assert!(world.backend.edges().is_empty(), "edges go with their child");
    assert_eq!(world.state("open"), State::Running, "what has not ended stays, however old it is");
}

pub(super) fn a_key_never_comes_back<B: Backend>(world: &mut World<B>) {
    world.settle(&[create([external("a")])]);
    let mut old = vec![world.key("a")];
    for number in 0..3 {
        world.settle(&[completed(number, "a")]);
        world.clock.advance(2 * HOUR);
        let before = world.clock.now();
        assert_eq!(swept(world, &everything_for(HOUR)), (1, 1), "the newest name, entry and webhook");
        world.restart();
        // A store that opens goes on behind the time of the sweep, whatever its history says.
        assert!(world.transact(async |tx| Ok(tx.now())) >= before);
        world.settle(&[create([external("a")])]);
        let key = world.key("a");
        assert!(old.iter().all(|old| *old < key), "{key:?} after {old:?}");
        for old in &old {
            assert_eq!(world.submit(called_back(100, *old)), Outcome::Refused(Refused::Gone));
        }
        assert_eq!(world.state("a"), State::Running, "the new one is left alone");
        old.push(key);
    }
}

pub(super) fn steps_are_bounded<B: Backend>(world: &mut World<B>) {
    const TASKS: usize = 30;
    for number in 0..TASKS {
        let id = format!("t{number}");
        let heard = delivered(heard(number as u64, &id, EventKind::Completed(None)), &id);
        world.settle(&[create([external(&id)]), event(heard)]);
    }
    world.clock.advance(32 * DAY);
    let rows_max = 10;
    let steps = world.sweep(&everything_for(HOUR), rows_max);
    // A task is a few rows: a step may go over its bound by those of its last one.
    assert!(steps.iter().all(|step| step.rows < rows_max + 10), "{steps:?}");
    let rows: usize = steps.iter().map(|step| step.rows).sum();
    let working = steps.iter().filter(|step| step.rows > 0).count();
    assert!(working >= rows / (rows_max + 10) && working <= rows.div_ceil(rows_max) + 4, "{steps:?}");
    assert_eq!(steps.iter().map(|step| step.tasks).sum::<usize>(), TASKS);
    assert_eq!(steps.iter().map(|step| step.events).sum::<usize>(), TASKS);
    assert!(world.backend.tasks().is_empty() && world.backend.specs().is_empty());
    assert!(world.backend.events().is_empty() && world.backend.claims().is_empty());
    assert_eq!(world.backend.names().len(), 3, "two queues and the source are still there");
}

pub(super) fn a_task_stays_until_everybody_is_told_of_its_end<B: Backend>(world: &mut World<B>) {
    const CHILDREN: usize = 500;
    world.settle(&[create([external("parent")])]);
    for number in 0..CHILDREN {
        world.settle(&[create([after(external(&format!("child{number}")), &[("parent", On::Succeeded)])])]);
    }
    // Too many for one transaction: the rest is kept.
    world.commit(&[completed(1, "parent")]);
    assert!(!world.backlog.is_empty());
    world.clock.advance(2 * HOUR);
    assert_eq!(swept(world, &tasks_for(HOUR)), (0, 0));
    world.restart();
    world.drain();
    assert_eq!(swept(world, &tasks_for(HOUR)), (1, 0));
    for number in 0..CHILDREN {
        assert_eq!(world.state(&format!("child{number}")), State::Running);
    }
}

pub(super) fn what_a_dependent_knows_outlives_its_parent<B: Backend>(world: &mut World<B>) {
    world.settle(&[create([external("parent")])]);
    world.settle(&[create([
        after(external("skipped"), &[("parent", On::Succeeded)]),
        after(external("started"), &[("parent", On::Failed)]),
    ])]);
    world.settle(&[failed(1, "parent")]);
    world.clock.advance(HOUR);
    // Reopened and ended again: younger than its parent.
    world.settle(&[command("skipped", Command::Retry { ignore_dependencies: true })]);
    world.settle(&[command("skipped", Command::Cancel)]);
    world.clock.advance(Duration::from_micros(1));
    assert_eq!(swept(world, &tasks_for(HOUR)), (1, 0));
    assert_eq!(world.backend.edges().len(), 2, "{:?}", world.backend.edges());
    world.restart();

    assert_eq!(
        world.submit(command("skipped", Command::Retry { ignore_dependencies: false })),
        Outcome::Applied
    );
    assert_eq!(world.state("skipped"), State::Running, "its dependencies no longer matter");
    world.settle(&[failed(2, "started")]);
    let retried = world.submit(command("started", Command::Retry { ignore_dependencies: false }));
    assert_eq!(retried, Outcome::Applied, "what was met stays met");

    // Without that word it still knows that its dependency did not end as it asked.
    world.settle(&[create([external("other")])]);
    world.settle(&[failed(3, "other")]);
    world.clock.advance(HOUR);
    world.settle(&[create([after(external("late"), &[("other", On::Succeeded)])])]);
    assert_eq!(world.state("late"), State::Skipped);
    world.clock.advance(Duration::from_micros(1));
    assert_eq!(swept(world, &tasks_for(HOUR)), (1, 0));
    let retried = world.submit(command("late", Command::Retry { ignore_dependencies: false }));
    assert_eq!(retried, Outcome::Refused(Refused::DependenciesUnmet));
}

pub(super) fn a_task_stays_until_its_remote_is_told_of_its_cancel<B: Backend>(world: &mut World<B>) {
    world.settle(&[create([external("task")])]);
    world.settle(&[completed(1, "task")]);
    let call = FollowUp::CallCancel { task: world.key("task"), generation: 0 };
    let kept = world.transact(async |tx| tx.keep(&[call]).await);
    world.clock.advance(2 * HOUR);
    assert_eq!(swept(world, &tasks_for(HOUR)), (0, 0));
    world.transact(async |tx| tx.take(&kept).await);
    assert_eq!(swept(world, &tasks_for(HOUR)), (1, 0));
}

pub(super) fn a_reply_about_a_pruned_task_gives_its_place_back<B: Backend>(world: &mut World<B>) {
    world.node.permits = Permits::new(1, 1);
    world.settle(&[create([hosted("first", "h:1")])]);
    world.settle(&[create([hosted("second", "h:1")])]);
    world.settle(&[command("first", Command::Cancel)]);
    let first = world.key("first");
    world.clock.advance(Duration::from_secs(2));
    assert_eq!(swept(world, &tasks_for(Duration::from_secs(1))), (1, 0));
    assert_eq!(world.state("second"), State::Queued, "the exchange is still open");
    world.settle(&[answered(first, 1, 200)]);
    assert_eq!(world.state("second"), State::Dispatching);
    assert_eq!(world.backend.tasks().len(), 1);
    // A wake-up that was on its way finds nothing.
    world.commit_batch(&Batch { due: vec![first], ..Batch::default() });
}

pub(super) fn webhooks_go_by_their_age_and_not_while_they_wait<B: Backend>(world: &mut World<B>) {
    let rejected = heard(1, "x", EventKind::Rejected("no".into()));
    assert!(matches!(world.submit(event(rejected)), Outcome::Rejected(_)));
    assert_eq!(world.submit(completed(2, "early")), Outcome::Unmatched);
    let other = heard(3, "x", EventKind::Other(None));
    assert_eq!(world.submit(event(other)), Outcome::Recorded(None));
    world.clock.advance(2 * HOUR);
    let ages = Ages { events: Some(HOUR), rejected: Some(3 * HOUR), ..Ages::NEVER };
    assert_eq!(swept(world, &ages), (0, 1), "neither the rejected one nor the one that waits");
    world.clock.advance(2 * HOUR);
    assert_eq!(swept(world, &ages), (0, 1));
    assert_eq!(world.backend.parked().len(), 1);
    let early = world.key("early");
    world.clock.advance(limits::PARKED_FOR);
    assert_eq!(swept(world, &ages), (0, 1));
    assert!(world.backend.events().is_empty() && world.backend.parked().is_empty());
    assert_eq!(world.backend.names().len(), 3, "nothing is called so any more");
    world.restart();
    world.settle(&[create([external("early")])]);
    assert!(world.key("early") > early);
    assert_eq!(world.state("early"), State::Running);
}

/// A webhook of this source.
fn sent_by(source: &str, number: u64, kind: EventKind) -> Submission {
    let mut heard = heard(number, "x", kind);
    Arc::make_mut(&mut heard.received).source = source.into();
    event(heard)
}

/// The sources of the webhooks that are kept, in the order of their receipt.
fn kept_of<B: Backend>(world: &mut World<B>) -> Vec<String> {
    let source = |line: String| line.split(' ').nth(3).map(str::to_string);
    world.backend.events().into_iter().filter_map(source).collect()
}

pub(super) fn webhooks_go_by_the_age_that_their_source_says<B: Backend>(world: &mut World<B>) {
    let define = |source: &str, definition: &str| {
        let command = SourceCommand::Define { definition: definition.into(), secrets: None };
        Submission::Source(source.into(), command)
    };
    let says = |hours: i64| format!("{{\"retention_ms\":{}}}", hours * 3_600_000);
    world.settle(&[
        define("brief", &says(1)),
        define("long", &says(30)),
        define("kept", "{\"retention_ms\":-1}"),
        define("open", "{\"event_names\":{\"retention_ms\":\"task_completed\"}}"),
        define("broken", "\"retention_ms\""),
    ]);
    let all = ["kept", "long", "open", "gone", "broken", "brief"];
    let sent: Vec<_> =
        all.iter().zip(1..).map(|(source, number)| sent_by(source, number, EventKind::Other(None))).collect();
    world.settle(&sent);
    world.settle(&[sent_by("brief", 7, EventKind::Rejected("no".into()))]);
    let ages = Ages { events: Some(10 * HOUR), rejected: Some(20 * HOUR), ..Ages::NEVER };
    assert_eq!(swept(world, &ages), (0, 0));
    // Those that stay do not hide the younger ones behind them, also where a step has room for one row.
    world.clock.advance(2 * HOUR);
    world.settle(&[sent_by("brief", 8, EventKind::Other(None))]);
    let taken: usize = world.sweep(&ages, 1).iter().map(|step| step.events).sum();
    assert_eq!(taken, 1);
    assert_eq!(kept_of(world), ["kept", "long", "open", "gone", "broken", "brief", "brief"]);
    world.clock.advance(9 * HOUR);
    assert_eq!(swept(world, &ages), (0, 4), "as the settings say, where a source says nothing");
    assert_eq!(kept_of(world), ["kept", "long", "brief"], "what was rejected has its own age");
    world.clock.advance(10 * HOUR);
    assert_eq!(swept(world, &ages), (0, 1));
    world.restart();
    // What a source says counts for what it has sent before.
    world.settle(&[define("long", &says(22))]);
    assert_eq!(swept(world, &ages), (0, 0));
    world.clock.advance(2 * HOUR);
    assert_eq!(swept(world, &ages), (0, 1));
    world.clock.advance(10_000 * DAY);
    assert_eq!(swept(world, &ages), (0, 0));
    assert_eq!(kept_of(world), ["kept"]);
    // A source that is no more says nothing.
    world.settle(&[Submission::Source("kept".into(), SourceCommand::Delete)]);
    assert_eq!(swept(world, &ages), (0, 1));
}

pub(super) fn deliveries_are_remembered_longer_than_their_webhooks<B: Backend>(world: &mut World<B>) {
    world.settle(&[create([external("a")])]);
    let said = |number| event(delivered(heard(number, "a", EventKind::Heartbeat), "d"));
    let first = world.settle(&[said(1)]).receipts[0].event();
    world.clock.advance(limits::DELIVERIES_REMEMBERED_FOR);
    assert_eq!(swept(world, &everything_for(HOUR)), (0, 1));
    world.restart();
    let repeat = world.settle(&[said(2)]);
    assert_eq!(repeat.receipts[0].event(), first, "the webhook is gone, its id is not");
    assert!(matches!(repeat.receipts[0].outcome(), Outcome::Duplicate(_)));
    assert_eq!(world.backend.claims().len(), 1);

    // Whether it was swept by then or not, it is forgotten a day later.
    world.clock.advance(DAY);
    assert_eq!(world.submit(said(3)), Outcome::Applied);
    assert!(matches!(world.submit(said(4)), Outcome::Duplicate(_)));
    assert_eq!(world.backend.claims().len(), 1);
    world.clock.advance(limits::DELIVERIES_REMEMBERED_FOR + DAY);
    swept(world, &Ages::NEVER);
    assert!(world.backend.claims().is_empty());
    assert_eq!(world.submit(said(5)), Outcome::Applied);
}

pub(super) fn answers_go_after_their_time<B: Backend>(world: &mut World<B>) {
    let once = Once { claim: ClaimKey([7; 16]), request: [8; 16] };
    let answer = Answered { once, status: 200, body: Some(b"{}".to_vec()) };
    world.settle(&[Submission::Answered(Box::new(answer))]);
    swept(world, &Ages::NEVER);
    world.clock.advance(limits::IDEMPOTENCY_KEPT_FOR - Duration::from_micros(1));
    swept(world, &Ages::NEVER);
    assert_eq!(world.backend.answers().len(), 1);
    // They are looked through once on each day.
    world.clock.advance(DAY);
    swept(world, &Ages::NEVER);
    assert!(world.backend.answers().is_empty());
}

pub(super) fn nothing_goes_that_is_kept_for_ever<B: Backend>(world: &mut World<B>) {
    world.settle(&[create([external("a")]), event(heard(1, "x", EventKind::Rejected("no".into())))]);
    world.settle(&[completed(2, "a")]);
    let before = world.backend.all();
    world.clock.advance(10_000 * DAY);
    assert_eq!(swept(world, &Ages::NEVER), (0, 0));
    assert_eq!(world.backend.all(), before);
}
