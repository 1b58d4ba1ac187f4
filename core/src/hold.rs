//! A held server: it receives, and sends nothing.
//!
//! What is due stays `queued`, lost exchanges are not sent again, and no schedule fires. What was begun goes on: its
//! answers and webhooks are taken, and its time-outs are judged, since its worker works on. Held is a fact of the store,
//! so that it outlives the process; every transaction reads it ([`Context::held`]).

use crate::Context;
use crate::decision::{Decision, Outcome};
use crate::time::Timestamp;

/// A user's command to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldCommand {
    /// Send nothing more.
    Hold,
    /// Go on, with everything that waits.
    Resume,
}

/// A fact about the server, in the past tense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldChange {
    /// It sends nothing any more.
    Held,
    /// It goes on. Whoever wrote this looks at all that may begin, as at a start.
    Resumed,
}

impl HoldChange {
    /// Since when the server is held after it.
    #[must_use]
    pub fn since(self, at: Timestamp) -> Option<Timestamp> {
        match self {
            HoldChange::Held => Some(at),
            HoldChange::Resumed => None,
        }
    }
}

/// What a command means. Held twice, it is held since the first time.
pub fn command(cx: &Context, command: HoldCommand) -> Decision {
    let change = match (command, cx.held) {
        (HoldCommand::Hold, Some(_)) | (HoldCommand::Resume, None) => return Decision::nothing(),
        (HoldCommand::Hold, None) => HoldChange::Held,
        (HoldCommand::Resume, Some(_)) => HoldChange::Resumed,
    };
    let mut decision = Decision::answer(Outcome::Applied);
    decision.hold = Some(change);
    decision
}
