//! A client's way to a server that is killed now and then: it asks until it is answered.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::watch;

use crate::binary::crash::ledger::Ledger;
use crate::support::{Answer, Api, PATIENCE};

/// How long an answer may take from the server's end of a connection to this one.
const AFTERLIFE: Duration = Duration::from_secs(1);

/// Tells which life of the server may be asked now; 0 while none may.
pub(crate) type Gate = watch::Receiver<u64>;

/// Asks the server in whichever of its lives is there.
#[derive(Clone)]
pub(crate) struct Link {
    gate: Gate,
    api: Api,
    /// The life that `api` has its connections to.
    life: u64,
    /// The last life that did not answer: it is dead.
    dead: u64,
    ledger: Arc<Ledger>,
}

impl Link {
    /// A link to the server at `url`, through `gate`.
    pub(crate) fn new(url: &str, gate: Gate, ledger: Arc<Ledger>) -> Link {
        Link { gate, api: Api::new(url), life: 0, dead: 0, ledger }
    }

    /// Sends a request, again and again, until it is answered: what was not answered may be sent again
    /// without harm.
    pub(crate) async fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let body = body.into();
        loop {
            self.next_life().await;
            match self.ask_this_life(method, path, headers, body.clone()).await {
                Some(answer) if answer.status != 503 => {
                    self.ledger.count_answer();
                    return answer;
                }
                // It is stopping.
                Some(_) => tokio::task::yield_now().await,
                None => self.dead = self.life,
            }
        }
    }

    /// Sends a request once. `None` if the server died over it.
    async fn ask_this_life(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Option<Answer> {
        let (mut gate, life) = (self.gate.clone(), self.life);
        let mut sent = pin!(self.api.try_send(method, path, headers, body));
        let over = async move { drop(gate.wait_for(|now| *now != life).await) };
        let patient = async {
            tokio::select! {
                answer = &mut sent => answer,
                // What a dead server has answered is here already. Nothing else may be waited for: a pool can
                // lose a request that it hands to a connection at the moment of its end.
                () = over => tokio::time::timeout(AFTERLIFE, sent).await.ok().flatten(),
            }
        };
        let answer = tokio::time::timeout(PATIENCE, patient).await;
        answer.unwrap_or_else(|_| panic!("the server lives, but does not answer {method} {path}"))
    }

    /// Waits until the life of the server that is there now is over.
    pub(crate) async fn death(&mut self) {
        let now = *self.gate.borrow_and_update();
        // Without a storm there is nobody to tell it.
        let _ = self.gate.wait_for(|life| *life != now).await;
    }

    /// Waits until there is a life that has not failed it.
    async fn next_life(&mut self) {
        let dead = self.dead;
        let next = tokio::time::timeout(PATIENCE, self.gate.wait_for(|life| *life > dead));
        let next = next.await.unwrap_or_else(|_| {
            panic!("the server's life {dead} broke a connection, but nobody had killed it")
        });
        // A storm that has failed asks nobody any more.
        let Ok(life) = next.map(|life| *life) else { return std::future::pending().await };
        if life != self.life {
            // Connections to the life before are dead, and a pool may not know it yet.
            self.api = Api::new(self.api.url.clone());
            self.life = life;
        }
    }
}
