//! Several webhooks in one request: what Event Grid sends, and CloudEvents in batch mode.

use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::engine::SubmitError;
use crate::engine::submission::Submission;
use crate::http::problem::Problem;
use crate::http::respond;
use crate::http::webhook::{Way, WebhookAnswer, rejected, said};
use crate::json;
use crate::source::facts::header;
use crate::source::presets::Handshake;
use crate::source::registry::Live;
use crate::source::verify::Seen;

/// Events of one request: as many as Event Grid sends at most.
const EVENTS_MAX: usize = 5_000;

/// Events that wait for a commit at the same time, so that others find a place beside them.
const AT_ONCE: usize = 256;

/// What is said where not all of them were taken in.
const IN_PART: &str =
    "of these events some may be taken in already: send them again, and those with an id are duplicates";

/// The answer to a request with several webhooks, in their order.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchAnswer {
    /// Always `Webhook received`.
    message: &'static str,
    /// What became of each.
    events: Vec<WebhookAnswer>,
}

/// Whether a request to this source holds several webhooks, in a JSON array.
pub(super) fn is_one(source: &Live, seen: &Seen<'_>) -> bool {
    let by_name = source.preset().is_some_and(|preset| preset.handshake == Some(Handshake::EventGrid));
    let batch = "application/cloudevents-batch";
    let by_kind = header(seen.headers, "content-type")
        .is_some_and(|kind| kind.get(..batch.len()).is_some_and(|start| start.eq_ignore_ascii_case(batch)));
    (by_name || by_kind) && seen.body.trim_ascii_start().starts_with(b"[")
}

/// Takes in all of them, each as a webhook of its own: all are read before the first of them counts. One that cannot be read
/// is kept as rejected, and the others count; where none can be read, or one cannot be kept, nothing counts. Where the server
/// takes no more, some may be taken in already: sent again, those of them that have a delivery id are duplicates.
pub(super) async fn take_in(
    way: &Way<'_>,
    seen: &Seen<'_>,
    secret: Option<[u8; 16]>,
) -> Result<Response, Problem> {
    let parts: Vec<&RawValue> = match json::check(seen.body).map(|()| serde_json::from_slice(seen.body)) {
        Ok(Ok(parts)) => parts,
        Ok(Err(_)) => {
            return Err(way.reject(seen.body, Problem::malformed("the body is no JSON array")).await);
        }
        Err(wrong) => return Err(way.reject(seen.body, Problem::malformed(wrong)).await),
    };
    if parts.is_empty() || parts.len() > EVENTS_MAX {
        let wrong = format!("the body holds {} events; it may hold 1 to {EVENTS_MAX}", parts.len());
        return Err(way.reject(seen.body, Problem::malformed(wrong)).await);
    }
    // An id in the headers is that of the request, not of each of its events.
    let mut headers = seen.headers.clone();
    ["webhook-id", "ce-id", "ce-source"].iter().for_each(|name| drop(headers.remove(*name)));
    let mut heard = Vec::with_capacity(parts.len());
    let mut events: Vec<Option<WebhookAnswer>> = Vec::with_capacity(parts.len());
    let mut first_wrong = None;
    for part in parts {
        let one = Seen { headers: &headers, body: part.get().as_bytes(), ..*seen };
        match way.map(&one, secret).await {
            Ok(read) => {
                heard.push(read);
                events.push(None);
            }
            Err(unmapped) => {
                let Some(id) = way.keep(one.body, secret, &unmapped).await else {
                    return Err(unmapped.problem);
                };
                events.push(Some(rejected(id, &unmapped.problem)));
                first_wrong.get_or_insert(unmapped.problem);
            }
        }
    }
    if let Some(problem) = first_wrong.filter(|_| heard.is_empty()) {
        return Err(problem);
    }
    let mut answers = Vec::with_capacity(heard.len());
    let mut heard = heard.into_iter().peekable();
    while heard.peek().is_some() {
        // Handed in one behind the other, they are decided in their order, and share a commit.
        let submit = |heard| way.app.engine.submit_in_turn(Submission::Event(Box::new(heard)));
        let submitted: Vec<_> =
            heard.by_ref().take(AT_ONCE).map(submit).collect::<Result<_, _>>().map_err(in_part)?;
        for answered in submitted {
            let receipt = answered.await.unwrap_or(Err(SubmitError::Stopping)).map_err(in_part)?;
            answers.push(said(&receipt).map_err(|problem| problem.but(IN_PART))?);
        }
    }
    let mut answers = answers.into_iter();
    let events = events.into_iter().filter_map(|kept| kept.or_else(|| answers.next())).collect();
    Ok(respond::json(StatusCode::OK, &BatchAnswer { message: "Webhook received", events }))
}

fn in_part(error: SubmitError) -> Problem {
    Problem::unavailable(error, IN_PART)
}
