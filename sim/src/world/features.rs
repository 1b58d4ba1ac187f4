//! What a seed makes of the world: which kinds of trouble there are at all, and how much of everything.
//!
//! Each seed leaves out about half of them, so that none always hides another (swarm testing); a tenth of the seeds has
//! no faults and much data instead.

use crate::random::Random;

macro_rules! features {
    ($($name:ident $words:literal,)*) => {
        /// One kind of thing that may happen.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Feature { $(#[doc = $words] $name,)* }

        impl Feature {
            /// All of them.
            pub const ALL: &[Feature] = &[$(Feature::$name,)*];

            /// It, in words.
            #[must_use]
            pub fn words(self) -> &'static str {
                match self { $(Feature::$name => $words,)* }
            }
        }
    };
}

features! {
    Crashes "nodes crash between two steps",
    CrashesInCommit "nodes crash within a transaction",
    Contention "transactions are in each other's way",
    ManyNodes "there is more than one node",
    FullDisk "the disk is full for a while",
    PowerLoss "the power goes",
    DiskErrors "writes and syncs fail",
    ClockJumps "the clock jumps ahead",
    FewPlaces "nodes have few places for exchanges",
    Slow "nodes let work wait",
    LostCallbacks "callbacks are lost",
    DoubledCallbacks "callbacks come more than once",
    LateCallbacks "callbacks come late",
    EarlyCallbacks "callbacks come before the response",
    Contradictions "callbacks contradict each other",
    OldAttempts "callbacks are about older attempts",
    Nameless "callbacks name no attempt",
    SignsOfLife "workers report that they live",
    Failures "workers fail",
    Lies "targets answer otherwise than they do",
    HungUp "connections break after the work was done",
    Unreachable "targets cannot be reached",
    Postponements "targets ask to wait",
    OwnIds "workers name tasks by ids of their own",
    LostAnswers "senders do not get their answers",
    Strangers "webhooks come before their task, or about none",
    Batches "tasks are created together",
    Dependencies "tasks wait for each other",
    Delays "tasks are due later",
    Timeouts "attempts have little time",
    Retries "attempts are tried again",
    Limits "queues have limits",
    Keys "tasks share concurrency keys",
    Unique "tasks have unique keys",
    Priorities "tasks have priorities",
    External "tasks are only tracked",
    Cancels "users cancel",
    Reopens "users retry",
    Triggers "users trigger",
    Pauses "users pause queues",
    NoCallbacks "no callback ever comes",
    StatusUrls "tasks say where their remote can be asked",
    Locations "answers name the status URL",
    StatusLies "remotes that are asked say what is not so",
    StatusFlaps "remotes that are asked know nothing now and then",
    StatusErrors "remotes that are asked do not answer, or not so that it is understood",
    StatusSlow "remotes that are asked take their time",
    Heartbeats "tasks have to give signs of life",
    Deadlines "tasks have deadlines",
    LateRefused "a success of an older attempt is refused",
    CancelUrls "remotes are told when a task is cancelled",
    Schedules "schedules make tasks",
    Holds "users hold the server",
    Retention "what has ended goes after a while",
    OnceKeys "requests happen once under their key",
    DeadHosts "hosts fail whatever they are asked for a while",
    Stops "processes are stopped in order",
}

/// Those that are faults, which a tenth of the seeds does without.
const FAULTS: [Feature; 22] = [
    Feature::Crashes,
    Feature::CrashesInCommit,
    Feature::Contention,
    Feature::FullDisk,
    Feature::PowerLoss,
    Feature::DiskErrors,
    Feature::ClockJumps,
    Feature::LostCallbacks,
    Feature::DoubledCallbacks,
    Feature::Contradictions,
    Feature::OldAttempts,
    Feature::Lies,
    Feature::HungUp,
    Feature::Unreachable,
    Feature::LostAnswers,
    Feature::Strangers,
    Feature::Slow,
    Feature::NoCallbacks,
    Feature::StatusLies,
    Feature::StatusFlaps,
    Feature::StatusErrors,
    Feature::DeadHosts,
];

/// Those that only a store on a disk can have, or shows. They are drawn apart, so that a seed makes the same world on each
/// store.
const OF_DISK: [Feature; 3] = [Feature::PowerLoss, Feature::DiskErrors, Feature::Stops];

/// What a world's nodes keep everything in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StoreKind {
    /// The memory store, plain or contended as the seed says.
    Mixed,
    /// The memory store, always lucky.
    Memory,
    /// The memory store on its unlucky days.
    Contended,
    /// SQLite on a disk that crashes.
    Sqlite,
}

/// What a world is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Everything is drawn from it.
    pub seed: u64,
    /// The features that are there, one bit for each.
    pub mask: u64,
    /// How often users and strangers do something.
    pub acts: u32,
    /// How many tasks there may be.
    pub tasks: u32,
    /// What it stands on.
    pub store: StoreKind,
}

impl Plan {
    /// What this seed makes.
    #[must_use]
    pub fn of(seed: u64) -> Plan {
        let mut random = Random::new(seed ^ 0x7461_736b_686f_6f6b);
        let mut mask = 0;
        for feature in Feature::ALL.iter().filter(|feature| !OF_DISK.contains(feature)) {
            // Where no callback ever comes there is little of anything else.
            let rate = if *feature == Feature::NoCallbacks { 150 } else { 500 };
            mask |= u64::from(random.per_mille(rate)) << *feature as u64;
        }
        let tasks = 8 + u32::try_from(random.below(9)).unwrap_or(0);
        let mut plan = Plan { seed, mask, acts: 60, tasks, store: StoreKind::Mixed };
        if seed % 10 == 9 {
            for fault in FAULTS {
                plan = plan.without(fault);
            }
            plan = Plan { acts: 150, tasks: 250, ..plan };
        }
        plan
    }

    /// What this seed makes on a store.
    #[must_use]
    pub fn on(store: StoreKind, seed: u64) -> Plan {
        let plan = Plan { store, ..Plan::of(seed) };
        match store {
            StoreKind::Mixed => plan,
            StoreKind::Memory => plan.without(Feature::Contention),
            StoreKind::Contended => plan.with(Feature::Contention),
            StoreKind::Sqlite => {
                let mut random = Random::new(seed ^ 0x6469_736b);
                let mut plan = plan.without(Feature::Contention);
                for feature in OF_DISK {
                    if random.per_mille(500) && !plan.is_large() {
                        plan = plan.with(feature);
                    }
                }
                plan
            }
        }
    }

    /// Whether there is this feature.
    #[must_use]
    pub fn has(&self, feature: Feature) -> bool {
        self.mask & (1 << feature as u64) != 0
    }

    /// The same with this feature.
    #[must_use]
    pub fn with(self, feature: Feature) -> Plan {
        Plan { mask: self.mask | (1 << feature as u64), ..self }
    }

    /// The same without this feature.
    #[must_use]
    pub fn without(self, feature: Feature) -> Plan {
        Plan { mask: self.mask & !(1 << feature as u64), ..self }
    }

    /// Whether there is much data and no fault.
    #[must_use]
    pub fn is_large(&self) -> bool {
        self.tasks > 100
    }
}

/// The worlds that once did not hold, a line for each. Lines that begin with `#` say why.
pub const KEPT: &str = include_str!("../../kept.txt");

impl Plan {
    /// The plan that such a line describes.
    #[must_use]
    pub fn kept(line: &str) -> Option<Plan> {
        let mut words = line.split_whitespace();
        let store = words.next()?;
        let all = [StoreKind::Mixed, StoreKind::Memory, StoreKind::Contended, StoreKind::Sqlite];
        let store = all.into_iter().find(|kind| kind.word() == store)?;
        let seed = words.next()?.parse().ok()?;
        let mask = u64::from_str_radix(words.next()?, 16).ok()?;
        let (acts, tasks) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some(Plan { seed, mask, acts, tasks, store })
    }

    /// The line of this plan.
    #[must_use]
    pub fn line(&self) -> String {
        let Plan { seed, mask, acts, tasks, store } = self;
        format!("{} {seed} {mask:x} {acts} {tasks}", store.word())
    }
}

impl StoreKind {
    fn word(self) -> &'static str {
        match self {
            StoreKind::Mixed => "mixed",
            StoreKind::Memory => "memory",
            StoreKind::Contended => "contended",
            StoreKind::Sqlite => "sqlite",
        }
    }
}

impl std::fmt::Display for StoreKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            StoreKind::Mixed => "memory, plain or contended",
            StoreKind::Memory => "memory",
            StoreKind::Contended => "contended memory",
            StoreKind::Sqlite => "sqlite",
        })
    }
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "seed {} over {}: at most {} tasks, {} acts, and",
            self.seed, self.store, self.tasks, self.acts
        )?;
        for feature in Feature::ALL.iter().filter(|feature| self.has(**feature)) {
            writeln!(f, "  {}", feature.words())?;
        }
        Ok(())
    }
}

/// Whether it is over once everything is mended.
#[must_use]
pub fn is_fault(feature: Feature) -> bool {
    // Lost callbacks are found by asking, whether or not they come again.
    (FAULTS.contains(&feature) && feature != Feature::NoCallbacks)
        || matches!(feature, Feature::Failures | Feature::LateCallbacks | Feature::Pauses | Feature::Holds)
}
