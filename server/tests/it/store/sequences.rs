//! The same inputs mean the same on every store, and bad luck changes no end.

use std::time::Duration;

use taskhook::engine::Receipt;
use taskhook::engine::commit::{Batch, Committed, Dispatch};
use taskhook::engine::submission::Submission;
use taskhook::store::Due;
use taskhook_core::retention::Ages;
use taskhook_core::{FollowUp, Permits, ScheduleKey, TaskKey, Timestamp};
use taskhook_sim::Random;

use super::backend::{Backend, Contended, Memory, Sqlite};
use super::inspect::Inspect;
use super::laws;
use super::script::{Scene, Script};
use super::world::{World, start_clock};

const SEQUENCES: u64 = if cfg!(debug_assertions) { 100 } else { 500 };
const INPUTS: usize = 60;
/// By how much the machine's clock is set, in microseconds.
const SETS: [i64; 4] = [3_600_000_000, -3_600_000_000, 7_000_000, 31_536_000_000_000];

#[test]
fn sqlite_and_memory_tell_the_same_story() {
    for seed in 0..SEQUENCES {
        let clock = start_clock();
        let one = World::on(Sqlite::new(&clock), clock.clone());
        let other = World::on(Memory::new(&clock), clock);
        let mut twins = Twins::new(seed, one, other);
        let permits = few_permits(&mut twins.random);
        twins.one.node.permits = permits.clone();
        twins.other.node.permits = permits;
        let mut inputs = 0;
        while inputs < INPUTS {
            inputs += twins.step_together();
        }
        twins.assert_same(|world| world.backend.all(), |world| world.backend.all());
        twins.one.drain();
        laws::hold(&mut twins.one, seed);
    }
}

#[test]
fn bad_luck_changes_no_end() {
    for seed in 0..SEQUENCES {
        let clock = start_clock();
        let lucky = World::on(Memory::new(&clock), clock.clone());
        let unlucky = World::on(Contended::seeded(&clock, seed), clock);
        let mut twins = Twins::new(seed, lucky, unlucky);
        for _ in 0..INPUTS {
            twins.step_apart();
        }
        twins.assert_same(end_of, end_of);
        laws::hold(&mut twins.other, seed);
    }
}

#[test]
fn bad_luck_breaks_no_law() {
    for seed in 0..SEQUENCES {
        let clock = start_clock();
        let mut world = World::on(Contended::seeded(&clock, seed), clock);
        let mut random = Random::new(seed);
        let mut script = Script::new(random.fork());
        world.node.permits = few_permits(&mut random);
        for _ in 0..INPUTS / 2 {
            world.clock.advance(Duration::from_micros(random.below(10_000_000)));
            if random.per_mille(40) {
                world.restart();
                world.look();
            }
            if random.per_mille(100) {
                world.sweep(&short(), 1 + random.index(20));
            }
            let open = world.open.keys().copied().collect();
            let (now, shown) = (world.clock.now(), world.shown());
            let mut scene = Scene { now, shown, open, batches: true, cancels: true };
            let submissions: Vec<Submission> =
                (0..random.index(5)).map(|_| script.next(&mut scene)).collect();
            let Due { tasks: due, bulks, .. } = world.due(world.clock.now(), random.index(5));
            if random.per_mille(50) {
                world.clock_is_off_by += SETS[random.index(SETS.len())];
            }
            let schedules = world.due_schedules(random.index(3));
            // What is late may be overtaken by anything.
            let kept = world.backlog[random.index(world.backlog.len() + 1)..].to_vec();
            let submissions = submissions.iter().collect();
            world.commit_batch(&Batch { submissions, due, schedules, bulks, kept, ..Batch::default() });
        }
        world.drain();
        laws::hold(&mut world, seed);
    }
}

/// So short that tasks and webhooks go while others still speak of them.
fn short() -> Ages {
    let age = Some(Duration::from_secs(5));
    Ages { tasks: age, events: age, rejected: age, audit: age }
}

/// Few enough permits that some tasks wait for them.
fn few_permits(random: &mut Random) -> Permits {
    let mut up_to = |end| 1 + u32::try_from(random.below(end)).unwrap_or(0);
    Permits::new(up_to(8), up_to(4))
}

/// Two stores that are told the same.
struct Twins<A, B> {
    seed: u64,
    random: Random,
    script: Script,
    one: World<A>,
    other: World<B>,
}

impl<A: Backend, B: Backend> Twins<A, B> {
    fn new(seed: u64, one: World<A>, other: World<B>) -> Twins<A, B> {
        let mut random = Random::new(seed);
        let script = Script::new(random.fork());
        Twins { seed, random, script, one, other }
    }

    fn words(&self) -> String {
        format!("in the sequence of the seed {}, at {}", self.seed, self.one.clock.now())
    }

    /// The clock moves, the process ends, or a batch is committed: on both, with the same answers.
    fn step_together(&mut self) -> usize {
        if self.random.per_mille(150) {
            self.let_time_pass();
        }
        if self.random.per_mille(30) {
            self.one.restart();
            self.other.restart();
            assert_eq!(sent(self.one.look()), sent(self.other.look()), "{}", self.words());
        }
        if self.random.per_mille(30) {
            let ages = Ages { tasks: Some(Duration::from_secs(10)), ..short() };
            self.one.sweep(&ages, 1 + self.random.index(20));
            self.other.sweep(&ages, 1 + self.random.index(20));
        }
        let mut scene = self.scene();
        let count = self.random.index(6);
        let submissions: Vec<Submission> = (0..count).map(|_| self.script.next(&mut scene)).collect();
        let Due { tasks: due, bulks, .. } =
            if self.random.per_mille(600) { self.due() } else { Due::default() };
        let schedules = if self.random.per_mille(600) { self.due_schedules() } else { Vec::new() };
        // Keys of kept follow-ups are the store's own affair; what is kept, and in which order, is not.
        let kept = self.random.index(self.one.backlog.len() + 1);
        let submitted: Vec<&Submission> = submissions.iter().collect();
        let batch = |kept: &[taskhook::store::Kept]| Batch {
            submissions: submitted.clone(),
            due: due.clone(),
            schedules: schedules.clone(),
            bulks: bulks.clone(),
            kept: kept.to_vec(),
            ..Batch::default()
        };
        let (first, second) = (self.one.backlog[..kept].to_vec(), self.other.backlog[..kept].to_vec());
        let one = self.one.commit_batch(&batch(&first));
        let other = self.other.commit_batch(&batch(&second));
        assert_eq!(answers(one), answers(other), "{}", self.words());
        count + due.len()
    }

    /// One input and all that follows from it, on each store in its own transactions.
    fn step_apart(&mut self) {
        if self.random.per_mille(200) {
            self.let_time_pass();
        }
        if self.random.per_mille(30) {
            self.one.restart();
            self.other.restart();
            self.one.look();
            self.one.drain();
            self.other.look();
            self.other.drain();
        }
        // A task that was reported on before it came, and depends on another such task, ends as the one or the
        // other follow-up says that comes first; so does one that a schedule or a bulk cancels with the one it waits for. All are
        // right, so that is left to the other test.
        let batches = self.one.backend.parked().is_empty();
        let submission = [self.script.next(&mut Scene { batches, cancels: false, ..self.scene() })];
        let one = self.one.settle(&submission).receipts;
        let other = self.other.settle(&submission).receipts;
        assert_eq!(one, other, "{}", self.words());
        if self.random.per_mille(500) {
            for schedule in self.due_schedules() {
                self.one.commit_batch(&Batch { schedules: vec![schedule], ..Batch::default() });
                self.one.drain();
                self.other.commit_batch(&Batch { schedules: vec![schedule], ..Batch::default() });
                self.other.drain();
            }
        }
        if self.random.per_mille(300) {
            for task in self.due().tasks {
                self.one.commit_batch(&Batch { due: vec![task], ..Batch::default() });
                self.one.drain();
                self.other.commit_batch(&Batch { due: vec![task], ..Batch::default() });
                self.other.drain();
            }
        }
    }

    fn let_time_pass(&mut self) {
        let micros = *self.random.pick(&[1, 500_000, 3_000_000, 16_000_000, 60_000_000]);
        self.one.clock.advance(Duration::from_micros(micros));
        if self.random.per_mille(100) {
            let by = *self.random.pick(&SETS);
            self.one.clock_is_off_by += by;
            self.other.clock_is_off_by += by;
        }
    }

    /// The time and the exchanges that are open, on both.
    fn scene(&self) -> Scene {
        let open: Vec<(TaskKey, u32, bool)> = self.one.open.keys().copied().collect();
        assert!(open.iter().eq(self.other.open.keys()), "{}", self.words());
        Scene { now: self.one.clock.now(), shown: self.one.shown(), open, batches: true, cancels: true }
    }

    /// Some of the tasks that are due, and bulks, on both.
    fn due(&mut self) -> Due {
        let max = 1 + self.random.index(5);
        let now = self.one.clock.now();
        let due = self.one.due(now, max);
        assert_eq!(due, self.other.due(now, max), "{}", self.words());
        due
    }

    /// Some of the schedules that are due, on both.
    fn due_schedules(&mut self) -> Vec<ScheduleKey> {
        let max = 1 + self.random.index(2);
        let due = self.one.due_schedules(max);
        assert_eq!(due, self.other.due_schedules(max), "{}", self.words());
        due
    }

    fn assert_same(
        &mut self,
        one: impl FnOnce(&mut World<A>) -> String,
        other: impl FnOnce(&mut World<B>) -> String,
    ) {
        let (one, other) = (one(&mut self.one), other(&mut self.other));
        let differ = one.lines().zip(other.lines()).find(|(one, other)| one != other);
        assert!(one == other, "{}: {differ:#?} in\n{one}", self.words());
    }
}

/// What callers and workers see of a transaction, and what it leaves to be done.
type Answers = (Vec<Receipt>, Vec<String>, Vec<FollowUp>, Option<Timestamp>, Vec<TaskKey>);

fn answers(committed: Committed) -> Answers {
    let kept = committed.kept.iter().map(|kept| kept.follow_up).collect();
    (committed.receipts, sent(committed.dispatches), kept, committed.next_wake, committed.ended)
}

fn sent(dispatches: Vec<Dispatch>) -> Vec<String> {
    let words =
        |one: Dispatch| format!("{} {} {} {:?} {:?}", one.id, one.attempt, one.send, one.task, one.request);
    dispatches.into_iter().map(words).collect()
}

/// What the order of follow-ups may not change: all but the order of the stories.
fn end_of<B: Backend>(world: &mut World<B>) -> String {
    let tasks: Vec<String> = world.backend.tasks().iter().map(|task| format!("{task:?}")).collect();
    let (edges, events, parked) = (world.backend.edges(), world.backend.events(), world.backend.parked());
    let schedules: Vec<String> =
        world.backend.schedules().iter().map(|schedule| format!("{schedule:?}")).collect();
    [tasks, edges, events, parked, world.backend.claims(), schedules].concat().join("\n")
}
