//! Which tasks: the conditions of a task list and of a bulk, decided by one function wherever the rows are.

use std::collections::BTreeMap;

use crate::id::QueueKey;
use crate::input::Command;
use crate::task::State;
use crate::time::Timestamp;

/// Which tasks. Every condition that is given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// In one of these states.
    pub states: Vec<State>,
    /// Of this queue.
    pub queue: Option<QueueKey>,
    /// Of this kind of work.
    pub name: Option<String>,
    /// With these labels.
    pub labels: Vec<(String, String)>,
    /// Created after this instant.
    pub created_after: Option<Timestamp>,
}

/// What a filter looks at of a task.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Where it is in its life.
    pub state: State,
    /// Its queue.
    pub queue: QueueKey,
    /// When it was created.
    pub created_at: Timestamp,
    /// What kind of work it is.
    pub name: Option<&'a str>,
    /// Its labels; they may be left out where the filter names none.
    pub labels: &'a BTreeMap<String, String>,
}

impl Filter {
    /// Whether a task is one of them.
    #[must_use]
    pub fn lets_through(&self, facts: &Facts<'_>) -> bool {
        (self.states.is_empty() || self.states.contains(&facts.state))
            && self.queue.is_none_or(|queue| queue == facts.queue)
            && self.created_after.is_none_or(|after| facts.created_at > after)
            && self.name.as_deref().is_none_or(|name| facts.name == Some(name))
            && self.labels.iter().all(|(name, value)| facts.labels.get(name) == Some(value))
    }
}

/// Whether a task in this state can be told so.
#[must_use]
pub fn applies_to(command: Command, state: State) -> bool {
    match command {
        Command::Cancel => !state.is_terminal(),
        Command::Retry { .. } => matches!(state, State::Failed | State::Cancelled | State::Skipped),
        Command::Trigger => state == State::Scheduled,
    }
}
