//! Queues: what they say survives, their limits hold, and nobody is forgotten, restarts included.

use std::collections::BTreeMap;
use std::time::Duration;

use taskhook::engine::submission::{Draft, Submission};
use taskhook_core::queue::{SecretAsked, Settings};
use taskhook_core::{
    Command, ConcurrencyKey, Outcome, Permits, QueueCommand, QueueKey, Rate, Refused, State, Task, TaskKey,
    limits,
};
use taskhook_sim::Random;

use super::backend::Backend;
use super::world::{START, World, answered, completed, create, hosted};

fn define(name: &str, settings: Settings) -> Submission {
    Submission::Queue(
        name.into(),
        QueueCommand::Define { settings: settings.into(), paused: false, secret: Default::default() },
    )
}

fn in_queue(mut draft: Draft, queue: &str, key: i64) -> Draft {
    draft.queue = queue.into();
    draft.asked.concurrency_key = ConcurrencyKey(key);
    draft
}

/// The tasks of a queue that hold a place, by their key.
fn open<B: Backend>(world: &mut World<B>, queue: QueueKey) -> BTreeMap<i64, usize> {
    let mut open = BTreeMap::new();
    for task in world.backend.tasks() {
        if task.plan.queue == queue && task.holds_a_place() {
            *open.entry(task.plan.concurrency_key.0).or_insert(0) += 1;
        }
    }
    open
}

fn queue_key<B: Backend>(world: &mut World<B>, name: &str) -> QueueKey {
    QueueKey(world.name(2, name).unwrap())
}

pub(super) fn what_a_queue_says_survives<B: Backend>(world: &mut World<B>) {
    assert_eq!(
        world.submit(Submission::Queue("mail".into(), QueueCommand::Pause)),
        Outcome::Refused(Refused::NoSuchQueue { position: 0 })
    );
    assert_eq!(world.name(2, "mail"), None, "a refusal leaves no name");
    let refused = world.submit(create([in_queue(hosted("t", "h"), "mail", 0)]));
    assert_eq!(refused, Outcome::Refused(Refused::NoSuchQueue { position: 0 }));

    let settings =
        Settings { concurrency: Some(1), timeout: Some(Duration::from_secs(7)), ..Settings::default() };
    assert_eq!(world.submit(define("mail", settings)), Outcome::Defined { new: true });
    assert_eq!(world.submit(Submission::Queue("mail".into(), QueueCommand::Pause)), Outcome::Applied);
    let mut draft = in_queue(hosted("t", "h"), "mail", 5);
    draft.asked.timeout = None;
    world.settle(&[create([draft])]);
    for _ in 0..2 {
        let task = world.key("t");
        let task = world.backend.task(task);
        assert_eq!((task.state, task.plan.timeout), (State::Queued, Some(Duration::from_secs(7))));
        assert_eq!(
            (task.plan.queue, task.plan.concurrency_key),
            (queue_key(world, "mail"), ConcurrencyKey(5))
        );
        world.restart();
        assert_eq!(world.look().len(), 0, "it is paused still");
    }
    let resumed = world.settle(&[Submission::Queue("mail".into(), QueueCommand::Resume)]);
    assert_eq!(resumed.dispatches.len(), 1);
}

pub(super) fn the_secret_of_a_queue_survives<B: Backend>(world: &mut World<B>) {
    let define = |secret| {
        let settings = Settings::default().into();
        Submission::Queue("mail".into(), QueueCommand::Define { settings, paused: false, secret })
    };
    let give = |number: u8| define(SecretAsked::Give([number, 0, 255].as_slice().into()));
    world.settle(&[give(1)]);
    world.settle(&[give(2)]);
    world.restart();
    // What is kept is what was read back.
    let mail = queue_key(world, "mail");
    let committed = world.settle(&[define(SecretAsked::Keep)]);
    assert_eq!(*committed.receipts[0].outcome(), Outcome::Defined { new: false });
    let secret = world.backend.queue_secret(mail).unwrap();
    assert_eq!(&*secret.sealed, [2, 0, 255]);
    let (before, until) = secret.before.unwrap();
    assert_eq!((&*before, until.since(START).as_secs()), (&[1, 0, 255][..], 24 * 3_600));
    world.settle(&[define(SecretAsked::Remove)]);
    world.restart();
    assert_eq!(world.backend.queue_secret(mail), None);
}

pub(super) fn places_are_counted_over_restarts<B: Backend>(world: &mut World<B>) {
    world.settle(&[define("mail", Settings { concurrency: Some(2), ..Settings::default() })]);
    world.settle(&[create((0..5).map(|at| in_queue(hosted(&format!("t{at}"), "h"), "mail", 0)))]);
    let mail = queue_key(world, "mail");
    for left in (0..5_usize).rev() {
        world.restart();
        world.look();
        assert_eq!(open(world, mail).values().sum::<usize>(), (left + 1).min(2));
        let held = world.backend.tasks().into_iter().find(Task::holds_a_place).unwrap().key;
        let names = world.backend.names();
        let id = names.into_iter().find(|name| name.0 == held.0).unwrap().2;
        world.settle(&[completed(u64::try_from(held.0).unwrap(), &id)]);
    }
    assert!(world.backend.tasks().iter().all(|task| task.state == State::Succeeded));
}

pub(super) fn a_rate_is_kept_over_restarts<B: Backend>(world: &mut World<B>) {
    let rate = Rate { limit: 1, per: Duration::from_secs(10), burst: 2 };
    world.settle(&[define("mail", Settings { rate: Some(rate), ..Settings::default() })]);
    let tasks = (0..5).map(|at| in_queue(hosted(&format!("t{at}"), "h"), "mail", 0));
    assert_eq!(world.settle(&[create(tasks)]).dispatches.len(), 2, "a burst");
    for turn in 1..=3 {
        world.restart();
        assert_eq!(world.look().len(), 0);
        let next = START + turn * rate.per;
        world.clock.advance(next.since(world.clock.now()) - Duration::from_micros(1));
        world.wake();
        let began = world.backend.tasks().iter().filter(|task| task.attempt.is_some()).count();
        world.clock.advance(Duration::from_micros(1));
        world.wake();
        let after = world.backend.tasks().iter().filter(|task| task.attempt.is_some()).count();
        assert_eq!(after, began + 1, "one at its time, and not before");
    }
}

pub(super) fn a_key_that_has_room_again_is_found_among_many<B: Backend>(world: &mut World<B>) {
    // More keys at their limit than one visit frees, and more lines than it looks at.
    let keys = limits::LINES_PER_VISIT + limits::FREED_KEYS_PER_VISIT + 10;
    world.node.permits = Permits::new(100_000, 100_000);
    world.settle(&[define("mail", Settings { key_concurrency: Some(1), ..Settings::default() })]);
    let tasks = |name: &str| -> Vec<Draft> {
        let task = |at| in_queue(hosted(&format!("{name}{at}"), "h"), "mail", 1 + at);
        (0..i64::try_from(keys).unwrap()).map(task).collect()
    };
    assert_eq!(world.settle(&[create(tasks("first"))]).dispatches.len(), keys);
    assert_eq!(world.settle(&[create(tasks("second"))]).dispatches.len(), 0);
    world.restart();
    assert_eq!(world.look().len(), 0);
    // One that ends lets the other of its key begin, and nobody else.
    let (first, second) = (world.key("first7"), world.key("second7"));
    world.settle(&[completed(1, "first7")]);
    assert_eq!(world.backend.task(first).state, State::Succeeded);
    assert_eq!(world.backend.task(second).state, State::Dispatching);
    // Without the limit, all of them.
    let all = world.settle(&[define("mail", Settings::default())]);
    assert_eq!(all.dispatches.len(), keys - 1);
}

pub(super) fn a_key_whose_place_is_free_and_that_is_at_its_rate_is_not_forgotten<B: Backend>(
    world: &mut World<B>,
) {
    let rate = Rate { limit: 1, per: Duration::from_secs(10), burst: 1 };
    let settings = Settings { key_concurrency: Some(1), key_rate: Some(rate), ..Settings::default() };
    world.settle(&[define("mail", settings)]);
    world.settle(&[create((0..2).map(|at| in_queue(hosted(&format!("t{at}"), "h"), "mail", 7)))]);
    world.settle(&[completed(1, "t0")]);
    assert_eq!(world.state("t1"), State::Queued, "its key is at its rate");
    let next = world.due(START, 10).next;
    assert_eq!(next, Some(START + Duration::from_secs(10)), "somebody looks at it then");
    world.clock.set(START + Duration::from_secs(10));
    world.wake();
    assert_eq!(world.state("t1"), State::Dispatching);
}

pub(super) fn a_line_that_its_host_opens_leaves_no_line_of_its_key_closed<B: Backend>(world: &mut World<B>) {
    let task = |id: &str, host: &str, priority| {
        let mut draft = in_queue(hosted(id, host), "mail", 7);
        draft.asked.priority = priority;
        draft
    };
    world.node.permits = Permits::new(12, 1);
    world.settle(&[define("mail", Settings { key_concurrency: Some(1), ..Settings::default() })]);
    world.settle(&[create([hosted("other", "busy")])]);
    world.settle(&[create([task("low", "busy", -1)])]);
    assert_eq!(world.state("low"), State::Queued, "it waits for its host");
    world.settle(&[create([task("first", "free", -1)])]);
    assert_eq!(world.state("first"), State::Dispatching, "it has the place of their key");
    world.settle(&[create([task("high", "elsewhere", 1)])]);
    assert_eq!(world.state("high"), State::Queued, "it waits for their key");
    // The line that waits for the host is opened, and found empty.
    world.settle(&[Submission::Command("low".into(), Command::Cancel)]);
    world.settle(&[completed(1, "other")]);
    let (other, first) = (world.key("other"), world.key("first"));
    world.settle(&[answered(other, 1, 200)]);
    world.settle(&[answered(first, 1, 200)]);
    assert_eq!(world.state("high"), State::Dispatching);
}

pub(super) fn a_queue_keeps_its_tasks_as_long_as_it_says<B: Backend>(world: &mut World<B>) {
    use taskhook_core::retention::Ages;
    let hour = Duration::from_secs(3_600);
    let kept = |retention| Settings { retention: Some(retention), ..Settings::default() };
    world.settle(&[define("brief", kept(Some(hour))), define("ever", kept(None))]);
    for (number, queue) in ["default", "brief", "ever"].into_iter().enumerate() {
        let mut draft = super::world::external(queue);
        draft.queue = queue.into();
        world.settle(&[create([draft])]);
        world.settle(&[completed(number as u64, queue)]);
    }
    let ages = Ages { tasks: Some(2 * hour), ..Ages::NEVER };
    for (hours, left) in
        [(1, vec!["default", "brief", "ever"]), (2, vec!["default", "ever"]), (9, vec!["ever"])]
    {
        world.clock.advance((START + hours * hour).since(world.clock.now()));
        world.sweep(&ages, limits::PRUNED_ROWS_MAX);
        let names = ["default", "brief", "ever"].into_iter().filter(|id| world.name(1, id).is_some());
        assert_eq!(names.collect::<Vec<_>>(), left, "after {hours} hours");
    }
}

/// G12, on random orders of everything: creations, answers, restarts, changes of the limits.
pub(super) fn limits_hold_whatever_happens<B: Backend>(world: &mut World<B>) {
    let mut random = Random::new(7);
    world.node.permits = Permits::new(12, 5);
    world.settle(&[define(
        "mail",
        Settings { concurrency: Some(3), key_concurrency: Some(1), ..Settings::default() },
    )]);
    let mail = queue_key(world, "mail");
    let (mut most, mut of_key) = (3, 1);
    let mut made = 0;
    for _ in 0..150 {
        match random.index(6) {
            0 | 1 => {
                let tasks: Vec<Draft> = (0..random.index(12))
                    .map(|at| {
                        let id = format!("t{}", made + at);
                        let host = format!("h{}", random.index(3));
                        in_queue(hosted(&id, &host), "mail", 1 + i64::try_from(random.index(4)).unwrap())
                    })
                    .collect();
                made += tasks.len();
                if !tasks.is_empty() {
                    world.settle(&[create(tasks)]);
                }
            }
            2 if random.per_mille(300) => {
                // What was sent by an earlier process was sent before this one began.
                world.clock.advance(Duration::from_secs(1));
                world.restart();
                world.look();
                world.drain();
            }
            2 if random.per_mille(300) => {
                (most, of_key) = (1 + random.index(4), 1 + random.index(2));
                let limit = |limit| Some(u32::try_from(limit).unwrap());
                let settings = Settings {
                    concurrency: limit(most),
                    key_concurrency: limit(of_key),
                    ..Settings::default()
                };
                world.settle(&[define("mail", settings)]);
                continue;
            }
            _ => {
                let held: Vec<(TaskKey, u32)> =
                    world.open.keys().map(|(task, attempt, _)| (*task, *attempt)).collect();
                if !held.is_empty() {
                    let (task, attempt) = held[random.index(held.len())];
                    world.settle(&[answered(task, attempt, 200)]);
                }
            }
        }
        let open = open(world, mail);
        let all: usize = open.values().sum();
        // A limit that was lowered binds those that begin after it: what was open before may be more.
        assert!(all <= most.max(4) && open.values().all(|open| *open <= of_key.max(2)), "{open:?}");
        if all < most && !world.node.permits.is_exhausted() {
            let now = world.clock.now();
            for task in world.backend.tasks().iter().filter(|task| task.state == State::Queued) {
                let free = world.node.permits.free_with(task.plan.host.unwrap(), now) > 0;
                let room = open.get(&task.plan.concurrency_key.0).copied().unwrap_or(0) < of_key;
                assert!(!(free && room), "task {} waits for nothing", task.key.0);
            }
        }
    }
    // In the end everybody has had a turn.
    world.settle(&[define("mail", Settings { concurrency: Some(2), ..Settings::default() })]);
    for _ in 0..2_000 {
        if let Some((task, attempt, _)) = world.open.keys().next().copied() {
            world.settle(&[answered(task, attempt, 200)]);
            continue;
        }
        // Exchanges that a restart left behind are sent again.
        world.clock.advance(limits::LOST_AFTER);
        world.wake();
        if world.backend.tasks().iter().all(|task| task.state.is_terminal()) {
            return;
        }
    }
    panic!("it never ends: {:?}", world.backend.tasks().iter().find(|task| !task.state.is_terminal()));
}
