//! What a store keeps of schedules, and what it finds for them.

use std::collections::BTreeSet;
use std::time::Duration;

use taskhook_core::retention::Ages;
use taskhook_core::schedule::{Missed, Overlap, Rule, Schedule, What};
use taskhook_core::{Command, Outcome, Refused, Request, ScheduleCommand, State, Task, Timestamp, limits};
use taskhook_sim::Random;

use super::backend::{Backend, Memory};
use super::world::{
    START, World, answered, command, completed, create, define, every, external, hosted, schedule_command,
};

const HOUR: Duration = Duration::from_secs(3_600);

fn the_schedule<B: Backend>(world: &mut World<B>) -> Schedule {
    let [schedule] = &world.backend.schedules()[..] else { panic!("one schedule") };
    schedule.clone()
}

/// The tasks of schedules, in the order of their instants.
fn made<B: Backend>(world: &mut World<B>) -> Vec<Task> {
    let mut tasks: Vec<Task> =
        world.backend.tasks().into_iter().filter(|task| task.plan.scheduled.is_some()).collect();
    tasks.sort_by_key(|task| task.plan.scheduled.map(|scheduled| scheduled.at));
    tasks
}

fn states<B: Backend>(world: &mut World<B>) -> Vec<State> {
    made(world).iter().map(|task| task.state).collect()
}

fn asked<B: Backend>(world: &mut World<B>, command: ScheduleCommand) -> Outcome {
    world.submit(schedule_command("s", command))
}

pub(super) fn what_a_schedule_says_survives<B: Backend>(world: &mut World<B>) {
    let mut template = hosted("", "h");
    template.spec.name = Some("kind".into());
    template.spec.labels.insert("a".into(), "b".into());
    template.spec.request = template.spec.request.map(|request| {
        let headers = vec![("x-a".to_string(), "b".to_string())];
        Request { headers, payload: Some(b"{ }".to_vec()), ..(*request).clone() }.into()
    });
    template.asked.payload_bytes = 3;
    let mut draft = every(60, template);
    draft.settings.overlap = Overlap::BufferOne;
    draft.settings.end_at = Some(START + 1_000 * HOUR);
    assert_eq!(world.submit(define("s", draft.clone())), Outcome::Defined { new: true });
    world.clock.advance(Duration::from_secs(200));
    world.wake_schedules();
    asked(world, ScheduleCommand::Backfill { after: START, until: world.shown(), overlapping: Some(false) });
    let before = the_schedule(world);
    assert_eq!(before.settings.spec, draft.settings.spec);
    assert_eq!(before.last.len(), 2, "some were missed, one was made: {before:?}");
    assert!(before.backfill.is_some() && before.wake_at.is_some(), "{before:?}");
    world.restart();
    assert_eq!(the_schedule(world), before);
    // The task of an instant is what the schedule says, with the schedule and its instant.
    let [task] = &made(world)[..] else { panic!("one task") };
    let at = START + Duration::from_secs(180);
    assert_eq!(
        task.plan.scheduled.map(|scheduled| (scheduled.schedule, scheduled.at)),
        Some((before.key, at))
    );
    assert_eq!(world.key(&before.task_id(at)), task.key);
    let specs = world.backend.specs();
    assert!(specs[0].contains("kind POST http://h/") && specs[0].contains("{ }"), "{specs:?}");

    assert_eq!(world.submit(define("s", draft)), Outcome::Defined { new: false });
    assert_eq!(asked(world, ScheduleCommand::Delete), Outcome::Applied);
    assert!(world.backend.schedules().is_empty());
    assert_eq!(asked(world, ScheduleCommand::Delete), Outcome::Refused(Refused::NoSuchSchedule));
    assert_eq!(made(world).len(), 1, "its tasks stay");
}

pub(super) fn each_instant_is_decided_once_over_restarts_and_clocks<B: Backend>(world: &mut World<B>) {
    let mut draft = every(7, external(""));
    draft.settings.missed = Missed::All;
    world.submit(define("s", draft));
    let mut random = Random::new(7);
    for _ in 0..200 {
        world.clock.advance(Duration::from_millis(random.below(9_000)));
        match random.below(10) {
            0 => world.restart(),
            1 => world.clock_is_off_by += 3_600_000_000,
            2 => world.clock_is_off_by -= 3_600_000_000,
            _ => drop(world.wake_schedules()),
        }
    }
    world.clock_is_off_by = 0;
    world.clock.advance(10 * HOUR);
    world.wake_schedules();
    let schedule = the_schedule(world);
    let recurrence = schedule.recurrence().unwrap();
    let due = schedule.instants(&recurrence, START).take_while(|at| *at <= schedule.decided_until).count();
    let counts = schedule.counts;
    assert_eq!(counts.fired + counts.missed, due as u64, "{schedule:?}");
    let instants: Vec<Timestamp> =
        made(world).iter().filter_map(|task| task.plan.scheduled).map(|scheduled| scheduled.at).collect();
    let distinct: BTreeSet<Timestamp> = instants.iter().copied().collect();
    assert_eq!((instants.len(), distinct.len() as u64), (distinct.len(), counts.fired));
}

pub(super) fn three_days_without_a_server<B: Backend>(world: &mut World<B>) {
    world.submit(define("s", every(3_600, external(""))));
    world.clock.advance(HOUR);
    world.wake_schedules();
    world.restart();
    world.clock.advance(72 * HOUR);
    world.wake_schedules();
    let schedule = the_schedule(world);
    assert_eq!((schedule.counts.fired, schedule.counts.missed), (2, 71), "{schedule:?}");
    assert_eq!(made(world).len(), 2);
}

pub(super) fn a_clock_set_back_by_a_year_is_believed_when_it_is_said_to_be<B: Backend>(world: &mut World<B>) {
    world.submit(define("s", every(3_600, external(""))));
    let year = 365 * 24 * 3_600_000_000_i64;
    world.clock_is_off_by = year;
    world.wake_schedules();
    assert_eq!(the_schedule(world).counts.fired, 1);
    world.clock_is_off_by = 0;
    world.clock.advance(2 * HOUR);
    assert!(world.wake_schedules().is_empty() && made(world).len() == 1, "the time is decided");
    let ahead = |world: &mut World<B>| {
        let until = world.shown() + limits::SET_BACK_MIN;
        taskhook_sim::ready(taskhook::store::Store::schedules_ahead(world.backend.store(), until)).unwrap()
    };
    assert_eq!(ahead(world), [the_schedule(world).key]);
    asked(world, ScheduleCommand::ClockSetBack);
    assert!(ahead(world).is_empty());
    world.clock.advance(HOUR);
    world.wake_schedules();
    assert_eq!(made(world).len(), 2);
    // The year that was seen once comes in truth: its instant has its task already.
    world.clock_is_off_by = year - 3 * 3_600_000_000;
    world.wake_schedules();
    let schedule = the_schedule(world);
    let last = schedule.last.last().unwrap();
    assert!(matches!(last.what, What::Existed(_)), "{schedule:?}");
    assert_eq!(made(world).len(), 2);
}

pub(super) fn all_earlier_tasks_make_room_however_many<B: Backend>(world: &mut World<B>) {
    const COUNT: usize = 2 * limits::FAN_OUT_PAGE + 5;
    let mut draft = every(1, external(""));
    world.submit(define("s", draft.clone()));
    for _ in 0..COUNT {
        world.clock.advance(Duration::from_secs(1));
        world.wake_schedules();
    }
    let ended = made(world)[3].key;
    let id = the_schedule(world).task_id(START + Duration::from_secs(4));
    world.submit(completed(1, &id));
    draft.settings.overlap = Overlap::CancelPrevious;
    world.submit(define("s", draft.clone()));
    world.clock.advance(Duration::from_secs(1));
    world.wake_schedules();
    let tasks = made(world);
    assert_eq!(tasks.len(), COUNT + 1);
    let newest = tasks[COUNT].key;
    for task in tasks {
        let wanted = match task.key {
            key if key == newest => State::Running,
            key if key == ended => State::Succeeded,
            _ => State::Cancelled,
        };
        assert_eq!(task.state, wanted, "{task:?}");
    }
    // An older one that somebody opens again is in the way as any other, and makes room as any other.
    let first = the_schedule(world).task_id(START + Duration::from_secs(1));
    world.submit(command(&first, Command::Retry { ignore_dependencies: false }));
    draft.settings.overlap = Overlap::Skip;
    world.submit(define("s", draft));
    let newest = the_schedule(world).task_id(START + Duration::from_secs(COUNT as u64 + 1));
    world.submit(command(&newest, Command::Cancel));
    world.clock.advance(Duration::from_secs(1));
    world.wake_schedules();
    assert_eq!(made(world).len(), COUNT + 1, "the first one runs");
}

pub(super) fn instants_without_a_task_leave_no_name<B: Backend>(world: &mut World<B>) {
    let mut draft = every(60, hosted("", "h"));
    draft.settings.overlap = Overlap::Skip;
    world.submit(define("s", draft));
    world.clock.advance(Duration::from_secs(60));
    let sent = world.wake_schedules();
    assert_eq!(sent.len(), 1);
    let names = world.backend.names().len();
    world.clock.advance(Duration::from_secs(60));
    world.wake_schedules();
    assert_eq!((world.backend.names().len(), the_schedule(world).counts.overlapped), (names, 1));
    // Its end makes room for the next instant, not for the one that passed.
    world.settle(&[answered(sent[0].task.key, 1, 200)]);
    assert!(world.wake_schedules().is_empty());
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(world.wake_schedules().len(), 1);
}

pub(super) fn a_webhook_may_come_before_its_instant<B: Backend>(world: &mut World<B>) {
    world.submit(define("s", every(60, external(""))));
    let id = the_schedule(world).task_id(START + Duration::from_secs(60));
    assert_eq!(world.submit(completed(1, &id)), Outcome::Unmatched);
    world.clock.advance(Duration::from_secs(60));
    world.wake_schedules();
    assert_eq!(world.state(&id), State::Succeeded);
    assert_eq!(states(world), [State::Succeeded]);
}

pub(super) fn due_schedules_come_earliest_first<B: Backend>(world: &mut World<B>) {
    for (name, seconds) in [("c", 30), ("a", 10), ("b", 20)] {
        world.submit(define(name, every(seconds, external(""))));
    }
    let names = |world: &mut World<B>, max| {
        let due = world.due_schedules(max);
        let all = world.backend.schedules();
        let name =
            |key| all.iter().find(|schedule| schedule.key == key).map(|schedule| schedule.name.to_string());
        due.into_iter().filter_map(name).collect::<Vec<String>>()
    };
    assert!(names(world, 9).is_empty());
    world.clock.advance(Duration::from_secs(25));
    assert_eq!(names(world, 9), ["a", "b"]);
    assert_eq!(names(world, 1), ["a"]);
    world.clock.advance(Duration::from_secs(25));
    assert_eq!(names(world, 9), ["a", "b", "c"]);
    world.submit(schedule_command("b", ScheduleCommand::Pause));
    world.wake_schedules();
    assert!(names(world, 9).is_empty());
    assert_eq!(made(world).len(), 3);
}

pub(super) fn schedules_of_one_transaction_see_each_other<B: Backend>(world: &mut World<B>) {
    let mut draft = every(60, external(""));
    draft.settings.overlap = Overlap::Skip;
    world.submit(define("s", draft));
    let at = Timestamp(START.0 + 1_000);
    let trigger = |at| schedule_command("s", ScheduleCommand::Trigger { at, overlap: None });
    let committed = world.commit(&[trigger(at), trigger(Timestamp(at.0 + 1_000)), create([external("x")])]);
    let id = the_schedule(world).task_id(at);
    let task = world.key(&id);
    assert_eq!(committed.receipts[0].outcome(), &Outcome::Created(vec![(task, true)]));
    assert_eq!(committed.receipts[1].outcome(), &Outcome::Refused(Refused::Overlaps { task }));
    assert_eq!(the_schedule(world).counts.requested, 1);
}

/// Ten years of nights in every zone, with restarts and clocks that are set by an hour: each night has its task.
#[test]
fn ten_years_of_nights() {
    for (seed, zone) in [
        "Europe/Stockholm",
        "America/New_York",
        "Africa/Cairo",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
        "America/St_Johns",
        "Pacific/Apia",
    ]
    .into_iter()
    .enumerate()
    {
        let mut world = World::<Memory>::new();
        let mut random = Random::new(seed as u64);
        let mut draft = every(1, external(""));
        draft.settings.rule = Rule::Cron("30 2 * * *".into());
        draft.settings.timezone = zone.into();
        draft.settings.catch_up = 2 * HOUR;
        world.submit(define("s", draft));
        let recurrence = the_schedule(&mut world).recurrence().unwrap();
        let until = START + Duration::from_secs(3_653 * 86_400);
        let mut nights = recurrence.upcoming(START).map(|night| night.at).take_while(|at| *at < until);
        let mut wanted = nights.next();
        let ages = Ages { tasks: Some(Duration::from_secs(30 * 86_400)), ..Ages::NEVER };
        let mut seen = 0;
        while world.clock.now() < until {
            match random.below(20) {
                0 => world.restart(),
                1 => world.clock_is_off_by = 3_600_000_000,
                2 => world.clock_is_off_by = -3_600_000_000,
                3 => world.clock_is_off_by = 0,
                4 => drop(world.sweep(&ages, 100)),
                _ => world.clock.advance(Duration::from_secs(random.below(7_000))),
            }
            world.wake_schedules();
            let newest = made(&mut world).pop().filter(|task| !task.state.is_terminal());
            if let Some(task) = newest {
                let at = task.plan.scheduled.map(|scheduled| scheduled.at);
                assert_eq!(at, wanted, "{zone}, at {}", world.shown());
                wanted = nights.next();
                let id = the_schedule(&mut world).task_id(at.unwrap());
                world.submit(command(&id, Command::Cancel));
                seen += 1;
            }
        }
        let counts = the_schedule(&mut world).counts;
        assert_eq!((counts.fired, counts.missed), (seen, 0), "{zone}");
        assert!((3_651..=3_653).contains(&seen), "{zone}: {seen}");
    }
}
