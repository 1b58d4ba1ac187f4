//! The stores under test, and how each of them is looked into.

use std::sync::Arc;

use taskhook::store::sqlite::{SqlitePath, SqliteStore};
use taskhook::store::{AuditEntry, Author, BatchId, NameKind, Store, Transaction, row};
use taskhook_core::SourceKey;
use taskhook_core::access::ApiKeyId;
use taskhook_core::queue::QueueSecret;
use taskhook_core::source::{Source, SourceCommand};
use taskhook_core::{
    Bulk, BulkKey, Command, Context, Input, Permits, QueueKey, Schedule, ScheduleKey, Subjects, Task,
    TaskKey, Timestamp,
};
use taskhook_sim::memory::{Entry, KeptAnswer, KeptEvent};
use taskhook_sim::{Clock, MemoryStore, ready};

use super::inspect::{Inspect, audit_line, history_line, moment};
use super::world::now;

/// A kind of store that the suite runs on.
pub(super) trait Backend: Inspect + Sized {
    /// The store itself.
    type Store: Store + 'static;
    /// A new, empty one.
    fn new(clock: &Clock) -> Self;
    /// The store that is open.
    fn store(&mut self) -> &mut Self::Store;
    /// The process ends without a word, and another one opens the store.
    fn reopen(&mut self);
}

/// A SQLite file of its own.
pub(super) struct Sqlite {
    store: Option<SqliteStore>,
    folder: tempfile::TempDir,
}

/// The memory store.
pub(super) struct InMemory<const UNLUCKY: bool>(MemoryStore);

/// The memory store, always lucky.
pub(super) type Memory = InMemory<false>;

/// The memory store on its unlucky days.
pub(super) type Contended = InMemory<true>;

impl Sqlite {
    /// The store in this folder, or a new one.
    pub(super) fn on(folder: tempfile::TempDir) -> Sqlite {
        let mut sqlite = Sqlite { store: None, folder };
        sqlite.reopen();
        sqlite
    }

    /// Where the file is.
    pub(super) fn path(&self) -> SqlitePath {
        SqlitePath(self.folder.path().join("store.db"))
    }

    /// Closes the store.
    pub(super) fn close(&mut self) {
        self.store = None;
    }

    fn reader(&self) -> rusqlite::Connection {
        rusqlite::Connection::open_with_flags(self.path().0, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
            .unwrap()
    }

    fn lines<T>(&self, sql: &str, line: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>) -> Vec<T> {
        let reader = self.reader();
        let mut statement = reader.prepare(sql).unwrap();
        statement.query_map([], line).unwrap().collect::<rusqlite::Result<_>>().unwrap()
    }

    /// What decisions about these inputs see, by way of the store itself, in a transaction that is dropped: that is what counts.
    fn look(&mut self, inputs: impl Iterator<Item = Input>) -> Subjects {
        let (now, permits) = (now(), Permits::new(0, 0));
        let cx = Context { now, shown: now, up_since: now, held: None, full: false, permits };
        let mut subjects = Subjects::default();
        let mut tx = ready(self.store().begin(BatchId(u128::MAX))).unwrap();
        ready(tx.load(&cx, &inputs.collect::<Vec<_>>(), &mut subjects)).unwrap();
        subjects
    }
}

impl Backend for Sqlite {
    type Store = SqliteStore;

    fn new(_: &Clock) -> Sqlite {
        // In memory, where there is such a folder: what an fsync is worth is for torture to show.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        Sqlite::on(folder)
    }

    fn store(&mut self) -> &mut SqliteStore {
        self.store.as_mut().unwrap()
    }

    fn reopen(&mut self) {
        self.close();
        self.store = Some(SqliteStore::open(&self.path(), now).unwrap());
    }
}

impl Inspect for Sqlite {
    fn tasks(&mut self) -> Vec<Task> {
        let keys = self.lines("SELECT key FROM task ORDER BY key", |row| row.get(0).map(TaskKey));
        let subjects = self.look(keys.iter().map(|key| Input::Command(*key, Command::Cancel)));
        keys.iter().map(|key| subjects.task(*key).unwrap().clone()).collect()
    }

    fn schedules(&mut self) -> Vec<Schedule> {
        let keys = self.lines("SELECT key FROM schedule ORDER BY key", |row| row.get(0).map(ScheduleKey));
        let subjects = self.look(keys.iter().map(|key| Input::WakeSchedule(*key)));
        keys.iter().map(|key| subjects.schedule(*key).unwrap().clone()).collect()
    }

    fn sources(&mut self) -> Vec<Source> {
        let keys = self.lines("SELECT key FROM source ORDER BY key", |row| row.get(0).map(SourceKey));
        let subjects = self.look(keys.iter().map(|key| Input::Source(*key, SourceCommand::Delete)));
        keys.iter().map(|key| subjects.source(*key).unwrap().clone()).collect()
    }

    fn bulks(&mut self) -> Vec<Bulk> {
        let keys = self.lines("SELECT key FROM bulk ORDER BY key", |row| row.get(0).map(BulkKey));
        let subjects = self.look(keys.iter().map(|key| Input::WakeBulk(*key)));
        keys.iter().map(|key| subjects.bulk(*key).unwrap().clone()).collect()
    }

    fn history(&mut self, task: TaskKey) -> Vec<String> {
        // From the newest entry to the oldest, as readers follow the chain.
        let sql = format!(
            "WITH RECURSIVE chain (position) AS (
                 SELECT last_change FROM task WHERE key = {key}
                 UNION ALL SELECT previous FROM history NATURAL JOIN chain WHERE position > 0)
             SELECT at, cause, cause_key, change, attempt, detail, body FROM history NATURAL JOIN chain
             WHERE task = {key} ORDER BY position",
            key = task.0
        );
        let lines = self.lines(&sql, |columns| {
            let detail: Option<String> = columns.get(5)?;
            let cause = row::cause_of(columns.get(1)?, columns.get(2)?).unwrap();
            let change = row::ChangeRow {
                kind: columns.get(3)?,
                attempt: columns.get(4)?,
                detail: detail.map(|detail| serde_json::from_str(&detail).unwrap()),
                body: columns.get(6)?,
            };
            Ok(history_line(Timestamp(columns.get(0)?), cause, &change))
        });
        let count = format!("SELECT count(*) FROM history WHERE task = {}", task.0);
        let [count] = self.lines(&count, |row| row.get::<_, i64>(0))[..] else { panic!("one row") };
        assert_eq!(usize::try_from(count), Ok(lines.len()), "the chain is whole");
        lines
    }

    fn specs(&mut self) -> Vec<String> {
        self.lines(
            "SELECT task, name, method, url, headers, labels, after, payload, unique_key, correlate FROM spec
                 WHERE task IN (SELECT key FROM task) ORDER BY task",
            |row| {
                let text = |column| row.get::<_, Option<String>>(column).map(Option::unwrap_or_default);
                let payload = row.get::<_, Option<Vec<u8>>>(7)?.map(|bytes| bytes.escape_ascii().to_string());
                let (name, method, url) = (text(1)?, text(2)?, text(3)?);
                let (headers, labels, after) = (text(4)?, text(5)?, text(6)?);
                let task: i64 = row.get(0)?;
                let (unique, correlate) = (text(8)?, text(9)?);
                Ok(format!(
                    "{task} {name} {method} {url} {headers} {labels} {after} {payload:?} {unique} {correlate}"
                ))
            },
        )
    }

    fn events(&mut self) -> Vec<String> {
        self.lines(
            "SELECT key, hex(id), received_at, source, name, task, task_name, attempt, delivery_id, outcome,
                 reason, hex(duplicate_of), hex(replay_of), headers, body, external_id, query FROM event ORDER BY key",
            |row| {
                let text = |column| row.get::<_, Option<String>>(column);
                let number = |column| row.get::<_, Option<i64>>(column);
                let key: i64 = row.get(0)?;
                Ok(event_line(EventLine {
                    key,
                    id: text(1)?.unwrap_or_default(),
                    at: Timestamp(row.get(2)?),
                    source: row.get(3)?,
                    names: [text(4)?, text(6)?, text(8)?],
                    task: number(5)?,
                    attempt: number(7)?,
                    outcome: row.get(9)?,
                    reason: text(10)?,
                    others: [text(11)?.unwrap_or_default(), text(12)?.unwrap_or_default()],
                    headers: row.get(13)?,
                    body: row.get(14)?,
                    asked: [text(15)?, text(16)?],
                }))
            },
        )
    }

    fn externals(&mut self) -> Vec<String> {
        self.lines("SELECT key, task, attempt, known_at FROM external ORDER BY key", |row| {
            let attempt: Option<u32> = row.get(2)?;
            let known_at = moment(Timestamp(row.get(3)?));
            Ok(format!("{} is {} {attempt:?} {known_at}", row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        })
    }

    fn parked(&mut self) -> Vec<String> {
        self.lines("SELECT task, event, at, mapped FROM parked ORDER BY task, event", |row| {
            let (task, event): (i64, i64) = (row.get(0)?, row.get(1)?);
            Ok(format!("{task} {event} {} {}", moment(Timestamp(row.get(2)?)), row.get::<_, String>(3)?))
        })
    }

    fn claims(&mut self) -> Vec<String> {
        self.lines("SELECT hex(claim), hex(event) FROM claim ORDER BY claim", |row| {
            Ok(format!("{} by {}", row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        })
    }

    fn answers(&mut self) -> Vec<String> {
        self.lines(
            "SELECT hex(claim), hex(request), at, tasks, status, body FROM answer ORDER BY claim",
            |row| {
                let (claim, request): (String, String) = (row.get(0)?, row.get(1)?);
                let (tasks, status): (Option<String>, Option<u16>) = (row.get(3)?, row.get(4)?);
                let body: Option<Vec<u8>> = row.get(5)?;
                let answer = status.map(|status| (status, body));
                Ok(answer_line([claim, request], Timestamp(row.get(2)?), tasks, answer))
            },
        )
    }

    fn held_keys(&mut self) -> Vec<String> {
        self.lines("SELECT hex(hash), task, until FROM held_key ORDER BY hash", |row| {
            let (hash, task): (String, i64) = (row.get(0)?, row.get(1)?);
            Ok(format!("{hash} by {task} until {:?}", row.get::<_, Option<i64>>(2)?))
        })
    }

    fn edges(&mut self) -> Vec<String> {
        self.lines(
            "SELECT parent, child, \"on\", status, generation FROM edge ORDER BY parent, child",
            |row| {
                let number = |column| row.get::<_, i64>(column);
                Ok(edge_line([number(0)?, number(1)?, number(2)?, number(3)?, number(4)?]))
            },
        )
    }

    fn names(&mut self) -> Vec<(i64, i64, String)> {
        self.lines("SELECT key, kind, text FROM name WHERE namespace = 1 ORDER BY key", |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
    }

    fn access(&mut self) -> Vec<String> {
        let keys = self.store().api_keys().unwrap();
        let mut lines: Vec<String> = keys.values().map(|key| format!("{key:?}")).collect();
        lines.extend(
            self.lines("SELECT name, hex(value) FROM secret WHERE name LIKE 'test%' ORDER BY name", |row| {
                Ok(format!("{} {}", row.get::<_, String>(0)?, row.get::<_, String>(1)?))
            }),
        );
        let sql =
            "SELECT at, action, subject, count, api_key, key_name, address, request FROM audit ORDER BY key";
        lines.extend(self.lines(sql, |row| {
            let id: Option<[u8; 16]> = row.get(4)?;
            let name: Option<Arc<str>> = row.get(5)?;
            let author =
                Author { key: id.map(ApiKeyId).zip(name), address: row.get(6)?, request: row.get(7)? };
            let action: String = row.get(1)?;
            let entry = AuditEntry {
                author: Arc::new(author),
                action: action.leak(),
                subject: row.get(2)?,
                count: row.get::<_, u32>(3)? as usize,
            };
            Ok(audit_line(Timestamp(row.get(0)?), &entry))
        }));
        lines
    }

    fn queue_secret(&mut self, queue: QueueKey) -> Option<QueueSecret> {
        let sql = format!("SELECT settings FROM queue WHERE key = {}", queue.0);
        let row = self.lines(&sql, |row| row.get::<_, String>(0)).pop()?;
        serde_json::from_str::<row::SettingsRow>(&row).unwrap().settings().secret
    }

    fn kept_count(&mut self) -> usize {
        self.lines("SELECT key FROM kept", |_| Ok(())).len()
    }
}

impl<const UNLUCKY: bool> Backend for InMemory<UNLUCKY> {
    type Store = MemoryStore;

    fn new(clock: &Clock) -> Self {
        let clock = clock.clone();
        InMemory(if UNLUCKY { MemoryStore::contended(clock, 1) } else { MemoryStore::new(clock) })
    }

    fn store(&mut self) -> &mut MemoryStore {
        &mut self.0
    }

    fn reopen(&mut self) {
        self.0 = self.0.reopen();
    }
}

impl<const UNLUCKY: bool> Inspect for InMemory<UNLUCKY> {
    fn tasks(&mut self) -> Vec<Task> {
        self.0.tasks()
    }

    fn history(&mut self, task: TaskKey) -> Vec<String> {
        let told =
            |entry: Entry| history_line(entry.at, entry.cause, &row::change_row(&entry.change).unwrap());
        self.0.history(task).into_iter().map(told).collect()
    }

    fn specs(&mut self) -> Vec<String> {
        fn json(value: &impl serde::Serialize, is_empty: bool) -> String {
            if is_empty { String::new() } else { serde_json::to_string(value).unwrap() }
        }
        let keys: Vec<TaskKey> = self.0.tasks().iter().map(|task| task.key).collect();
        let line = |key: TaskKey| {
            let spec = self.0.spec(key).unwrap();
            let after: Vec<(&str, i64)> =
                spec.after.iter().map(|(id, on)| (id.as_str(), row::on_number(*on))).collect();
            let (name, labels) = (spec.name.unwrap_or_default(), json(&spec.labels, spec.labels.is_empty()));
            let request = spec.request.as_deref().cloned().unwrap_or_default();
            let headers = json(&request.headers, request.headers.is_empty());
            let payload = request.payload.map(|bytes| bytes.escape_ascii().to_string());
            let after = json(&after, after.is_empty());
            format!(
                "{} {name} {} {} {headers} {labels} {after} {payload:?} {} {}",
                key.0,
                request.method,
                request.url,
                spec.unique_key.unwrap_or_default(),
                spec.correlate.unwrap_or_default()
            )
        };
        keys.into_iter().map(line).collect()
    }

    fn events(&mut self) -> Vec<String> {
        let line = |kept: KeptEvent| {
            let received = &kept.event.received;
            let (outcome, reason) = row::outcome_columns(&kept.outcome);
            let duplicate_of = match kept.outcome {
                taskhook_core::Outcome::Duplicate(first) => Some(first),
                _ => None,
            };
            let others = [duplicate_of, received.replay_of];
            event_line(EventLine {
                key: kept.event.key.0,
                id: hex(&received.id.0),
                at: kept.at,
                source: received.source.clone(),
                names: [received.name.clone(), received.task_name.clone(), received.delivery_id.clone()],
                task: kept.event.task.map(|task| task.0).or(kept.event.external.map(|external| external.0)),
                attempt: kept.event.attempt.map(i64::from),
                outcome,
                reason: reason.map(ToString::to_string),
                others: others.map(|id| id.map(|id| hex(&id.0)).unwrap_or_default()),
                headers: serde_json::to_string(&received.headers).unwrap(),
                body: received.body.clone(),
                asked: [received.external_id.clone(), received.query.clone()],
            })
        };
        self.0.events().into_iter().map(line).collect()
    }

    fn externals(&mut self) -> Vec<String> {
        let externals = self.0.externals().into_iter();
        let line = |(key, known): (taskhook_core::ExternalKey, taskhook_core::Correlation)| {
            format!("{} is {} {:?} {}", key.0, known.task.0, known.attempt, moment(known.known_at))
        };
        externals.map(line).collect()
    }

    fn parked(&mut self) -> Vec<String> {
        let parked = self.0.parked().into_iter();
        let line = |(name, parked): (taskhook_core::NameKey, taskhook_core::Parked)| {
            let mapped = serde_json::to_string(&row::Mapped::of(&parked.event.kind)).unwrap();
            format!("{} {} {} {mapped}", name.0, parked.event.key.0, moment(parked.at))
        };
        parked.map(line).collect()
    }

    fn claims(&mut self) -> Vec<String> {
        let claims = self.0.claims().into_iter();
        claims.map(|(claim, event)| format!("{} by {}", hex(&claim.0), hex(&event.0))).collect()
    }

    fn answers(&mut self) -> Vec<String> {
        let line = |(claim, kept): (taskhook_core::ClaimKey, KeptAnswer)| {
            let keys = |tasks: Vec<TaskKey>| tasks.iter().map(|task| task.0).collect::<Vec<i64>>();
            let tasks = kept.tasks.map(|tasks| serde_json::to_string(&keys(tasks)).unwrap());
            answer_line([hex(&claim.0), hex(&kept.request)], kept.at, tasks, kept.answer)
        };
        self.0.answers().into_iter().map(line).collect()
    }

    fn held_keys(&mut self) -> Vec<String> {
        let line = |(key, held): (taskhook_core::UniqueKey, taskhook_core::unique::Held)| {
            format!("{} by {} until {:?}", hex(&key.0), held.task.0, held.until.map(|at| at.0))
        };
        self.0.held_keys().into_iter().map(line).collect()
    }

    fn edges(&mut self) -> Vec<String> {
        let line = |(parent, child, edge): (TaskKey, TaskKey, taskhook_core::Edge)| {
            let (on, status) = (row::on_number(edge.on), row::edge_status_number(edge.status));
            edge_line([parent.0, child.0, on, status, edge.generation.into()])
        };
        self.0.edges().into_iter().map(line).collect()
    }

    fn names(&mut self) -> Vec<(i64, i64, String)> {
        let kind = |kind| match kind {
            NameKind::Task => 1,
            NameKind::Queue => 2,
            NameKind::Host => 3,
            NameKind::Schedule => 4,
            NameKind::Bulk => 5,
            NameKind::Source => 6,
            NameKind::External => 7,
        };
        self.0.names().into_iter().map(|(key, name)| (key, kind(name.kind), name.text)).collect()
    }

    fn schedules(&mut self) -> Vec<Schedule> {
        self.0.schedules()
    }

    fn sources(&mut self) -> Vec<Source> {
        self.0.sources()
    }

    fn bulks(&mut self) -> Vec<Bulk> {
        self.0.bulks()
    }

    fn access(&mut self) -> Vec<String> {
        let mut lines: Vec<String> = self.0.api_keys().iter().map(|key| format!("{key:?}")).collect();
        let secret = |(name, sealed): (Arc<str>, Arc<[u8]>)| format!("{name} {}", hex(&sealed));
        lines.extend(self.0.secrets().into_iter().map(secret));
        lines.extend(self.0.audit().iter().map(|(at, entry)| audit_line(*at, entry)));
        lines
    }

    fn queue_secret(&mut self, queue: QueueKey) -> Option<QueueSecret> {
        self.0.queues().into_iter().find(|other| other.key == queue)?.settings.secret.clone()
    }

    fn kept_count(&mut self) -> usize {
        self.0.kept_count()
    }
}

impl Contended {
    /// An empty store whose bad luck is drawn from `seed`.
    pub(super) fn seeded(clock: &Clock, seed: u64) -> Contended {
        InMemory(MemoryStore::contended(clock.clone(), seed))
    }
}

/// A webhook as it is stored.
struct EventLine {
    key: i64,
    id: String,
    at: Timestamp,
    source: String,
    /// Of the event, of its task, of its delivery.
    names: [Option<String>; 3],
    task: Option<i64>,
    attempt: Option<i64>,
    outcome: i64,
    reason: Option<String>,
    /// The ids of its original and of what it replays.
    others: [String; 2],
    headers: String,
    body: Vec<u8>,
    /// The remote's id of its task, and the query.
    asked: [Option<String>; 2],
}

fn event_line(event: EventLine) -> String {
    let EventLine {
        key,
        id,
        at,
        source,
        names,
        task,
        attempt,
        outcome,
        reason,
        others,
        headers,
        body,
        asked,
    } = event;
    let (at, outcome, body) = (moment(at), row::outcome_name(outcome), body.escape_ascii());
    let (name, task_name, delivery) = (&names[0], &names[1], &names[2]);
    format!(
        "{key} {id} {at} {source} {name:?} task {task:?} {task_name:?} attempt {attempt:?} delivery {delivery:?} \
         {asked:?} {outcome} {reason:?} original {} replays {} {headers} [{body}]",
        others[0], others[1]
    )
}

fn answer_line(
    [claim, request]: [String; 2],
    at: Timestamp,
    tasks: Option<String>,
    answer: Option<(u16, Option<Vec<u8>>)>,
) -> String {
    let answer = answer.map(|(status, body)| match body {
        Some(body) => format!("{status} [{}]", body.escape_ascii()),
        None => format!("{status}"),
    });
    format!("{claim} {request} {} created {tasks:?} answered {answer:?}", moment(at))
}

fn edge_line([parent, child, on, status, generation]: [i64; 5]) -> String {
    let words = |names: [&'static str; 4], number: i64| names[usize::try_from(number - 1).unwrap()];
    let on = words(["succeeded", "failed", "not_failed", "finished"], on);
    let status = words(["pending", "met", "broken", ""], status);
    format!("{child} after {parent} on {on}: {status}, generation {generation}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}
