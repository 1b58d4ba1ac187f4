//! Sources: whose webhooks may report on a task, and how secrets come and go.

mod support;

use std::time::Duration;

use support::World;
use support::words::check;
use taskhook_core::source::{GivenSecret, SourceChange, SourceCommand};
use taskhook_core::{Input, Outcome, Refused, SourceKey, limits};

const HOUR: Duration = Duration::from_secs(3_600);
const SHOP: SourceKey = SourceKey(5);

#[test]
fn only_its_source_its_callback_and_a_key_report_on_a_task() {
    check(
        "
        new, 202                        + task_completed from=5 = ignored source_not_allowed; noted
        new, 202                        + task_failed from=5 => a running #1
        new, 202                        + task_cancelled from=5 => a running #1
        new, 202                        + task_completed from=5 by-token => a succeeded #1
        new, 202                        + task_completed from=5 by-key => a succeeded #1
        source 5, new source=5, 202     + task_completed from=5 => a succeeded #1
        source 5, new source=5, 202     + task_completed => a running #1
        source 5, new source=5, 202     + task_completed by-token => a succeeded #1
        source 5, new source=5, 202     + task_completed by-key => a succeeded #1
        task_completed from=5           + new external => a running #1
        source 5, task_completed from=5 + new external source=5 => a succeeded #1
        source 5, task_completed        + new external source=5 => a running #1
        task_completed from=7 by-key    + new external => a succeeded #1
        hold                            + new source=9 = refused: task 0 names no source
    ",
    );
}

fn secret(id: u8) -> GivenSecret {
    GivenSecret { id: [id; 16], sealed: [id].as_slice().into() }
}

fn define(secrets: Option<&[u8]>) -> SourceCommand {
    let secrets = secrets.map(|ids| ids.iter().map(|id| secret(*id)).collect());
    SourceCommand::Define { definition: "{}".into(), secrets }
}

fn rotate(id: u8, keep: Duration) -> SourceCommand {
    SourceCommand::Rotate { secret: secret(id), keep }
}

fn tell(world: &mut World, command: SourceCommand) -> Outcome {
    world.commit(vec![Input::Source(SHOP, command)]).remove(0).decided.decision.outcome
}

/// Each secret, how long it has been one, and how much longer it is, in seconds.
fn secrets(world: &World) -> Vec<(u8, u64, Option<u64>)> {
    let of = |secret: &taskhook_core::source::Secret| {
        let left = secret.until.map(|until| until.since(world.now).as_secs());
        (secret.id[0], world.now.since(secret.added_at).as_secs(), left)
    };
    world.sources[&SHOP].secrets.iter().map(of).collect()
}

#[test]
fn secrets_stay_where_none_are_given_and_go_where_others_are() {
    let mut world = World::new(10, 10);
    assert_eq!(tell(&mut world, rotate(1, HOUR)), Outcome::Refused(Refused::NoSuchSource { position: 0 }));
    assert_eq!(tell(&mut world, define(Some(&[1, 2]))), Outcome::Defined { new: true });
    world.pass(HOUR);
    assert_eq!(tell(&mut world, define(None)), Outcome::Defined { new: false });
    assert_eq!(secrets(&world), [(1, 3_600, None), (2, 3_600, None)]);
    tell(&mut world, define(Some(&[2, 3])));
    assert_eq!(
        secrets(&world),
        [(2, 3_600, None), (3, 0, None)],
        "what is given again stays as old as it is"
    );
    tell(&mut world, define(Some(&[])));
    assert_eq!(secrets(&world), []);
    assert_eq!(tell(&mut world, SourceCommand::Delete), Outcome::Applied);
    assert_eq!(
        tell(&mut world, SourceCommand::Delete),
        Outcome::Refused(Refused::NoSuchSource { position: 0 })
    );
}

#[test]
fn a_new_secret_ends_the_others_after_a_while() {
    let mut world = World::new(10, 10);
    tell(&mut world, define(Some(&[1])));
    assert_eq!(tell(&mut world, rotate(2, 2 * HOUR)), Outcome::Applied);
    assert_eq!(secrets(&world), [(1, 0, Some(7_200)), (2, 0, None)]);
    // Twice in a row gives the oldest no more time.
    world.pass(HOUR);
    tell(&mut world, rotate(3, 2 * HOUR));
    assert_eq!(secrets(&world), [(1, 3_600, Some(3_600)), (2, 3_600, Some(7_200)), (3, 0, None)]);
    world.pass(HOUR);
    tell(&mut world, rotate(4, Duration::ZERO));
    assert_eq!(secrets(&world), [(4, 0, None)], "with nothing to keep, the others end at once");
    // One that is given again goes on.
    tell(&mut world, rotate(5, HOUR));
    tell(&mut world, define(Some(&[4, 5])));
    assert_eq!(secrets(&world), [(4, 0, None), (5, 0, None)]);
    // One that has ended does not come back by being kept.
    tell(&mut world, rotate(6, HOUR));
    world.pass(HOUR);
    tell(&mut world, define(None));
    assert_eq!(secrets(&world), [(6, 3_600, None)]);
    for id in 7.. {
        if let Outcome::Refused(why) = tell(&mut world, rotate(id, HOUR)) {
            let max = limits::SECRETS_PER_SOURCE_MAX;
            assert_eq!(why, Refused::TooMany { what: "secrets of one source", max });
            assert_eq!(secrets(&world).len(), max);
            break;
        }
    }
}

#[test]
fn there_are_so_many_sources_and_no_more() {
    let mut world = World::new(10, 10);
    let define = |key| Input::Source(SourceKey(key), define(None));
    let others = i64::try_from(limits::SOURCES_MAX).unwrap() - 1;
    let steps = world.commit((1..=others + 1).map(define).collect());
    let refused = steps.iter().filter(|step| matches!(step.decided.decision.outcome, Outcome::Refused(_)));
    assert_eq!(refused.count(), 1, "beside the default one");
    assert_eq!(world.sources.len(), limits::SOURCES_MAX);
    // Those that exist can still be changed.
    let changed = world.commit(vec![define(1)]).remove(0).decided.decision;
    assert_eq!(changed.outcome, Outcome::Defined { new: false });
    assert!(matches!(changed.sources[0].1, SourceChange::Defined { .. }));
}
