//! How a task is to be watched over: from JSON, with every fault named.

use std::collections::BTreeMap;

use taskhook_core::{Deadline, OversightAsked, Request, StatusAsked, StatusRequest};

use crate::engine::submission::OtherHosts;
use crate::expression::Expression;
use crate::http::asked::{StatusMapRequest, StatusObject};
use crate::http::draft::{headers, host, positive};
use crate::http::duration;
use crate::http::fields::{Fields, names_of, parse_instant};
use crate::json::Members;

/// The word for "the response to the dispatch names it".
pub(super) const LOCATION: &str = "location";

/// What is asked, and what only the dispatcher needs of it.
#[derive(Default)]
pub(super) struct Watched {
    pub(super) asked: OversightAsked,
    pub(super) hosts: OtherHosts,
    pub(super) status: Option<StatusRequest>,
    pub(super) cancel_url: Option<String>,
}

/// Reads `heartbeat`, `deadline`, `late_success`, `status` and `cancel_url`. `external`: the task is only tracked.
pub(super) fn read(fields: &mut Fields<'_>, pointer: &str, external: bool) -> Watched {
    let mut watched = Watched::default();
    watched.asked.heartbeat = positive(fields, "heartbeat");
    watched.asked.deadline = deadline(fields);
    watched.asked.rejects_late_success = late_success(fields);
    if let Some((status, asked, host)) = status(fields, pointer) {
        if external && status.request.is_none() {
            let detail = "`location` makes sense with a `url` only: it is read from the response to the dispatch, and what is \
                          only tracked is not dispatched; give the status URL itself";
            fields.wrong("status", "needs_url", detail);
        }
        (watched.status, watched.asked.status, watched.hosts.status) = (Some(status), Some(asked), host);
    }
    if let Some((url, host)) = url(fields, "cancel_url") {
        if external {
            fields.wrong(
                "cancel_url",
                "needs_url",
                "makes sense with a url only: nothing was ever dispatched",
            );
        }
        (watched.cancel_url, watched.hosts.cancel) = (Some(url), Some(host));
    }
    watched
}

/// An instant, or a duration from the creation.
fn deadline(fields: &mut Fields<'_>) -> Option<Deadline> {
    let wanted = "an instant (RFC 3339), or a duration from the creation such as \"2h\"";
    let text: String = fields.take("deadline", wanted)?;
    match (duration::parse(&text), parse_instant(&text)) {
        (Ok(span), _) if span.is_zero() => {
            fields.wrong("deadline", "out_of_range", "must be longer than nothing");
            None
        }
        (Ok(span), _) => Some(Deadline::After(span)),
        (_, Ok(at)) => Some(Deadline::At(at)),
        _ => {
            fields.wrong("deadline", "not_an_instant", format!("must be {wanted}"));
            None
        }
    }
}

fn late_success(fields: &mut Fields<'_>) -> bool {
    match fields.take::<String>("late_success", "a string").as_deref() {
        None | Some("accept") => false,
        Some("reject") => true,
        Some(_) => {
            fields.wrong("late_success", "unknown_value", "must be accept or reject");
            false
        }
    }
}

/// A URL, `"location"`, or an object with either and more.
fn status(fields: &mut Fields<'_>, pointer: &str) -> Option<(StatusRequest, StatusAsked, Option<String>)> {
    let raw = fields.raw("status")?;
    if let Ok(text) = serde_json::from_str::<String>(raw.get()) {
        let (request, host) = asked_at(fields, "status", &text, Vec::new())?;
        return Some((StatusRequest { request, map: BTreeMap::new() }, StatusAsked::default(), host));
    }
    let Ok(members) = serde_json::from_str::<Members<'_>>(raw.get()) else {
        let detail = "must be a URL, \"location\", or an object with url, headers, after and map";
        fields.wrong("status", "wrong_type", detail);
        return None;
    };
    let mut inner = Fields::of::<StatusObject>(members, format!("{pointer}/status"));
    if !inner.has("url") {
        inner.wrong(
            "url",
            "missing",
            "says where the remote is asked; \"location\": where its response says",
        );
    }
    let url: Option<String> = inner.take("url", "a URL, or \"location\"");
    let headers = headers(&mut inner);
    let after = positive(&mut inner, "after");
    let map = map(&mut inner, pointer);
    let asked = url.and_then(|url| asked_at(&mut inner, "url", &url, headers));
    fields.errors.extend(inner.finish());
    let (request, host) = asked?;
    Some((StatusRequest { request, map }, StatusAsked { host: None, after }, host))
}

/// Where in an answer its meaning is found.
fn map(fields: &mut Fields<'_>, pointer: &str) -> BTreeMap<String, String> {
    let mut map = BTreeMap::new();
    let Some(raw) = fields.raw("map") else { return map };
    let Ok(members) = serde_json::from_str::<Members<'_>>(raw.get()) else {
        fields.wrong("map", "wrong_type", "must be an object of expressions");
        return map;
    };
    let mut inner = Fields::of::<StatusMapRequest>(members, format!("{pointer}/status/map"));
    for name in names_of::<StatusMapRequest>() {
        let Some(text) = inner.take::<String>(name, "an expression, such as \"response.body.state\"") else {
            continue;
        };
        if let Err(why) = Expression::known(&text) {
            inner.wrong(name, "not_an_expression", why);
        }
        map.insert((*name).into(), text);
    }
    fields.errors.extend(inner.finish());
    map
}

/// What is sent, to which host; nothing of both where the response names the URL.
fn asked_at(
    fields: &mut Fields<'_>,
    name: &str,
    url: &str,
    headers: Vec<(String, String)>,
) -> Option<(Option<Request>, Option<String>)> {
    if url == LOCATION {
        if !headers.is_empty() {
            let detail = "would go to whatever server the response names; give a url";
            fields.wrong("headers", "conflict", detail);
        }
        return Some((None, None));
    }
    if !url.contains("://") {
        let detail = "must be `location`, or begin with http:// or https://";
        fields.wrong(name, "not_a_url", detail);
        return None;
    }
    let host = host(fields, name, url)?;
    let request = Request { method: "GET".into(), url: url.into(), headers, payload: None };
    Some((Some(request), Some(host)))
}

/// A URL and its host.
fn url(fields: &mut Fields<'_>, name: &str) -> Option<(String, String)> {
    let url: String = fields.take(name, "a string")?;
    let host = host(fields, name, &url)?;
    Some((url, host))
}
