//! Which tasks of a queue may start.

use std::time::Duration;

use taskhook::engine::commit::Batch;
use taskhook::engine::submission::Draft;
use taskhook_core::{Command, HostKey, Permits, QueueKey, State, limits};

use super::backend::Backend;
use super::world::{START, World, answered, command, create, hosted};

/// A task of a priority that is due so many seconds before the test begins.
fn waiting(id: &str, host: &str, priority: i16, due_since: u64) -> Draft {
    let mut draft = hosted(id, host);
    draft.asked.priority = priority;
    draft.asked.run_at = START - Duration::from_secs(due_since);
    draft
}

/// Creates tasks that wait, since nothing can be sent.
fn create_waiting<B: Backend>(world: &mut World<B>, drafts: impl IntoIterator<Item = Draft>) {
    let permits = std::mem::replace(&mut world.node.permits, Permits::new(0, 0));
    world.settle(&[create(drafts)]);
    world.node.permits = permits;
}

/// The ids of the tasks that start with these permits, in their order.
fn started<B: Backend>(world: &mut World<B>, permits: Permits) -> Vec<String> {
    world.node.permits = permits;
    let mut dispatches = world.look();
    dispatches.extend(world.drain());
    dispatches.into_iter().map(|dispatch| dispatch.id).collect()
}

pub(super) fn first_things_come_first<B: Backend>(world: &mut World<B>) {
    create_waiting(
        world,
        [
            waiting("low", "a", -100, 900),
            waiting("late", "a", 0, 1),
            waiting("early", "b", 0, 2),
            waiting("twin", "a", 0, 2),
            waiting("high", "c", 100, 0),
        ],
    );
    // Neither external tasks nor those that are not due are ready.
    let mut later = hosted("later", "a");
    later.asked.run_at = START + Duration::from_secs(1);
    create_waiting(world, [later, super::world::external("external")]);
    assert_eq!(started(world, Permits::new(0, 9)), [] as [&str; 0]);
    assert_eq!(started(world, Permits::new(3, 9)), ["high", "early", "twin"]);
    assert_eq!(started(world, Permits::new(9, 9)), ["late", "low"]);
    // What has started is ready no more; what comes back is.
    assert_eq!(started(world, Permits::new(9, 9)), [] as [&str; 0]);
    let host = HostKey(world.name(3, "a").unwrap());
    world.node.permits.take(host, 0, START);
    let key = world.key("low");
    world.settle(&[answered(key, 1, 500)]);
    world.clock.advance(Duration::from_secs(1));
    world.node.permits = Permits::new(0, 0);
    world.wake();
    assert_eq!(started(world, Permits::new(9, 9)), ["later", "low"], "later and retried tasks, by priority");
}

pub(super) fn hosts_at_their_limit_are_left_out<B: Backend>(world: &mut World<B>) {
    let tasks = ["full", "half", "free"].into_iter().enumerate().flat_map(|(at, host)| {
        (0..3).map(move |number| waiting(&format!("{host}{number}"), host, 0, 10 - at as u64))
    });
    create_waiting(world, tasks);
    let mut permits = Permits::new(9, 2);
    for host in ["full", "full", "half"] {
        permits.take(HostKey(world.name(3, host).unwrap()), 0, START);
    }
    assert_eq!(started(world, permits), ["half0", "free0", "free1"]);
}

pub(super) fn a_host_has_its_limit_over_all_priorities<B: Backend>(world: &mut World<B>) {
    let busy = (0..8).map(|at| waiting(&format!("busy{at}"), "busy", 10 - at, 0));
    create_waiting(world, busy.chain([waiting("other", "other", -1, 0)]));
    assert_eq!(started(world, Permits::new(4, 2)), ["busy0", "busy1", "other"]);
}

pub(super) fn no_more_than_the_node_can_send<B: Backend>(world: &mut World<B>) {
    world.node.permits = Permits::new(5, 3);
    let tasks = (0..12).map(|at| hosted(&format!("t{at}"), if at % 2 == 0 { "even" } else { "odd" }));
    let committed = world.settle(&[create(tasks)]);
    assert_eq!(committed.dispatches.len(), 5);
    assert_eq!(world.node.permits.free, 0);
    // Each returned permit starts one more, until none waits.
    for left in (0..12).rev() {
        let (task, attempt, _) = *world.open.keys().next().unwrap();
        world.settle(&[answered(task, attempt, 200)]);
        assert_eq!(world.open.len(), left.min(5));
    }
    assert!(world.backend.tasks().iter().all(|task| task.state == State::Succeeded));
}

pub(super) fn priority_holds_over_many_hosts<B: Backend>(world: &mut World<B>) {
    let high = (0..100).map(|at| waiting(&format!("high{at}"), &format!("host{at}"), 1, 0));
    let low = (0..20).map(|at| waiting(&format!("low{at}"), &format!("host{at}"), 0, 9));
    create_waiting(world, high.chain(low));
    let first = started(world, Permits::new(80, 64));
    assert_eq!(first.len(), 80);
    assert!(first.iter().all(|id| id.starts_with("high")), "no lower one before a higher one: {first:?}");
    let rest = started(world, Permits::new(1_024, 64));
    assert_eq!(rest.len(), 40);
    assert!(rest[..20].iter().all(|id| id.starts_with("high")), "{rest:?}");
}

pub(super) fn what_one_visit_leaves_the_next_one_takes<B: Backend>(world: &mut World<B>) {
    // More tasks than one visit starts, on one host and on many: permits are free, so all of them start
    // without anything else having to happen.
    let of_one = 2 * limits::CANDIDATES_MAX + 20;
    let tasks = (0..of_one).map(|at| hosted(&format!("one{at}"), "one"));
    let of_many = limits::CANDIDATES_MAX + 70;
    let others = (0..of_many).map(|at| hosted(&format!("many{at}"), &format!("host{at}")));
    assert_eq!(world.settle(&[create(tasks)]).dispatches.len(), of_one);
    assert_eq!(world.settle(&[create(others)]).dispatches.len(), of_many);
}

pub(super) fn a_starting_node_looks_at_what_others_left<B: Backend>(world: &mut World<B>) {
    create_waiting(world, [hosted("a", "h"), hosted("b", "h")]);
    world.restart();
    assert_eq!(world.backlog, [], "nothing is left to be done for them");
    assert_eq!(world.due(START + Duration::from_secs(1_000), 10).tasks, [], "nor by time");
    assert_eq!(world.look().len(), 2);
}

pub(super) fn a_candidate_that_is_gone_holds_nobody_up<B: Backend>(world: &mut World<B>) {
    create_waiting(world, [waiting("first", "h", 1, 0), waiting("second", "h", 0, 0)]);
    world.node.permits = Permits::new(1, 1);
    // The queue is looked at in the same round in which its one candidate is cancelled.
    let cancel = command("first", Command::Cancel);
    let queues = vec![QueueKey::DEFAULT];
    let committed = world.commit_batch(&Batch { submissions: vec![&cancel], queues, ..Batch::default() });
    let sent = committed.dispatches.into_iter().chain(world.drain());
    assert_eq!(sent.map(|one| one.id).collect::<Vec<_>>(), ["second"]);
}
