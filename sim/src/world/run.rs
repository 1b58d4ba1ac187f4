//! One seed from its beginning to its end, and what came of it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::World;
use super::features::{Plan, StoreKind};
use super::ground::{Ground, MemoryGround};
use super::sqlite::SqliteGround;
use crate::model::{Time, Verdict};

/// What must have happened in a thousand seeds, so that nothing holds by not happening.
pub const SOMETIMES: &[&str] = &[
    "a callback before its response",
    "a callback that is faster than an answer",
    "a contradiction",
    "a crash",
    "a crash between commit and effects",
    "a crash within a sweep",
    "a crash within a transaction",
    "a deadline that has passed",
    "a duplicate",
    "a follow-up that was kept",
    "a full disk",
    "a full page of dependents",
    "a host that is in order again",
    "a host that is out of order",
    "a jump of the clock",
    "a late success that is refused",
    "a limit that is reached",
    "a lost callback that is found",
    "a missed heartbeat",
    "a node that starts beside another",
    "a rate that is looked at",
    "a remote that has no such task",
    "a remote that is told of a cancel",
    "a remote that knows nothing once",
    "a request that is repeated",
    "a resend after a crash",
    "a retry by a user",
    "a server that is held",
    "a skipped task",
    "a skipped task that is reopened with its parent",
    "a stale webhook",
    "a status URL in an answer",
    "a step of a sweep",
    "a success during a back-off",
    "a success of an older attempt",
    "a task that is gone after its time",
    "a time-out",
    "a time-out after a last word",
    "a time-out that a start has put off",
    "a transaction of which nobody knew whether it was committed",
    "a transaction that was decided again",
    "a trigger",
    "a user who cancels",
    "a webhook after the end",
    "a webhook applied to a task that came later",
    "a webhook by the remote's own id",
    "a webhook that waits for its task",
    "a worker that cancels",
    "an attempt that ends by its deadline",
    "an attempt that was lost four times",
    "an id that is given again",
    "an instant of a schedule",
    "an instant that is made up for",
];

/// What only a store on a disk can have happen to it, and must have in a thousand seeds on it.
pub const SOMETIMES_ON_DISK: &[&str] = &[
    "a failed sync that has lost something",
    "a log that begins anew",
    "a name of a file that was lost or came back",
    "a power loss",
    "a power loss after the process that a failed sync ended",
    "a process that is stopped in order",
    "a start that its disk forbids",
    "a sync that failed",
    "a write that failed",
    "a write that found no room",
    "a write that outlived one before it",
    "a write that was torn",
    "an unsynced write that was lost",
    "the end of a transaction that the next process tells",
];

/// What must have happened in a thousand seeds on this store.
pub fn sometimes(store: StoreKind) -> impl Iterator<Item = &'static str> {
    let is_on_disk = store == StoreKind::Sqlite;
    let of_many = [
        "a node that starts beside another",
        "a transaction of which nobody knew whether it was committed",
        "a transaction that was decided again",
    ];
    let all = SOMETIMES.iter().filter(move |what| {
        store == StoreKind::Contended || store == StoreKind::Mixed || !of_many.contains(what)
    });
    all.chain(SOMETIMES_ON_DISK.iter().filter(move |_| is_on_disk)).copied()
}

/// What came of a plan.
#[derive(Debug, Clone)]
pub struct Report {
    /// Whether everything held, or what did not.
    pub verdict: Verdict,
    /// The same for the same plan, byte for byte.
    pub hash: u64,
    /// What happened, where it was asked for.
    pub trace: Vec<String>,
    /// How much time passed in it.
    pub passed: Time,
    /// How often what happened.
    pub happened: BTreeMap<&'static str, u64>,
}

/// Lets the world of `plan` happen.
#[must_use]
pub fn run(plan: Plan, is_told: bool) -> Report {
    match plan.store {
        StoreKind::Sqlite => run_on::<SqliteGround>(plan, is_told),
        StoreKind::Mixed | StoreKind::Memory | StoreKind::Contended => run_on::<MemoryGround>(plan, is_told),
    }
}

fn run_on<G: Ground>(plan: Plan, is_told: bool) -> Report {
    let mut world: World<G> = World::new(plan, is_told);
    let verdict = catch_unwind(AssertUnwindSafe(|| world.run()));
    let verdict = verdict.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(format!("a panic: {}", text.unwrap_or_default()))
    });
    Report {
        verdict,
        hash: world.hash,
        passed: world.passed(),
        happened: world.happened(),
        trace: world.trace.unwrap_or_default(),
    }
}
