//! Slow clients by the thousand, and more of them than there are files: the others are served all the same.
#![cfg(target_os = "linux")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::binary::process::RealServer;
use crate::support::{PATIENCE, Worker, task_for};

/// Half of them trickle a head, half a body.
const SLOW: usize = 5_000;
/// Each sends a byte this often: every time just before anybody would call it silent.
const BYTE_EVERY: Duration = Duration::from_secs(9);
/// The server's words: a head must be complete within 10 s, a body within 15 s and one more for each KiB that came.
const HEAD_TIME: Duration = Duration::from_secs(10);
const BODY_TIME: Duration = Duration::from_secs(15);
/// How late a busy machine may be. The client's clock runs from before it connects.
const LATE: Duration = Duration::from_secs(8);
/// G15: what a server under attack may have in memory.
const MEMORY_KIB_MAX: u64 = 256 << 10;
/// What a connection may cost: its socket's buffers are the kernel's, hyper's first read buffer has 8 KiB, and the
/// rest is one request on its way through the routes.
const CONNECTION_KIB_MAX: u64 = 28;

/// What became of a slow client.
#[derive(Debug)]
struct Fate {
    is_body: bool,
    lasted: Duration,
    answer: String,
}

/// Sends a byte now and then until the server has had enough.
async fn trickle(address: String, is_body: bool, turns: Arc<Semaphore>) -> Fate {
    let head = "POST /webhook HTTP/1.1\r\nhost: localhost\r\n";
    let begun = match is_body {
        true => format!("{head}content-length: 100000\r\n\r\n{{\"event\": \"slow"),
        false => format!("{head}x-slow: "),
    };
    let turn = turns.acquire_owned().await.expect("a turn");
    let began = Instant::now();
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(begun.as_bytes()).await.expect("it is read");
    drop(turn);
    let (mut from, mut to) = stream.split();
    let trickling = async {
        let mut now_and_then = tokio::time::interval(BYTE_EVERY);
        now_and_then.tick().await;
        loop {
            now_and_then.tick().await;
            if to.write_all(b"x").await.is_err() {
                // What counts is what the other half reads.
                std::future::pending::<()>().await;
            }
        }
    };
    let mut answer = Vec::new();
    tokio::select! {
        // A connection that is reset has ended too.
        _ = from.read_to_end(&mut answer) => {}
        () = trickling => {}
    }
    Fate { is_body, lasted: began.elapsed(), answer: String::from_utf8_lossy(&answer).into_owned() }
}

/// So many files this process needs, and with it the server, which takes its limits from it.
fn allow_files(files: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= files) {
        return;
    }
    assert!(
        limit.maximum.is_none_or(|maximum| maximum >= files),
        "this machine allows {:?} open files, and this test needs {files}: raise `ulimit -Hn`",
        limit.maximum
    );
    setrlimit(Resource::Nofile, Rlimit { current: Some(files), maximum: limit.maximum })
        .expect("it is allowed");
}

/// A figure of the process from `/proc/PID/status`, in KiB.
fn memory_kib(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("the figure");
    line.trim_matches([':', ' ', '\t']).trim_end_matches(" kB").parse().expect("a number")
}

fn open_files(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("its files").count()
}

/// User and system time that the process has used.
fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("its figures");
    let fields: Vec<&str> = stat.rsplit_once(") ").expect("its name").1.split(' ').collect();
    let ticks = |field: &str| field.parse::<u64>().expect("a number");
    // Fields 14 and 15, in hundredths of a second; the first two are the number and the name.
    Duration::from_millis(10 * (ticks(fields[11]) + ticks(fields[12])))
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    let mut looks = tokio::time::interval(Duration::from_millis(10));
    while !holds() {
        assert!(Instant::now() < deadline, "it never comes to be that {what}");
        looks.tick().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_slow_clients_disturb_nobody_and_are_ended() {
    allow_files(SLOW as u64 + 500);
    let server = RealServer::start().await;
    let pid = server.id();
    for n in 0..50 {
        server.webhook(json!({"event": "before", "n": n})).await;
    }
    let before_kib = memory_kib(pid, "VmRSS");
    let files_before = open_files(pid);

    let address = server.url.strip_prefix("http://").expect("http").to_string();
    let turns = Arc::new(Semaphore::new(32));
    let mut slow = JoinSet::new();
    for n in 0..SLOW {
        slow.spawn(trickle(address.clone(), n % 2 == 0, turns.clone()));
    }

    // As they come, while all of them are there, and as the first ones go: some on a connection that is kept, some on
    // new ones.
    let mut took = Vec::new();
    let (started, mut connected) = (Instant::now(), None);
    let mut beside_all = 0;
    let mut with_kib = 0;
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    for n in 0..500 {
        pace.tick().await;
        if open_files(pid) >= files_before + SLOW {
            connected.get_or_insert(started.elapsed());
            beside_all += 1;
            with_kib = memory_kib(pid, "VmRSS");
        }
        let client = if n % 4 == 0 { server.anew() } else { Clone::clone(&*server) };
        let began = Instant::now();
        client.webhook(json!({"event": "meanwhile", "n": n})).await;
        took.push(began.elapsed());
    }
    assert!(beside_all >= 50, "{beside_all} webhooks came while all of them were there");
    took.sort();
    let p99 = took[took.len() * 99 / 100];

    let fates = tokio::time::timeout(PATIENCE, slow.join_all()).await.expect("all are ended");
    let highest_kib = memory_kib(pid, "VmHWM");
    let each_kib = with_kib.saturating_sub(before_kib) / SLOW as u64;
    println!(
        "{beside_all} of {} beside all, who came in {connected:?}: p50 {:?}, p99 {p99:?}, worst {:?}; {before_kib} KiB before, {with_kib} with them ({each_kib} each), {highest_kib} \
         at most",
        took.len(),
        took[took.len() / 2],
        took[took.len() - 1]
    );
    assert!(p99 < Duration::from_secs(1), "a webhook took {p99:?}");
    assert!(highest_kib < MEMORY_KIB_MAX, "{highest_kib} KiB");
    assert!(each_kib < CONNECTION_KIB_MAX, "{each_kib} KiB for each of them");
    let (mut closed, mut told) = (0, 0);
    for fate in &fates {
        let time = if fate.is_body { BODY_TIME } else { HEAD_TIME };
        assert!((time..time + LATE).contains(&fate.lasted), "{fate:?}");
        let is_told = fate.answer.starts_with("HTTP/1.1 408 ");
        told += usize::from(fate.is_body && is_told);
        closed += usize::from(!fate.is_body && (is_told || fate.answer.is_empty()));
    }
    assert_eq!(closed, SLOW / 2, "each head is closed");
    assert_eq!(told, SLOW / 2, "each body is told so");
    until("its files are free", || open_files(pid) < files_before + 200).await;
    let events = server.get("/v1/events?limit=1000&type=slow").await.expect(200);
    assert_eq!(events["data"], json!([]), "none of them has left anything");
    server.get("/readyz").await.expect(200);
    let said = server.said();
    assert!(!said.contains("WARN") && !said.contains("ERROR"), "{said}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_cannot_take_the_files_that_work_needs() {
    let server = RealServer::start_with_files(200).await;
    server.until_it_says("few clients can be connected at the same time").await;
    let said = server.said();
    assert!(said.contains("connections_max=100"), "{said}");
    let mut worker = Worker::start().await;
    server.get("/readyz").await.expect(200);
    let (pid, address) = (server.id(), server.url.strip_prefix("http://").expect("http").to_string());
    let files_before = open_files(pid);

    // More than it takes. The rest waits, connected by the kernel.
    let mut silent = Vec::new();
    for _ in 0..150 {
        silent.push(TcpStream::connect(&address).await.expect("a connection"));
    }
    until("all places are taken", || open_files(pid) >= files_before + 99).await;
    // Who is connected goes on: a task is created, sent, and ends.
    server.create(task_for(&worker, "a")).await;
    worker.call().await.status(200);
    assert_eq!(server.end_of("a").await["state"], "succeeded");
    assert!(open_files(pid) <= 150, "{} files", open_files(pid));
    // Who is not has to wait until heads that never came are given up.
    let began = Instant::now();
    server.anew().get("/readyz").await.expect(200);
    assert!(began.elapsed() < 2 * HEAD_TIME + LATE, "it took {:?}", began.elapsed());
    assert!(!server.said().contains("cannot be accepted"), "{}", server.said());
    drop(silent);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_file_left_it_neither_spins_nor_ends() {
    let server = RealServer::start().await;
    server.get("/readyz").await.expect(200);
    let pid = server.id();
    let process = Pid::from_raw(i32::try_from(pid).expect("a number")).expect("a process");
    // From now on it may open none: somebody else's leak, say.
    let open = u64::try_from(open_files(pid)).expect("a number");
    let nothing = Rlimit { current: Some(open), maximum: getrlimit(Resource::Nofile).maximum };
    let before = prlimit(Some(process), Resource::Nofile, nothing).expect("it is our child");

    let waiting = server.anew();
    let waiting = tokio::spawn(async move { waiting.get("/readyz").await.status });
    server.until_it_says("connections cannot be accepted").await;
    let (began, used) = (Instant::now(), cpu_time(pid));
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    while began.elapsed() < Duration::from_secs(2) {
        pace.tick().await;
        server.webhook(json!({"event": "meanwhile"})).await;
    }
    let used = cpu_time(pid) - used;
    assert!(used < Duration::from_secs(1), "it used {used:?} in two seconds");
    assert_eq!(server.said().matches("cannot be accepted").count(), 1, "{}", server.said());

    prlimit(Some(process), Resource::Nofile, before).expect("it is our child");
    assert_eq!(waiting.await.expect("an answer"), 200);
    server.stop().await;
}
