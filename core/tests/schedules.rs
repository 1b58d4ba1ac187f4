//! Schedules: instants, overlap, what is made up for, pausing, asking, and clocks that are set.

mod support;

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use support::World;
use support::words::check;
use taskhook_core::schedule::What;
use taskhook_core::{State, Timestamp};

#[test]
fn each_instant_makes_one_task() {
    check(
        "
        look                                       + schedule every=1m = made
        schedule every=1m overlap=allow            + pass 3m -> 14:01 a, 14:02 b, 14:03 c
        schedule every=1m overlap=allow            + pass 59s -> nothing
        schedule every=1m overlap=allow            + pass 2m => a dispatching #1, b dispatching #1
        schedule every=1m overlap=allow task=external + pass 2m => a running #1, b running #1
        schedule every=1m overlap=allow start=10m  + pass 12m -> 14:11 a, 14:12 b
        schedule cron=*_*_*_*_* overlap=allow start=10m + pass 12m -> 14:10 a, 14:11 b, 14:12 c
        schedule every=1m overlap=allow end=2m     + pass 5m -> 14:01 a, 14:02 b
        schedule cron=30_16_*_*_* timezone=Europe/Stockholm overlap=allow + pass 48h -> 15:30 a, 11-24 15:30 b
        schedule every=1m overlap=allow paused     + pass 5m -> nothing
        schedule every=1m overlap=allow jitter=30s + pass 1m => a scheduled
        schedule every=1m overlap=allow jitter=30s + pass 95s => a dispatching #1
        look                                       + schedule every=1m task=queue=7 = refused: task 0 names no queue
        schedule every=1m overlap=allow, pass 1m   + wake = unchanged
        schedule every=1m, pass 1m, schedule delete + pass 5m -> 14:01 a
        schedule every=1m, pass 1m, schedule delete + schedule every=1m = made
        look                                       + schedule delete = refused: no such schedule
    ",
    );
}

#[test]
fn while_an_earlier_task_has_not_ended_overlap_decides() {
    check("
        schedule every=1m, pass 1m                 + pass 2m -> 14:01 a, 14:02 overlapped a, 14:03 overlapped a
        schedule every=1m, pass 1m, 202            + pass 1m -> 14:01 a, 14:02 overlapped a
        schedule every=1m, pass 1m, 202, task_completed + pass 1m -> 14:01 a, 14:02 b
        schedule every=1m, pass 1m, 500            + pass 1m -> 14:01 a, 14:02 overlapped a
        schedule every=1m, pass 1m, cancel         + pass 1m -> 14:01 a, 14:02 b
        schedule every=1m overlap=buffer_one       + pass 3m -> 14:01 a, 14:02 b, 14:03 overlapped b
        schedule every=1m overlap=buffer_one       + pass 2m => a dispatching #1, b blocked
        schedule every=1m overlap=buffer_one, pass 2m, 202 + task_completed => a succeeded #1, b dispatching #1
        schedule every=1m overlap=buffer_one, pass 2m + cancel => a cancelled #1, b dispatching #1
        schedule every=1m overlap=buffer_one, pass 2m, 200 + pass 1m -> 14:01 a, 14:02 b, 14:03 c
        schedule every=1m overlap=cancel_previous  + pass 2m => a cancelled #1, b dispatching #1
        schedule every=1m overlap=cancel_previous  + pass 3m -> 14:01 a, 14:02 b, 14:03 c
        schedule every=1m overlap=allow, pass 3m, schedule every=1m overlap=cancel_previous + pass 1m => a cancelled #1, b cancelled #1, c cancelled #1, d dispatching #1
        schedule every=1m overlap=allow, pass 2m, schedule every=1m + pass 1m -> 14:01 a, 14:02 b, 14:03 overlapped b
        queue concurrency=1, schedule every=1m overlap=cancel_previous + pass 2m => a cancelled #1, b dispatching #1
    ");
}

#[test]
fn what_was_not_decided_in_time_is_made_up_for_as_the_schedule_says() {
    check("
        schedule every=1m, wait 5m                 + pass 0s -> 4 from 14:01 to 14:04 missed (newer), 14:05 a
        schedule every=1m missed=skip, wait 5m     + pass 0s -> 4 from 14:01 to 14:04 missed (skip), 14:05 a
        schedule every=10m missed=skip, wait 35m   + pass 0s -> 3 from 14:10 to 14:30 missed (skip)
        schedule every=10m missed=skip, wait 35m   + pass 5m -> 3 from 14:10 to 14:30 missed (skip), 14:40 a
        schedule every=10m missed=skip catch_up=0s, wait 11m + pass 0s -> 14:10 a
        schedule every=10m missed=skip, wait 601s + pass 0s -> 14:10 a
        schedule every=1h catch_up=30m, wait 95m   + pass 0s -> 15:00 missed (too late)
        schedule every=1h catch_up=30m, wait 85m   + pass 0s -> 15:00 a
        schedule every=1h catch_up=30m, wait 145m  + pass 0s -> 15:00 missed (newer), 16:00 a
        schedule every=1h catch_up=0s, wait 3601s  + pass 0s -> 15:00 a
        schedule every=1h catch_up=0s, wait 3661s  + pass 0s -> 15:00 missed (too late)
        schedule every=1m missed=all, wait 3m      + pass 0s -> 14:01 a, 14:02 b, 14:03 c
        schedule every=1m missed=all, wait 3m      + pass 0s => a dispatching #1, b blocked, c blocked
        schedule every=1m missed=all, wait 3m, pass 0s + 200 => a succeeded #1, b dispatching #1, c blocked
        schedule every=1m missed=all overlap=allow, wait 3m + pass 0s => a dispatching #1, b dispatching #1, c dispatching #1
        schedule every=1m missed=all catch_up=2m, wait 5m + pass 0s -> 2 from 14:01 to 14:02 missed (too late), 14:03 a, 14:04 b, 14:05 c
        schedule every=1h missed=all catch_up=10m, wait 130m + pass 0s -> 15:00 missed (too late), 16:00 a
        schedule cron=*_*_*_*_* start=10m missed=all, wait 12m + pass 0s -> 14:10 a, 14:11 b, 14:12 c
        schedule cron=*_*_*_*_* start=10m, wait 12m + pass 0s -> 2 from 14:10 to 14:11 missed (newer), 14:12 a
        schedule every=1m end=3m, wait 10m         + pass 0s -> 2 from 14:01 to 14:02 missed (newer), 14:03 a
        schedule every=1s, wait 72h                + pass 0s -> 10000 from 14:00:01 to 11-26 13:59:59 missed (newer), 11-26 14:00 a
        schedule cron=*_*_*_*_*, wait 720h         + pass 0s -> 10000 from 14:01 to 12-23 13:59 missed (newer), 12-23 14:00 a
    ");
}

#[test]
fn no_more_is_made_up_for_than_a_hundred_instants_and_not_all_at_once() {
    for (task, looks) in [("", 4), ("task=bytes=100000", 20), ("task=bytes=1000000", 100)] {
        let mut world = World::after(&format!("schedule every=1m missed=all catch_up=24h {task}, wait 3h"));
        let is_catching_up = |world: &World| world.schedule.as_ref().is_some_and(|all| all.catching_up);
        let mut looked = 0;
        while looked == 0 || is_catching_up(&world) {
            world.wake_schedule();
            looked += 1;
        }
        let fates = support::schedules::fates(&world);
        assert!(fates.starts_with("80 from 14:01 to 15:20 missed (too many), 15:21 a, 15:22 b, "), "{fates}");
        assert_eq!((world.tasks.len(), looked), (100, looks), "{task}");
        // The last one waits for its turn as the others do, though it is in time.
        let blocked = world.tasks.values().filter(|task| task.state == State::Blocked).count();
        assert_eq!(blocked, 99);
    }
}

#[test]
fn a_pause_and_a_change_never_make_up_for_the_past() {
    check("
        schedule every=1m overlap=allow, pass 1m, schedule pause, pass 5m + schedule resume -> 14:01 a, 5 from 14:02 to 14:06 skipped (paused)
        schedule every=1m overlap=allow, pass 1m, schedule pause, pass 5m, schedule resume + pass 1m -> 14:01 a, 5 from 14:02 to 14:06 skipped (paused), 14:07 b
        schedule every=1m, schedule pause          + schedule pause = unchanged
        schedule every=1m                          + schedule resume = unchanged
        schedule every=1m, wait 1m                 + schedule pause -> 14:01 a
        schedule every=1m, schedule pause, wait 3h + schedule every=1m -> 180 from 14:01 to 17:00 skipped (paused)
        schedule every=1m, schedule pause, wait 3h + schedule every=1m paused -> 180 from 14:01 to 17:00 skipped (paused)
        schedule every=1h, wait 90m                + schedule every=1h overlap=allow -> nothing
        schedule every=1h, wait 90m, schedule every=1h overlap=allow + pass 0s -> 15:00 a
        schedule every=1h, wait 90m                + schedule every=30m -> 15:00 skipped (changed)
        schedule every=1h, wait 90m, schedule every=30m + pass 30m -> 15:00 skipped (changed), 16:00 a
        schedule every=1h, wait 90m                + schedule every=1h start=10h = replaced
        schedule every=1h, wait 90m                + schedule every=1h paused -> 15:00 a
        look                                       + schedule pause = refused: no such schedule
    ");
}

#[test]
fn tasks_are_made_on_request() {
    check("
        schedule every=1h                          + schedule trigger -> a on request
        schedule every=1h                          + schedule trigger => a dispatching #1
        schedule every=1h paused                   + schedule trigger => a dispatching #1
        schedule every=1h, schedule trigger, wait 1s + schedule trigger = refused: a has not ended
        schedule every=1h, schedule trigger        + schedule trigger ; schedule trigger -> a on request
        schedule every=1h, schedule trigger, wait 1s + schedule trigger overlap=allow => a dispatching #1, b dispatching #1
        schedule every=1h, schedule trigger, wait 1s + schedule trigger overlap=buffer_one => a dispatching #1, b blocked
        schedule every=1h, schedule trigger, wait 1s + schedule trigger overlap=cancel_previous => a cancelled #1, b dispatching #1
        schedule every=1h, schedule trigger        + pass 1h -> a on request, 15:00 overlapped a
        schedule every=1h jitter=30m               + schedule trigger => a dispatching #1
        schedule every=1h start=0s paused, wait 5h + schedule backfill 4h 1h = applied
        schedule every=1h start=0s paused, wait 5h, schedule backfill 4h 1h + pass 0s => a dispatching #1, b blocked, c blocked
        schedule every=1h start=0s paused overlap=allow, wait 5h, schedule backfill 4h 1h + pass 0s => a dispatching #1, b dispatching #1, c dispatching #1
        schedule every=1h start=0s paused, wait 5h, schedule backfill 4h 1h overlapping + pass 0s => a dispatching #1, b dispatching #1, c dispatching #1
        schedule every=1h start=0s paused, wait 5h, schedule backfill 4h 1h + schedule backfill 4h 1h = refused: a backfill goes on
        schedule every=1h start=0s paused, wait 5h, schedule backfill 4h 1h, pass 0s, schedule backfill 4h 0s + pass 0s => a dispatching #1, b blocked, c blocked, d blocked
        schedule every=1h start=0s paused, wait 5h, schedule backfill 4h 239m + pass 0s => a dispatching #1
        look                                       + schedule trigger = refused: no such schedule
    ");
}

#[test]
fn a_long_backfill_is_made_in_pages() {
    let mut world =
        World::after("schedule every=1s start=0s paused overlap=allow, wait 2m, schedule backfill 2m 0s");
    assert_eq!(world.tasks.len(), 0);
    let backfill = |world: &World| world.schedule.as_ref().and_then(|schedule| schedule.backfill);
    let mut looks = 0;
    while backfill(&world).is_some() {
        world.wake_schedule();
        looks += 1;
        let counted = world.schedule.as_ref().map(|schedule| schedule.counts.requested);
        assert_eq!(counted, Some(world.tasks.len() as u64), "all that was made is counted");
    }
    // Those of 14:00:01 to 14:01:59; at 14:02:00 begins what was not asked for.
    assert_eq!((world.tasks.len(), looks), (119, 4));
    assert_eq!(world.schedule.and_then(|schedule| schedule.wake_at), None);
}

#[test]
fn a_clock_that_is_set_decides_no_instant_twice() {
    check("
        schedule every=30m overlap=allow, pass 1h, clock -1h + pass 1h -> 14:30 a, 15:00 b
        schedule every=30m overlap=allow, pass 1h, clock -1h + pass 2h -> 14:30 a, 15:00 b, 15:30 c, 16:00 d
        schedule every=30m overlap=allow, pass 1h, clock +1h + pass 0s -> 14:30 a, 15:00 b, 15:30 missed (newer), 16:00 c
        schedule every=30m overlap=allow, pass 1h, clock +1h, pass 0s, clock -1h + pass 90m -> 14:30 a, 15:00 b, 15:30 missed (newer), 16:00 c, 16:30 d
        schedule every=30m overlap=allow missed=all, pass 30m, clock +8760h + pass 0s -> 14:30 a, 10000 from 15:00 to 11-23 13:00 missed (too late), 11-23 13:30 b, 11-23 14:00 c, 11-23 14:30 d
        schedule every=24h overlap=allow, pass 24h, clock +8760h, pass 0s, clock -8760h, schedule set_back + pass 24h -> 11-24 14:00 a, 364 from 11-25 14:00 to 11-23 14:00 missed (newer), 11-24 14:00 b, 11-25 14:00 c
        schedule every=24h, pass 24h, clock -1h    + schedule set_back = unchanged
    ");
}

/// What happens around a schedule. Downtime and clocks that are set come in all sizes below a day.
fn story(definitions: &'static [&'static str]) -> impl Strategy<Value = (&'static str, Vec<&'static str>)> {
    const STEPS: [&str; 26] = [
        "pass 1m",
        "pass 7m",
        "pass 90m",
        "pass 30h",
        "wait 7m",
        "wait 61m",
        "wait 72h",
        "clock +1h",
        "clock -1h",
        "clock +1m",
        "clock -20h",
        "clock +8760h",
        "crash",
        "restart",
        "answer 0 200",
        "answer 0 202",
        "answer 0 500",
        "answer 0 lost",
        "schedule pause",
        "schedule resume",
        "schedule trigger",
        "schedule trigger ; schedule pause",
        "schedule backfill 3h 1h",
        "locks 0101",
        "resume",
        "wake",
    ];
    (select(definitions), vec(select(&STEPS[..]), 1..40))
}

/// The world after each step, with a look at its schedule.
fn told(definition: &str, steps: &[&str], mut each: impl FnMut(&World)) -> World {
    let mut world = World::after(definition);
    for step in steps {
        if !step.ends_with("wake") || world.tasks.contains_key(&support::script::key_of("a")) {
            world.play(step);
        }
        // A backfill goes on by itself, and follow-ups that were locked out are taken up.
        world.wake_schedule();
        while !world.kept.is_empty() {
            world.resume();
        }
        each(&world);
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// G13: over downtime, crashes, pauses and clocks that are set, each instant is decided exactly once.
    #[test]
    fn each_instant_is_decided_exactly_once((definition, steps) in story(&[
        "schedule every=7m", "schedule every=7m overlap=allow missed=all", "schedule every=1h missed=skip overlap=buffer_one",
        "schedule cron=30_2_*_*_* timezone=America/New_York overlap=allow", "schedule cron=*/20_*_*_*_* timezone=Australia/Lord_Howe missed=all",
        "schedule every=5m catch_up=10m overlap=cancel_previous",
    ])) {
        let world = told(definition, &steps, |_| {});
        let schedule = world.schedule.clone().expect("it was made");
        let recurrence = schedule.recurrence().expect("it can be read");
        let mut due = schedule.instants(&recurrence, support::BEGINNING).take_while(|at| *at <= schedule.decided_until);
        for fate in &world.fates {
            match fate.what {
                What::Requested(_) => {}
                What::Missed { first, count, .. } => {
                    prop_assert_eq!(due.next(), Some(first));
                    let mut last = (first, 1);
                    while last.0 < fate.at {
                        last = (due.next().expect("they are due"), last.1 + 1);
                    }
                    prop_assert_eq!(last, (fate.at, if count < 10_000 { count } else { last.1 }));
                }
                _ => prop_assert_eq!(due.next(), Some(fate.at)),
            }
        }
        let left = due.next();
        prop_assert_eq!(left, None, "decided until {}", schedule.decided_until);
    }

    /// No instant has two tasks, and nothing that was begun is forgotten by the counts.
    #[test]
    fn no_instant_has_two_tasks((definition, steps) in story(&[
        "schedule every=7m overlap=allow missed=all", "schedule every=1h overlap=cancel_previous", "schedule every=3m overlap=buffer_one missed=all",
    ])) {
        let world = told(definition, &steps, |_| {});
        let instants: Vec<Timestamp> =
            world.tasks.values().filter_map(|task| task.plan.scheduled).map(|scheduled| scheduled.at).collect();
        let distinct: BTreeSet<Timestamp> = instants.iter().copied().collect();
        prop_assert_eq!(distinct.len(), instants.len());
        let counts = world.schedule.expect("it was made").counts;
        prop_assert_eq!(counts.fired + counts.requested, instants.len() as u64);
    }

    /// Unless they may overlap, no two tasks of a schedule have an attempt at the same time: not after downtime, with a
    /// backfill, or on request.
    #[test]
    fn tasks_that_may_not_overlap_never_do((definition, steps) in story(&[
        "schedule every=7m", "schedule every=7m missed=all", "schedule every=1h overlap=buffer_one missed=all", "schedule every=7m overlap=cancel_previous",
    ])) {
        told(definition, &steps, |world| {
            let tried = world.tasks.values().filter(|task| !task.state.is_terminal() && task.attempt.is_some());
            assert!(tried.count() <= 1, "{}", support::words::states(world));
        });
    }
}
