//! What an open server does not answer.
//!
//! A server without keys is for this machine alone. A tunnel, a proxy or a web page in a browser of this
//! machine can reach its port all the same; those get the three doors that are made for strangers.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use taskhook_core::id::type_id;

use crate::http::problem::Problem;
use crate::http::{App, answers};

/// Answers with a `request-id`, and refuses what an open server may not answer.
pub(super) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let id = type_id("req", app.new_id().as_bytes());
    let path = request.uri().path();
    let for_strangers = path == "/webhook"
        || path.starts_with("/webhook/")
        || path.starts_with("/callback/")
        || path == "/healthz";
    // Whoever stands between may have read the other one (RFC 9112, 3.2).
    let has_one_host = request.headers().get_all(header::HOST).iter().count() <= 1;
    let mut response = match stranger(request.uri(), request.headers()) {
        _ if !has_one_host => Problem::malformed("the request has more than one Host").into_response(),
        Some(why) if !for_strangers => {
            let detail = format!(
                "{why}; this server runs open, and answers such requests on /webhook, /callback and /healthz only"
            );
            Problem::new(StatusCode::FORBIDDEN, "open_server", detail).into_response()
        }
        _ => {
            let method = request.method().clone();
            answers::hold(&app, &method, next.run(request).await).await
        }
    };
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("request-id", id);
    }
    response
}

/// Why a request, which has at most one Host, does not come from this machine's own hand.
fn stranger(uri: &Uri, headers: &HeaderMap) -> Option<&'static str> {
    let forwarded = |name: &str| name == "forwarded" || name.starts_with("x-forwarded-") || name == "via";
    if headers.keys().any(|name| forwarded(name.as_str())) {
        return Some("the request was forwarded");
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = uri.authority().map(|authority| authority.as_str()).or(host);
    if !host.is_some_and(is_loopback) {
        return Some("its Host is not a loopback address");
    }
    let origin = headers.get(header::ORIGIN)?;
    let own = host.is_some_and(|host| origin.to_str().is_ok_and(|origin| origin == format!("http://{host}")));
    (!own).then_some("it comes from another web page")
}

/// Whether `host:port` is this machine by a name that no resolver can bend.
fn is_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<axum::http::uri::Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_from_elsewhere_is_told_apart() {
        let check = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(*name, HeaderValue::from_str(value).unwrap());
            }
            stranger(&Uri::from_static("/v1/tasks"), &headers)
        };
        for own in ["127.0.0.1:8420", "localhost:8420", "LOCALHOST", "[::1]:8420", "127.9.9.9"] {
            assert_eq!(check(&[("host", own)]), None, "{own}");
        }
        for other in
            ["example.com", "127.0.0.1.nip.io", "localhost.example.com", "10.0.0.1:8420", "", "0.0.0.0"]
        {
            assert!(check(&[("host", other)]).is_some(), "{other}");
        }
        assert!(check(&[]).is_some());
        for name in ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-anything"] {
            assert!(check(&[("host", "localhost"), (name, "x")]).is_some(), "{name}");
        }
        assert_eq!(check(&[("host", "localhost:8420"), ("origin", "http://localhost:8420")]), None);
        for origin in ["http://evil.example", "null", "http://localhost:9999", "https://localhost:8420"] {
            assert!(check(&[("host", "localhost:8420"), ("origin", origin)]).is_some(), "{origin}");
        }
    }
}
