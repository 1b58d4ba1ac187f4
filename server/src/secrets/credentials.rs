//! Credentials in the headers that tasks send: sealed before they are stored, shown to nobody, opened when they are sent.
//!
//! Each is bound to the server that it is for: moved to a task of another one, it does not open.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use taskhook_core::Request;

use crate::vault::{Closed, KeyError, Vault};

/// What is shown in the place of a credential.
pub const SHOWN: &str = "[redacted]";

/// What a sealed value begins with: no header value may hold it, so none that is given is taken for a sealed one.
const MARK: char = '\u{1}';

/// Words by which the name of a header tells that its value is a credential.
const WORDS: [&str; 9] =
    ["authorization", "cookie", "credential", "passwd", "password", "secret", "session", "token", "x-auth"];

/// Whether the value of a header is a credential, by its name.
#[must_use]
pub fn is_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let is_key = name.ends_with("key") && !name.contains("idempotency");
    is_key || WORDS.iter().any(|word| name.contains(word))
}

/// Seals the credentials among the headers of a request.
///
/// # Errors
/// If the system gives no random bytes.
pub fn seal(vault: &Vault, request: &mut Request) -> Result<(), KeyError> {
    let server = server(&request.url);
    for (name, value) in &mut request.headers {
        if is_credential(name) && !value.starts_with(MARK) {
            let sealed = vault.seal(&place(&server, name), value.as_bytes())?;
            *value = format!("{MARK}{}", STANDARD.encode(sealed));
        }
    }
    Ok(())
}

/// The value of a header as it is sent. `vault` opens it where it is sealed.
///
/// # Errors
/// Why it does not open.
pub fn open(vault: Option<&Vault>, url: &str, name: &str, value: &str) -> Result<Vec<u8>, Closed> {
    let Some(sealed) = value.strip_prefix(MARK) else { return Ok(value.as_bytes().to_vec()) };
    let sealed = STANDARD.decode(sealed).map_err(|_| Closed::Damaged)?;
    vault.ok_or(Closed::OtherKey)?.open(&place(&server(url), name), &sealed)
}

/// Whether a credential that is sealed for `url` opens for `other` too.
#[must_use]
pub fn is_for_the_same(url: &str, other: &str) -> bool {
    server(url) == server(other)
}

/// A header as it is shown.
#[must_use]
pub fn shown((name, value): (String, String)) -> (String, String) {
    let shown = if is_credential(&name) { SHOWN.into() } else { value };
    (name, shown)
}

fn place(server: &str, name: &str) -> String {
    format!("header/{}/{server}", name.to_ascii_lowercase())
}

/// Scheme, host and port of a URL, as they are written.
fn server(url: &str) -> String {
    let uri: Option<axum::http::Uri> = url.parse().ok();
    let parts = uri.and_then(|uri| Some(format!("{}://{}", uri.scheme_str()?, uri.authority()?)));
    parts.unwrap_or_default().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::MasterKey;

    #[test]
    fn credentials_are_known_by_their_names() {
        for name in [
            "Authorization",
            "proxy-authorization",
            "cookie",
            "X-API-Key",
            "apikey",
            "x-goog-api-key",
            "X-Auth-Token",
            "private-token",
            "x-secret",
            "X-Amz-Security-Token",
        ] {
            assert!(is_credential(name), "{name}");
        }
        for name in [
            "content-type",
            "accept",
            "x-team",
            "idempotency-key",
            "user-agent",
            "x-request-id",
            "traceparent",
        ] {
            assert!(!is_credential(name), "{name}");
        }
    }

    #[test]
    fn a_sealed_header_opens_for_its_server_only() {
        let vault = Vault::new(&MasterKey::fresh().unwrap());
        let headers = vec![("X-Team".into(), "a".into()), ("Authorization".into(), "Bearer canary".into())];
        let url = "https://w.example/a?b=c";
        let mut request = Request { url: url.into(), headers, ..Request::default() };
        seal(&vault, &mut request).unwrap();
        assert_eq!(request.headers[0].1, "a");
        let sealed = request.headers[1].1.clone();
        assert!(!sealed.contains("canary") && axum::http::HeaderValue::from_str(&sealed).is_err());
        // Sealed once is sealed.
        seal(&vault, &mut request).unwrap();
        assert_eq!(request.headers[1].1, sealed);
        let open = |url: &str, name: &str| open(Some(&vault), url, name, &sealed);
        assert_eq!(open("HTTPS://W.example/other", "authorization").unwrap(), b"Bearer canary");
        for (url, name) in [
            ("https://evil.example/a", "authorization"),
            ("http://w.example/a", "authorization"),
            ("https://w.example:8443/a", "authorization"),
            (url, "x-token"),
        ] {
            assert_eq!(open(url, name), Err(Closed::Damaged), "{url} {name}");
        }
        assert_eq!(super::open(None, url, "authorization", &sealed), Err(Closed::OtherKey));
        assert_eq!(super::open(None, url, "x-team", "a").unwrap(), b"a");
    }
}
