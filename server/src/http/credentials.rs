//! Credentials among the headers that tasks send: never stored in the open, and never taken for what is shown of them.

use std::sync::Arc;

use axum::http::StatusCode;
use taskhook_core::{Request, Spec};

use crate::http::App;
use crate::http::fields::escaped;
use crate::http::problem::{FieldError, Problem};
use crate::secrets::credentials::{SHOWN, is_credential, is_for_the_same, seal};

/// Seals those of a task, and of what is asked about it. `pointer` tells where the task is in the request. What is sent back
/// as it is shown stays what it was in `had`, if that is for the same server.
pub(super) fn keep(app: &App, spec: &mut Spec, pointer: &str, had: Option<&Spec>) -> Result<(), Problem> {
    if let Some(request) = &mut spec.request {
        let had = had.and_then(|had| had.request.as_deref());
        keep_in(app, Arc::make_mut(request), pointer, had)?;
    }
    if let Some(status) = &mut spec.status
        && let Some(request) = &mut Arc::make_mut(status).request
    {
        let had = had.and_then(|had| had.status.as_deref()?.request.as_ref());
        keep_in(app, request, &format!("{pointer}/status"), had)?;
    }
    Ok(())
}

/// Seals those of a request.
fn keep_in(app: &App, request: &mut Request, pointer: &str, had: Option<&Request>) -> Result<(), Problem> {
    if !request.headers.iter().any(|(name, _)| is_credential(name)) {
        return Ok(());
    }
    let had = had.filter(|had| is_for_the_same(&had.url, &request.url));
    let mut wrong = Vec::new();
    for (name, value) in &mut request.headers {
        if value != SHOWN || !is_credential(name) {
            continue;
        }
        let same = |(other, _): &&(String, String)| other.eq_ignore_ascii_case(name);
        match had.and_then(|had| had.headers.iter().find(same)) {
            Some((_, sealed)) => value.clone_from(sealed),
            None => wrong.push(FieldError {
                pointer: format!("{pointer}/headers/{}", escaped(name)),
                code: "redacted",
                detail: "is what is shown in the place of a credential; say the credential itself".into(),
            }),
        }
    }
    if !wrong.is_empty() {
        return Err(Problem::invalid(wrong));
    }
    seal(app.sources.vault(), request)
        .map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "no_random", error.to_string()))
}
