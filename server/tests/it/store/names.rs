//! Names and keys: a name is kept from the moment something exists under it, and not before.

use taskhook_core::{Command, EventKind, On, Outcome, Refused, State};

use super::backend::Backend;
use super::world::{World, after, command, completed, create, event, external, heard, hosted};

pub(super) fn a_refusal_leaves_no_name<B: Backend>(world: &mut World<B>) {
    let before = world.backend.names();
    let always = [(-2, 2, "@cancel".to_string()), (-1, 6, "default".into()), (1, 2, "default".into())];
    assert_eq!(before, always, "the source and the queues that are always there");
    let lonely = after(hosted("lonely", "h:1"), &[("nobody", On::Succeeded)]);
    let refused = world.submit(create([hosted("first", "h:2"), lonely]));
    assert_eq!(refused, Outcome::Refused(Refused::NoSuchDependency { position: 1, dependency: 0 }));
    assert_eq!(world.submit(command("stranger", Command::Cancel)), Outcome::Refused(Refused::NotFound));
    assert_eq!(world.backend.names(), before);
    assert!(world.backend.tasks().is_empty() && world.backend.specs().is_empty());

    // In one transaction with something that succeeds, the refused one leaves nothing either.
    let circle = [after(external("x"), &[("y", On::Finished)]), after(external("y"), &[("x", On::Finished)])];
    world.settle(&[create(circle), create([hosted("good", "h:3")])]);
    let names: Vec<String> = world.backend.names().into_iter().map(|name| name.2).collect();
    assert_eq!(names.len(), 5, "{names:?}");
    assert!(names.contains(&"good".into()) && names.contains(&"h:3".into()), "{names:?}");
}

pub(super) fn a_parked_webhook_shares_its_name_with_the_task<B: Backend>(world: &mut World<B>) {
    assert_eq!(world.submit(completed(1, "early")), Outcome::Unmatched);
    let key = world.key("early");
    assert_eq!(world.backend.parked().len(), 1);
    world.restart();
    world.settle(&[create([external("early")])]);
    assert_eq!(world.key("early"), key);
    assert_eq!(world.state("early"), State::Succeeded);
    assert!(world.backend.parked().is_empty());
    let events = world.backend.events();
    assert!(
        events[0].contains(&format!(" task Some({}) ", key.0)) && events[0].contains(" applied "),
        "{events:?}"
    );

    // The other way round within one transaction: first the webhook, then the task.
    let committed = world.settle(&[completed(2, "twin"), create([external("twin")])]);
    assert_eq!(*committed.receipts[0].outcome(), Outcome::Unmatched);
    assert_eq!(world.state("twin"), State::Succeeded);
    assert!(world.backend.parked().is_empty());
}

pub(super) fn a_parked_webhook_is_about_no_dispatch<B: Backend>(world: &mut World<B>) {
    // By the time the second one is looked at, the first attempt may be in flight.
    for number in 1..=3 {
        world.settle(&[completed(number, "early")]);
    }
    world.settle(&[create([hosted("early", "h")])]);
    assert_eq!(world.state("early"), State::Dispatching);
    let events = world.backend.events();
    assert!(events.iter().all(|event| event.contains(" ignored Some(\"not_started\") ")), "{events:#?}");
}

pub(super) fn a_webhook_that_is_not_parked_leaves_no_name<B: Backend>(world: &mut World<B>) {
    let before = world.backend.names();
    let other = heard(1, "ghost", EventKind::Other(Some("it has no event name")));
    assert_eq!(world.submit(event(other)), Outcome::Recorded(Some("it has no event name")));
    assert_eq!(world.backend.names(), before);
    let events = world.backend.events();
    // Its key may be given to another name one day, and the webhook is not about that one.
    assert!(events[0].contains(" task None Some(\"ghost\") "), "{events:?}");
    world.restart();
    world.settle(&[create([external("somebody else")])]);
    assert_eq!(world.backend.events(), events);
}

pub(super) fn names_of_a_kind_are_their_own<B: Backend>(world: &mut World<B>) {
    world.settle(&[create([hosted("same", "same"), hosted("default", "default")])]);
    let mut keys: Vec<i64> = [(1, "same"), (3, "same"), (1, "default"), (2, "default"), (3, "default")]
        .into_iter()
        .map(|(kind, text)| world.name(kind, text).unwrap())
        .collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 5, "a task, a queue and a host of one name are three things");
    // Case and length are kept as they are.
    world.settle(&[create([external("Same"), external(&"x".repeat(128))])]);
    assert_ne!(world.key("Same"), world.key("same"));
    assert!(world.name(1, &"x".repeat(128)).is_some());
}
