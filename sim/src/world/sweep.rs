//! Sweeps: what has ended goes after its time.

use std::collections::BTreeSet;
use std::time::Duration;

use taskhook::store::StoreError;
use taskhook_core::Timestamp;
use taskhook_core::retention::{Ages, Place};

use super::features::Feature;
use super::ground::Ground;
use super::{Happening, World, mortal, seen};
use crate::model::Verdict;

const SECOND: i64 = 1_000_000;

/// What is kept for so many seconds, or for ever.
pub(super) fn ages(seconds: Option<i64>) -> Ages {
    let age = seconds.map(|seconds| Duration::from_secs(seconds.unsigned_abs()));
    Ages { tasks: age, events: age, rejected: age, audit: age }
}

impl<G: Ground> World<G> {
    /// Some node is to begin a sweep, and another one later.
    pub(super) fn wants_sweep(&mut self) {
        let node = self.random.index(self.nodes.len());
        if let Some(process) = &mut self.nodes[node] {
            process.sweep_at = process.sweep_at.or(Some(Place::FIRST));
        }
        if self.acts_left > 0 {
            let at = self.now() + self.pick(&[20 * SECOND, 120 * SECOND, 900 * SECOND]);
            self.later(at, Happening::Sweeps);
        }
    }

    /// A node takes a step of its sweep.
    pub(super) fn sweeps(&mut self, node: usize) -> Verdict {
        let dies_in = (self.has(Feature::CrashesInCommit) && self.chance(60)).then(|| self.number(5));
        let fate = self.fate(dies_in);
        let Some(process) = &mut self.nodes[node] else { return Ok(()) };
        process.store.fate = fate;
        let swept = process.sweeps(&self.ages, &mut self.batches);
        let died = match swept {
            Ok(()) => false,
            Err(StoreError::Broken(_)) if process.store.fate.dies_in == Some(0) => true,
            Err(StoreError::Broken(_)) if self.ground.has_failed() => true,
            Err(error) => return Err(super::broken(error)),
        };
        process.store.fate = mortal::Fate::default();
        self.is_sweeping = G::IS_ALONE && died;
        if !self.is_sweeping {
            self.sees_what_is_gone()?;
            self.compares_states()?;
        }
        self.note(if died { "a crash within a sweep" } else { "a step of a sweep" });
        if died { self.crashes(node) } else { Ok(()) }
    }

    /// The oracle hears which tasks are left.
    pub(super) fn sees_what_is_gone(&mut self) -> Verdict {
        let mut there: BTreeSet<&str> = BTreeSet::new();
        let names = &self.names;
        self.ground.each_state(&mut |task, _, _| there.extend(names.get(&task).map(String::as_str)));
        self.model.has_swept(self.clock.now().0, |id| there.contains(id))
    }

    /// In the end everything goes.
    pub(super) fn sweeps_all(&mut self) -> Verdict {
        let Some(age) = self.ages.tasks else { return Ok(()) };
        self.clock.set(Timestamp(self.now()) + age + Duration::from_secs(1));
        if let Some(process) = &mut self.nodes[0] {
            process.sweep_at = Some(Place::FIRST);
        }
        while self.nodes[0].as_ref().is_some_and(|process| process.sweep_at.is_some()) {
            self.sweeps(0)?;
        }
        self.model.is_swept(self.now(), |event| self.ground.has_event(seen::id_of(event)))
    }
}
