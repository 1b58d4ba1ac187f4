//! Webhooks are kept, and each delivery counts once.

use taskhook_core::{EventId, EventKind, Outcome, State, limits};

use super::backend::Backend;
use super::world::{World, create, delivered, event, external, heard};

pub(super) fn a_delivery_counts_once<B: Backend>(world: &mut World<B>) {
    world.settle(&[create([external("a")])]);
    let first = delivered(heard(1, "a", EventKind::Progress(Some(0.5), None)), "delivery");
    let second = delivered(heard(2, "a", EventKind::Completed(None)), "delivery");
    let third = delivered(heard(3, "b", EventKind::Completed(None)), "delivery");
    let first_id = EventId(1_u128.to_be_bytes());

    // In one transaction the second sees the claim of the first …
    let committed = world.settle(&[event(first), event(second)]);
    let outcomes: Vec<_> = committed.receipts.iter().map(|receipt| receipt.outcome().clone()).collect();
    assert_eq!(outcomes, [Outcome::Applied, Outcome::Duplicate(first_id)]);
    assert_eq!(committed.receipts[1].event(), Some(first_id));
    // … and so does everybody later, whatever they say.
    world.restart();
    assert_eq!(world.submit(event(third)), Outcome::Duplicate(first_id));
    assert_eq!(world.state("a"), State::Running);

    let claims = world.backend.claims();
    assert_eq!(claims.len(), 1);
    assert!(claims[0].ends_with(&format!("by {:032X}", 1)), "{claims:?}");
    let events = world.backend.events();
    assert!(events[0].contains(" applied ") && events[0].ends_with(r#"\"task_id\":\"a\"}]"#), "{events:?}");
    for duplicate in &events[1..] {
        let original = format!(" duplicate None original {:032X} ", 1);
        assert!(duplicate.contains(&original) && duplicate.ends_with(" [] []"), "{duplicate}");
    }
}

pub(super) fn a_refused_webhook_claims_nothing<B: Backend>(world: &mut World<B>) {
    let many: Vec<_> = (0..limits::PARKED_PER_TASK_MAX as u64)
        .map(|number| event(heard(number + 1, "late", EventKind::Heartbeat)))
        .collect();
    world.settle(&many);
    let one_more = |number| event(delivered(heard(number, "late", EventKind::Completed(None)), "again"));
    let full = Outcome::Refused(taskhook_core::Refused::ParkingFull);
    assert_eq!(world.submit(one_more(1_001)), full);
    assert_eq!(world.backend.claims(), [] as [String; 0]);
    assert_eq!(world.backend.events().len(), many.len(), "what was refused is not kept");
    world.settle(&[create([external("late")])]);
    assert_eq!(world.submit(one_more(1_002)), Outcome::Applied);
    assert_eq!(world.backend.claims().len(), 1);
}

pub(super) fn rejected_ones_are_bounded_and_the_newest_stay<B: Backend>(world: &mut World<B>) {
    world.settle(&[create([external("a")]), event(heard(1, "a", EventKind::Heartbeat))]);
    let reject = |number| event(heard(number, "a", EventKind::Rejected("the signature is wrong".into())));
    let beyond = 7;
    let numbers: Vec<u64> = (2..2 + limits::REJECTED_KEPT_MAX as u64 + beyond).collect();
    for some in numbers.chunks(limits::BATCH_INPUTS_MAX) {
        let some: Vec<_> = some.iter().map(|number| reject(*number)).collect();
        world.settle(&some);
    }
    let events = world.backend.events();
    assert_eq!(events.len(), 1 + limits::REJECTED_KEPT_MAX, "and the one that counted");
    let id = |number: u64| format!(" {number:032X} ");
    assert!(events[0].contains(&id(1)) && events[0].contains(" applied "), "{}", events[0]);
    assert!(
        events[1].contains(&id(2 + beyond)) && events[1].contains("the signature is wrong"),
        "{}",
        events[1]
    );
    assert!(events.last().unwrap().contains(&id(*numbers.last().unwrap())));
    let notes = world.history("a").iter().filter(|line| line.contains(" event ")).count();
    assert_eq!(notes, 1, "nobody may add to a task's story without a signature");
}
