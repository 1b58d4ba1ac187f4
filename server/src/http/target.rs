//! What a request's path and query name, where a fault is a problem like any other.

use axum::extract::{FromRequestParts, Path, Query as RawQuery};
use axum::http::request::Parts;
use taskhook_core::id::is_callers_id;
use taskhook_core::limits;

use crate::http::list::Query;
use crate::http::problem::{FieldError, Problem};

/// The one segment of a path that names something.
pub(super) struct Named(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Named, Problem> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Named(name)),
            Err(_) => Err(Problem::not_found("there is nothing here: the path is not UTF-8")),
        }
    }
}

impl Named {
    /// The name, if a caller may give it to a thing of this kind.
    pub(super) fn chosen(self, kind: &str) -> Result<String, Problem> {
        if is_callers_id(&self.0, limits::NAME_BYTES_MAX) {
            return Ok(self.0);
        }
        let detail = format!(
            "a {kind}'s name begins with a letter or digit and has at most {} of A-Z a-z 0-9 . _ : @ -",
            limits::NAME_BYTES_MAX
        );
        Err(Problem::invalid(vec![FieldError { pointer: "/name".into(), code: "not_a_name", detail }]))
    }
}

/// The query of a request that takes no parameters: one that is given is not quietly left out.
pub(super) struct NoQuery;

impl<S: Send + Sync> FromRequestParts<S> for NoQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<NoQuery, Problem> {
        let RawQuery(pairs) = RawQuery::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map_err(|error| Problem::bad_query(error.body_text()))?;
        Query::new(pairs, &[]).map(|_| NoQuery)
    }
}
