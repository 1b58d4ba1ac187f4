//! API keys: there are so many, no two with one name, and never none that could make others.

mod support;

use std::time::Duration;

use support::{BEGINNING, World};
use taskhook_core::access::{AccessChange, AccessCommand, ApiKey, ApiKeyId, Role};
use taskhook_core::{Input, Outcome, Refused, Timestamp, limits};

const HOUR: Duration = Duration::from_secs(3_600);

fn key(number: u16, role: Role, expires_at: Option<Timestamp>) -> ApiKey {
    let mut id = [0; 16];
    id[..2].copy_from_slice(&number.to_be_bytes());
    ApiKey {
        id: ApiKeyId(id),
        name: format!("key {number}").into(),
        role,
        hash: [0; 32],
        hint: "thk_".into(),
        created_at: Timestamp(0),
        expires_at,
    }
}

fn tell(world: &mut World, command: AccessCommand) -> Outcome {
    world.commit(vec![Input::Access(command)]).remove(0).decided.decision.outcome
}

fn create(key: ApiKey) -> AccessCommand {
    AccessCommand::CreateKey { key, at_the_store: false }
}

fn revoke(key: &ApiKey, at_the_store: bool) -> AccessCommand {
    AccessCommand::RevokeKey { key: key.id, at_the_store }
}

#[test]
fn the_last_key_that_could_make_others_stays_unless_the_store_is_at_hand() {
    let mut world = World::new(10, 10);
    let (root, other) = (key(1, Role::Admin, None), key(2, Role::Admin, Some(BEGINNING + HOUR)));
    let write = key(3, Role::Write, None);
    // With it the server would be closed for good.
    assert_eq!(tell(&mut world, create(write.clone())), Outcome::Refused(Refused::AdminKeyFirst));
    for new in [&root, &other, &write] {
        assert_eq!(tell(&mut world, create(new.clone())), Outcome::Applied);
    }
    assert_eq!(world.api_keys[&root.id].created_at, BEGINNING);
    assert_eq!(
        tell(&mut world, create(ApiKey { id: ApiKeyId([9; 16]), ..root.clone() })),
        Outcome::Refused(Refused::KeyNameTaken)
    );
    // One that has expired could make none.
    world.pass(HOUR);
    assert_eq!(tell(&mut world, revoke(&root, false)), Outcome::Refused(Refused::LastAdminKey));
    assert_eq!(tell(&mut world, revoke(&other, false)), Outcome::Applied);
    assert_eq!(tell(&mut world, revoke(&write, false)), Outcome::Applied);
    assert_eq!(tell(&mut world, revoke(&write, true)), Outcome::Refused(Refused::NoSuchKey));
    assert_eq!(tell(&mut world, revoke(&root, true)), Outcome::Applied);
    assert!(world.api_keys.is_empty());
}

#[test]
fn two_who_revoke_each_other_at_a_moment_leave_one() {
    let mut world = World::new(10, 10);
    let (one, other) = (key(1, Role::Admin, None), key(2, Role::Admin, None));
    world.commit([&one, &other].map(|key| Input::Access(create(key.clone()))).into());
    let steps = world.commit([&one, &other].map(|key| Input::Access(revoke(key, false))).into());
    let outcomes: Vec<Outcome> = steps.into_iter().map(|step| step.decided.decision.outcome).collect();
    assert_eq!(outcomes, [Outcome::Applied, Outcome::Refused(Refused::LastAdminKey)]);
    assert_eq!(world.api_keys.keys().collect::<Vec<_>>(), [&other.id]);
}

#[test]
fn there_are_so_many_keys_and_no_more() {
    let mut world = World::new(10, 10);
    let many = u16::try_from(limits::API_KEYS_MAX).unwrap() + 1;
    let create = |number| {
        Input::Access(AccessCommand::CreateKey { key: key(number, Role::Read, None), at_the_store: true })
    };
    let steps = world.commit((0..many).map(create).collect());
    let max = limits::API_KEYS_MAX;
    let refused = Outcome::Refused(Refused::TooMany { what: "API keys", max });
    assert_eq!(steps.last().unwrap().decided.decision.outcome, refused);
    assert_eq!(world.api_keys.len(), max);
}

#[test]
fn secrets_pass_through_as_they_are() {
    let mut world = World::new(10, 10);
    let secrets = vec![("dispatch".into(), [1, 2, 3].as_slice().into())];
    let step = world.commit(vec![Input::Access(AccessCommand::KeepSecrets(secrets.clone()))]).remove(0);
    assert_eq!(step.decided.decision.access, [AccessChange::SecretsKept(secrets)]);
}
