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
    /// The process is killed, at any moment and while it starts.
    pub kills: bool,
    /// It is told to stop.
    pub stops: bool,
    /// Its store is copied while it runs.
    pub backups: bool,
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
    pub const ALL: Features = Features {
        faults: true,
        full_disk: true,
        pauses: true,
        trouble: 80,
        filler: 2_000,
        ..Features::SOUND
    };
    /// What can happen to a process on a sound machine.
    pub const SOUND: Features = Features { kills: true, stops: true, backups: true, ..Features::NONE };
    /// Kills alone.
    pub const KILLS: Features = Features { kills: true, ..Features::NONE };
    /// Nothing but orderly ends.
    pub const STOPS: Features = Features { stops: true, ..Features::NONE };
    const NONE: Features = Features {
        kills: false,
        stops: false,
        backups: false,
        faults: false,
        full_disk: false,
        pauses: false,
        trouble: 0,
        filler: 0,
    };

    /// Whether files, disk and networks are sound: nothing but its own end comes between the server and those whom it knows.
    #[must_use]
    pub fn is_steady(&self) -> bool {
        !self.faults && !self.full_disk && !self.pauses && self.trouble == 0
    }

    /// What may be done in the world of this seed: everything in every fifth, in the others what chance allows. Kills, stops
    /// and backups there are always.
    #[must_use]
    pub fn of(seed: u64) -> Features {
        if seed.is_multiple_of(5) {
            return Features::ALL;
        }
        let random = &mut Random::new(seed);
        Features {
            faults: random.per_mille(900),
            full_disk: random.per_mille(600),
            pauses: random.per_mille(600),
            trouble: *random.pick(&[0, 20, 80, 80, 200]),
            filler: *random.pick(&[0, 0, 2_000, 2_000, 100_000]),
            ..Features::SOUND
        }
    }
}

/// What is done in one world, one thing after the other.
#[derive(Debug)]
pub struct Plan {
    random: Random,
    features: Features,
    /// Each kind of thing once, in an order of no meaning: what is seldom is not left to chance.
    deck: Vec<Blow>,
}

impl Plan {
    /// The plan that chance makes of what may be done.
    #[must_use]
    pub fn new(mut random: Random, features: Features) -> Plan {
        let mut deck = Vec::new();
        if features.stops {
            deck.push(Blow::Stop);
        }
        if features.backups {
            deck.push(Blow::Backup);
        }
        if features.pauses {
            deck.extend([pause(&mut random), pause(&mut random)]);
        }
        if features.full_disk {
            deck.extend([false, true].map(|kill| full_disk(&mut random, kill)));
        }
        if features.faults {
            for action in [Action::Broken, Action::NoRoom, Action::Kill, Action::Power] {
                for (at, files) in [(At::Write, Files::Log), (At::Write, Files::Database)] {
                    deck.push(Blow::Fault(fault(&mut random, action, at, files)));
                }
                for (at, files) in [(At::Sync, Files::Log), (At::Sync, Files::Database)] {
                    deck.push(Blow::Fault(fault(&mut random, action, at, files)));
                }
            }
        }
        for last in (1..deck.len()).rev() {
            deck.swap(last, random.index(last + 1));
        }
        Plan { random, features, deck }
    }

    /// What is done next. It is drawn once the deck is through, and every second time before.
    pub fn draw(&mut self) -> Blow {
        if self.random.per_mille(500)
            && let Some(blow) = self.deck.pop()
        {
            return blow;
        }
        let (random, features) = (&mut self.random, self.features);
        loop {
            return match random.below(100) {
                0..12 if features.kills => Blow::Kill,
                12..76 if features.faults => Blow::Fault(any_fault(random)),
                76..84 if features.full_disk => {
                    let kill = random.per_mille(300);
                    full_disk(random, kill)
                }
                84..90 if features.pauses => pause(random),
                90..95 if features.stops => Blow::Stop,
                95..98 if features.backups => Blow::Backup,
                _ => continue,
            };
        }
    }
}

fn pause(random: &mut Random) -> Blow {
    Blow::Pause(Duration::from_millis(20 + random.below(1_500)))
}

fn full_disk(random: &mut Random, kill: bool) -> Blow {
    Blow::FullDisk { room: random.below(192 << 10), time: Duration::from_millis(random.below(1_500)), kill }
}

/// Any fault under load.
fn any_fault(random: &mut Random) -> Fault {
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
    let at =
        if random.per_mille(if action == Action::NoRoom { 100 } else { 500 }) { At::Sync } else { At::Write };
    // Calls on the database are seldom, and waiting for them is long.
    let files = if random.per_mille(120) { Files::Database } else { Files::Log };
    fault(random, action, at, files)
}

/// A fault of this kind under load.
fn fault(random: &mut Random, action: Action, at: At, files: Files) -> Fault {
    // Checkpoints are seldom: of the database's own calls the next ones are taken.
    let within = match (at, files) {
        (At::Write, Files::Database) => 20,
        (At::Write, _) => 400,
        (At::Sync, Files::Database) => 2,
        (At::Sync, _) => 40,
    };
    // What is full for one call is full for the next ones too.
    let repeat = if action == Action::NoRoom && at == At::Write { 1 + random.below(8) } else { 1 };
    let (call, half) = (1 + random.below(within), random.per_mille(500));
    Fault { at, files, call, repeat: Some(repeat), action, half }
}

/// A fault while it starts.
#[must_use]
pub fn fault_at_start(random: &mut Random) -> Fault {
    let action = *random.pick(&[Action::Broken, Action::NoRoom, Action::Kill, Action::Power]);
    let at = if random.per_mille(400) { At::Sync } else { At::Write };
    let call = 1 + random.below(if at == At::Sync { 4 } else { 60 });
    Fault { call, ..fault(random, action, at, Files::Any) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blows(seed: u64, features: Features, count: usize) -> Vec<Blow> {
        let mut plan = Plan::new(Random::new(seed), features);
        (0..count).map(|_| plan.draw()).collect()
    }

    #[test]
    fn a_seed_plans_the_same_again() {
        assert_eq!(blows(7, Features::ALL, 500), blows(7, Features::ALL, 500));
        assert_ne!(blows(7, Features::ALL, 500), blows(8, Features::ALL, 500));
    }

    #[test]
    fn a_world_of_everything_has_everything() {
        let blows = blows(3, Features::ALL, 80);
        let has = |is: &dyn Fn(&Blow) -> bool| assert!(blows.iter().any(is), "{blows:?}");
        for action in [Action::Broken, Action::NoRoom, Action::Kill, Action::Power] {
            for at in [At::Write, At::Sync] {
                for files in [Files::Log, Files::Database] {
                    has(
                        &|blow| matches!(blow, Blow::Fault(fault) if (fault.action, fault.at, fault.files) == (action, at, files)),
                    );
                }
            }
        }
        has(&|blow| matches!(blow, Blow::FullDisk { kill: true, .. }));
        has(&|blow| matches!(blow, Blow::FullDisk { kill: false, .. }));
        has(&|blow| matches!(blow, Blow::Pause(_)));
        for other in [Blow::Kill, Blow::Stop, Blow::Backup] {
            has(&|blow| *blow == other);
        }
    }

    #[test]
    fn what_is_not_to_be_done_is_not_done() {
        let allowed = |blow: &Blow| matches!(blow, Blow::Kill | Blow::Stop | Blow::Backup);
        assert!(blows(1, Features::SOUND, 500).iter().all(allowed));
        assert_eq!(blows(1, Features::KILLS, 50), [Blow::Kill; 50]);
        assert_eq!(blows(1, Features::STOPS, 50), [Blow::Stop; 50]);
    }
}
