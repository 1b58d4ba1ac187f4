//! Queues: limits, turns, rates, pausing, and hosts that are out of order.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestCaseError;
use support::script::name_of;
use support::words::{check, outcome};
use support::{Step, World};
use taskhook_core::queue::{QueueSecret, SecretAsked, Settings, admission};
use taskhook_core::waiting::{HeldUp, waiting_for};
use taskhook_core::{
    Change, ConcurrencyKey, Context, FollowUp, Input, KeyUse, Queue, QueueChange, QueueCommand, QueueKey,
    Rate, State, Task, Timestamp, limits,
};

#[test]
fn no_more_attempts_are_open_than_the_queue_allows() {
    check("
        queue concurrency=1, new                    + b.new => a dispatching #1, b queued
        queue concurrency=1, new, b.new             + 202 => a running #1, b queued
        queue concurrency=1, new, b.new, 202        + task_completed => a succeeded #1, b dispatching #1
        queue concurrency=1, new, b.new, 202        + task_failed => a scheduled #1, b dispatching #1
        queue concurrency=1, new, b.new             + 503 => a scheduled #1, b dispatching #1
        queue concurrency=1, new, b.new             + 200 => a succeeded #1, b dispatching #1
        queue concurrency=1, new, b.new             + cancel => a cancelled #1, b dispatching #1
        queue concurrency=1, new timeout=5s attempts=1, b.new, 202 + pass 5s => a failed #1, b dispatching #1
        queue concurrency=1, new, b.new             + restart => a dispatching #1, b queued
        queue concurrency=1, new                    + b.new external => a dispatching #1, b running #1
        queue concurrency=2, new, b.new, c.new      + b.200 => a dispatching #1, b succeeded #1, c dispatching #1
        queue concurrency=1, new, b.new             + queue concurrency=2 => a dispatching #1, b dispatching #1
        queue concurrency=1, new, b.new             + queue => a dispatching #1, b dispatching #1
        queue concurrency=2, new, b.new, c.new, queue concurrency=1 + b.200 => a dispatching #1, b succeeded #1, c queued
        queue 2 concurrency=1, new queue=2, b.new queue=2 + c.new => a dispatching #1, b queued, c dispatching #1
    ");
}

#[test]
fn a_paused_queue_finishes_what_runs_and_starts_nothing() {
    check(
        "
        queue paused                                + new => a queued
        queue paused, new                           + queue resume = applied; resumed; look
        queue paused, new                           + queue resume => a dispatching #1
        new, queue pause, b.new                     + 202 => a running #1, b queued
        new, queue pause, b.new, 202                + task_completed => a succeeded #1, b queued
        new, queue pause, 503                       + pass 1h => a queued #1
        queue pause                                 + queue pause = unchanged
        look                                        + queue resume = unchanged
        queue pause, new                            + queue => a dispatching #1
        look                                        + queue 2 pause = refused: task 0 names no queue
        look                                        + queue 2 concurrency=1 = made; defined; look at queue 2
        look                                        + queue concurrency=1 = replaced; defined; look
        look                                        + new queue=2 = refused: task 0 names no queue
    ",
    );
}

#[test]
fn there_are_no_more_queues_than_may_be() {
    let mut world = World::after("queue 2 concurrency=1");
    let others = 3..i64::try_from(limits::QUEUES_MAX).expect("not so many");
    world.queues.queues.extend(others.map(|key| (QueueKey(key), Queue::new(QueueKey(key)))));
    let steps = world.play("queue 20000 concurrency=1 ; queue 20001 concurrency=1 ; queue 2 paused");
    let outcomes: Vec<String> =
        steps[..3].iter().map(|step| outcome(&step.decided.decision.outcome)).collect();
    assert_eq!(outcomes, ["made", "refused: there are 10000 queues", "replaced"]);
    assert_eq!(world.queues.queues.len(), limits::QUEUES_MAX + 1, "and that of the system");
}

#[test]
fn a_visit_looks_at_no_more_than_could_start_and_one_behind() {
    let wanted = |queue: &str| {
        let mut world = World::after("limits 8 4");
        world.play(queue);
        let queue = &world.queues.queues[&QueueKey::DEFAULT];
        let cx = Context {
            now: world.now,
            shown: world.now,
            up_since: world.up_since,
            held: None,
            full: false,
            permits: world.permits.clone(),
        };
        let wanted = admission::wanted(&cx, queue);
        let of_line = |key, open, lines| {
            let used = KeyUse { open, ..KeyUse::default() };
            admission::wanted_of_line(&cx, queue, ConcurrencyKey(key), used, (wanted, lines))
        };
        (wanted, [of_line(0, 0, 1), of_line(7, 0, 1), of_line(7, 1, 1), of_line(0, 0, 3), of_line(0, 0, 0)])
    };
    assert_eq!(wanted("queue"), (8, [8, 8, 8, 3, 8]));
    assert_eq!(wanted("queue concurrency=5"), (5, [5, 5, 5, 2, 5]));
    assert_eq!(wanted("queue key_concurrency=2"), (8, [8, 3, 2, 3, 8]));
    assert_eq!(wanted("queue paused"), (0, [0, 0, 0, 0, 0]));
    assert_eq!(wanted("limits 0 0"), (1, [1, 1, 1, 1, 1]));
    assert_eq!(wanted("queue rate=1/1h, new"), (1, [1, 1, 1, 1, 1]));
}

#[test]
fn tasks_of_one_key_share_its_limits() {
    check("
        queue key_concurrency=1, new key=1          + b.new key=1 => a dispatching #1, b queued
        queue key_concurrency=1, new key=1          + b.new key=2 => a dispatching #1, b dispatching #1
        queue key_concurrency=1, new                + b.new => a dispatching #1, b dispatching #1
        queue key_concurrency=1, new key=1, b.new key=1 + look = unchanged
        queue key_concurrency=1, new key=1, b.new key=1, 202 + task_completed => a succeeded #1, b dispatching #1
        queue key_concurrency=1, new key=1, b.new key=1, c.new key=1 + 200 => a succeeded #1, b dispatching #1, c queued
        queue key_concurrency=1, new key=1, b.new key=1 + queue key_concurrency=2 => a dispatching #1, b dispatching #1
        queue key_concurrency=1, new key=1, b.new key=1 + queue => a dispatching #1, b dispatching #1
        queue key_concurrency=1, new key=1, b.new key=1 priority=5 + 200 => a succeeded #1, b dispatching #1
        queue key_concurrency=1, new key=1, b.new key=1, restart + 200 => a succeeded #1, b dispatching #1
        queue concurrency=1 key_concurrency=1, new key=1, b.new key=1 priority=5, c.new + 200 => a succeeded #1, b dispatching #1, c queued
        queue 2, queue key_concurrency=1, new key=1 + b.new key=1 queue=2 => a dispatching #1, b dispatching #1
    ");
}

#[test]
fn no_more_attempts_begin_than_the_rate_allows() {
    check("
        queue rate=1/10s, new                       + b.new => a dispatching #1, b queued
        queue rate=1/10s, new, b.new, 200           + pass 9s => a succeeded #1, b queued
        queue rate=1/10s, new, b.new, 200           + pass 10s => a succeeded #1, b dispatching #1
        queue rate=1/10s+2, new, b.new              + c.new => a dispatching #1, b dispatching #1, c queued
        queue rate=1/10s+2, new, b.new, c.new       + pass 10s => a dispatching #1, b dispatching #1, c dispatching #1
        queue rate=1/10s, new, b.new                + restart => a dispatching #1, b queued
        queue rate=1/10s, new, b.new                + queue => a dispatching #1, b dispatching #1
        queue rate=1/1h, new, b.new, queue rate=1/1s + pass 1s => a dispatching #1, b dispatching #1
        queue rate=1/10s, new, b.new, queue pause   + pass 30s => a dispatching #1, b queued
        queue key_rate=1/10s, new key=1             + b.new key=1 => a dispatching #1, b queued
        queue key_rate=1/10s, new key=1             + b.new key=2 => a dispatching #1, b dispatching #1
        queue key_rate=1/10s, new key=1, b.new key=1, 200 + pass 9s => a succeeded #1, b queued
        queue key_rate=1/10s, new key=1, b.new key=1, 200 + pass 10s => a succeeded #1, b dispatching #1
        queue key_rate=1/1h, new key=1, b.new key=1, queue key_rate=1/1s + pass 1s => a dispatching #1, b dispatching #1
        queue rate=1/10s, new, b.new                + b.cancel, pass 20s, c.new => a dispatching #1, b cancelled, c dispatching #1
    ");
}

#[test]
fn what_is_closed_says_until_what() {
    check("
        queue key_concurrency=1, new key=3          + b.new key=3 = created b; b created, b queued; look
        queue key_concurrency=1, new key=3, queue pause, b.new key=3, queue resume + look = unchanged
        queue pause, new key=3, b.new key=3, queue key_concurrency=1 + c.new key=3 ; look = created c; c created, c queued; look
        limits 8 1, new, queue pause, b.new, queue resume + c.new host=2 => a dispatching #1, b queued, c dispatching #1
    ");
}

#[test]
fn what_a_queue_says_is_for_tasks_that_leave_it_open() {
    check(
        "
        queue attempts=1, new                       + 503 => a failed #1
        queue attempts=1, new attempts=2            + 503 => a scheduled #1
        queue callback, new                         + 200 => a running #1
        queue callback, new response                + 200 => a succeeded #1
        queue timeout=5s attempts=1, new, 202       + pass 5s => a failed #1
        queue timeout=5s attempts=1, new timeout=1h, 202 + pass 5s => a running #1
        queue timeout=5s, new external              + pass 5s => a running #1
        new, queue attempts=1                       + 503 => a scheduled #1
    ",
    );
}

/// The order in which tasks begin, one at a time.
fn order(setup: &str) -> String {
    let mut world = World::after(&format!("queue concurrency=1, queue pause, {setup}, queue resume"));
    for _ in 0..40 {
        if world.exchanges.is_empty() {
            break;
        }
        world.play("answer 0 200");
    }
    let begun = world.history.iter().filter(|entry| matches!(entry.change, Change::Dispatched { .. }));
    begun.map(|entry| name_of(entry.task)).collect()
}

#[test]
fn lines_take_turns_and_within_one_the_earliest_due_goes_first() {
    // `queue pause` keeps the limit; a definition would take it away.
    for (tasks, wanted) in [
        ("a.new key=1, b.new key=1, c.new key=1, d.new key=2", "adbc"),
        ("a.new key=1, b.new key=1, c.new key=2, d.new key=2, e.new key=3, f.new key=3", "acebdf"),
        ("a.new key=1, b.new key=1, c.new, d.new", "cadb"),
        ("a.new key=1, b.new key=2 priority=1, c.new key=1 priority=1, d.new key=2", "cbad"),
        ("a.new at=3s, b.new at=2s, c.new at=1s, pass 3s", "cba"),
        ("a.new host=1, b.new host=2, c.new host=1, d.new host=3", "abcd"),
        ("a.new key=1 host=1, b.new key=1 host=2, c.new key=2 host=1", "acb"),
        ("a.new, b.new, c.new, d.new key=9, e.new key=9", "adbec"),
    ] {
        assert_eq!(order(tasks), wanted, "{tasks}");
    }
}

#[test]
fn one_flooding_key_delays_another_by_a_place_for_each_active_key() {
    // Twenty tasks of one key, then one of another: it is the second to begin.
    let flood: Vec<String> = (b'a'..=b't').map(|name| format!("{}.new key=1", char::from(name))).collect();
    let begun = order(&format!("{}, u.new key=2", flood.join(", ")));
    assert_eq!(&begun[..3], "aub");
    // And a key that comes back after its turn stands behind those that wait.
    let mut world =
        World::after("queue concurrency=1, new key=2, b.new key=1, c.new key=1, 200, d.new key=2");
    world.play("b.200");
    assert_eq!(world.tasks[&support::script::key_of("d")].state, State::Dispatching);
}

#[test]
fn a_host_that_fails_twenty_times_in_a_row_is_left_alone_but_for_one_every_thirty_seconds() {
    let mut world = World::new(8, 4);
    for name in b'a'..=b's' {
        let name = char::from(name);
        world.play(&format!("{name}.new attempts=1, {name}.lost"));
    }
    assert_eq!(world.permits.broken(), 0, "nineteen are no reason");
    world.play("t.new attempts=1, t.lost");
    assert_eq!(world.permits.broken(), 1);

    let state = |world: &World, name| world.tasks[&support::script::key_of(name)].state;
    world.play("u.new host=1");
    assert_eq!(state(&world, "u"), State::Queued, "no attempt is used up");
    world.play("v.new host=2");
    assert_eq!(state(&world, "v"), State::Dispatching, "others go on");
    world.play("pass 29s");
    let sent = |world: &World| world.exchanges.iter().filter(|open| open.host.0 == 1).count();
    assert_eq!(sent(&world), 0);
    world.play("pass 2s");
    assert_eq!(sent(&world), 1, "one is sent to see");
    world.play("u.lost");
    assert_eq!(sent(&world), 0);
    world.play("pass 35s");
    assert_eq!(sent(&world), 1, "and another one thirty seconds later");
    // It answers: all that wait may go.
    world.play("w.new host=1, x.new host=1");
    let probe = world.exchanges.iter().position(|open| open.host.0 == 1).expect("the probe");
    world.play(&format!("answer {probe} 200"));
    assert_eq!(world.permits.broken(), 0);
    let waiting: Vec<String> = world
        .tasks
        .values()
        .filter(|task| task.state == State::Queued)
        .map(|task| name_of(task.key))
        .collect();
    assert_eq!(waiting, [] as [String; 0]);
}

#[test]
fn a_queue_that_is_looked_at_as_its_host_fails_asks_it_again_thirty_seconds_later() {
    let mut world = World::new(1, 4);
    for name in b'a'..=b's' {
        let name = char::from(name);
        world.play(&format!("{name}.new attempts=1, {name}.lost"));
    }
    // The place that comes back is a reason to look at the other queue, in the transaction that learns of the failure.
    world.play("queue 2, t.new attempts=1, u.new queue=2, v.new queue=2, t.lost");
    assert_eq!((world.permits.broken(), world.exchanges.len()), (1, 0));
    world.play("pass 31s");
    assert_eq!(world.exchanges.len(), 1, "one is sent to see");
}

#[test]
fn a_host_that_says_when_to_come_back_is_in_order() {
    let mut world = World::after("new attempts=100");
    for _ in 0..50 {
        world.play("503 retry-after=1s, pass 1s");
    }
    assert_eq!(world.permits.broken(), 0);
    let mut world = World::after("new attempts=100");
    for _ in 0..50 {
        world.play("409, pass 24h");
    }
    assert_eq!(world.permits.broken(), 0, "it answers, if not as one wishes");
}

#[test]
fn a_task_says_what_holds_it_up() {
    use taskhook_core::queue::{Closed, Shut};
    let world = World::after("queue paused, new");
    let task = &world.tasks[&support::script::key_of("a")];
    let at = Timestamp::from_secs(1_795_442_460);
    let held_up =
        |shut, key, breaker| HeldUp { queue: "mail".into(), shut, key, breaker, ..HeldUp::default() };
    let held = HeldUp { held: Some(at), ..held_up(Some(Shut::Paused), None, Some(at)) };
    for (held_up, code, text, until) in [
        (held, "held", "the server to be resumed, which is held since 2026-11-23T14:01:00.000Z", None),
        (held_up(Some(Shut::Paused), None, Some(at)), "paused", "queue mail to be resumed", None),
        (
            held_up(None, None, Some(at)),
            "breaker",
            "its target to answer again: 20 attempts in a row failed, and the next one begins at 14:01:00Z",
            Some(at),
        ),
        (
            HeldUp { now: at, ..held_up(None, None, Some(at)) },
            "capacity",
            "a free exchange with its target, for attempt 1",
            None,
        ),
        (
            held_up(Some(Shut::Concurrency(2)), Some((Closed::KeyLimit, 1)), None),
            "key_limit",
            "the end of an attempt with its key in queue mail, of which 1 may be open",
            None,
        ),
        (
            held_up(None, Some((Closed::KeyRate(at), 0)), None),
            "key_limit",
            "the rate of its key in queue mail, until 14:01:00Z",
            Some(at),
        ),
        (
            held_up(Some(Shut::Concurrency(2)), None, None),
            "concurrency",
            "a place in queue mail, where 2 attempts may be open",
            None,
        ),
        (
            held_up(Some(Shut::Rate(at)), None, None),
            "rate",
            "the rate of queue mail, until 14:01:00Z",
            Some(at),
        ),
        (held_up(None, None, None), "capacity", "a free exchange with its target, for attempt 1", None),
    ] {
        let waiting = waiting_for(task, None, &held_up).expect("it waits");
        assert_eq!((waiting.code, waiting.text.as_str(), waiting.until), (code, text, until));
    }
}

/// Stories about tasks of few keys and hosts in two queues whose limits change.
fn story() -> impl Strategy<Value = Vec<String>> {
    let tasks = vec(
        (
            select(vec!["", " key=1", " key=1", " key=2"]),
            select(vec!["", "", " queue=2"]),
            select(vec!["", " host=2", " priority=5", " in=20s", " attempts=1"]),
        ),
        1..14,
    )
    .prop_map(|options| {
        let names = ('a'..='z').zip(options);
        names
            .map(|(name, (key, queue, other))| format!("{name}.new timeout=10m{key}{queue}{other}"))
            .collect()
    });
    let act = || {
        prop_oneof![
            6 => (0..4_usize, select(vec!["200", "202", "202", "503", "lost"]))
                .prop_map(|(position, reply)| format!("answer {position} {reply}")),
            4 => (0..14_u8, select(vec!["task_completed", "task_failed", "cancel", "retry", "trigger"]))
                .prop_map(|(task, what)| format!("{}.{what}", char::from(b'a' + task))),
            4 => (1..60_u32).prop_map(|seconds| format!("pass {seconds}s")),
            1 => select(vec!["restart", "look"]).prop_map(String::from),
            2 => select(vec!["hold", "hold ends"]).prop_map(String::from),
            3 => (select(vec!["queue", "queue 2"]), select(vec![
                "concurrency=1", "concurrency=2 key_concurrency=1", "key_concurrency=1", "rate=1/10s+2",
                "key_rate=2/30s", "paused", "pause", "resume", "",
            ])).prop_map(|(queue, settings)| format!("{queue} {settings}")),
        ]
    };
    (tasks, vec(act(), 0..70), vec(0..70_usize, 14)).prop_map(
        |(tasks, mut acts, places): (Vec<String>, _, _)| {
            for (task, place) in tasks.into_iter().zip(places) {
                acts.insert(place.min(acts.len()), task);
            }
            acts.insert(0, "queue 2 key_concurrency=1".into());
            acts
        },
    )
}

type Checked = Result<(), TestCaseError>;

/// Plays a story, and looks at the world after every step of it.
fn play(story: &[String], mut look: impl FnMut(&World, &[Step]) -> Checked) -> Result<World, TestCaseError> {
    let mut world = World::new(5, 3);
    for step in story {
        // A webhook before its task would wait for it.
        let early = step.split('.').next().is_some_and(|name| name.len() == 1)
            && !step.contains(".new")
            && !world.tasks.contains_key(&support::script::key_of(&step[..1]));
        if !early {
            let steps = world.play(step);
            look(&world, &steps)?;
        }
    }
    Ok(world)
}

fn open_of(world: &World, of: impl Fn(&&Task) -> bool) -> usize {
    world.tasks.values().filter(|task| task.holds_a_place()).filter(of).count()
}

/// Whether a transaction that began attempts left no more open than the limits in force say.
fn limits_hold(world: &World, steps: &[Step]) -> Checked {
    // A limit that is lowered binds those that begin after it.
    let defines = steps.iter().any(|step| matches!(step.input, Input::Queue(..)));
    let began = |step: &Step| {
        step.decided.decision.changes.iter().any(|(_, change)| matches!(change, Change::Dispatched { .. }))
    };
    if defines || !steps.iter().any(began) {
        return Ok(());
    }
    prop_assert!(world.held_since.is_none(), "a held server started something");
    for (key, task) in &world.tasks {
        let begun_now = steps.iter().flat_map(|step| &step.decided.decision.changes);
        let begun_now =
            begun_now.filter(|(task, change)| task == key && matches!(change, Change::Dispatched { .. }));
        if begun_now.count() == 0 {
            continue;
        }
        let settings = &world.queues.queues[&task.plan.queue].settings;
        let open = open_of(world, |other| other.plan.queue == task.plan.queue);
        prop_assert!(settings.concurrency.is_none_or(|limit| open <= limit as usize), "{open} open");
        if task.plan.concurrency_key != ConcurrencyKey::NONE {
            let of_key = open_of(world, |other| {
                (other.plan.queue, other.plan.concurrency_key) == (task.plan.queue, task.plan.concurrency_key)
            });
            prop_assert!(
                settings.key_concurrency.is_none_or(|limit| of_key <= limit as usize),
                "{of_key} open"
            );
        }
        prop_assert!(
            !world.queues.queues[&task.plan.queue].paused,
            "a paused queue started {}",
            name_of(*key)
        );
    }
    Ok(())
}

/// Attempts that began since the rates were last changed: by queue and key, zero for a whole queue.
#[derive(Default)]
struct Begun {
    at: BTreeMap<(i64, i64), Vec<Timestamp>>,
    /// Entries of the history that were looked at.
    seen: usize,
}

/// In no window have more attempts begun than a rate allows that was in force all the time.
fn rates_hold(begun: &mut Begun, world: &World, steps: &[Step]) -> Checked {
    let entries = &world.history[begun.seen..];
    begun.seen = world.history.len();
    if steps.iter().any(|step| matches!(step.input, Input::Queue(..))) {
        begun.at.clear();
        return Ok(());
    }
    for entry in entries.iter().filter(|entry| matches!(entry.change, Change::Dispatched { .. })) {
        let plan = &world.tasks[&entry.task].plan;
        let settings = &world.queues.queues[&plan.queue].settings;
        let of_key = settings.key_rate.filter(|_| plan.concurrency_key != ConcurrencyKey::NONE);
        for (key, rate) in [(0, settings.rate), (plan.concurrency_key.0, of_key)] {
            let Some(Rate { limit, per, burst }) = rate else { continue };
            let at = begun.at.entry((plan.queue.0, key)).or_default();
            at.push(entry.at);
            let within = at.iter().filter(|at| entry.at.since(**at) < per).count();
            prop_assert!(within <= (limit + burst - 1) as usize, "{within} began within {per:?}");
        }
    }
    Ok(())
}

/// No task waits for what is there.
fn nobody_waits_for_nothing(world: &World) -> Checked {
    if world.held_since.is_some() {
        return Ok(());
    }
    for task in world.tasks.values().filter(|task| task.state == State::Queued) {
        let queue = &world.queues.queues[&task.plan.queue];
        let queue = Queue {
            open: u32::try_from(open_of(world, |other| other.plan.queue == queue.key)).expect("not so many"),
            ..queue.clone()
        };
        let host = task.plan.host.is_some_and(|host| world.permits.free_with(host, world.now) > 0);
        let key = queue.settings.key_room(task.plan.concurrency_key, world.use_of(task), world.now).is_ok();
        let free = host && key && queue.room(world.now).is_ok();
        prop_assert!(!free, "{} waits for nothing", name_of(task.key));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// G12. At no commit are more attempts open than the limits say.
    #[test]
    fn limits_are_kept(story in story()) {
        play(&story, limits_hold)?;
    }

    /// G12. In no window do more attempts begin than the limits say.
    #[test]
    fn rates_are_kept(story in story()) {
        let mut begun = Begun::default();
        play(&story, |world, steps| rates_hold(&mut begun, world, steps))?;
    }

    /// Whoever may start does.
    #[test]
    fn no_place_stays_empty(story in story()) {
        play(&story, |world, _| nobody_waits_for_nothing(world))?;
    }

    /// A visit ends: it never asks for another one that would find just the same.
    #[test]
    fn looks_come_to_an_end(story in story()) {
        let mut world = play(&story, |_, steps| {
            let looks = steps.iter().filter(|step| matches!(step.input, Input::FollowUp(FollowUp::Look(_))));
            prop_assert!(looks.count() < 60, "{} steps", steps.len());
            Ok(())
        })?;
        // And with nothing in the way, everything ends.
        world.play("hold ends, queue, queue 2");
        for _ in 0..500 {
            if world.exchanges.is_empty() && world.tasks.values().all(|task| task.state.is_terminal()) {
                return Ok(());
            }
            match world.exchanges.is_empty() {
                false => world.play("answer 0 200"),
                true => world.pass(Duration::from_secs(3_600)),
            };
        }
        prop_assert!(false, "it never ends: {}", support::words::states(&world));
    }
}

#[test]
fn a_queue_keeps_its_secret_unless_it_is_told_otherwise() {
    const DAY: Duration = limits::OLD_SECRET_SIGNS_FOR;
    let mut world = World::new(10, 10);
    let key = QueueKey(7);
    let tell = |world: &mut World, secret| {
        // What stands in the settings does not count: who decides has not read them.
        let stale = QueueSecret { sealed: [9].as_slice().into(), before: None };
        let settings = Settings { secret: Some(stale), ..Settings::default() };
        let define = QueueCommand::Define { settings: settings.into(), paused: false, secret };
        let step = world.commit(vec![Input::Queue(key, define)]).remove(0);
        let QueueChange::Defined { settings, .. } = &step.decided.decision.queues[0].1 else {
            panic!("{step:?}")
        };
        let secret = settings.secret.clone()?;
        let before = secret.before.map(|(sealed, until)| (sealed[0], until.since(world.now)));
        Some((secret.sealed[0], before))
    };
    let give = |number: u8| SecretAsked::Give([number].as_slice().into());
    assert_eq!(tell(&mut world, SecretAsked::Keep), None);
    assert_eq!(tell(&mut world, give(1)), Some((1, None)));
    assert_eq!(tell(&mut world, SecretAsked::Keep), Some((1, None)));
    assert_eq!(tell(&mut world, give(2)), Some((2, Some((1, DAY)))));
    world.pass(Duration::from_secs(60));
    assert_eq!(tell(&mut world, SecretAsked::Keep), Some((2, Some((1, DAY - Duration::from_secs(60))))));
    assert_eq!(tell(&mut world, give(3)), Some((3, Some((2, DAY)))), "of the oldest nothing is left");
    assert_eq!(tell(&mut world, SecretAsked::Remove), None);
}
