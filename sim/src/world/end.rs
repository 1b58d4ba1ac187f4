//! How a process ends, and what that means for those who wait for it.

use std::collections::VecDeque;

use super::features::Feature;
use super::ground::Ground;
use super::node::{Ask, From, Leaving};
use super::{Happening, SECOND, World};
use crate::model::Verdict;

impl<G: Ground> World<G> {
    /// A process is stopped in order.
    pub(super) fn stops(&mut self, node: usize) -> Verdict {
        let Some(process) = self.nodes[node].take() else { return Ok(()) };
        self.note("a process that is stopped in order");
        self.plans_trouble(60);
        self.ground.closes(process.store.inner)?;
        self.is_gone(node, "is stopped", process.inbox, process.outbox)
    }

    /// A process dies.
    pub(super) fn crashes(&mut self, node: usize) -> Verdict {
        let Some(process) = self.nodes[node].take() else { return Ok(()) };
        self.note("a crash");
        if !process.outbox.is_empty() {
            self.note("a crash between commit and effects");
        }
        self.is_gone(node, "dies", process.inbox, process.outbox)
    }

    /// What a process had in memory is gone, and whoever waits for it hears nothing.
    fn is_gone(
        &mut self,
        node: usize,
        how: &str,
        inbox: VecDeque<Ask>,
        outbox: VecDeque<Leaving>,
    ) -> Verdict {
        let power_goes = self.has(Feature::PowerLoss) && self.chance(400);
        self.ground.dies(power_goes);
        let and = if power_goes { ", and the power goes" } else { "" };
        self.say(|| format!("node {node} {how}{and}"));
        let unanswered = inbox.into_iter().chain(outbox.into_iter().filter_map(|one| match one {
            Leaving::Answer(answer) => Some(answer.0),
            Leaving::Dispatch(_) => None,
        }));
        for ask in unanswered {
            self.is_unanswered(ask);
        }
        let at = self.now() + self.pick(&[1_000, SECOND, 20 * SECOND, 600 * SECOND]);
        self.later(at, Happening::Starts(node));
        if self.ground.is_up() { self.all_is_there() } else { Ok(()) }
    }

    pub(super) fn is_unanswered(&mut self, ask: Ask) {
        if let From::Sender(post, _) = ask.from {
            self.again(post);
        }
    }
}
