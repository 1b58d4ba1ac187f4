//! What was decided comes back as it was, field by field.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use taskhook::engine::submission::Draft;
use taskhook::store::Transaction;
use taskhook_core::queue::Settings;
use taskhook_core::unique::Until;
use taskhook_core::{
    Asked, Cause, Change, Command, Completion, ConcurrencyKey, Decided, Decision, EventKey, EventKind,
    FollowUp, Ignored, Input, On, Outcome, Plan, QueueKey, Request, Response, RetryAsked, Spec, State,
    Subjects, Task, TaskKey, Unique, UniqueKey, limits,
};

use super::backend::Backend;
use super::world::{START, World, after, create, event, external, failure, heard};

/// A task that leaves nothing out.
fn full(id: &str) -> Draft {
    Draft {
        external: None,
        other_hosts: Default::default(),
        id: id.into(),
        host: Some("h.example:8443".into()),
        queue: "default".into(),
        source: "default".into(),
        asked: Asked {
            host: None,
            queue: QueueKey::DEFAULT,
            source: taskhook_core::SourceKey::DEFAULT,
            concurrency_key: ConcurrencyKey::NONE,
            unique: Some(Unique {
                key: UniqueKey([9; 16]),
                until: Until::For(Duration::from_micros(86_400_000_001)),
            }),
            priority: -100,
            run_at: START + Duration::from_micros(1_234_567),
            completion: Some(Completion::Callback),
            timeout: Some(Some(Duration::from_micros(7_654_321))),
            request_timeout: Some(Duration::from_millis(250)),
            retry: RetryAsked {
                max_attempts: Some(100),
                initial: Some(Duration::from_micros(3)),
                factor: Some(1.1),
                max: Some(limits::RETRY_PAUSE_MAX),
            },
            oversight: Default::default(),
            payload_bytes: 5,
            scheduled: None,
        },
        spec: Spec {
            name: Some("resize".into()),
            concurrency_key: Some("customer 7".into()),
            unique_key: Some("invoice 7".into()),
            request: Some(Arc::new(Request {
                method: "PUT".into(),
                url: "https://h.example:8443/resize?q=ä".into(),
                headers: vec![("x-one".into(), "1".into()), ("x-one".into(), "\"2\"".into())],
                payload: Some(vec![0, 255, b'{', 10, 13]),
            })),
            correlate: Some("response.body.id".into()),
            status: None,
            cancel_url: None,
            signer: None,
            labels: BTreeMap::from([("team".into(), "a,b".into()), ("ü".into(), String::new())]),
            after: Vec::new(),
        },
        content: *b"0123456789abcdef",
    }
}

pub(super) fn every_field_of_a_creation_survives<B: Backend>(world: &mut World<B>) {
    world.settle(&[create([external("parent")])]);
    world.settle(&[create([after(full("full"), &[("parent", On::NotFailed)])])]);
    world.settle(&[create([external("bare")])]);
    let (parent, key) = (world.key("parent"), world.key("full"));
    let host = world.name(3, "h.example:8443").unwrap();
    let check = |world: &mut World<B>| {
        let task = world.backend.task(key);
        let wanted = Plan {
            host: Some(taskhook_core::HostKey(host)),
            ..Plan::of(&full("full").asked, &Settings::default(), START)
        };
        assert_eq!(*task.plan, wanted);
        assert_eq!(
            (task.content, task.created_at, task.state),
            (full("full").content, START, State::Blocked)
        );
        assert_eq!((task.dependencies_pending, task.due_at), (1, wanted.run_at));
        assert_eq!(
            world.backend.edges(),
            [format!("{} after {} on not_failed: pending, generation 0", key.0, parent.0)]
        );
        let specs = world.backend.specs();
        let spec = specs.iter().find(|line| line.starts_with(&format!("{} ", key.0))).unwrap();
        assert_eq!(
            *spec,
            format!(
                "{} resize PUT https://h.example:8443/resize?q=ä [[\"x-one\",\"1\"],[\"x-one\",\"\\\"2\\\"\"]] \
                 {{\"team\":\"a,b\",\"ü\":\"\"}} [[\"parent\",3]] Some(\"\\\\x00\\\\xff{{\\\\n\\\\r\") invoice 7 response.body.id",
                key.0
            )
        );
    };
    check(world);
    world.restart();
    check(world);
}

/// One change by hand, and the task as it must be after it.
fn make<B: Backend>(world: &mut World<B>, key: TaskKey, cause: Cause, change: &Change) -> Task {
    let cx = world.context();
    // The input only names what is to be loaded.
    let input = match change {
        Change::DependencyEnded { parent, generation, end, .. } => {
            let (task, parent, generation, end) = (key, *parent, *generation, *end);
            Input::FollowUp(FollowUp::ParentEnded { task, parent, generation, end })
        }
        Change::DependencyReopened { parent, generation, .. } => {
            let (task, parent, generation) = (key, *parent, *generation);
            Input::FollowUp(FollowUp::ParentReopened { task, parent, generation })
        }
        _ => Input::Command(key, Command::Cancel),
    };
    world.transact(async |tx| {
        let mut subjects = Subjects::default();
        tx.load(&cx, std::slice::from_ref(&input), &mut subjects).await?;
        let decision = Decision::applied(key, [change.clone()]);
        let evolved = subjects.evolved(cx.now, &decision);
        subjects.take_in(cx.now, &decision, evolved);
        tx.save(&[Decided { cause, decision, defect: None }], &subjects).await?;
        Ok(subjects.task(key).unwrap().clone())
    })
}

pub(super) fn every_change_survives<B: Backend>(world: &mut World<B>) {
    world.settle(&[create([external("one"), external("two")])]);
    let parents = [("one", On::Failed), ("two", On::Succeeded)];
    world.settle(&[create([after(full("task"), &parents)])]);
    let (key, one, two) = (world.key("task"), world.key("one"), world.key("two"));
    for (number, (cause, change)) in steps(one, two).into_iter().enumerate() {
        world.clock.advance(Duration::from_millis(1));
        let evolved = make(world, key, cause, &change);
        assert_eq!(world.backend.task(key), evolved, "after change {number}, {change:?}");
    }
    let begun = make(world, two, Cause::Time, &Change::EventIgnored { outcome: Outcome::Stale });
    assert_eq!(world.backend.task(two), begun, "an external task's attempt survives too");
    assert_eq!(world.history("task"), told(one, two));
    let before = world.backend.all();
    world.restart();
    assert_eq!(world.backend.all(), before, "nothing was in memory alone");
}

/// A life with every kind of change in it, each field of which is set at least once.
fn steps(one: TaskKey, two: TaskKey) -> Vec<(Cause, Change)> {
    let response = Response {
        status: 202,
        headers: vec![("content-type".into(), "text/plain".into())],
        body: vec![b'o', b'k', 0],
        truncated: true,
        result: Some((*b"{}").into()),
        no_retry: true,
        retry_after: Some(Duration::from_secs(1)),
    };
    let ended =
        |parent, generation, end, allowed| Change::DependencyEnded { parent, generation, end, allowed };
    let dispatched = |attempt| (Cause::Queue, Change::Dispatched { attempt });
    let queued = || (Cause::Time, Change::Queued);
    let event = Cause::Event(EventKey(41));
    let ignored = |why| Change::EventIgnored { outcome: Outcome::Ignored(why) };
    vec![
        (Cause::Parent(one), ended(one, 0, State::Succeeded, false)),
        (Cause::Parent(one), Change::Skipped { parent: one }),
        (Cause::Parent(one), Change::DependencyReopened { parent: one, generation: 1, was_broken: true }),
        (Cause::Parent(one), Change::Reopened { ignore_dependencies: false }),
        (Cause::Parent(one), Change::Blocked),
        (Cause::Parent(one), Change::DependencyReopened { parent: one, generation: 2, was_broken: false }),
        (Cause::Parent(one), ended(one, 2, State::Failed, true)),
        (Cause::Parent(two), ended(two, 0, State::Succeeded, true)),
        (Cause::Parent(two), Change::Scheduled),
        (Cause::Time, Change::Rearmed { wake_at: START + Duration::from_secs(99) }),
        (Cause::Command, Change::Triggered),
        (Cause::Command, Change::Queued),
        dispatched(1),
        (Cause::Time, Change::Resent { attempt: 1, send: 2 }),
        (event, Change::Alive { progress: Some(0.1), message: Some("a tenth, ü".into()) }),
        (event, Change::Alive { progress: None, message: None }),
        (event, Change::Started { attempt: 1 }),
        (Cause::Reply(1), Change::Responded { attempt: 1, response: Ok(Arc::new(response)) }),
        (Cause::Reply(1), Change::Responded { attempt: 1, response: Err(failure("lost")) }),
        (event, Change::AttemptFailed { attempt: 1, failure: failure("http_500"), counted: true }),
        (event, Change::RetryPlanned { at: START + Duration::from_secs(60) }),
        queued(),
        dispatched(2),
        (Cause::Time, Change::AttemptFailed { attempt: 2, failure: failure("http_429"), counted: false }),
        (Cause::Time, Change::Failed),
        (event, ignored(Ignored::Contradiction)),
        (event, Change::EventIgnored { outcome: Outcome::Stale }),
        (Cause::Command, Change::Reopened { ignore_dependencies: true }),
        (Cause::Command, Change::Queued),
        dispatched(3),
        (event, Change::Cancelled),
        (Cause::Command, Change::Reopened { ignore_dependencies: false }),
        queued(),
        dispatched(4),
        (
            Cause::Reply(4),
            Change::Succeeded { attempt: 4, result: Some((*b"{\"a\":1}").into()), by_response: true },
        ),
        (event, ignored(Ignored::CompletedByResponse)),
        (Cause::Time, Change::Quarantined),
    ]
}

/// What the history says of them.
fn told(one: TaskKey, two: TaskKey) -> Vec<String> {
    let (one, two) = (one.0, two.0);
    vec![
        "+0ns creation: created".into(),
        "+0ns creation: blocked".into(),
        format!(r#"+1ms parent {one}: dependency_ended {{"task":{one},"end":6,"allowed":false}}"#),
        format!(r#"+2ms parent {one}: skipped {{"task":{one}}}"#),
        format!(r#"+3ms parent {one}: dependency_reopened {{"task":{one},"generation":1}}"#),
        format!(r#"+4ms parent {one}: reopened {{"ignore_dependencies":false}}"#),
        format!("+5ms parent {one}: blocked"),
        format!(r#"+6ms parent {one}: dependency_reopened {{"task":{one},"generation":2}}"#),
        format!(
            r#"+7ms parent {one}: dependency_ended {{"task":{one},"generation":2,"end":7,"allowed":true}}"#
        ),
        format!(r#"+8ms parent {two}: dependency_ended {{"task":{two},"end":6,"allowed":true}}"#),
        format!("+9ms parent {two}: scheduled"),
        // The wake-up that found nothing to do is no part of the story.
        "+11ms command: triggered".into(),
        "+12ms command: queued".into(),
        "+13ms queue: dispatched 1".into(),
        r#"+14ms time: resent 1 {"send":2}"#.into(),
        r#"+15ms event 41: alive {"message":"a tenth, ü","progress":0.1}"#.into(),
        "+16ms event 41: alive {}".into(),
        "+17ms event 41: started 1".into(),
        concat!(
            r#"+18ms reply 1: responded 1 {"status":202,"headers":[["content-type","text/plain"]],"#,
            r#""truncated":true} [ok\x00]"#
        )
        .into(),
        r#"+19ms reply 1: responded 1 {"code":"lost","message":"it was lost"}"#.into(),
        r#"+20ms event 41: attempt_failed 1 {"code":"http_500","message":"it was http_500","counted":true}"#
            .into(),
        r#"+21ms event 41: retry_planned {"at":1800000060000000}"#.into(),
        "+22ms time: queued".into(),
        "+23ms queue: dispatched 2".into(),
        r#"+24ms time: attempt_failed 2 {"code":"http_429","message":"it was http_429","counted":false}"#
            .into(),
        "+25ms time: failed".into(),
        r#"+26ms event 41: event_ignored {"outcome":4,"reason":"contradiction"}"#.into(),
        r#"+27ms event 41: event_ignored {"outcome":3}"#.into(),
        r#"+28ms command: reopened {"ignore_dependencies":true}"#.into(),
        "+29ms command: queued".into(),
        "+30ms queue: dispatched 3".into(),
        "+31ms event 41: cancelled".into(),
        r#"+32ms command: reopened {"ignore_dependencies":false}"#.into(),
        "+33ms time: queued".into(),
        "+34ms queue: dispatched 4".into(),
        r#"+35ms reply 4: succeeded 4 {"by_response":true} [{\"a\":1}]"#.into(),
        r#"+36ms event 41: event_ignored {"outcome":4,"reason":"completed_by_response"}"#.into(),
        "+37ms time: quarantined".into(),
    ]
}

pub(super) fn notes_are_bounded_and_ends_are_not<B: Backend>(world: &mut World<B>) {
    world.settle(&[create([external("chatty")])]);
    let max = u64::from(limits::NOTES_PER_TASK_MAX);
    let mut number = 0;
    // The last batch begins within the limit and ends beyond it.
    for count in [max - 10, 7, 7] {
        let batch: Vec<_> = (0..count)
            .map(|_| {
                number += 1;
                event(heard(number, "chatty", EventKind::Heartbeat))
            })
            .collect();
        world.settle(&batch);
    }
    let notes = |world: &mut World<B>| {
        world.history("chatty").iter().filter(|line| line.contains(": alive")).count() as u64
    };
    assert_eq!(notes(world), max, "the first of them are kept, and no more");
    world
        .settle(&[super::world::failed(number + 1, "chatty"), super::world::completed(number + 2, "chatty")]);
    assert_eq!(world.state("chatty"), State::Failed);
    let history = world.history("chatty");
    assert!(history.last().unwrap().ends_with(": failed"), "an end is always told: {:?}", history.last());
    let key = world.key("chatty");
    assert_eq!(world.backend.task(key).notes, number as u32 + 1, "those that are not kept are counted");
    assert!(world.backend.task(key).contradicted, "and what they say about the task is not lost");
}
