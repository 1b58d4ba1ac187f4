//! What ends a task by itself, and when that is judged.

use std::time::Duration;

use crate::limits;
use crate::task::{State, Task};
use crate::time::Timestamp;

/// What runs out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The time of the open attempt.
    Timeout,
    /// The time for the next sign of life.
    Heartbeat,
    /// The time of the task.
    Deadline,
}

/// Something that ends a task, or its open attempt, by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// What runs out.
    pub kind: Kind,
    /// When it does.
    pub at: Timestamp,
    /// When it is judged. What ran out while no node was up is judged a while after its start: senders who retry get their
    /// chance.
    pub judged_at: Timestamp,
}

impl End {
    /// It ran out while no node was up, and is judged later.
    #[must_use]
    pub fn is_put_off(&self) -> bool {
        self.at < self.judged_at
    }
}

impl Task {
    /// What may end it by itself, as a node judges it that has been up since `up_since`.
    pub fn ends(&self, up_since: Timestamp) -> impl Iterator<Item = End> {
        let end = move |kind, at: Option<Timestamp>, grace: Duration| {
            let is_put_off = |at| at <= up_since && !grace.is_zero() && !cfg!(planted = "grace_is_forgotten");
            at.map(|at| End { kind, at, judged_at: if is_put_off(at) { up_since + grace } else { at } })
        };
        // Whoever gives a sign of life now and then has not even tried yet.
        let beat_grace = limits::GRACE.max(self.plan.oversight.heartbeat.unwrap_or_default());
        // Of a task that nobody has, nobody is to be heard.
        let sent = self.open_attempt().map_or(Duration::ZERO, |_| limits::GRACE);
        let is_forgotten =
            cfg!(planted = "timeout_is_forgotten_once_running") && self.state == State::Running;
        let times_out_at = self.times_out_at().filter(|_| !is_forgotten);
        let ends = [
            end(Kind::Deadline, self.deadline(), sent),
            end(Kind::Timeout, times_out_at, limits::GRACE),
            end(Kind::Heartbeat, self.beats_until(), beat_grace),
        ];
        ends.into_iter().flatten()
    }
}
