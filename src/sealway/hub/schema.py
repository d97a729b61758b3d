# SPDX-License-Identifier: Apache-2.0
"""The hub's tables. Times are whole seconds since the Unix epoch.

Nothing in here is secret from the hub and nothing is proof to anyone: the ends verify whatever they are served.
"""

from __future__ import annotations

from typing import Final

# Version n is reached by running the n-th script; user_version says how far a database has come.
SCRIPTS: Final = (
    """
    CREATE TABLE tokens (
        digest BLOB PRIMARY KEY,            -- SHA-256 of the access token; the token itself is never stored
        name TEXT NOT NULL,
        role TEXT NOT NULL,
        expires INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE assertions (
        digest BLOB PRIMARY KEY,            -- SHA-256 of (name, jti): RFC 7523 section 3, item 7
        expires INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE credentials (
        x5t BLOB PRIMARY KEY,
        name TEXT NOT NULL,
        chain BLOB NOT NULL,
        expires INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE bundles (
        hash BLOB PRIMARY KEY,
        name TEXT NOT NULL,
        sequence INTEGER NOT NULL,
        encoded BLOB NOT NULL,
        one_time BLOB NOT NULL,             -- all one-time public keys, 32 bytes each, for the Merkle paths
        expires INTEGER NOT NULL,
        UNIQUE (name, sequence)
    );
    CREATE TABLE one_time (                 -- indices not handed out yet, of the newest bundle only
        name TEXT NOT NULL,
        hash BLOB NOT NULL,
        idx INTEGER NOT NULL,
        PRIMARY KEY (name, idx)
    ) WITHOUT ROWID;
    CREATE TABLE consents (
        mailbox TEXT NOT NULL,
        gateway TEXT NOT NULL,
        encoded BLOB NOT NULL,
        issued INTEGER NOT NULL,
        expires INTEGER NOT NULL,
        PRIMARY KEY (mailbox, gateway)
    ) WITHOUT ROWID;
    CREATE TABLE mailboxes (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        held INTEGER NOT NULL DEFAULT 0,    -- envelopes held
        bytes INTEGER NOT NULL DEFAULT 0
    ) WITHOUT ROWID;
    CREATE TABLE envelopes (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        mailbox TEXT NOT NULL,
        digest BLOB NOT NULL,
        envelope BLOB NOT NULL,
        expires INTEGER NOT NULL,
        UNIQUE (mailbox, digest)
    );
    CREATE INDEX envelopes_waiting ON envelopes (mailbox, sequence);
    CREATE INDEX envelopes_expiry ON envelopes (expires);
    CREATE INDEX bundles_expiry ON bundles (expires);
    CREATE TRIGGER envelope_held AFTER INSERT ON envelopes BEGIN
        UPDATE mailboxes SET held = held + 1, bytes = bytes + length(new.envelope) WHERE id = new.mailbox;
    END;
    CREATE TRIGGER envelope_gone AFTER DELETE ON envelopes BEGIN
        UPDATE mailboxes SET held = held - 1, bytes = bytes - length(old.envelope) WHERE id = old.mailbox;
    END;
    """,
    """
    -- No index over random digests in the way of a deposit: see digests.py. Counts of what arrives are kept by whoever
    -- inserts, a batch at a time; numbers once given stay given.
    DROP TRIGGER envelope_held;
    DROP TRIGGER envelope_gone;
    DROP INDEX envelopes_waiting;
    DROP INDEX envelopes_expiry;
    ALTER TABLE envelopes RENAME TO envelopes_before;
    CREATE TABLE envelopes (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        mailbox TEXT NOT NULL,
        digest BLOB NOT NULL,               -- the first 16 bytes of the envelope's SHA-256
        envelope BLOB NOT NULL,
        expires INTEGER NOT NULL
    );
    INSERT INTO envelopes SELECT sequence, mailbox, substr(digest, 1, 16), envelope, expires FROM envelopes_before;
    DELETE FROM sqlite_sequence WHERE name = 'envelopes';
    INSERT INTO sqlite_sequence SELECT 'envelopes', seq FROM sqlite_sequence WHERE name = 'envelopes_before';
    DROP TABLE envelopes_before;
    CREATE INDEX envelopes_waiting ON envelopes (mailbox, sequence);
    CREATE INDEX envelopes_expiry ON envelopes (expires);
    CREATE TABLE digests (                  -- of the envelopes held up to a certain number, the one in digested
        mailbox TEXT NOT NULL,
        digest BLOB NOT NULL,
        sequence INTEGER NOT NULL,
        PRIMARY KEY (mailbox, digest)
    ) WITHOUT ROWID;
    CREATE TABLE digested (sequence INTEGER NOT NULL);
    INSERT INTO digested VALUES (0);
    CREATE TRIGGER envelope_gone AFTER DELETE ON envelopes BEGIN
        UPDATE mailboxes SET held = held - 1, bytes = bytes - length(old.envelope) WHERE id = old.mailbox;
        DELETE FROM digests WHERE mailbox = old.mailbox AND digest = old.digest AND sequence = old.sequence;
    END;
    """,
)
