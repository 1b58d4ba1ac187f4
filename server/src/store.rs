//! The seam between decisions and databases: few methods, and nothing behind them decides.
//!
//! Every store runs the same suite (`tests/it/store`): SQLite here, the memory store in `taskhook-sim`.
//! Within a transaction there are six look-ups and no other: by key (names, tasks and what hangs on them, and whether
//! the server is held), ready, edges, parked, claims (of deliveries, requests and unique keys) and the next tasks of a
//! bulk; a sweep finds what is old in a transaction of its own. Between transactions there are due and, after an unknown
//! commit, whether the batch was committed; before the first one two that find what an earlier process left: its open
//! exchanges, and the follow-ups that it kept.

pub mod read;
pub mod row;
pub mod sqlite;

use std::sync::Arc;

use taskhook_core::access::ApiKeyId;
use taskhook_core::retention::{Ages, Place};
use taskhook_core::{
    Asked, BulkKey, Context, Decided, EventKey, FollowUp, HostKey, Input, OversightAsked, QueueKey, Request,
    ScheduleKey, StatusRequest, Subjects, TaskKey, Timestamp,
};

use crate::secrets::credentials::is_for_the_same;

/// A store of everything Taskhook knows. One lane writes to it at a time.
#[expect(
    async_fn_in_trait,
    reason = "a lane owns its store and runs on a thread of its own, so no Send is needed"
)]
pub trait Store {
    /// A transaction on it.
    type Tx<'a>: Transaction
    where
        Self: 'a;

    /// Begins the one transaction of a batch. `batch` is an id that no other batch has.
    async fn begin(&mut self, batch: BatchId) -> Result<Self::Tx<'_>, StoreError>;

    /// After an unknown commit: whether the batch was committed. Once this has answered `false`, it never
    /// will be.
    async fn was_committed(&mut self, batch: BatchId) -> Result<bool, StoreError>;

    /// The tasks, the queues and the bulks whose `wake_at` is not after `by`, earliest first, at most `max` of each (of
    /// bulks as many as a batch may hold); and the earliest of the others.
    async fn due(&mut self, by: Timestamp, max: usize) -> Result<Due, StoreError>;

    /// The schedules whose `wake_at` is not after `shown`, what the machine's clock shows, earliest first, at most `max`;
    /// and the earliest of the others.
    async fn due_schedules(
        &mut self,
        shown: Timestamp,
        max: usize,
    ) -> Result<(Vec<ScheduleKey>, Option<Timestamp>), StoreError>;

    /// The schedules whose instants are decided beyond `until`: what a clock looks at that was set back.
    async fn schedules_ahead(&mut self, until: Timestamp) -> Result<Vec<ScheduleKey>, StoreError>;

    /// The tasks whose request was in flight when they were last saved, and whose `wake_at` is not after `by`; behind them those
    /// that run and whose remote can be asked how they are, if their `wake_at` is not after `polls_by`: what a starting node
    /// looks at first.
    async fn exchanges(&mut self, by: Timestamp, polls_by: Timestamp) -> Result<Vec<TaskKey>, StoreError>;

    /// The queues in which something may be able to start: what a starting node looks at.
    async fn waiting_queues(&mut self) -> Result<Vec<QueueKey>, StoreError>;

    /// Follow-ups that were kept by earlier transactions, behind `after`, in the order they were kept.
    async fn kept(&mut self, after: KeptKey, max: usize) -> Result<Vec<Kept>, StoreError>;

    /// After [`StoreError::Full`]: gives up what is reserved for this, so that what moves begun work can go on. A store without
    /// a reserve has nothing to give.
    async fn make_room(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Whether there is room for new work: what was given up is reserved again.
    async fn has_room(&mut self) -> Result<bool, StoreError> {
        Ok(true)
    }
}

/// One transaction: everything in it becomes true at once, or nothing does.
#[expect(
    async_fn_in_trait,
    reason = "a lane owns its store and runs on a thread of its own, so no Send is needed"
)]
pub trait Transaction {
    /// The time of this transaction; never earlier than that of the one before it.
    fn now(&self) -> Timestamp;

    /// Since when the server is held; `None`: it is not.
    async fn held(&mut self) -> Result<Option<Timestamp>, StoreError>;

    /// The keys of these names, in their order. A name that nobody has yet gets a new key, which is kept only
    /// if a saved decision creates something under it.
    async fn resolve(&mut self, names: &[Name]) -> Result<Vec<i64>, StoreError>;

    /// Keys for so many webhooks, in the order of their receipt.
    async fn event_keys(&mut self, count: usize) -> Result<Vec<EventKey>, StoreError>;

    /// Loads what deciding the round needs, and locks it. Answers the positions of follow-ups whose subject
    /// is locked elsewhere: those cannot be decided now.
    async fn load(
        &mut self,
        cx: &Context,
        round: &[Input],
        subjects: &mut Subjects,
    ) -> Result<Vec<usize>, StoreError>;

    /// Saves what was decided. `subjects` holds the tasks as they are after it.
    async fn save(&mut self, decided: &[Decided], subjects: &Subjects) -> Result<(), StoreError>;

    /// What is sent for these tasks, in their order.
    async fn requests(&mut self, tasks: &[TaskKey]) -> Result<Vec<Outgoing>, StoreError>;

    /// The ids of these tasks, and how their remotes are asked how they are.
    async fn statuses(&mut self, tasks: &[TaskKey]) -> Result<Vec<(String, StatusRequest)>, StoreError>;

    /// Keeps follow-ups for a later transaction.
    async fn keep(&mut self, follow_ups: &[FollowUp]) -> Result<Vec<KeptKey>, StoreError>;

    /// Marks kept follow-ups as taken: their decision is part of this transaction.
    async fn take(&mut self, kept: &[KeptKey]) -> Result<(), StoreError>;

    /// Leaves a kept follow-up aside whose decision fails by a defect.
    async fn quarantine(&mut self, follow_up: &FollowUp) -> Result<(), StoreError>;

    /// One step of a sweep: takes away what [`taskhook_core::retention`] lets go, from a place on. At most `rows_max`
    /// rows go, and what hangs on the last of them. Keys of what went never come back.
    async fn prune(&mut self, from: Place, ages: &Ages, rows_max: usize) -> Result<Pruned, StoreError>;

    /// Writes down who has changed what through the API.
    async fn audit(&mut self, entries: &[AuditEntry]) -> Result<(), StoreError>;

    /// Makes it durable. `Ok` is the only way to a receipt.
    async fn commit(self) -> Result<(), StoreError>;
}

/// What is sent for a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The task's id.
    pub id: String,
    /// The request.
    pub request: Arc<Request>,
    /// How the remote's own id of the task is found in the response, unless the task was created with it.
    pub correlate: Option<Correlate>,
    /// The queue whose secret signs it; `None`: the task's own.
    pub signer: Option<QueueKey>,
}

/// How a remote's own id of a task is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Correlate {
    /// The expression.
    pub expression: String,
    /// The name of the source whose webhooks speak of it.
    pub source: Arc<str>,
}

/// The headers of a task's request that go with the call to its `cancel_url` too: all of them, if that is for the same
/// server.
#[must_use]
pub fn headers_for(
    cancel_url: &str,
    url: Option<&str>,
    headers: Vec<(String, String)>,
) -> Vec<(String, String)> {
    match url {
        Some(url) if is_for_the_same(url, cancel_url) => headers,
        _ => Vec::new(),
    }
}

/// Every host that a task may call.
pub fn hosts_of(asked: &Asked) -> impl Iterator<Item = HostKey> {
    let OversightAsked { status, cancel_host, .. } = asked.oversight;
    asked.host.into_iter().chain(status.and_then(|status| status.host)).chain(cancel_host)
}

/// The id of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub u128);

/// The key of a kept follow-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct KeptKey(pub i64);

/// A kept follow-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Its key.
    pub key: KeptKey,
    /// What is to be done.
    pub follow_up: FollowUp,
}

/// What wants to be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Due {
    /// Tasks, earliest first.
    pub tasks: Vec<TaskKey>,
    /// Queues, earliest first.
    pub queues: Vec<QueueKey>,
    /// Bulks, earliest first; at most [`BULKS_PER_BATCH`](taskhook_core::limits::BULKS_PER_BATCH).
    pub bulks: Vec<BulkKey>,
    /// When the next one behind them is due.
    pub next: Option<Timestamp>,
}

/// One entry of the audit log: a request that has changed something. Its time is that of its transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Who asked, and from where.
    pub author: Arc<Author>,
    /// What was done, such as `task.create`.
    pub action: &'static str,
    /// To what, by its name or id: the first one, where it was done to several.
    pub subject: String,
    /// To how many.
    pub count: usize,
}

/// Who asks for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    /// The id and the name of the API key; `None`: nobody had to say who they are.
    pub key: Option<(ApiKeyId, Arc<str>)>,
    /// The address that the request came from, or `command line`.
    pub address: String,
    /// The id of the request.
    pub request: [u8; 16],
}

/// What one step of a sweep took away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Where the next step begins; `None`: the sweep is through.
    pub next: Option<Place>,
    /// Rows of any kind; never 0 where something was taken away.
    pub rows: usize,
    /// Tasks.
    pub tasks: usize,
    /// Webhooks.
    pub events: usize,
}

/// An outside name. There is one namespace so far; it is part of every stored name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// What it names.
    pub kind: NameKind,
    /// The name itself.
    pub text: String,
}

/// What a name names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NameKind {
    /// A task, by its id.
    Task,
    /// A queue. The store is made with the one called `default`.
    Queue,
    /// A target host, `host:port`.
    Host,
    /// A schedule.
    Schedule,
    /// A bulk, by its id.
    Bulk,
    /// A source. The store is made with the one called `default`.
    Source,
    /// A remote's own id of a task, within the source that speaks of it.
    External,
}

impl Name {
    /// A task's id.
    #[must_use]
    pub fn task(text: &str) -> Name {
        Name { kind: NameKind::Task, text: text.into() }
    }

    /// A queue's name.
    #[must_use]
    pub fn queue(text: &str) -> Name {
        Name { kind: NameKind::Queue, text: text.into() }
    }

    /// A target host.
    #[must_use]
    pub fn host(text: &str) -> Name {
        Name { kind: NameKind::Host, text: text.into() }
    }

    /// A source's name.
    #[must_use]
    pub fn source(text: &str) -> Name {
        Name { kind: NameKind::Source, text: text.into() }
    }

    /// A remote's own id of a task. Names of sources have no line ends.
    #[must_use]
    pub fn external(source: &str, id: &str) -> Name {
        Name { kind: NameKind::External, text: format!("{source}\n{id}") }
    }

    /// A bulk's id.
    #[must_use]
    pub fn bulk(text: &str) -> Name {
        Name { kind: NameKind::Bulk, text: text.into() }
    }

    /// A schedule's name.
    #[must_use]
    pub fn schedule(text: &str) -> Name {
        Name { kind: NameKind::Schedule, text: text.into() }
    }
}

/// What went wrong in a store: one variant for each thing to be done about it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another transaction was in the way. Nothing was committed: decide the same batch again.
    #[error("another transaction was in the way")]
    Conflict,
    /// Whether the batch was committed is not known: ask [`Store::was_committed`].
    #[error("the connection was lost during the commit")]
    Unknown,
    /// There is no room. Nothing was committed: make some, or answer 503, and go on.
    #[error("the disk is full")]
    Full,
    /// The store can no longer be trusted: stop without an answer, and look at it again at the next start.
    #[error("{0}")]
    Broken(String),
}
