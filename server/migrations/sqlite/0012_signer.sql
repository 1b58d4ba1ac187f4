-- The queue whose secret signs the requests of a task; NULL: its own. A call to a cancel_url is signed as the task was that
-- it is about.
ALTER TABLE spec ADD COLUMN signer INTEGER;
