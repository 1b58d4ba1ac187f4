//! The lane, over a store with which something is wrong.

use taskhook::clock::wall_clock;
use taskhook::engine::lane;
use taskhook::engine::submission::Submission;
use taskhook::store::sqlite::{SqlitePath, SqliteStore, SqliteTransaction};
use taskhook::store::{BatchId, Due, Kept, KeptKey, Store, StoreError};
use taskhook_core::{Answered, ClaimKey, Once, QueueKey, ScheduleKey, TaskKey, Timestamp};
use tokio::sync::{mpsc, watch};

/// A store in which another transaction is in the way of the first look-ups of what is due.
struct InTheWay {
    store: SqliteStore,
    looks: u32,
}

impl Store for InTheWay {
    type Tx<'a> = SqliteTransaction<'a>;

    async fn begin(&mut self, batch: BatchId) -> Result<SqliteTransaction<'_>, StoreError> {
        self.store.begin(batch).await
    }

    async fn was_committed(&mut self, batch: BatchId) -> Result<bool, StoreError> {
        self.store.was_committed(batch).await
    }

    async fn due(&mut self, by: Timestamp, max: usize) -> Result<Due, StoreError> {
        match self.looks.checked_sub(1) {
            Some(left) => {
                self.looks = left;
                Err(StoreError::Conflict)
            }
            None => self.store.due(by, max).await,
        }
    }

    async fn due_schedules(
        &mut self,
        shown: Timestamp,
        max: usize,
    ) -> Result<(Vec<ScheduleKey>, Option<Timestamp>), StoreError> {
        self.store.due_schedules(shown, max).await
    }

    async fn schedules_ahead(&mut self, until: Timestamp) -> Result<Vec<ScheduleKey>, StoreError> {
        self.store.schedules_ahead(until).await
    }

    async fn exchanges(&mut self, by: Timestamp) -> Result<Vec<TaskKey>, StoreError> {
        self.store.exchanges(by).await
    }

    async fn waiting_queues(&mut self) -> Result<Vec<QueueKey>, StoreError> {
        self.store.waiting_queues().await
    }

    async fn kept(&mut self, after: KeptKey, max: usize) -> Result<Vec<Kept>, StoreError> {
        self.store.kept(after, max).await
    }
}

#[tokio::test]
async fn what_is_due_is_looked_for_again_where_another_transaction_was_in_the_way() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = SqliteStore::open(&SqlitePath(folder.path().join("store.db")), wall_clock).expect("a store");
    let (send, _dispatches) = mpsc::unbounded_channel();
    let (_draining, drains) = watch::channel(false);
    let (engine, lane) = lane::lane(&lane::Settings::default(), send, drains);
    let running = lane::spawn(lane, InTheWay { store, looks: 3 }).expect("a thread");
    let once = Once { claim: ClaimKey([0; 16]), request: [0; 16] };
    let answered = Answered { once, status: 200, body: Some(Vec::new()) };
    engine.submit(Submission::Answered(Box::new(answered))).await.expect("it is taken");
    drop(engine);
    running.ended.await.expect("a word of its end").expect("no error");
}
