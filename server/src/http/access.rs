//! Which key may use which route. A route is made with its rule; there is no other way to make one.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use taskhook_core::access::{ApiKey, Role};
use taskhook_core::{Once, Timestamp};
use utoipa::openapi::path::{HttpMethod, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use crate::access::{Keys, PREFIX};
use crate::engine::submission::Submission;
use crate::http::App;
use crate::http::problem::Problem;
use crate::store::Author;

/// The name of the way to prove oneself, in the OpenAPI document.
const SCHEME: &str = "api_key";

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody, from anywhere: senders of webhooks, who prove themselves to their source or by a token.
    Anywhere,
    /// Anybody who reaches the server itself, not by a tunnel or from a web page.
    Anybody,
    /// Whoever has a key of this role, or of one that may do more.
    Key(Role),
}

/// The rule of each route.
#[derive(Debug, Default)]
pub struct Rules(HashMap<String, Vec<(Method, Access)>>);

impl Rules {
    /// The rule of a route; of a path that has other methods, that of strangers if it is for them. `None`: there is no such
    /// path.
    pub(super) fn get(&self, path: &str, method: &Method) -> Option<Access> {
        let methods = self.0.get(path)?;
        let rule = methods.iter().find(|(of, _)| of == method).map(|(_, access)| *access);
        // A sender that uses the wrong method of a door for strangers is told so.
        let is_for_strangers = || methods.iter().any(|(_, access)| *access == Access::Anywhere);
        rule.or_else(|| is_for_strangers().then_some(Access::Anywhere))
    }

    /// Every route: its path, its method, its rule.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Method, Access)> {
        self.0.iter().flat_map(|(path, methods)| {
            methods.iter().map(move |(method, access)| (path.as_str(), method, *access))
        })
    }
}

/// Routes with their rules.
pub(super) struct Routes {
    router: OpenApiRouter<Arc<App>>,
    rules: Rules,
}

impl Routes {
    /// None yet.
    pub(super) fn new(document: utoipa::openapi::OpenApi) -> Routes {
        Routes { router: OpenApiRouter::with_openapi(document), rules: Rules::default() }
    }

    /// One more.
    pub(super) fn add(mut self, access: Access, mut methods: UtoipaMethodRouter<Arc<App>>) -> Routes {
        for (path, item) in &mut methods.1.paths {
            for (method, operation) in operations(item) {
                if let Access::Key(_) = access {
                    let needed = SecurityRequirement::new(SCHEME, Vec::<String>::new());
                    operation.security.get_or_insert_default().push(needed);
                }
                self.rules.0.entry(path.clone()).or_default().push((method, access));
            }
        }
        Routes { router: self.router.routes(methods), ..self }
    }

    /// The routes and their rules.
    pub(super) fn finish(self) -> (OpenApiRouter<Arc<App>>, Rules) {
        (self.router, self.rules)
    }
}

/// Says in the OpenAPI document how a client proves itself.
pub(super) fn describe(document: &mut utoipa::openapi::OpenApi) {
    let description = format!(
        "An API key `{PREFIX}…`, made with `taskhook keys create`. A server without keys runs open, on loopback only."
    );
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(description)).build();
    document
        .components
        .get_or_insert_default()
        .security_schemes
        .insert(SCHEME.into(), SecurityScheme::Http(scheme).into());
}

pub(super) fn operations(
    item: &mut PathItem,
) -> impl Iterator<Item = (Method, &mut utoipa::openapi::path::Operation)> {
    [
        (HttpMethod::Get, &mut item.get),
        (HttpMethod::Put, &mut item.put),
        (HttpMethod::Post, &mut item.post),
        (HttpMethod::Delete, &mut item.delete),
        (HttpMethod::Options, &mut item.options),
        (HttpMethod::Head, &mut item.head),
        (HttpMethod::Patch, &mut item.patch),
        (HttpMethod::Trace, &mut item.trace),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((named(&method), operation.as_mut()?)))
}

fn named(method: &HttpMethod) -> Method {
    match method {
        HttpMethod::Get => Method::GET,
        HttpMethod::Put => Method::PUT,
        HttpMethod::Post => Method::POST,
        HttpMethod::Delete => Method::DELETE,
        HttpMethod::Options => Method::OPTIONS,
        HttpMethod::Head => Method::HEAD,
        HttpMethod::Patch => Method::PATCH,
        HttpMethod::Trace => Method::TRACE,
    }
}

/// The key that a request was made with, where it is one of ours and may be used.
#[derive(Debug, Clone, Default)]
pub(super) struct Caller(pub(super) Option<Arc<ApiKey>>);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, Self::Rejection> {
        Ok(parts.extensions.get::<Caller>().cloned().unwrap_or_default())
    }
}

/// What of a request looks like an API key.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && token.starts_with(PREFIX)).then_some(token)
}

/// Checks that a request may use a route that needs `role`, on a server that is not open.
pub(super) fn authorize(
    keys: &Keys,
    headers: &HeaderMap,
    role: Role,
    now: Timestamp,
) -> Result<Arc<ApiKey>, Problem> {
    let unauthorized = |detail: &str| Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail);
    let Some(text) = bearer(headers) else {
        return Err(unauthorized(
            "this server needs an API key, as in `Authorization: Bearer thk_…`; `taskhook keys create` makes one",
        ));
    };
    let Some(key) = keys.find(text, now) else {
        return Err(unauthorized("the API key is unknown, expired or revoked"));
    };
    if key.role < role {
        let detail = format!(
            "this needs an API key with the role {}; that of {:?} is {}",
            role.name(),
            key.name,
            key.role.name()
        );
        return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail));
    }
    Ok(key)
}

/// A request that may change something: who makes it, and the key under which it happens at most once.
pub(super) struct Asking {
    author: Arc<Author>,
    once: Option<Once>,
}

impl Asking {
    /// What is asked, as it is submitted.
    pub(super) fn to(self, submission: Submission) -> Submission {
        let submission = match self.once {
            Some(once) => Submission::Once(once, Box::new(submission)),
            None => submission,
        };
        Submission::By(self.author, Box::new(submission))
    }

    /// Whether it was made with an API key.
    pub(super) fn has_key(&self) -> bool {
        self.author.key.is_some()
    }

    /// Whether a repeat of it is to be told from it.
    pub(super) fn is_once(&self) -> bool {
        self.once.is_some()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Asking {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Asking, Problem> {
        // A route that no guard has let through has no author, and changes nothing.
        let author = parts.extensions.get::<Arc<Author>>().cloned().ok_or_else(|| {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "no_author", "nobody knows who asks")
        })?;
        Ok(Asking { author, once: parts.extensions.get::<Once>().copied() })
    }
}
