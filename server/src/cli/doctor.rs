//! `taskhook doctor`: whether a server is well, or a store at rest.

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use crate::cli::client::{Ask, Client};
use crate::cli::{Code, Failed, Output, Remote, out, table};
use crate::clock::wall_clock;
use crate::config::StoreUrl;
use crate::store::sqlite::{Inspection, SqlitePath, SqliteStore};

/// Check a running server or, with --store, a store that no server runs on
#[derive(Debug, Args)]
#[command(before_help = "taskhook doctor\n\
                         taskhook doctor --store sqlite:taskhook.db")]
pub(super) struct Arguments {
    /// The store to check: its settings, its counts, and that nothing in it is lost or contradicts itself
    #[arg(long, value_name = "STORE")]
    store: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

/// Runs it.
///
/// # Errors
/// If neither a server nor the store can be looked at.
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<Code> {
    match &arguments.store {
        Some(store) => {
            let url = StoreUrl::parse(store);
            let url = url.map_err(|why| Failed::new(Code::Usage, format!("--store {why}")))?;
            examine(&url, arguments.remote.printed.output)
        }
        None => ask(&arguments.remote).await,
    }
}

/// Since when a server is held.
#[derive(Debug, Deserialize)]
struct Hold {
    since: Option<String>,
}

/// What `/readyz` says of a server that is ready.
#[derive(Debug, Deserialize)]
struct Ready {
    disk_full_since: Option<String>,
}

/// Asks a running server.
async fn ask(remote: &Remote) -> anyhow::Result<Code> {
    let client = Client::new(remote)?;
    let mut checked = Vec::new();
    let mut full_since = None;
    for name in ["healthz", "readyz"] {
        let answer = client.get(Ask { path: &[name], ..Ask::default() }).await;
        match answer.map_err(anyhow::Error::downcast::<Failed>) {
            Ok(answer) => {
                full_since = answer.read::<Ready>().ok().and_then(|ready| ready.disk_full_since);
                checked.push((name, "ok".to_string()));
            }
            Err(Ok(failed)) if failed.code == Code::Unreachable => {
                let text = format!(
                    "{failed}\nto check the store of a stopped server: taskhook doctor --store sqlite:taskhook.db"
                );
                return Err(Failed::new(Code::Unreachable, text).into());
            }
            Err(Ok(failed)) => checked.push((name, failed.text)),
            Err(Err(error)) => return Err(error),
        }
    }
    // Where this cannot be read either, what is wrong is said by now.
    let hold = client.get(Ask { path: &["v1", "hold"], ..Ask::default() }).await.ok();
    let held_since = hold.and_then(|answer| answer.read::<Hold>().ok()?.since);
    let well = full_since.is_none() && checked.iter().all(|(_, found)| found == "ok");
    if client.prints_json() {
        let mut report = json!({"server": client.base(), "ok": well, "held_since": held_since, "disk_full_since": full_since});
        for (name, found) in &checked {
            report[*name] = json!(found);
        }
        out::data(report.to_string())?;
    } else {
        let server = [("server", client.base().to_string())];
        let held = held_since.map(|since| {
            let resume = format!("curl -X POST {}/v1/resume", client.base());
            ("held", format!("since {since}: nothing is sent; to resume: {resume}"))
        });
        let full = full_since.map(|since| ("disk", format!("full since {since}: new work is refused")));
        table::pairs(server.into_iter().chain(checked).chain(full).chain(held))?;
    }
    Ok(if well { Code::Done } else { Code::Failed })
}

/// Examines a store at rest.
fn examine(url: &StoreUrl, output: Output) -> anyhow::Result<Code> {
    let StoreUrl::Sqlite(path) = url;
    let inspection = open(&SqlitePath(path.clone()))?.inspect()?;
    match output {
        Output::Json => out::data(report(url, &inspection).to_string())?,
        Output::Table => print(url, &inspection)?,
    }
    Ok(if inspection.violations.is_empty() { Code::Done } else { Code::Failed })
}

/// Opens a store that exists, under its lock.
///
/// # Errors
/// If there is none, if a server runs on it, or if it cannot be opened.
fn open(path: &SqlitePath) -> anyhow::Result<SqliteStore> {
    must_exist(path)?;
    Ok(SqliteStore::open(path, wall_clock)?)
}

/// # Errors
/// If there is no store at `path`.
pub(super) fn must_exist(path: &SqlitePath) -> anyhow::Result<()> {
    if path.0.try_exists()? {
        return Ok(());
    }
    Err(Failed::new(Code::NotFound, format!("there is no store {}", path.0.display())).into())
}

fn report(url: &StoreUrl, inspection: &Inspection) -> serde_json::Value {
    let tasks: serde_json::Map<_, _> =
        inspection.tasks.iter().map(|(state, count)| (state.name().to_string(), json!(count))).collect();
    let violations = inspection
        .violations
        .iter()
        .map(|violation| json!({"rule": violation.rule, "count": violation.count, "found": violation.found}));
    json!({
        "store": url.to_string(),
        "ok": inspection.violations.is_empty(),
        "settings": {
            "journal_mode": inspection.settings.journal_mode,
            "synchronous": synchronous(inspection.settings.synchronous),
            "sqlite": inspection.settings.sqlite_version,
            "schema": inspection.settings.schema,
        },
        "bytes": inspection.bytes,
        "held_since": inspection.held.map(|since| since.to_string()),
        "tasks": tasks,
        "events": inspection.events,
        "parked": inspection.parked,
        "kept": inspection.kept,
        "violations": violations.collect::<Vec<_>>(),
    })
}

fn print(url: &StoreUrl, inspection: &Inspection) -> anyhow::Result<()> {
    let settings = &inspection.settings;
    let tasks =
        inspection.tasks.iter().map(|(state, count)| (format!("  {}", state.name()), count.to_string()));
    let before = [
        ("store", url.to_string()),
        ("journal_mode", settings.journal_mode.clone()),
        ("synchronous", synchronous(settings.synchronous)),
        ("SQLite", settings.sqlite_version.clone()),
        ("schema", settings.schema.clone()),
        ("size", format!("{} bytes", inspection.bytes)),
        ("tasks", inspection.tasks.iter().map(|(_, count)| count).sum::<i64>().to_string()),
    ];
    let held = inspection
        .held
        .map(|since| format!("since {since}; a server on it sends nothing until it is resumed"));
    let after = [
        ("held", held.unwrap_or_default()),
        ("webhooks", format!("{}, of which {} wait for their task", inspection.events, inspection.parked)),
        ("follow-ups", format!("{} kept for later", inspection.kept)),
    ];
    let named = |(name, value): (&str, String)| (name.to_string(), value);
    table::pairs(before.into_iter().map(named).chain(tasks).chain(after.into_iter().map(named)))?;
    out::data("")?;
    if inspection.violations.is_empty() {
        out::data("nothing is lost, and nothing contradicts itself")?;
    }
    for violation in &inspection.violations {
        out::data(format!("violated {}x: {}", violation.count, violation.rule))?;
        for found in &violation.found {
            out::data(format!("  {}", out::visible(found)))?;
        }
    }
    Ok(())
}

fn synchronous(level: i64) -> String {
    match level {
        0 => "OFF".into(),
        1 => "NORMAL".into(),
        2 => "FULL".into(),
        3 => "EXTRA".into(),
        other => other.to_string(),
    }
}
