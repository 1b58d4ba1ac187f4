//! `taskhook keys create`

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use taskhook_core::access::{AccessCommand, ApiKey, Role};

use crate::access::new_key;
use crate::cli::answer::Key;
use crate::cli::client::{Ask, Client};
use crate::cli::keys::list;
use crate::cli::{Code, Failed, Output, input, out, store};
use crate::clock::wall_clock;

/// Make an API key, and print it: it is not kept
///
/// The first key closes a server that runs open: from then on every request needs one, the source default answers 401
/// until it has a verify, and workers on loopback need an entry in `allow` under [dispatch].
#[derive(Debug, Args)]
#[command(before_help = "taskhook keys create --role admin --store sqlite:taskhook.db\n\
                   taskhook keys create --role write --name billing --expires-in 90d > billing.key")]
pub(super) struct Arguments {
    /// What it may do: read; write (also change tasks); admin (everything)
    #[arg(long, value_enum)]
    role: KeyRole,
    /// What it is called [default: its id]
    #[arg(long, value_parser = input::filled)]
    name: Option<String>,
    /// How long it is of use [default: for ever]
    #[arg(long, value_name = "DURATION", value_parser = input::duration)]
    expires_in: Option<Duration>,
    /// Make it straight in this store, while no server runs on it; the store is made where there is none
    #[arg(long, value_name = "STORE")]
    pub(super) store: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum KeyRole {
    Read,
    Write,
    Admin,
}

impl From<KeyRole> for Role {
    fn from(role: KeyRole) -> Role {
        match role {
            KeyRole::Read => Role::Read,
            KeyRole::Write => Role::Write,
            KeyRole::Admin => Role::Admin,
        }
    }
}

/// Through a server.
///
/// # Errors
/// If no server answers, or not with a success.
pub(super) async fn run(client: &Client, arguments: &Arguments) -> anyhow::Result<Code> {
    let mut body = json!({"role": Role::from(arguments.role).name()});
    if let Some(name) = &arguments.name {
        body["name"] = json!(name);
    }
    if let Some(after) = arguments.expires_in {
        body["expires_in"] = json!(format!("{}ms", after.as_millis()));
    }
    let body = Some(serde_json::to_vec(&body)?);
    let answer = client.post(Ask { path: &["v1", "keys"], body, ..Ask::default() }).await?;
    client.print(&answer, |key: Key| {
        said(&key);
        out::data(key.key.unwrap_or_default())
    })?;
    Ok(Code::Done)
}

/// Straight in a store.
///
/// # Errors
/// If it cannot be opened, or has a key of this name.
pub(super) async fn in_store(output: Output, url: &str, arguments: &Arguments) -> anyhow::Result<Code> {
    let name = arguments.name.as_deref();
    if name.is_some_and(|name| !ApiKey::may_be_called(name)) {
        let text = "--name begins with a letter or digit, but not with key_, and has at most 64 of A-Z a-z 0-9 . _ : @ -";
        return Err(Failed::new(Code::Usage, text).into());
    }
    let mut store = store::open(url)?;
    let is_first = store.api_keys()?.is_empty();
    let expires_at = arguments.expires_in.map(|after| wall_clock() + after);
    let (text, key) = new_key(name, arguments.role.into(), expires_at)
        .map_err(|_| anyhow::anyhow!("the system gives no random bytes"))?;
    let id = key.id;
    store::submit(&mut store, AccessCommand::CreateKey { key, at_the_store: true }).await?;
    let keys = store.api_keys()?;
    let mut shown: Value = keys.get(&id).map(list::shown).unwrap_or_default();
    shown["key"] = json!(text);
    shown["closes_the_server"] = json!(is_first);
    match output {
        Output::Json => out::data(shown.to_string())?,
        Output::Table => {
            let key: Key = serde_json::from_value(shown)?;
            said(&key);
            out::data(text)?;
        }
    }
    Ok(Code::Done)
}

fn said(key: &Key) {
    let until = key.expires_at.as_ref().map(|at| format!(", until {at}")).unwrap_or_default();
    out::message(format_args!(
        "{} is made, with the role {}{until}. It is shown this once:",
        out::visible(&key.name),
        key.role
    ));
    if key.closes_the_server {
        out::message(
            "It is the first one. From now on each request needs a key: set TASKHOOK_API_KEY, or name a file with \
             --key-file.\nThe source default answers 401 until it has a verify: taskhook sources set default --scheme …\n\
             Workers on loopback need an entry in the settings: [dispatch] allow = [\"127.0.0.0/8\"]",
        );
    }
}
