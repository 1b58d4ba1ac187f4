//! The engine: inputs from all sides become transactions.
//!
//! [`Engine::submit`] is the only way in. A [`lane`] takes what has queued up, [`commit`] decides and saves it
//! in one transaction, and every caller is answered with a [`Receipt`], which only a commit can make.

pub mod audit;
pub mod commit;
pub mod lane;
mod shown;
pub mod submission;
pub mod wants;
pub mod watch;

use std::sync::Arc;

use taskhook_core::{EventId, HoldCommand, HostKey, Outcome, Permits, State, TaskKey, limits};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::engine::submission::Submission;
use crate::engine::watch::Watch;

/// The way in, for everybody at the edge. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {
    /// What ends or moves work that has begun: webhooks, replies.
    completions: mpsc::Sender<Ask>,
    /// What brings new work.
    work: mpsc::Sender<Ask>,
    /// The bytes that may still wait for the lane.
    room: Arc<Semaphore>,
    watch: Arc<Watch>,
}

/// An input on its way to the lane.
#[derive(Debug)]
pub struct Ask {
    submission: Submission,
    /// The place that a reply gives back.
    permit: Option<Permit>,
    /// Its place among the bytes that wait, given back when it is settled.
    _room: OwnedSemaphorePermit,
    answer: Option<oneshot::Sender<Result<Receipt, SubmitError>>>,
}

/// The place of one open exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit {
    /// The host it is open with.
    pub host: HostKey,
    /// The bytes it holds.
    pub bytes: u32,
    /// It is one of those for polls.
    pub poll: bool,
}

impl Permit {
    /// Its exchange is over.
    pub fn give_back(self, permits: &mut Permits) {
        match self.poll {
            true => permits.give_back_poll(self.host),
            false => permits.give_back(self.host, self.bytes),
        }
    }
}

/// Proof that an input is decided and durable. Only [`commit`] makes one, and only from one is a 2xx built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    outcome: Outcome,
    event: Option<EventId>,
    task: Option<(TaskKey, State)>,
}

impl Receipt {
    /// What became of the input.
    #[must_use]
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// The webhook's id; for a duplicate, that of its original.
    #[must_use]
    pub fn event(&self) -> Option<EventId> {
        self.event
    }

    /// The task it was about, and the state it is in after it.
    #[must_use]
    pub fn task(&self) -> Option<(TaskKey, State)> {
        self.task
    }
}

/// Why an input was not taken. None of it has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The writer is behind: come back in a second.
    #[error("the writer is behind")]
    Behind,
    /// There is no room in the store.
    #[error("the disk is full")]
    Full,
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
}

impl Engine {
    /// Submits an input and waits until it is durable.
    ///
    /// # Errors
    /// If it was not taken; then it has not happened.
    pub async fn submit(&self, submission: Submission) -> Result<Receipt, SubmitError> {
        self.submit_in_turn(submission)?.await.unwrap_or(Err(SubmitError::Stopping))
    }

    /// The same in two steps: once it has returned, whatever is submitted later comes later.
    ///
    /// # Errors
    /// As [`submit`](Engine::submit).
    pub fn submit_in_turn(
        &self,
        submission: Submission,
    ) -> Result<oneshot::Receiver<Result<Receipt, SubmitError>>, SubmitError> {
        let (answer, answered) = oneshot::channel();
        let channel = if submission.is_new_work() { &self.work } else { &self.completions };
        let bytes = in_room(&submission);
        let room = self.room.clone().try_acquire_many_owned(bytes).map_err(|_| SubmitError::Behind)?;
        channel.try_send(Ask { submission, permit: None, _room: room, answer: Some(answer) }).map_err(
            |refused| match refused {
                mpsc::error::TrySendError::Full(_) => SubmitError::Behind,
                mpsc::error::TrySendError::Closed(_) => SubmitError::Stopping,
            },
        )?;
        Ok(answered)
    }

    /// Puts the command to hold the server in front of everything else, where nobody has submitted anything yet.
    fn hold_first(&self) {
        let submission = Submission::Hold(HoldCommand::Hold);
        let Ok(room) = self.room.clone().try_acquire_many_owned(in_room(&submission)) else { return };
        let _ = self.completions.try_send(Ask { submission, permit: None, _room: room, answer: None });
    }

    /// Hands in the end of an exchange, with its permit. Waits while the writer is behind: a reply is never
    /// dropped while the process lives.
    pub async fn hand_in(&self, submission: Submission, permit: Permit) {
        // A lane that is gone leaves the attempt to be resent at the next start.
        let Ok(room) = self.room.clone().acquire_many_owned(in_room(&submission)).await else { return };
        let _ =
            self.completions.send(Ask { submission, permit: Some(permit), _room: room, answer: None }).await;
    }

    /// Whether the lane is gone.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.completions.is_closed()
    }

    /// Wakes up those who wait for a task's end.
    #[must_use]
    pub fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }
}

/// The bytes that a submission takes; no single one takes more than there is.
fn in_room(submission: &Submission) -> u32 {
    u32::try_from(submission.bytes().min(limits::CHANNEL_BYTES_MAX)).unwrap_or(u32::MAX)
}
