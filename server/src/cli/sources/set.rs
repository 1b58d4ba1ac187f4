//! `taskhook sources set`: changes what is given, and keeps the rest.
//!
//! The API replaces all that a source says, but for secrets that are left out. So the source is read first, and what the
//! server told goes back to it, with the changes.

use clap::Args;
use serde_json::{Map, Value};

use crate::cli::client::{Answer, Ask, Client};
use crate::cli::sources::get;
use crate::cli::{Code, Failed, input, out};

/// Make a source, or change what is given of it and keep the rest
#[derive(Debug, Args)]
#[command(
    before_help = "taskhook sources set github --scheme github --secret-file github.secret\n\
                   taskhook sources set jobs --scheme hmac --header x-signature --secret-file jobs.secret \\\n    \
                       --event job.done=task_completed\n\
                   taskhook sources set internal --scheme none",
    after_help = "The source is read, changed and written back: what somebody else changes in between is overwritten."
)]
pub(super) struct Arguments {
    /// The source's name
    #[arg(value_parser = input::filled)]
    name: String,
    /// How its requests prove themselves: github, stripe, slack, standard-webhooks, hmac, bearer, none …
    #[arg(long, value_name = "SCHEME")]
    scheme: Option<String>,
    /// A file with a secret, in the place of those that it has; several for several; - for standard input
    #[arg(long, value_name = "FILE")]
    secret_file: Vec<String>,
    /// How far from now a request may have been signed
    #[arg(long, value_name = "DURATION")]
    tolerance: Option<String>,
    /// The header with the proof (hmac, ed25519, header)
    #[arg(long, value_name = "NAME")]
    header: Option<String>,
    /// The hash of the code (hmac): sha1, sha256, sha512
    #[arg(long, value_name = "NAME")]
    algorithm: Option<String>,
    /// How the proof is written (hmac, ed25519): hex, base64
    #[arg(long, value_name = "NAME")]
    encoding: Option<String>,
    /// What stands before the proof (hmac, ed25519, header)
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// What is signed (hmac, ed25519), with {body}, {timestamp}, {url} and {header:NAME}
    #[arg(long, value_name = "TEMPLATE")]
    signed: Option<String>,
    /// The header that says when it was signed (hmac, ed25519)
    #[arg(long, value_name = "NAME")]
    timestamp_header: Option<String>,
    /// The file with the public keys of who signs its tokens (jwt)
    #[arg(long, value_name = "FILE")]
    jwks: Option<String>,
    /// Whom its tokens are for (jwt)
    #[arg(long, value_name = "TEXT")]
    audience: Option<String>,
    /// Who gives its tokens (jwt)
    #[arg(long, value_name = "TEXT")]
    issuer: Option<String>,
    /// The URL that the sender knows, where it is signed and does not begin with `public_url`
    #[arg(long, value_name = "URL")]
    sender_url: Option<String>,
    /// What a name of its events means, such as job.done=task_completed; in the place of those that it has
    #[arg(long, value_name = "NAME=EVENT", value_parser = input::pair)]
    event: Vec<(String, String)>,
    /// Where in a request something is found, such as task_id=body.job.id: event, task_id, attempt, result, error, progress,
    /// delivery_id; with nothing behind the = it is taken back
    #[arg(long, value_name = "FIELD=EXPRESSION", value_parser = input::pair)]
    map: Vec<(String, String)>,
    /// What a webhook that was taken in is answered, as JSON: {"status": 202, "body": "[accepted]"}; null for the usual
    #[arg(long, value_name = "JSON")]
    response: Option<String>,
    /// How long its webhooks are kept after their receipt; "never" keeps them for ever, "default" for as long as the server
    /// keeps those of others
    #[arg(long, value_name = "DURATION|never|default")]
    retention: Option<String>,
}

/// Runs it.
///
/// # Errors
/// If it was called wrongly, no server answers, or not with a success.
pub(super) async fn run(client: &Client, arguments: &Arguments) -> anyhow::Result<Code> {
    let path = ["v1", "sources", arguments.name.as_str()];
    let mut says = match client.get(Ask { path: &path, ..Ask::default() }).await {
        Ok(answer) => settings(&answer)?,
        Err(error) if Failed::is_not_found(&error) => Map::new(),
        Err(error) => return Err(error),
    };
    change(&mut says, arguments)?;
    let body = Some(serde_json::to_vec(&says)?);
    let answer = client.put(Ask { path: &path, body, ..Ask::default() }).await?;
    if answer.is_created() {
        out::message(format_args!("source {} is new", out::visible(&arguments.name)));
    }
    client.print(&answer, get::print)?;
    Ok(Code::Done)
}

/// What a source says, as the server tells it, without what is not for a caller to set.
fn settings(answer: &Answer) -> std::io::Result<Map<String, Value>> {
    let mut says: Map<String, Value> = answer.read()?;
    says.retain(|name, _| !["name", "url", "created_at"].contains(&name.as_str()));
    if let Some(verify) = says.get_mut("verify").and_then(Value::as_object_mut) {
        verify.remove("secrets");
    }
    Ok(says)
}

fn change(says: &mut Map<String, Value>, arguments: &Arguments) -> anyhow::Result<()> {
    let mut verify = says.get("verify").and_then(Value::as_object).cloned().unwrap_or_default();
    let scheme = arguments.scheme.as_ref();
    if scheme.is_some_and(|scheme| verify.get("scheme").and_then(Value::as_str) != Some(scheme)) {
        // What described the old scheme does not describe the new one.
        verify.clear();
    }
    for (name, given) in [
        ("scheme", scheme),
        ("tolerance", arguments.tolerance.as_ref()),
        ("header", arguments.header.as_ref()),
        ("algorithm", arguments.algorithm.as_ref()),
        ("encoding", arguments.encoding.as_ref()),
        ("prefix", arguments.prefix.as_ref()),
        ("signed", arguments.signed.as_ref()),
        ("timestamp_header", arguments.timestamp_header.as_ref()),
        ("audience", arguments.audience.as_ref()),
        ("issuer", arguments.issuer.as_ref()),
        ("url", arguments.sender_url.as_ref()),
    ] {
        if let Some(given) = given {
            verify.insert(name.into(), given.as_str().into());
        }
    }
    if let Some(path) = &arguments.jwks {
        let keys = serde_json::from_str(&input::file("--jwks", path)?)
            .map_err(|error| Failed::new(Code::Usage, format!("--jwks {path} is not JSON: {error}")))?;
        verify.insert("jwks".into(), keys);
    }
    if !arguments.secret_file.is_empty() {
        let secrets: Vec<String> =
            arguments.secret_file.iter().map(|path| input::secret(path)).collect::<Result<_, _>>()?;
        verify.insert("secrets".into(), secrets.into());
    }
    if !verify.is_empty() {
        says.insert("verify".into(), verify.into());
    }
    let mut map = says.get("map").and_then(Value::as_object).cloned().unwrap_or_default();
    if !arguments.event.is_empty() {
        let events = input::each_once("--event", arguments.event.clone())?;
        map.insert("event".into(), serde_json::json!(events));
    }
    for (field, expression) in input::each_once("--map", arguments.map.clone())? {
        match expression.is_empty() {
            true => drop(map.remove(&field)),
            false => drop(map.insert(field, expression.into())),
        }
    }
    says.insert("map".into(), map.into());
    match arguments.retention.as_deref() {
        None => {}
        Some("default") => drop(says.remove("retention")),
        Some(age) => drop(says.insert("retention".into(), age.into())),
    }
    if let Some(response) = &arguments.response {
        says.insert("response".into(), serde_json::from_str(input::json("--response", response)?.get())?);
    }
    Ok(())
}
