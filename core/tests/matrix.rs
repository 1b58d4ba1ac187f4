//! The whole machine on one page: what each input does to a task in each situation.
//!
//! `snapshots/matrix__machine.snap` is what to read; the state table of the documentation is made from it.
//! Every situation is reached by the inputs written beside it here, never put together by hand.

mod support;

use std::collections::BTreeSet;
use std::fmt::Write;

use support::script::key_of;
use support::{Step, World};
use taskhook_core::{Change, FollowUp, Ignored, Input, Outcome, QueueKey, Refused, State, Task};

/// The situations a task can be in, and how it comes there. Task `a` waits for task `p`, which has ended as
/// asked where nothing else is said. Where there is an attempt, it is the second one, so that there is an
/// older one too.
const SITUATIONS: [(&str, &str); 22] = [
    ("absent", "p.new external, p.task_completed"),
    ("blocked", "p.new external, new after=p"),
    ("blocked, by another too", "p.new external, q.new external, new after=p,q"),
    ("scheduled", "p.new external, new after=p in=60s, p.task_completed"),
    ("scheduled, for a retry", "p.new external, new after=p, p.task_completed, 503, pass 5s, 503"),
    ("queued", "limits 0 0, p.new external, new after=p, p.task_completed"),
    (
        "queued, for a retry",
        "p.new external, new after=p, p.task_completed, 503, pass 5s, 503, limits 0 0, pass 20s",
    ),
    ("dispatching", "p.new external, new after=p, p.task_completed, 503, pass 5s"),
    ("dispatching, after a crash", "p.new external, new after=p, p.task_completed, 503, pass 5s, crash"),
    (
        "dispatching, after 4 crashes",
        "p.new external, new after=p, p.task_completed, 503, pass 5s, restart, restart, restart, crash",
    ),
    ("running, exchange open", "p.new external, new after=p, p.task_completed, 503, pass 5s, task_started"),
    ("running", "p.new external, new after=p, p.task_completed, 503, pass 5s, 202"),
    ("running, after a `retry`", "p.new external, new after=p, p.task_completed, 404, retry, 202"),
    ("external, blocked", "p.new external, new external after=p"),
    ("external, scheduled", "p.new external, new external after=p in=60s, p.task_completed"),
    (
        "external, running",
        "p.new external, new external after=p timeout=1h, p.task_completed, task_failed, retry",
    ),
    ("succeeded, by response", "p.new external, new after=p, p.task_completed, 503, pass 5s, 200"),
    (
        "succeeded, by webhook",
        "p.new external, new after=p, p.task_completed, 503, pass 5s, 202, task_completed",
    ),
    ("failed", "p.new external, new after=p, p.task_completed, 503, pass 5s, 404"),
    ("cancelled", "p.new external, new after=p, p.task_completed, 503, pass 5s, cancel"),
    ("cancelled, while blocked", "p.new external, new after=p, cancel"),
    ("skipped", "p.new external, new after=p, p.task_failed"),
];

const LEGEND: &str = "\
`→ state`  the task goes there (`#2`: with this attempt)
`applied`  the task takes it in and stays where it is
`recorded` it is only kept
`–`        nothing happens
`!`        the task carries a warning from now on
`·`        there is no such attempt, or no exchange
Other words are outcomes and reasons of webhooks, or the status of a refused call.
";

/// What happens to the task; `None` where it cannot.
type Act<'a> = &'a dyn Fn(&mut World, u32) -> Option<Vec<Step>>;

#[test]
fn machine() {
    let mut page = LEGEND.to_string();
    page.push_str(&events());
    page.push_str(&replies());
    page.push_str(&times());
    page.push_str(&commands());
    page.push_str(&consequences());
    insta::assert_snapshot!(page);
}

/// Webhooks; names that do the same share a table.
fn events() -> String {
    let mut tables: Vec<(String, Vec<&str>)> = Vec::new();
    for event in [
        "task_started",
        "task_progress",
        "task_heartbeat",
        "task_completed",
        "task_failed",
        "task_failed retryable=false",
        "task_cancelled",
        "other",
    ] {
        let named = |world: &mut World, attempt: u32| Some(world.play(&format!("#{attempt}.{event}")));
        let rows = table(&[
            ("names no attempt", &|world, _| Some(world.play(event))),
            ("the current one", &|world, newest| (newest > 0).then(|| named(world, newest)).flatten()),
            ("an older one", &|world, newest| (newest > 1).then(|| named(world, newest - 1)).flatten()),
            ("one that never was", &|world, newest| named(world, newest + 1)),
        ]);
        match tables.iter_mut().find(|(same, _)| *same == rows) {
            Some((_, events)) => events.push(event),
            None => tables.push((rows, vec![event])),
        }
    }
    let mut page = String::new();
    for (rows, events) in tables {
        write!(page, "\n## Webhook: {}\n\n{rows}", events.join(", ")).expect("text");
    }
    page
}

fn replies() -> String {
    let reply = |response: &'static str| {
        move |world: &mut World, _| has_exchange(world).then(|| world.play(response))
    };
    let answered = table(&[
        ("200", &reply("200")),
        ("202", &reply("202")),
        ("404", &reply("404")),
        ("503", &reply("503")),
        ("503 with Retry-After", &reply("503 retry-after=10s")),
    ]);
    let unanswered = table(&[
        ("503, no retry", &reply("503 no-retry")),
        ("no connection", &reply("lost")),
        ("address not allowed", &reply("not_allowed")),
        ("200 to an older attempt", &|world, newest| {
            (has_exchange(world) && newest > 1).then(|| world.play(&format!("#{}.200", newest - 1)))
        }),
    ]);
    format!("\n## Response (completion `auto`)\n\n{answered}\n{unanswered}")
}

/// Whether the response to the newest attempt may still come.
fn has_exchange(world: &World) -> bool {
    let task = world.tasks.get(&key_of("a")).filter(|task| !task.is_external());
    let attempt = task.and_then(|task| task.attempt);
    attempt.is_some_and(|attempt| !attempt.open || !attempt.replied)
}

fn times() -> String {
    let rows = table(&[
        ("at once", &|world, _| Some(world.play("wake"))),
        ("after a minute", &|world, _| Some(world.play("wait 1m, wake"))),
        ("after the time-out", &|world, _| Some(world.play("wait 2h, wake"))),
        ("after a crash", &|world, _| Some(world.play("crash, wake"))),
    ]);
    format!("\n## Woken\n\n{rows}")
}

fn commands() -> String {
    let rows = table(&[
        ("cancel", &|world, _| Some(world.play("cancel"))),
        ("retry", &|world, _| Some(world.play("retry"))),
        ("retry, ignoring", &|world, _| Some(world.play("retry ignoring"))),
        ("trigger", &|world, _| Some(world.play("trigger"))),
    ]);
    format!("\n## Command\n\n{rows}")
}

/// What other subjects mean for the task.
fn consequences() -> String {
    let (task, parent) = (key_of("a"), key_of("p"));
    let ended = |end: State| {
        move |world: &mut World, _| {
            let generation = world.tasks[&parent].generation;
            let told = FollowUp::ParentEnded { task, parent, generation, end };
            Some(world.commit(vec![Input::FollowUp(told)]))
        }
    };
    let rows = table(&[
        ("`p` ended as asked", &ended(State::Succeeded)),
        ("`p` ended otherwise", &ended(State::Failed)),
        ("`p` was reopened", &|world, _| {
            let generation = world.tasks[&parent].generation + 1;
            let told = FollowUp::ParentReopened { task, parent, generation };
            Some(world.commit(vec![Input::FollowUp(told)]))
        }),
        ("its queue has a free place", &|world, _| {
            world.play("limits 8 4");
            Some(world.commit(vec![Input::FollowUp(FollowUp::Look(QueueKey::DEFAULT))]))
        }),
    ]);
    format!("\n## Other tasks and the queue\n\n{rows}")
}

/// One row for each situation, one column for each act.
fn table(columns: &[(&str, Act)]) -> String {
    let mut rows = vec![vec!["situation".to_string()]];
    rows[0].extend(columns.iter().map(|(head, _)| (*head).to_string()));
    for (name, script) in SITUATIONS {
        let mut row = vec![name.to_string()];
        for (_, act) in columns {
            let mut world = World::after(script);
            let before = world.tasks.get(&key_of("a")).cloned();
            let newest = before.as_ref().map_or(0, Task::attempt_number);
            let steps = act(&mut world, newest);
            row.push(steps.map_or("·".into(), |steps| cell(&world, before, &steps[0])));
        }
        if row[1..].iter().any(|cell| cell != "·") {
            rows.push(row);
        }
    }
    let cells = rows[1..].iter().flat_map(|row| &row[1..]).filter(|cell| *cell != "·");
    match cells.collect::<BTreeSet<_>>().first() {
        Some(same)
            if rows[1..].iter().all(|row| row[1..].iter().all(|cell| cell == *same || cell == "·")) =>
        {
            format!("In every situation: {same}.\n")
        }
        _ => aligned(&rows),
    }
}

/// What one decision did to task `a`, in a few words.
fn cell(world: &World, before: Option<Task>, step: &Step) -> String {
    let decision = &step.decided.decision;
    let Some(before) = before else { return outcome(&decision.outcome).to_string() };
    let changes = decision.changes.iter().filter(|(key, _)| *key == before.key).map(|(_, change)| change);
    let after = changes.clone().fold(before.clone(), |task, change| task.evolve(world.now, change));
    let mut words: Vec<String> = Vec::new();
    if after.state != before.state || after.generation != before.generation {
        let begun = after.attempt_number() > before.attempt_number();
        let number = if begun { format!(" #{}", after.attempt_number()) } else { String::new() };
        words.push(format!("→ {}{number}", after.state.name()));
    }
    words.extend(changes.clone().filter_map(remarkable).map(String::from));
    if words.is_empty() && changes.clone().any(|change| matches!(change, Change::Responded { .. })) {
        words.push("recorded".into());
    }
    if words.is_empty() || decision.outcome != Outcome::Applied && decision.outcome != Outcome::Unchanged {
        words.insert(0, outcome(&decision.outcome).into());
    }
    let warned = |task: &Task| (task.answered_too_early, task.contradicted);
    let warning = if after.state == before.state && warned(&after) != warned(&before) { " !" } else { "" };
    format!("{}{warning}", words.join(", "))
}

/// What a state's name does not say.
fn remarkable(change: &Change) -> Option<&'static str> {
    match change {
        Change::AttemptFailed { counted: false, .. } => Some("not counted"),
        Change::Resent { .. } => Some("sent again"),
        Change::Rearmed { .. } => Some("looked at"),
        _ => None,
    }
}

fn outcome(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Applied => "applied",
        Outcome::Stale => "stale",
        Outcome::Ignored(why) => Ignored::code(*why),
        Outcome::Unmatched => "unmatched",
        Outcome::Recorded(_) => "recorded",
        Outcome::Unchanged => "–",
        Outcome::Refused(Refused::NotFound) => "404",
        Outcome::Refused(Refused::DependenciesUnmet) => "409 dependencies",
        Outcome::Refused(_) => "409",
        _ => "?",
    }
}

fn aligned(rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for (position, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(text, "| {} |", cells.collect::<Vec<_>>().join(" | ")).expect("text");
        if position == 0 {
            let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            writeln!(text, "| {} |", rules.join(" | ")).expect("text");
        }
    }
    text
}
