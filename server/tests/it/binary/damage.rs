//! A store that is damaged: the server does not start on it, and says what to do.

use serde_json::json;

use crate::binary::process::{Process, RealServer, taskhook};

/// The size of a page of the store, in bytes.
const PAGE: usize = 4_096;

#[tokio::test]
async fn a_damaged_store_is_not_served() {
    let server = RealServer::start().await;
    for number in 0..50 {
        server.create(json!({"id": format!("t{number}"), "labels": {"filler": "x".repeat(100)}})).await;
    }
    let folder = server.into_folder().await;
    let store = folder.path().join("store.db");
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
