//! Bulks: which tasks they reach, in which pace, and that each of them hears of it once.

mod support;

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use support::World;
use support::words::check;
use taskhook_core::bulk::{Filter, Look, Settings};
use taskhook_core::{
    Bulk, BulkChange, BulkKey, Cause, Change, Command, Rate, State, TaskKey, Timestamp, limits,
};

#[test]
fn each_task_that_matches_hears_of_it() {
    check(
        "
        look                                         + bulk 1 cancel ~> 1 done: 0 of 0
        new in=1h, b.new in=1h                       + bulk 1 cancel = applied
        new in=1h, b.new in=1h, bulk 1 cancel        + bulk 1 look = applied; bulk 1 to a, bulk 1 to b
        new in=1h, b.new in=1h, bulk 1 cancel        + pass 0s ~> 1 done: 2 of 2
        new in=1h, b.new in=1h, bulk 1 cancel        + pass 0s => a cancelled, b cancelled
        new external, b.new, b.200, bulk 1 cancel    + pass 0s => a cancelled #1, b succeeded #1
        new in=1h, b.new, bulk 1 trigger             + pass 0s => a dispatching #1, b dispatching #1
        new in=1h, b.new, bulk 1 trigger             + pass 0s ~> 1 done: 1 of 1
        new external, task_failed, b.new external, b.cancel, bulk 1 retry + pass 0s => a running #2, b running #2
        new external, task_failed, b.new external, b.cancel, bulk 1 retry state=failed + pass 0s => a running #2, b cancelled #1
        new in=1h, b.new external, bulk 1 cancel state=running + pass 0s => a scheduled, b cancelled #1
        queue 2, new external queue=2, b.new external, bulk 1 cancel queue=2 + pass 0s => a cancelled #1, b running #1
        new external, wait 1h, b.new external, bulk 1 cancel since=30m + pass 0s => a running #1, b cancelled #1
        new external                                 + bulk 1 cancel queue=7 = refused: task 0 names no queue
        new external, bulk 1 cancel, pass 0s         + bulk 1 look = unchanged
        look                                         + bulk 1 look = unchanged
    ",
    );
}

#[test]
fn what_cannot_be_changed_any_more_is_refused() {
    check(
        "
        new external, b.new external after=a, bulk 1 cancel, pass 0s + look ~> 1 done: 2 of 2
        new external, b.new external after=a, cancel, bulk 1 retry state=skipped + pass 0s ~> 1 done: 0 of 1, 1 refused
        new external, b.new external after=a, cancel, bulk 1 retry state=skipped ignoring + pass 0s => a cancelled #1, b running #1
        new external unique=k, cancel, b.new external unique=k, bulk 1 retry + pass 0s ~> 1 done: 0 of 1, 1 refused
        new external, bulk 1 cancel, locks 1, bulk 1 look, task_completed + resume ~> 1 done: 0 of 1, 1 refused
        new external, bulk 1 cancel, locks 1, bulk 1 look, cancel + resume ~> 1 done: 0 of 1, 1 refused
        new external, bulk 1 cancel, locks 1, bulk 1 look, prune a + resume ~> 1 done: 0 of 1, 1 refused
    ",
    );
}

#[test]
fn tasks_that_come_later_are_left_alone() {
    check("
        new external, bulk 1 cancel, b.new external  + pass 0s => a cancelled #1, b running #1
        b.new external, bulk 1 cancel, wait 1s, a.new external + pass 0s => a running #1, b cancelled #1
        new external, b.new external, bulk 1 cancel rate=1/1s, pass 0s, c.new external + pass 9s => a cancelled #1, b cancelled #1, c running #1
        new external                                 + bulk 1 cancel ; b.new external ~> 1 running: 0 of 0
    ");
}

#[test]
fn a_rate_holds_it_up() {
    check(
        "
        new external, b.new external, c.new external, bulk 1 cancel rate=1/1s + pass 0s ~> 1 running: 1 of 1
        new external, b.new external, c.new external, bulk 1 cancel rate=1/1s + pass 1s ~> 1 running: 2 of 2
        new external, b.new external, c.new external, bulk 1 cancel rate=1/1s + pass 2s ~> 1 done: 3 of 3
        new external, b.new external, c.new external, bulk 1 cancel rate=1/1s+2 + pass 0s ~> 1 running: 2 of 2
        new external, b.new external, c.new external, bulk 1 cancel rate=1/1s+2 + pass 1s ~> 1 done: 3 of 3
        new external, b.new external, bulk 1 cancel rate=1/1s, pass 0s + bulk 1 look = applied
    ",
    );
}

#[test]
fn it_waits_for_what_it_has_begun_and_survives_a_crash() {
    check("
        new external, bulk 1 cancel, locks 1, bulk 1 look + look ~> 1 running: 0 of 1
        new external, bulk 1 cancel, locks 1, bulk 1 look, crash + resume ~> 1 done: 1 of 1
        new external, b.new external, bulk 1 cancel rate=1/1s, locks 1, pass 0s, wait 5s + bulk 1 look ~> 1 running: 0 of 1
        new external, b.new external, bulk 1 cancel rate=1/1s, locks 1, pass 0s, wait 5s, resume + pass 0s ~> 1 done: 2 of 2
        new external, b.new external, bulk 1 cancel + bulk 1 look ; bulk 1 look ~> 1 done: 2 of 2
    ");
}

#[test]
fn a_user_may_stop_it() {
    check("
        new external, b.new external, bulk 1 cancel rate=1/1s, pass 0s, bulk 1 stop + pass 9s => a cancelled #1, b running #1
        new external, b.new external, bulk 1 cancel rate=1/1s, pass 0s, bulk 1 stop + pass 9s ~> 1 cancelled: 1 of 1
        new external, bulk 1 cancel, locks 1, bulk 1 look, bulk 1 stop + resume => a running #1
        new external, bulk 1 cancel, bulk 1 stop     + bulk 1 stop = unchanged
        new external, bulk 1 cancel, pass 0s         + bulk 1 stop = refused: it has ended
        look                                         + bulk 1 stop = refused: no such bulk
        new external, bulk 1 cancel                  + bulk 1 stop ; bulk 1 look ~> 1 cancelled: 0 of 0
    ");
}

#[test]
fn so_many_may_run() {
    let mut world = World::after("new external in=1h");
    for number in 1..=limits::BULKS_RUNNING_MAX {
        world.play(&format!("bulk {number} cancel rate=1/1h state=running"));
    }
    let steps = world.play("bulk 99 cancel");
    let said = support::words::outcome(&steps[0].decided.decision.outcome);
    assert_eq!(said, "refused: there are 16 bulks that run");
    world.play("pass 0s");
    let steps = world.play("bulk 99 cancel ; bulk 100 cancel");
    assert_eq!(support::words::outcome(&steps[1].decided.decision.outcome), "applied");
}

#[test]
fn the_cause_names_the_bulk() {
    let world = World::after("new external, bulk 7 cancel, pass 0s");
    let last = world.history.last().map(|entry| (entry.cause, entry.change.clone()));
    assert_eq!(last, Some((Cause::Bulk(BulkKey(7)), Change::Cancelled)));
}

#[test]
fn a_look_ends_at_its_bounds() {
    let settings = |rate| Settings { command: Command::Cancel, filter: Filter::default(), rate };
    let begun = |rate| {
        Bulk::begun(BulkKey(1), settings(rate).into(), Some(TaskKey(i64::MAX)), Timestamp::from_secs(5))
    };
    let fill = |mut look: Look, matches: bool| {
        let taken = (1..).take_while(|key| look.take(TaskKey(*key), matches)).count();
        assert!(look.more && look.last == TaskKey(i64::try_from(taken).expect("few")), "{look:?}");
        (taken, look.tasks.len())
    };
    let at = Timestamp::from_secs(5);
    let look = |bulk: Bulk| bulk.look(at).expect("it may look");
    assert_eq!(fill(look(begun(None)), true), (limits::BULK_PAGE, limits::BULK_PAGE));
    assert_eq!(fill(look(begun(None)), false), (limits::BULK_LOOKS, 0));
    let rate = Rate { limit: 1, per: std::time::Duration::from_secs(1), burst: 3 };
    assert_eq!(fill(look(begun(Some(rate))), true), (3, 3));
    // A clock that was set back by a year does not stop it for a year.
    let later = Timestamp::from_secs(31_536_000);
    let paced = begun(Some(rate)).evolve(later, &BulkChange::Looked { last: TaskKey(9), matched: 3 });
    let settled = (0..3).fold(paced, |bulk, _| bulk.evolve(at, &BulkChange::Applied));
    assert_eq!(settled.wake_at, Some(Timestamp::from_secs(6)));
}

proptest! {
    /// Whatever else happens: each task hears of a bulk at most once, and the counts add up.
    #[test]
    fn each_task_hears_of_a_bulk_at_most_once(
        story in vec(select(&[
            "a.new external", "b.new external in=2s", "c.new external after=a", "d.new external unique=k",
            "e.new external unique=k", "f.new", "a.task_failed", "b.cancel", "c.retry", "d.task_completed", "e.cancel",
            "f.500", "bulk 1 cancel", "bulk 2 retry rate=1/1s", "bulk 3 trigger rate=2/1s+2", "bulk 2 look", "bulk 1 stop",
            "bulk 3 stop", "locks 101", "resume", "pass 1s", "wait 1s", "crash", "bulk 1 look ; bulk 1 look",
        ][..]), 1..60),
    ) {
        let mut world = World::after(&story.join(", "));
        world.locks.clear();
        // What was kept may make more, and a bulk may have pages left.
        for _ in 0..9 {
            world.play("resume, pass 30s");
        }
        let mut touched: BTreeMap<(BulkKey, TaskKey), u64> = BTreeMap::new();
        for entry in &world.history {
            let is_said = matches!(entry.change, Change::Cancelled | Change::Triggered | Change::Reopened { .. });
            if let (Cause::Bulk(bulk), true) = (entry.cause, is_said) {
                *touched.entry((bulk, entry.task)).or_default() += 1;
            }
        }
        prop_assert!(touched.values().all(|times| *times == 1), "{touched:?}");
        for bulk in world.bulks.values() {
            let of = touched.keys().filter(|(key, _)| *key == bulk.key).count();
            prop_assert_eq!(u64::try_from(of), Ok(bulk.counts.applied), "{:?}", bulk);
            prop_assert!(!bulk.is_running() && bulk.wake_at.is_none(), "{bulk:?}");
            let told = bulk.counts.applied + bulk.counts.refused;
            let is_stopped = bulk.state == taskhook_core::bulk::State::Cancelled;
            prop_assert!(told == bulk.counts.matched || is_stopped && told < bulk.counts.matched, "{bulk:?}");
        }
    }
}

#[test]
fn a_filter_asks_for_all_of_its_conditions() {
    use taskhook_core::QueueKey;
    use taskhook_core::bulk::Facts;
    let labels = BTreeMap::from([("team".to_string(), "a".to_string())]);
    let created_at = Timestamp::from_secs(5);
    let facts =
        Facts { state: State::Failed, queue: QueueKey(2), created_at, name: Some("resize"), labels: &labels };
    let label = |value: &str| vec![("team".to_string(), value.to_string())];
    for (filter, passes) in [
        (Filter::default(), true),
        (Filter { states: vec![State::Failed, State::Skipped], ..Filter::default() }, true),
        (Filter { states: vec![State::Queued], ..Filter::default() }, false),
        (Filter { queue: Some(QueueKey(2)), ..Filter::default() }, true),
        (Filter { queue: Some(QueueKey(1)), ..Filter::default() }, false),
        (Filter { name: Some("resize".into()), ..Filter::default() }, true),
        (Filter { name: Some("size".into()), ..Filter::default() }, false),
        (Filter { labels: label("a"), ..Filter::default() }, true),
        (Filter { labels: label("b"), ..Filter::default() }, false),
        (Filter { created_after: Some(Timestamp(created_at.0 - 1)), ..Filter::default() }, true),
        (Filter { created_after: Some(created_at), ..Filter::default() }, false),
        (Filter { queue: Some(QueueKey(2)), labels: label("b"), ..Filter::default() }, false),
    ] {
        assert_eq!(filter.lets_through(&facts), passes, "{filter:?}");
    }
}
