-- Format 1, as the first release made it. For tests of how older databases are brought on; never to be changed.
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value INTEGER NOT NULL,
    seal INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE session (
    id INTEGER PRIMARY KEY,
    client_id TEXT NOT NULL,
    mount_point TEXT NOT NULL,
    owner TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    expiry_interval INTEGER NOT NULL,
    expires_at INTEGER,
    sent_through INTEGER NOT NULL,
    window INTEGER NOT NULL,
    will BLOB,
    seal INTEGER NOT NULL
);
CREATE TABLE subscription (
    session INTEGER NOT NULL,
    filter TEXT NOT NULL,
    options INTEGER NOT NULL,
    identifier INTEGER NOT NULL,
    seal INTEGER NOT NULL,
    PRIMARY KEY (session, filter)
) WITHOUT ROWID;
CREATE TABLE message (
    id INTEGER PRIMARY KEY,
    refs INTEGER NOT NULL,
    qos INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    expires_at INTEGER,
    topic TEXT NOT NULL,
    forwarded BLOB,
    payload BLOB NOT NULL,
    seal INTEGER NOT NULL
);
CREATE TABLE delivery (
    session INTEGER NOT NULL,
    number INTEGER NOT NULL,
    message INTEGER,
    flags INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    identifiers BLOB,
    seal INTEGER NOT NULL,
    PRIMARY KEY (session, number)
) WITHOUT ROWID;
CREATE TABLE received (
    session INTEGER NOT NULL,
    packet_id INTEGER NOT NULL,
    seal INTEGER NOT NULL,
    PRIMARY KEY (session, packet_id)
) WITHOUT ROWID;
CREATE TABLE retained (
    topic TEXT PRIMARY KEY,
    qos INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    expires_at INTEGER,
    forwarded BLOB,
    payload BLOB NOT NULL,
    seal INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE arrival (
    place INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    number INTEGER NOT NULL,
    message INTEGER,
    flags INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    identifiers BLOB,
    seal INTEGER NOT NULL
);
