//! G1, G4, G10, G11: the real binary under load, killed at random moments: short worlds of torture, on sound disks and networks.
//! What was answered is there afterwards, nothing is done twice, and every task ends.
//!
//! `TASKHOOK_SEED` repeats what chance decided. The moments of two runs differ all the same: the machine has its own chance.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;
use taskhook_sim::Random;
use taskhook_torture::judge::Judge;
use taskhook_torture::ledger::{Delivery, Event, Ledger, Promised, Seen};
use taskhook_torture::link::Link;
use taskhook_torture::plan::Features;
use taskhook_torture::server::Programs;
use taskhook_torture::tally::Tally;
use taskhook_torture::world::{self, Span, World};

use crate::binary::process::{RealServer, taskhook};

/// Kills under load. Others fall while it starts.
const KILLS: usize = 30;

/// What decides a world: given, or new.
pub(crate) fn seed() -> u64 {
    if let Ok(seed) = std::env::var("TASKHOOK_SEED") {
        return seed.parse().unwrap_or_else(|error| panic!("TASKHOOK_SEED={seed}: {error}"));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Short enough to be typed.
    now.as_secs() * 1_000 + u64::from(now.subsec_millis())
}

/// Lets so many blows fall in a world that `seed` decides, where this may be done, and checks that it holds. Gives what happened.
pub(crate) async fn hold(seed: u64, features: Features, blows: usize) -> Tally {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    std::fs::create_dir(&store).expect("a folder");
    // Nothing stands between it and its files: this needs no C compiler, and no rights.
    let programs = Programs { taskhook: PathBuf::from(taskhook().get_program()), shim: None };
    let begun = World::begin(&programs, &store, None, seed, features, None).await;
    let mut world = begun.expect("a world begins");
    let wrong = world.live(Span::Blows(blows)).await.unwrap_or_else(|error| panic!("{error:#}"));
    if !wrong.is_empty() {
        let told = world::tell(&mut world, &wrong).await.unwrap_or_else(|error| format!("{error:#}"));
        panic!("{} promises are broken with TASKHOOK_SEED={seed}:\n{told}", wrong.len());
    }
    std::mem::take(&mut world.tally)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_kill_9() {
    let seed = seed();
    println!("TASKHOOK_SEED={seed}");
    let tally = hold(seed, Features::KILLS, KILLS).await;
    println!("{}", tally.table());
    assert_eq!(tally.get("kills: kill -9 under load"), KILLS as u64);
    assert_eq!(tally.get("restarts, each checked"), KILLS as u64);
    assert_eq!(tally.get("checks: doctor, nothing found"), KILLS as u64 + 1);
    assert_ne!(tally.get("remote: attempts that were sent again"), 0, "no kill has found an exchange open");
}

/// What is compared can fail: three records of what was never answered.
#[tokio::test]
async fn a_forged_record_is_found() {
    let server = RealServer::start().await;
    server.create(json!({"id": "123"})).await;
    let ledger = Arc::new(Ledger::default());
    let seen = |state: &str| Promised {
        seen: vec![Seen { state: state.into(), attempt: None, result: None }],
        ..Promised::default()
    };
    let event = "evt_01h455vb4pex5vsknk084sn02q".to_string();
    {
        let mut records = ledger.read();
        records.tasks.extend([("123".into(), seen("running")), ("124".into(), seen("running"))]);
        let told =
            Event { outcome: Some("recorded".into()), delivery: None, body: r#"{"event":"x"}"#.into() };
        records.events.insert(event.clone(), told);
        let key = ("/webhook".into(), "d1".into());
        records.deliveries.insert(key, Delivery { event, firsts: 1 });
    }
    let judge = Judge { link: Link::new(server.address(), ledger.clone()), ledger: ledger.clone() };
    judge.compare(&mut Random::new(0), 1_000, &mut Tally::default()).await;
    let mut wrong: Vec<String> = ledger.read().wrong.iter().map(|wrong| wrong.what.clone()).collect();
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
