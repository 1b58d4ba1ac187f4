//! Sources: kept as they were given, and asked for whenever a task names one.

use std::time::Duration;

use taskhook::engine::submission::{Draft, Submission};
use taskhook_core::source::{GivenSecret, SourceCommand};
use taskhook_core::{EventKind, Outcome, Refused, SourceKey, State};

use super::backend::Backend;
use super::world::{World, completed, create, event, external, heard};

fn define(name: &str, definition: &str, secrets: Option<&[u8]>) -> Submission {
    let secrets = secrets.map(|ids| ids.iter().map(|id| secret(*id)).collect());
    Submission::Source(name.into(), SourceCommand::Define { definition: definition.into(), secrets })
}

fn secret(id: u8) -> GivenSecret {
    GivenSecret { id: [id; 16], sealed: [id, 0, 255].as_slice().into() }
}

fn of(source: &str, id: &str) -> Draft {
    Draft { source: source.into(), ..external(id) }
}

fn source_of<B: Backend>(world: &mut World<B>, task: &str) -> SourceKey {
    let key = world.key(task);
    world.backend.task(key).plan.source
}

pub(super) fn a_source_is_kept_as_it_was_given<B: Backend>(world: &mut World<B>) {
    assert_eq!(world.backend.sources().len(), 1, "the one that is always there");
    assert_eq!(world.submit(define("shop", "{\"a\":1}", Some(&[1, 2]))), Outcome::Defined { new: true });
    world.clock.advance(Duration::from_secs(60));
    let rotate = SourceCommand::Rotate { secret: secret(3), keep: Duration::from_secs(7) };
    assert_eq!(world.submit(Submission::Source("shop".into(), rotate)), Outcome::Applied);
    let before = world.backend.all();
    let sources = world.backend.sources();
    world.restart();
    assert_eq!((world.backend.all(), world.backend.sources()), (before, sources.clone()));
    assert_eq!(sources[0].key, SourceKey::DEFAULT);
    assert_eq!((&*sources[1].definition, sources[1].secrets.len()), ("{\"a\":1}", 3));
    assert!(sources[1].secrets[0].until.is_some() && sources[1].secrets[2].until.is_none());
    assert_eq!(&*sources[1].secrets[2].sealed, [3, 0, 255]);
    // Deleted and made again, it has the key that it had: what names it still means it.
    let key = sources[1].key;
    assert_eq!(world.submit(Submission::Source("shop".into(), SourceCommand::Delete)), Outcome::Applied);
    world.restart();
    assert_eq!(world.backend.sources().len(), 1);
    world.settle(&[define("shop", "{}", None)]);
    assert_eq!(world.backend.sources()[1].key, key);
    assert!(world.backend.sources()[1].secrets.is_empty());
}

pub(super) fn a_task_names_a_source_that_exists<B: Backend>(world: &mut World<B>) {
    let none = Outcome::Refused(Refused::NoSuchSource { position: 1 });
    assert_eq!(world.submit(create([external("a"), of("shop", "b")])), none);
    // In one transaction they see each other.
    world.settle(&[define("shop", "{}", None), create([external("a"), of("shop", "b")])]);
    let shop = world.backend.sources()[1].key;
    assert_eq!(source_of(world, "b"), shop);
    assert_eq!(source_of(world, "a"), SourceKey::DEFAULT);
    let gone = Submission::Source("shop".into(), SourceCommand::Delete);
    let committed = world.settle(&[gone, create([of("shop", "c")])]);
    let refused = Outcome::Refused(Refused::NoSuchSource { position: 0 });
    assert_eq!(*committed.receipts[1].outcome(), refused);
    world.restart();
    assert_eq!(source_of(world, "b"), shop, "it stays what it was");
}

pub(super) fn a_parked_webhook_is_still_its_sources<B: Backend>(world: &mut World<B>) {
    world.settle(&[define("shop", "{}", None)]);
    let shop = world.backend.sources()[1].key;
    let from = |number, task: &str, source, by_key| {
        let heard = heard(number, task, EventKind::Completed(None));
        event(taskhook::engine::submission::Heard { source, by_key, ..heard })
    };
    assert_eq!(world.submit(from(1, "mine", shop, false)), Outcome::Unmatched);
    assert_eq!(world.submit(completed(2, "strange")), Outcome::Unmatched);
    assert_eq!(world.submit(from(3, "keyed", SourceKey::DEFAULT, true)), Outcome::Unmatched);
    world.restart();
    world.settle(&[create(["mine", "strange", "keyed"].map(|id| of("shop", id)))]);
    assert_eq!(world.state("mine"), State::Succeeded);
    assert_eq!(world.state("strange"), State::Running);
    assert_eq!(world.state("keyed"), State::Succeeded);
}
