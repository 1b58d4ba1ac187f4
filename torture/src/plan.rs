//! What is done to a server, and when: drawn from the seed.

use std::time::Duration;

use taskhook_sim::Random;

use crate::shim::{Action, At, Fault, Files};

/// One thing that is done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// `kill -9`.
    Kill,
    /// A call on its files fails, or is its last.
    Fault(Fault),
    /// Its disk is full for so long, and it may be killed meanwhile.
    FullDisk {
        /// Bytes that are left.
        room: u64,
        /// For how long, once it has noticed.
        time: Duration,
        /// Whether it is killed before there is room again.
        kill: bool,
    },
    /// SIGSTOP, and SIGCONT so much later.
    Pause(Duration),
    /// SIGTERM.
    Stop,
    /// Its store is copied while it runs.
    Backup,
}

/// What may be done in one world. A world without some of it shows what all of it together hides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// Calls on files fail.
    pub faults: bool,
    /// The disk is full now and then.
    pub full_disk: bool,
    /// The process is stopped and goes on.
    pub pauses: bool,
    /// Of a thousand exchanges so many are in trouble.
    pub trouble: u16,
    /// Bytes that payloads and webhooks have at most beyond what they need: a log that grows is copied again and again.
    pub filler: u64,
}

impl Features {
    /// Everything.
    pub const ALL: Features =
        Features { faults: true, full_disk: true, pauses: true, trouble: 80, filler: 2_000 };

    /// What chance allows. Kills there are always.
    #[must_use]
    pub fn draw(random: &mut Random) -> Features {
        Features {
            faults: random.per_mille(850),
            full_disk: random.per_mille(600),
            pauses: random.per_mille(600),
            trouble: *random.pick(&[0, 20, 80, 80, 200]),
            filler: *random.pick(&[0, 0, 2_000, 2_000, 100_000]),
        }
    }
}

/// What is done next.
#[must_use]
pub fn next(random: &mut Random, features: Features) -> Blow {
    loop {
        let blow = match random.below(100) {
            0..12 => Blow::Kill,
            12..76 if features.faults => Blow::Fault(fault(random)),
            76..84 if features.full_disk => Blow::FullDisk {
                room: random.below(192 << 10),
                time: Duration::from_millis(random.below(1_500)),
                kill: random.per_mille(300),
            },
            84..90 if features.pauses => Blow::Pause(Duration::from_millis(20 + random.below(1_500))),
            90..95 => Blow::Stop,
            95..98 => Blow::Backup,
            _ => continue,
        };
        return blow;
    }
}

/// A fault under load.
fn fault(random: &mut Random) -> Fault {
    let action = *random.pick(&[
        Action::Broken,
        Action::Broken,
        Action::Broken,
        Action::NoRoom,
        Action::NoRoom,
        Action::NoRoom,
        Action::NoRoom,
        Action::Kill,
        Action::Power,
        Action::Power,
    ]);
    let mut fault = of(random, action);
    // Checkpoints are seldom: of the database's own calls the next ones are taken.
    fault.call = 1 + if fault.files == Files::Database { random.below(20) } else { random.below(400) };
    if fault.at == At::Sync {
        fault.call = 1 + random.below(if fault.files == Files::Database { 2 } else { 40 });
    }
    fault
}

/// A fault while it starts.
#[must_use]
pub fn fault_at_start(random: &mut Random) -> Fault {
    let action = *random.pick(&[Action::Broken, Action::NoRoom, Action::Kill, Action::Power]);
    let mut fault = of(random, action);
    fault.files = Files::Any;
    fault.call = 1 + random.below(if fault.at == At::Sync { 4 } else { 60 });
    fault
}

fn of(random: &mut Random, action: Action) -> Fault {
    let at =
        if random.per_mille(if action == Action::NoRoom { 100 } else { 500 }) { At::Sync } else { At::Write };
    let files = *random.pick(&[Files::Log, Files::Log, Files::Log, Files::Database]);
    // What is full for one call is full for the next ones too.
    let repeat = if action == Action::NoRoom && at == At::Write { 1 + random.below(8) } else { 1 };
    Fault { at, files, call: 1, repeat: Some(repeat), action, half: random.per_mille(500) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_plans_the_same_again_and_everything_is_planned() {
        let plan = |seed| -> Vec<Blow> {
            let mut random = Random::new(seed);
            (0..2_000).map(|_| next(&mut random, Features::ALL)).collect()
        };
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
        let blows = plan(7);
        let faults: Vec<Fault> = blows
            .iter()
            .filter_map(|blow| if let Blow::Fault(fault) = blow { Some(*fault) } else { None })
            .collect();
        for action in [Action::Broken, Action::NoRoom, Action::Kill, Action::Power] {
            for at in [At::Write, At::Sync] {
                for files in [Files::Log, Files::Database] {
                    let is = |fault: &&Fault| (fault.action, fault.at, fault.files) == (action, at, files);
                    assert!(faults.iter().filter(is).count() > 3, "{action:?} at {at:?} of {files:?}");
                }
            }
        }
        assert!(blows.iter().any(|blow| matches!(blow, Blow::FullDisk { kill: true, .. })));
        let mut random = Random::new(1);
        let few = Features { faults: false, full_disk: false, pauses: false, trouble: 0, filler: 0 };
        let allowed = |blow| matches!(blow, Blow::Kill | Blow::Stop | Blow::Backup);
        assert!((0..500).all(|_| allowed(next(&mut random, few))));
    }
}
