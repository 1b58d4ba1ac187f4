//! The URL under which a task can be asked about, named by the response to its dispatch (`Location`).

use std::sync::Arc;

use taskhook_core::{HostKey, Location, ReplyKind};
use url::Url;

use crate::engine::commit::Dispatch;
use crate::target;

/// Looks for it, where the task asks for that and the target has taken it on. `Err`: why it is not found, as the end of a
/// sentence.
pub(super) fn find(dispatch: &Dispatch, kind: &ReplyKind) -> Option<Result<Location, Arc<str>>> {
    dispatch.task.plan.oversight.status.filter(|status| status.host.is_none())?;
    let ReplyKind::Response(response) = kind else { return None };
    if !response.is_taken_on() {
        return None;
    }
    let named = response.headers.iter().find(|(name, _)| name == "location");
    Some(match named {
        Some((_, location)) => located(&dispatch.request.url, location).map_err(Into::into),
        None => Err("the response to its dispatch has no Location".into()),
    })
}

/// The absolute URL of a `Location` in the response to a request of `url`.
fn located(url: &str, location: &str) -> Result<Location, String> {
    let absolute = Url::parse(url).and_then(|url| url.join(location));
    let absolute = absolute
        .map_err(|error| format!("the Location of the response to its dispatch is no URL: {error}"))?;
    // What is asked for is the same whatever stands behind the sign, and it is not sent.
    let text = absolute.as_str().split('#').next().unwrap_or_default();
    let uri =
        target::read(text).map_err(|why| format!("the Location of the response to its dispatch {why}"))?;
    Ok(Location { url: text.into(), host_name: target::host_and_port(&uri).into(), host: HostKey(0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_read_as_the_standard_says() {
        let at = |location: &str| {
            located("https://h.example:8443/jobs?x=1", location).map(|found| found.url.to_string())
        };
        for (location, wanted) in [
            ("/jobs/7", "https://h.example:8443/jobs/7"),
            ("jobs/7", "https://h.example:8443/jobs/7"),
            ("./7", "https://h.example:8443/7"),
            ("?id=7", "https://h.example:8443/jobs?id=7"),
            ("//other.example/7", "https://other.example/7"),
            ("http://other.example/7#part", "http://other.example/7"),
        ] {
            assert_eq!(at(location).as_deref(), Ok(wanted), "{location}");
        }
        for refused in
            ["ftp://h.example/7", "http://", "javascript:alert(1)", "http://user:secret@h.example/"]
        {
            assert!(at(refused).is_err(), "{refused}");
        }
        let of =
            |length: usize| format!("https://h.example/{}", "x".repeat(length - "https://h.example/".len()));
        assert!(at(&of(2_048)).is_ok() && at(&of(2_049)).is_err(), "a status URL is no longer than others");
    }
}
