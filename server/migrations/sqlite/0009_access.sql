-- API keys, and who changed what through the API. docs/adr/0017-access.md has the reasons.

-- Of a key there is its hash; whoever has this file has no key.
CREATE TABLE api_key (
    id         BLOB    NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE,
    role       INTEGER NOT NULL,
    hash       BLOB    NOT NULL,
    hint       TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER
);

-- One row for each request that changed something. It tells itself all there is to tell: the key may be gone.
CREATE TABLE audit (
    key      INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL,
    action   TEXT    NOT NULL,
    subject  TEXT    NOT NULL,
    count    INTEGER NOT NULL,
    api_key  BLOB,           -- NULL: nobody had to say who they are
    key_name TEXT,
    address  TEXT    NOT NULL,
    request  BLOB    NOT NULL
);
