//! Headers that a task may not set: with these it could pretend to be Taskhook, or to be two requests.

/// Headers that say where a request begins and ends, and whom it is for.
const FRAMING: [&str; 4] = ["host", "content-length", "transfer-encoding", "connection"];

/// Headers that are not about the request but about the connection that it goes by (RFC 9110, 7.6.1).
const OF_CONNECTIONS: [&str; 5] = ["keep-alive", "te", "trailer", "upgrade", "expect"];

/// Whether a header, by its name in lower case, is for Taskhook alone to set.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    FRAMING.contains(&name)
        || OF_CONNECTIONS.contains(&name)
        || ["webhook-", "taskhook-", "proxy-"].iter().any(|start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_frames_a_request_or_tells_who_sends_it_is_reserved() {
        for name in [
            "host",
            "connection",
            "proxy-authorization",
            "proxy-connection",
            "te",
            "webhook-id",
            "taskhook-x",
        ] {
            assert!(is_reserved(name), "{name}");
        }
        for name in ["authorization", "content-type", "x-host", "webhook", "accept", "x-proxy-id"] {
            assert!(!is_reserved(name), "{name}");
        }
    }
}
