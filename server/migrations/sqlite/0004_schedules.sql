-- Schedules, and which task is of which instant.

-- What a schedule says is in settings; what its tasks send is in spec, under the schedule's own key. Its times are those
-- that the machine's clock shows.
CREATE TABLE schedule (
    key           INTEGER PRIMARY KEY,
    settings      TEXT    NOT NULL,
    paused        INTEGER NOT NULL,
    quarantined   INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    decided_until INTEGER NOT NULL,
    wake_at       INTEGER,
    progress      TEXT    NOT NULL   -- counts, the newest instants, a backfill
);
CREATE INDEX schedule_due ON schedule (wake_at) WHERE wake_at IS NOT NULL;

ALTER TABLE task ADD COLUMN schedule INTEGER;
ALTER TABLE task ADD COLUMN scheduled_for INTEGER;
CREATE INDEX task_of_schedule ON task (schedule, key) WHERE schedule IS NOT NULL AND ended_at IS NULL;
