-- Sources, which of them may report on a task, and secrets that are sealed.

-- What a source says is in definition, without a secret; its secrets are sealed.
CREATE TABLE source (
    key        INTEGER PRIMARY KEY,
    definition TEXT    NOT NULL,
    secrets    TEXT    NOT NULL,
    created_at INTEGER NOT NULL
);
-- The source `default` is always there. Keys that are given out are positive.
INSERT INTO name (key, namespace, kind, text) VALUES (-1, 1, 6, 'default');
INSERT INTO source (key, definition, secrets, created_at) VALUES (-1, '{}', '[]', 0);

-- When a secret proved a request last, to within a minute.
CREATE TABLE secret_use (
    secret BLOB    NOT NULL PRIMARY KEY,
    at     INTEGER NOT NULL
) WITHOUT ROWID;

ALTER TABLE task ADD COLUMN source INTEGER NOT NULL DEFAULT -1;
ALTER TABLE event ADD COLUMN secret BLOB;               -- the one that proved it
ALTER TABLE event ADD COLUMN may_report INTEGER NOT NULL DEFAULT 0; -- it came by a callback URL or with a key, so from no source
ALTER TABLE parked ADD COLUMN source INTEGER DEFAULT -1; -- NULL: it came with a key that may report on any task

-- Plain ones are sealed by the next start.
ALTER TABLE secret ADD COLUMN sealed INTEGER NOT NULL DEFAULT 0;
