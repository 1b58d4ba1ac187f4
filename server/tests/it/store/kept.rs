//! Follow-ups that do not fit into their transaction.

use taskhook::engine::commit::Batch;
use taskhook::store::{Kept, KeptKey, Store, Transaction};
use taskhook_core::{EventKey, FollowUp, On, QueueKey, State, TaskKey};
use taskhook_sim::ready;

use super::backend::Backend;
use super::world::{World, after, create, external, failed};

const LENGTH: usize = 20;

pub(super) fn what_does_not_fit_survives_and_is_taken_once<B: Backend>(world: &mut World<B>) {
    world.settle(&[create([external("link0")])]);
    for at in 1..LENGTH {
        let (link, before) = (format!("link{at}"), format!("link{}", at - 1));
        world.settle(&[create([after(external(&link), &[(&before, On::Succeeded)])])]);
    }
    // The skip down the chain takes two rounds a link: more than one transaction has.
    world.commit(&[failed(1, "link0")]);
    let mut transactions = 1;
    while !world.backlog.is_empty() {
        assert_eq!(world.backend.kept_count(), world.backlog.len());
        let before = world.backlog.clone();
        // Whoever comes after a crash finds what was kept, and nothing that was taken.
        world.restart();
        assert_eq!(world.backlog, before);
        let kept = world.backlog.clone();
        world.commit_batch(&Batch { kept, ..Batch::default() });
        transactions += 1;
        assert!(transactions < 1_000);
    }
    assert!(transactions >= LENGTH / 3, "{transactions} transactions");
    assert_eq!(world.backend.kept_count(), 0);
    for at in 1..LENGTH {
        assert_eq!(world.state(&format!("link{at}")), State::Skipped);
        let history = world.history(&format!("link{at}"));
        assert_eq!(history.iter().filter(|line| line.contains(": skipped")).count(), 1, "{history:#?}");
    }
}

pub(super) fn a_follow_up_left_aside_stays_aside<B: Backend>(world: &mut World<B>) {
    let follow_up = FollowUp::Look(QueueKey::DEFAULT);
    world.transact(async |tx| tx.quarantine(&follow_up).await);
    world.restart();
    assert_eq!(world.backlog, [], "it is not tried again");
    assert_eq!(world.backend.kept_count(), 1, "and not lost");
}

pub(super) fn kept_follow_ups_come_in_order_and_pages<B: Backend>(world: &mut World<B>) {
    let (task, parent) = (TaskKey(7), TaskKey(i64::MIN));
    let all = [
        FollowUp::ParentReopened { task, parent, generation: 0 },
        FollowUp::Look(QueueKey::DEFAULT),
        FollowUp::Unpark { task, after: EventKey(3) },
        FollowUp::EndDependents { parent: task, generation: 2, after: parent },
        FollowUp::ParentEnded { task, parent, generation: u32::MAX, end: State::Skipped },
        FollowUp::ReopenDependents { parent: task, generation: 2, after: TaskKey(i64::MAX) },
    ];
    let keys = world.transact(async |tx| tx.keep(&all).await);
    let mut kept = |after, max| ready(world.backend.store().kept(after, max)).unwrap();
    let mut found: Vec<Kept> = Vec::new();
    loop {
        let page = kept(found.last().map_or(KeptKey(i64::MIN), |last| last.key), 4);
        assert!(page.len() <= 4);
        let Some(_) = page.last() else { break };
        found.extend(page);
    }
    let wanted: Vec<Kept> =
        keys.iter().zip(all).map(|(key, follow_up)| Kept { key: *key, follow_up }).collect();
    assert_eq!(found, wanted, "each of them as it was kept, in the order in which it was kept");

    // A transaction that takes some and does not commit leaves them all.
    let mut tx = ready(world.backend.store().begin(taskhook::store::BatchId(u128::MAX))).unwrap();
    ready(tx.take(&keys[..3])).unwrap();
    drop(tx);
    assert_eq!(world.backend.kept_count(), 6);
    world.transact(async |tx| tx.take(&keys[..3]).await);
    world.restart();
    assert_eq!(world.backlog, wanted[3..]);
}
