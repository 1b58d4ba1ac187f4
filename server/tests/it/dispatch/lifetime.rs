//! From the lane to the hand-in: every exchange that was begun is handed in, once, or left to be sent again.

use std::collections::BTreeSet;

use taskhook::dispatch::Left;
use taskhook::engine::lane;
use taskhook::engine::submission::{Draft, Submission};
use taskhook::store::read::Reader;
use taskhook::store::sqlite::{SqlitePath, SqliteStore};
use taskhook_core::State;
use tokio::sync::watch;

use super::*;

#[tokio::test]
async fn every_exchange_is_handed_in_once() {
    let count = 200;
    let answers = (0..count).map(|_| Answer::Send(http("200 OK", b""))).collect();
    let worker = target(answers).await;
    let mut sending = Sending::start();
    for attempt in 1..=count {
        sending.send(Dispatch { attempt, ..dispatch(post(worker.url("/"))) });
    }
    let mut attempts = BTreeSet::new();
    for _ in 0..count {
        let reply = sending.reply().await;
        assert!(matches!(reply.kind, ReplyKind::Response(_)), "{reply:?}");
        assert!(attempts.insert(reply.attempt), "attempt {} was handed in twice", reply.attempt);
    }
    assert_eq!(attempts, (1..=count).collect());
    assert_eq!(sending.dispatcher.drain(Duration::ZERO).await, Left::default());
    assert!(sending.replies.recv().await.is_none());
}

#[tokio::test]
async fn a_defect_in_sending_is_handed_in_too() {
    let clock = || panic!("the clock is broken");
    let mut sending = Sending::with(Settings { allow_loopback: Arc::new(true.into()), clock, ..settings() });
    for _ in 0..2 {
        let failure = sending.lost(dispatch(post("http://127.0.0.1:1/".into()))).await;
        assert_eq!((failure.code.as_str(), failure.message.contains("a defect")), ("broken", true));
    }
}

#[tokio::test]
async fn draining_waits_for_open_exchanges() {
    let (tell, told) = oneshot::channel();
    let mut worker = target(vec![Answer::SendWhenTold(told, http("200 OK", b""))]).await;
    let Sending { dispatches, mut replies, dispatcher } = Sending::start();
    dispatches.send(dispatch(post(worker.url("/")))).expect("the dispatcher lives");
    worker.seen().await;

    let drained = tokio::spawn(dispatcher.drain(Duration::from_secs(8)));
    dispatches.closed().await;
    tell.send(()).expect("the target waits");
    assert_eq!(drained.await.expect("no panic"), Left::default());
    let (reply, _) = replies.recv().await.expect("it was handed in");
    assert!(matches!(reply.kind, ReplyKind::Response(_)), "{reply:?}");
    assert!(replies.recv().await.is_none(), "nobody holds the way in any more");
}

#[tokio::test]
async fn what_does_not_end_in_time_is_left() {
    let mut worker = target(vec![Answer::SendAndWait(Vec::new())]).await;
    let mut sending = Sending::start();
    sending.send(dispatch(post(worker.url("/"))));
    worker.seen().await;
    let patience = Duration::from_millis(100); // real time: what is tested is that it passes
    assert_eq!(sending.dispatcher.drain(patience).await, Left { unsent: 0, open: 1 });
    assert!(sending.replies.recv().await.is_none());
    worker.given_up.recv().await.expect("the target lives");
}

#[tokio::test]
async fn what_was_not_begun_is_not_begun_while_draining() {
    let mut worker = target(vec![]).await;
    let mut sending = Sending::start();
    // Nothing is awaited in between, so the dispatcher finds both and the word to stop at once.
    sending.send(dispatch(post(worker.url("/"))));
    sending.send(dispatch(post(worker.url("/"))));
    assert_eq!(sending.dispatcher.drain(Duration::from_secs(8)).await, Left { unsent: 2, open: 0 });
    assert!(sending.replies.recv().await.is_none());
    assert!(worker.requests.try_recv().is_err());
}

#[tokio::test]
async fn a_dispatcher_that_is_dropped_gives_up() {
    let mut worker = target(vec![Answer::SendAndWait(Vec::new())]).await;
    let mut sending = Sending::start();
    sending.send(dispatch(post(worker.url("/"))));
    worker.seen().await;
    drop(sending.dispatcher);
    worker.given_up.recv().await.expect("the target lives");
    assert!(sending.replies.recv().await.is_none());
}

#[tokio::test]
async fn what_was_handed_in_is_recorded_before_the_lane_ends() {
    let (tell, told) = oneshot::channel();
    let mut worker = target(vec![Answer::SendWhenTold(told, http("200 OK", b"{\"pages\": 3}"))]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = SqlitePath(folder.path().join("store.db"));
    let store = SqliteStore::open(&path, wall_clock).expect("a store");
    let (dispatches, receiver) = mpsc::unbounded_channel();
    let (_draining, is_draining) = watch::channel(false);
    let (engine, lane) = lane::lane(&lane::Settings::default(), dispatches, is_draining);
    let running = lane::spawn(lane, store).expect("a thread");
    let loopback = Settings { allow_loopback: Arc::new(true.into()), ..settings() };
    let dispatcher = Dispatcher::start(receiver, engine.clone(), Arc::new(secrets()), loopback);

    let task = draft(worker.url("/"));
    engine.submit(Submission::Create(vec![Arc::new(task)])).await.expect("it is created");
    worker.seen().await;
    let drained = tokio::spawn(dispatcher.drain(Duration::from_secs(8)));
    tell.send(()).expect("the target waits");
    assert_eq!(drained.await.expect("no panic"), Left::default());
    drop(engine);
    running.ended.await.expect("a word of its end").expect("no error");

    let reader = Reader::open(&path, Arc::default()).expect("the store");
    let task = reader.task("order-991").await.expect("it is read").expect("it exists");
    assert_eq!(task.task.state, State::Succeeded);
}

fn draft(url: String) -> Draft {
    let dispatch = dispatch(post(url));
    let spec = Spec { request: Some(dispatch.request), ..Spec::default() };
    Draft {
        external: None,
        other_hosts: Default::default(),
        id: dispatch.id,
        host: Some("127.0.0.1".into()),
        queue: "default".into(),
        source: "default".into(),
        asked: Asked::from(&*dispatch.task.plan),
        spec,
        content: [0; 16],
    }
}
