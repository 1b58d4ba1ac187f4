-- How tasks are watched over. What is NULL asks for nothing, and costs nothing.

ALTER TABLE task ADD COLUMN oversight TEXT;   -- what was asked for
ALTER TABLE task ADD COLUMN watch TEXT;       -- what is known of the newest attempt

-- Tasks whose callback is overdue: their remote was asked about the attempt that runs.
CREATE INDEX task_overdue ON task (queue)
    WHERE watch IS NOT NULL AND state = 5 AND json_extract(watch, '$.count') > 0;

-- Tasks that run and are watched over, by when they want to be looked at: a start looks at them.
CREATE INDEX task_watched ON task (wake_at) WHERE state = 5 AND watch IS NOT NULL;

ALTER TABLE spec ADD COLUMN status TEXT;
ALTER TABLE spec ADD COLUMN cancel_url TEXT;

-- The system queue of the calls to `cancel_url`. Keys that are given out are positive.
INSERT INTO name (key, namespace, kind, text) VALUES (-2, 1, 2, '@cancel');
INSERT INTO queue (key, settings, paused, open, paced) VALUES (-2, '{}', 0, 0, -9223372036854775808);

-- The id that a task was created with, for its remote to be known by: a task that is reopened takes it again.
ALTER TABLE spec ADD COLUMN external_id TEXT;
