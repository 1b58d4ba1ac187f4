//! The request of one attempt. Everything in it but its time is the same on every resend.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use hyper::{HeaderMap, Method, Uri};
use taskhook_core::{Failure, Request, Timestamp};

use crate::dispatch::failure;
use crate::engine::commit::Dispatch;
use crate::reserved::is_reserved;
use crate::secrets::{Secrets, fingerprint};
use crate::target;

const USER_AGENT_TEXT: &str = concat!("taskhook/", env!("CARGO_PKG_VERSION"));

/// A request as it is sent.
pub(super) type Outgoing = hyper::Request<Full<Bytes>>;

/// The payload where it lies: it is sent from there, without a copy.
struct Payload(Arc<Request>);

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        self.0.payload.as_deref().unwrap_or_default()
    }
}

/// The request of an attempt that is sent at `now`.
///
/// # Errors
/// If the task holds what is no request. A creation refuses that, so it is a last line of defence: nothing of
/// a request may be written that was not meant as what it would be read as.
pub(super) fn build(
    dispatch: &Dispatch,
    secrets: &Secrets,
    callback_base: &str,
    now: Timestamp,
) -> Result<Outgoing, Failure> {
    let request = &dispatch.request;
    let method = Method::from_bytes(request.method.as_bytes())
        .ok()
        .filter(|method| method != Method::CONNECT)
        .ok_or_else(|| invalid(format!("{:?} is no method that can be sent", request.method)))?;
    let uri = target::read(&request.url).map_err(|why| invalid(format!("the task's URL {why}")))?;
    let mut headers = given(request, secrets)?;
    let body = Bytes::from_owner(Payload(request.clone()));
    if request.payload.is_some() {
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    } else if [Method::POST, Method::PUT, Method::PATCH].contains(&method) {
        // Some servers answer 411 without it; hyper leaves it out where there is no body.
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    sign(&mut headers, dispatch, secrets, callback_base, now, &body)?;

    let mut outgoing = hyper::Request::new(Full::new(body));
    *outgoing.method_mut() = method;
    *outgoing.uri_mut() = uri;
    *outgoing.headers_mut() = headers;
    Ok(outgoing)
}

/// `host:port` of a URL, for people.
pub(super) fn host_and_port(uri: &Uri) -> String {
    let host = uri.host().unwrap_or_default();
    // No name that resolves is longer than this.
    format!("{}:{}", &host[..host.floor_char_boundary(255)], target::port(uri))
}

fn invalid(message: String) -> Failure {
    failure("invalid_request", message)
}

/// The task's own headers.
fn given(request: &Request, secrets: &Secrets) -> Result<HeaderMap, Failure> {
    let mut map = HeaderMap::with_capacity(request.headers.len() + 12);
    for (name, value) in &request.headers {
        let known = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| invalid(format!("{name:?} is no header name")))?;
        if is_reserved(known.as_str()) {
            return Err(invalid(format!("the header {name:?} is not the task's to set")));
        }
        // The value may be a secret, so the message does not hold it.
        let value = secrets
            .open_header(&request.url, name, value)
            .map_err(|why| invalid(format!("the header {name:?} does not open: {why}")))?;
        let value = HeaderValue::from_bytes(&value)
            .map_err(|_| invalid(format!("the value of the header {name:?} is no header value")))?;
        map.append(known, value);
    }
    Ok(map)
}

/// Adds what tells the target who calls, about what, and where to answer.
fn sign(
    headers: &mut HeaderMap,
    dispatch: &Dispatch,
    secrets: &Secrets,
    callback_base: &str,
    now: Timestamp,
    body: &[u8],
) -> Result<(), Failure> {
    let (task, attempt) = (dispatch.task.key, dispatch.attempt);
    let id = secrets.attempt_id(task, attempt);
    let timestamp = now.0.div_euclid(1_000_000);
    let plan = &dispatch.task.plan;
    // Of a schedule's task its instant, whatever jitter makes of it.
    let scheduled_for = plan.scheduled.map_or(plan.run_at, |scheduled| scheduled.at);
    let ours = [
        ("webhook-timestamp", timestamp.to_string()),
        ("webhook-signature", secrets.signer(dispatch.signer).sign(&id, timestamp, body)),
        ("webhook-id", id),
        ("taskhook-task-id", dispatch.id.clone()),
        ("taskhook-attempt", attempt.to_string()),
        ("taskhook-scheduled-for", scheduled_for.to_string()),
    ];
    // Whoever holds the token may end the attempt. A poll only asks, and may go to a server that a `Location` has named.
    let callback_url = dispatch.poll.is_none().then(|| {
        let token = secrets.callback_token(task, attempt);
        ("taskhook-callback-url", format!("{callback_base}/callback/{token}"))
    });
    for (name, text) in ours.into_iter().chain(callback_url) {
        headers.insert(HeaderName::from_static(name), header(name, text)?);
    }
    // These a task may set itself, and then it knows why.
    let key = secrets.idempotency_key(task, dispatch.task.generation);
    let trace = traceparent(&key, attempt);
    for (name, text) in
        [("idempotency-key", key), ("traceparent", trace), (USER_AGENT.as_str(), USER_AGENT_TEXT.into())]
    {
        let value = header(name, text)?;
        headers.entry(name).or_insert(value);
    }
    Ok(())
}

fn header(name: &str, text: String) -> Result<HeaderValue, Failure> {
    HeaderValue::try_from(text)
        .map_err(|_| invalid(format!("the header {name} cannot be made for this task")))
}

/// One trace for a task until it is retried explicitly, one span for an attempt (W3C Trace Context, version
/// 00, sampled). Made from a key that is bound to this store, so that two stores do not meet in one trace.
fn traceparent(idempotency_key: &str, attempt: u32) -> String {
    let key = idempotency_key.as_bytes();
    let trace = u128::from_be_bytes(fingerprint(&[b"trace", key]));
    let span = u128::from_be_bytes(fingerprint(&[b"span", key, &attempt.to_be_bytes()])) >> 64;
    format!("00-{trace:032x}-{span:016x}-01")
}
