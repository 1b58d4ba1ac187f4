//! A request happens once under its key, and its repeats are answered as it was.

use std::time::Duration;

use taskhook::engine::submission::Submission;
use taskhook_core::{Answered, ClaimKey, Command, Once, Outcome, limits};

use super::backend::Backend;
use super::world::{World, command, create, external};

const KEY: Once = Once { claim: ClaimKey([7; 16]), request: [8; 16] };

fn once(submission: Submission) -> Submission {
    Submission::Once(KEY, Box::new(submission))
}

fn answered(status: u16, body: Option<&[u8]>) -> Submission {
    Submission::Answered(Box::new(Answered { once: KEY, status, body: body.map(<[u8]>::to_vec) }))
}

pub(super) fn a_request_happens_once_under_its_key<B: Backend>(world: &mut World<B>) {
    let first = world.submit(once(create([external("a"), external("b")])));
    let (a, b) = (world.key("a"), world.key("b"));
    assert_eq!(first, Outcome::Created(vec![(a, true), (b, true)]));
    let (claim, request) = ("07".repeat(16), "08".repeat(16));
    let pending = format!(r#"{claim} {request} +0ns created Some("[{},{}]") answered None"#, a.0, b.0);
    assert_eq!(world.backend.answers(), [pending.as_str()]);

    // Whatever comes under the same key finds it done, in the same transaction or after a restart.
    world.restart();
    let committed = world.settle(&[once(create([external("c")])), once(command("a", Command::Cancel))]);
    assert!(committed.receipts.iter().all(|receipt| *receipt.outcome() == Outcome::Repeated));
    assert_eq!(world.backend.tasks().len(), 2);

    // An answer that is too large to keep leaves what it can be made from again.
    world.clock.advance(Duration::from_secs(1));
    world.settle(&[answered(201, None)]);
    world.restart();
    let made_again = pending.replace("answered None", "answered Some(\"201\")");
    assert_eq!(world.backend.answers(), [made_again]);

    world.settle(&[answered(201, Some(b"{\"id\":\"a\"}\0"))]);
    world.restart();
    let kept =
        format!(r#"{claim} {request} +1s created None answered Some("201 [{{\\\"id\\\":\\\"a\\\"}}\\x00]")"#);
    assert_eq!(world.backend.answers(), [kept]);
    assert_eq!(world.submit(once(create([external("c")]))), Outcome::Repeated);
}

pub(super) fn a_key_may_be_used_again_after_its_time<B: Backend>(world: &mut World<B>) {
    world.settle(&[once(command("nobody", Command::Cancel))]);
    world.clock.advance(limits::IDEMPOTENCY_KEPT_FOR - Duration::from_micros(1));
    assert_eq!(world.submit(once(create([external("a")]))), Outcome::Repeated, "a refusal happened too");
    world.clock.advance(Duration::from_micros(1));
    assert!(matches!(world.submit(once(create([external("a")]))), Outcome::Created(_)));
    assert_eq!(world.backend.answers().len(), 1);
    assert_eq!(world.submit(once(create([external("b")]))), Outcome::Repeated);
}
