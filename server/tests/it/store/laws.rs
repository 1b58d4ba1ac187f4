//! What is true of every store once nothing is left to follow, whatever came before.

use std::collections::BTreeMap;

use taskhook_core::unique::Until;
use taskhook_core::{State, Task, TaskKey};

use super::backend::Backend;
use super::world::World;

/// Checks every law.
///
/// # Panics
/// If one is broken.
pub(super) fn hold<B: Backend>(world: &mut World<B>, seed: u64) {
    assert_eq!(world.backend.kept_count(), 0, "what is kept is taken, seed {seed}");
    let tasks: BTreeMap<TaskKey, Task> =
        world.backend.tasks().into_iter().map(|task| (task.key, task)).collect();
    let edges: Vec<Edge> = world.backend.edges().iter().map(|line| Edge::read(line)).collect();
    let parked = world.backend.parked();
    every_key_is_held_by_one(&tasks, &world.backend.held_keys(), seed);
    for edge in &edges {
        knows_what_became_of_its_parent(&tasks, edge, seed);
    }
    for task in tasks.values() {
        let words = || format!("seed {seed}: {task:#?}");
        let knows = |status: &str| {
            let is = |edge: &&Edge| edge.child == task.key && edge.status == status;
            edges.iter().filter(is).count()
        };
        let (pending, broken) = (knows("pending"), knows("broken"));
        let counted = (task.dependencies_pending as usize, task.dependencies_broken as usize);
        assert_eq!(counted, (pending, broken), "{}", words());
        // G11: who waits, waits for somebody; who was skipped, was skipped because of somebody.
        assert!(task.state != State::Blocked || pending > 0, "{}", words());
        assert!(task.state != State::Skipped || broken > 0, "{}", words());
        // A task that could be sent is sent, and one that is in flight will be looked at.
        if let (State::Queued, Some(host)) = (task.state, task.plan.host) {
            assert!(
                !world.node.permits.allow(host, task.plan.payload_bytes, world.clock.now()),
                "{}",
                words()
            );
        }
        let timed = matches!(task.state, State::Scheduled | State::Dispatching);
        assert!(!timed || task.wake_at.is_some(), "{}", words());
        // G7: no webhook waits for a task that is there.
        let own = format!("{} ", task.key.0);
        assert!(!parked.iter().any(|line| line.starts_with(&own)), "{}", words());
        assert!(!task.quarantined, "{}", words());
        every_webhook_counts_once(&world.backend.history(task.key), seed);
    }
}

/// G6: what a webhook says is applied once.
fn every_webhook_counts_once(history: &[String], seed: u64) {
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for line in history.iter().filter(|line| line.contains(" event ")) {
        let said: Vec<&str> = line.split(' ').skip(1).take(3).collect();
        *times.entry(said.join(" ")).or_insert(0) += 1;
    }
    assert!(times.values().all(|count| *count == 1), "seed {seed}: {times:#?}");
}

/// A task that has not ended holds the key that is its own until then, and nobody else holds one without an end.
fn every_key_is_held_by_one(tasks: &BTreeMap<TaskKey, Task>, held: &[String], seed: u64) {
    let holds = |task: &&Task| {
        let until = task.plan.unique.map(|unique| unique.until);
        until == Some(Until::Finished) && !task.state.is_terminal()
    };
    let mut holders: Vec<i64> = tasks.values().filter(holds).map(|task| task.key.0).collect();
    let endless = held.iter().filter_map(|line| line.split_once(" by ")?.1.strip_suffix(" until None"));
    let mut told: Vec<i64> = endless.map(|task| task.parse().unwrap()).collect();
    holders.sort_unstable();
    told.sort_unstable();
    assert_eq!(holders, told, "seed {seed}: {held:#?}");
}

fn knows_what_became_of_its_parent(tasks: &BTreeMap<TaskKey, Task>, edge: &Edge, seed: u64) {
    let Some(parent) = tasks.get(&edge.parent) else {
        // It was pruned: what is known of its end stays.
        assert_ne!(edge.status, "pending", "seed {seed}: {edge:?}");
        return;
    };
    let words = || format!("seed {seed}: {edge:?} of {parent:#?} in {:#?}", tasks[&edge.child]);
    let end = parent.state.is_terminal().then_some(parent.state);
    let allows = |end| match edge.on.as_str() {
        "succeeded" => end == State::Succeeded,
        "failed" => end == State::Failed,
        "not_failed" => matches!(end, State::Succeeded | State::Skipped),
        _ => true,
    };
    let is_now = edge.generation == parent.generation;
    match edge.status.as_str() {
        "pending" => assert!(end.is_none(), "{}", words()),
        "broken" => assert!(is_now && end.is_some_and(|end| !allows(end)), "{}", words()),
        // What was met once stays met, even if the parent is opened again.
        _ => assert!(!is_now || end.is_some_and(allows), "{}", words()),
    }
}

/// An edge as it is told.
#[derive(Debug)]
struct Edge {
    child: TaskKey,
    parent: TaskKey,
    on: String,
    status: String,
    generation: u32,
}

impl Edge {
    /// `7 after 3 on failed: broken, generation 0`
    fn read(line: &str) -> Edge {
        let words: Vec<&str> = line.split([' ', ':', ',']).filter(|word| !word.is_empty()).collect();
        let [child, "after", parent, "on", on, status, "generation", generation] = words[..] else {
            panic!("not an edge: {line}")
        };
        Edge {
            child: TaskKey(child.parse().unwrap()),
            parent: TaskKey(parent.parse().unwrap()),
            on: on.into(),
            status: status.into(),
            generation: generation.parse().unwrap(),
        }
    }
}
