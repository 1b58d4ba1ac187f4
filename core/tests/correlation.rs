//! The remote's own ids of tasks: webhooks that name a task by one. `202 remote=x` is a response in which the id `x` was
//! found, `task_completed remote=x` a webhook that names it, `new remote=x` a task that is said to have it.

mod support;

use support::World;
use support::script::key_of;
use support::words::{self, check};
use taskhook_core::{Cause, EventKey, limits};

#[test]
fn a_webhook_may_name_a_task_by_the_remotes_id() {
    check("
        new                                      + 202 remote=x = applied; responded 202, #1 is x, started #1
        new, task_completed remote=x             + 202 remote=x = applied; responded 202, #1 is x, started #1; unpark what names it
        new                                      + 200 remote=x = applied; responded 200, #1 is x, succeeded #1 by response; tell dependents, look
        new, task_completed remote=x             + 200 remote=x = applied; responded 200, #1 is x, succeeded #1 by response; tell dependents, unpark what names it, look
        new                                      + 202 remote=none = applied; responded 202, there is none, started #1
        new, 202 remote=x                        + task_completed remote=x = applied; succeeded #1; tell dependents, look
        new, 202 remote=x                        + task_failed remote=x retryable=false => a failed #1
        new, 202 remote=x                        + task_completed remote=y = unmatched
        new, 202 remote=x                        + other remote=x = recorded
        new external remote=x                    + task_completed remote=x => a succeeded #1
        new external remote=x                    + task_failed remote=x => a failed #1
        new remote=x                             + task_completed remote=x => a succeeded #1
        new in=1h remote=x                       + task_completed remote=x = ignored not_started; noted
        new, 202 remote=x, task_completed        + task_completed remote=x = ignored terminal; noted
    ");
}

/// G7: the remote may be faster than its own response.
#[test]
fn a_webhook_that_comes_before_the_id_is_known_waits_for_it() {
    check(
        "
        new                                               + task_completed remote=x => a dispatching #1
        new, task_completed remote=x                      + 202 remote=x => a succeeded #1
        new, task_failed remote=x retryable=false         + 202 remote=x => a failed #1
        new, task_completed remote=x, task_failed remote=x + 202 remote=x => a succeeded #1
        new, task_completed remote=x                      + 200 remote=x => a succeeded #1
        new, task_completed remote=x                      + 202 remote=y => a running #1
        new, task_completed remote=x, task_completed      + 202 remote=x => a succeeded #1
        task_completed remote=x                           + new external remote=x => a succeeded #1
        task_completed remote=x                           + new remote=x => a dispatching #1
        new in=1h, task_completed remote=x, wait 24h, trigger + 202 remote=x => a succeeded #1
        new in=1h, task_completed remote=x, wait 24h, wait 1s, trigger + 202 remote=x => a running #1
        new, task_completed remote=x, locks 1, 202 remote=x, wait 24h, wait 1s + resume => a succeeded #1
    ",
    );
    let outcomes = |script: &str| {
        let world = World::after(script);
        assert!(world.parked.is_empty(), "{:?}", world.parked);
        world.outcomes.values().map(words::outcome).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(
        outcomes("new, task_progress remote=x, task_completed remote=x, 202 remote=x"),
        "applied, applied"
    );
    assert_eq!(outcomes("new, task_completed remote=x, 200 remote=x"), "ignored completed_by_response");
    assert_eq!(outcomes("task_completed remote=x, new remote=x"), "ignored not_started");
}

/// G8: an id belongs to the attempt in whose response it was found.
#[test]
fn an_id_means_the_attempt_that_it_was_given_for() {
    let of_the_second = "new timeout=20s, 202 remote=x, pass 25s, 202 remote=y";
    check(&format!("
        {of_the_second}                     + task_failed remote=x = stale; noted
        {of_the_second}                     + task_heartbeat remote=x = stale; noted
        {of_the_second}                     + task_completed remote=x = applied; succeeded #1; tell dependents, look
        {of_the_second}                     + task_failed remote=y = applied; #2 failed: worker, retry in 9.1s; look
        new timeout=20s, 202 remote=x, pass 25s, 202 remote=x + task_failed remote=x = applied; #2 failed: worker, retry in 9.1s; look
        new, 202 remote=x, cancel, retry    + task_completed remote=x = stale; noted
        new timeout=20s, 202 remote=x, pass 25s + #2.task_failed remote=x = applied; #2 failed: worker, retry in 9.1s; look
    "));
}

#[test]
fn an_id_of_an_open_task_comes_to_name_no_other() {
    check("
        new, b.new, 202 remote=x                          + b.202 remote=x = applied; b responded 202, b x is a, b started #1
        new, b.new, 202 remote=x, b.202 remote=x          + task_completed remote=x => a succeeded #1, b running #1
        new, b.new, 200 remote=x                          + b.202 remote=x = applied; b responded 202, b #1 is x, b started #1
        new, b.new, 200 remote=x, b.202 remote=x          + task_completed remote=x => a succeeded #1, b succeeded #1
        new, 202 remote=x                                 + b.new external remote=x = refused: the remote id of 0 is taken
        new, 202 remote=x, task_completed                 + b.new external remote=x => a succeeded #1, b running #1
        new external remote=x                             + new external remote=x = there already a
        look                                              + batch a external remote=x & b external remote=x = refused: the remote id of 1 is taken
        new external remote=x, task_failed, b.new external remote=x + retry = refused: the remote id of 0 is taken
        new external remote=x, task_failed, b.new external remote=x, b.task_completed, retry + task_completed remote=x => a succeeded #2, b succeeded #1
        new external remote=x, task_failed, retry         + task_completed remote=x => a succeeded #2
        new, b.new                                        + 202 remote=x ; b.202 remote=x ; task_completed remote=x => a succeeded #1, b running #1
        new                                               + task_completed remote=x ; 202 remote=x => a succeeded #1
        new                                               + 202 remote=x ; task_completed remote=x => a succeeded #1
    ");
}

#[test]
fn what_a_webhook_by_the_remotes_id_changes_names_it_as_its_cause() {
    for script in ["new, 202 remote=x, task_completed remote=x", "new, task_completed remote=x, 202 remote=x"]
    {
        let world = World::after(script);
        let last = world.history.iter().rfind(|entry| entry.task == key_of("a"));
        assert_eq!(last.map(|entry| entry.cause), Some(Cause::Event(EventKey(1))), "{script}");
    }
}

#[test]
fn only_so_many_webhooks_wait_for_one_id() {
    let mut world = World::after("new");
    for _ in 0..limits::PARKED_PER_TASK_MAX {
        world.play("task_heartbeat remote=x");
    }
    let refused = &world.play("task_completed remote=x")[0].decided.decision;
    assert_eq!(words::outcome(&refused.outcome), "refused: parking full");
    assert!(refused.event.is_none(), "it may come again");
    assert_eq!(world.parked.len(), limits::PARKED_PER_TASK_MAX);
    world.play("202 remote=x");
    assert!(world.parked.is_empty());
}
