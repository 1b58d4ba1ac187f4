//! `taskhook keys list`

use clap::Args;
use serde_json::{Value, json};
use taskhook_core::access::ApiKey;

use crate::cli::answer::{Key, List};
use crate::cli::client::{Ask, Client};
use crate::cli::{Code, Output, out, store, table};

/// List API keys, by name; the keys themselves are not kept
#[derive(Debug, Args)]
#[command(before_help = "taskhook keys list")]
pub(super) struct Arguments {
    /// Straight from this store, while no server runs on it
    #[arg(long, value_name = "STORE")]
    pub(super) store: Option<String>,
}

/// Through a server.
///
/// # Errors
/// If no server answers, or not with a success.
pub(super) async fn run(client: &Client) -> anyhow::Result<Code> {
    let query = vec![("limit", "1000".to_string())];
    let answer = client.get(Ask { path: &["v1", "keys"], query, ..Ask::default() }).await?;
    client.print(&answer, |list: List<Key>| print(list.data))?;
    Ok(Code::Done)
}

/// Straight from a store.
///
/// # Errors
/// If it cannot be opened.
pub(super) fn in_store(output: Output, url: &str) -> anyhow::Result<Code> {
    let keys = store::open(url)?.api_keys()?;
    let mut keys: Vec<&ApiKey> = keys.values().collect();
    keys.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    let data: Vec<Value> = keys.into_iter().map(shown).collect();
    match output {
        Output::Json => out::data(json!({"data": data, "next_cursor": null}).to_string())?,
        Output::Table => print(serde_json::from_value(data.into())?)?,
    }
    Ok(Code::Done)
}

/// A key as the API shows it.
pub(super) fn shown(key: &ApiKey) -> Value {
    json!({
        "id": key.id.to_string(),
        "name": &*key.name,
        "role": key.role.name(),
        "hint": &*key.hint,
        "created_at": key.created_at.to_string(),
        "expires_at": key.expires_at.map(|at| at.to_string()),
    })
}

fn print(keys: Vec<Key>) -> std::io::Result<()> {
    let row = |key: Key| {
        let until = key.expires_at.unwrap_or_default();
        [key.name, key.role, format!("{}…", key.hint), key.created_at, until, key.id]
    };
    table::rows(["NAME", "ROLE", "KEY", "CREATED", "EXPIRES", "ID"], keys.into_iter().map(row))
}
