//! The remote: it answers at once, calls back, fails, hangs up, or is slow, as chance has it.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use taskhook_sim::Random;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};

use crate::http::{self, Call, Sent};
use crate::ledger::{Ledger, Webhook};
use crate::link::Link;
use crate::load::tell;

/// How long the remote holds what it does not answer: longer than Taskhook waits.
const HOLD_MAX: Duration = Duration::from_secs(4);

/// What every call needs.
#[derive(Clone)]
pub struct Remote {
    /// What decides, with the call.
    pub seed: u64,
    /// The way back.
    pub link: Link,
    /// What was seen and answered.
    pub ledger: Arc<Ledger>,
    /// From now on everything is done at once.
    pub calm: watch::Receiver<bool>,
    /// No attempt is open for longer than the remote itself takes.
    pub prompt: bool,
    /// How often each task was asked for.
    pub asked: Arc<Mutex<BTreeMap<String, u64>>>,
}

/// What the remote does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Script {
    /// 200 with a result.
    Answer,
    /// 202, and a callback later.
    Accept,
    /// A callback, and then the response.
    CallBackFirst,
    /// `task_started`, 200, and a callback that is not needed unless the 200 was lost.
    Announce,
    /// 500.
    Fail,
    /// 202, and a callback that says it failed.
    FailLater,
    /// 404, which a retry cannot mend.
    Refuse,
    HangUp,
    /// No answer for longer than anybody waits.
    Hold,
}

use Script::{Accept, Announce, Answer, CallBackFirst, Fail, FailLater, HangUp, Hold, Refuse};

/// What chance draws from, some more often than others.
const SCRIPTS: [Script; 20] = [
    Answer,
    Answer,
    Answer,
    Answer,
    Answer,
    Accept,
    Accept,
    Accept,
    Accept,
    Accept,
    CallBackFirst,
    CallBackFirst,
    Announce,
    Announce,
    Fail,
    Fail,
    FailLater,
    Refuse,
    HangUp,
    Hold,
];

/// Serves what comes to `listener` until it is over, and then to the end of what was begun.
pub async fn serve(listener: TcpListener, remote: Remote, mut over: watch::Receiver<bool>) {
    let (tell, mut calls) = mpsc::unbounded_channel();
    let mut open: JoinSet<()> = JoinSet::new();
    let ledger = remote.ledger.clone();
    let look = |served: Result<(), JoinError>| {
        served.unwrap_or_else(|error| ledger.wrong(None, format!("a call was not served: {error}")));
    };
    {
        let mut listening = std::pin::pin!(http::listen(listener, tell));
        loop {
            tokio::select! {
                () = &mut listening => break,
                Some(call) = calls.recv() => drop(open.spawn(remote.clone().take(call))),
                Some(served) = open.join_next() => look(served),
                _ = over.wait_for(|over| *over) => break,
            }
        }
    }
    while let Some(served) = open.join_next().await {
        look(served);
    }
}

impl Remote {
    async fn take(self, call: Call) {
        match call.sent.clone() {
            None if call.path.starts_with("/status/") => self.tell_truth(call),
            None => {
                let what = format!("{} was called without the names of an attempt", call.path);
                self.ledger.wrong(None, what);
            }
            Some(sent) if call.path == "/silent" => {
                self.ledger.called(&sent);
                self.ledger.ended_by_remote(&sent.task, truth(self.seed, &sent.task));
                call.answer(202, "{}");
            }
            Some(sent) => self.work(call, sent).await,
        }
    }

    async fn work(mut self, call: Call, sent: Sent) {
        let times = self.ledger.called(&sent);
        let mut random = self.chance(&sent, times);
        let payload: Value = serde_json::from_slice(&call.body).unwrap_or_default();
        let calls_back = payload["completion"] == "callback";
        let script = if self.is_stuck(&sent) { Hold } else { self.draw(&mut random) };
        // What comes to an end shall find exchanges open. Where it is orderly it waits for them.
        let (of_a_thousand, most) = if self.prompt { (1_000, 250) } else { (300, 25) };
        if random.per_mille(of_a_thousand) && !self.is_calm() {
            tokio::time::sleep(Duration::from_millis(random.below(most))).await;
        }
        let done = json!({"event": "task_completed", "result": {"by": sent.webhook_id, "time": times}});
        let failed = json!({"event": "task_failed", "error": {"message": "not this time", "code": "chance"}});
        match script {
            Answer => {
                call.answer(200, r#"{"by": "response"}"#);
                if calls_back {
                    self.report(&mut random, &sent, times, done).await;
                }
            }
            Accept => {
                call.answer(202, "{}");
                self.report(&mut random, &sent, times, done).await;
            }
            CallBackFirst => {
                self.report(&mut random, &sent, times, done).await;
                call.answer(if random.per_mille(500) { 200 } else { 500 }, "{}");
            }
            Announce => {
                self.report(&mut random, &sent, times, json!({"event": "task_started"})).await;
                call.answer(200, r#"{"by": "response"}"#);
                self.report(&mut random, &sent, times, done).await;
            }
            Fail => call.answer(500, "{}"),
            FailLater => {
                call.answer(202, "{}");
                self.report(&mut random, &sent, times, failed).await;
            }
            Refuse => call.answer(404, "{}"),
            HangUp => drop(call),
            Hold => {
                // Nobody is there to be told of calm once the torture is over.
                let calm = self.calm.wait_for(|calm| *calm);
                let _ = tokio::time::timeout(HOLD_MAX, calm).await;
                drop(call);
            }
        }
    }

    /// Answers who asks for a task that the remote never reports on. Now and then it says nothing of use.
    fn tell_truth(&self, call: Call) {
        let Some(task) = call.path.strip_prefix("/status/") else { return call.answer(404, "{}") };
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let times = asked.entry(task.to_owned()).or_default();
        *times += 1;
        let body = match (truth(self.seed, task), *times % 4) {
            (_, 1) if self.chance_of(task).per_mille(300) => return call.answer(503, "{}"),
            (_, 1) if self.chance_of(task).per_mille(600) => json!({"status": "running", "progress": 0.5}),
            ("succeeded", _) => json!({"status": "completed", "result": {"of": task}}),
            ("failed", _) => json!({"status": "failed", "error": {"message": "no", "retryable": false}}),
            (state, _) => json!({"status": state}),
        };
        call.answer(200, &body.to_string());
    }

    fn is_calm(&self) -> bool {
        *self.calm.borrow()
    }

    fn draw(&self, random: &mut Random) -> Script {
        if self.is_calm() {
            return if random.per_mille(500) { Answer } else { Accept };
        }
        let waits = |script| matches!(script, CallBackFirst | Announce | Hold);
        let script = *random.pick(&SCRIPTS);
        if self.prompt && waits(script) { Accept } else { script }
    }

    /// Some attempts are never answered, however often they are sent.
    fn is_stuck(&self, sent: &Sent) -> bool {
        !self.prompt && !self.is_calm() && self.chance(sent, 0).per_mille(15)
    }

    /// The same for the same call, whatever happens around it.
    fn chance(&self, sent: &Sent, times: u64) -> Random {
        drawn_from((self.seed, &sent.task, sent.attempt, times))
    }

    fn chance_of(&self, task: &str) -> Random {
        drawn_from((self.seed, task, 1))
    }

    /// Calls back about an attempt, in one of the ways that workers do.
    async fn report(&mut self, random: &mut Random, sent: &Sent, times: u64, mut body: Value) {
        let Some(base) = sent.callback_url.find("/callback/") else {
            return self.ledger.wrong(Some(&sent.task), format!("no callback URL: {sent:?}"));
        };
        let path = sent.callback_url[base..].into();
        let mut webhook = Webhook { path, delivery: None, echo: None, body: Value::Null };
        if random.per_mille(200) {
            // Without the token: task and attempt are named.
            webhook.path = "/webhook".into();
            body["task_id"] = sent.task.as_str().into();
            body["attempt"] = sent.attempt.into();
        }
        let event = body["event"].as_str().unwrap_or_default();
        match random.below(10) {
            0..6 => webhook.delivery = Some(format!("{}/{}/{times}/{event}", sent.task, sent.attempt)),
            6..8 => webhook.echo = Some(sent.webhook_id.clone()),
            _ => {}
        }
        webhook.body = body;
        if random.per_mille(250) {
            let mut other = self.link.clone();
            tokio::join!(
                tell(&mut other, &self.ledger, &webhook, Some(&sent.task)),
                tell(&mut self.link, &self.ledger, &webhook, Some(&sent.task))
            );
        } else {
            tell(&mut self.link, &self.ledger, &webhook, Some(&sent.task)).await;
        }
    }
}

/// How the remote ends a task of which it says nothing unless it is asked.
fn truth(seed: u64, task: &str) -> &'static str {
    let ends = ["succeeded", "succeeded", "failed", "cancelled"];
    ends[drawn_from((seed, task, 2)).index(ends.len())]
}

fn drawn_from(what: impl Hash) -> Random {
    let mut hash = DefaultHasher::new();
    what.hash(&mut hash);
    Random::new(hash.finish())
}
