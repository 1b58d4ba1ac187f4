-- Bulks: a command to every task that a filter lets through. docs/adr/0014-bulk.md has the reasons.

CREATE TABLE bulk (
    key      INTEGER PRIMARY KEY,
    settings TEXT    NOT NULL,   -- the command, the filter and the rate
    state    INTEGER NOT NULL,
    began_at INTEGER NOT NULL,
    ended_at INTEGER,
    until    INTEGER NOT NULL,   -- the newest task there was when it began
    after    INTEGER NOT NULL,   -- every task up to this one was looked at
    matched  INTEGER NOT NULL,
    applied  INTEGER NOT NULL,
    refused  INTEGER NOT NULL,
    paced    INTEGER NOT NULL,   -- the state of its rate
    wake_at  INTEGER
);
CREATE INDEX bulk_due ON bulk (wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX bulk_ended ON bulk (key) WHERE state <> 1;
