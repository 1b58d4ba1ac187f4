//! Errors as people and programs get them: RFC 9457, and the one place that knows status codes.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use taskhook_core::Refused;
use utoipa::{IntoResponses, ToSchema};

use crate::engine::SubmitError;
use crate::store::read::ReadError;

/// Wrong fields that one answer names. Nobody reads more, and a hostile request has a million.
pub(super) const ERRORS_MAX: usize = 100;

/// Bytes of a word that is compared with those that are known.
const SIMILAR_BYTES_MAX: usize = 64;

/// A problem, as `application/problem+json` (RFC 9457).
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: programs go by `code`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The status in words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What was wrong, and what to do.
    pub detail: String,
    /// A stable word for programs.
    pub code: &'static str,
    /// Each wrong field.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// Seconds after which it is worth trying again.
    #[serde(skip)]
    pub retry_after: Option<u32>,
}

/// The code of a problem, for whoever handles its answer on the way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Code(pub(super) &'static str);

/// What is wrong with one field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Where (RFC 6901), `/after/0`.
    pub pointer: String,
    /// A stable word for programs.
    pub code: &'static str,
    /// What is wrong, and what would be right.
    pub detail: String,
}

impl Problem {
    /// A problem without more to say than one sentence.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Problem {
        Problem {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            code,
            errors: Vec::new(),
            retry_after: None,
        }
    }

    /// 400: the body cannot be read.
    pub fn malformed(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "malformed", detail)
    }

    /// 400: the query cannot be read.
    pub fn bad_query(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "invalid_query", detail)
    }

    /// 422: fields are wrong.
    #[must_use]
    pub fn invalid(mut errors: Vec<FieldError>) -> Problem {
        errors.truncate(ERRORS_MAX);
        let detail = match errors.as_slice() {
            [one] => format!("{}: {}", one.pointer, one.detail),
            all if all.len() == ERRORS_MAX => {
                format!("many fields are wrong; these are {ERRORS_MAX} of them")
            }
            all => format!("{} fields are wrong", all.len()),
        };
        Problem { errors, ..Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail) }
    }

    /// 404.
    pub fn not_found(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// The same, and what that means for the request.
    pub(super) fn but(self, rest: &str) -> Problem {
        Problem { detail: format!("{}; {rest}", self.detail), ..self }
    }

    /// 503: an input was not taken in. `rest` says what that means for the request.
    pub(super) fn unavailable(error: SubmitError, rest: &str) -> Problem {
        let (code, what, seconds) = match error {
            SubmitError::Behind => ("behind", "the writer is behind", 1),
            SubmitError::Full => ("disk_full", "the disk is full", 10),
            SubmitError::Stopping => ("stopping", "the server is stopping", 1),
        };
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, format!("{what}; {rest}")).after(seconds)
    }

    /// 409: a request with the same key has happened or is happening, and its answer is not known yet.
    #[must_use]
    pub fn in_progress() -> Problem {
        let detail = "a request with this idempotency-key is in progress; wait for its answer";
        Problem::new(StatusCode::CONFLICT, "in_progress", detail)
    }

    /// Come back later.
    #[must_use]
    pub fn after(self, seconds: u32) -> Problem {
        Problem { retry_after: Some(seconds), ..self }
    }
}

/// In the OpenAPI document: what every route may answer in place of what was asked for.
impl IntoResponses for Problem {
    fn responses() -> BTreeMap<String, utoipa::openapi::RefOr<utoipa::openapi::Response>> {
        let schema = utoipa::openapi::Ref::from_schema_name("Problem");
        let content = utoipa::openapi::ContentBuilder::new().schema(Some(schema)).build();
        [("4XX", "The request is refused"), ("5XX", "It was not done; the same request may be sent again")]
            .map(|(status, description)| {
                let response = utoipa::openapi::ResponseBuilder::new()
                    .description(description)
                    .content("application/problem+json", content.clone());
                (status.to_string(), response.build().into())
            })
            .into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        response.extensions_mut().insert(Code(self.code));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Problem {
        Problem::unavailable(error, "nothing was changed, send the request again")
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Problem {
        tracing::error!(%error, "a read failed");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "store", error.to_string())
    }
}

/// The end of a sentence about a word that is not known, if it looks like one that is.
pub(super) fn hint(unknown: &str, known: &[&str]) -> String {
    if unknown.len() > SIMILAR_BYTES_MAX {
        return String::new();
    }
    let similar = crate::config::did_you_mean(unknown, known.iter().copied());
    similar.map(|known| format!("; did you mean {known:?}?")).unwrap_or_default()
}

/// A refusal as its caller gets it. `pointer` tells where the task at a position is in the request, and
/// `name` what it is called there.
pub fn refused(why: &Refused, pointer: impl Fn(usize) -> String, name: impl Fn(usize) -> String) -> Problem {
    let conflict = |code, detail: String| Problem::new(StatusCode::CONFLICT, code, detail);
    match why {
        Refused::NotFound => Problem::not_found("there is no task with this id"),
        Refused::IdTaken { .. }
        | Refused::NoSuchDependency { .. }
        | Refused::NoSuchQueue { .. }
        | Refused::NoSuchSource { .. }
        | Refused::DependsOnReplaced { .. }
        | Refused::ExternalTaken { .. }
        | Refused::Cycle(_) => not_created(why, pointer, name),
        Refused::TooMany { what, max } => {
            conflict("too_many", format!("there are {max} {what}, and there may be no more"))
        }
        Refused::KeyHeld { .. } => key_held(None),
        Refused::Ended(state) => {
            conflict("already_ended", format!("the task has {} and cannot be cancelled", ended(state.name())))
        }
        Refused::NotScheduled(state) => conflict(
            "not_scheduled",
            format!("only a scheduled task can be triggered; this one is {}", state.name()),
        ),
        Refused::NotRetryable(state) => conflict(
            "not_retryable",
            format!("only a failed, cancelled or skipped task can be retried; this one is {}", state.name()),
        ),
        Refused::DependenciesUnmet => conflict(
            "dependencies_unmet",
            "tasks that it waits for did not end as it asks; retry those, or send {\"ignore_dependencies\": true}"
                .into(),
        ),
        Refused::Gone => Problem::new(StatusCode::GONE, "gone", "the task of this callback URL is no longer kept"),
        Refused::NamesAnotherTask => Problem::invalid(vec![FieldError {
            pointer: "/task_id".into(),
            code: "other_task",
            detail: "this callback URL belongs to another task; leave task_id out".into(),
        }]),
        Refused::NoSuchSchedule => Problem::not_found("there is no schedule with this name"),
        Refused::Overlaps { .. } => conflict(
            "overlaps",
            "an earlier task of the schedule has not ended; wait for it, or send {\"overlap\": \"allow\"}".into(),
        ),
        Refused::NoSuchKey | Refused::KeyNameTaken | Refused::AdminKeyFirst | Refused::LastAdminKey => {
            key_refused(why)
        }
        Refused::NoSuchBulk => Problem::not_found("there is no bulk with this id"),
        Refused::BulkEnded => {
            conflict("already_ended", "the bulk has ended and cannot be cancelled; what it did stays".into())
        }
        Refused::BackfillGoesOn => conflict(
            "backfill_goes_on",
            "the schedule is still making the tasks of an earlier backfill; try again when it has none".into(),
        ),
        Refused::ParkingFull => Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "parking_full",
            "too many webhooks wait for a task with this id, which does not exist yet",
        )
        .after(60),
    }
}

/// A refusal of new tasks.
fn not_created(why: &Refused, pointer: impl Fn(usize) -> String, name: impl Fn(usize) -> String) -> Problem {
    let conflict = |code, detail: String| Problem::new(StatusCode::CONFLICT, code, detail);
    match why {
        Refused::IdTaken { position } => conflict(
            "id_taken",
            format!("the id {:?} belongs to a task with other content; choose another id", name(*position)),
        ),
        Refused::NoSuchDependency { position, dependency } => Problem::invalid(vec![FieldError {
            pointer: format!("{}/after/{dependency}", pointer(*position)),
            code: "no_such_task",
            detail: "no task has this id; create it first, or in the same batch".into(),
        }]),
        Refused::NoSuchQueue { position } => Problem::invalid(vec![FieldError {
            pointer: format!("{}/queue", pointer(*position)),
            code: "no_such_queue",
            detail: "no queue has this name; make it first, with PUT /v1/queues/{name}".into(),
        }]),
        Refused::NoSuchSource { position } => Problem::invalid(vec![FieldError {
            pointer: format!("{}/source", pointer(*position)),
            code: "no_such_source",
            detail: "no source has this name; make it first, with PUT /v1/sources/{name}".into(),
        }]),
        Refused::DependsOnReplaced { position, dependency } => Problem::invalid(vec![FieldError {
            pointer: format!("{}/after/{dependency}", pointer(*position)),
            code: "not_created",
            detail:
                "the task with this id is not created, since another one holds its unique key; name that one"
                    .into(),
        }]),
        Refused::ExternalTaken { position } => conflict(
            "external_id_taken",
            format!(
                "the id in `correlate` of the task {:?} names another task, which has not ended",
                name(*position)
            ),
        ),
        Refused::Cycle(circle) => {
            let mut path: Vec<String> = circle.iter().map(|position| name(*position)).collect();
            path.extend(circle.first().map(|position| name(*position)));
            Problem::invalid(vec![FieldError {
                pointer: format!(
                    "{}/after",
                    circle.first().map(|position| pointer(*position)).unwrap_or_default()
                ),
                code: "cycle",
                detail: format!("the tasks wait for each other: {}", path.join(" after ")),
            }])
        }
        _ => Problem::not_found("there is no task with this id"),
    }
}

/// A refusal about an API key.
fn key_refused(why: &Refused) -> Problem {
    let (code, detail) = match why {
        Refused::KeyNameTaken => {
            ("name_taken", "another API key has this name; choose another one, or revoke that")
        }
        Refused::LastAdminKey => (
            "last_admin_key",
            "without this key nobody could make another one; make one with the role admin first, or, to run without \
             keys, stop the server and revoke it with `taskhook keys revoke --store`",
        ),
        Refused::AdminKeyFirst => {
            let detail = "the first key closes the server, and only one with the role admin can make others: make that first";
            let pointer = "/role".into();
            return Problem::invalid(vec![FieldError {
                pointer,
                code: "admin_first",
                detail: detail.into(),
            }]);
        }
        _ => return Problem::not_found("there is no API key with this id or name"),
    };
    Problem::new(StatusCode::CONFLICT, code, detail)
}

/// 409: this task holds the unique key of the one that is to be retried.
pub(super) fn key_held(holder: Option<&str>) -> Problem {
    let holder = holder.map_or_else(|| "another task".into(), |id| format!("task {id:?}"));
    let detail = format!("{holder} holds the unique key of this one; retry it once that is free again");
    Problem::new(StatusCode::CONFLICT, "unique_key_held", detail)
}

fn ended(state: &'static str) -> String {
    match state {
        "succeeded" | "failed" => state.into(),
        other => format!("been {other}"),
    }
}
