//! `taskhook secrets`

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use taskhook_core::access::AccessCommand;

use crate::cli::answer::ServerSecret;
use crate::cli::client::{Ask, Client, KEY_VARIABLE};
use crate::cli::{Code, DEFAULT_URL, Failed, Output, Printed, Remote, doctor, input, out, serve, store};
use crate::clock::wall_clock;
use crate::config::StoreUrl;
use crate::secrets::dispatch_secret_text;
use crate::secrets::stored::{DISPATCH, open_own, rotation};
use crate::store::sqlite::{SqlitePath, SqliteStore};
use crate::vault::{MasterKey, Vault};

/// Show and rotate the secrets that Taskhook signs with
#[derive(Debug, Args)]
#[command(
    before_help = "taskhook secrets show dispatch\ntaskhook secrets rotate dispatch",
    arg_required_else_help = true
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Show(Show),
    Rotate(Rotate),
}

/// Print a secret, straight from the store, or with an admin key from a server
#[derive(Debug, Args)]
#[command(before_help = "taskhook secrets show dispatch --store sqlite:taskhook.db\n\
                   taskhook secrets show dispatch --url https://tasks.example.com --key-file admin.key")]
struct Show {
    /// Which secret
    #[arg(value_enum)]
    secret: Secret,
    #[command(flatten)]
    place: Place,
}

/// Make a new secret, and sign with both for a while, so that workers can change over
///
/// Through a server it signs at once. Straight in the store it is made while no server runs there. The one before the old
/// one is forgotten.
#[derive(Debug, Args)]
#[command(before_help = "taskhook secrets rotate dispatch --store sqlite:taskhook.db\n\
                   taskhook secrets rotate dispatch --url https://tasks.example.com --key-file admin.key")]
struct Rotate {
    /// Which secret
    #[arg(value_enum)]
    secret: Secret,
    /// How long the old one signs too
    #[arg(long, value_name = "DURATION", value_parser = input::duration, default_value = "24h")]
    keep: Duration,
    #[command(flatten)]
    place: Place,
}

/// Where the secret is.
#[derive(Debug, Args)]
struct Place {
    /// The store; without it and without --url and a key, the one that `taskhook serve` would use here
    #[arg(long, value_name = "STORE", conflicts_with = "url")]
    store: Option<String>,
    /// The server to talk to, with a key of the role admin
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The file with the API key, `-` for standard input; or the key is in TASKHOOK_API_KEY
    #[arg(long, value_name = "FILE", conflicts_with = "store")]
    key_file: Option<String>,
    #[command(flatten)]
    printed: Printed,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Secret {
    /// With which dispatches are signed: workers verify them by it
    Dispatch,
}

impl Place {
    /// The server, if it is one that is meant: somebody who has a key means one.
    fn server(&self) -> Option<Remote> {
        let variable = |name| serve::environment(name).filter(|value| !value.is_empty());
        let has_key = self.key_file.is_some() || variable(KEY_VARIABLE).is_some();
        let is_meant = self.url.is_some() || has_key && self.store.is_none();
        is_meant.then(|| Remote {
            url: self.url.clone().or_else(|| variable("TASKHOOK_URL")).unwrap_or_else(|| DEFAULT_URL.into()),
            key_file: self.key_file.clone(),
            printed: self.printed,
        })
    }
}

/// Runs it.
///
/// # Errors
/// If the store cannot be opened, or has no such secret; if no server answers, or not with a success.
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<Code> {
    match arguments.command {
        Command::Show(Show { secret: Secret::Dispatch, place }) => match place.server() {
            Some(remote) => {
                let client = Client::new(&remote)?;
                let answer = client.get(Ask { path: &["v1", "secrets", DISPATCH], ..Ask::default() }).await?;
                client.print(&answer, |secret: ServerSecret| out::data(secret.secret))?;
            }
            None => show(&place)?,
        },
        Command::Rotate(Rotate { secret: Secret::Dispatch, keep, place }) => match place.server() {
            Some(remote) => {
                let client = Client::new(&remote)?;
                let path = ["v1", "secrets", DISPATCH, "rotate"];
                let body = Some(json!({"keep": format!("{}ms", keep.as_millis())}).to_string().into());
                let answer = client.post(Ask { path: &path, body, ..Ask::default() }).await?;
                client.print(&answer, |secret: ServerSecret| {
                    both_sign(&secret.old_signs_until.unwrap_or_default());
                    out::data(secret.secret)
                })?;
            }
            None => rotate(&place, keep).await?,
        },
    }
    Ok(Code::Done)
}

fn show(place: &Place) -> anyhow::Result<()> {
    let config = store::settings(place.store.clone())?;
    let StoreUrl::Sqlite(path) = &config.store;
    let path = SqlitePath(path.clone());
    doctor::must_exist(&path)?;
    // Only read, so that it works while a server runs on the store.
    let secret = path.secret(DISPATCH)?.ok_or_else(|| {
        let text =
            format!("{} has no secret {DISPATCH} yet; the first `taskhook serve` makes it", config.store);
        Failed::new(Code::NotFound, text)
    })?;
    let vault = Vault::new(&MasterKey::load(&config.key_place(), secret.is_sealed)?);
    print(place.printed.output, &open_own(&vault, DISPATCH, &secret)?)
}

async fn rotate(place: &Place, keep: Duration) -> anyhow::Result<()> {
    let config = store::settings(place.store.clone())?;
    let StoreUrl::Sqlite(path) = &config.store;
    let path = SqlitePath(path.clone());
    doctor::must_exist(&path)?;
    // Its lock keeps a server away, which would go on with what it has read.
    let mut store = SqliteStore::open(&path, wall_clock)?;
    let vault = Vault::new(&MasterKey::load(&config.key_place(), store.has_sealed()?)?);
    let before = store.secret(DISPATCH)?.ok_or_else(|| {
        let text =
            format!("{} has no secret {DISPATCH} yet; the first `taskhook serve` makes it", config.store);
        Failed::new(Code::NotFound, text)
    })?;
    let until = wall_clock() + keep;
    let (fresh, kept) = rotation(&vault, &open_own(&vault, DISPATCH, &before)?, until)?;
    store::submit(&mut store, AccessCommand::KeepSecrets(kept)).await?;
    both_sign(&until.to_string());
    print(place.printed.output, &fresh)
}

fn both_sign(until: &str) {
    if !until.is_empty() {
        out::message(format_args!("dispatches are signed with the old one too until {until}"));
    }
}

fn print(output: Output, secret: &[u8]) -> anyhow::Result<()> {
    let text = dispatch_secret_text(secret);
    match output {
        Output::Table => out::data(text)?,
        Output::Json => out::data(json!({"name": DISPATCH, "secret": text}).to_string())?,
    }
    Ok(())
}
