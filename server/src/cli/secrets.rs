//! `taskhook secrets`

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use crate::cli::{Code, Failed, Output, Printed, doctor, out, serve};
use crate::config::{Config, Flags, StoreUrl};
use crate::secrets::dispatch_secret_text;
use crate::serve::own_place;
use crate::store::sqlite::SqlitePath;
use crate::vault::{MasterKey, Vault};

/// Show the secrets that Taskhook signs with
#[derive(Debug, Args)]
#[command(before_help = "taskhook secrets show dispatch", arg_required_else_help = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Show(Show),
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
    let Command::Show(arguments) = &arguments.command;
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
        true => {
            let vault = Vault::new(&MasterKey::load(&config.key_place(), true)?);
            vault.open(&own_place(name), &secret.value)?
        }
    };
    let text = dispatch_secret_text(&secret);
    match arguments.printed.output {
        Output::Table => out::data(text)?,
        Output::Json => out::data(json!({"name": name, "secret": text}).to_string())?,
    }
    Ok(Code::Done)
}
