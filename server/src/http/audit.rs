//! `GET /v1/audit`: who has changed what.

use std::sync::Arc;

use axum::extract::{Query as RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;

use crate::http::cursor;
use crate::http::list::Query;
use crate::http::problem::Problem;
use crate::http::wire::ListBody;
use crate::http::wire::access::AuditBody;
use crate::http::{App, respond};
use crate::store::read::AuditFilter;

/// Lists the changes that were made through the API, newest first: who made each, from where, and to what.
///
/// One entry for each request that changed something, written in the transaction of the change. What workers report and
/// what Taskhook does by itself is in `/v1/events` and in the history of each task.
#[utoipa::path(
    get, path = "/v1/audit", tag = "access",
    params(
        ("action" = Option<String>, Query, description = "What was done, such as `task.cancel`"),
        ("subject" = Option<String>, Query, description = "To what, by its name or id"),
        ("key" = Option<String>, Query, description = "With which API key, by its name or id"),
        ("limit" = Option<u32>, Query), ("cursor" = Option<String>, Query),
    ),
    responses((status = 200, body = ListBody<AuditBody>), Problem)
)]
pub(super) async fn list(
    State(app): State<Arc<App>>,
    RawQuery(pairs): RawQuery<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let query = Query::new(pairs, &["action", "subject", "key", "limit", "cursor"])?;
    let text = |name| query.one(name).map(|value| value.map(String::from));
    let filter = AuditFilter { action: text("action")?, subject: text("subject")?, key: text("key")? };
    let (limit, before) = query.page()?;
    let listed = app.reader.audit(filter, before, limit).await?;
    let data = listed.rows.into_iter().map(AuditBody::of).collect();
    Ok(respond::json(
        StatusCode::OK,
        &ListBody::<AuditBody> { data, next_cursor: listed.next.map(cursor::row) },
    ))
}
