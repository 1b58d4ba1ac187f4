//! Every decision of Taskhook, without I/O, clocks or randomness.
//!
//! Two functions matter. [`decide`] looks at a subject and at one [`Input`] and says what follows; it
//! cannot fail, wait or look at a clock. [`Task::evolve`] turns a decided [`Change`] into the next state.
//! Everything around them loads rows, saves rows and carries out effects; nothing around them decides.
//!
//! Start reading at [`input`] (what can happen), go on with [`decision`] (what comes out), then `task.rs`.

pub mod access;
pub mod batch;
pub mod bulk;
pub mod create;
pub mod cron;
pub mod decision;
mod draw;
pub mod graph;
pub mod hold;
pub mod id;
pub mod input;
pub mod limits;
pub mod oversight;
pub mod permits;
pub mod planted;
pub mod queue;
pub mod rate;
pub mod retention;
pub mod retry;
pub mod schedule;
pub mod source;
pub mod subjects;
pub mod task;
pub mod time;
pub mod unique;
pub mod waiting;

pub use batch::{Decided, decide, decide_all};
pub use bulk::Bulk;
pub use cron::{BadRecurrence, Occurrence, Recurrence};
pub use decision::{
    BulkChange, Cause, Change, Decision, Effect, Ignored, NotCorrelated, Outcome, QueueChange, Refused,
    ScheduleChange, Unparked, Want,
};
pub use hold::{HoldChange, HoldCommand};
pub use id::{
    BulkKey, ClaimKey, ConcurrencyKey, EventId, EventKey, ExternalKey, HostKey, NameKey, QueueKey,
    ScheduleKey, SourceKey, TaskKey, UniqueKey,
};
pub use input::{
    Answered, Asked, BulkCommand, Callback, Command, Create, Dependency, Event, EventKind, External, Failure,
    FollowUp, Input, NewTask, On, Once, Plan, PollAnswer, Polled, QueueCommand, Received, Reply, ReplyKind,
    Request, Response, RetryAsked, RetryPolicy, ScheduleCommand, Scheduled, Spec,
};
pub use oversight::{Deadline, Location, Oversight, OversightAsked, Status, StatusAsked, StatusRequest};
pub use permits::Permits;
pub use queue::{KeyUse, Line, Queue};
pub use rate::Rate;
pub use schedule::Schedule;
pub use subjects::{CancelCall, Correlation, Edge, EdgeStatus, OpenTask, Parked, Subjects};
pub use task::{Attempt, Completion, Polling, State, Task};
pub use time::Timestamp;
pub use unique::Unique;

/// What a decision may know beside its subject: the time, and what this node can still send.
#[derive(Debug, Clone)]
pub struct Context {
    /// The time of this transaction. Never earlier than that of the one before it.
    pub now: Timestamp,
    /// What the machine's clock shows: by it schedules are due. Unlike `now` it may go back.
    pub shown: Timestamp,
    /// Since when this node has been up. An exchange that began earlier died with the process before.
    pub up_since: Timestamp,
    /// Since when the server is held: nothing is sent and no schedule fires. Read from the store in this transaction.
    pub held: Option<Timestamp>,
    /// There is no room on the disk but for what moves begun work: nothing begins, as on a held server.
    pub full: bool,
    /// The free places for open exchanges. Counted down as a batch is decided.
    pub permits: Permits,
}

impl Context {
    /// Whether nothing is sent and no schedule fires.
    #[must_use]
    pub fn rests(&self) -> bool {
        self.held.is_some_and(|_| !cfg!(planted = "held_server_sends")) || self.full
    }
}
