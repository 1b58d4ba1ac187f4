//! What a store keeps of bulks, and which tasks it finds for them.

use std::collections::BTreeMap;
use std::time::Duration;

use taskhook::engine::commit::Batch;
use taskhook::engine::submission::{BulkAsk, Submission};
use taskhook_core::bulk::{self, Bulk, Filter, Settings};
use taskhook_core::{
    Answered, ClaimKey, Command, Once, Outcome, QueueCommand, QueueKey, Rate, Refused, State, limits,
};
use taskhook_sim::Random;

use super::backend::Backend;
use super::world::{World, bulk, completed, create, external, hosted};

const SECOND: Duration = Duration::from_secs(1);

fn cancel_all() -> Settings {
    Settings { command: Command::Cancel, filter: Filter::default(), rate: None }
}

fn the_bulk<B: Backend>(world: &mut World<B>) -> Bulk {
    let [bulk] = &world.backend.bulks()[..] else { panic!("one bulk") };
    bulk.clone()
}

fn create_many<B: Backend>(world: &mut World<B>, prefix: &str, count: usize) {
    let ids: Vec<String> = (0..count).map(|number| format!("{prefix}{number}")).collect();
    for ids in ids.chunks(100) {
        world.submit(create(ids.iter().map(|id| external(id))));
    }
}

/// How many tasks are in each state.
fn states<B: Backend>(world: &mut World<B>) -> BTreeMap<State, usize> {
    let mut states = BTreeMap::new();
    for task in world.backend.tasks() {
        *states.entry(task.state).or_default() += 1;
    }
    states
}

pub(super) fn what_a_bulk_says_survives<B: Backend>(world: &mut World<B>) {
    world.submit(Submission::Queue(
        "q".into(),
        QueueCommand::Define { settings: Default::default(), paused: false, secret: Default::default() },
    ));
    create_many(world, "t", 3);
    let filter = Filter {
        states: vec![State::Failed, State::Skipped],
        queue: None,
        name: Some("resize".into()),
        labels: vec![("team".into(), "a".into())],
        created_after: Some(world.clock.now()),
    };
    let rate = Some(Rate { limit: 3, per: SECOND, burst: 2 });
    let settings = Settings { command: Command::Retry { ignore_dependencies: true }, filter, rate };
    let ask = BulkAsk::Begin(Box::new(settings.clone()), Some("q".into()));
    assert_eq!(world.submit(Submission::Bulk("b".into(), ask)), Outcome::Applied);
    let before = the_bulk(world);
    let queue = world.name(2, "q").map(QueueKey);
    assert_eq!(before.settings.filter, Filter { queue, ..settings.filter.clone() });
    assert_eq!((before.settings.command, before.settings.rate), (settings.command, settings.rate));
    assert_eq!((before.until, before.wake_at), (world.key("t2"), Some(world.clock.now())));
    assert_eq!(world.name(5, "b"), Some(before.key.0));
    world.restart();
    assert_eq!(the_bulk(world), before);

    let nowhere = BulkAsk::Begin(Box::new(cancel_all()), Some("nowhere".into()));
    let refused = world.submit(Submission::Bulk("c".into(), nowhere));
    assert_eq!(refused, Outcome::Refused(Refused::NoSuchQueue { position: 0 }));
    let stop = |id: &str| Submission::Bulk(id.into(), BulkAsk::Cancel);
    assert_eq!(world.submit(stop("c")), Outcome::Refused(Refused::NoSuchBulk));
    assert_eq!((world.name(5, "c"), world.name(2, "nowhere")), (None, None), "nothing is called so");
    assert_eq!(world.submit(stop("b")), Outcome::Applied);
    world.restart();
    let after = the_bulk(world);
    assert_eq!((after.state, after.ended_at), (bulk::State::Cancelled, Some(world.clock.now())));
    assert_eq!(world.due(world.clock.now() + SECOND, 9).bulks, []);
}

pub(super) fn every_task_there_was_hears_of_it_once<B: Backend>(world: &mut World<B>) {
    const COUNT: usize = 3 * limits::BULK_PAGE + 5;
    create_many(world, "t", COUNT);
    world.submit(completed(1, "t3"));
    // Reported on before it is there: its name is older than the bulk, and the task is not.
    world.submit(super::world::event(super::world::heard(2, "late", taskhook_core::EventKind::Heartbeat)));
    world.submit(bulk("b", cancel_all()));
    world.submit(create([external("late"), external("later")]));
    let mut random = Random::new(3);
    while the_bulk(world).is_running() {
        if random.per_mille(300) {
            world.restart();
        }
        if random.per_mille(300) {
            world.clock.advance(SECOND);
        }
        let bulks = world.due(world.clock.now(), 9).bulks;
        let kept = world.backlog.clone();
        world.commit_batch(&Batch { bulks, kept, ..Batch::default() });
    }
    let bulk = the_bulk(world);
    let counts = bulk::Counts { matched: 100, applied: 100, refused: 0 };
    assert_eq!((bulk.state, bulk.counts), (bulk::State::Done, counts));
    let wanted = [(State::Running, 2), (State::Succeeded, 1), (State::Cancelled, 100)];
    assert_eq!(states(world), BTreeMap::from(wanted));
    let cause = format!("bulk {}", bulk.key.0);
    for number in (0..COUNT).filter(|number| *number != 3) {
        let told = world.history(&format!("t{number}"));
        assert_eq!(told.iter().filter(|line| line.contains(&cause)).count(), 1, "{told:?}");
    }
}

pub(super) fn a_look_goes_over_so_many_tasks<B: Backend>(world: &mut World<B>) {
    const COUNT: usize = 2 * limits::BULK_LOOKS;
    create_many(world, "t", COUNT - 1);
    let mut last = external("last");
    last.spec.name = Some("last".into());
    world.submit(create([last]));
    let named = |name: &str| Filter { name: Some(name.into()), ..Filter::default() };
    world.submit(bulk("b", Settings { filter: named("last"), ..cancel_all() }));
    let mut look = || {
        let bulks = world.due(world.clock.now(), 9).bulks;
        world.commit_batch(&Batch { bulks, ..Batch::default() });
        world.drain();
        the_bulk(world)
    };
    let first = look();
    assert_eq!((first.is_running(), first.counts.matched), (true, 0));
    let second = look();
    assert_eq!((second.state, second.counts.matched), (bulk::State::Done, 1), "{second:?}");
    assert_eq!(world.state("last"), State::Cancelled);
}

pub(super) fn a_filter_means_the_same_in_every_store<B: Backend>(world: &mut World<B>) {
    world.submit(Submission::Queue(
        "q".into(),
        QueueCommand::Define { settings: Default::default(), paused: true, secret: Default::default() },
    ));
    let mut named = external("named");
    named.spec.name = Some("resize".into());
    let mut labelled = external("labelled");
    labelled.spec.labels = BTreeMap::from([("a".into(), "1".into()), ("b".into(), "2".into())]);
    let mut queued = hosted("queued", "h");
    queued.queue = "q".into();
    world.submit(create([named, labelled, queued]));
    let before = world.clock.now();
    world.clock.advance(SECOND);
    world.submit(create([external("newer")]));
    let label = |name: &str, value: &str| (name.to_string(), value.to_string());
    let queue = Some("q".to_string());
    for (filter, queue, wanted) in [
        (Filter { name: Some("resize".into()), ..Filter::default() }, None, vec!["named"]),
        (Filter { name: Some("Resize".into()), ..Filter::default() }, None, vec![]),
        (
            Filter { labels: vec![label("a", "1"), label("b", "2")], ..Filter::default() },
            None,
            vec!["labelled"],
        ),
        (Filter { labels: vec![label("a", "2")], ..Filter::default() }, None, vec![]),
        (Filter { created_after: Some(before), ..Filter::default() }, None, vec!["newer"]),
        (Filter { states: vec![State::Queued], ..Filter::default() }, None, vec!["queued"]),
        (Filter::default(), queue.clone(), vec!["queued"]),
        (Filter { states: vec![State::Running], ..Filter::default() }, queue, vec![]),
    ] {
        let settings = Settings { filter, ..cancel_all() };
        let id = format!("b{}", world.backend.bulks().len());
        let ask = BulkAsk::Begin(Box::new(settings.clone()), queue);
        world.submit(Submission::Bulk(id.clone(), ask));
        let found = world.found_by_bulk(&id);
        assert_eq!(found, wanted, "{settings:?}");
    }
}

pub(super) fn a_rate_of_a_bulk_is_kept_over_restarts<B: Backend>(world: &mut World<B>) {
    create_many(world, "t", 5);
    let rate = Some(Rate { limit: 1, per: SECOND, burst: 2 });
    world.submit(bulk("b", Settings { rate, ..cancel_all() }));
    let mut applied = Vec::new();
    for _ in 0..8 {
        world.wake();
        world.restart();
        world.wake();
        applied.push(the_bulk(world).counts.applied);
        world.clock.advance(SECOND / 2);
    }
    assert_eq!(applied, [2, 2, 3, 3, 4, 4, 5, 5]);
    assert_eq!(the_bulk(world).state, bulk::State::Done);
}

pub(super) fn due_bulks_come_earliest_first_and_a_few_at_a_time<B: Backend>(world: &mut World<B>) {
    create_many(world, "t", 1);
    let failed = Filter { states: vec![State::Failed], ..Filter::default() };
    for number in 0..limits::BULKS_PER_BATCH + 2 {
        world.submit(bulk(&format!("b{number}"), Settings { filter: failed.clone(), ..cancel_all() }));
        world.clock.advance(SECOND);
    }
    let keys: Vec<_> = world.backend.bulks().iter().map(|bulk| bulk.key).collect();
    let due = world.due(world.clock.now(), 1_000);
    assert_eq!(due.bulks, keys[..limits::BULKS_PER_BATCH]);
    assert_eq!(due.next, world.backend.bulks()[limits::BULKS_PER_BATCH].wake_at);
    let now = world.clock.now();
    for _ in 0..2 {
        let bulks = world.due(now, 1_000).bulks;
        world.commit_batch(&Batch { bulks, ..Batch::default() });
    }
    assert_eq!(world.due(now, 1_000).bulks, []);
}

pub(super) fn of_those_that_ended_the_newest_are_kept<B: Backend>(world: &mut World<B>) {
    create_many(world, "t", 1);
    // One that runs is never too old.
    let failed = Filter { states: vec![State::Failed], ..Filter::default() };
    let slow =
        Settings { filter: failed, rate: None, command: Command::Retry { ignore_dependencies: false } };
    world.submit(bulk("slow", slow));
    for number in 0..limits::BULKS_KEPT_MAX + 2 {
        world.commit(&[
            bulk(&format!("b{number}"), cancel_all()),
            Submission::Bulk(format!("b{number}"), BulkAsk::Cancel),
        ]);
    }
    assert_eq!(world.backend.bulks().len(), 1 + limits::BULKS_KEPT_MAX);
    world.commit(&[bulk("last", cancel_all())]);
    assert_eq!(world.backend.bulks().len(), 2 + limits::BULKS_KEPT_MAX);
    let has_name = |world: &mut World<B>, id: &str| world.name(5, id).is_some();
    assert!(!has_name(world, "b0") && !has_name(world, "b1"));
    assert!(has_name(world, "b2") && has_name(world, "slow") && has_name(world, "last"));
}

pub(super) fn a_bulk_begins_once_under_its_key<B: Backend>(world: &mut World<B>) {
    create_many(world, "t", 1);
    let once = Once { claim: ClaimKey([7; 16]), request: [1; 16] };
    let asked = |id: &str| Submission::Once(once, Box::new(bulk(id, cancel_all())));
    assert_eq!(world.submit(asked("b")), Outcome::Applied);
    world.restart();
    assert_eq!(world.submit(asked("c")), Outcome::Repeated);
    let key = the_bulk(world).key.0;
    // Nobody knows the answer: it is made again from the bulk.
    let answers = world.backend.answers();
    assert!(answers[0].contains(&format!("created Some(\"[{key}]\")")), "{answers:?}");
    let answered = Answered { once, status: 202, body: Some(b"{}".to_vec()) };
    world.submit(Submission::Answered(Box::new(answered)));
    assert!(world.backend.answers()[0].contains("202 [{}]"));
}
