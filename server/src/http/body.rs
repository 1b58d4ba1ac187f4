//! Reading a request's body: bounded in bytes and in time.

use std::ops::Deref;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use taskhook_core::limits;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::engine::SubmitError;
use crate::http::App;
use crate::http::problem::Problem;

/// A whole body, and its place among all that are held.
#[derive(Debug)]
pub(super) struct Whole {
    bytes: Bytes,
    _place: Option<OwnedSemaphorePermit>,
}

impl Deref for Whole {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.bytes
    }
}

/// The whole body, if it has at most `bytes_max` bytes and comes in time.
///
/// # Errors
/// 413, 408, 415 for an encoding, 400 for a connection that breaks, 503 where too many bodies are held.
pub(super) async fn read(
    app: &App,
    headers: &HeaderMap,
    mut body: Body,
    bytes_max: usize,
) -> Result<Whole, Problem> {
    if headers.get(header::CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        let detail = "encoded bodies are not read; send it without content-encoding";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoded", detail));
    }
    let deadline = Instant::now() + app.body_time;
    let mut first = Bytes::new();
    let mut more: Vec<u8> = Vec::new();
    let mut received = 0;
    let mut place: Option<OwnedSemaphorePermit> = None;
    loop {
        let patience = deadline + Duration::from_secs(u64::try_from(received / 1024).unwrap_or(0));
        let frame = tokio::time::timeout_at(patience, body.frame()).await;
        let frame = frame.map_err(|_| {
            let detail = "the body came too slowly; nothing was changed, send it again";
            Problem::new(StatusCode::REQUEST_TIMEOUT, "slow_body", detail)
        })?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| Problem::malformed(format!("the body broke off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        received += data.len();
        if received > bytes_max {
            // A client that is still sending hears nothing until it is done: read on for a while.
            if received > bytes_max + limits::BODY_BYTES_DRAINED_MAX {
                break;
            }
            more = Vec::new();
            first = Bytes::new();
            place = None;
            continue;
        }
        // G15: what is held is bounded in bytes, not only in connections.
        let bytes = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let more_place = app.bodies.clone().try_acquire_many_owned(bytes).map_err(|_| SubmitError::Behind)?;
        match &mut place {
            Some(place) => place.merge(more_place),
            None => place = Some(more_place),
        }
        if first.is_empty() && more.is_empty() {
            first = data;
        } else {
            if more.is_empty() {
                more.extend_from_slice(&first);
            }
            more.extend_from_slice(&data);
        }
    }
    if received > bytes_max {
        let detail =
            format!("the body has more than {bytes_max} bytes; send the data elsewhere and a link here");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail));
    }
    Ok(Whole { bytes: if more.is_empty() { first } else { more.into() }, _place: place })
}
