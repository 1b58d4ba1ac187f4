//! What is in a store, in words that are the same for every store.

use std::fmt::Write as _;

use taskhook::store::AuditEntry;
use taskhook::store::row::{self, ChangeRow};
use taskhook_core::queue::QueueSecret;
use taskhook_core::source::Source;
use taskhook_core::{Bulk, Cause, QueueKey, Schedule, Task, TaskKey, Timestamp};

/// Looks into a store from outside, between transactions. Lines are ordered by key.
pub(super) trait Inspect {
    /// Every task.
    fn tasks(&mut self) -> Vec<Task>;
    /// The history of a task, oldest first.
    fn history(&mut self, task: TaskKey) -> Vec<String>;
    /// What no decision looks at, of every task.
    fn specs(&mut self) -> Vec<String>;
    /// Every webhook, with its outcome.
    fn events(&mut self) -> Vec<String>;
    /// Every id that a remote has given a task.
    fn externals(&mut self) -> Vec<String>;
    /// Every webhook that waits for its task.
    fn parked(&mut self) -> Vec<String>;
    /// Every delivery that is claimed.
    fn claims(&mut self) -> Vec<String>;
    /// Every request that happened under a key, and its answer.
    fn answers(&mut self) -> Vec<String>;
    /// Every unique key that is held, or was until a time that has come.
    fn held_keys(&mut self) -> Vec<String>;
    /// Every edge between tasks.
    fn edges(&mut self) -> Vec<String>;
    /// Every name: its key, its stored kind and its text.
    fn names(&mut self) -> Vec<(i64, i64, String)>;
    /// Every schedule.
    fn schedules(&mut self) -> Vec<Schedule>;
    /// Every bulk.
    fn bulks(&mut self) -> Vec<Bulk>;
    /// Every source, in key order.
    fn sources(&mut self) -> Vec<Source>;
    /// Every API key, every secret of the server that a decision has kept, and the audit log.
    fn access(&mut self) -> Vec<String>;
    /// The secret of a queue.
    fn queue_secret(&mut self, queue: QueueKey) -> Option<QueueSecret>;
    /// How many follow-ups are kept, those left aside among them.
    fn kept_count(&mut self) -> usize;

    /// Everything there is, to be compared.
    fn all(&mut self) -> String {
        let mut text = String::new();
        let mut section = |name: &str, lines: Vec<String>| {
            let _ = writeln!(text, "{name}");
            for line in lines {
                let _ = writeln!(text, "    {line}");
            }
        };
        section("names", self.names().iter().map(|name| format!("{name:?}")).collect());
        for task in self.tasks() {
            section(&format!("{task:?}"), self.history(task.key));
        }
        section("specs", self.specs());
        section("events", self.events());
        section("externals", self.externals());
        section("parked", self.parked());
        section("claims", self.claims());
        section("answers", self.answers());
        section("held keys", self.held_keys());
        section("edges", self.edges());
        section("schedules", self.schedules().iter().map(|schedule| format!("{schedule:?}")).collect());
        section("bulks", self.bulks().iter().map(|bulk| format!("{bulk:?}")).collect());
        section("sources", self.sources().iter().map(|source| format!("{source:?}")).collect());
        section("access", self.access());
        section("kept", vec![self.kept_count().to_string()]);
        text
    }

    /// The task under `key`.
    fn task(&mut self, key: TaskKey) -> Task {
        self.tasks().into_iter().find(|task| task.key == key).expect("the task exists")
    }
}

/// One entry of a history: `+5.0s reply 1: responded 1 {"status":200} [ok]`.
pub(super) fn history_line(at: Timestamp, cause: Cause, change: &ChangeRow) -> String {
    let cause = match cause {
        Cause::Creation => "creation".into(),
        Cause::Command => "command".into(),
        Cause::Event(event) => format!("event {}", event.0),
        Cause::Reply(attempt) => format!("reply {attempt}"),
        Cause::Time => "time".into(),
        Cause::Parent(task) => format!("parent {}", task.0),
        Cause::Queue => "queue".to_string(),
        Cause::Schedule(schedule) => format!("schedule {}", schedule.0),
        Cause::Bulk(bulk) => format!("bulk {}", bulk.0),
        Cause::Reconciliation => "reconciliation".into(),
    };
    let mut line = format!("{} {cause}: {}", moment(at), row::change_name(change.kind));
    if let Some(attempt) = change.attempt {
        let _ = write!(line, " {attempt}");
    }
    if let Some(detail) = &change.detail {
        let _ = write!(line, " {}", serde_json::to_string(detail).unwrap());
    }
    if let Some(body) = &change.body {
        let _ = write!(line, " [{}]", body.escape_ascii());
    }
    line
}

/// One entry of the audit log.
pub(super) fn audit_line(at: Timestamp, entry: &AuditEntry) -> String {
    let AuditEntry { author, action, subject, count } = entry;
    format!("{} {action} {subject} {count} {author:?}", moment(at))
}

/// An instant as seen from the beginning of the test.
pub(super) fn moment(at: Timestamp) -> String {
    format!("+{:?}", at.since(super::world::START))
}
