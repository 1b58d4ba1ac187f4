//! `taskhook sources rotate-secret`

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::json;

use crate::cli::answer::Source;
use crate::cli::client::{Ask, Client};
use crate::cli::sources::get;
use crate::cli::{Code, Failed, input, out};
use crate::secrets::random;

/// Give a source one more secret; the others go on for a while, so that its sender can change over
#[derive(Debug, Args)]
#[command(before_help = "taskhook sources rotate-secret github --secret-file new.secret\n\
                   taskhook sources rotate-secret github --generate --keep 48h")]
pub(super) struct Arguments {
    /// The source's name
    #[arg(value_parser = input::filled)]
    name: String,
    /// The file with the new secret; - for standard input
    #[arg(long, value_name = "FILE", required_unless_present = "generate")]
    secret_file: Option<String>,
    /// Make a new secret, and print it, to be given to the sender
    #[arg(long, conflicts_with = "secret_file")]
    generate: bool,
    /// How long the others go on; without this, 24h
    #[arg(long, value_name = "DURATION")]
    keep: Option<String>,
}

/// Runs it.
///
/// # Errors
/// If it was called wrongly, no server answers, or not with a success.
pub(super) async fn run(client: &Client, arguments: &Arguments) -> anyhow::Result<Code> {
    let name = arguments.name.as_str();
    let text = match &arguments.secret_file {
        Some(path) => input::secret(path)?,
        None => {
            let path = ["v1", "sources", name];
            let source: Source = client.get(Ask { path: &path, ..Ask::default() }).await?.read()?;
            made(&source.verify.unwrap_or_default().scheme)?
        }
    };
    let mut body = json!({"secret": text});
    if let Some(keep) = &arguments.keep {
        body["keep"] = keep.as_str().into();
    }
    let path = ["v1", "sources", name, "rotate-secret"];
    let answer =
        client.post(Ask { path: &path, body: Some(serde_json::to_vec(&body)?), ..Ask::default() }).await?;
    if arguments.generate {
        // Alone on standard output, for whoever hands it on.
        out::data(&text)?;
        out::message("the secret above is not shown again; give it to the sender");
        return Ok(Code::Done);
    }
    client.print(&answer, get::print)?;
    Ok(Code::Done)
}

/// A new secret for a scheme.
fn made(scheme: &str) -> anyhow::Result<String> {
    let bytes = random().map_err(|_| anyhow::anyhow!("the system gives no random bytes"))?;
    match scheme {
        "discord" | "ed25519" | "basic" => {
            let text = format!("a secret for {scheme} is the sender's to make; give it with --secret-file");
            Err(Failed::new(Code::Usage, text).into())
        }
        "standard-webhooks" => Ok(format!("whsec_{}", STANDARD.encode(bytes))),
        _ => Ok(hex::encode(bytes)),
    }
}
