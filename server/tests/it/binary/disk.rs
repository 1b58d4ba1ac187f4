//! A disk that is full, and then has room again: what was answered is there, and nothing else was said.
//!
//! The real server runs on a small file system of its own, in memory, which nobody else sees.

#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use crate::binary::process::{Process, taskhook};
use crate::support::{Answer, Api, PATIENCE};

/// The server, on a file system of 8 MiB.
struct SmallDisk {
    api: Api,
    process: Process,
    folder: TempDir,
}

impl SmallDisk {
    async fn start() -> SmallDisk {
        let folder = tempfile::tempdir().expect("a folder");
        let mounts = "mount -t tmpfs -o size=8m none \"$0\" && exec \"$@\"";
        let within = |program: &Command| {
            let mut command = Command::new("unshare");
            command.args(["--map-root-user", "--mount", "sh", "-c", mounts]).arg(folder.path());
            command.arg(program.get_program()).args(program.get_args());
            command
        };
        let tried = within(&Command::new("true")).output();
        assert!(
            tried.as_ref().is_ok_and(|tried| tried.status.success()),
            "this test needs a file system of its own: `unshare --map-root-user --mount` must be allowed to \
             mount a tmpfs (as root, or with kernel.apparmor_restrict_unprivileged_userns=0): {tried:?}"
        );
        let mut server = taskhook();
        let store = format!("sqlite:{}", folder.path().join("store.db").display());
        server.args(["serve", "--listen", "127.0.0.1:0", "--store", &store]);
        let mut process = Process::spawn(within(&server));
        let line = process.first_line().await;
        let (_, url) =
            line.rsplit_once(" listens on ").unwrap_or_else(|| panic!("it does not listen: {line}"));
        SmallDisk { api: Api::new(url), process, folder }
    }

    /// The way to its file system from outside.
    fn path(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().strip_prefix("/").expect("an absolute path");
        Path::new("/proc").join(self.process.id().to_string()).join("root").join(folder).join(name)
    }

    /// Leaves so much room on it.
    fn fill(&self, but: u64) {
        let path = self.path("filler");
        let mut filler = File::create(&path).expect("a file");
        let mut size = 0;
        loop {
            match filler.write(&[b'x'; 4_096]) {
                Ok(written) => size += written as u64,
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => panic!("{error}"),
            }
        }
        filler.set_len(size.checked_sub(but).expect("as much room")).expect("it becomes shorter");
    }

    async fn create(&self, id: &str) -> Answer {
        let task = json!({"id": id, "labels": {"filler": "x".repeat(100)}});
        self.api.send("POST", "/v1/tasks", &[], task.to_string()).await
    }

    async fn complete(&self, id: &str) -> Answer {
        let event = json!({"event": "task_completed", "task_id": id});
        self.api.send("POST", "/webhook", &[], event.to_string()).await
    }
}

#[track_caller]
fn is_full(answer: &Answer) {
    let problem = answer.problem(503, "disk_full");
    assert!(answer.header("retry-after").is_some_and(|after| after.parse::<u64>().is_ok()), "{problem}");
}

#[tokio::test]
async fn a_full_disk_refuses_until_there_is_room() {
    let disk = SmallDisk::start().await;
    // Room for many pages of the log, and for none of them in the database file.
    disk.fill(2 << 20);
    let mut created = Vec::new();
    let full = loop {
        let id = format!("t{}", created.len());
        let answer = disk.create(&id).await;
        if answer.status != 201 {
            break answer;
        }
        created.push(id);
        assert!(created.len() < 10_000, "the disk is never full");
    };
    is_full(&full);
    assert!(created.len() > 20, "{} tasks filled 2 MiB", created.len());
    disk.fill(0);

    // Whatever is answered now is true.
    let (mut completed, mut late, mut refused) = (Vec::new(), Vec::new(), 0);
    for id in created.iter().take(20) {
        let answer = disk.complete(id).await;
        if answer.status == 200 {
            assert_eq!(answer.json()["task_state"], "succeeded");
            completed.push(id);
        } else {
            is_full(&answer);
        }
        // New work finds room only where the log begins anew.
        let id = format!("late{}", completed.len() + late.len());
        let answer = disk.create(&id).await;
        if answer.status == 201 {
            late.push(id);
        } else {
            is_full(&answer);
            refused += 1;
        }
    }
    // Where it did, what it holds is soon full again.
    while refused == 0 {
        let id = format!("late{}", completed.len() + late.len());
        let answer = disk.create(&id).await;
        if answer.status == 201 {
            late.push(id);
        } else {
            is_full(&answer);
            refused += 1;
        }
        assert!(late.len() < 10_000, "the disk is never full");
    }
    for id in &created {
        let wanted = if completed.contains(&id) { "succeeded" } else { "running" };
        assert_eq!(disk.api.task(id).await["state"], wanted, "{id}");
    }
    for id in &late {
        assert_eq!(disk.api.task(id).await["state"], "running", "{id}");
    }
    disk.api.get("/readyz").await.expect(200);

    std::fs::remove_file(disk.path("filler")).expect("a file");
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let late = loop {
        let answer = disk.create("late").await;
        if answer.status != 503 {
            break answer;
        }
        is_full(&answer);
        assert!(tokio::time::Instant::now() < deadline, "there is room, and it says that there is none");
    };
    late.expect(201);
    for id in &created {
        let outcome = if completed.contains(&id) { "ignored" } else { "applied" };
        assert_eq!(disk.complete(id).await.expect(200)["outcome"], outcome, "{id}");
    }
    for id in &created {
        assert_eq!(disk.api.task(id).await["state"], "succeeded", "{id}");
    }

    disk.process.tell_to_stop();
    let (status, said) = disk.process.end().await;
    assert_eq!(status.code(), Some(0), "{said}");
    for words in ["the disk is full", "there is room on the disk again"] {
        assert!((1..=3).contains(&said.matches(words).count()), "it is not said once:\n{said}");
    }
}
