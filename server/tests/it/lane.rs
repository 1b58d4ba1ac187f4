//! The lane, over a store or a target host with which something is wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use taskhook::clock::wall_clock;
use taskhook::engine::commit::Dispatch;
use taskhook::engine::submission::{Draft, Submission};
use taskhook::engine::{Engine, Permit, lane};
use taskhook::store::sqlite::{SqlitePath, SqliteStore, SqliteTransaction};
use taskhook::store::{BatchId, Due, Kept, KeptKey, Store, StoreError};
use taskhook_core::{
    Answered, Asked, ClaimKey, ConcurrencyKey, Failure, Once, QueueKey, Reply, ReplyKind, Request, Response,
    RetryAsked, ScheduleKey, Spec, TaskKey, Timestamp, limits,
};
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

/// How far the clock of the test below is ahead, in seconds.
static AHEAD_SECS: AtomicI64 = AtomicI64::new(0);

fn clock_ahead() -> Timestamp {
    wall_clock() + Duration::from_secs(AHEAD_SECS.load(Ordering::SeqCst).unsigned_abs())
}

/// A task with one attempt.
fn draft(id: String) -> Arc<Draft> {
    let request = Request { method: "POST".into(), url: "http://h:1/".into(), ..Request::default() };
    Arc::new(Draft {
        other_hosts: Default::default(),
        external: None,
        id,
        host: Some("h:1".into()),
        queue: "default".into(),
        source: "default".into(),
        asked: Asked {
            host: None,
            queue: QueueKey::DEFAULT,
            source: taskhook_core::SourceKey::DEFAULT,
            concurrency_key: ConcurrencyKey::NONE,
            unique: None,
            scheduled: None,
            priority: 0,
            run_at: Timestamp::from_secs(0),
            completion: None,
            timeout: None,
            request_timeout: None,
            retry: RetryAsked { max_attempts: Some(1), ..RetryAsked::default() },
            oversight: Default::default(),
            payload_bytes: 0,
        },
        spec: Spec { request: Some(Arc::new(request)), ..Spec::default() },
        content: [0; 16],
    })
}

/// Ends an exchange, as the dispatcher does.
async fn hand_in(engine: &Engine, dispatch: &Dispatch, kind: ReplyKind) {
    let (task, attempt) = (dispatch.task.key, dispatch.attempt);
    let permit = Permit { host: dispatch.task.plan.host.expect("a host"), bytes: 0, poll: false };
    engine
        .hand_in(
            Submission::Reply(Box::new(Reply { task, attempt, kind, external: None, location: None })),
            permit,
        )
        .await;
}

#[tokio::test]
async fn everybody_goes_on_when_a_host_answers_again_and_takes_its_task() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = SqliteStore::open(&SqlitePath(folder.path().join("store.db")), clock_ahead).expect("a store");
    let (send, mut dispatches) = mpsc::unbounded_channel();
    let (_draining, drains) = watch::channel(false);
    let settings = lane::Settings { clock: clock_ahead, ..lane::Settings::default() };
    let (engine, lane) = lane::lane(&settings, send, drains);
    let running = lane::spawn(lane, store).expect("a thread");
    let lost = || ReplyKind::Lost(Failure { code: "connect".into(), message: "nobody listens".into() });
    for number in 0..limits::BREAKER_FAILURES {
        let created = engine.submit(Submission::Create(vec![draft(format!("lost{number}"))])).await;
        created.expect("it is taken");
        let dispatch = dispatches.recv().await.expect("an exchange");
        hand_in(&engine, &dispatch, lost()).await;
    }
    let waiting = (0..3).map(|number| draft(format!("task{number}"))).collect();
    engine.submit(Submission::Create(waiting)).await.expect("it is taken");
    assert!(dispatches.try_recv().is_err(), "the host is out of order");

    AHEAD_SECS.store(31, Ordering::SeqCst);
    let probe = dispatches.recv().await.expect("an exchange");
    assert!(dispatches.try_recv().is_err(), "one at a time");
    // Its place in the queue is not given back: nothing but the host's recovery makes anybody look.
    hand_in(&engine, &probe, ReplyKind::Response(Arc::new(Response { status: 202, ..Response::default() })))
        .await;
    for _ in 0..2 {
        let next = tokio::time::timeout(Duration::from_secs(20), dispatches.recv()).await;
        assert!(next.expect("the others go on").is_some());
    }
    drop(engine);
    running.ended.await.expect("a word of its end").expect("no error");
}
