//! Staying in sync with remotes: status URLs that are asked, signs of life, deadlines, and remotes that are told of a cancel.
//! `status=2 ask=10s` is a task whose remote, at host 2, is asked first after ten seconds; `asked` what it answers.

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use support::script::key_of;
use support::words::check;
use support::{BEGINNING, Step, World};
use taskhook_core::{Cause, Change, Command, Effect, HostKey, Input, State};

#[test]
fn a_remote_is_asked_when_its_callback_is_overdue() {
    check("
        new status=2 ask=10s, 202                   + pass 9s       => a running #1
        new status=2 ask=10s, 202, wait 10s         + wake          = applied; #1 asked; ask #1
        new status=2 ask=10s, 202, wait 10s, wake   + wake          = unchanged
        new status=2 ask=10s, 202, pass 10s         + asked task_completed result=7 = applied; #1 says completed, succeeded #1 with 7; tell dependents, look
        new status=2 ask=10s, 202, pass 10s         + asked task_failed    = applied; #1 says failed, #1 failed: worker, retry in 2.1s; look
        new status=2 ask=10s, 202, pass 10s         + asked task_failed retryable=false => a failed #1
        new status=2 ask=10s, 202, pass 10s         + asked task_cancelled = applied; #1 says cancelled, cancelled; tell dependents, look
        new status=2 ask=10s, 202, pass 10s         + asked runs           = applied; #1 says it runs
        new status=2 ask=10s, 202, pass 10s         + asked runs at=0.5    = applied; #1 says it runs, alive at 0.5
        new status=2 ask=10s, 202, pass 10s         + asked unclear        = applied; #1 says nothing clear
        new status=2 ask=10s, 202, pass 10s         + asked lost           = applied; #1 says nothing
        new status=2 ask=10s                        + pass 60s             => a dispatching #1
        new external status=2 ask=10s, wait 10s     + wake                 = applied; #1 asked; ask #1
        new external status=2 ask=10s, pass 10s     + asked task_completed => a succeeded #1
        new status=2, 202, wait 59s                 + wake                 = unchanged
        new status=2, 202, wait 60s                 + wake                 = applied; #1 asked; ask #1
        new status=2 timeout=40s, 202, wait 10s     + wake                 = applied; #1 asked; ask #1
        new, 202, wait 10m                          + wake                 = unchanged
    ");
}

#[test]
fn pauses_between_questions_double_up_to_five_minutes() {
    let mut world = World::after("new status=2 ask=10s timeout=none, 202");
    let mut asked_at = Vec::new();
    for _ in 0..9 {
        let begin = world.now;
        while world.polls.is_empty() {
            world.pass(Duration::from_secs(1));
        }
        asked_at.push(world.now.since(begin).as_secs());
        world.play("tell 0 runs");
    }
    assert_eq!(asked_at, [10, 10, 20, 40, 80, 160, 300, 300, 300]);
}

/// A deadline waits for no answer, so the question comes in time for one.
#[test]
fn a_remote_is_asked_in_time_before_a_deadline() {
    check("
        new status=2 deadline=1h, 202, pass 60s, asked runs, wait 59s  + wake       = unchanged
        new status=2 deadline=1h, 202, pass 60s, asked runs, wait 60s  + wake       = applied; #1 asked; ask #1
        new status=2 ask=2h deadline=1h, 202, wait 3569s     + wake                 = unchanged
        new status=2 ask=2h deadline=1h, 202, wait 3570s     + wake                 = applied; #1 asked; ask #1
        new status=2 ask=2h deadline=1h, 202, pass 3570s     + asked task_completed => a succeeded #1
        new status=2 ask=2h deadline=1h, 202, pass 3570s, asked runs, wait 29s + wake = unchanged
        new status=2 deadline=8s, 202, wait 5s               + wake                 = unchanged
        new status=2 deadline=8s, 202, wait 6s               + wake                 = applied; #1 asked; ask #1
        new status=2 ask=4s deadline=8s, 202, pass 4s, asked runs, wait 1s   + wake = unchanged
        new status=2 ask=4s deadline=8s, 202, pass 4s, asked runs, wait 2s   + wake = applied; #1 asked; ask #1
        new status=2 ask=5s deadline=8s, 202, pass 5s, asked runs, wait 1s   + wake = applied; #1 asked; ask #1
        new status=2 ask=5500ms deadline=8s, 202, wait 5500ms, wake, asked runs, wait 1s + wake = unchanged
        new status=2 ask=5s deadline=8s, 202, pass 5s, wait 1s + wake               = unchanged
        new status=2 ask=2h deadline=1h, 202, pass 1h, retry, 202, wait 3570s + wake = unchanged
        new external status=2 ask=2h deadline=1h, wait 3570s + wake                 = applied; #1 asked; ask #1
        new status=2 ask=2h deadline=1h, wait 3580s, 202     + wake                 = applied; #1 asked; ask #1
    ");
}

/// The remote has lost it: the retry policy decides.
#[test]
fn a_task_that_its_remote_does_not_know_has_failed() {
    let asked = "new status=2 ask=10s, 202, pass 10s";
    check(&format!("
        {asked}                                             + asked 404 = applied; #1 says 404
        {asked}, asked 404, pass 10s                        + asked 404 = applied; #1 says 404, #1 failed: not_found, retry in 2.1s; look
        {asked}, asked 404, pass 10s, asked runs, pass 20s  + asked 404 = applied; #1 says 404
        {asked}, asked 404, pass 10s, asked lost, pass 20s  + asked 404 = applied; #1 says 404
        {asked}, asked 404, pass 10s, asked 404, pass 3s, 202, pass 10s + asked 404 = applied; #2 says 404
        new external status=2 ask=10s, pass 10s, asked 404, pass 10s + asked 404 => a failed #1
    "));
}

/// G14: a lost callback is found before its attempt is given up.
#[test]
fn a_remote_is_asked_once_more_before_a_time_out_is_declared() {
    let overdue = "new status=2 ask=10s timeout=30s attempts=1, 202, pass 10s, asked runs, pass 10s, asked runs, wait 10s";
    check(&format!("
        {overdue}                                     + wake                 = applied; #1 asked; ask #1
        {overdue}, wake                               + wake                 = unchanged
        {overdue}, wake                               + asked task_completed => a succeeded #1
        {overdue}, wake, asked runs                   + wake                 = applied; #1 failed: timeout, failed; tell dependents, look
        {overdue}, wake, asked lost                   + wake                 = applied; #1 failed: timeout, failed; tell dependents, look
        {overdue}, wake                               + pass 60s             => a failed #1
        {overdue}, wake                               + task_completed       => a succeeded #1
        {overdue}, wake, task_completed               + asked task_completed = applied; #1 says completed
        new status=2 ask=10s timeout=30s attempts=1, pass 30s + wake         => a failed #1
        new status=2 ask=10s heartbeat=30s attempts=1, 202, pass 10s, asked lost, pass 10s, asked lost, wait 10s + wake = applied; #1 asked; ask #1
    "));
}

#[test]
fn what_a_remote_says_before_a_time_out_is_judged_is_not_its_last_word() {
    let mut world = World::after("new status=2 ask=20s timeout=30s attempts=1, 202, pass 20s, asked runs");
    world.now = world.now + Duration::from_secs(600);
    world.play("restart");
    assert_eq!(world.polls.len(), 1, "asked at the start");
    world.play("tell 0 runs, pass 29s");
    assert_eq!(world.polls.len(), 0);
    world.play("pass 1s");
    assert_eq!(world.polls.len(), 1, "asked once more, now that the time-out is to be judged");
    world.play("tell 0 task_completed");
    assert_eq!(world.tasks[&key_of("a")].state, State::Succeeded);
}

#[test]
fn a_remote_is_asked_once_a_second_however_short_the_time_between_signs_of_life_is() {
    let asked = "new status=2 ask=400s heartbeat=100ms timeout=none, 202, wait 100ms, wake";
    check(&format!(
        "
        {asked}, asked runs, wait 100ms                   + wake  = applied; look again in 900.0ms
        {asked}, asked runs, wait 899ms                   + wake  = applied; look again in 101.0ms
        {asked}, asked runs, wait 100ms, wake, wait 900ms + wake  = applied; #1 asked; ask #1
    "
    ));
}

/// A running task's remote is never given up on for want of a place to ask it.
#[test]
fn a_time_out_waits_for_a_free_exchange() {
    let overdue = "new status=2 ask=60s timeout=30s attempts=1, 202, limits 0 0, wait 30s";
    let mut world = World::after(overdue);
    world.play("wake");
    world.pass(Duration::from_secs(600));
    assert_eq!(world.tasks[&key_of("a")].state, State::Running, "there is no place to ask");
    world.play("limits 8 4, pass 10s");
    assert_eq!(world.polls.len(), 1);
    world.play("tell 0 task_completed");
    assert_eq!(world.tasks[&key_of("a")].state, State::Succeeded);
}

/// A remote whose host answers nobody is not waited for in the queue of all that ask it.
#[test]
fn a_time_out_does_not_wait_for_a_host_that_answers_no_question() {
    let mut world = World::after("limits 8 4");
    let names: Vec<String> = ('a'..='j').map(String::from).collect();
    for name in &names {
        world.play(&format!("{name}.new status=2 ask=1h timeout=30s attempts=1, {name}.202"));
    }
    world.play("pass 30s");
    assert_eq!(world.polls.len(), 1, "questions have a share of the places");
    world.play("pass 30s, tell 0 lost, pass 29s");
    let running = |world: &World| world.tasks.values().filter(|task| task.state == State::Running).count();
    assert_eq!(running(&world), 9, "the others wait for their last word");
    world.play("pass 11s");
    assert_eq!(
        running(&world),
        1,
        "the one that asks; the others ended a minute and ten seconds after their time"
    );

    // A host that answers is waited for, however long it takes.
    let mut world = World::after("limits 8 4");
    for name in &names {
        world.play(&format!("{name}.new status=2 ask=1h timeout=30s attempts=1, {name}.202"));
    }
    world.play("pass 30s");
    for asked in 1..=9 {
        world.play("pass 20s, tell 0 runs, pass 0s");
        assert_eq!(running(&world), 10 - asked, "its place goes to the next one at once");
        assert_eq!(world.polls.len(), 1);
    }
}

/// It is no evidence against a remote that nobody had a place to ask it, or was allowed to.
#[test]
fn a_last_word_is_left_out_for_the_silence_of_its_host_alone() {
    let running = |world: &World| world.tasks.values().filter(|task| task.state == State::Running).count();
    let overdue = "limits 8 4, new status=2 ask=1h timeout=30s attempts=1, 202,
        b.new status=2 ask=1h timeout=30s attempts=1, b.202, pass 30s";
    // A question was lost, and attempts take all places for a long time.
    let attempts = "pass 1s, c.new host=2, d.new host=2, e.new host=2, f.new host=2, pass 30s";
    let mut world = World::after(&overdue.replace('\n', " ").replace("pass 30s", attempts));
    assert_eq!((world.exchanges.len(), world.polls.len()), (4, 0));
    world.permits.hear_nothing(HostKey(2), world.now);
    world.play("pass 10m");
    assert_eq!(running(&world), 2, "nobody could ask");
    world.play("c.200, pass 0s");
    assert_eq!(world.polls.len(), 1);

    // What was lost during a hold, or before it, is long ago when it ends.
    let mut world = World::after(&overdue.replace('\n', " "));
    world.play("hold, tell 0 lost, pass 50s, hold ends, pass 15s");
    assert_eq!(world.polls.len(), 1, "the other one is asked, more than a minute after its time");
    assert_eq!(running(&world), 1);
    let three = overdue.replace("pass 30s", "c.new status=2 ask=1h timeout=30s attempts=1, c.202, pass 40s");
    let mut world = World::after(&three.replace('\n', " "));
    world.play("tell 0 lost, hold, pass 52s, hold ends, wake");
    assert_eq!((running(&world), world.polls.len()), (2, 1), "the third is to be asked behind the second");
}

/// A poll asks whom it was to ask when it was decided, whatever becomes of its task in the same transaction.
#[test]
fn a_poll_takes_the_place_that_it_gives_back() {
    let mut world = World::after("new status=location ask=10s, 202 location=3, wait 10s");
    let task = key_of("a");
    let retry = Input::Command(task, Command::Retry { ignore_dependencies: false });
    let steps = world.commit(vec![Input::Wake(task), Input::Command(task, Command::Cancel), retry]);
    let effects: Vec<&Effect> = steps.iter().flat_map(|step| &step.decided.decision.effects).collect();
    let Effect::Poll { host: HostKey(3), location: Some(location), .. } = effects[0] else {
        panic!("{effects:?}")
    };
    assert_eq!(location.host, HostKey(3));
    assert_eq!((world.tasks[&task].location.as_ref(), world.permits.open()), (None, 2), "{effects:?}");
    world.play("tell 0 runs, 200");
    assert_eq!(world.permits.open(), 0);
}

/// A host is out of order for what is sent to it: how it does what it has is asked all the same, and takes nobody's place.
#[test]
fn a_host_that_is_out_of_order_is_asked_how_its_tasks_are() {
    let (host, failed) = (HostKey(1), taskhook_core::permits::Health::Failed);
    let mut world = World::after("new status=1 ask=30s timeout=40s attempts=1, 202");
    (0..taskhook_core::limits::BREAKER_FAILURES).for_each(|_| world.permits.learn(host, failed, world.now));
    world.play("b.new host=1, pass 29s, wait 1s, wake");
    assert_eq!((world.polls.len(), world.exchanges.len()), (1, 1), "and the host is tried by a task");
    world.play("tell 0 runs, pass 10s");
    assert_eq!(world.polls.len(), 1, "the last question before its time-out");
    world.play("tell 0 runs, pass 1s");
    assert_eq!(world.tasks[&key_of("a")].state, State::Failed);
}

#[test]
fn after_downtime_every_overdue_remote_is_asked_at_once() {
    check(
        "
        new status=2 ask=10s, 202, pass 10s, asked runs, crash        + wake = applied; #1 asked; ask #1
        new status=2 ask=10s, 202, pass 10s, crash                    + wake = applied; #1 did not answer, #1 asked; ask #1
        new status=2 ask=60s, 202, crash                              + wake = unchanged
        new status=2 ask=10s timeout=30s, 202, crash, wait 2m         + wake => a running #1
    ",
    );
    // What ran out meanwhile is judged thirty seconds after the start, and not without asking.
    let mut world = World::after("new status=2 ask=10s timeout=30s attempts=1, 202, pass 12s, asked runs");
    world.now = world.now + Duration::from_secs(600);
    world.play("restart");
    assert_eq!(world.polls.len(), 1, "asked at once");
    world.play("tell 0 runs, pass 20s");
    assert_eq!(world.tasks[&key_of("a")].state, State::Running);
    world.play("tell 0 runs, pass 60s, tell 0 runs, pass 60s");
    assert_eq!(world.tasks[&key_of("a")].state, State::Failed);
    check(
        "
        new timeout=30s attempts=1, 202, crash                + pass 40s => a failed #1
    ",
    );
    for (script, state) in [("pass 29s", State::Running), ("pass 31s", State::Failed)] {
        let mut world = World::after("new timeout=30s attempts=1, 202");
        world.now = world.now + Duration::from_secs(600);
        world.play("crash, wake");
        world.play(script);
        assert_eq!(world.tasks[&key_of("a")].state, state, "{script}");
    }
}

/// Who reads why an attempt failed finds why that was judged later than its time.
#[test]
fn a_failure_that_was_put_off_says_so() {
    let cases = [
        ("timeout=20s, 202", "no end of the attempt was reported within 20s of its dispatch", (20, 30)),
        ("timeout=20s", "no end of the attempt was reported within 20s of its dispatch", (20, 30)),
        ("timeout=none heartbeat=40s, 202", "the worker gave no sign of life for 40s", (40, 40)),
        ("timeout=none deadline=1m, 202", "the deadline of the task passed before it had ended", (60, 30)),
        ("timeout=none deadline=1m", "the deadline of the task passed before it had ended", (60, 30)),
    ];
    for (options, what, (span, grace)) in cases {
        let mut world = World::after(&format!("new attempts=1 {options}"));
        world.now = world.now + Duration::from_secs(600);
        world.play("crash, wake");
        let failed = message_of_failure(&world.play("pass 60s"));
        let at = BEGINNING + Duration::from_secs(span);
        let judged_at = world.up_since + Duration::from_secs(grace);
        let late = format!(
            "this ran out at {at}, before the server's last start, and was judged from {judged_at} on"
        );
        assert_eq!(failed, format!("{what}; {late}"), "{options}");
    }
    let mut world = World::after("new timeout=30s attempts=1, 202");
    let in_time = message_of_failure(&world.play("pass 30s"));
    assert_eq!(in_time, "no end of the attempt was reported within 30s of its dispatch");
}

fn message_of_failure(steps: &[Step]) -> String {
    let changes = steps.iter().flat_map(|step| &step.decided.decision.changes);
    let mut failed = changes.filter_map(|(_, change)| match change {
        Change::AttemptFailed { failure, .. } => Some(failure.message.clone()),
        _ => None,
    });
    failed.next().expect("an attempt failed")
}

#[test]
fn a_remote_whose_answer_never_came_is_asked_again_when_it_is_time() {
    let mut world = World::after(
        "limits 16 8, new status=2 ask=5m timeout=2h, 202, pass 5m, asked runs, pass 10s, restart",
    );
    let asked = world.polls.len();
    world.play("pass 5m");
    assert_eq!(world.polls.len(), asked + 1, "and not only before its time-out");
}

#[test]
fn the_response_may_say_where_to_ask() {
    check("
        new status=location ask=10s            + 202 location=3     = applied; responded 202, #1 is located, started #1
        new status=location ask=10s            + 202 location=none  = applied; responded 202, it names none, started #1
        new status=2 ask=10s                   + 202 location=3     = applied; responded 202, started #1
        new status=location ask=10s, 202 location=3, wait 10s    + wake = applied; #1 asked; ask #1
        new status=location ask=10s, 202 location=none, wait 10s + wake = unchanged
        new status=location ask=10s timeout=30s attempts=1, 202 location=none + pass 30s => a failed #1
    ");
}

#[test]
fn a_late_answer_is_about_its_attempt() {
    let second = "new status=2 ask=10s timeout=30s, 202, pass 10s, task_failed, pass 3s, 202";
    check(&format!("
        {second}          + #1.asked task_failed    = applied
        {second}          + #1.asked runs           = applied
        {second}          + #1.asked task_completed => a succeeded #2
        new strict status=2 ask=10s timeout=30s, 202, pass 10s, task_failed, pass 3s, 202 + #1.asked task_completed => a running #2
    "));
}

#[test]
fn what_a_remote_says_otherwise_of_a_task_that_has_ended_is_marked() {
    let world = World::after("new status=2 ask=10s, 202, pass 10s, task_completed, asked task_failed");
    assert!(world.tasks[&key_of("a")].contradicted);
    let world = World::after("new status=2 ask=10s, 202, pass 10s, task_completed, asked task_completed");
    assert!(!world.tasks[&key_of("a")].contradicted);
}

#[test]
fn what_a_remote_says_when_asked_has_the_cause_reconciliation() {
    let world = World::after("new status=2 ask=10s, 202, pass 10s, asked task_completed");
    assert_eq!(world.history.last().map(|entry| entry.cause), Some(Cause::Reconciliation));
}

#[test]
fn a_worker_that_is_silent_has_failed() {
    check("
        new heartbeat=10s, 202, wait 9s                            + wake => a running #1
        new heartbeat=10s, 202, wait 10s                           + wake = applied; #1 failed: heartbeat, retry in 2.1s; look
        new heartbeat=10s, 202, wait 9s, task_heartbeat, wait 9s   + wake => a running #1
        new heartbeat=10s, 202, wait 9s, task_progress, wait 10s   + wake = applied; #1 failed: heartbeat, retry in 2.1s; look
        new heartbeat=10s, 202, wait 9s, task_heartbeat, pass 9s, task_completed + wait 1s => a succeeded #1
        new heartbeat=10s, wait 60s                                + wake => a dispatching #1
        new heartbeat=10s attempts=1, 202                          + pass 2h => a failed #1
        new external heartbeat=10s                                 + pass 11s => a failed #1
        new heartbeat=10s, 202, pass 9s, task_heartbeat, pass 9s, task_heartbeat, pass 9s + task_heartbeat => a running #1
        new heartbeat=2h, 202                                      + pass 90m => a running #1
        new heartbeat=10s timeout=15s attempts=1, 202, pass 9s, task_heartbeat + pass 7s => a failed #1
    ");
}

#[test]
fn past_its_deadline_a_task_fails_from_wherever_it_is() {
    check("
        new deadline=1h in=2h                      + pass 1h => a failed
        new deadline=1h in=2h, wait 1h             + wake = applied; deadline passed, failed; tell dependents
        b.new external, new deadline=1h after=b    + pass 1h => a failed, b running #1
        limits 0 0, new deadline=1h                + pass 1h => a failed
        new deadline=1h timeout=none, 202, wait 1h + wake = applied; #1 failed: deadline, deadline passed, failed; tell dependents, look
        new deadline=1h timeout=none, wait 1h      + wake => a failed #1
        new deadline=1h, 503, wait 1h              + wake => a failed #1
        new external deadline=1h                   + pass 1h => a failed #1
        new deadline=1h, 202, task_completed       + pass 2h => a succeeded #1
        new deadline=1h timeout=none, 202, pass 1h + task_completed = ignored contradiction; noted
        new deadline=1h timeout=none, 202, pass 1h + retry => a dispatching #2
        limits 8 8 + new deadline=0s => a failed
        b.new external, b.task_failed + new after=b deadline=0s => a skipped, b failed #1
    ");
}

#[test]
fn behind_its_time_a_task_is_not_sent_whatever_looks_at_it_first() {
    let at_ten = Duration::from_secs(600);
    for (script, then, state) in [
        ("new in=1m deadline=2m", "restart", State::Failed),
        ("queue pause, new deadline=2m", "restart, queue resume", State::Failed),
        ("b.new external, new after=b deadline=2m", "crash, b.task_completed, pass 1s", State::Failed),
        ("new deadline=2m, 429 retry-after=1m", "restart", State::Failed),
        ("new deadline=2m request=5m", "restart", State::Dispatching),
        ("new deadline=2m request=5m", "restart, pass 30s", State::Failed),
        // So with the time of an attempt: whoever has it may still report.
        ("new timeout=2m request=5m attempts=1", "restart, pass 29s", State::Dispatching),
        ("new timeout=2m request=5m attempts=1", "restart, pass 29s, task_completed", State::Succeeded),
        ("new timeout=2m request=5m attempts=1", "restart, pass 30s", State::Failed),
    ] {
        let mut world = World::after(script);
        let before = world.history.iter().filter(|entry| is_sent(&entry.change)).count();
        world.now = world.now + at_ten;
        world.play(then);
        assert_eq!(world.tasks[&key_of("a")].state, state, "{script}, {then}");
        let sent = world.history.iter().filter(|entry| is_sent(&entry.change)).count() - before;
        assert_eq!(sent, 0, "{script}, {then}");
    }
    // A look at the queue may come before its own wake-up.
    check(
        "
        limits 0 0, new deadline=2m, limits 8 8, wait 2m + look => a failed
        limits 0 0, b.new after=a, new deadline=2m, limits 8 8, wait 2m + look => a failed
    ",
    );
}

fn is_sent(change: &Change) -> bool {
    matches!(change, Change::Dispatched { .. } | Change::Resent { .. })
}

/// A deadline waits for nobody, so those that found no place for its last question do not wait long for the next try.
#[test]
fn the_less_time_a_deadline_leaves_the_sooner_a_question_is_tried_again() {
    let pause = |script: &str| {
        let mut world = World::after(script);
        world.play("wake");
        world.tasks[&key_of("a")].wake_at.expect("it is looked at again").since(world.now)
    };
    for (left, max) in [(3, 1_000), (8, 2_000), (20, 5_000), (30, 7_500)] {
        let script =
            format!("new status=2 ask=1h deadline=2m timeout=none, 202, limits 0 0, wait {}s", 120 - left);
        let pauses: BTreeSet<_> = (0..50).map(|more| pause(&format!("{script}, wait {more}ms"))).collect();
        let (least, most) = (pauses.first().expect("fifty"), pauses.last().expect("fifty"));
        assert!(
            *least >= Duration::from_secs(1) && *most <= Duration::from_millis(max),
            "{left}: {pauses:?}"
        );
        assert!(left < 8 || pauses.len() > 40, "they are drawn");
    }
}

#[test]
fn a_deadline_that_passed_during_downtime_does_not_wait_for_a_remote_that_is_asked() {
    let mut world = World::after("new status=2 ask=10s deadline=1m timeout=none, 202, pass 12s, asked runs");
    world.now = world.now + Duration::from_secs(600);
    world.play("restart");
    assert_eq!(world.polls.len(), 1, "asked at once, and it does not answer");
    world.play("pass 29s");
    assert_eq!(world.tasks[&key_of("a")].state, State::Running);
    world.play("pass 1s");
    assert_eq!(world.tasks[&key_of("a")].state, State::Failed);
}

#[test]
fn a_heartbeat_that_was_missed_waits_for_no_answer_to_a_process_that_is_gone() {
    let mut world = World::after("new status=2 ask=400s heartbeat=5s timeout=none attempts=1, 202, pass 5s");
    assert_eq!(world.polls.len(), 1, "its remote is asked for a last word");
    world.now = world.now + Duration::from_secs(1);
    world.play("restart");
    let wakes_at = world.tasks[&key_of("a")].wake_at;
    assert_eq!(wakes_at, Some(world.now + taskhook_core::limits::GRACE), "it is not put off to that answer");
}

#[test]
fn what_a_hold_has_put_off_is_judged_when_a_start_behind_it_says() {
    let mut world =
        World::after("new status=2 ask=400s heartbeat=5s timeout=none attempts=1, 202, hold, pass 6s");
    assert_eq!(world.polls.len(), 0, "held, it asks nobody for a last word");
    assert!(world.tasks[&key_of("a")].wake_at > Some(world.now + taskhook_core::limits::GRACE));
    world.now = world.now + Duration::from_secs(1);
    world.play("restart");
    let wakes_at = world.tasks[&key_of("a")].wake_at;
    assert_eq!(wakes_at, Some(world.now + taskhook_core::limits::GRACE));
}

#[test]
fn who_finds_no_place_to_ask_behind_a_hold_does_not_wait_as_long_as_for_its_end() {
    let held = "new status=2 ask=400s heartbeat=5s timeout=none attempts=1, 202, hold, pass 6s";
    let mut world = World::after(held);
    world.play("limits 0 0, hold ends");
    assert_eq!(world.polls.len(), 0, "there is no place");
    world.play("limits 8 4, pass 10s");
    assert_eq!(
        world.polls.len(),
        1,
        "asked within ten seconds of the end, and not within the five minutes of a hold"
    );
}

#[test]
fn only_a_success_of_the_current_attempt_counts_where_a_task_says_so() {
    check(
        "
        new strict, 202, task_failed, pass 3s         + #1.task_completed = stale; noted
        new strict, 202, task_failed, pass 3s         + #2.task_completed => a succeeded #2
        new strict, 202, task_failed                  + task_completed    => a succeeded #1
        new, 202, task_failed, pass 3s                + #1.task_completed => a succeeded #2
    ",
    );
}

#[test]
fn a_remote_is_told_when_a_user_cancels() {
    check("
        new cancel=3, 202                 + cancel = applied; cancelled; tell dependents, tell the remote, look
        new cancel=3, 202                 + cancel => a cancelled #1, n dispatching #1
        new cancel=3                      + cancel => a cancelled #1, n dispatching #1
        new cancel=3, 503                 + cancel => a cancelled #1, n dispatching #1
        new cancel=3 in=1h                + cancel => a cancelled
        new, 202                          + cancel => a cancelled #1
        new cancel=3, 202                 + task_cancelled => a cancelled #1
        new cancel=3, 202, cancel         + cancel = unchanged
        new cancel=3 deadline=1h, 202, n.cancel + pass 1h => a failed #1
    ");
}
