//! Dispatch: real exchanges on loopback, and what is handed in when they end.

mod failure;
mod lifetime;
mod proxy;
mod request;
mod response;
mod target;

use std::sync::Arc;
use std::time::Duration;

use taskhook::clock::wall_clock;
use taskhook::dispatch::{Dispatcher, HandIn, Settings};
use taskhook::engine::Permit;
use taskhook::engine::commit::Dispatch;
use taskhook::engine::submission::Submission;
use taskhook::secrets::{Secrets, Signer};
use taskhook_core::limits::{BODY_BYTES_MAX, MESSAGE_BYTES_MAX, RESPONSE_BYTES_KEPT};
use taskhook_core::{
    Asked, Change, Completion, ConcurrencyKey, Failure, HostKey, NewTask, Plan, QueueKey, Reply, ReplyKind,
    Request, Response, RetryPolicy, Spec, Task, TaskKey, Timestamp,
};
use tokio::sync::{mpsc, oneshot};

use target::{Answer, http, target};

/// Hands in to a channel.
#[derive(Clone)]
struct Replies(mpsc::UnboundedSender<(Reply, Permit)>);

impl HandIn for Replies {
    async fn hand_in(&self, ended: Submission, permit: Permit) {
        let Submission::Reply(reply) = ended else { panic!("nobody was asked: {ended:?}") };
        let _ = self.0.send((*reply, permit));
    }
}

/// A dispatcher, with both of its ends in the hands of the test.
struct Sending {
    dispatches: mpsc::UnboundedSender<Dispatch>,
    replies: mpsc::UnboundedReceiver<(Reply, Permit)>,
    dispatcher: Dispatcher,
}

impl Sending {
    /// May call loopback.
    fn start() -> Sending {
        Sending::with(Settings { allow_loopback: Arc::new(true.into()), ..settings() })
    }

    fn with(settings: Settings) -> Sending {
        let (dispatches, receiver) = mpsc::unbounded_channel();
        let (sender, replies) = mpsc::unbounded_channel();
        let dispatcher = Dispatcher::start(receiver, Replies(sender), Arc::new(secrets()), settings);
        Sending { dispatches, replies, dispatcher }
    }

    fn send(&self, dispatch: Dispatch) {
        self.dispatches.send(dispatch).expect("the dispatcher lives");
    }

    async fn reply(&mut self) -> Reply {
        self.replies.recv().await.expect("the dispatcher lives").0
    }

    /// Sends one attempt, and waits for what is handed in.
    async fn exchange(&mut self, dispatch: Dispatch) -> ReplyKind {
        self.send(dispatch);
        self.reply().await.kind
    }

    async fn response(&mut self, dispatch: Dispatch) -> Arc<Response> {
        match self.exchange(dispatch).await {
            ReplyKind::Response(response) => response,
            other => panic!("no response: {other:?}"),
        }
    }

    async fn lost(&mut self, dispatch: Dispatch) -> Failure {
        match self.exchange(dispatch).await {
            ReplyKind::Lost(failure) => failure,
            other => panic!("not lost: {other:?}"),
        }
    }

    async fn refused(&mut self, dispatch: Dispatch) -> Failure {
        match self.exchange(dispatch).await {
            ReplyKind::NotAllowed(failure) => failure,
            other => panic!("not refused: {other:?}"),
        }
    }
}

fn settings() -> Settings {
    Settings { callback_base: "https://hooks.example".into(), ..Settings::default() }
}

fn secrets() -> Secrets {
    Secrets::new(b"callback key", Signer::new(b"dispatch key"))
}

/// A POST without a body.
fn post(url: String) -> Request {
    Request { method: "POST".into(), url, headers: Vec::new(), payload: None }
}

/// The third attempt of task 7, as it leaves the lane at `now`.
fn dispatch_at(now: Timestamp, request: Request) -> Dispatch {
    let payload_bytes = request.payload.as_ref().map_or(0, Vec::len);
    let plan = Plan {
        host: Some(HostKey(5)),
        queue: QueueKey::DEFAULT,
        source: taskhook_core::SourceKey::DEFAULT,
        concurrency_key: ConcurrencyKey::NONE,
        unique: None,
        priority: 0,
        run_at: now,
        completion: Completion::Auto,
        timeout: Some(Duration::from_secs(3_600)),
        request_timeout: Duration::from_secs(300),
        retry: RetryPolicy::default(),
        oversight: Default::default(),
        payload_bytes: u32::try_from(payload_bytes).expect("it is small"),
        scheduled: None,
    };
    let key = TaskKey(7);
    let new = NewTask {
        external: None,
        key,
        asked: Asked::from(&plan),
        spec: Spec::default(),
        after: Vec::new(),
        content: [0; 16],
    };
    let created = Change::Created { new: Arc::new(new), plan: Arc::new(plan), edges: Vec::new() };
    let mut task = Task::born(now, &created);
    for attempt in 1..=3 {
        task = task.evolve(now, &Change::Dispatched { attempt });
    }
    Dispatch {
        signer: task.plan.queue,
        task,
        id: "order-991".into(),
        attempt: 3,
        send: 1,
        request: Arc::new(request),
        correlate: None,
        poll: None,
    }
}

fn dispatch(request: Request) -> Dispatch {
    dispatch_at(wall_clock(), request)
}

fn with_request_timeout(mut dispatch: Dispatch, request_timeout: Duration) -> Dispatch {
    dispatch.task.plan = Arc::new(Plan { request_timeout, ..Plan::clone(&dispatch.task.plan) });
    dispatch
}

/// 2026-11-23T15:21:37.120Z
fn stopped_clock() -> Timestamp {
    Timestamp(1_795_447_297_120_000)
}
