//! A client's way to a server that is killed, stopped and cut off now and then: it asks until it is answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use taskhook_bench::wire::Wire;
use tokio::sync::watch;

use crate::http::{Answer, exchange, request};
use crate::ledger::Ledger;

/// How long one answer may take before the connection is given up.
const ANSWER_TIME: Duration = Duration::from_secs(6);
/// How long nobody may answer before that is wrong. A machine that writes gigabytes back can take half a minute for one fsync.
const PATIENCE: Duration = Duration::from_secs(90);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(15);

/// Asks the server at an address, or the proxy before it.
pub struct Link {
    address: SocketAddr,
    connection: Option<Wire>,
    ledger: Arc<Ledger>,
    steady: Option<Steady>,
}

/// What is known of the server where nothing but its own end breaks a connection.
#[derive(Clone)]
struct Steady {
    /// Which of its lives there is; 0 while there is none.
    now: watch::Receiver<u64>,
    /// The one that the connection is to.
    connected: u64,
}

impl Clone for Link {
    fn clone(&self) -> Link {
        Link { steady: self.steady.clone(), ..Link::new(self.address, self.ledger.clone()) }
    }
}

impl Link {
    /// A link that connects when it is first used.
    #[must_use]
    pub fn new(address: SocketAddr, ledger: Arc<Ledger>) -> Link {
        Link { address, connection: None, ledger, steady: None }
    }

    /// The same where everything around the server is steady, and `life` tells which of its lives there is: each request is
    /// answered, and at once, by a server that lives.
    #[must_use]
    pub fn steady(self, life: watch::Receiver<u64>) -> Link {
        Link { steady: Some(Steady { now: life, connected: 0 }), ..self }
    }

    /// Sends a request, again and again, until it is answered: what was not answered may be sent again without harm.
    pub async fn ask(
        &mut self,
        method: &str,
        path: &str,
        header: Option<(&str, &str)>,
        body: impl AsRef<str>,
    ) -> Answer {
        let request = request(method, path, header, body.as_ref());
        let time = if self.steady.is_some() { PATIENCE } else { ANSWER_TIME };
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            self.leave_the_dead();
            match exchange(&mut self.connection, self.address, &request, time).await {
                Some(answer) if self.is_final(&answer) => {
                    self.ledger.answered();
                    return answer;
                }
                Some(answer) => {
                    self.ledger.refused(&answer);
                    if self.is_to_a_living() && answer.json()["code"] != "stopping" {
                        let what = format!("the server lives, and answers {method} {path}: {answer:?}");
                        self.ledger.wrong(None, what);
                    }
                }
                None if self.is_to_a_living() => {
                    let what = format!("the server lives, and has not answered {method} {path}");
                    self.ledger.wrong(None, what);
                }
                None => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.ledger.wrong(None, format!("nobody answers {method} {path}"));
        Answer::none()
    }

    /// Sends a request once.
    pub async fn try_once(&mut self, method: &str, path: &str, body: &str, time: Duration) -> Option<Answer> {
        exchange(&mut self.connection, self.address, &request(method, path, None, body), time).await
    }

    /// Gives a connection up that was to a life before.
    fn leave_the_dead(&mut self) {
        let Some(steady) = &mut self.steady else { return };
        let now = *steady.now.borrow();
        if steady.connected != now {
            (steady.connected, self.connection) = (now, None);
        }
    }

    /// Whether the life that it is connected to goes on, and nothing else may have broken the connection.
    fn is_to_a_living(&self) -> bool {
        let same = |steady: &Steady| steady.connected != 0 && steady.connected == *steady.now.borrow();
        self.steady.as_ref().is_some_and(same)
    }

    /// Whether it is an answer to the request, and not a request to come back. Where everything is steady, only a server that
    /// is about to stop has a reason for that.
    fn is_final(&self, answer: &Answer) -> bool {
        match answer.status {
            503 => false,
            408 | 429 => self.steady.is_some(),
            409 => self.steady.is_some() || answer.json()["code"] != "in_progress",
            _ => true,
        }
    }
}
