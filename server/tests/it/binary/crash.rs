//! G1, G4, G10: the real binary under load, killed at random moments. What was answered is there afterwards,
//! nothing is done twice, and every task ends.
//!
//! `TASKHOOK_KILLS` sets how often it is killed, `TASKHOOK_SEED` repeats what chance decided. The moments of
//! two runs differ all the same: the machine has its own chance.

mod check;
mod ledger;
mod link;
mod load;
mod storm;
mod worker;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use storm::Storm;

/// Kills where nothing else is asked for.
const KILLS: u64 = 30;
/// Kills in one storm; more make more storms, each on a store of its own.
const KILLS_PER_STORM: u64 = 30;
/// The longest moment between the first answers of a round and the kill.
const MOMENT_MAX: Duration = Duration::from_millis(300);

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

fn fresh_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Short enough to be typed.
    now.as_secs() * 1_000 + u64::from(now.subsec_millis())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_kill_9() {
    let first_seed = number("TASKHOOK_SEED").unwrap_or_else(fresh_seed);
    let kills = number("TASKHOOK_KILLS").unwrap_or(KILLS);
    for (seed, done) in (first_seed..).zip((0..kills).step_by(30)) {
        println!("TASKHOOK_SEED={seed}");
        let mut storm = Storm::begin(seed, false).await;
        for _ in 0..KILLS_PER_STORM.min(kills - done) {
            let t = std::time::Instant::now();
            storm.blow().await;
            storm.pass(MOMENT_MAX).await;
            let a = t.elapsed();
            storm.kill();
            storm.restart().await;
            let b = t.elapsed();
            storm.check(20).await;
            eprintln!("load {a:?} restarted {b:?} checked {:?}", t.elapsed());
        }
        println!("{:?}", storm.end().await);
    }
}
