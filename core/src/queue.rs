//! One queue: what it says, how it takes in a change, and which of its tasks may start.
//!
//! Tasks that are due stand in *lines*, one for each priority and concurrency key. Lines of one priority take turns;
//! within a line the earliest due goes first. A line of which nothing can start is *closed*, so that no visit looks
//! at it again: it is opened by what it waits for. An open line may turn out to have nothing, never the other way
//! round. Choosing among the open lines is [`admission`].

pub mod admission;

use std::sync::Arc;
use std::time::Duration;

use crate::Context;
use crate::decision::{Decision, Outcome, QueueChange, Refused};
use crate::id::{ConcurrencyKey, HostKey, QueueKey};
use crate::input::{FollowUp, QueueCommand, RetryAsked};
use crate::limits;
use crate::rate::Rate;
use crate::subjects::Subjects;
use crate::task::Completion;
use crate::time::Timestamp;

/// One queue, as far as decisions look at it.
#[derive(Debug, Clone, PartialEq)]
pub struct Queue {
    /// Its key.
    pub key: QueueKey,
    /// What it says.
    pub settings: Arc<Settings>,
    /// It starts nothing.
    pub paused: bool,
    /// Attempts of its tasks that are open. The store counts them, as each task changes.
    pub open: u32,
    /// The state of its rate.
    pub paced: Timestamp,
    /// When it wants to be looked at again.
    pub wake_at: Option<Timestamp>,
}

/// What a queue says. What is absent is no limit, or left to the product.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// Attempts open at the same time.
    pub concurrency: Option<u32>,
    /// Attempts begun in a span of time.
    pub rate: Option<Rate>,
    /// Attempts of one concurrency key open at the same time.
    pub key_concurrency: Option<u32>,
    /// Attempts of one concurrency key begun in a span of time.
    pub key_rate: Option<Rate>,
    /// For tasks that leave parts of it open.
    pub retry: RetryAsked,
    /// For tasks that leave it open.
    pub timeout: Option<Duration>,
    /// For tasks that leave it open.
    pub completion: Option<Completion>,
    /// How long its tasks are kept after their end; `Some(None)`: for ever.
    pub retention: Option<Option<Duration>>,
    /// With what its attempts are signed; `None`: with the server's own secret.
    pub secret: Option<QueueSecret>,
}

/// With what the attempts of a queue are signed. Sealed, so that nothing that is decided or stored holds it in the open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueSecret {
    /// The secret.
    pub sealed: Arc<[u8]>,
    /// The one before it, which signs too until this instant, so that workers can change over.
    pub before: Option<(Arc<[u8]>, Timestamp)>,
}

/// What is to become of the secret of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SecretAsked {
    /// It stays what it is.
    #[default]
    Keep,
    /// The server's own signs again.
    Remove,
    /// This one signs, sealed; the one before signs too for a while.
    Give(Arc<[u8]>),
}

impl SecretAsked {
    /// The secret of a queue that has had `had`.
    fn after(&self, had: Option<&QueueSecret>, now: Timestamp) -> Option<QueueSecret> {
        match self {
            SecretAsked::Keep => had.cloned(),
            SecretAsked::Remove => None,
            SecretAsked::Give(sealed) => Some(QueueSecret {
                sealed: sealed.clone(),
                before: had.map(|had| (had.sealed.clone(), now + limits::OLD_SECRET_SIGNS_FOR)),
            }),
        }
    }
}

/// What the tasks of one key have of their queue's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyUse {
    /// Attempts that are open. The store counts them, as each task changes.
    pub open: u32,
    /// The state of the key's rate.
    pub paced: Timestamp,
}

impl Default for KeyUse {
    fn default() -> Self {
        KeyUse { open: 0, paced: Timestamp(i64::MIN) }
    }
}

/// The tasks of a queue that stand one behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Line {
    /// The queue.
    pub queue: QueueKey,
    /// The priority, −100 to 100.
    pub priority: i16,
    /// Their key; [`ConcurrencyKey::NONE`] for all tasks without one.
    pub key: ConcurrencyKey,
}

/// What a line that is closed waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// A task.
    Empty,
    /// The end of an attempt of its key: so many are open as may be.
    KeyLimit,
    /// This instant, when an attempt of its key may begin again.
    KeyRate(Timestamp),
    /// A place with one of these hosts.
    Hosts(Vec<HostKey>),
}

/// Why a queue starts nothing at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shut {
    /// It is paused.
    Paused,
    /// So many attempts are open as may be.
    Concurrency(u32),
    /// The next attempt may begin at this instant.
    Rate(Timestamp),
}

impl Queue {
    /// A queue that nobody has said anything about.
    #[must_use]
    pub fn new(key: QueueKey) -> Queue {
        Queue {
            key,
            settings: Arc::default(),
            paused: false,
            open: 0,
            paced: Timestamp(i64::MIN),
            wake_at: None,
        }
    }

    /// How many attempts may begin now, or why none.
    ///
    /// # Errors
    /// Why none.
    pub fn room(&self, now: Timestamp) -> Result<u32, Shut> {
        if self.paused && !cfg!(planted = "pause_is_overlooked") {
            return Err(Shut::Paused);
        }
        let places = match self.settings.concurrency {
            Some(limit) if self.open >= limit + u32::from(cfg!(planted = "concurrency_is_one_more")) => {
                return Err(Shut::Concurrency(limit));
            }
            Some(limit) => limit - self.open,
            None => u32::MAX,
        };
        match self.settings.rate {
            Some(rate) if rate.room(self.paced, now) == 0 => Err(Shut::Rate(rate.free_at(self.paced, now))),
            Some(rate) => Ok(places.min(rate.room(self.paced, now))),
            None => Ok(places),
        }
    }

    /// Takes in a fact. The only way in which a queue changes.
    #[must_use]
    pub fn evolve(mut self, at: Timestamp, change: &QueueChange) -> Queue {
        match change {
            QueueChange::Defined { settings, paused } => {
                self.settings = settings.clone();
                self.paused = *paused;
                self.paced = settings.rate.map_or(self.paced, |rate| self.paced.min(rate.furthest(at)));
            }
            QueueChange::Paused => self.paused = true,
            QueueChange::Resumed => self.paused = false,
            QueueChange::Began { .. } => {
                self.open += 1;
                if let Some(rate) = self.settings.rate {
                    self.paced = rate.take(self.paced, at);
                }
            }
            QueueChange::Rearmed { wake_at } => self.wake_at = *wake_at,
            QueueChange::LineClosed { .. } | QueueChange::LineOpened { .. } => {}
        }
        self
    }
}

impl Settings {
    /// How many attempts of a key may begin now, or what its lines wait for.
    ///
    /// # Errors
    /// What its lines wait for.
    pub fn key_room(&self, key: ConcurrencyKey, used: KeyUse, now: Timestamp) -> Result<u32, Closed> {
        if key == ConcurrencyKey::NONE {
            return Ok(u32::MAX);
        }
        let places = match self.key_concurrency {
            Some(limit) if used.open >= limit + u32::from(cfg!(planted = "key_concurrency_is_one_more")) => {
                return Err(Closed::KeyLimit);
            }
            Some(limit) => limit - used.open,
            None => u32::MAX,
        };
        match self.key_rate {
            Some(rate) if rate.room(used.paced, now) == 0 => {
                Err(Closed::KeyRate(rate.free_at(used.paced, now)))
            }
            Some(rate) => Ok(places.min(rate.room(used.paced, now))),
            None => Ok(places),
        }
    }

    /// What a key has used, after one of its attempts has begun.
    #[must_use]
    pub fn key_taken(&self, used: KeyUse, at: Timestamp) -> KeyUse {
        let paced = self.key_rate.map_or(used.paced, |rate| rate.take(used.paced, at));
        KeyUse { open: used.open + 1, paced }
    }
}

/// A user's command to a queue.
pub fn command(cx: &Context, subjects: &Subjects, key: QueueKey, command: &QueueCommand) -> Decision {
    let queue = subjects.queue(key);
    let (outcome, change) = match (command, queue) {
        (QueueCommand::Define { .. }, None) if subjects.queue_count() >= limits::QUEUES_MAX => {
            let refused = Refused::TooMany { what: "queues", max: limits::QUEUES_MAX };
            return Decision::answer(Outcome::Refused(refused));
        }
        (QueueCommand::Define { settings, paused, secret }, _) => {
            let secret = secret.after(queue.and_then(|queue| queue.settings.secret.as_ref()), cx.now);
            let settings = Arc::new(Settings { secret, ..(**settings).clone() });
            (Outcome::Defined { new: queue.is_none() }, QueueChange::Defined { settings, paused: *paused })
        }
        (_, None) => return Decision::answer(Outcome::Refused(Refused::NoSuchQueue { position: 0 })),
        (QueueCommand::Pause, Some(queue)) if queue.paused => return Decision::nothing(),
        (QueueCommand::Resume, Some(queue)) if !queue.paused => return Decision::nothing(),
        (QueueCommand::Pause, Some(_)) => (Outcome::Applied, QueueChange::Paused),
        (QueueCommand::Resume, Some(_)) => (Outcome::Applied, QueueChange::Resumed),
    };
    let mut decision = Decision::answer(outcome);
    decision.queues.push((key, change));
    decision.then(FollowUp::Look(key))
}
