-- Whether the server is held: it receives, and sends nothing.
CREATE TABLE hold (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    since INTEGER   -- NULL: it is not held
);
INSERT INTO hold (one, since) VALUES (1, NULL);
