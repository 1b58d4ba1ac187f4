//! `taskhook tasks create`

use clap::Args;
use serde::Serialize;

use crate::cli::client::{Ask, Client};
use crate::cli::tasks::wait;
use crate::cli::work::{Members, Work, put};
use crate::cli::{Code, answer, input, out};

/// Create a task: one that is dispatched to URL or, without it, one that is only tracked
#[derive(Debug, Args)]
#[command(
    before_help = "taskhook tasks create https://worker.example/resize --payload '{\"image\": 7}' --wait\n\
                         taskhook tasks create https://worker.example/images/7 --method PUT --header x-team=web\n\
                         taskhook tasks create --id 123\n\
                         taskhook tasks create https://worker.example/notify --after 123 --delay 10m"
)]
pub(super) struct Arguments {
    #[command(flatten)]
    work: Work,
    /// Its id; the same id with the same content creates nothing twice
    #[arg(long)]
    id: Option<String>,
    /// While a task holds this key, that one is shown and none is created
    #[arg(long, value_name = "KEY")]
    unique: Option<String>,
    /// How long it holds the key: until it has "finished", as without this, or so long from now
    #[arg(long, value_name = "finished|DURATION", requires = "unique")]
    unique_until: Option<String>,
    /// Not before so much time has passed: 30s, 1h 30m
    #[arg(long, value_name = "DURATION", conflicts_with = "run_at")]
    delay: Option<String>,
    /// Not before this instant (RFC 3339)
    #[arg(long, value_name = "TIME")]
    run_at: Option<String>,
    /// Only when that task has ended: ID, or ID:failed, ID:not_failed, ID:finished; may be repeated
    #[arg(long, value_name = "ID[:ON]", value_parser = dependency)]
    after: Vec<Dependency>,
    /// Wait until it has ended; fails unless it succeeded
    #[arg(long)]
    wait: bool,
}

#[derive(Debug, Serialize)]
struct Unique {
    key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Dependency {
    task: String,
    on: &'static str,
}

/// Runs it.
///
/// # Errors
/// If no server answers, or not with a success.
pub(super) async fn run(client: &Client, arguments: Arguments) -> anyhow::Result<Code> {
    let (wait, asked_for) = (arguments.wait, arguments.id.clone());
    let body = serde_json::to_vec(&body(arguments)?)?;
    let answer = client.post(Ask { path: &["v1", "tasks"], body: Some(body), ..Ask::default() }).await?;
    let task: answer::Task = answer.read()?;
    if !answer.is_created() {
        // A task that was not asked for by its id is there for its key.
        let why = match asked_for.as_ref() == Some(&task.id) {
            true => "exists already, with the same content",
            false => "holds the unique key, so none is created",
        };
        out::message(format_args!("task {} {why}", out::visible(&task.id)));
    }
    if wait {
        return wait::until_ended(client, &task.id, None).await;
    }
    client.print(&answer, |task: answer::Task| out::data(out::visible(&task.sentence())))?;
    Ok(Code::Done)
}

/// The request's body. What is not given is left to the server.
fn body(arguments: Arguments) -> anyhow::Result<Members> {
    let mut body = Members::new();
    arguments.work.put_into(&mut body)?;
    put(&mut body, "id", arguments.id)?;
    let unique = arguments.unique.map(|key| Unique { key, until: arguments.unique_until });
    put(&mut body, "unique", unique)?;
    put(&mut body, "run_at", arguments.run_at)?;
    put(&mut body, "delay", arguments.delay)?;
    put(&mut body, "after", (!arguments.after.is_empty()).then_some(arguments.after))?;
    Ok(body)
}

/// `ID` or `ID:ON`. An id may have colons of its own, so only a known word behind the last one is a condition.
fn dependency(text: &str) -> Result<Dependency, String> {
    const ONS: [&str; 4] = ["succeeded", "failed", "not_failed", "finished"];
    let known = text
        .rsplit_once(':')
        .and_then(|(task, on)| Some((task, ONS.into_iter().find(|known| *known == on)?)));
    let (task, on) = known.unwrap_or((text, "succeeded"));
    Ok(Dependency { task: input::filled(task)?, on })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_is_an_id_and_maybe_a_condition() {
        let check = |text: &str, task: &str, on| {
            assert_eq!(dependency(text), Ok(Dependency { task: task.into(), on }), "{text}");
        };
        check("122", "122", "succeeded");
        check("122:failed", "122", "failed");
        check("job:122:not_failed", "job:122", "not_failed");
        check("job:122", "job:122", "succeeded");
        check("job:failed:succeeded", "job:failed", "succeeded");
        assert!(dependency(":finished").is_err());
    }
}
