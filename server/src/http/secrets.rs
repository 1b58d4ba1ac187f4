//! `/v1/secrets/dispatch`: with what dispatches are signed.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use taskhook_core::access::AccessCommand;
use taskhook_core::{Outcome, limits};

use crate::engine::submission::Submission;
use crate::http::access::Asking;
use crate::http::asked::KeepRequest;
use crate::http::fields::Fields;
use crate::http::problem::Problem;
use crate::http::target::NoQuery;
use crate::http::tasks::unexpected;
use crate::http::wire::access::SecretBody;
use crate::http::{App, body, respond};
use crate::json;
use crate::secrets::dispatch_secret_text;
use crate::secrets::stored::{DISPATCH, DISPATCH_BEFORE, open_before, open_own, rotation, signer};

/// Most bytes of what is said of a secret.
const REQUEST_BYTES_MAX: usize = 4 << 10;

/// The secret with which dispatches are signed: workers verify them by it.
///
/// Only for who has an API key with the role `admin`, on an open server too: `taskhook secrets show dispatch` reads it
/// straight from the store.
#[utoipa::path(
    get, path = "/v1/secrets/dispatch", tag = "access",
    responses((status = 200, body = SecretBody), Problem)
)]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    _: NoQuery,
    asking: Asking,
) -> Result<Response, Problem> {
    must_have_key(&asking)?;
    let (_, body) = current(&app).await?;
    Ok(respond::json(StatusCode::OK, &body))
}

/// Makes a new secret for dispatches. The old one signs too for a while, so that workers can change over; the one before
/// that is forgotten.
///
/// For who may see it. An `Idempotency-Key` is refused, since answers to it are kept.
#[utoipa::path(
    post, path = "/v1/secrets/dispatch/rotate", tag = "access",
    request_body(content = KeepRequest, example = json!({"keep": "24h"})),
    responses((status = 200, body = SecretBody), Problem)
)]
pub(super) async fn rotate(
    State(app): State<Arc<App>>,
    _: NoQuery,
    asking: Asking,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    must_have_key(&asking)?;
    if asking.is_once() {
        let detail =
            "the answer holds the secret, and is not kept: send the request without an idempotency-key";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "not_repeatable", detail));
    }
    let bytes = body::read(&app, &headers, body, REQUEST_BYTES_MAX).await?;
    let text = if bytes.is_empty() { b"{}".as_slice() } else { &bytes };
    let mut fields = Fields::of::<KeepRequest>(json::object(text).map_err(Problem::malformed)?, "");
    let keep = fields.duration("keep").unwrap_or(limits::OLD_SECRET_SIGNS_FOR);
    if keep > limits::DURATION_MAX {
        fields.wrong("keep", "out_of_range", "is too long");
    }
    let errors = fields.finish();
    if !errors.is_empty() {
        return Err(Problem::invalid(errors));
    }
    // One at a time: of two that begin with the same secret, the first one's new one would sign nothing any more.
    let _turn = app.rotating.lock().await;
    let (before, _) = current(&app).await?;
    let until = (app.clock)() + keep;
    let (_, kept) = rotation(app.sources.vault(), &before, until).map_err(|error| broken(&error))?;
    let command = Submission::Access(AccessCommand::KeepSecrets(kept));
    let receipt = app.engine.submit(asking.to(command)).await?;
    if *receipt.outcome() != Outcome::Applied {
        return Err(unexpected(receipt.outcome()));
    }
    let (secret, body) = current(&app).await?;
    let before = app.reader.secret(DISPATCH_BEFORE).await?;
    let signer = signer(app.sources.vault(), &secret, before.as_ref()).map_err(|error| broken(&error))?;
    app.secrets.sign_with(signer);
    Ok(respond::json(StatusCode::OK, &body))
}

/// The secret as it is stored, and how it is shown.
async fn current(app: &App) -> Result<(Vec<u8>, SecretBody), Problem> {
    let vault = app.sources.vault();
    let stored = app.reader.secret(DISPATCH).await?;
    let stored = stored.ok_or_else(|| Problem::not_found("there is no secret for dispatches"))?;
    let secret = open_own(vault, DISPATCH, &stored).map_err(|error| broken(&error))?;
    let before = match app.reader.secret(DISPATCH_BEFORE).await? {
        Some(before) => Some(open_before(vault, &before).map_err(|error| broken(&error))?),
        None => None,
    };
    let until = before.map(|(until, _)| until).filter(|until| (app.clock)() < *until);
    let body = SecretBody {
        name: DISPATCH.into(),
        secret: dispatch_secret_text(&secret),
        old_signs_until: until.map(|until| until.to_string()),
    };
    Ok((secret, body))
}

fn must_have_key(asking: &Asking) -> Result<(), Problem> {
    if asking.has_key() {
        return Ok(());
    }
    let detail = "this needs an API key with the role admin, on an open server too; `taskhook secrets show dispatch` \
                  reads the secret straight from the store";
    Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail))
}

fn broken(error: &anyhow::Error) -> Problem {
    tracing::error!("{error:#}");
    let detail = "the secret does not open; the log says why";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "sealed", detail)
}
