//! The rules of a task's life, one row each: what has happened `+` what happens now, and what follows from it.
//!
//! `=` is followed by the decision itself (outcome; changes; effects; follow-ups), `=>` by the states of all
//! tasks once everything that follows has been decided. The words are those of `support/script.rs` and
//! `support/words.rs`: `new` creates task `a`, a number is the response to its dispatch, `#1.task_failed` is a
//! webhook that names an attempt, `b.cancel` is about task `b`. Tasks that wait for each other are in
//! `dependencies.rs`.

mod support;

use std::sync::Arc;

use support::World;
use support::script::key_of;
use support::words::{self, check};
use taskhook_core::waiting::{HeldUp, waiting_for};
use taskhook_core::{
    Cause, Context, Create, EventKey, EventKind, Input, NewTask, State, Subjects, TaskKey, decide_all, limits,
};

#[test]
fn a_2xx_completes_the_task_or_its_webhook_is_awaited() {
    check("
        new          + 200          = applied; responded 200, succeeded #1 by response; tell dependents, look
        new          + 204          = applied; responded 204, succeeded #1 by response; tell dependents, look
        new          + 202          = applied; responded 202, started #1
        new response + 200          = applied; responded 200, succeeded #1 by response; tell dependents, look
        new response + 202          = applied; responded 202, succeeded #1 by response; tell dependents, look
        new callback + 200          = applied; responded 200, started #1
        new callback + 202          = applied; responded 202, started #1
        new callback + 204          = applied; responded 204, started #1
        new          + 200 result=7 = applied; responded 200, succeeded #1 by response with 7; tell dependents, look
    ");
}

#[test]
fn what_may_pass_is_tried_again() {
    check("
        new                          + 408  = applied; responded 408, #1 failed: http_408, retry in 2.1s; look
        new                          + 409  = applied; responded 409, #1 failed: http_409, retry in 2.1s; look
        new                          + 423  = applied; responded 423, #1 failed: http_423, retry in 2.1s; look
        new                          + 425  = applied; responded 425, #1 failed: http_425, retry in 2.1s; look
        new                          + 429  = applied; responded 429, #1 failed: http_429, retry in 2.1s; look
        new                          + 500  = applied; responded 500, #1 failed: http_500, retry in 2.1s; look
        new                          + 503  = applied; responded 503, #1 failed: http_503, retry in 2.1s; look
        new                          + 599  = applied; responded 599, #1 failed: http_599, retry in 2.1s; look
        new                          + lost = applied; no response: connect, #1 failed: connect, retry in 2.1s; look
        new, 503, pass 5s            + 503  = applied; responded 503, #2 failed: http_503, retry in 9.1s; look
        new attempts=2, 503, pass 5s + 503  = applied; responded 503, #2 failed: http_503, failed; tell dependents, look
        new attempts=1               + 503  = applied; responded 503, #1 failed: http_503, failed; tell dependents, look
        new attempts=1               + lost = applied; no response: connect, #1 failed: connect, failed; tell dependents, look
    ");
}

#[test]
fn what_a_retry_cannot_mend_fails_at_once() {
    check("
        new + 301          = applied; responded 301, #1 failed: http_301, failed; tell dependents, look
        new + 304          = applied; responded 304, #1 failed: http_304, failed; tell dependents, look
        new + 400          = applied; responded 400, #1 failed: http_400, failed; tell dependents, look
        new + 401          = applied; responded 401, #1 failed: http_401, failed; tell dependents, look
        new + 404          = applied; responded 404, #1 failed: http_404, failed; tell dependents, look
        new + 410          = applied; responded 410, #1 failed: http_410, failed; tell dependents, look
        new + 422          = applied; responded 422, #1 failed: http_422, failed; tell dependents, look
        new + 503 no-retry = applied; responded 503, #1 failed: http_503, failed; tell dependents, look
        new + 429 no-retry retry-after=5s = applied; responded 429, #1 failed: http_429, failed; tell dependents, look
        new + not_allowed  = applied; no response: egress_not_allowed, #1 failed: egress_not_allowed, failed; tell dependents, look
    ");
}

#[test]
fn retry_after_postpones_and_uses_up_no_attempt() {
    check("
        new            + 429 retry-after=10s = applied; responded 429, #1 failed: http_429 (not counted), retry in 10.0s; look
        new            + 503 retry-after=10s = applied; responded 503, #1 failed: http_503 (not counted), retry in 10.0s; look
        new            + 503 retry-after=48h = applied; responded 503, #1 failed: http_503 (not counted), retry in 86400.0s; look
        new            + 503 retry-after=0s  = applied; responded 503, #1 failed: http_503 (not counted), retry in 1.0s; look
        new attempts=1 + 503 retry-after=10s = applied; responded 503, #1 failed: http_503 (not counted), retry in 10.0s; look
        new            + 500 retry-after=10s = applied; responded 500, #1 failed: http_500, retry in 2.1s; look
        new attempts=1, 503 retry-after=10s  + pass 10s       => a dispatching #2
        new attempts=1, 503 retry-after=10s, pass 10s + 503   => a failed #2
        new attempts=1, 503 retry-after=10s  + task_completed => a succeeded #1
    ");
}

#[test]
fn a_target_that_asks_to_wait_for_ever_uses_up_attempts_in_the_end() {
    let postponed = ", 503 retry-after=1s, pass 1s".repeat(limits::POSTPONEMENTS_MAX as usize - 1);
    let mut world = World::after(&format!("new attempts=2{postponed}"));
    let mut play = |step: &str| {
        world.play(step);
        let task = world.tasks[&key_of("a")].clone();
        (task.state, task.attempt_number(), task.attempts_used)
    };
    assert_eq!(play("503 retry-after=1s, pass 1s"), (State::Dispatching, 1_001, 0));
    assert_eq!(play("503 retry-after=1s, pass 1m"), (State::Dispatching, 1_002, 1));
    assert_eq!(play("503 retry-after=1s"), (State::Failed, 1_002, 2));
    assert_eq!(play("retry"), (State::Dispatching, 1_003, 0));
    assert_eq!(play("503 retry-after=1s"), (State::Scheduled, 1_003, 0), "an explicit retry begins anew");
}

#[test]
fn a_task_that_was_due_once_is_retried_at_once() {
    check(
        "
        new in=1h, trigger, 404 + retry => a dispatching #2
        new in=1h, cancel       + retry => a scheduled
    ",
    );
}

#[test]
fn after_a_sign_of_life_the_response_still_decides() {
    check("
        new, task_started   + 200  = applied; responded 200, succeeded #1 by response; tell dependents, look
        new, task_started   + 202  = applied; responded 202
        new, task_started   + 503  = applied; responded 503, #1 failed: http_503, retry in 2.1s; look
        new, task_started   + 404  = applied; responded 404, #1 failed: http_404, failed; tell dependents, look
        new, task_started   + lost = applied; no response: connect
        new, task_progress  + lost = applied; no response: connect
        new, task_heartbeat + lost = applied; no response: connect
        new, crash, wake, 202 + lost = applied; no response: connect
        new, task_started, lost + task_completed => a succeeded #1
        new, task_started, lost + pass 59m       => a running #1
    ");
}

#[test]
fn signs_of_life() {
    check(
        "
        new      + task_started         = applied; alive, started #1
        new      + task_progress at=0.5 = applied; alive at 0.5, started #1
        new      + task_heartbeat       = applied; alive, started #1
        new, 202 + task_started         = applied; alive
        new, 202 + task_progress at=0.5 = applied; alive at 0.5
        new, 202 + task_heartbeat       = applied; alive
        new, 202 + #1.task_heartbeat    = applied; alive
    ",
    );
}

#[test]
fn a_webhook_ends_the_attempt() {
    check("
        new, 202                        + task_completed              = applied; succeeded #1; tell dependents, look
        new, 202                        + task_completed result=[1,2] = applied; succeeded #1 with [1,2]; tell dependents, look
        new, 202                        + #1.task_completed           = applied; succeeded #1; tell dependents, look
        new, 202                        + task_failed                 = applied; #1 failed: worker, retry in 2.1s; look
        new, 202                        + task_failed retryable=false = applied; #1 failed: worker, failed; tell dependents, look
        new attempts=1, 202             + task_failed                 = applied; #1 failed: worker, failed; tell dependents, look
        new, 202                        + task_cancelled              = applied; cancelled; tell dependents, look
        new, 503                        + task_cancelled              = applied; cancelled; tell dependents
        new, 202                        + other                       = recorded
        new, 202, task_failed, pass 5s  + 200                         => a succeeded #2
    ");
}

#[test]
fn a_webhook_before_the_response_counts_and_the_response_is_only_recorded() {
    check(
        "
        new                 + task_completed = applied; succeeded #1; tell dependents, look
        new                 + task_failed    = applied; #1 failed: worker, retry in 2.1s; look
        new                 + task_cancelled = applied; cancelled; tell dependents, look
        new, task_completed + 200            = applied; responded 200
        new, task_completed + 503            = applied; responded 503
        new, task_completed + 404            = applied; responded 404
        new, task_completed + lost           = applied; no response: connect
        new, task_failed    + 200            = applied; responded 200
        new, task_cancelled + 200            = applied; responded 200
        new, cancel         + 200            = applied; responded 200
        new, task_failed, pass 5s + #1.200   = applied; responded 200
        new, task_failed, pass 5s + #1.404   => a dispatching #2
    ",
    );
}

#[test]
fn a_late_success_counts() {
    check(
        "
        new, 503                + task_completed    = applied; succeeded #1; tell dependents
        new, 503                + #1.task_completed = applied; succeeded #1; tell dependents
        new, 503, pass 5s       + #1.task_completed = applied; succeeded #1; tell dependents, look
        new, 503, pass 5s, 202  + #1.task_completed = applied; succeeded #1; tell dependents, look
        new, 503, pass 5s, 202, #1.task_completed + #2.task_completed = ignored terminal; noted
        new, 503, pass 5s, #1.task_completed      + #2.200            = applied; responded 200
        new, 202, wait 1h, wake + #1.task_completed = applied; succeeded #1; tell dependents
        limits 1 1, new, b.new, 503, pass 5s      + #1.task_completed => a succeeded #1, b dispatching #1
        new, 202, task_failed retryable=false, retry + #1.task_completed = stale; noted
        new, 202, cancel, retry                   + #1.task_completed = stale; noted
        new, 202, cancel, retry                   + #1.task_completed => a dispatching #2
    ",
    );
}

#[test]
fn an_older_attempt_says_nothing_else() {
    check(
        "
        new, 503, pass 5s + #1.task_failed    = stale; noted
        new, 503, pass 5s + #1.task_progress  = stale; noted
        new, 503, pass 5s + #1.task_heartbeat = stale; noted
        new, 503, pass 5s + #1.task_started   = stale; noted
        new, 503, pass 5s + #1.task_cancelled = stale; noted
        new, 503, pass 5s + #1.task_failed    => a dispatching #2
        new, 503          + task_failed       = ignored attempt_ended; noted
        new, 503          + #1.task_failed    = ignored attempt_ended; noted
        new, 503          + task_progress     = ignored attempt_ended; noted
        new, 503          + task_heartbeat    = ignored attempt_ended; noted
        new, 503          + task_started      = ignored attempt_ended; noted
    ",
    );
}

#[test]
fn an_attempt_that_never_was() {
    check(
        "
        new               + #2.task_completed  = ignored unknown_attempt; noted
        new               + #0.task_completed  = ignored unknown_attempt; noted
        new               + #9.task_heartbeat  = ignored unknown_attempt; noted
        new in=10s        + #1.task_completed  = ignored unknown_attempt; noted
        new, 200          + #2.task_completed  = ignored unknown_attempt; noted
        new external      + #2.task_completed  = ignored unknown_attempt; noted
    ",
    );
}

#[test]
fn a_task_with_a_url_is_not_completed_before_its_first_attempt() {
    check(
        "
        new in=10s                + task_completed = ignored not_started; noted
        new in=10s                + task_failed    = ignored not_started; noted
        new in=10s                + task_heartbeat = ignored not_started; noted
        limits 0 0, new           + task_completed = ignored not_started; noted
        b.new, new after=b        + task_completed = ignored not_started; noted
        limits 1 1, b.new, new, 404, cancel, retry + task_completed = ignored not_started; noted
    ",
    );
}

#[test]
fn a_terminal_state_takes_no_webhook() {
    check(
        "
        new, 202, task_completed              + task_completed    = ignored terminal; noted
        new, 202, task_completed              + task_progress     = ignored terminal; noted
        new, 202, task_completed              + task_failed       = ignored contradiction; noted
        new, 202, task_completed              + task_cancelled    = ignored contradiction; noted
        new, 404                              + task_completed    = ignored contradiction; noted
        new, 404                              + task_failed       = ignored terminal; noted
        new, cancel                           + task_completed    = ignored terminal; noted
        new, cancel                           + task_heartbeat    = ignored terminal; noted
        b.new, new after=b, b.404             + task_completed    = ignored terminal; noted
        new, 200                              + task_completed    = ignored completed_by_response; noted
        new, 200                              + task_progress     = ignored completed_by_response; noted
        new, 200                              + task_failed       = ignored contradiction; noted
        new, 503, pass 5s, 202, task_completed + #1.task_failed   = stale; noted
        new, 503, pass 5s, 404                + #1.task_completed = ignored contradiction; noted
        new, 404, retry, 404                  + #1.task_completed = stale; noted
        new, 503, pass 5s, 200                + #1.task_progress  = stale; noted
    ",
    );
}

#[test]
fn a_task_carries_warnings() {
    let flags = |script| {
        let world = World::after(script);
        let task = &world.tasks[&key_of("a")];
        (task.answered_too_early, task.contradicted)
    };
    assert_eq!(flags("new, 200, task_completed"), (true, false), "it should have answered 202");
    assert_eq!(flags("new, 202, task_completed, task_failed"), (false, true));
    assert_eq!(flags("new, 404, task_completed"), (false, true));
    assert_eq!(flags("new, 202, task_completed, task_completed, task_progress"), (false, false));
    assert_eq!(flags("new, 503, pass 5s, 202, task_completed, #1.task_failed"), (false, false));
    assert_eq!(flags("new, 404, task_completed, retry"), (false, false), "a new life");
}

#[test]
fn external_tasks() {
    check("
        look + new external                              = created a; created, begun #1
        look + new external in=10s                       = created a; created, scheduled
        b.new external + new external after=b            = created a; created, blocked
        new external in=10s, wait 10s + wake             = applied; begun #1
        new external in=10s       + trigger              = applied; triggered, begun #1
        new external              + task_completed       = applied; succeeded #1; tell dependents
        new external              + task_failed          = applied; #1 failed: worker, failed; tell dependents
        new external              + task_cancelled       = applied; cancelled; tell dependents
        new external              + task_progress at=0.2 = applied; alive at 0.2
        new external in=10s       + task_completed       = applied; begun #1, succeeded #1; tell dependents
        new external in=10s       + task_failed          = applied; begun #1, #1 failed: worker, failed; tell dependents
        new external in=10s       + task_cancelled       = applied; cancelled; tell dependents
        new external in=10s       + task_progress        = ignored not_started; noted
        b.new, new external after=b + task_completed     = applied; begun #1, succeeded #1; tell dependents
        b.new, new external after=b + task_failed        = applied; begun #1, #1 failed: worker, failed; tell dependents
        b.new, new external after=b + task_started       = ignored not_started; noted
        new external, task_failed + retry                = applied; reopened, begun #2; tell dependents to wait
        new external, task_failed, retry + task_completed    = applied; succeeded #2; tell dependents
        new external, task_failed, retry + #1.task_completed = stale; noted
        new external, wait 1000h  + wake                 = unchanged
        new external timeout=60s, wait 60s + wake        = applied; #1 failed: timeout, failed; tell dependents
        limits 0 0, new external  + look                 => a running #1
    ");
}

#[test]
fn time() {
    check(
        "
        look                            + new in=10s = created a; created, scheduled
        look                            + new        = created a; created, queued; look
        new in=10s, wait 9s             + wake = unchanged
        new in=10s, wait 10s            + wake = applied; queued; look
        new in=10s, wait 10s, wake      + wake = unchanged
        new, 202, wait 59m              + wake = unchanged
        new, 202, wait 1h               + wake = applied; #1 failed: timeout, retry in 2.1s; look
        new, wait 1h                    + wake = applied; #1 failed: timeout, retry in 2.1s; look
        new, wait 15s                   + wake = applied; look again in 15.0s
        new, wait 14s                   + wake = unchanged
        new timeout=20s, wait 15s       + wake = applied; look again in 5.0s
        new timeout=none, 202, wait 99h + wake = unchanged
        new attempts=1, 202, wait 1h    + wake = applied; #1 failed: timeout, failed; tell dependents, look
        new, 503, wait 5s               + wake = applied; queued; look
        new, 200, wait 99h              + wake = unchanged
        new, cancel, wait 99h           + wake = unchanged
        b.new, new after=b, wait 99h    + wake = unchanged
        look                            + wake = unchanged
    ",
    );
}

#[test]
fn after_a_crash_the_same_attempt_is_sent_again_at_most_three_times() {
    check("
        new, crash                                     + wake = applied; resent #1; send #1, time 2
        new, crash, wake                               + wake = unchanged
        new, crash, wake, crash                        + wake = applied; resent #1; send #1, time 3
        new, crash, wake, crash, wake, crash           + wake = applied; resent #1; send #1, time 4
        new, crash, wake, crash, wake, crash, wake, crash + wake = applied; #1 failed: dispatch_lost, retry in 2.1s; look
        new attempts=1, restart, restart, restart, restart + look => a failed #1
        new, crash, wake                               + 200  = applied; responded 200, succeeded #1 by response; tell dependents, look
        new, crash                                     + task_completed = applied; succeeded #1; tell dependents, look
        new, crash, task_started                       + wake = unchanged
        new, task_started, crash                       + wake = unchanged
        new, 202, crash                                + wake = unchanged
        new, 503, restart                              + look => a scheduled #1
        new, b.new, crash, limits 1 1, wake            + b.wake = applied; b look again in 1.0s
        new, b.new timeout=1500ms, crash, limits 1 1, wake + b.wake = applied; b look again in 500.0ms
        new timeout=60s, wait 30s, crash, wake, wait 28s + wake = applied; look again in 1.0s
        new timeout=60s, wait 30s, crash, wake, wait 29s + wake = applied; #1 failed: timeout, retry in 2.1s; look
        limits 1 1, new, b.new, restart                + a.200 => a succeeded #1, b dispatching #1
    ");
}

#[test]
fn a_stream_of_other_webhooks_does_not_keep_a_lost_exchange_from_being_found() {
    let mut world = World::after("new, 503, pass 5s, b.new, crash, limits 1 1, b.wake, wake");
    let look_again = world.tasks[&key_of("a")].wake_at;
    world.play("wait 500ms, #1.task_heartbeat, #1.404");
    assert_eq!(world.tasks[&key_of("a")].wake_at, look_again);
}

#[test]
fn commands() {
    check(
        "
        new                       + cancel  = applied; cancelled; tell dependents, look
        new, 202                  + cancel  = applied; cancelled; tell dependents, look
        new, 503                  + cancel  = applied; cancelled; tell dependents
        new in=10s                + cancel  = applied; cancelled; tell dependents
        limits 0 0, new           + cancel  = applied; cancelled; tell dependents
        new, cancel               + cancel  = unchanged
        new, 200                  + cancel  = refused: it is succeeded
        new, 404                  + cancel  = refused: it is failed
        b.new, new after=b, b.404 + cancel  = refused: it is skipped
        look                      + cancel  = refused: no such task
        new in=10s                + trigger = applied; triggered, queued; look
        new, 503                  + trigger = applied; triggered, queued; look
        new, 503                  + trigger => a dispatching #2
        new                       + trigger = refused: it is dispatching
        new, 202                  + trigger = refused: it is running
        new, 200                  + trigger = refused: it is succeeded
        limits 0 0, new           + trigger = refused: it is queued
        b.new, new after=b        + trigger = refused: it is blocked
        look                      + trigger = refused: no such task
        new, 404                  + retry   = applied; reopened, queued; look, tell dependents to wait
        new, 404                  + retry   => a dispatching #2
        new, cancel               + retry   = applied; reopened, queued; look, tell dependents to wait
        new in=10s, cancel        + retry   = applied; reopened, scheduled; tell dependents to wait
        new                       + retry   = refused: it is dispatching
        new, 200                  + retry   = refused: it is succeeded
        new, 503                  + retry   = refused: it is scheduled
        look                      + retry   = refused: no such task
    ",
    );
}

#[test]
fn an_explicit_retry_gives_all_attempts_again() {
    check(
        "
        new attempts=2, 503, pass 5s, 503               + look  => a failed #2
        new attempts=2, 503, pass 5s, 503, retry        + 503   => a scheduled #3
        new attempts=2, 503, pass 5s, 503, retry, 503, pass 5s + 503 => a failed #4
        new, cancel, retry                              + #1.200   = applied; responded 200
        new, cancel, retry                              + #1.200  => a dispatching #2
    ",
    );
}

#[test]
fn a_webhook_before_its_task_waits_for_it() {
    check("
        look                                    + task_completed    = unmatched
        look                                    + #3.task_completed = unmatched
        look                                    + other             = recorded
        task_completed                          + new external => a succeeded #1
        task_failed                             + new external => a failed #1
        task_progress, task_completed           + new external => a succeeded #1
        task_failed, task_completed             + new external => a failed #1
        task_completed, task_failed             + new external => a succeeded #1
        task_completed                          + new external = created a; created, begun #1; unpark
        task_completed                          + new external in=10s => a succeeded #1
        task_heartbeat, task_heartbeat, task_heartbeat, task_heartbeat, task_completed + new external => a succeeded #1
        task_completed, wait 24h                + new external => a succeeded #1
        task_completed, wait 24h, wait 1ms      + new external => a running #1
        task_completed, wait 24h, task_failed   + new external => a succeeded #1
        task_completed, wait 24h, wait 1ms, task_failed + new external => a failed #1
        b.new external, task_completed          + new external after=b => a succeeded #1, b running #1
        task_completed                          + new     => a dispatching #1
        task_completed                          + batch a & b after=a => a dispatching #1, b blocked
        task_completed                          + batch a external & b after=a => a succeeded #1, b dispatching #1
    ");
}

#[test]
fn webhooks_that_waited_are_told_what_became_of_them() {
    let outcomes = |script| {
        let world = World::after(script);
        assert!(world.parked.is_empty() || script.contains("24h"), "{:?}", world.parked);
        world.outcomes.values().map(words::outcome).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(outcomes("task_progress, task_completed, new external"), "applied, applied");
    assert_eq!(outcomes("task_completed, task_failed, new external"), "applied, ignored contradiction");
    assert_eq!(outcomes("task_completed, new"), "ignored not_started");
    assert_eq!(outcomes("#1.task_completed, new"), "ignored unknown_attempt");
    assert_eq!(outcomes("task_failed, wait 24h, wait 1ms, new external"), "unmatched");
}

#[test]
fn every_change_names_its_cause() {
    let (b, first) = (key_of("b"), EventKey(1));
    for (script, cause) in [
        ("new external", Cause::Creation),
        ("new", Cause::Queue),
        ("new, 503", Cause::Reply(1)),
        ("new, 503, wait 5s, limits 0 0, wake", Cause::Time),
        ("new, task_completed", Cause::Event(first)),
        ("task_completed, new external", Cause::Event(first)),
        ("new, cancel", Cause::Command),
        ("b.new, new after=b, b.404", Cause::Parent(b)),
        ("b.new, new after=b, b.404, b.retry", Cause::Parent(b)),
        ("once k new external", Cause::Creation),
    ] {
        let world = World::after(script);
        let last = world.history.iter().rfind(|entry| entry.task == key_of("a"));
        assert_eq!(last.map(|entry| entry.cause), Some(cause), "{script}");
    }
}

#[test]
fn only_so_many_webhooks_wait_for_one_task() {
    let mut world = World::after("look");
    let mut last = |step: &str| {
        let steps = world.play(step);
        let event = steps[0].decided.decision.event.is_some();
        (words::decision(&steps[0].decided.decision, key_of("a"), world.now), event)
    };
    for _ in 0..limits::PARKED_PER_TASK_MAX {
        assert_eq!(last("task_heartbeat"), ("unmatched".into(), true));
    }
    assert_eq!(last("task_completed id=1"), ("refused: parking full".into(), false), "it may come again");
    assert_eq!(
        last("b.task_completed id=1"),
        ("unmatched".into(), true),
        "it has not claimed its delivery id"
    );
    assert_eq!(last("new external").0, "created a; created, begun #1; unpark");
    assert_eq!(last("task_completed"), ("applied; succeeded #1; tell dependents".into(), true));
    assert_eq!(world.parked.len(), 1, "all of them were applied but the one for task b");
}

#[test]
fn a_delivery_counts_once() {
    check("
        new, 202, task_progress id=1              + task_progress id=1    = duplicate
        new, 202, task_failed id=1, pass 5s, 202  + task_failed id=1      = duplicate
        new, 202, task_progress id=1              + task_completed id=1   = duplicate
        new, 202, task_progress id=1              + task_completed id=2   = applied; succeeded #1; tell dependents, look
        task_completed id=1                       + task_completed id=1   = duplicate
        task_completed id=1, new external         + task_completed id=1   = duplicate
        other id=1                                + other id=1            = duplicate
        new, 202, task_completed                  + task_completed        = ignored terminal; noted
        new external + task_progress id=1 ; task_failed id=1              => a running #1
        new, 202                                  + rejected              = rejected (bad signature)
        new, 202                                  + rejected              => a running #1
    ");
}

#[test]
fn a_callback_token_stands_for_one_attempt_of_one_task() {
    check(
        "
        new, 202           + #1.task_completed by-token             = applied; succeeded #1; tell dependents, look
        new, 503, pass 5s  + #1.task_failed by-token                = stale; noted
        new, 503, pass 5s  + #1.task_completed by-token             = applied; succeeded #1; tell dependents, look
        new, 202           + #1.task_completed by-token for-another = refused: it names another task
        new, 202           + #1.task_completed by-token for-another => a running #1
        new, 202, #1.task_completed by-token for-another id=1 + #1.task_completed by-token id=1 = applied; succeeded #1; tell dependents, look
        new, 200, prune a  + #1.task_completed by-token             = refused: gone
        new, 200, prune a  + #1.other by-token                      = refused: gone
        new, 200, prune a  + #1.task_completed                      = unmatched
    ",
    );
}

#[test]
fn a_request_with_a_key_happens_once() {
    check(
        "
        once k new external                       + once k new external   = repeated
        once k new external                       + once j new external   = there already a
        once k new external, task_failed          + once k new external   => a failed #1
        new, once k cancel, retry                 + once k cancel         = repeated
        new, once k cancel, retry                 + once k cancel         => a dispatching #2
        once k cancel, new                        + once k cancel         = repeated
        look                                      + once k new ; once k b.new => a dispatching #1
    ",
    );
}

#[test]
fn nothing_starts_without_a_permit() {
    check("
        limits 0 0, new                                 + look => a queued
        limits 1 1, new                                 + b.new => a dispatching #1, b queued
        limits 1 1, new, b.new                          + 202 => a running #1, b dispatching #1
        limits 1 1, new, b.new                          + 503 => a scheduled #1, b dispatching #1
        limits 1 1, new, b.new, task_completed          + look => a succeeded #1, b queued
        limits 1 1, new, b.new, task_completed          + 200 => a succeeded #1, b dispatching #1
        limits 8 1, new, b.new                          + c.new host=2 => a dispatching #1, b queued, c dispatching #1
        limits 8 1, new, b.new, c.new host=2            + c.200 => a dispatching #1, b queued, c succeeded #1
        limits 2 2, new, b.new host=2                   + c.new host=3 => a dispatching #1, b dispatching #1, c queued
        limits 1 1, new, b.new, c.new priority=5        + 200 => a succeeded #1, b queued, c dispatching #1
        limits 1 1, new, b.new, c.new, b.cancel         + 200 => a succeeded #1, b cancelled, c dispatching #1
        new bytes=60000000                              + b.new bytes=60000000 => a dispatching #1, b queued
        new bytes=60000000, b.new bytes=60000000        + c.new bytes=5 => a dispatching #1, b queued, c dispatching #1
        new bytes=60000000, b.new bytes=60000000        + 202 => a running #1, b dispatching #1
        limits 1 1, new, b.new                          + look = unchanged
        limits 1 1, new, b.new, cancel                  + look => a cancelled #1, b queued
    ");
}

#[test]
fn inputs_of_one_transaction_see_each_other() {
    check("
        look                     + new external ; task_completed         => a succeeded #1
        look                     + task_completed ; new external         => a succeeded #1
        look                     + b.new external ; new after=b ; b.task_completed => a dispatching #1, b succeeded #1
        new, 202                 + task_failed ; #1.task_completed       => a succeeded #1
        new, 202                 + cancel ; task_completed               => a cancelled #1
        new                      + new ; new content=x                   => a dispatching #1
        limits 1 1, new, b.new, c.new + a.200 ; b.cancel                 => a succeeded #1, b cancelled, c dispatching #1
        limits 1 1, new, b.new, c.new + a.200 ; look ; look              => a succeeded #1, b dispatching #1, c queued
        limits 1 1, new, b.new, c.new, crash + b.cancel ; look           => a dispatching #1, b cancelled, c dispatching #1
        limits 2 2, new, b.new, c.new, crash + a.wake ; b.wake ; look    => a dispatching #1, b dispatching #1, c queued
    ");
}

#[test]
fn a_decision_that_panics_leaves_the_others_alone() {
    let mut world = World::after("new in=10s, wait 10s");
    let mut subjects = Subjects::default();
    subjects.put_task(key_of("a"), world.tasks.get(&key_of("a")).cloned());
    // Task b was not loaded, which is a defect.
    let webhook = world.webhook(Some(key_of("b")), None, None, EventKind::Heartbeat, None);
    let round = [webhook, Input::Wake(key_of("b")), Input::Wake(key_of("a"))];
    let mut cx = Context {
        now: world.now,
        shown: world.now,
        up_since: world.up_since,
        held: world.held_since,
        full: false,
        permits: world.permits,
    };
    let decided = decide_all(&mut cx, &mut subjects, &round);
    let said: Vec<String> =
        decided.iter().map(|one| words::decision(&one.decision, key_of("a"), world.now)).collect();
    assert_eq!(said, ["quarantined", "quarantined", "applied; queued; look"]);
    assert!(decided[0].decision.event.is_some(), "the webhook is kept");
    assert_eq!(decided.iter().filter(|one| one.defect.is_some()).count(), 2);
}

#[test]
fn one_look_starts_all_that_may_start() {
    let mut world = World::new(1_000, 1_000);
    let template = world.new_task("a");
    let tasks = (1..=400).map(|key| Arc::new(NewTask { key: TaskKey(key), ..template.clone() }));
    let steps = world.commit(vec![Input::Create(Create { tasks: tasks.collect() })]);
    assert_eq!(world.exchanges.len(), 400);
    let most = steps.iter().map(|step| step.decided.decision.effects.len()).max();
    assert_eq!(most, Some(limits::CANDIDATES_MAX), "in several steps");
}

#[test]
fn a_task_says_what_it_waits_for() {
    let waits = |script: &str, dependency: Option<&str>| {
        let world = World::after(script);
        let waiting = waiting_for(&world.tasks[&key_of("a")], dependency, &HeldUp::default());
        waiting.map_or("nothing".into(), |waiting| format!("{}: {}", waiting.code, waiting.text))
    };
    for (script, dependency, expected) in [
        ("b.new, new after=b", Some("b"), "dependency: the end of task b"),
        ("b.new, c.new, new after=b,c", Some("b"), "dependency: the end of task b and of one other task"),
        (
            "b.new, new after=b deadline=30m",
            Some("b"),
            "dependency: the end of task b; its deadline is 2026-11-23T14:30:00.000Z",
        ),
        (
            "limits 0 0, new deadline=2m",
            None,
            "capacity: a free exchange with its target, for attempt 1; its deadline is 2026-11-23T14:02:00.000Z",
        ),
        ("batch a after=b,c,d & b & c & d", Some("b"), "dependency: the end of task b and of 2 other tasks"),
        ("new in=10s", None, "time: its time, 2026-11-23T14:00:10.000Z"),
        ("new, 503", None, "retry: its next attempt, at 14:00:02Z (1 of 8 attempts used up)"),
        ("new, 503 retry-after=10s", None, "retry: its next attempt, at 14:00:10Z (0 of 8 attempts used up)"),
        ("limits 0 0, new", None, "capacity: a free exchange with its target, for attempt 1"),
        ("new", None, "response: the response to attempt 1, until 14:05:00Z"),
        ("new timeout=60s", None, "response: the response to attempt 1, until 14:01:00Z"),
        ("new, 202", None, "callback: the completion webhook of attempt 1, until 15:00:00Z"),
        ("new external", None, "callback: the completion webhook of attempt 1"),
        (
            "new status=2 ask=10s, 202",
            None,
            "callback: the completion webhook of attempt 1, until 15:00:00Z, and then the last word of its remote; \
             its remote is asked at 14:00:10Z",
        ),
        (
            "new status=2 ask=10s, 202, pass 10s",
            None,
            "callback: the completion webhook of attempt 1, until 15:00:00Z, and then the last word of its remote; \
             its remote was asked at 14:00:10Z, and has not \
             answered yet",
        ),
        (
            "new status=2 ask=10s timeout=20s, 202, pass 10s",
            None,
            "callback: the completion webhook of attempt 1, until 14:00:40Z, and then the last word of its remote: \
             its time runs out at 14:00:20Z, but its remote was asked at 14:00:10Z and may still answer",
        ),
        (
            "new heartbeat=30s, 202",
            None,
            "callback: the completion webhook of attempt 1, or a sign of life of its worker, until 14:00:30Z",
        ),
        (
            "new timeout=10m deadline=2m, 202",
            None,
            "callback: the completion webhook of attempt 1, until 14:02:00Z, its deadline",
        ),
        ("new deadline=2m", None, "response: the response to attempt 1, until 14:02:00Z, its deadline"),
        (
            "new heartbeat=30s status=2 ask=10s, 202",
            None,
            "callback: the completion webhook of attempt 1, or a sign of life of its worker, until 14:00:30Z, and then \
             the last word of its remote; its remote is asked at 14:00:10Z",
        ),
        (
            "new status=2 ask=30s timeout=20s, 202, pass 20s",
            None,
            "callback: the last word of its remote, asked at 14:00:20Z about attempt 1, until 14:00:50Z",
        ),
        (
            "new in=1h deadline=30m",
            None,
            "time: its time, 2026-11-23T15:00:00.000Z; its deadline, 2026-11-23T14:30:00.000Z, comes sooner",
        ),
        ("new, 200", None, "nothing"),
        ("new, 404", None, "nothing"),
        ("new, cancel", None, "nothing"),
    ] {
        assert_eq!(waits(script, dependency), expected, "{script}");
    }
}

#[test]
fn a_task_says_what_puts_its_time_out_off() {
    let waits = |script: &str, held_up: &HeldUp| {
        let world = World::after(script);
        let waiting = waiting_for(&world.tasks[&key_of("a")], None, held_up).expect("it waits");
        (waiting.text, waiting.until)
    };
    let at = |seconds: u64| World::after("new").now + std::time::Duration::from_secs(seconds);
    let up_again = HeldUp { up_since: at(60), ..HeldUp::default() };
    let late = "the completion webhook of attempt 1, until 14:01:30Z: its time ran out at 14:00:30Z, before the server's last start";
    assert_eq!(waits("new timeout=30s, 202", &up_again), (late.into(), Some(at(90))));
    let late = "the completion webhook of attempt 1, or a sign of life of its worker, until 14:01:45Z, and then the last word \
                of its remote: its heartbeat ran out at 14:00:45Z, before the server's last start; its remote is asked at 14:00:50Z";
    let beats = waits("new heartbeat=45s status=2 ask=50s, 202", &up_again);
    assert_eq!(beats, (late.into(), Some(at(105))));
    let late = "the completion webhook of attempt 1, until 14:01:30Z: its deadline ran out at 14:00:40Z, before the server's \
                last start";
    assert_eq!(waits("new deadline=40s, 202", &up_again), (late.into(), Some(at(90))));
    // Both are judged at one instant: the deadline first, which waits for nobody.
    let (text, until) = waits("new timeout=30s deadline=40s status=2 ask=20s, 202", &up_again);
    assert!(text.starts_with(late) && !text.contains("last word"), "{text}");
    assert_eq!(until, Some(at(90)));
    let (text, _) = waits("new timeout=2m deadline=2m status=2, 202", &HeldUp::default());
    assert!(
        text.starts_with("the completion webhook of attempt 1, until 14:02:00Z, its deadline;"),
        "{text}"
    );
    let past = HeldUp { now: at(25), ..HeldUp::default() };
    let (text, _) = waits("new status=2 ask=10s timeout=20s, 202, pass 10s", &past);
    assert!(
        text.contains(": its time ran out at 14:00:20Z, but its remote was asked at 14:00:10Z"),
        "{text}"
    );
    let held = HeldUp { held: Some(at(5)), ..HeldUp::default() };
    let (text, _) = waits("new status=2 deadline=2m, 202", &held);
    let asked_first = ", until 14:02:00Z, its deadline: before its time is over, its remote is asked";
    assert!(text.ends_with(asked_first), "{text}");
    let behind = HeldUp { up_since: at(60), now: at(61), ..HeldUp::default() };
    // Nothing answers any more, and nothing is sent again.
    let late = (late.into(), Some(at(90)));
    assert_eq!(waits("new deadline=40s", &behind), late);
    assert_eq!(waits("new deadline=40s request=10s", &behind), late);
    let (text, _) = waits("new timeout=30s", &behind);
    assert!(text.ends_with(": its time ran out at 14:00:30Z, before the server's last start"), "{text}");
    // Of two the one that ran out is named.
    for (script, ran_out) in [
        ("new timeout=30s deadline=2m", ": its time ran out at 14:00:30Z"),
        ("new timeout=2m deadline=30s", ": its deadline ran out at 14:00:30Z"),
    ] {
        let (text, until) = waits(script, &behind);
        let expected = format!("until 14:01:30Z{ran_out}, before the server's last start");
        assert!(text.ends_with(&expected), "{text}");
        assert_eq!(until, Some(at(90)));
    }
    let held_behind = HeldUp { held: Some(at(5)), ..behind };
    let (text, until) = waits("new status=2 timeout=30s deadline=40s, 202", &held_behind);
    assert!(text.contains(": its deadline ran out at 14:00:40Z, before the server's last start"), "{text}");
    assert!(!text.contains("is asked"), "it fails without: {text}");
    assert_eq!(until, Some(at(90)));
    let (text, until) = waits("new status=2 timeout=30s, 202", &held_behind);
    assert!(text.ends_with(": its time ran out at 14:00:30Z, before the server's last start"), "{text}");
    assert_eq!(until, None, "it waits for the last word");
    let held_over = HeldUp { held: Some(at(5)), now: at(40), ..HeldUp::default() };
    let (text, _) = waits("new status=2 timeout=30s, 202", &held_over);
    assert!(text.ends_with(": its time ran out at 14:00:30Z, and its remote is asked first"), "{text}");
    let held = HeldUp { held: Some(at(5)), ..HeldUp::default() };
    let asks_later = "the completion webhook of attempt 1, or the server to be resumed, which is held since \
                      2026-11-23T14:00:05.000Z: before its time is over, its remote is asked";
    assert_eq!(waits("new status=2 timeout=30s, 202", &held), (asks_later.into(), None));
    let asked = HeldUp { held: Some(at(25)), ..HeldUp::default() };
    let last = "the last word of its remote, asked at 14:00:20Z about attempt 1, until 14:00:50Z";
    assert_eq!(waits("new status=2 ask=30s timeout=20s, 202, pass 20s", &asked), (last.into(), Some(at(50))));
    let plain = "the completion webhook of attempt 1, until 14:00:30Z";
    assert_eq!(waits("new timeout=30s, 202", &held), (plain.into(), Some(at(30))), "nobody is to be asked");
    let later = HeldUp { now: at(40), ..HeldUp::default() };
    let no_place = "a free exchange with its remote, for the last question about attempt 1";
    let overdue = "new status=2 ask=400s timeout=30s, 202, limits 0 0, wait 40s, wake";
    assert_eq!(waits(overdue, &later), (no_place.into(), None));
    let (text, _) = waits("new status=2 ask=10s timeout=1h, 202, limits 0 0, wait 40s, wake", &later);
    assert!(text.ends_with("; its remote is asked as soon as an exchange is free"), "{text}");
    let (text, _) = waits("new", &up_again);
    assert!(
        text.starts_with("a free exchange with its target, to be sent again, and then the response"),
        "{text}"
    );
}
