//! A store that is damaged: the server does not start on it, and says what to do.

use serde_json::json;

use crate::binary::process::{Process, RealServer, taskhook};

/// The size of a page of the store, in bytes.
const PAGE: usize = 4_096;

#[tokio::test]
async fn of_a_damaged_store_the_log_is_left_too() {
    let mut server = RealServer::start().await;
    for number in 0..50 {
        server.create(json!({"id": format!("t{number}"), "labels": {"filler": "x".repeat(100)}})).await;
    }
    // Opened once more, so that the file holds something, and the log does too.
    server.crash_and_restart().await;
    server.create(json!({"id": "last"})).await;
    server.kill();
    let store = server.store();
    let log = store.with_extension("db-wal");
    let (sound, logged) = (std::fs::read(&store).expect("the store"), std::fs::read(&log).expect("its log"));
    assert!(logged.len() > PAGE, "{} bytes are in the log", logged.len());
    let mut damaged = sound.clone();
    damaged[sound.len() / PAGE / 2 * PAGE..][..PAGE].fill(0xa5);
    for damaged in [damaged, Vec::new()] {
        std::fs::write(&store, &damaged).expect("a file");
        let (status, said) = server.spawn().end().await;
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(said.contains("is damaged") && said.contains("store.db-wal"), "{said}");
        assert_eq!(std::fs::read(&store).expect("the store"), damaged, "the store was written to");
        assert_eq!(std::fs::read(&log).expect("its log"), logged, "the log was written to");
    }
    std::fs::write(&store, &sound).expect("a file");
    server.start_again().await;
    assert_eq!(server.task("last").await["state"], "running");
}

#[tokio::test]
async fn a_damaged_store_is_not_served() {
    let server = RealServer::start().await;
    for number in 0..50 {
        server.create(json!({"id": format!("t{number}"), "labels": {"filler": "x".repeat(100)}})).await;
    }
    let folder = server.into_folder().await;
    let store = folder.path().join("store.db");
    assert!(!store.with_extension("db-wal").exists(), "all is in the file after an orderly end");
    let sound = std::fs::read(&store).expect("the store");
    let serve = || {
        let mut command = taskhook();
        command.args(["serve", "--listen", "127.0.0.1:0", "--store"]).current_dir(folder.path());
        command.arg(format!("sqlite:{}", store.display()));
        Process::spawn(command)
    };
    for (page, words) in [(sound.len() / PAGE / 2, "is damaged"), (0, "is not a store of Taskhook")] {
        let mut damaged = sound.clone();
        damaged[page * PAGE..(page + 1) * PAGE].fill(0xa5);
        std::fs::write(&store, &damaged).expect("a file");
        let (status, said) = serve().end().await;
        assert_eq!(status.code(), Some(1), "page {page}: {said}");
        assert!(
            said.contains(words) && said.contains("store.db") && said.contains("backup"),
            "page {page}: {said}"
        );
        assert_eq!(std::fs::read(&store).expect("the store"), damaged, "page {page}: it was written to");
    }
    // The backup that it asks for.
    std::fs::write(&store, &sound).expect("a file");
    let mut process = serve();
    assert!(process.first_line().await.contains(" listens on "));
}
