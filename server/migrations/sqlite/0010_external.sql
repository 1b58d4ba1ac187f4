-- The remotes' own ids of tasks, by which webhooks may name them, and what more is kept of a webhook.

-- The name is `source`, a new line, and the id. Webhooks that name it before it stands for a task are parked under it.
CREATE TABLE external (
    key      INTEGER PRIMARY KEY,  -- of its name
    task     INTEGER NOT NULL,
    attempt  INTEGER,              -- the one that was answered with it; NULL: whichever is current
    known_at INTEGER NOT NULL      -- what was received more than a day before is not about it
);
CREATE INDEX external_task ON external (task);

ALTER TABLE spec ADD COLUMN correlate TEXT;
ALTER TABLE event ADD COLUMN external_id TEXT;
ALTER TABLE event ADD COLUMN query TEXT;           -- without credentials
