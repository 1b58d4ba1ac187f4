//! One exchange: a request leaves, and what came of it is put into words.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use taskhook_core::{ReplyKind, Timestamp, limits};

use crate::dispatch::connect::{ConnectError, Connector};
use crate::dispatch::failure;
use crate::dispatch::request::{self, Outgoing};
use crate::dispatch::response::{self, Answer, Unread};
use crate::engine::commit::Dispatch;
use crate::secrets::Secrets;

/// How long a connection that nobody uses is kept. Short: with ten thousand targets it is sockets that
/// matter, and few servers keep one for longer.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// Connections kept for one host.
const IDLE_PER_HOST_MAX: usize = 64;
/// Bytes of an answer's head, and of what is read at once.
const READ_BUFFER_BYTES_MAX: usize = 64 << 10;

/// Sends attempts.
#[derive(Debug)]
pub(super) struct Sender {
    client: Client<Connector, Full<Bytes>>,
    secrets: Arc<Secrets>,
    callback_base: String,
    clock: fn() -> Timestamp,
}

/// How an exchange ended.
pub(super) struct Ended {
    pub(super) kind: ReplyKind,
    /// Why a 2xx has no JSON.
    pub(super) unread: Option<Unread>,
}

/// Why an exchange did not end with an answer.
enum Unanswered {
    Head(legacy::Error),
    Body(hyper::Error),
}

impl Sender {
    pub(super) fn new(
        connector: Connector,
        secrets: Arc<Secrets>,
        callback_base: String,
        clock: fn() -> Timestamp,
    ) -> Sender {
        // What the pool sends again by itself (`retry_canceled_requests`, on by default): a request that it
        // gave to a kept connection, and that this connection gives back because it had closed before taking
        // it from its channel. Of such a request no byte was written. One that was taken, even if its
        // very first write fails, is not given back, and ends here as `broken`: the target may have
        // seen it, so that sending it again is for the retry policy, as a new attempt.
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
            .http1_max_buf_size(READ_BUFFER_BYTES_MAX)
            .build(connector);
        Sender { client, secrets, callback_base, clock }
    }

    /// Sends an attempt and waits for the end of the exchange. Redirects are answers like any other.
    pub(super) async fn send(&self, dispatch: &Dispatch) -> Ended {
        let now = (self.clock)();
        let outgoing = match request::build(dispatch, &self.secrets, &self.callback_base, now) {
            Ok(outgoing) => outgoing,
            Err(failure) => return ReplyKind::NotAllowed(failure).into(),
        };
        let target = request::host_and_port(outgoing.uri());
        let limit = limit(dispatch, now);
        if limit.is_zero() {
            let message = format!("the time of the attempt was over before {target} could be called");
            return ReplyKind::Lost(failure("request_timeout", message)).into();
        }
        // One clock for everything up to the last byte of the answer: a target that trickles gains nothing.
        let ended = match tokio::time::timeout(limit, self.exchange(outgoing)).await {
            Ok(Ok(Answer { kept, unread })) => Ended { kind: ReplyKind::Response(Arc::new(kept)), unread },
            Ok(Err(error)) => unanswered(&target, &error).into(),
            Err(_) => {
                let limit = Duration::from_millis(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
                let message = format!("{target} did not answer completely within {limit:?}");
                ReplyKind::Lost(failure("request_timeout", message)).into()
            }
        };
        let (task, attempt, send) = (&dispatch.id, dispatch.attempt, dispatch.send);
        match &ended.kind {
            ReplyKind::Response(response) => {
                tracing::debug!(task, attempt, send, target, status = response.status, "answered");
            }
            ReplyKind::Lost(failure) | ReplyKind::NotAllowed(failure) => {
                tracing::debug!(task, attempt, send, target, code = failure.code, "not answered");
            }
        }
        ended
    }

    async fn exchange(&self, outgoing: Outgoing) -> Result<Answer, Unanswered> {
        let response = self.client.request(outgoing).await.map_err(Unanswered::Head)?;
        response::read(response, self.clock).await.map_err(Unanswered::Body)
    }
}

impl From<ReplyKind> for Ended {
    fn from(kind: ReplyKind) -> Ended {
        Ended { kind, unread: None }
    }
}

/// How long the exchange may take: never beyond the attempt itself, which began with its first send.
fn limit(dispatch: &Dispatch, now: Timestamp) -> Duration {
    if dispatch.poll.is_some() {
        return limits::POLL_TIMEOUT;
    }
    let plan = &dispatch.task.plan;
    let attempt = dispatch.task.attempt.filter(|attempt| attempt.number == dispatch.attempt);
    let began_at = attempt.map_or(now, |attempt| attempt.began_at);
    let left = plan.timeout.map(|timeout| (began_at + timeout).since(now));
    left.map_or(plan.request_timeout, |left| left.min(plan.request_timeout))
}

/// The end of an exchange that brought no answer.
fn unanswered(target: &str, error: &Unanswered) -> ReplyKind {
    let error: &legacy::Error = match error {
        Unanswered::Head(error) => error,
        Unanswered::Body(error) => {
            let message =
                format!("the connection to {target} broke before its whole answer was read: {}", root(error));
            return ReplyKind::Lost(failure("broken", message));
        }
    };
    if let Some(error) = find::<ConnectError>(error) {
        return match error {
            ConnectError::NotAllowed(..) => {
                let message = format!("calling {target} is not allowed: {error}");
                ReplyKind::NotAllowed(failure("egress_not_allowed", message))
            }
            ConnectError::Name(_) => {
                ReplyKind::Lost(failure("dns", format!("cannot connect to {target}: {error}")))
            }
            ConnectError::Proxy(_) => {
                ReplyKind::Lost(failure("proxy", format!("cannot connect to {target}: {error}")))
            }
            _ => ReplyKind::Lost(failure("connect", format!("cannot connect to {target}: {error}"))),
        };
    }
    if error.is_connect() {
        return ReplyKind::Lost(failure("connect", format!("cannot connect to {target}: {}", root(error))));
    }
    let message = match find::<hyper::Error>(error) {
        Some(error) if error.is_parse() => {
            format!("what {target} answered is not HTTP/1.1, or its head is too large: {error}")
        }
        Some(error) if error.is_incomplete_message() => {
            format!("{target} closed the connection before it had answered")
        }
        _ => format!("the connection to {target} broke before it had answered: {}", root(error)),
    };
    ReplyKind::Lost(failure("broken", message))
}

/// The error itself or the first of its causes that is an `E`.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    std::iter::successors(Some(error), |&error| error.source()).find_map(|error| error.downcast_ref())
}

/// The words of the last cause: those of the others only say where it was met.
fn root(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.last().map_or_else(String::new, ToString::to_string)
}
