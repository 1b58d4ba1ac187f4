//! G1, G4, G10: the real binary under load, killed at random moments. What was answered is there afterwards,
//! nothing is done twice, and every task ends.
//!
//! `TASKHOOK_KILLS` sets how often it is killed, `TASKHOOK_SEED` repeats what chance decided. The moments of
//! two runs differ all the same: the machine has its own chance.

mod check;
mod ledger;
mod link;
mod load;
pub(crate) mod storm;
mod worker;

use std::fmt::Display;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use ledger::{Delivery, Event, Promised, Seen};
use storm::Storm;

/// Kills where nothing else is asked for.
const KILLS: usize = 30;
/// Kills in one storm; more make more storms, each on a store of its own.
const KILLS_PER_STORM: usize = 30;
/// The longest moment between the first answers of a round and the kill.
const MOMENT_MAX: Duration = Duration::from_millis(300);

/// A number from the environment.
fn number<T: FromStr<Err: Display>>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

/// What decides a storm: given, or new.
pub(crate) fn seed() -> u64 {
    if let Some(seed) = number("TASKHOOK_SEED") {
        return seed;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Short enough to be typed.
    now.as_secs() * 1_000 + u64::from(now.subsec_millis())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_kill_9() {
    let kills = number("TASKHOOK_KILLS").unwrap_or(KILLS);
    for (seed, done) in (seed()..).zip((0..kills).step_by(KILLS_PER_STORM)) {
        println!("TASKHOOK_SEED={seed}");
        let mut storm = Storm::begin(seed, false).await;
        for _ in 0..KILLS_PER_STORM.min(kills - done) {
            storm.blow().await;
            storm.pass(MOMENT_MAX).await;
            storm.kill();
            storm.restart_badly().await;
            storm.check(20).await;
        }
        println!("{:?}", storm.end().await);
    }
}

/// What the storm checks can fail: three records of what was never answered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_record_is_found() {
    let mut storm = Storm::begin(0, false).await;
    storm.server.create(json!({"id": "123"})).await;
    let seen = |state: &str| Promised {
        seen: vec![Seen { state: state.into(), attempt: None, result: None }],
        ..Promised::default()
    };
    let event = "evt_01h455vb4pex5vsknk084sn02q".to_string();
    {
        let mut records = storm.ledger.read();
        records.tasks.extend([("123".into(), seen("running")), ("124".into(), seen("running"))]);
        let told =
            Event { outcome: Some("recorded".into()), delivery: None, body: r#"{"event":"x"}"#.into() };
        records.events.insert(event.clone(), told);
        let key = ("/webhook".into(), "d1".into());
        records.deliveries.insert(key, Delivery { event, firsts: 1 });
    }
    storm.compare(1_000).await;
    let mut wrong = storm.ledger.read().wrong.clone();
    wrong.sort();
    let expected = [
        "the delivery d1 was kept as",
        "the task 124 is lost",
        "the webhook evt_01h455vb4pex5vsknk084sn02q is lost",
    ];
    assert_eq!(wrong.len(), expected.len(), "{wrong:#?}");
    for (found, expected) in wrong.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}");
    }
}
