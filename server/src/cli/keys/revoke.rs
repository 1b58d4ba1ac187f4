//! `taskhook keys revoke`

use clap::Args;
use taskhook_core::access::AccessCommand;

use crate::cli::client::{Ask, Client};
use crate::cli::{Code, Failed, input, out, store};

/// Take an API key away: requests with it are refused from now on
#[derive(Debug, Args)]
#[command(before_help = "taskhook keys revoke billing\ntaskhook keys revoke root --store sqlite:taskhook.db")]
pub(super) struct Arguments {
    /// Its name or id
    #[arg(value_parser = input::filled)]
    pub(super) key: String,
    /// Straight in this store, while no server runs on it: even the last one
    #[arg(long, value_name = "STORE")]
    pub(super) store: Option<String>,
}

/// Through a server.
///
/// # Errors
/// If no server answers, or not with a success.
pub(super) async fn run(client: &Client, key: &str) -> anyhow::Result<Code> {
    client.delete(Ask { path: &["v1", "keys", key], ..Ask::default() }).await?;
    revoked(key);
    Ok(Code::Done)
}

/// Straight in a store.
///
/// # Errors
/// If it cannot be opened, or has no such key.
pub(super) async fn in_store(url: &str, name: &str) -> anyhow::Result<Code> {
    let mut store = store::open(url)?;
    let keys = store.api_keys()?;
    let key = keys.values().find(|key| key.is_called(name));
    let key = key.ok_or_else(|| Failed::new(Code::NotFound, "there is no API key with this id or name"))?;
    store::submit(&mut store, AccessCommand::RevokeKey { key: key.id, at_the_store: true }).await?;
    revoked(name);
    if keys.len() == 1 {
        out::message("it was the last one: on loopback a server on this store runs open");
    }
    Ok(Code::Done)
}

fn revoked(key: &str) {
    out::message(format_args!("key {} is revoked", out::visible(key)));
}
