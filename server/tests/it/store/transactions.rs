//! What a transaction is: all or nothing, at one time, and found again.

use std::sync::Arc;
use std::time::Duration;

use taskhook::engine::commit::Batch;
use taskhook::engine::submission;
use taskhook::store::{BatchId, Name, Store, Transaction};
use taskhook_core::{EventKind, FollowUp, On, QueueKey, Request, Subjects, TaskKey, decide_all};
use taskhook_sim::ready;

use super::backend::Backend;
use super::world::{
    START, World, after, answered, completed, create, delivered, event, external, heard, hosted,
};

pub(super) fn a_dropped_transaction_leaves_nothing<B: Backend>(world: &mut World<B>) {
    world.settle(&[create([external("parent")]), completed(1, "late")]);
    world.settle(&[create([after(external("child"), &[("parent", On::Succeeded)])])]);
    world.transact(async |tx| tx.keep(&[FollowUp::Look(QueueKey(1))]).await);
    world.restart();
    let before = world.backend.all();
    let due = world.due(START + Duration::from_secs(99), 99);

    // A transaction that touches every table, up to the commit that never comes.
    let submissions = [
        event(delivered(heard(2, "parent", EventKind::Completed(None)), "delivery")),
        create([external("late"), after(hosted("new", "host"), &[("child", On::Finished)])]),
        completed(3, "unknown"),
    ];
    let mut cx = world.context();
    let kept = world.backlog[0].key;
    for number in 0..3 {
        let mut tx = ready(world.backend.store().begin(BatchId(u128::MAX - number))).unwrap();
        let half_way = ready(async {
            let all: Vec<_> = submissions.iter().collect();
            let mut round = submission::resolve(&mut tx, &all).await?;
            tx.take(&[kept]).await?;
            let mut subjects = Subjects::default();
            while !round.is_empty() {
                let locked = tx.load(&cx, &round, &mut subjects).await?;
                let mut at = 0..;
                round.retain(|_| at.next().is_some_and(|at: usize| !locked.contains(&at)));
                let decided = decide_all(&mut cx, &mut subjects, &round);
                tx.save(&decided, &subjects).await?;
                let follow_ups = decided.iter().flat_map(|one| one.decision.follow_ups.clone());
                round = follow_ups.map(taskhook_core::Input::FollowUp).collect();
            }
            tx.keep(&[FollowUp::Look(QueueKey(2))]).await?;
            tx.quarantine(&FollowUp::Look(QueueKey(3))).await
        });
        drop(tx);
        assert!(matches!(half_way, Ok(()) | Err(taskhook::store::StoreError::Conflict)));
        assert_eq!(world.backend.all(), before);
        assert_eq!(world.due(START + Duration::from_secs(99), 99), due);
    }
    world.restart();
    assert_eq!(world.backend.all(), before);
    // The same batch, once it is committed, has its say.
    world.settle(&submissions);
    assert_eq!(world.backend.tasks().len(), 4);
}

pub(super) fn time_never_goes_back<B: Backend>(world: &mut World<B>) {
    world.clock.advance(Duration::from_secs(5));
    world.settle(&[create([external("a")])]);
    // A new clock on the same store, and it is wrong by five seconds.
    super::world::start_clock();
    let now = world.transact(async |tx| Ok(tx.now()));
    assert_eq!(now, START + Duration::from_secs(5));
    world.restart();
    let now = world.transact(async |tx| Ok(tx.now()));
    assert_eq!(now, START + Duration::from_secs(5), "not even over a restart");
}

pub(super) fn due_tasks_come_earliest_first<B: Backend>(world: &mut World<B>) {
    assert_eq!(world.due(START, 10), taskhook::store::Due::default());
    let at = |seconds| START + Duration::from_secs(seconds);
    let due_at = |id: &str, seconds| {
        let mut draft = external(id);
        draft.asked.run_at = at(seconds);
        draft
    };
    let drafts = [due_at("c", 30), due_at("b", 20), due_at("a", 10), due_at("d", 40), external("never")];
    world.settle(&[create(drafts)]);
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|id| world.key(id));
    let mut check = |by: u64, max: usize, tasks: &[TaskKey], next: Option<u64>| {
        let due = world.due(at(by), max);
        assert_eq!((due.tasks.as_slice(), due.next), (tasks, next.map(at)), "by {by}, at most {max}");
    };
    check(9, 10, &[], Some(10));
    check(10, 10, &[a], Some(20));
    check(30, 10, &[a, b, c], Some(40));
    check(30, 2, &[a, b], Some(30));
    check(30, 0, &[], Some(10));
    check(99, 10, &[a, b, c, d], None);
    // Those that were looked at are no longer due.
    world.clock.set(at(20));
    world.wake();
    let due = world.due(at(99), 10);
    assert_eq!((due.tasks, due.next), (vec![c, d], None));
}

pub(super) fn exchanges_in_flight_are_found<B: Backend>(world: &mut World<B>) {
    world.settle(&[create([hosted("sent", "h"), hosted("answered", "h"), external("tracked")])]);
    let (sent, answered_one) = (world.key("sent"), world.key("answered"));
    world.settle(&[answered(answered_one, 1, 202)]);
    let soon = START + taskhook_core::limits::LOST_AFTER;
    let exchanges = |world: &mut World<B>, by| ready(world.backend.store().exchanges(by, by)).unwrap();
    assert_eq!(exchanges(world, START), []);
    assert_eq!(exchanges(world, soon), [sent]);
    // A process that starts later sends the same attempt again.
    world.clock.advance(Duration::from_secs(1));
    world.restart();
    let lost = exchanges(world, soon);
    let again = world.commit_batch(&Batch { due: lost, ..Batch::default() }).dispatches;
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].task.key, again[0].attempt, again[0].send), (sent, 1, 2));
}

pub(super) fn every_request_comes_back_as_it_was_given<B: Backend>(world: &mut World<B>) {
    let requests = [
        Request { method: "POST".into(), url: "http://h/".into(), headers: vec![], payload: None },
        Request {
            method: "PATCH".into(),
            url: "http://h/?a=b&c".into(),
            headers: vec![],
            payload: Some(vec![]),
        },
        Request {
            method: "PUT".into(),
            url: "http://h/ü".into(),
            headers: vec![("A".into(), "1".into()), ("a".into(), "2".into()), ("b".into(), String::new())],
            payload: Some((0..=255).collect()),
        },
    ];
    let draft = |at: usize, request: &Request| {
        let mut draft = hosted(&format!("task{at}"), "h");
        draft.spec.request = Some(Arc::new(request.clone()));
        draft
    };
    let drafts: Vec<_> = requests.iter().enumerate().map(|(at, request)| draft(at, request)).collect();
    let mut sent = world.settle(&[create(drafts)]).dispatches;
    sent.sort_by_key(|dispatch| dispatch.task.key);
    let found: Vec<(String, Request)> =
        sent.iter().map(|one| (one.id.clone(), (*one.request).clone())).collect();
    let wanted: Vec<(String, Request)> =
        requests.into_iter().enumerate().map(|(at, request)| (format!("task{at}"), request)).collect();
    assert_eq!(found, wanted);

    // In the order in which they are asked for, a name that was parked first included.
    let [first, last] = ["task0", "task2"].map(|id| world.key(id));
    let ids = world.transact(async |tx| {
        let asked = tx.requests(&[last, first]).await?;
        Ok(asked.into_iter().map(|outgoing| outgoing.id).collect::<Vec<_>>())
    });
    assert_eq!(ids, ["task2", "task0"]);
    let known = world.transact(async |tx| tx.resolve(&[Name::task("task2"), Name::task("task0")]).await);
    assert_eq!(known, [last.0, first.0]);
}
