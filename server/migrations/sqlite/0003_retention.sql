-- What a sweep finds old rows by, and what it must not lose. docs/adr/0009-retention.md has the reasons.

-- Appended to, once for each task that ends.
CREATE INDEX task_ended ON task (queue, ended_at) WHERE ended_at IS NOT NULL;

-- An edge goes with its child. Appended to, since children are newer than what they wait for.
CREATE INDEX edge_child ON edge (child);

CREATE INDEX kept_subject ON kept (subject);

-- Delivery ids, with the day on which they were claimed.
ALTER TABLE claim RENAME TO claim_before;
CREATE TABLE claim (
    claim BLOB    NOT NULL PRIMARY KEY,
    event BLOB    NOT NULL,
    day   INTEGER NOT NULL   -- since 1970-01-01
) WITHOUT ROWID;
INSERT INTO claim (claim, event, day) SELECT claim, event, at / 86400000000 FROM claim_before ORDER BY claim;
DROP TABLE claim_before;

-- Where the history of a pruned task goes on that was too long for one step.
CREATE TABLE left_history (
    position INTEGER PRIMARY KEY
);

-- The next keys when rows were pruned last, so that none of them ever comes back, and until which day delivery ids
-- and answers were looked through.
CREATE TABLE swept (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    key      INTEGER NOT NULL,
    event    INTEGER NOT NULL,
    position INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    day      INTEGER NOT NULL
);
INSERT INTO swept (one, key, event, position, at, day) VALUES (1, 0, 0, 0, 0, 0);
