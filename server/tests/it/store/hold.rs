//! A held server: that it is held survives, and nothing that waited meanwhile is forgotten.

use std::time::Duration;

use taskhook::engine::commit::Batch;
use taskhook::engine::submission::{Draft, Submission};
use taskhook::store::{BatchId, Store as _, Transaction as _};
use taskhook_core::queue::Settings;
use taskhook_core::{
    ConcurrencyKey, HoldChange, HoldCommand, Input, Outcome, QueueCommand, Rate, State, Subjects, Timestamp,
    decide_all, limits,
};
use taskhook_sim::ready;

use super::backend::Backend;
use super::world::{World, answered, create, hosted};

const HOLD: Submission = Submission::Hold(HoldCommand::Hold);
const RESUME: Submission = Submission::Hold(HoldCommand::Resume);

fn held<B: Backend>(world: &mut World<B>) -> Option<Timestamp> {
    world.transact(async |tx| tx.held().await)
}

/// Resumes, and does what a lane does then. The ids of the tasks that are sent.
fn resume<B: Backend>(world: &mut World<B>) -> Vec<String> {
    let committed = world.settle(&[RESUME]);
    assert_eq!(committed.hold, Some(HoldChange::Resumed));
    assert_eq!(committed.dispatches.len(), 0, "they are looked for after the commit");
    let soon = world.clock.now() + limits::LOST_AFTER;
    let due = ready(world.backend.store().exchanges(soon, soon)).unwrap();
    let mut sent = world.commit_batch(&Batch { due, ..Batch::default() }).dispatches;
    sent.extend(world.look());
    sent.extend(world.drain());
    sent.into_iter().map(|dispatch| dispatch.id).collect()
}

fn keyed(id: &str, queue: &str) -> Draft {
    let mut draft = hosted(id, "h");
    draft.queue = queue.into();
    draft.asked.concurrency_key = ConcurrencyKey(7);
    draft
}

fn define(name: &str, settings: Settings) -> Submission {
    Submission::Queue(
        name.into(),
        QueueCommand::Define { settings: settings.into(), paused: false, secret: Default::default() },
    )
}

pub(super) fn that_it_is_held_survives<B: Backend>(world: &mut World<B>) {
    assert_eq!(held(world), None);
    assert_eq!(world.submit(RESUME), Outcome::Unchanged);
    assert_eq!(world.settle(&[HOLD]).hold, Some(HoldChange::Held));
    let since = held(world);
    assert_eq!(since, Some(world.clock.now()));
    world.clock.advance(Duration::from_secs(5));
    assert_eq!(world.submit(HOLD), Outcome::Unchanged);
    assert_eq!(world.settle(&[create([hosted("a", "h"), hosted("b", "i")])]).dispatches.len(), 0);
    for _ in 0..2 {
        world.restart();
        assert_eq!(world.look().len(), 0);
        assert_eq!(world.state("a"), State::Queued);
        assert_eq!(held(world), since);
    }
    let mut sent = resume(world);
    sent.sort();
    assert_eq!(sent, ["a", "b"]);
    world.restart();
    assert_eq!(held(world), None);
    // Within one transaction, each input sees what those before it have made of it.
    let three = world.settle(&[HOLD, create([hosted("c", "h")]), RESUME]);
    assert_eq!((three.hold, three.dispatches.len()), (Some(HoldChange::Resumed), 1));
}

pub(super) fn a_hold_that_is_not_committed_is_none<B: Backend>(world: &mut World<B>) {
    // A transaction that is begun and dropped, as one that fails is.
    let cx = world.context();
    let mut subjects = Subjects::default();
    let decided = decide_all(&mut cx.clone(), &mut subjects, &[Input::Hold(HoldCommand::Hold)]);
    assert_eq!(decided[0].decision.hold, Some(HoldChange::Held));
    let mut tx = ready(world.backend.store().begin(BatchId(u128::MAX))).unwrap();
    ready(tx.save(&decided, &subjects)).unwrap();
    assert!(ready(tx.held()).unwrap().is_some());
    drop(tx);
    assert_eq!(held(world), None);
}

pub(super) fn whoever_waited_for_its_key_is_found<B: Backend>(world: &mut World<B>) {
    let limit = Settings { key_concurrency: Some(1), ..Settings::default() };
    let per = Duration::from_secs(10);
    let rate = Rate { limit: 1, per, burst: 1 };
    let rate = Settings { key_rate: Some(rate), ..Settings::default() };
    world.settle(&[define("limit", limit), define("rate", rate)]);
    let tasks = [keyed("l1", "limit"), keyed("l2", "limit"), keyed("r1", "rate"), keyed("r2", "rate")];
    assert_eq!(world.settle(&[create(tasks)]).dispatches.len(), 2, "one of each");
    world.settle(&[HOLD]);
    for id in ["l1", "r1"] {
        let key = world.key(id);
        assert_eq!(world.settle(&[answered(key, 1, 200)]).dispatches.len(), 0);
    }
    for _ in 0..2 {
        world.clock.advance(2 * per);
        world.wake();
    }
    assert_eq!(
        world.due(world.clock.now(), 10).queues,
        [],
        "a queue that may start nothing is not woken for it"
    );
    assert_eq!((world.state("l2"), world.state("r2")), (State::Queued, State::Queued));
    let mut sent = resume(world);
    sent.sort();
    assert_eq!(sent, ["l2", "r2"]);
}

pub(super) fn a_lost_exchange_waits_until_it_is_resumed<B: Backend>(world: &mut World<B>) {
    world.settle(&[create([hosted("a", "h")])]);
    world.settle(&[HOLD]);
    for _ in 0..3 {
        world.clock.advance(Duration::from_secs(7));
        world.restart();
        let soon = world.clock.now() + limits::LOST_AFTER;
        let due = ready(world.backend.store().exchanges(soon, soon)).unwrap();
        assert_eq!(due.len(), 1);
        assert_eq!(world.commit_batch(&Batch { due, ..Batch::default() }).dispatches.len(), 0);
        world.clock.advance(Duration::from_secs(60));
        world.wake();
        assert!(world.open.is_empty());
    }
    assert_eq!(resume(world), ["a"]);
    let sends: Vec<u8> = world.open.values().map(|dispatch| dispatch.send).collect();
    assert_eq!(sends, [2], "waiting is no sending");
}
