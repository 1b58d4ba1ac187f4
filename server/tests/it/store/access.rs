//! API keys and the audit log: kept as they were decided, in the transaction of what they tell.

use std::sync::Arc;
use std::time::Duration;

use taskhook::engine::submission::Submission;
use taskhook::store::{Author, Transaction};
use taskhook_core::access::{AccessCommand, ApiKey, ApiKeyId, Role};
use taskhook_core::retention::{Ages, Place};
use taskhook_core::{Command, Outcome, Refused, Timestamp};

use super::backend::Backend;
use super::world::{World, command, create, external};

fn key(number: u8, role: Role) -> ApiKey {
    ApiKey {
        id: ApiKeyId([number; 16]),
        name: format!("key{number}").into(),
        role,
        hash: [number; 32],
        hint: "thk_abcd".into(),
        created_at: Timestamp(0),
        expires_at: (number == 2).then_some(Timestamp(i64::MAX)),
    }
}

fn by(number: u8, submission: Submission) -> Submission {
    let key = (number > 0).then(|| (ApiKeyId([number; 16]), format!("key{number}").into()));
    let author = Author { key, address: "10.1.2.3".into(), request: [number; 16] };
    Submission::By(Arc::new(author), Box::new(submission))
}

fn make(key: ApiKey) -> Submission {
    Submission::Access(AccessCommand::CreateKey { key, at_the_store: true })
}

fn revoke(number: u8) -> Submission {
    Submission::Access(AccessCommand::RevokeKey { key: ApiKeyId([number; 16]), at_the_store: false })
}

/// `action subject count`, and whose key it was.
fn told<B: Backend>(world: &mut World<B>) -> Vec<String> {
    let lines = world.backend.access().into_iter().filter(|line| line.contains("Author"));
    let short = |line: String| {
        let key = line.split("key: ").nth(1).and_then(|rest| rest.split("\"key").nth(1)).unwrap_or("none");
        let words: Vec<&str> = line.split(' ').skip(1).take_while(|word| *word != "Author").collect();
        format!("{} by {}", words.join(" "), key.split('"').next().unwrap_or_default())
    };
    lines.map(short).collect()
}

pub(super) fn keys_survive<B: Backend>(world: &mut World<B>) {
    for number in 1..=3 {
        let role = Role::ALL[usize::from(number) - 1];
        assert_eq!(world.submit(make(key(number, role))), Outcome::Applied);
    }
    assert_eq!(world.submit(make(key(3, Role::Read))), Outcome::Refused(Refused::KeyNameTaken));
    let before = world.backend.access();
    assert_eq!(before.len(), 3, "nobody asked, so nobody is written down");
    world.restart();
    assert_eq!(world.backend.access(), before);
    // In one transaction they see each other.
    let committed = world.settle(&[make(key(4, Role::Admin)), revoke(3), revoke(4)]);
    let outcomes: Vec<&Outcome> = committed.receipts.iter().map(|receipt| receipt.outcome()).collect();
    assert_eq!(outcomes, [&Outcome::Applied, &Outcome::Applied, &Outcome::Refused(Refused::LastAdminKey)]);
    world.restart();
    assert_eq!(world.backend.access().len(), 3);
}

pub(super) fn every_change_that_is_asked_for_is_told_once<B: Backend>(world: &mut World<B>) {
    world.settle(&[
        by(1, create([external("a"), external("b")])),
        by(1, create([external("a")])),
        by(2, create([external("a"), external("b"), external("c"), external("d")])),
        by(0, command("a", Command::Cancel)),
        by(1, command("a", Command::Cancel)),
        by(2, command("nobody", Command::Cancel)),
        create([external("e")]),
        by(1, make(key(1, Role::Admin))),
        by(1, revoke(1)),
    ]);
    let wanted =
        ["task.create a 2 by 1", "task.create c 2 by 2", "task.cancel a 1 by none", "key.create key1 1 by 1"];
    assert_eq!(told(world), wanted);
    world.restart();
    assert_eq!(told(world), wanted);
}

pub(super) fn what_was_told_goes_by_its_age<B: Backend>(world: &mut World<B>) {
    world.settle(&[by(1, create([external("a")])), by(1, create([external("b")]))]);
    world.clock.advance(Duration::from_secs(60));
    world.settle(&[by(1, create([external("c")]))]);
    let ages = Ages { audit: Some(Duration::from_secs(30)), ..Ages::NEVER };
    // In steps of one row.
    let mut steps = 0;
    let mut place = Some(Place::Audit);
    while let Some(from) = place {
        place = world.transact(async |tx| tx.prune(from, &ages, 1).await).next;
        steps += 1;
    }
    assert!(steps >= 2, "{steps}");
    assert_eq!(told(world), ["task.create c 1 by 1"]);
}
