//! Unique keys: who holds one, and what a second creation with it gives.

mod support;

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use support::World;
use support::words::check;
use taskhook_core::unique::Until;
use taskhook_core::{Task, TaskKey, UniqueKey};

#[test]
fn a_second_creation_with_a_key_gives_the_task_that_holds_it() {
    check(
        "
        new external unique=k                   + b.new unique=k = there already a
        new external unique=k                   + b.new unique=k => a running #1
        new external unique=k                   + b.new unique=l => a running #1, b dispatching #1
        new external                            + b.new external unique=k => a running #1, b running #1
        queue 2, new unique=k                   + b.new queue=2 unique=k => a dispatching #1
        new unique=k in=1h                      + b.new unique=k => a scheduled
        c.new external, new after=c unique=k    + b.new unique=k => a blocked, c running #1
        look                                    + new external unique=k ; b.new unique=k => a running #1
        new external unique=k                   + b.new unique=k queue=9 = there already a
        new external unique=k                   + b.new unique=k after=z = there already a
        new external unique=k                   + b.new unique=k content=x = there already a
        new external unique=k                   + once x b.new unique=k = there already a
    ",
    );
}

#[test]
fn an_id_is_looked_at_before_the_key() {
    check("
        new external unique=k                               + new external unique=k = there already a
        new external unique=k                               + new external unique=k content=x = refused: id 0 is taken
        new external unique=k, b.new external               + b.new external unique=k = there already b
        new external unique=k, b.new external               + b.new unique=k content=x = refused: id 0 is taken
        new external unique=k, task_completed, b.new external unique=k + new external unique=k = there already a
    ");
}

#[test]
fn a_key_is_free_when_its_task_has_ended() {
    check(
        "
        new unique=k, 200                       + b.new external unique=k => a succeeded #1, b running #1
        new unique=k attempts=1, 404            + b.new external unique=k => a failed #1, b running #1
        new unique=k, cancel                    + b.new external unique=k => a cancelled #1, b running #1
        c.new external, new after=c unique=k, c.task_failed + b.new external unique=k => a skipped, b running #1, c failed #1
        new unique=k, 503                       + b.new unique=k => a scheduled #1
        new external unique=k                   + task_completed ; b.new external unique=k => a succeeded #1, b running #1
        new external unique=k, task_completed, prune a + b.new external unique=k => b running #1
    ",
    );
}

#[test]
fn a_span_runs_from_the_creation_whatever_becomes_of_the_task() {
    check(
        "
        new external unique=k/1m, task_completed            + b.new unique=k = there already a
        new external unique=k/1m, task_completed, wait 59s  + b.new unique=k = there already a
        new external unique=k/1m, wait 1m                   + b.new external unique=k => a running #1, b running #1
        new external unique=k/1m, wait 1m                   + b.new external unique=k/1m => a running #1, b running #1
        new external unique=k/1m, wait 1m, b.new external unique=k, task_completed + c.new unique=k = there already b
        new external unique=k, b.new unique=k/1m            + task_completed ; c.new external unique=k => a succeeded #1, c running #1
        new external unique=k/1m, cancel, wait 1m, b.new external unique=k + retry => a running #2, b running #1
        new external unique=k/1m, cancel, wait 1m, retry    + b.new external unique=k => a running #2, b running #1
        new external unique=k/1m, task_completed, prune a   + b.new external unique=k => b running #1
    ",
    );
}

#[test]
fn a_task_that_is_reopened_takes_its_key_again() {
    check(
        "
        new external unique=k, cancel, retry                + b.new unique=k = there already a
        new external unique=k, cancel, b.new external unique=k + retry = refused: b holds its key
        new external unique=k, cancel, b.new external unique=k, b.task_completed + retry => a running #2, b succeeded #1
        new external unique=k, cancel, b.new external unique=k/1m, b.task_completed + retry = refused: b holds its key
        new external unique=k, cancel, b.new external unique=k, b.cancel + retry ; b.retry => a running #2, b cancelled #1
        new external unique=k, cancel, b.new external unique=k + retry ignoring = refused: b holds its key
    ",
    );
}

#[test]
fn a_dependent_whose_key_was_taken_meanwhile_stays_skipped() {
    let skipped = "new external, b.new external after=a unique=k, c.new external after=b, cancel";
    check(&format!(
        "
        {skipped}                               + retry => a running #2, b blocked, c blocked
        {skipped}, d.new external unique=k      + retry => a running #2, b skipped, c skipped, d running #1
        {skipped}, d.new external unique=k, retry, task_completed + b.retry = refused: d holds its key
        {skipped}, d.new external unique=k, retry, task_completed, d.task_completed + b.retry => a succeeded #2, b running #1, c blocked, d succeeded #1
        {skipped}, retry                        + d.new unique=k = there already b
    "
    ));
}

#[test]
fn in_a_batch_the_first_with_a_key_holds_it() {
    check("
        look                            + batch a external unique=k & b unique=k & c external = created a, there already a, created c; created, begun #1, c created, c begun #1
        look                            + batch b external unique=k & a unique=k => b running #1
        d.new external unique=k         + batch a unique=k & b unique=k & c external => c running #1, d running #1
        d.new external unique=k         + batch a unique=k & b external after=a = refused: task 1 names one that is not made in 0
        look                            + batch a external after=b unique=k & b unique=k = refused: task 0 names one that is not made in 0
        look                            + batch a external unique=k & b unique=k & c external after=a => a running #1, c blocked
        d.new external unique=k         + batch a unique=k after=b & b unique=k after=a = there already d, there already d
        batch a external unique=k & b unique=k + batch a external unique=k & b unique=k = there already a, there already a
        d.new external, d.cancel        + batch a after=d unique=k & b external unique=k => a skipped, d cancelled #1
    ");
}

/// One step of a story about tasks that want the same keys.
fn act() -> impl Strategy<Value = String> {
    let name = || select(vec!["a", "b", "c", "d", "e", "f"]);
    let unique = select(vec!["", " unique=k", " unique=k", " unique=l", " unique=k/40s"]);
    let after = select(vec!["", "", " after=a", " after=b:finished"]);
    let new = (name(), unique, after).prop_map(|(name, unique, after)| {
        let after = if name == "a" || name == "b" { "" } else { after };
        format!("{name} external{after}{unique}")
    });
    let ends = select(vec!["task_completed", "task_failed", "cancel", "retry", "retry", "retry ignoring"]);
    let end = (name(), ends).prop_map(|(name, end)| format!("{name}.{end}"));
    prop_oneof![
        4 => new.clone().prop_map(|new| format!("batch {new}")),
        1 => vec(new, 1..4).prop_map(|mut all| {
            all.sort();
            all.dedup_by_key(|words| words[..1].to_string());
            format!("batch {}", all.join(" & "))
        }),
        6 => end.clone(),
        1 => (end.clone(), end).prop_map(|(first, second)| format!("{first} ; {second}")),
        1 => Just("pass 15s".to_string()),
        1 => Just("locks 0110".to_string()),
        1 => Just("resume".to_string()),
    ]
}

proptest! {
    #[test]
    fn at_no_time_two_tasks_hold_one_key(story in vec(act(), 1..40)) {
        let mut world = World::new(8, 4);
        for act in &story {
            world.play(act);
            let mut holders: BTreeMap<UniqueKey, TaskKey> = BTreeMap::new();
            for task in world.tasks.values().filter(|task| is_held_by(task)) {
                let Some(unique) = task.plan.unique else { continue };
                let before = holders.insert(unique.key, task.key);
                prop_assert_eq!(before, None, "after {}", act);
                let held = world.held.get(&unique.key).copied();
                prop_assert_eq!(held.map(|held| (held.task, held.until)), Some((task.key, None)), "after {}", act);
            }
            // Nothing else is held but for a time, by a task that exists.
            for (key, held) in &world.held {
                let is_known = held.until.is_some() && world.tasks.contains_key(&held.task);
                prop_assert!(is_known || holders.get(key) == Some(&held.task), "after {}: {:?}", act, held);
            }
        }
    }
}

/// Whether the task holds its key as long as it has not ended, and has not.
fn is_held_by(task: &Task) -> bool {
    task.plan.unique.is_some_and(|unique| unique.until == Until::Finished) && !task.state.is_terminal()
}
