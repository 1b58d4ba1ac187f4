//! The URL of a task: one reading of it, at creation and again before it is sent.

use std::net::Ipv6Addr;

use hyper::Uri;
use hyper::http::uri::Authority;
use taskhook_core::limits;

/// Reads an absolute http or https URL with a host, and nothing in it that would be left out without a word.
///
/// # Errors
/// What is wrong with it, as the end of a sentence.
pub fn read(url: &str) -> Result<Uri, String> {
    if url.len() > limits::URL_BYTES_MAX {
        return Err(format!("has more than {} bytes", limits::URL_BYTES_MAX));
    }
    let uri: Uri = url.parse().map_err(|error| format!("is no URL: {error}"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err("must begin with http:// or https://".into());
    }
    let authority = uri.authority().ok_or("names no host")?;
    if authority.as_str().contains('@') {
        return Err("must not carry a user or password; use headers".into());
    }
    let name = authority.host();
    if name.is_empty() {
        return Err("names no host".into());
    }
    let bracketed = name.strip_prefix('[').map(|host| host.strip_suffix(']').unwrap_or(host));
    if bracketed.is_some_and(|host| host.parse::<Ipv6Addr>().is_err()) {
        return Err("has brackets that hold no IPv6 address".into());
    }
    if has_bad_port(authority) {
        return Err("has a port that is none".into());
    }
    Ok(uri)
}

/// Whether there is a port that is none: a number that is no port is read as if there were none, and another one would be
/// called.
#[must_use]
pub fn has_bad_port(authority: &Authority) -> bool {
    let host_and_port = authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, rest)| rest);
    host_and_port.len() > authority.host().len() && authority.port_u16().is_none()
}

/// A host without the brackets of an IPv6 address.
#[must_use]
pub fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// The port that is called.
#[must_use]
pub fn port(uri: &Uri) -> u16 {
    uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 })
}

/// `host:port`, in lower case.
#[must_use]
pub fn host_and_port(uri: &Uri) -> String {
    format!("{}:{}", uri.host().unwrap_or_default().to_ascii_lowercase(), port(uri))
}
