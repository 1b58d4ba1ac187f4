//! Whether a store at rest keeps what Taskhook promises (G4): every task in exactly one state, and no row that
//! contradicts another. Each rule is one query for the rows that break it.

use rusqlite::Connection;
use taskhook_core::{State, Timestamp};

use crate::store::row;
use crate::store::sqlite::{Settings, SqliteStore, held_since};

/// How many rows that break one rule are named.
const NAMED_MAX: usize = 20;

/// What was found in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The settings in force.
    pub settings: Settings,
    /// The size of the database file, in bytes.
    pub bytes: i64,
    /// How many tasks are in each state that occurs.
    pub tasks: Vec<(State, i64)>,
    /// Webhooks that are kept.
    pub events: i64,
    /// Webhooks that wait for their task.
    pub parked: i64,
    /// Follow-ups that wait for a later transaction.
    pub kept: i64,
    /// Since when the server is held.
    pub held: Option<Timestamp>,
    /// What should not be.
    pub violations: Vec<Violation>,
}

/// A rule that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What should be true.
    pub rule: &'static str,
    /// How many rows break it.
    pub count: usize,
    /// The first of them, in words.
    pub found: Vec<String>,
}

/// What must be true, and a query for the rows of which it is not: one text each.
struct Rule {
    text: &'static str,
    broken_by: &'static str,
}

/// The state numbers, edge statuses, kinds of follow-ups and flags are those of `store/row.rs`. `named` is what
/// a task is called.
const RULES: [Rule; 26] = [
    Rule {
        text: "every task is in exactly one state",
        broken_by: "SELECT 'task ' || named || ' has the state ' || state FROM t WHERE state NOT BETWEEN 1 AND 9",
    },
    Rule {
        text: "every task has a name, a definition and a history",
        broken_by: "SELECT 'task ' || named || ' has no ' || CASE
                 WHEN NOT EXISTS (SELECT 1 FROM name n WHERE n.key = t.key AND n.kind = 1) THEN 'name'
                 WHEN NOT EXISTS (SELECT 1 FROM spec s WHERE s.task = t.key) THEN 'definition'
                 ELSE 'history' END
             FROM t WHERE NOT EXISTS (SELECT 1 FROM name n WHERE n.key = t.key AND n.kind = 1)
                 OR NOT EXISTS (SELECT 1 FROM spec s WHERE s.task = t.key)
                 OR NOT EXISTS (SELECT 1 FROM history h WHERE h.position = t.last_change AND h.task = t.key)",
    },
    Rule {
        text: "no task is lost: every definition has its task",
        broken_by: "SELECT 'task ' || coalesce((SELECT text FROM name n WHERE n.key = s.task), s.task) || ' is gone'
             FROM spec s WHERE NOT EXISTS (SELECT 1 FROM task t WHERE t.key = s.task)
                 AND NOT EXISTS (SELECT 1 FROM schedule c WHERE c.key = s.task)",
    },
    Rule {
        text: "every task counts the tasks it waits for as its edges do",
        broken_by: "SELECT 'task ' || named || ' counts ' || dependencies_pending || ' pending and '
                 || dependencies_broken || ' broken, its edges ' || coalesce(pending, 0) || ' and '
                 || coalesce(broken, 0)
             FROM t LEFT JOIN (
                 SELECT child, sum(status = 1) AS pending, sum(status = 3) AS broken FROM edge GROUP BY child
             ) ON child = t.key
             WHERE dependencies_pending <> coalesce(pending, 0) OR dependencies_broken <> coalesce(broken, 0)",
    },
    Rule {
        text: "every edge leads to a task, and comes from one that is there or whose end is known",
        broken_by: "SELECT 'the edge from ' || parent || ' to ' || child FROM edge e
             WHERE status NOT BETWEEN 1 AND 3
                 OR NOT EXISTS (SELECT 1 FROM task t WHERE t.key = child)
                 OR (status = 1 AND NOT EXISTS (SELECT 1 FROM task t WHERE t.key = parent) AND NOT EXISTS (
                     SELECT 1 FROM kept k WHERE k.kind = 5 AND k.subject = e.child AND k.other = e.parent))",
    },
    Rule {
        text: "every name of a task is that of one, or webhooks wait for it",
        broken_by: "SELECT 'the name ' || text FROM name n WHERE kind = 1
                 AND NOT EXISTS (SELECT 1 FROM task WHERE task.key = n.key)
                 AND NOT EXISTS (SELECT 1 FROM spec s WHERE s.task = n.key)
                 AND NOT EXISTS (SELECT 1 FROM parked p WHERE p.task = n.key)",
    },
    Rule {
        text: "every id that a remote gave a task is that of one, or webhooks wait for it",
        broken_by: "SELECT 'the id ' || replace(text, char(10), ' ') FROM name n WHERE kind = 7
                 AND NOT EXISTS (SELECT 1 FROM external x JOIN task ON task.key = x.task WHERE x.key = n.key)
                 AND NOT EXISTS (SELECT 1 FROM parked p WHERE p.task = n.key)
             UNION ALL SELECT 'id number ' || x.key FROM external x
             WHERE NOT EXISTS (SELECT 1 FROM name n WHERE n.key = x.key AND n.kind = 7)",
    },
    Rule {
        // A long history goes in pieces: while one is left, nothing is said of any.
        text: "every entry of a history is that of a task",
        broken_by: "SELECT 'entry ' || position || ' of task number ' || task FROM history h
             WHERE NOT EXISTS (SELECT 1 FROM task t WHERE t.key = h.task)
                 AND NOT EXISTS (SELECT 1 FROM spec s WHERE s.task = h.task)
                 AND NOT EXISTS (SELECT 1 FROM left_history)",
    },
    Rule {
        text: "a task that has ended is at rest: it has an end, an attempt that is over, and no time to wake",
        broken_by: "SELECT 'task ' || named FROM t
             WHERE state BETWEEN 6 AND 9 AND (wake_at IS NOT NULL OR ended_at IS NULL OR flags & 32)",
    },
    Rule {
        text: "a task that has not ended has no end, and something moves it on",
        broken_by: "SELECT 'task ' || named || ' (state ' || state || ')' FROM t
             WHERE state BETWEEN 1 AND 5 AND NOT flags & 16 AND (ended_at IS NOT NULL
                 OR (state = 1 AND (dependencies_pending = 0 OR dependencies_broken > 0))
                 OR (state IN (2, 4) AND wake_at IS NULL)
                 OR (state IN (3, 4) AND host IS NULL)
                 OR (state = 5 AND timeout IS NOT NULL AND wake_at IS NULL))",
    },
    Rule {
        text: "an attempt is open exactly while its task is dispatching or running",
        broken_by: "SELECT 'task ' || named || ' (state ' || state || ')' FROM t
             WHERE NOT flags & 16 AND ((state IN (4, 5)) <> (flags & 32 <> 0) OR (flags & 32 AND attempt = 0))",
    },
    Rule {
        text: "those that wait for a task are told of its end",
        broken_by: "SELECT 'task ' || (SELECT text FROM name n WHERE n.key = e.child) || ' waits for '
                 || named || ', which has ended'
             FROM edge e JOIN t ON t.key = e.parent
             WHERE e.status = 1 AND t.state BETWEEN 6 AND 9 AND NOT EXISTS (
                 SELECT 1 FROM kept k WHERE k.generation = t.generation AND (
                     (k.kind = 3 AND k.subject = e.parent AND k.other < e.child)
                     OR (k.kind = 5 AND k.subject = e.child AND k.other = e.parent)))",
    },
    Rule {
        text: "a webhook waits only for a task that does not exist, or that is not known by the name it gives",
        broken_by: "SELECT 'event ' || p.event || ' waits for task ' || named
             FROM parked p LEFT JOIN external x ON x.key = p.task JOIN t ON t.key = coalesce(x.task, p.task)
             WHERE NOT EXISTS (SELECT 1 FROM kept k
                 WHERE k.kind IN (2, 11) AND k.subject = p.task AND k.other < p.event)",
    },
    Rule {
        text: "a webhook that waits is kept, and says so",
        broken_by: "SELECT 'event ' || p.event FROM parked p
             WHERE NOT EXISTS (SELECT 1 FROM event e WHERE e.key = p.event AND e.outcome = 5 AND e.task = p.task)",
    },
    Rule {
        text: "a unique key is held by a task that asks for it, and until its end by none that has ended",
        broken_by: "SELECT 'a key of ' || coalesce('task ' || named, 'a task that is gone')
             FROM held_key h LEFT JOIN t ON t.key = h.task
             WHERE t.key IS NULL OR t.unique_key IS NOT h.hash OR (h.until IS NULL) <> (t.unique_for IS NULL)
                 OR (h.until IS NULL AND t.state BETWEEN 6 AND 9)",
    },
    Rule {
        text: "a task that has not ended holds the unique key that is its own until then",
        broken_by: "SELECT 'task ' || named FROM t
             WHERE unique_key IS NOT NULL AND unique_for IS NULL AND state BETWEEN 1 AND 5
                 AND NOT EXISTS (SELECT 1 FROM held_key h WHERE h.hash = t.unique_key AND h.task = t.key)",
    },
    Rule {
        text: "every queue counts the attempts that are open as its tasks do",
        broken_by: "SELECT 'queue ' || (SELECT text FROM name n WHERE n.key = q.key) || ' counts ' || q.open || ', its tasks '
                 || count(t.key)
             FROM queue q LEFT JOIN t ON t.queue = q.key AND t.flags & 32 AND t.host IS NOT NULL
             GROUP BY q.key HAVING q.open <> count(t.key)",
    },
    Rule {
        text: "every concurrency key counts what is open and what waits as its tasks do",
        broken_by: "SELECT 'a key of queue ' || queue || ' counts ' || sum(open) || ' open and ' || sum(waiting)
                 || ' waiting too many'
             FROM (SELECT queue, concurrency_key, open, waiting FROM key_use
                 UNION ALL SELECT queue, concurrency_key, -(flags & 32 AND host IS NOT NULL), -(state = 3)
                     FROM task WHERE concurrency_key <> 0)
             GROUP BY queue, concurrency_key HAVING sum(open) <> 0 OR sum(waiting) <> 0",
    },
    Rule {
        text: "every task that is queued stands in a line that is open, or that something opens",
        broken_by: "SELECT 'task ' || named FROM t WHERE state = 3
             AND NOT EXISTS (SELECT 1 FROM line l WHERE l.queue = t.queue AND l.rank = t.rank
                 AND l.concurrency_key = t.concurrency_key)
             AND NOT EXISTS (SELECT 1 FROM host_wait w WHERE w.queue = t.queue AND w.rank = t.rank
                 AND w.concurrency_key = t.concurrency_key AND w.host = t.host)
             AND NOT EXISTS (SELECT 1 FROM key_use u WHERE u.queue = t.queue
                 AND u.concurrency_key = t.concurrency_key AND u.closed > 0)",
    },
    Rule {
        text: "every queue counts its tasks in each state",
        broken_by: "SELECT 'queue ' || queue || ' counts ' || sum(count) || ' tasks too many in state ' || state
             FROM (SELECT queue, state, count FROM task_count
                 UNION ALL SELECT queue, CASE WHEN state = 2 AND attempts_before < attempt THEN 10 ELSE state END, -1
                     FROM task)
             GROUP BY queue, state HAVING sum(count) <> 0",
    },
    Rule {
        text: "every schedule has a name, and says what its tasks are",
        broken_by: "SELECT 'schedule number ' || c.key FROM schedule c
             WHERE NOT EXISTS (SELECT 1 FROM name n WHERE n.key = c.key AND n.kind = 4)
                 OR NOT EXISTS (SELECT 1 FROM spec s WHERE s.task = c.key)",
    },
    Rule {
        // A schedule may be deleted, its name stays.
        text: "no two tasks are of one instant of a schedule, and each has its instant's name",
        broken_by: "SELECT 'task ' || min(named) FROM t WHERE schedule IS NOT NULL
             GROUP BY schedule, scheduled_for HAVING count(*) > 1
             UNION ALL SELECT 'task ' || named FROM t WHERE schedule IS NOT NULL AND named NOT GLOB
                 coalesce((SELECT text FROM name n WHERE n.key = t.schedule AND n.kind = 4), '') || '~*'",
    },
    Rule {
        // A source may be deleted, its name stays.
        text: "every source has a name, and every task that of one; the source default is there",
        broken_by: "SELECT 'source number ' || s.key FROM source s
             WHERE NOT EXISTS (SELECT 1 FROM name n WHERE n.key = s.key AND n.kind = 6)
             UNION ALL SELECT 'task ' || named FROM t
             WHERE NOT EXISTS (SELECT 1 FROM name n WHERE n.key = t.source AND n.kind = 6)
             UNION ALL SELECT 'no default' WHERE NOT EXISTS (SELECT 1 FROM source WHERE key = -1)",
    },
    Rule {
        text: "a bulk that runs has a time to wake, and one that has ended has an end and none",
        broken_by: "SELECT 'bulk ' || coalesce((SELECT text FROM name n WHERE n.key = b.key AND n.kind = 5), b.key)
             FROM bulk b WHERE (state = 1) <> (wake_at IS NOT NULL) OR (state = 1) <> (ended_at IS NULL)
                 OR NOT EXISTS (SELECT 1 FROM name n WHERE n.key = b.key AND n.kind = 5)",
    },
    Rule {
        text: "every task that a bulk has found has heard of it, or will",
        broken_by: "SELECT 'bulk ' || (SELECT text FROM name n WHERE n.key = b.key) || ' found ' || matched
                 || ' tasks, of which ' || (applied + refused) || ' have heard of it'
             FROM bulk b WHERE state IN (1, 2) AND matched <> applied + refused + (
                 SELECT count(*) FROM kept k WHERE k.kind = 10 AND k.other = b.key AND NOT k.quarantined)",
    },
    Rule {
        text: "nothing is left aside because deciding about it failed",
        broken_by: "SELECT 'task ' || named FROM t WHERE flags & 16
             UNION ALL SELECT 'schedule ' || (SELECT text FROM name n WHERE n.key = c.key) FROM schedule c WHERE quarantined
             UNION ALL SELECT 'bulk ' || (SELECT text FROM name n WHERE n.key = b.key) FROM bulk b WHERE state = 4
             UNION ALL SELECT 'follow-up ' || key || ' (kind ' || kind || ') about ' || subject
             FROM kept WHERE quarantined",
    },
];

/// Tasks with the name they are called by.
const TASKS: &str =
    "WITH t AS (SELECT *, coalesce((SELECT text FROM name n WHERE n.key = task.key AND n.kind = 1),
    'number ' || task.key) AS named FROM task) ";

impl SqliteStore {
    /// Looks at everything in the store. Reads all of it, and changes nothing.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn inspect(&self) -> rusqlite::Result<Inspection> {
        let count = |sql: &str| self.connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        Ok(Inspection {
            settings: self.settings()?,
            bytes: count("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")?,
            tasks: tasks_by_state(&self.connection)?,
            events: count("SELECT count(*) FROM event")?,
            parked: count("SELECT count(*) FROM parked")?,
            kept: count("SELECT count(*) FROM kept")?,
            held: held_since(&self.connection)?,
            violations: violations(&self.connection)?,
        })
    }
}

fn tasks_by_state(connection: &Connection) -> rusqlite::Result<Vec<(State, i64)>> {
    let mut statement =
        connection.prepare("SELECT state, count(*) FROM task GROUP BY state ORDER BY state")?;
    let rows = statement.query_map([], |row| Ok((row::state_of(row.get(0)?), row.get(1)?)))?;
    // One that this version does not know is a violation, and named there.
    rows.filter_map(|row| row.map(|(state, count)| Some((state?, count))).transpose()).collect()
}

fn violations(connection: &Connection) -> rusqlite::Result<Vec<Violation>> {
    let sound =
        violation(connection, "SQLite finds the file sound", "PRAGMA quick_check(100)", |text| text != "ok")?;
    let mut violations: Vec<Violation> = sound.into_iter().collect();
    for Rule { text, broken_by } in &RULES {
        violations.extend(violation(connection, text, &format!("{TASKS}{broken_by}"), |_| true)?);
    }
    Ok(violations)
}

fn violation(
    connection: &Connection,
    rule: &'static str,
    sql: &str,
    breaks: impl Fn(&str) -> bool,
) -> rusqlite::Result<Option<Violation>> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let (mut count, mut found) = (0, Vec::new());
    while let Some(row) = rows.next()? {
        let text: Option<String> = row.get(0)?;
        let text = text.unwrap_or_else(|| "a row that cannot be named".into());
        if breaks(&text) {
            count += 1;
            if found.len() < NAMED_MAX {
                found.push(text);
            }
        }
    }
    Ok((count > 0).then_some(Violation { rule, count, found }))
}
