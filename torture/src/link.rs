//! A client's way to a server that is killed, stopped and cut off now and then: it asks until it is answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use taskhook_bench::wire::Client;

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
    client: Client,
    ledger: Arc<Ledger>,
}

impl Clone for Link {
    fn clone(&self) -> Link {
        Link::new(self.address, self.ledger.clone())
    }
}

impl Link {
    /// A link that connects when it is first used.
    #[must_use]
    pub fn new(address: SocketAddr, ledger: Arc<Ledger>) -> Link {
        Link { address, client: Client::new(address), ledger }
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
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            match exchange(&mut self.client, self.address, &request, ANSWER_TIME).await {
                Some(answer) if is_final(&answer) => {
                    self.ledger.answered();
                    return answer;
                }
                Some(answer) => self.ledger.refused(&answer),
                None => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.ledger.wrong(None, format!("nobody answers {method} {path}"));
        Answer::none()
    }

    /// Sends a request once.
    pub async fn try_once(&mut self, method: &str, path: &str, body: &str, time: Duration) -> Option<Answer> {
        exchange(&mut self.client, self.address, &request(method, path, None, body), time).await
    }
}

/// Whether it is an answer to the request, and not a request to come back.
fn is_final(answer: &Answer) -> bool {
    match answer.status {
        408 | 429 | 503 => false,
        409 => answer.json()["code"] != "in_progress",
        _ => true,
    }
}
