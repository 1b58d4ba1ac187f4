//! `taskhook secrets`

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use crate::cli::{Code, Failed, Output, Printed, doctor, input, out, serve};
use crate::clock::wall_clock;
use crate::config::{Config, Flags, StoreUrl};
use crate::secrets::dispatch_secret_text;
use crate::secrets::stored::{open_own, rotate_dispatch};
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

/// Print a secret, straight from the store, while no server runs on it
#[derive(Debug, Args)]
#[command(before_help = "taskhook secrets show dispatch --store sqlite:taskhook.db")]
struct Show {
    /// Which secret
    #[arg(value_enum)]
    secret: Secret,
    /// The store; without it, the one that `taskhook serve` would use here
    #[arg(long, value_name = "STORE")]
    store: Option<String>,
    #[command(flatten)]
    printed: Printed,
}

/// Make a new secret, and sign with both for a while, so that workers can change over
///
/// It is written straight into the store, while no server runs on it. The one before the old one is forgotten.
#[derive(Debug, Args)]
#[command(before_help = "taskhook secrets rotate dispatch --store sqlite:taskhook.db")]
struct Rotate {
    /// Which secret
    #[arg(value_enum)]
    secret: Secret,
    /// How long the old one signs too
    #[arg(long, value_name = "DURATION", value_parser = input::duration, default_value = "24h")]
    keep: Duration,
    /// The store; without it, the one that `taskhook serve` would use here
    #[arg(long, value_name = "STORE")]
    store: Option<String>,
    #[command(flatten)]
    printed: Printed,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Secret {
    /// With which dispatches are signed: workers verify them by it
    Dispatch,
}

impl Secret {
    fn name(self) -> &'static str {
        match self {
            Secret::Dispatch => "dispatch",
        }
    }
}

/// Runs it.
///
/// # Errors
/// If the store cannot be opened, or has no such secret.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Code> {
    let arguments = match &arguments.command {
        Command::Show(arguments) => arguments,
        Command::Rotate(arguments) => return rotate(arguments),
    };
    let flags = Flags { store: arguments.store.clone(), ..Flags::default() };
    let config = Config::load(&flags, serve::environment).map_err(|faults| serve::refused(&faults))?;
    let StoreUrl::Sqlite(path) = &config.store;
    let path = SqlitePath(path.clone());
    doctor::must_exist(&path)?;
    let name = arguments.secret.name();
    // Only read, so that it works while a server runs on the store.
    let secret = path.secret(name)?.ok_or_else(|| {
        let text = format!("{} has no secret {name} yet; the first `taskhook serve` makes it", config.store);
        Failed::new(Code::NotFound, text)
    })?;
    let secret = match secret.is_sealed {
        false => secret.value,
        true => open_own(&Vault::new(&MasterKey::load(&config.key_place(), true)?), name, &secret.value)?,
    };
    print(arguments.printed.output, name, &secret)?;
    Ok(Code::Done)
}

fn rotate(arguments: &Rotate) -> anyhow::Result<Code> {
    let flags = Flags { store: arguments.store.clone(), ..Flags::default() };
    let config = Config::load(&flags, serve::environment).map_err(|faults| serve::refused(&faults))?;
    let StoreUrl::Sqlite(path) = &config.store;
    let path = SqlitePath(path.clone());
    doctor::must_exist(&path)?;
    // Its lock keeps a server away, which would go on with what it has read.
    let store = SqliteStore::open(&path, wall_clock)?;
    let vault = Vault::new(&MasterKey::load(&config.key_place(), store.has_sealed()?)?);
    let until = wall_clock() + arguments.keep;
    let secret = rotate_dispatch(&store, &vault, until)?;
    print(arguments.printed.output, arguments.secret.name(), &secret)?;
    out::message(format_args!("dispatches are signed with the old one too until {until}"));
    Ok(Code::Done)
}

fn print(output: Output, name: &str, secret: &[u8]) -> std::io::Result<()> {
    let text = dispatch_secret_text(secret);
    match output {
        Output::Table => out::data(text),
        Output::Json => out::data(json!({"name": name, "secret": text}).to_string()),
    }
}
