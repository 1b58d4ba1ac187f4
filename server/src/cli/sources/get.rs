//! `taskhook sources get`

use std::io;

use clap::Args;

use crate::cli::answer::{EventMap, Secret, Source};
use crate::cli::client::{Ask, Client};
use crate::cli::{Code, input, table};

/// Show a source: its address, how its requests prove themselves, and when its secrets were used
#[derive(Debug, Args)]
#[command(before_help = "taskhook sources get github")]
pub(super) struct Arguments {
    /// The source's name
    #[arg(value_parser = input::filled)]
    name: String,
}

/// Runs it.
///
/// # Errors
/// If no server answers, or not with a success.
pub(super) async fn run(client: &Client, arguments: &Arguments) -> anyhow::Result<Code> {
    let path = ["v1", "sources", arguments.name.as_str()];
    let answer = client.get(Ask { path: &path, ..Ask::default() }).await?;
    client.print(&answer, print)?;
    Ok(Code::Done)
}

/// Prints everything that is known of a source.
///
/// # Errors
/// If nobody reads it.
pub(super) fn print(source: Source) -> io::Result<()> {
    let shown = |given: Option<String>| given.unwrap_or_default();
    let verify = source.verify.unwrap_or_default();
    let mut pairs = vec![
        ("name".to_string(), source.name),
        ("url".into(), source.url),
        ("scheme".into(), if verify.scheme.is_empty() { "none".into() } else { verify.scheme }),
        ("header".into(), shown(verify.header)),
        ("algorithm".into(), shown(verify.algorithm)),
        ("encoding".into(), shown(verify.encoding)),
        ("prefix".into(), shown(verify.prefix)),
        ("signed".into(), shown(verify.signed)),
        ("timestamp header".into(), shown(verify.timestamp_header)),
        ("sender's url".into(), shown(verify.url)),
        ("tolerance".into(), shown(verify.tolerance)),
    ];
    pairs.extend(verify.secrets.iter().map(|secret| (format!("secret {}", secret.id), about(secret))));
    match source.map.event {
        EventMap::Names(names) => {
            pairs.extend(names.into_iter().map(|(name, event)| (format!("event {name}"), event)));
        }
        EventMap::Expression(text) => pairs.push(("map event".into(), text)),
    }
    pairs.extend(source.map.others.into_iter().map(|(name, text)| (format!("map {name}"), text)));
    if let Some(response) = source.response {
        pairs.push(("response".into(), format!("{} {}", response.status, response.body)));
    }
    pairs.push(("retention".into(), shown(source.retention)));
    table::pairs(pairs)
}

fn about(secret: &Secret) -> String {
    let used = secret.last_used_at.as_ref().map_or("never used".into(), |at| format!("last used {at}"));
    let until = secret.until.as_ref().map_or_else(String::new, |until| format!(", until {until}"));
    format!("since {}, {used}{until}", secret.added_at)
}
