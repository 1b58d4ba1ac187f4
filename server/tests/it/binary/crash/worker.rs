//! The worker: it answers at once, calls back, fails, hangs up, or is slow, as chance has it.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use taskhook_sim::Random;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::binary::crash::ledger::{Ledger, Sent, Webhook};
use crate::binary::crash::link::Link;
use crate::binary::crash::load::tell;
use crate::support::{Call, Worker};

/// What every call needs.
#[derive(Clone)]
pub(crate) struct Shop {
    pub(crate) seed: u64,
    pub(crate) link: Link,
    pub(crate) ledger: Arc<Ledger>,
    /// From now on everything is done at once.
    pub(crate) calm: watch::Receiver<bool>,
    /// No exchange waits for anything but the worker itself.
    pub(crate) prompt: bool,
}

/// What the worker does with a call.
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
    /// No answer before the server is killed.
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

/// Works until `over`, and then to the end of what was begun.
pub(crate) async fn work(mut worker: Worker, shop: Shop, mut over: watch::Receiver<bool>) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            call = worker.call() => drop(open.spawn(shop.clone().serve(call))),
            Some(done) = open.join_next() => done.expect("a call is served"),
            _ = over.wait_for(|over| *over) => break,
        }
    }
    while let Some(done) = open.join_next().await {
        done.expect("a call is served");
    }
}

impl Shop {
    async fn serve(mut self, call: Call) {
        let (sent, times) = self.ledger.called(&call);
        let mut random = self.chance(&sent, times);
        let payload: Value = serde_json::from_slice(&call.body).unwrap_or_default();
        let calls_back = payload["completion"] == "callback";
        let script = if self.is_stuck(&sent) { Hold } else { self.draw(&mut random) };
        if random.per_mille(300) && !self.is_calm() {
            let pause = Duration::from_millis(random.below(25));
            tokio::time::sleep(pause).await; // real time: a kill shall find exchanges open
        }
        let done = json!({"event": "task_completed", "result": {"by": sent.webhook_id, "time": times}});
        let failed = json!({"event": "task_failed", "error": {"message": "not this time", "code": "chance"}});
        match script {
            Answer => {
                call.answer(200, &[], r#"{"by": "response"}"#);
                if calls_back {
                    self.report(&mut random, &sent, times, done).await;
                }
            }
            Accept => {
                call.status(202);
                self.report(&mut random, &sent, times, done).await;
            }
            CallBackFirst => {
                self.report(&mut random, &sent, times, done).await;
                call.status(if random.per_mille(500) { 200 } else { 500 });
            }
            Announce => {
                self.report(&mut random, &sent, times, json!({"event": "task_started"})).await;
                call.answer(200, &[], r#"{"by": "response"}"#);
                self.report(&mut random, &sent, times, done).await;
            }
            Fail => call.status(500),
            FailLater => {
                call.status(202);
                self.report(&mut random, &sent, times, failed).await;
            }
            Refuse => call.status(404),
            HangUp => call.hang_up(),
            Hold => {
                tokio::select! {
                    () = self.link.death() => {}
                    _ = self.calm.wait_for(|calm| *calm) => {}
                }
                call.hang_up();
            }
        }
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
        let mut hash = DefaultHasher::new();
        (self.seed, &sent.task, sent.attempt, times).hash(&mut hash);
        Random::new(hash.finish())
    }

    /// Calls back about an attempt, in one of the ways that workers do.
    async fn report(&mut self, random: &mut Random, sent: &Sent, times: u64, mut body: Value) {
        let base = sent.callback_url.find("/callback/").expect("a callback URL");
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
