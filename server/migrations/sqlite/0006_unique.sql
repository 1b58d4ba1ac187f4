-- Unique keys: at most one task holds each. docs/adr/0013-unique.md has the reasons.

ALTER TABLE task ADD COLUMN unique_key BLOB;      -- a hash; NULL: it asks for none
ALTER TABLE task ADD COLUMN unique_for INTEGER;   -- from its creation; NULL: until it has ended
ALTER TABLE spec ADD COLUMN unique_key TEXT;

-- Found by the hash alone, so that a creation contends for one row.
CREATE TABLE held_key (
    hash  BLOB    NOT NULL PRIMARY KEY,
    task  INTEGER NOT NULL,
    until INTEGER              -- NULL: until its task has ended, which takes the row away
) WITHOUT ROWID;
