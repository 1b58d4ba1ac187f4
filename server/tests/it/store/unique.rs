//! Unique keys: one task holds each, over restarts and over what goes.

use std::time::Duration;

use taskhook::engine::submission::Draft;
use taskhook_core::retention::Ages;
use taskhook_core::unique::Until;
use taskhook_core::{Command, On, Outcome, Refused, State, Unique, UniqueKey, limits};

use super::backend::Backend;
use super::world::{World, after, command, completed, create, external};

const HOUR: Duration = Duration::from_secs(3_600);
const RETRY: Command = Command::Retry { ignore_dependencies: false };

/// The same task, holding the key `number`.
fn unique(mut draft: Draft, number: u8, until: Until) -> Draft {
    draft.asked.unique = Some(Unique { key: UniqueKey([number; 16]), until });
    draft.spec.unique_key = Some(number.to_string());
    draft
}

fn held(id: &str) -> Draft {
    unique(external(id), 7, Until::Finished)
}

/// Creates one task; what it is called that is there now, and whether it is new.
#[track_caller]
fn created<B: Backend>(world: &mut World<B>, draft: Draft) -> (String, bool) {
    let outcome = world.submit(create([draft]));
    let Outcome::Created(tasks) = outcome else { panic!("{outcome:?}") };
    let names = world.backend.names();
    let name = names.into_iter().find(|(key, ..)| *key == tasks[0].0.0);
    (name.map(|(.., name)| name).unwrap_or_default(), tasks[0].1)
}

pub(super) fn a_key_is_held_until_its_task_has_ended<B: Backend>(world: &mut World<B>) {
    assert_eq!(created(world, held("a")), ("a".into(), true));
    assert_eq!(created(world, held("b")), ("a".into(), false));
    assert_eq!(world.name(1, "b"), None, "nothing is called so");
    world.restart();
    assert_eq!(created(world, held("b")), ("a".into(), false));
    world.settle(&[command("a", Command::Cancel)]);
    assert!(world.backend.held_keys().is_empty(), "nothing is left of it");
    assert_eq!(created(world, held("b")), ("b".into(), true));
    world.restart();
    let holder = world.key("b");
    assert_eq!(world.submit(command("a", RETRY)), Outcome::Refused(Refused::KeyHeld { holder }));
    world.settle(&[completed(1, "b")]);
    assert_eq!(world.submit(command("a", RETRY)), Outcome::Applied);
    world.restart();
    assert_eq!(created(world, held("c")), ("a".into(), false));
}

pub(super) fn a_key_is_held_for_a_time<B: Backend>(world: &mut World<B>) {
    let for_an_hour = |id: &str| unique(external(id), 7, Until::For(HOUR));
    assert_eq!(created(world, for_an_hour("a")), ("a".into(), true));
    world.settle(&[completed(1, "a")]);
    world.restart();
    world.clock.advance(HOUR - Duration::from_micros(1));
    assert_eq!(created(world, held("b")), ("a".into(), false));
    world.clock.advance(Duration::from_micros(1));
    assert_eq!(created(world, held("b")), ("b".into(), true));
    assert_eq!(world.backend.held_keys().len(), 1);
    world.settle(&[completed(2, "b")]);
    assert_eq!(created(world, for_an_hour("c")), ("c".into(), true));
}

pub(super) fn those_of_one_transaction_see_each_other<B: Backend>(world: &mut World<B>) {
    world.settle(&[create([held("a")]), create([held("b")]), create([held("c"), external("d")])]);
    assert_eq!(world.backend.tasks().len(), 2, "a and d");
    world.settle(&[completed(1, "a"), create([held("b")]), command("a", RETRY), create([held("c")])]);
    assert_eq!((world.state("a"), world.state("b")), (State::Succeeded, State::Running));
    assert_eq!(world.backend.tasks().len(), 3);
    world.settle(&[command("b", Command::Cancel), create([held("c")]), command("b", RETRY)]);
    assert_eq!((world.state("b"), world.state("c")), (State::Cancelled, State::Running));
}

pub(super) fn a_dependent_is_reopened_with_its_key_or_not_at_all<B: Backend>(world: &mut World<B>) {
    world.settle(&[create([external("parent")])]);
    let child =
        |id: &str, key| after(unique(external(id), key, Until::Finished), &[("parent", On::Succeeded)]);
    world.settle(&[create([child("one", 7), child("two", 8)])]);
    world.settle(&[command("parent", Command::Cancel)]);
    assert_eq!((world.state("one"), world.state("two")), (State::Skipped, State::Skipped));
    world.settle(&[create([held("other")])]);
    world.settle(&[command("parent", RETRY)]);
    assert_eq!((world.state("one"), world.state("two")), (State::Skipped, State::Blocked));
    assert_eq!(created(world, unique(external("three"), 8, Until::Finished)), ("two".into(), false));
    world.settle(&[completed(1, "parent"), completed(2, "other")]);
    assert_eq!(world.submit(command("one", RETRY)), Outcome::Applied);
    assert_eq!((world.state("one"), world.state("two")), (State::Running, State::Running));
}

pub(super) fn a_key_goes_with_its_task<B: Backend>(world: &mut World<B>) {
    let day = Until::For(24 * HOUR);
    world.settle(&[create([unique(external("a"), 7, day), unique(external("b"), 8, Until::Finished)])]);
    world.settle(&[completed(1, "a")]);
    world.clock.advance(2 * HOUR);
    let ages = Ages { tasks: Some(HOUR), ..Ages::NEVER };
    world.sweep(&ages, limits::PRUNED_ROWS_MAX);
    assert_eq!(world.name(1, "a"), None);
    assert_eq!(world.backend.held_keys().len(), 1, "that of the task that has not ended");
    world.restart();
    assert_eq!(created(world, unique(external("c"), 7, day)), ("c".into(), true));
    // One that is followed by another holder leaves the key to that one.
    world.settle(&[completed(2, "c")]);
    world.clock.advance(24 * HOUR);
    world.settle(&[create([held("d")])]);
    world.sweep(&ages, limits::PRUNED_ROWS_MAX);
    assert_eq!((world.name(1, "c"), created(world, held("e"))), (None, ("d".into(), false)));
}
