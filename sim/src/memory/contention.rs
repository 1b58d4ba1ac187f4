//! Bad luck, as a database shared by many nodes hands it out.

use crate::random::Random;

/// How often what goes wrong. Rates are out of a thousand.
#[derive(Debug, Clone)]
pub struct Contention {
    /// A follow-up's subject is locked elsewhere, in any round but the first.
    pub locked_per_mille: u16,
    /// A load finds another transaction in its way.
    pub deadlock_per_mille: u16,
    /// A commit finds another transaction in its way.
    pub conflict_per_mille: u16,
    /// The answer to a commit is lost, whether it was made or not.
    pub unknown_per_mille: u16,
    random: Random,
}

/// What becomes of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is made, and the answer says so.
    Committed,
    /// It is not made, and the answer says so.
    Conflict,
    /// The answer is lost.
    Unknown {
        /// Whether it is made.
        committed: bool,
    },
}

impl Contention {
    /// Luck from `seed`: every tenth commit fails in some way, every fifth follow-up finds a lock.
    #[must_use]
    pub fn new(seed: u64) -> Contention {
        Contention {
            locked_per_mille: 200,
            deadlock_per_mille: 20,
            conflict_per_mille: 50,
            unknown_per_mille: 50,
            random: Random::new(seed),
        }
    }

    /// The same rates with luck of its own.
    #[must_use]
    pub fn fork(&mut self) -> Contention {
        Contention { random: self.random.fork(), ..self.clone() }
    }

    pub(super) fn locked(&mut self) -> bool {
        self.random.per_mille(self.locked_per_mille)
    }

    pub(super) fn deadlock(&mut self) -> bool {
        self.random.per_mille(self.deadlock_per_mille)
    }

    pub(super) fn fate(&mut self) -> Fate {
        if self.random.per_mille(self.conflict_per_mille) {
            return Fate::Conflict;
        }
        if self.random.per_mille(self.unknown_per_mille) {
            return Fate::Unknown { committed: self.random.per_mille(500) };
        }
        Fate::Committed
    }
}
