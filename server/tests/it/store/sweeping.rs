//! A sweep beside a writer that has no rest.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use taskhook::engine::lane;
use taskhook::engine::submission::Submission;
use taskhook::store::{BatchId, Due, Kept, KeptKey, Store, StoreError};
use taskhook_core::retention::Ages;
use taskhook_core::{Answered, ClaimKey, Command, Once, QueueKey, ScheduleKey, TaskKey, Timestamp, limits};
use taskhook_sim::MemoryStore;
use taskhook_sim::memory::MemoryTransaction;
use tokio::sync::{mpsc, watch};

use super::backend::{Backend, Memory};
use super::world::{START, World, command, create, external};

const HOUR: Duration = Duration::from_secs(3_600);

fn two_hours_later() -> Timestamp {
    START + 2 * HOUR
}

/// A store that notes how many tasks there are as each of its transactions begins.
struct Noting {
    store: MemoryStore,
    eyes: MemoryStore,
    notes: Arc<Mutex<Vec<usize>>>,
}

impl Store for Noting {
    type Tx<'a> = MemoryTransaction<'a>;

    async fn begin(&mut self, batch: BatchId) -> Result<MemoryTransaction<'_>, StoreError> {
        self.notes.lock().unwrap().push(self.eyes.tasks().len());
        self.store.begin(batch).await
    }

    async fn was_committed(&mut self, batch: BatchId) -> Result<bool, StoreError> {
        self.store.was_committed(batch).await
    }

    async fn due(&mut self, by: Timestamp, max: usize) -> Result<Due, StoreError> {
        self.store.due(by, max).await
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

    async fn exchanges(&mut self, by: Timestamp, polls_by: Timestamp) -> Result<Vec<TaskKey>, StoreError> {
        self.store.exchanges(by, polls_by).await
    }

    async fn waiting_queues(&mut self) -> Result<Vec<QueueKey>, StoreError> {
        self.store.waiting_queues().await
    }

    async fn kept(&mut self, after: KeptKey, max: usize) -> Result<Vec<Kept>, StoreError> {
        self.store.kept(after, max).await
    }
}

#[tokio::test]
async fn a_sweep_goes_on_under_load_and_takes_one_step_between_many_batches() {
    let mut world = World::<Memory>::new();
    for number in 0..300 {
        let id = format!("t{number}");
        world.settle(&[create([external(&id)])]);
        world.settle(&[command(&id, Command::Cancel)]);
    }
    world.clock.advance(2 * HOUR);
    let (send, _dispatches) = mpsc::unbounded_channel();
    let (_draining, drains) = watch::channel(false);
    let retention = Ages { tasks: Some(HOUR), ..Ages::NEVER };
    let settings = lane::Settings { clock: two_hours_later, retention, ..lane::Settings::default() };
    let (engine, lane) = lane::lane(&settings, send, drains);
    // All of them wait before the first batch begins, so that the writer has no rest until the last one is settled.
    let asks = (0..limits::CHANNEL_INPUTS_MAX).map(|number| {
        let once = Once { claim: ClaimKey((number as u128).to_be_bytes()), request: [0; 16] };
        let engine = engine.clone();
        let answered = Answered { once, status: 200, body: Some(Vec::new()) };
        tokio::spawn(async move { engine.submit(Submission::Answered(Box::new(answered))).await.map(drop) })
    });
    let asks: Vec<_> = asks.collect();
    tokio::task::yield_now().await;
    let notes = Arc::new(Mutex::new(Vec::new()));
    let (store, eyes) = (world.backend.store().reopen(), world.backend.store().reopen());
    let running = lane::spawn(lane, Noting { store, eyes, notes: notes.clone() }).unwrap();
    for ask in asks {
        ask.await.unwrap().unwrap();
    }
    drop(engine);
    running.ended.await.unwrap().unwrap();

    let notes = notes.lock().unwrap().clone();
    let (batches, step) = (limits::BATCHES_PER_SWEEP_STEP as usize, limits::PRUNED_ROWS_MAX);
    // As many batches, then a step, and as many again.
    assert!(notes[..=batches].iter().all(|tasks| *tasks == 300), "{notes:?}");
    let behind = &notes[batches + 1..=2 * batches + 1];
    assert!(behind.iter().all(|tasks| *tasks == behind[0]), "{notes:?}");
    assert!((1..=step).contains(&(300 - behind[0])), "{notes:?}");
    assert!(notes[2 * batches + 2] < behind[0], "{notes:?}");
}
