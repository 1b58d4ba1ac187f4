//! The remote's own id of a task, found in the response to its dispatch: before the end of the exchange is handed in, since
//! nothing is evaluated in a transaction.

use std::sync::Arc;

use taskhook_core::{External, ReplyKind, Response};

use crate::dispatch::response;
use crate::engine::commit::Dispatch;
use crate::expression::{Expression, Scope, checked_id, text_of};
use crate::store::Correlate;

/// Looks for it, where the task asks for that and the target has taken it on. `Err`: why it is not found, as the end of a
/// sentence.
pub(super) async fn find(dispatch: &Dispatch, kind: &ReplyKind) -> Option<Result<External, Arc<str>>> {
    let correlate = dispatch.correlate.clone()?;
    let ReplyKind::Response(response) = kind else { return None };
    if !response.is_taken_on() {
        return None;
    }
    let response = response.clone();
    // Reading an expression and going over a large response take time that others need on this thread.
    let looked = tokio::task::spawn_blocking(move || look(&correlate, &response)).await;
    Some(looked.unwrap_or_else(|_| Err("looking for it failed by a defect of Taskhook".into())))
}

fn look(correlate: &Correlate, response: &Response) -> Result<External, Arc<str>> {
    let expression = Expression::known(&correlate.expression)?;
    let is_json = response.result.is_some();
    let found = Scope::new(vec![("response", response::shown(response))])
        .and_then(|scope| expression.evaluate(&scope))
        // What is asked of a text that is no object fails in words of the language.
        .map_err(
            |why| if is_json { why } else { format!("the response is no JSON of at most 1 MiB ({why})") },
        )
        .and_then(|found| found.ok_or_else(|| "it is not there".into()))
        .and_then(|found| text_of(&found).ok_or_else(|| "it is neither a string nor an integer".into()))
        .and_then(checked_id);
    let known =
        |id: String| External { key: Default::default(), source: correlate.source.clone(), id: id.into() };
    found.map(known).map_err(Into::into)
}
