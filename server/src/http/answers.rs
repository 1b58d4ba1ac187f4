//! Large answers that their clients have not taken yet, bounded in all (G15).

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use taskhook_core::limits;
use tokio::sync::OwnedSemaphorePermit;

use crate::http::App;
use crate::http::problem::Problem;

/// Bytes of an answer that every connection may have.
const SMALL: usize = 64 << 10;

/// Lets a large answer to a GET out only where there is room for it: it has changed nothing and can be asked for
/// again.
pub(super) async fn hold(app: &App, method: &Method, response: Response) -> Response {
    let bytes = response.body().size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
    let Some(bytes) = bytes.filter(|bytes| method == Method::GET && *bytes > SMALL) else { return response };
    let places = u32::try_from(bytes.min(limits::ANSWERS_BYTES_MAX)).unwrap_or(u32::MAX);
    let Ok(place) = app.answers.clone().try_acquire_many_owned(places) else {
        let detail = "too many large answers are on their way to clients that do not take them; ask again, or for \
                      less with limit";
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "behind", detail).after(1).into_response();
    };
    let (parts, body) = response.into_parts();
    let rest = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    Response::from_parts(parts, Body::new(Held { rest, _place: place }))
}

/// An answer and its place. It is given out in small parts, so that it is still here, and counted, while its client
/// takes nothing.
struct Held {
    rest: Bytes,
    _place: OwnedSemaphorePermit,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let part = SMALL.min(self.rest.len());
        let part = self.rest.split_to(part);
        Poll::Ready((!part.is_empty()).then(|| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}
