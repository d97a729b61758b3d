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
    -- Rows and indexes as small as they can be: what a deposit has to write is what it costs. See digests.py.
    DROP TRIGGER envelope_held;
    DROP TRIGGER envelope_gone;
    DROP INDEX envelopes_waiting;
    DROP INDEX envelopes_expiry;
    ALTER TABLE mailboxes RENAME TO mailboxes_before;
    ALTER TABLE envelopes RENAME TO envelopes_before;
    CREATE TABLE mailboxes (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        held INTEGER NOT NULL DEFAULT 0,    -- envelopes held: counted up with each batch, down by the trigger below
        bytes INTEGER NOT NULL DEFAULT 0
    );
    CREATE TABLE envelopes (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        mailbox INTEGER NOT NULL,           -- its number
        digest INTEGER,                     -- of the mailbox and the envelope
        envelope BLOB NOT NULL,
        expires INTEGER NOT NULL,
        early INTEGER NOT NULL              -- 1 if it expires before its time, because its sender wants it so
    );
    INSERT INTO mailboxes (id, name, held, bytes) SELECT id, name, held, bytes FROM mailboxes_before;
    INSERT INTO envelopes SELECT sequence, number, NULL, envelope, expires, 1
        FROM envelopes_before JOIN mailboxes ON id = mailbox ORDER BY sequence;
    DELETE FROM sqlite_sequence WHERE name = 'envelopes';
    INSERT INTO sqlite_sequence SELECT 'envelopes', seq FROM sqlite_sequence WHERE name = 'envelopes_before';
    DROP TABLE envelopes_before;
    DROP TABLE mailboxes_before;
    CREATE INDEX envelopes_waiting ON envelopes (mailbox);
    CREATE INDEX envelopes_early ON envelopes (expires) WHERE early = 1;
    CREATE TABLE digests (                  -- of envelopes with numbers up to the one in digested; some may have gone
        digest INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        PRIMARY KEY (digest, sequence)
    ) WITHOUT ROWID;
    CREATE TABLE digested (sequence INTEGER NOT NULL);
    INSERT INTO digested VALUES (0);
    CREATE TRIGGER envelope_gone AFTER DELETE ON envelopes BEGIN
        UPDATE mailboxes SET held = held - 1, bytes = bytes - length(old.envelope) WHERE number = old.mailbox;
    END;
    """,
    """
    -- A batch for one mailbox is one row: see parcels.py. An envelope of before becomes a parcel of its own.
    CREATE TABLE parcels (
        last INTEGER PRIMARY KEY AUTOINCREMENT,  -- the sequence number of its last envelope; the others' come before
        mailbox INTEGER NOT NULL,           -- its number
        expires INTEGER NOT NULL,
        early INTEGER NOT NULL,             -- 1 if it expires before its time, because its sender wants it so
        held INTEGER NOT NULL,              -- envelopes that have not gone
        sizes TEXT NOT NULL,                -- of each envelope, in bytes; 0 for one that has gone
        content BLOB NOT NULL               -- the envelopes, joined
    );
    INSERT INTO parcels SELECT sequence, mailbox, expires, early, 1, length(envelope), envelope
        FROM envelopes ORDER BY sequence;
    DELETE FROM sqlite_sequence WHERE name = 'parcels';
    INSERT INTO sqlite_sequence SELECT 'parcels', seq FROM sqlite_sequence WHERE name = 'envelopes';
    DROP TABLE envelopes;
    CREATE INDEX parcels_waiting ON parcels (mailbox);
    CREATE INDEX parcels_early ON parcels (expires) WHERE early = 1;
    CREATE TRIGGER parcel_gone AFTER DELETE ON parcels BEGIN
        UPDATE mailboxes SET held = held - old.held, bytes = bytes - length(old.content) WHERE number = old.mailbox;
    END;
    CREATE TRIGGER parcel_thinned AFTER UPDATE OF content ON parcels BEGIN
        UPDATE mailboxes SET held = held - old.held + new.held,
            bytes = bytes - length(old.content) + length(new.content) WHERE number = old.mailbox;
    END;
    -- Now named by their parcels; those of before are named by themselves, which is the same.
    ALTER TABLE digests RENAME COLUMN sequence TO last;
    ALTER TABLE digested RENAME COLUMN sequence TO last;
    """,
)
