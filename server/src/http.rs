//! The HTTP edge: requests become submissions, receipts become answers.

mod answers;
mod asked;
mod body;
mod bulks;
mod draft;
pub mod duration;
mod events;
mod fields;
mod filter;
mod guard;
mod health;
mod hold;
pub mod json;
mod list;
mod listen;
mod once;
pub mod problem;
mod queues;
mod rejections;
mod respond;
mod schedules;
mod sources;
mod stats;
mod story;
mod target;
mod tasks;
mod webhook;
pub mod wire;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse;
use taskhook_core::Timestamp;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::engine::Engine;
use crate::http::problem::Problem;
use crate::secrets::Secrets;
use crate::source::registry::Registry;
use crate::store::read::Reader;
use crate::telemetry::Metrics;

pub use listen::{Listener, Settings};
pub use once::InProgress;
pub use rejections::Rejections;
pub use schedules::AskedInstants;

/// What every handler may use.
#[derive(Debug)]
pub struct App {
    /// The only way in.
    pub engine: Engine,
    /// For answers.
    pub reader: Reader,
    /// Who may send webhooks.
    pub sources: Arc<Registry>,
    /// The URL under which the server is reached, without a slash at its end.
    pub public_url: String,
    /// For callback tokens.
    pub secrets: Arc<Secrets>,
    /// The time, for `delay`.
    pub clock: fn() -> Timestamp,
    /// How long the body of a request may take, beside a second for each KiB that did come.
    pub body_time: Duration,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// How many refused webhooks may be kept now.
    pub rejections: Arc<Rejections>,
    /// The bytes of request bodies that may still be held.
    pub bodies: Arc<tokio::sync::Semaphore>,
    /// The bytes of large answers that may still be held.
    pub answers: Arc<tokio::sync::Semaphore>,
    /// Instants of tasks that are asked for.
    pub asked_instants: Arc<AskedInstants>,
    /// Requests with an idempotency key that are in progress.
    pub in_progress: Arc<InProgress>,
}

/// How long the body of a request may take, where nothing else is said.
pub const BODY_TIME: Duration = Duration::from_secs(15);

impl App {
    fn new_id(&self) -> Uuid {
        Uuid::now_v7()
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Taskhook",
        description = "A durable task scheduler driven by webhooks.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    components(schemas(Problem))
)]
struct Document;

fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(webhook::receive))
        .routes(routes!(webhook::receive_from, webhook::handshake::confirm, webhook::handshake::consent))
        .routes(routes!(webhook::call_back))
        .routes(routes!(tasks::create, tasks::list))
        .routes(routes!(tasks::create_batch))
        .routes(routes!(tasks::get))
        .routes(routes!(tasks::history))
        .routes(routes!(tasks::cancel))
        .routes(routes!(tasks::retry))
        .routes(routes!(tasks::trigger))
        .routes(routes!(bulks::begin, bulks::list))
        .routes(routes!(bulks::get))
        .routes(routes!(bulks::cancel))
        .routes(routes!(queues::list))
        .routes(routes!(queues::put, queues::get))
        .routes(routes!(queues::pause))
        .routes(routes!(queues::resume))
        .routes(routes!(schedules::list))
        .routes(routes!(schedules::put, schedules::get, schedules::delete))
        .routes(routes!(schedules::pause))
        .routes(routes!(schedules::resume))
        .routes(routes!(schedules::trigger))
        .routes(routes!(schedules::backfill))
        .routes(routes!(schedules::preview))
        .routes(routes!(sources::list))
        .routes(routes!(sources::put, sources::get, sources::delete))
        .routes(routes!(sources::rotate))
        .routes(routes!(sources::test))
        .routes(routes!(stats::tasks))
        .routes(routes!(events::list))
        .routes(routes!(events::get))
        .routes(routes!(events::replay))
        .routes(routes!(hold::get, hold::hold))
        .routes(routes!(hold::resume))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .routes(routes!(health::openapi))
}

/// The OpenAPI document, made from the routes.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    routes().into_openapi()
}

/// Every route, with its guard.
pub fn router(app: App) -> Router {
    let app = Arc::new(app);
    let (router, _) = routes().split_for_parts();
    router
        .fallback(|| async { Problem::not_found("there is nothing here; see /openapi.json").into_response() })
        .method_not_allowed_fallback(|| async {
            let status = axum::http::StatusCode::METHOD_NOT_ALLOWED;
            Problem::new(status, "method_not_allowed", "this path has other methods; see /openapi.json")
                .into_response()
        })
        .layer(axum::middleware::from_fn_with_state(app.clone(), once::once))
        .layer(axum::middleware::from_fn_with_state(app.clone(), guard::guard))
        .with_state(app)
}
