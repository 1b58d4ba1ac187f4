//! Who gets in: what an open server does not answer, and what needs which key.
//!
//! A server without keys is for this machine alone. A tunnel, a proxy or a web page in a browser of this machine can
//! reach its port all the same; those get the three doors that are made for strangers. Once there is a key, everything but
//! those doors needs one.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use taskhook_core::access::Role;
use taskhook_core::id::type_id;

use crate::http::access::{Access, Caller, Rules, authorize, bearer};
use crate::http::problem::Problem;
use crate::http::{App, answers};
use crate::store::Author;

/// Which of the addresses that the server listens on a request has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// All of the API.
    Main,
    /// Only what is for strangers.
    Public,
}

/// Where a request has come from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

/// What the guard goes by.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    pub(super) app: Arc<App>,
    pub(super) rules: Arc<Rules>,
    pub(super) door: Door,
}

/// Answers with a `request-id`, and lets through whoever may pass.
pub(super) async fn guard(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let id = *guard.app.new_id().as_bytes();
    let mut response = match guard.check(&mut request, id) {
        Err(problem) => {
            let is_unauthorized = problem.status == StatusCode::UNAUTHORIZED.as_u16();
            let mut response = problem.into_response();
            if is_unauthorized {
                // RFC 9110, 11.6.1
                response
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"taskhook\""));
            }
            response
        }
        Ok(()) => {
            let method = request.method().clone();
            answers::hold(&guard.app, &method, next.run(request).await).await
        }
    };
    if let Ok(id) = HeaderValue::from_str(&type_id("req", &id)) {
        response.headers_mut().insert("request-id", id);
    }
    response
}

impl Guard {
    /// Whether a request may pass; with it goes who has made it.
    fn check(&self, request: &mut Request, id: [u8; 16]) -> Result<(), Problem> {
        // Whoever stands between may have read the other one (RFC 9112, 3.2).
        if request.headers().get_all(header::HOST).iter().count() > 1 {
            return Err(Problem::malformed("the request has more than one Host"));
        }
        let access = self.access(request);
        if self.door == Door::Public && access != Access::Anywhere {
            return Err(Problem::not_found("this address answers on /webhook, /callback and /healthz only"));
        }
        let keys = &self.app.keys;
        let now = (self.app.clock)();
        if keys.is_open()
            && access != Access::Anywhere
            && let Some(why) = stranger(request.uri(), request.headers())
        {
            let detail = format!(
                "{why}; this server runs open, and answers such requests on /webhook, /callback and /healthz only"
            );
            return Err(Problem::new(StatusCode::FORBIDDEN, "open_server", detail));
        }
        let key = match access {
            Access::Anybody => return Ok(()),
            Access::Key(_) if keys.is_open() => None,
            Access::Key(role) => Some(authorize(keys, request.headers(), role, now)?),
            Access::Anywhere => {
                let key = bearer(request.headers()).and_then(|text| keys.find(text, now));
                request.extensions_mut().insert(Caller(key));
                return Ok(());
            }
        };
        let address =
            request.extensions().get::<Peer>().map(|Peer(peer)| peer.ip().to_canonical().to_string());
        let key = key.map(|key| (key.id, key.name.clone()));
        let author = Author { key, address: address.unwrap_or_default(), request: id };
        request.extensions_mut().insert(Arc::new(author));
        Ok(())
    }

    /// The rule of a request's route. Whatever has no route, or no such method, needs some key.
    fn access(&self, request: &Request) -> Access {
        let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str).unwrap_or_default();
        let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
        self.rules.get(path, method).unwrap_or(Access::Key(Role::Read))
    }
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
    let origin = origin.to_str().unwrap_or_default();
    let origin = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    let own = origin.is_some() && origin == host;
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
        let over_tls = [("host", "localhost:8420"), ("origin", "https://localhost:8420")];
        assert_eq!(check(&over_tls), None);
        for origin in ["http://evil.example", "null", "http://localhost:9999", "localhost:8420", ""] {
            assert!(check(&[("host", "localhost:8420"), ("origin", origin)]).is_some(), "{origin}");
        }
    }
}
