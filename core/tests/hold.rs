//! A held server, as tables: what it takes in, and what it does not send.

mod support;

use support::words::check;

#[test]
fn a_held_server_starts_nothing_and_what_is_due_stays_queued() {
    check(
        "
        look                            + hold = applied; held
        hold                            + hold = unchanged
        look                            + hold ends = unchanged
        hold                            + hold ends = applied; resumed
        hold                            + new = created a; created, queued; look
        hold                            + new => a queued
        hold                            + new in=5s => a scheduled
        hold, new in=5s                 + pass 1h => a queued
        hold, new in=5s                 + trigger => a queued
        hold, new                       + b.new after=a => a queued, b blocked
        hold, new                       + cancel => a cancelled
        hold, new, cancel               + retry => a queued
        hold, new                       + look = unchanged
        new                             + hold ; b.new => a dispatching #1, b queued
        new                             + b.new ; hold => a dispatching #1, b queued
        hold, new                       + hold ends ; b.new => a dispatching #1, b dispatching #1
        hold, new                       + once k hold ends => a dispatching #1
        hold                            + new external => a running #1
    ",
    );
}

#[test]
fn what_was_begun_goes_on_while_the_server_is_held() {
    check(
        "
        new, hold                       + 200 => a succeeded #1
        new, hold                       + 202 => a running #1
        new, 202, hold                  + task_progress => a running #1
        new, 202, hold                  + task_completed => a succeeded #1
        new, b.new after=a, hold        + 200 => a succeeded #1, b queued
        new timeout=1m, 202, hold       + pass 59s => a running #1
        new timeout=1m attempts=1, 202, hold + pass 1m => a failed #1
        new timeout=1m, 202, hold       + pass 24h => a queued #1
        new, hold                       + 503 => a scheduled #1
        new, hold, 503                  + pass 24h => a queued #1
        new, hold, 503, pass 24h        + task_completed => a succeeded #1
    ",
    );
}

#[test]
fn a_lost_exchange_is_not_sent_again_until_the_server_is_resumed() {
    check(
        "
        new, hold                       + restart => a dispatching #1
        new, hold, crash                + wake = applied; look again in 15.0s
        new timeout=5s, hold, crash     + wake = applied; look again in 4.0s
        new, hold, restart              + pass 40m => a dispatching #1
        new, hold, restart, pass 40m    + hold ends => a dispatching #1
        new, hold, restart, pass 40m, hold ends + answer 0 200 => a succeeded #1
        new, hold, restart              + task_completed => a succeeded #1
        new timeout=1m attempts=1, hold, restart + pass 1m => a failed #1
        new, crash, hold                + wake = applied; look again in 15.0s
    ",
    );
}

#[test]
fn after_it_is_resumed_everything_that_waits_starts_in_its_turn() {
    check("
        hold, new, b.new                + hold ends => a dispatching #1, b dispatching #1
        hold, new queue=1, queue 2 concurrency=1, b.new queue=2, c.new queue=2 + hold ends => a dispatching #1, b dispatching #1, c queued
        hold, new, restart              + hold ends => a dispatching #1
        hold, new, queue pause          + hold ends => a queued
        hold, new, queue pause, hold ends + queue resume => a dispatching #1
        queue pause, new, hold          + queue resume => a queued
        queue pause, new, hold, queue resume + hold ends => a dispatching #1
        limits 1 1, new, b.new, hold, 200 + hold ends => a succeeded #1, b dispatching #1
        limits 8 1, new, b.new, hold, 200 + hold ends => a succeeded #1, b dispatching #1
        queue key_concurrency=1, new key=1, b.new key=1, hold, 200 + hold ends => a succeeded #1, b dispatching #1
        queue key_concurrency=1, new key=1, b.new key=1, hold, restart, task_completed + hold ends => a succeeded #1, b dispatching #1
        queue key_rate=1/10s, new key=1, b.new key=1, hold + pass 1m => a dispatching #1, b queued
        queue key_rate=1/10s, new key=1, b.new key=1, hold, pass 1m + hold ends => a dispatching #1, b dispatching #1
        queue rate=1/10s, new, b.new, hold + pass 1m => a dispatching #1, b queued
        queue rate=1/10s, new, b.new, hold, pass 1m + hold ends => a dispatching #1, b dispatching #1
        queue rate=1/10s, hold, new, b.new + hold ends => a dispatching #1, b queued
    ");
}

#[test]
fn a_held_server_fires_no_schedule_and_makes_up_for_it_as_after_downtime() {
    check(
        "
        schedule every=1m overlap=allow, hold   + pass 5m -> nothing
        schedule every=1m overlap=allow, hold, pass 5m + hold ends -> 4 from 14:01 to 14:04 missed (newer), 14:05 a
        schedule every=1m overlap=allow, hold, pass 5m, hold ends + pass 1m -> 4 from 14:01 to 14:04 missed (newer), 14:05 a, 14:06 b
        schedule every=1h catch_up=10m, hold, pass 90m + hold ends -> 15:00 missed (too late)
        schedule every=1h, hold                 + schedule trigger => a queued
        schedule every=1h start=0s paused overlap=allow, wait 5h, hold, schedule backfill 4h 2h + pass 1h -> nothing
        schedule every=1h start=0s paused overlap=allow, wait 5h, hold, schedule backfill 4h 2h + hold ends => a dispatching #1, b dispatching #1
    ",
    );
}
