-- Queues with limits. Tasks that are due stand in lines, one for each queue, rank and concurrency key (0: none).

ALTER TABLE task ADD COLUMN concurrency_key INTEGER NOT NULL DEFAULT 0;
ALTER TABLE spec ADD COLUMN concurrency_key TEXT;
DROP INDEX task_ready;
CREATE INDEX task_ready ON task (queue, rank, concurrency_key, host, due_at, key) WHERE state = 3;

CREATE TABLE queue (
    key      INTEGER PRIMARY KEY,
    settings TEXT    NOT NULL,
    paused   INTEGER NOT NULL,
    open     INTEGER NOT NULL,   -- attempts of its tasks that are open
    paced    INTEGER NOT NULL,   -- the state of its rate
    wake_at  INTEGER
);
CREATE INDEX queue_due ON queue (wake_at) WHERE wake_at IS NOT NULL;
INSERT INTO queue (key, settings, paused, open, paced)
    SELECT 1, '{}', 0, count(*), -9223372036854775808 FROM task WHERE state IN (4, 5) AND host IS NOT NULL;

-- Lines of which a task may be able to start. One that is not here waits for a task, for its key (key_use.closed), or
-- for a place with a host (host_wait).
CREATE TABLE line (
    queue           INTEGER NOT NULL,
    rank            INTEGER NOT NULL,
    concurrency_key INTEGER NOT NULL,
    PRIMARY KEY (queue, rank, concurrency_key)
) WITHOUT ROWID;
INSERT INTO line SELECT DISTINCT queue, rank, 0 FROM task WHERE state = 3;

-- The line that had the last turn.
CREATE TABLE turn (
    queue           INTEGER NOT NULL,
    rank            INTEGER NOT NULL,
    concurrency_key INTEGER NOT NULL,
    PRIMARY KEY (queue, rank)
) WITHOUT ROWID;

-- What the tasks of one key have of their queue's limits; no row: nothing.
CREATE TABLE key_use (
    queue           INTEGER NOT NULL,
    concurrency_key INTEGER NOT NULL,
    open            INTEGER NOT NULL,
    waiting         INTEGER NOT NULL,   -- tasks that are queued
    paced           INTEGER NOT NULL,
    closed          INTEGER NOT NULL,   -- 1: at its limit, 2: at its rate until free_at
    free_at         INTEGER,
    PRIMARY KEY (queue, concurrency_key)
) WITHOUT ROWID;
CREATE INDEX key_at_limit ON key_use (queue, open) WHERE closed = 1;
CREATE INDEX key_at_rate ON key_use (queue, free_at) WHERE closed = 2;

-- Lines that wait for a place with a host, in the order in which they began to.
CREATE TABLE host_wait (
    seq             INTEGER PRIMARY KEY,
    host            INTEGER NOT NULL,
    queue           INTEGER NOT NULL,
    rank            INTEGER NOT NULL,
    concurrency_key INTEGER NOT NULL,
    UNIQUE (queue, rank, concurrency_key, host)
);
CREATE INDEX host_wait_next ON host_wait (host, rank, seq);

-- How many tasks of each queue are in each state; those that are scheduled for a retry count as state 10.
CREATE TABLE task_count (
    queue INTEGER NOT NULL,
    state INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (queue, state)
) WITHOUT ROWID;
INSERT INTO task_count SELECT queue, CASE WHEN state = 2 AND attempts_before < attempt THEN 10 ELSE state END AS counted, count(*)
    FROM task GROUP BY queue, counted;
