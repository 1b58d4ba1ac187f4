//! Clients, a worker and a server that is killed: started together, checked together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use taskhook_sim::Random;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::binary::crash::check;
use crate::binary::crash::ledger::{Item, Ledger, Webhook, text};
use crate::binary::crash::link::Link;
use crate::binary::crash::load::{Client, tell};
use crate::binary::crash::worker::{Shop, work};
use crate::binary::process::RealServer;
use crate::support::{PATIENCE, Worker};

const CLIENTS: usize = 6;
/// Requests at the same time, while everything is checked.
const CHECKERS: usize = 8;

/// A server under load.
pub struct Storm {
    pub server: RealServer,
    pub random: Random,
    pub figures: Figures,
    seed: u64,
    ledger: Arc<Ledger>,
    /// Which life of the server there is; for the worker and for those who check.
    up: watch::Sender<u64>,
    /// The same, while the clients may ask.
    open: watch::Sender<u64>,
    calm: watch::Sender<bool>,
    over: watch::Sender<bool>,
    clients: JoinSet<()>,
    worker: JoinHandle<()>,
    lives: u64,
}

/// What a storm came to.
#[derive(Debug, Default, Clone)]
pub struct Figures {
    pub kills: u64,
    pub kills_at_start: u64,
    pub answers: u64,
    pub tasks: usize,
    pub events: usize,
    pub deliveries: usize,
    pub dispatches: usize,
    pub resends: usize,
    pub checks: u64,
    pub ends: BTreeMap<String, usize>,
}

impl Storm {
    /// A storm that `seed` decides, as far as chance is ours. In a prompt one no exchange is open for long.
    pub async fn begin(seed: u64, prompt: bool) -> Storm {
        let mut random = Random::new(seed);
        let server = RealServer::start().await;
        let worker = Worker::start().await;
        let ledger = Arc::new(Ledger::default());
        let (up, open) = (watch::Sender::new(1), watch::Sender::new(0));
        let (calm, over) = (watch::Sender::new(false), watch::Sender::new(false));
        let link = |gate: &watch::Sender<u64>| Link::new(&server.url, gate.subscribe(), ledger.clone());
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let client = Client {
                name: format!("c{number}"),
                random: random.fork(),
                link: link(&open),
                ledger: ledger.clone(),
                worker: format!("{}/work", worker.url),
                tasks: Vec::new(),
                delivered: Vec::new(),
                made: 0,
            };
            clients.spawn(client.run(calm.subscribe()));
        }
        let shop = Shop { seed, link: link(&up), ledger: ledger.clone(), calm: calm.subscribe(), prompt };
        let worker = tokio::spawn(work(worker, shop, over.subscribe()));
        let figures = Figures::default();
        Storm { server, random, figures, seed, ledger, up, open, calm, over, clients, worker, lives: 1 }
    }

    /// Lets the clients go, and waits for their first answers.
    pub async fn blow(&mut self) {
        let mut answers = self.ledger.answers();
        let before = *answers.borrow_and_update();
        self.open.send_replace(self.lives);
        let first = tokio::time::timeout(PATIENCE, answers.wait_for(|count| *count > before));
        assert!(first.await.is_ok_and(|first| first.is_ok()), "nobody is answered");
    }

    /// Lets a moment pass, of at most `most`.
    pub async fn pass(&mut self, most: Duration) {
        let moment =
            Duration::from_micros(self.random.below(u64::try_from(most.as_micros()).unwrap_or(u64::MAX)));
        tokio::time::sleep(moment).await; // real time: the kill shall come at any moment
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.look_for_defects();
        self.server.kill();
        self.is_dead();
        self.figures.kills += 1;
    }

    /// Tells everybody that the server is gone.
    pub fn is_dead(&mut self) {
        self.open.send_replace(0);
        self.up.send_replace(0);
    }

    /// Starts the server again, sometimes killed while it starts; the clients wait.
    pub async fn restart(&mut self) {
        while self.random.per_mille(250) {
            let process = self.server.spawn();
            self.pass(Duration::from_millis(60)).await;
            process.kill();
            self.figures.kills_at_start += 1;
        }
        self.server.start_again().await;
        self.lives += 1;
        self.up.send_replace(self.lives);
    }

    /// Compares what is there with what was promised since the last time, and with so many of a thousand
    /// older promises.
    pub async fn check(&mut self, older: u16) {
        let items = self.ledger.read().items(&mut self.random, older);
        self.figures.checks += items.len() as u64;
        let per_checker = items.len().div_ceil(CHECKERS).max(1);
        let mut checkers = JoinSet::new();
        for items in items.chunks(per_checker).map(<[Item]>::to_vec) {
            let (mut link, ledger) = (self.link(), self.ledger.clone());
            checkers.spawn(async move {
                for item in items {
                    if let Some(wrong) = verify(&mut link, item).await {
                        ledger.wrong(wrong);
                    }
                }
            });
        }
        while let Some(checked) = checkers.join_next().await {
            checked.expect("everything is read");
        }
        self.assert_kept();
    }

    /// Lets everything come to its end, and checks the whole of it.
    pub async fn end(mut self) -> Figures {
        self.calm.send_replace(true);
        self.open.send_replace(self.lives);
        while let Some(client) = self.clients.join_next().await {
            client.expect("a client acts to its end");
        }
        let t = std::time::Instant::now();
        self.complete_externals().await;
        eprintln!("ext {:?}", t.elapsed());
        let tasks = self.ends().await;
        eprintln!("ends {:?}", t.elapsed());
        self.over.send_replace(true);
        tokio::time::timeout(PATIENCE, &mut self.worker)
            .await
            .expect("it comes to its end")
            .expect("it works");
        self.check(1_000).await;
        eprintln!("check {:?}", t.elapsed());
        self.check_stories(&tasks).await;
        eprintln!("stories {:?}", t.elapsed());
        self.stop().await;
        let doctor = self.server.doctor();
        assert!(doctor.status.success(), "seed {}: {}", self.seed, String::from_utf8_lossy(&doctor.stdout));
        self.figures(&tasks)
    }

    /// SIGTERM: it ends in order, and soon.
    pub async fn stop(&mut self) -> Duration {
        self.look_for_defects();
        let (status, took) = self.server.terminate().await;
        self.is_dead();
        assert_eq!(status.code(), Some(0), "seed {}", self.seed);
        took
    }

    /// Completes the external tasks that nobody has ended.
    async fn complete_externals(&mut self) {
        let mut link = self.link();
        let tasks: Vec<_> = self.ledger.read().tasks.clone().into_iter().collect();
        for (id, promised) in tasks {
            let ended = promised.seen.iter().any(|seen| check::is_end(&seen.state));
            if promised.external && !ended {
                let body = json!({"event": "task_completed", "task_id": id, "result": "at the end"});
                let delivery = Some(format!("the end of {id}"));
                let webhook = Webhook { path: "/webhook".into(), delivery, echo: None, body };
                tell(&mut link, &self.ledger, &webhook, Some(&id)).await;
            }
        }
    }

    /// Waits for the end of every task; gives them by id.
    async fn ends(&mut self) -> BTreeMap<String, Value> {
        let mut link = self.link();
        let ids: Vec<_> = self.ledger.read().tasks.keys().cloned().collect();
        let mut tasks = BTreeMap::new();
        for id in ids {
            let answer = link.ask("GET", &format!("/v1/tasks/{id}?wait=20s"), &[], "").await;
            if answer.status != 200 {
                self.ledger.wrong(format!("the task {id} is answered {}", answer.status));
                continue;
            }
            let task = answer.json();
            let ended = !task["ended_at"].is_null();
            self.ledger.saw(&task);
            tasks.insert(id, task);
            if !ended {
                break;
            }
        }
        tasks
    }

    /// Checks how every task came to its end.
    async fn check_stories(&mut self, tasks: &BTreeMap<String, Value>) {
        let mut link = self.link();
        let records = std::mem::take(&mut *self.ledger.read());
        let mut wrong = check::calls(&records.calls);
        let mut begun = BTreeMap::new();
        for (id, task) in tasks {
            let answer = link.ask("GET", &format!("/v1/tasks/{id}/history?limit=1000"), &[], "").await.json();
            let history = answer["data"].as_array().cloned().unwrap_or_default();
            let first = history.iter().find(|entry| entry["change"] == "dispatched");
            begun.extend(first.and_then(|entry| Some((id.clone(), entry["at"].as_str()?.to_string()))));
            let promised = records.tasks.get(id).cloned().unwrap_or_default();
            wrong.extend(check::end(&promised, task, &history, &records.sends(id)));
        }
        wrong.extend(check::dependencies(tasks, &begun));
        *self.ledger.read() = records;
        wrong.into_iter().for_each(|wrong| self.ledger.wrong(wrong));
        self.assert_kept();
    }

    /// A defect that the server has noticed itself stands in its log.
    fn look_for_defects(&self) {
        let said = self.server.said();
        for line in said.lines().filter(|line| line.contains("ERROR") || line.contains("panicked")) {
            self.ledger.wrong(format!("the server says: {line}"));
        }
    }

    fn assert_kept(&self) {
        let records = self.ledger.read();
        let count = records.wrong.len();
        let first: Vec<&str> = records.wrong.iter().take(10).map(String::as_str).collect();
        assert!(count == 0, "seed {}: {count} promises are broken:\n{}", self.seed, first.join("\n"));
    }

    fn link(&self) -> Link {
        Link::new(&self.server.url, self.up.subscribe(), self.ledger.clone())
    }

    fn figures(&self, tasks: &BTreeMap<String, Value>) -> Figures {
        let records = self.ledger.read();
        let mut figures = self.figures.clone();
        figures.answers = *self.ledger.answers().borrow();
        figures.tasks = records.tasks.len();
        figures.events = records.events.len();
        figures.deliveries = records.deliveries.len();
        figures.dispatches = records.calls.len();
        let attempts: BTreeSet<_> = records.calls.iter().map(|call| &call.webhook_id).collect();
        figures.resends = records.calls.len() - attempts.len();
        for task in tasks.values() {
            *figures.ends.entry(text(&task["state"])).or_default() += 1;
        }
        figures
    }
}

/// Compares one promise with what is there.
async fn verify(link: &mut Link, item: Item) -> Option<String> {
    match item {
        Item::Task(id, promised) => {
            let answer = link.ask("GET", &format!("/v1/tasks/{id}"), &[], "").await;
            check::task(&id, &promised, (answer.status == 200).then(|| answer.json()).as_ref())
        }
        Item::Event(id, event) => {
            let answer = link.ask("GET", &format!("/v1/events/{id}"), &[], "").await;
            check::event(&id, &event, (answer.status == 200).then(|| answer.json()).as_ref())
        }
        Item::Delivery { path, id, event, body } => {
            let answer = link.ask("POST", &path, &[("webhook-id", &id)], body).await;
            check::repeat(&id, &event, &answer.json())
        }
    }
}
