//! A disk that is full, and then has room again: what was answered is there, completions are taken as long as they find any
//! room, and nothing else was said (G16).
//!
//! The real server runs on a small file system of its own, in memory, which nobody else sees.

#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::binary::process::{Process, taskhook};
use crate::support::{Answer, Api, PATIENCE, Worker, task_for};

/// The most that may be out of reach of new work on a small file system, in bytes.
const RESERVE_MAX: u64 = 1 << 20;

/// A file system of 8 MiB, and a server on it.
struct SmallDisk {
    api: Api,
    process: Option<Process>,
    /// As long as it lives, so does the file system.
    holder: Process,
    folder: TempDir,
}

impl SmallDisk {
    async fn start() -> SmallDisk {
        let folder = tempfile::tempdir().expect("a folder");
        let mut holder = Command::new("unshare");
        let mount = "mount -t tmpfs -o size=8m none \"$0\" && echo mounted && exec sleep 3600";
        holder.args(["--map-root-user", "--mount", "sh", "-c", mount]).arg(folder.path());
        let mut holder = Process::spawn(holder);
        let line = holder.first_line().await;
        assert_eq!(
            line, "mounted",
            "this test needs a file system of its own: `unshare --map-root-user --mount` must be allowed to mount a \
             tmpfs (as root, or with kernel.apparmor_restrict_unprivileged_userns=0)"
        );
        let mut disk = SmallDisk { api: Api::new("http://127.0.0.1:0"), process: None, holder, folder };
        disk.serve().await;
        disk
    }

    /// Starts the server that is on it, or the next one.
    async fn serve(&mut self) {
        let mut process = self.spawn(&[]);
        let line = process.first_line().await;
        self.listens(process, &line);
    }

    fn listens(&mut self, process: Process, line: &str) {
        let (_, url) =
            line.rsplit_once(" listens on ").unwrap_or_else(|| panic!("it does not listen: {line}"));
        self.api = Api::new(url);
        self.process = Some(process);
    }

    /// A server on it, as it is started with these options.
    fn spawn(&self, options: &[&str]) -> Process {
        let server = taskhook();
        let mut within = Command::new("nsenter");
        within.args([
            "--target",
            &self.holder.id().to_string(),
            "--user",
            "--mount",
            "--preserve-credentials",
        ]);
        within.arg(server.get_program()).args(["serve", "--listen", "127.0.0.1:0", "--store"]);
        within.arg(format!("sqlite:{}", self.folder.path().join("store.db").display()));
        for (name, value) in server.get_envs() {
            if value.is_none() {
                within.env_remove(name);
            }
        }
        within.args(options);
        Process::spawn(within)
    }

    fn process(&mut self) -> Process {
        self.process.take().expect("it runs")
    }

    /// Stops the server in order. Answers what it has said.
    async fn stop(&mut self) -> String {
        let process = self.process();
        process.tell_to_stop();
        let (status, said) = process.end().await;
        assert_eq!(status.code(), Some(0), "{said}");
        said
    }

    /// The way to its file system from outside.
    fn path(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().strip_prefix("/").expect("an absolute path");
        Path::new("/proc").join(self.holder.id().to_string()).join("root").join(folder).join(name)
    }

    /// Leaves so much room on it.
    fn fill(&self, but: u64) {
        let mut filler = File::options().create(true).append(true).open(self.path("filler")).expect("a file");
        loop {
            match filler.write(&[b'x'; 4_096]) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => panic!("{error}"),
            }
        }
        let size = filler.metadata().expect("a file").len();
        filler.set_len(size.checked_sub(but).expect("as much room")).expect("it becomes shorter");
    }

    fn empty(&self) {
        std::fs::remove_file(self.path("filler")).expect("a file");
    }

    /// The bytes that are free on it.
    fn free(&self) -> u64 {
        let system = rustix::fs::statvfs(self.path("")).expect("a file system");
        system.f_bavail * system.f_frsize
    }

    async fn create(&self, id: &str) -> Answer {
        let task = json!({"id": id, "labels": {"filler": "x".repeat(100)}});
        self.api.send("POST", "/v1/tasks", &[], task.to_string()).await
    }

    /// Creates tasks until one is refused.
    async fn create_until_full(&self) -> Vec<String> {
        let mut created = Vec::new();
        loop {
            let id = format!("t{}", created.len());
            let answer = self.create(&id).await;
            if answer.status != 201 {
                is_full(&answer);
                return created;
            }
            created.push(id);
            assert!(created.len() < 20_000, "the disk is never full");
        }
    }

    async fn complete(&self, id: &str) -> Answer {
        let event = json!({"event": "task_completed", "task_id": id});
        self.api.send("POST", "/webhook", &[], event.to_string()).await
    }

    /// Waits until new work is taken.
    async fn until_there_is_room(&self, id: &str) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let answer = self.create(id).await;
            if answer.status != 503 {
                answer.expect(201);
                return;
            }
            is_full(&answer);
            assert!(tokio::time::Instant::now() < deadline, "there is room, and it says that there is none");
        }
    }

    /// Waits until it is counted so, which takes a second at the most.
    async fn until_metric(&self, line: &str) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let metrics = self.api.get("/metrics").await.text();
            if metrics.lines().any(|other| other == line) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "no {line} in\n{metrics}");
            tokio::time::sleep(Duration::from_millis(50)).await; // real time: the figures are up to a second old.
        }
    }
}

#[track_caller]
fn is_full(answer: &Answer) {
    let problem = answer.problem(503, "disk_full");
    assert!(answer.header("retry-after").is_some_and(|after| after.parse::<u64>().is_ok()), "{problem}");
}

#[tokio::test]
async fn completions_are_taken_on_a_full_disk_as_long_as_they_find_room() {
    let mut disk = SmallDisk::start().await;
    disk.fill(2 << 20);
    let created = disk.create_until_full().await;
    assert!(created.len() > 500, "{} tasks filled 2 MiB", created.len());
    // New work has had all of the disk but for the reserve, and the length that the log has given back.
    assert!(disk.free() <= RESERVE_MAX, "{} bytes are free", disk.free());
    // Somebody else takes what the server has let go of.
    disk.fill(RESERVE_MAX / 2);

    let (mut completed, mut refused) = (0, 0);
    for (number, id) in created.iter().enumerate() {
        let answer = disk.complete(id).await;
        if answer.status != 200 {
            is_full(&answer);
            break;
        }
        assert_eq!(answer.json()["task_state"], "succeeded");
        completed += 1;
        if number % 100 == 0 {
            is_full(&disk.create("new").await);
            refused += 1;
        }
    }
    assert!(completed >= 400, "half a MiB had room for {completed} completions");
    assert!(refused >= 4);
    for (number, id) in created.iter().enumerate().step_by(50) {
        let wanted = if number < completed { "succeeded" } else { "running" };
        assert_eq!(disk.api.task(id).await["state"], wanted, "{id}");
    }
    assert!(disk.api.get("/readyz").await.expect(200)["disk_full_since"].is_string());
    disk.until_metric("taskhook_disk_full 1").await;
    let doctor = taskhook().args(["doctor", "--output", "json", "--url", &disk.api.url]).output();
    let doctor = doctor.expect("it runs");
    assert_eq!(doctor.status.code(), Some(1), "{doctor:?}");
    let report: Value = serde_json::from_slice(&doctor.stdout).expect("JSON");
    assert!(report["disk_full_since"].is_string() && report["ok"] == false, "{report}");

    disk.empty();
    disk.until_there_is_room("late").await;
    assert_eq!(disk.api.get("/readyz").await.expect(200), json!({"status": "ok"}));
    disk.until_metric("taskhook_disk_full 0").await;
    for (number, id) in created.iter().enumerate() {
        let outcome = if number < completed { "ignored" } else { "applied" };
        assert_eq!(disk.complete(id).await.expect(200)["outcome"], outcome, "{id}");
    }
    let said = disk.stop().await;
    for words in ["the disk is full: new work is refused", "there is room on the disk again"] {
        assert_eq!(said.matches(words).count(), 1, "it is not said once:\n{said}");
    }
}

#[tokio::test]
async fn nothing_begins_while_the_disk_is_full_and_everything_after_it() {
    let disk = SmallDisk::start().await;
    let mut worker = Worker::start().await;
    disk.api.create(task_for(&worker, "begun")).await;
    let call = worker.call().await;
    let url = call.header("taskhook-callback-url");
    let mut later = task_for(&worker, "later");
    later["after"] = json!(["begun"]);
    disk.api.create(later).await;
    disk.fill(1 << 20);
    disk.create_until_full().await;

    // The response of an attempt that has begun is taken, and so is its webhook; what follows waits, and says why.
    call.status(202);
    disk.api.until_state("begun", "running").await;
    assert_eq!(disk.api.call_back(&url, json!({"event": "task_completed"})).await["task_state"], "succeeded");
    let waiting = disk.api.task("later").await["waiting_for"].clone();
    assert_eq!(waiting["code"], "disk_full", "{waiting}");
    let text = waiting["text"].as_str().unwrap_or_default();
    assert!(text.starts_with("room on the disk of the server, which is full since "), "{waiting}");
    let queue = disk.api.get("/v1/queues/default").await.expect(200);
    assert_eq!(queue["waiting_for"]["disk_full"], 1, "{queue}");
    let schedule = json!({"every": "1m", "task": {}}).to_string();
    is_full(&disk.api.send("PUT", "/v1/schedules/minutely", &[], schedule).await);
    // Who wants less of the disk is heard.
    assert_eq!(disk.api.post("/v1/tasks/t0/cancel", Value::Null).await.expect(200)["state"], "cancelled");
    assert!(worker.is_idle());

    disk.empty();
    worker.call().await.status(200);
    assert_eq!(disk.api.end_of("later").await["state"], "succeeded");
}

#[tokio::test]
async fn a_server_starts_on_a_full_disk() {
    let mut disk = SmallDisk::start().await;
    disk.fill(2 << 20);
    let created = disk.create_until_full().await;
    // Completions have what is left, and then nobody has any.
    disk.fill(128 << 10);
    let mut completed = 0;
    while disk.complete(&created[completed]).await.status == 200 {
        completed += 1;
    }
    disk.process().kill();
    disk.fill(0);
    assert_eq!(disk.free(), 0);

    disk.serve().await;
    let said = disk.process.as_ref().map(Process::said).unwrap_or_default();
    for (id, wanted) in [(&created[completed - 1], "succeeded"), (&created[completed], "running")] {
        assert_eq!(disk.api.task(id).await["state"], wanted, "{id}: {said}");
    }
    is_full(&disk.create("new").await);
    assert!(disk.stop().await.contains("the disk is full: new work is refused"));

    // What an orderly end has freed is somebody else's now.
    disk.fill(0);
    assert_eq!(disk.free(), 0);
    disk.serve().await;
    assert_eq!(disk.api.task(&created[0]).await["state"], "succeeded");
    is_full(&disk.create("new").await);
    // Once more: what the start needed is kept for the next one.
    disk.stop().await;
    disk.fill(0);
    disk.serve().await;
    is_full(&disk.create("new").await);
    disk.empty();
    disk.until_there_is_room("late").await;
    assert_eq!(disk.complete(&created[completed]).await.expect(200)["task_state"], "succeeded");
    assert_eq!(disk.complete(&created[0]).await.expect(200)["outcome"], "ignored");
}

/// Nothing has to be written for that.
#[tokio::test]
async fn a_server_that_is_held_is_held_again_on_a_full_disk() {
    let mut disk = SmallDisk::start().await;
    disk.api.post("/v1/hold", json!({})).await.expect(200);
    disk.stop().await;
    std::fs::remove_file(disk.path("store.db-reserve")).expect("the reserve");
    // What the index of the log takes, and a page.
    disk.fill(36 << 10);
    let mut process = disk.spawn(&["--hold"]);
    let line = process.first_line().await;
    disk.listens(process, &line);
    assert!(disk.api.get("/v1/hold").await.expect(200)["held"] == true);
    disk.stop().await;
}

#[tokio::test]
async fn a_store_is_not_made_on_a_full_disk_and_that_is_said() {
    let mut disk = SmallDisk::start().await;
    disk.stop().await;
    for file in ["store.db", "store.db-reserve", "store.db-wal", "store.db-shm"] {
        let _ = std::fs::remove_file(disk.path(file));
    }
    disk.fill(0);
    let (status, said) = disk.spawn(&[]).end().await;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("there is no room on its disk"), "{said}");
}

#[tokio::test]
async fn who_waits_for_an_answer_gets_one_whatever_else_finds_no_room() {
    let mut disk = SmallDisk::start().await;
    let mut worker = Worker::start().await;
    let mut calls = Vec::new();
    for number in 0..24 {
        let mut task = task_for(&worker, &format!("begun{number}"));
        task["payload"] = json!("x".repeat(2_000));
        disk.api.create(task).await;
        calls.push(worker.call().await);
    }
    for _ in 0..8 {
        let bulk =
            json!({"action": "cancel", "filter": {"name": "nobody"}, "rate": {"limit": 1, "per": "5s"}});
        disk.api.post("/v1/bulk", bulk).await.expect(202);
    }
    disk.fill(1 << 20);
    let created = disk.create_until_full().await;
    disk.fill(0);
    // More responses than one transaction takes here, and each has a body for which there is no room.
    for call in calls {
        call.answer(202, &[("content-type", "text/plain")], "y".repeat(60_000));
    }
    for id in created.iter().take(3) {
        let answer = disk.complete(id).await;
        assert!([200, 503].contains(&answer.status), "{}", answer.status);
    }
    let said = disk.stop().await;
    assert!(!said.contains("has not stopped in time"), "{said}");

    disk.empty();
    disk.serve().await;
    disk.until_there_is_room("late").await;
    for number in 0..24 {
        let state = disk.api.task(&format!("begun{number}")).await["state"].clone();
        assert!(
            ["dispatching", "running"].contains(&state.as_str().unwrap_or_default()),
            "{number}: {state}"
        );
    }
}
