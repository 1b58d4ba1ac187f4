//! The HTTP edge: requests become submissions, receipts become answers.

mod access;
mod answers;
mod asked;
mod audit;
mod body;
mod bulks;
mod credentials;
pub mod cursor;
mod draft;
pub mod duration;
mod events;
mod fields;
mod filter;
mod guard;
mod health;
mod hold;
mod keys;
mod list;
mod listen;
mod once;
mod oversight;
pub mod problem;
mod queues;
mod rejections;
mod respond;
mod schedules;
mod secrets;
mod sources;
mod stats;
mod story;
mod target;
mod tasks;
pub mod tls;
pub mod webhook;
pub mod wire;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{Method, StatusCode};
use axum::response::IntoResponse;
use taskhook_core::Timestamp;
use taskhook_core::access::Role;
use utoipa::OpenApi;
use utoipa::openapi::RefOr;
use utoipa::openapi::path::Operation;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::access::Keys;
use crate::engine::Engine;
use crate::http::access::Routes;
use crate::http::guard::Guard;
use crate::http::problem::Problem;
use crate::secrets::Secrets;
use crate::source::registry::Registry;
use crate::store::read::Reader;
use crate::telemetry::Metrics;

pub use access::{Access, Rules};
pub use guard::Door;
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
    /// Who may do what.
    pub keys: Arc<Keys>,
    /// Who may send webhooks.
    pub sources: Arc<Registry>,
    /// The URL under which the server is reached, without a slash at its end.
    pub public_url: String,
    /// For callback tokens and signatures.
    pub secrets: Arc<Secrets>,
    /// Held while the secret for dispatches is changed.
    pub rotating: tokio::sync::Mutex<()>,
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

/// Every route with its rule.
fn routes() -> Routes {
    const READ: Access = Access::Key(Role::Read);
    const WRITE: Access = Access::Key(Role::Write);
    const ADMIN: Access = Access::Key(Role::Admin);
    Routes::new(Document::openapi())
        .add(Access::Anywhere, routes!(webhook::receive))
        .add(
            Access::Anywhere,
            routes!(webhook::receive_from, webhook::handshake::confirm, webhook::handshake::consent),
        )
        .add(Access::Anywhere, routes!(webhook::call_back))
        .add(WRITE, routes!(tasks::create))
        .add(READ, routes!(tasks::list))
        .add(WRITE, routes!(tasks::create_batch))
        .add(READ, routes!(tasks::get))
        .add(READ, routes!(tasks::history))
        .add(WRITE, routes!(tasks::cancel))
        .add(WRITE, routes!(tasks::retry))
        .add(WRITE, routes!(tasks::trigger))
        .add(WRITE, routes!(bulks::begin))
        .add(READ, routes!(bulks::list))
        .add(READ, routes!(bulks::get))
        .add(WRITE, routes!(bulks::cancel))
        .add(READ, routes!(queues::list))
        .add(ADMIN, routes!(queues::put))
        .add(READ, routes!(queues::get))
        .add(WRITE, routes!(queues::pause))
        .add(WRITE, routes!(queues::resume))
        .add(READ, routes!(schedules::list))
        .add(ADMIN, routes!(schedules::put))
        .add(READ, routes!(schedules::get))
        .add(ADMIN, routes!(schedules::delete))
        .add(WRITE, routes!(schedules::pause))
        .add(WRITE, routes!(schedules::resume))
        .add(WRITE, routes!(schedules::trigger))
        .add(WRITE, routes!(schedules::backfill))
        .add(READ, routes!(schedules::preview))
        .add(READ, routes!(sources::list))
        .add(ADMIN, routes!(sources::put))
        .add(READ, routes!(sources::get))
        .add(ADMIN, routes!(sources::delete))
        .add(ADMIN, routes!(sources::rotate))
        .add(WRITE, routes!(sources::test))
        .add(READ, routes!(stats::tasks))
        .add(READ, routes!(events::list))
        .add(READ, routes!(events::get))
        .add(WRITE, routes!(events::replay))
        .add(ADMIN, routes!(keys::create))
        .add(ADMIN, routes!(keys::list))
        .add(ADMIN, routes!(keys::delete))
        .add(ADMIN, routes!(secrets::show))
        .add(ADMIN, routes!(secrets::rotate))
        .add(ADMIN, routes!(audit::list))
        .add(READ, routes!(hold::get))
        .add(ADMIN, routes!(hold::hold))
        .add(ADMIN, routes!(hold::resume))
        .add(Access::Anywhere, routes!(health::healthz))
        .add(Access::Anybody, routes!(health::readyz))
        .add(READ, routes!(health::metrics))
        .add(READ, routes!(health::openapi))
}

/// The OpenAPI document, made from the routes.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    let (router, _) = routes().finish();
    let mut document = router.into_openapi();
    access::describe(&mut document);
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in access::operations(item) {
            name(path, &method, operation);
        }
    }
    document
}

/// What OpenAPI asks for of each operation, and the routes do not say: an id that no other one has, and words for every answer.
fn name(path: &str, method: &Method, operation: &mut Operation) {
    let words = path.split(['/', '.', '-']).filter(|word| !word.is_empty() && *word != "v1");
    let words = words.map(|word| word.trim_matches(['{', '}']));
    let id = std::iter::once(method.as_str().to_ascii_lowercase().as_str())
        .chain(words)
        .collect::<Vec<_>>()
        .join("_");
    operation.operation_id = Some(id);
    for (status, response) in &mut operation.responses.responses {
        let words = status.parse::<StatusCode>().ok().and_then(|status| status.canonical_reason());
        if let (RefOr::T(response), Some(words)) = (response, words)
            && response.description.is_empty()
        {
            words.clone_into(&mut response.description);
        }
    }
}

/// The rule of every route.
#[must_use]
pub fn rules() -> Rules {
    routes().finish().1
}

/// Every route, with its guard, as one of the server's addresses shows them.
pub fn router(app: Arc<App>, door: Door) -> Router {
    let (router, rules) = routes().finish();
    let (router, _) = router.split_for_parts();
    let guard = Guard { app: app.clone(), rules: Arc::new(rules), door };
    router
        .fallback(|| async { Problem::not_found("there is nothing here; see /openapi.json").into_response() })
        .method_not_allowed_fallback(|| async {
            let status = StatusCode::METHOD_NOT_ALLOWED;
            Problem::new(status, "method_not_allowed", "this path has other methods; see /openapi.json")
                .into_response()
        })
        .layer(axum::middleware::from_fn_with_state(app.clone(), once::once))
        .layer(axum::middleware::from_fn_with_state(guard, guard::guard))
        .with_state(app)
}
