//! URLs of tasks: what is called is what others read in it too.

use taskhook::target;
use url::{Host, Url};

/// Takes any text as the URL of a task.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(uri) = target::read(text) else { return };
    let (host, port) = (uri.host().expect("it has a host"), target::port(&uri));
    assert!(
        !host.is_empty() && !host.contains(['@', '/', '?', '#', ' ', '\\', '\t', '\r', '\n']),
        "{host:?}"
    );
    assert_eq!(target::host_and_port(&uri), format!("{}:{port}", host.to_ascii_lowercase()));
    // A second reader, of the WHATWG's standard. It refuses more, and takes numbers for IPv4 addresses in all spellings,
    // which are judged by what they resolve to here.
    let Ok(other) = Url::parse(text) else { return };
    assert_eq!(other.scheme(), uri.scheme_str().unwrap_or_default());
    assert_eq!(other.port_or_known_default(), Some(port), "{text:?}");
    assert!(other.username().is_empty() && other.password().is_none(), "{text:?}");
    match other.host() {
        Some(Host::Domain(domain)) if !host.contains('%') => {
            assert!(domain.eq_ignore_ascii_case(host), "{domain:?} and {host:?}");
        }
        Some(Host::Ipv6(ip)) => assert_eq!(host[1..host.len() - 1].parse(), Ok(ip), "{text:?}"),
        _ => {}
    }
}
