-- Times are integer microseconds since 1970 (UTC). Numbers for kinds and states are those of store/row.rs.
-- Rows are found under small sequential keys; an outside name is in one index only.

CREATE TABLE name (
    key        INTEGER PRIMARY KEY,
    namespace  INTEGER NOT NULL,   -- always 1 so far
    kind       INTEGER NOT NULL,
    text       TEXT    NOT NULL,
    UNIQUE (namespace, kind, text)
);
INSERT INTO name (key, namespace, kind, text) VALUES (1, 1, 2, 'default');

-- What decisions look at: one narrow row for each task. The upper part never changes.
CREATE TABLE task (
    key                INTEGER PRIMARY KEY,
    queue              INTEGER NOT NULL,
    rank               INTEGER NOT NULL,   -- minus the priority, so that indexes run upwards
    host               INTEGER,            -- NULL: an external task
    completion         INTEGER NOT NULL,
    run_at             INTEGER NOT NULL,
    timeout            INTEGER,
    request_timeout    INTEGER NOT NULL,
    retry_max_attempts INTEGER NOT NULL,
    retry_initial      INTEGER NOT NULL,
    retry_factor       REAL    NOT NULL,
    retry_max          INTEGER NOT NULL,
    payload_bytes      INTEGER NOT NULL,
    content            BLOB    NOT NULL,
    created_at         INTEGER NOT NULL,

    state                INTEGER NOT NULL,
    due_at               INTEGER NOT NULL,
    wake_at              INTEGER,
    generation           INTEGER NOT NULL,
    dependencies_pending INTEGER NOT NULL,
    dependencies_broken  INTEGER NOT NULL,
    flags                INTEGER NOT NULL,
    attempt              INTEGER NOT NULL,  -- 0: none yet
    attempt_began_at     INTEGER NOT NULL,
    attempt_sent_at      INTEGER NOT NULL,
    attempt_sends        INTEGER NOT NULL,
    attempts_before      INTEGER NOT NULL,
    attempts_used        INTEGER NOT NULL,
    progress             REAL,
    message              TEXT,
    ended_at             INTEGER,
    notes                INTEGER NOT NULL,
    last_change          INTEGER NOT NULL   -- the newest entry of its history
);
CREATE INDEX task_ready ON task (queue, rank, host, due_at, key) WHERE state = 3;
CREATE INDEX task_due ON task (wake_at) WHERE wake_at IS NOT NULL;

-- What only people and the dispatcher look at. It never changes.
CREATE TABLE spec (
    task    INTEGER PRIMARY KEY,
    name    TEXT,
    method  TEXT,
    url     TEXT,
    headers TEXT,
    labels  TEXT,
    after   TEXT,
    payload BLOB
);

CREATE TABLE edge (
    parent     INTEGER NOT NULL,
    child      INTEGER NOT NULL,
    "on"       INTEGER NOT NULL,
    status     INTEGER NOT NULL,
    generation INTEGER NOT NULL,   -- of the parent, when the status was learnt
    PRIMARY KEY (parent, child)
) WITHOUT ROWID;

-- Append-only. The entries of one task are chained from the newest (task.last_change) to the oldest, so that
-- writing history is sequential and needs no index.
CREATE TABLE history (
    position  INTEGER PRIMARY KEY,
    task      INTEGER NOT NULL,
    previous  INTEGER NOT NULL,   -- 0: the first entry
    at        INTEGER NOT NULL,
    cause     INTEGER NOT NULL,
    cause_key INTEGER,
    change    INTEGER NOT NULL,
    attempt   INTEGER,
    detail    TEXT,
    body      BLOB
);

-- Append-only, but for the outcome of a webhook that came before its task.
CREATE TABLE event (
    key          INTEGER PRIMARY KEY,
    id           BLOB    NOT NULL UNIQUE,
    received_at  INTEGER NOT NULL,
    source       TEXT    NOT NULL,
    name         TEXT,
    task         INTEGER,
    task_name    TEXT,
    attempt      INTEGER,
    delivery_id  TEXT,
    outcome      INTEGER NOT NULL,
    reason       TEXT,
    duplicate_of BLOB,
    replay_of    BLOB,
    headers      TEXT    NOT NULL,
    body         BLOB    NOT NULL
);

CREATE INDEX event_rejected ON event (key) WHERE outcome = 7;

CREATE TABLE parked (
    task   INTEGER NOT NULL,
    event  INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    mapped TEXT    NOT NULL,
    PRIMARY KEY (task, event)
) WITHOUT ROWID;

CREATE TABLE claim (
    claim BLOB    NOT NULL PRIMARY KEY,
    event BLOB    NOT NULL,
    at    INTEGER NOT NULL
) WITHOUT ROWID;

-- Requests that happen at most once, and what their repeats are answered. No status: the process ended between
-- the request and its answer.
CREATE TABLE answer (
    claim   BLOB    NOT NULL PRIMARY KEY,
    request BLOB    NOT NULL,
    at      INTEGER NOT NULL,
    tasks   TEXT,            -- the tasks it created or changed, and
    event   BLOB,            -- the webhook it took in: what the answer can be made from again
    status  INTEGER,
    body    BLOB
) WITHOUT ROWID;

-- Follow-ups that did not fit into their transaction.
CREATE TABLE kept (
    key         INTEGER PRIMARY KEY,
    kind        INTEGER NOT NULL,
    subject     INTEGER NOT NULL,
    other       INTEGER NOT NULL,
    generation  INTEGER NOT NULL,
    "end"       INTEGER NOT NULL,
    quarantined INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE secret (
    name  TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
);
