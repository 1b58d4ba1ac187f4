//! What was done, counted; and what must have been done for a run to mean anything.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Counts by name. The names are what the report shows.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    counts: BTreeMap<String, u64>,
}

/// What each run of a few minutes must have done at least so often: a seldom branch may not pass by not happening.
const REQUIRED: [(&str, u64); 41] = [
    ("kills: kill -9 under load", 5),
    ("kills: kill -9 while it starts", 3),
    ("kills: in a write", 2),
    ("kills: in a sync", 2),
    ("kills: power cut in a write", 2),
    ("kills: power cut in a sync", 2),
    ("faults: EIO in a write", 3),
    ("faults: EIO in a sync", 3),
    ("faults: ENOSPC in a write", 20),
    ("faults: ENOSPC in a sync", 1),
    ("faults: while it starts", 1),
    ("writes that a power cut or a failed sync took away", 50),
    ("ends: exit code not 0 after an I/O error", 6),
    ("ends: went on by itself after ENOSPC", 5),
    ("ends: SIGTERM, exit code 0", 2),
    ("disk: full", 2),
    ("disk: a completion taken while it is full", 1),
    ("disk: a start while it is full", 1),
    ("disk: room again, went on by itself", 2),
    ("pauses: SIGSTOP, SIGCONT", 2),
    ("backups: taken while it runs, whole", 1),
    ("remote side: cut within a request", 5),
    ("remote side: cut within an answer", 5),
    ("remote side: delayed", 5),
    ("remote side: half-open", 5),
    ("remote side: doubled", 5),
    ("sender side: cut within a request", 5),
    ("sender side: cut within an answer", 5),
    ("sender side: delayed", 5),
    ("sender side: half-open", 5),
    ("sender side: doubled", 5),
    ("load: answers", 1_000),
    ("load: tasks", 500),
    ("load: webhooks", 500),
    ("load: answered as duplicates", 20),
    ("load: answered from an idempotency key", 1),
    ("load: refused for a full disk", 5),
    ("remote: attempts that were sent again", 10),
    ("remote: tasks that ended as the remote said when asked", 20),
    ("checks: doctor, nothing found", 20),
    ("checks: attempts held to a queue's limits", 20),
];

/// What needs a disk that can be full, and not only fail.
const NEEDS_DISK: [&str; 2] = ["disk: a completion taken while it is full", "disk: a start while it is full"];

/// Kills and injected faults that a run of a few minutes has at least.
const KILLS_MIN: u64 = 60;
const FAULTS_MIN: u64 = 200;

impl Tally {
    /// Counts one more.
    pub fn one(&mut self, name: &str) {
        self.add(name, 1);
    }

    /// Counts more.
    pub fn add(&mut self, name: &str, count: u64) {
        *self.counts.entry(name.into()).or_default() += count;
    }

    /// Takes the counts of another in.
    pub fn merge(&mut self, other: &Tally) {
        other.counts.iter().for_each(|(name, count)| self.add(name, *count));
    }

    /// How often.
    #[must_use]
    pub fn get(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    /// The sum of what begins so.
    #[must_use]
    pub fn sum(&self, group: &str) -> u64 {
        self.counts.iter().filter(|(name, _)| name.starts_with(group)).map(|(_, count)| count).sum()
    }

    /// What did not happen often enough for this to prove anything. Without a disk of its own it cannot have all of it.
    #[must_use]
    pub fn missing(&self, has_disk: bool) -> Vec<String> {
        let wanted = REQUIRED.iter().filter(|(name, _)| has_disk || !NEEDS_DISK.contains(name));
        let few = wanted.filter(|(name, least)| self.get(name) < *least);
        let mut missing: Vec<String> = few
            .map(|(name, least)| format!("{name}: {} times, and {least} were wanted", self.get(name)))
            .collect();
        for (group, least) in [("kills: ", KILLS_MIN), ("faults: ", FAULTS_MIN)] {
            let sum = self.sum(group);
            if sum < least {
                missing.push(format!("{group}{sum} in all, and {least} were wanted"));
            }
        }
        missing
    }

    /// All counts, one in a line.
    #[must_use]
    pub fn table(&self) -> String {
        let mut table = String::new();
        for (name, count) in &self.counts {
            // Writing to memory does not fail.
            let _ = writeln!(table, "  {count:>9}  {name}");
        }
        let (kills, faults) = (self.sum("kills: "), self.sum("faults: "));
        let _ = writeln!(table, "  {kills:>9}  kills in all\n  {faults:>9}  injected faults in all");
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_did_not_happen_is_missed() {
        let mut tally = Tally::default();
        assert_eq!(tally.missing(true).len(), REQUIRED.len() + 2);
        assert_eq!(tally.missing(false).len(), REQUIRED.len());
        for (name, least) in REQUIRED {
            tally.add(name, least);
        }
        tally.add("kills: in a write", KILLS_MIN);
        tally.add("faults: EIO in a write", FAULTS_MIN);
        assert_eq!(tally.missing(true), [""; 0]);
        let mut other = Tally::default();
        other.one("pauses: SIGSTOP, SIGCONT");
        tally.merge(&other);
        assert_eq!(tally.get("pauses: SIGSTOP, SIGCONT"), 3);
    }
}
