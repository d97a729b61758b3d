# SPDX-License-Identifier: Apache-2.0
"""The tables of an endpoint's state. Times are Unix milliseconds unless a column says otherwise.

The columns in WRAPPED hold keys. Each is under a key of its own, which its slot finds and which is forgotten with it
(sealway.vault); the directory is readable by its owner only.
"""

from __future__ import annotations

from typing import Final

from sealway.vault import vault
from sealway.vault.vault import Place

DATABASE: Final = "state.sqlite"

SESSION: Final = b"session"
SIGNED_PREKEY: Final = b"signed prekey"
ONE_TIME: Final = b"one-time key"
FILE: Final = b"file key"
SENT: Final = b"message with a file key"
"""As what a value is wrapped."""

WRAPPED: Final = (
    Place("sessions", "state"),
    Place("prekeys", "signed_prekey"),
    Place("one_time", "scalar"),
    Place("files", "key"),
    Place("sent", "message"),
)

SCRIPTS: Final = (
    """
    CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE marks (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE prekeys (                  -- own bundles whose private halves still exist
        id BLOB PRIMARY KEY,
        encoded BLOB NOT NULL,
        sequence INTEGER NOT NULL,
        signed_prekey BLOB NOT NULL,        -- and the seed of its ML-KEM key behind it, if it has one
        issued INTEGER NOT NULL,            -- seconds
        expires INTEGER NOT NULL            -- seconds
    ) WITHOUT ROWID;
    CREATE TABLE one_time (                 -- a row is deleted in the transaction that accepts a start with it
        bundle BLOB NOT NULL REFERENCES prekeys (id) ON DELETE CASCADE,
        idx INTEGER NOT NULL,
        scalar BLOB NOT NULL,
        PRIMARY KEY (bundle, idx)
    ) WITHOUT ROWID;
    CREATE TABLE starts (                   -- accepted starts, remembered as long as their signed prekey
        x5t BLOB NOT NULL,
        ephemeral BLOB NOT NULL,
        session BLOB NOT NULL,
        bundle BLOB NOT NULL,
        one_time INTEGER,
        PRIMARY KEY (x5t, ephemeral)
    ) WITHOUT ROWID;
    CREATE TABLE sessions (
        hash BLOB PRIMARY KEY,
        peer TEXT NOT NULL,
        kid BLOB NOT NULL,
        mailbox TEXT NOT NULL,              -- the peer's
        newest BLOB NOT NULL,               -- the newest session that its start named, or empty
        x5t BLOB NOT NULL,                  -- SHA-256 of the peer's certificate
        created INTEGER NOT NULL,
        state BLOB,                         -- a snapshot; NULL once the session is closed
        closed INTEGER,
        resumed INTEGER,                    -- lowest number sealed since an opening that no receipt confirms
        offered INTEGER,                    -- when a hop first took its start
        leaving INTEGER NOT NULL DEFAULT 0  -- its messages have to move to another session; see Leaving
    ) WITHOUT ROWID;
    CREATE TABLE windows (                  -- numbers opened in closed sessions, and first identities of moved messages
        peer TEXT NOT NULL,
        session BLOB NOT NULL,
        ranges BLOB NOT NULL,
        updated INTEGER NOT NULL,
        PRIMARY KEY (peer, session)
    ) WITHOUT ROWID;
    CREATE TABLE peers (
        name TEXT PRIMARY KEY,
        sending BLOB,                       -- hash of the session to send on
        sequence INTEGER NOT NULL DEFAULT 0 -- highest bundle sequence seen
    ) WITHOUT ROWID;
    CREATE TABLE sent (                     -- own sealed messages: bytes until acknowledged; tags
        session BLOB NOT NULL,
        number INTEGER NOT NULL,
        tag BLOB NOT NULL,
        boot BLOB NOT NULL,
        uptime INTEGER NOT NULL,            -- milliseconds since that boot
        sealed INTEGER NOT NULL,
        first_session BLOB,
        first_number INTEGER,
        message BLOB,
        envelope BLOB,
        PRIMARY KEY (session, number)
    ) WITHOUT ROWID;
    CREATE INDEX sent_waiting ON sent (session, number) WHERE envelope IS NOT NULL;
    CREATE TABLE inbox (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        peer TEXT NOT NULL,
        via BLOB NOT NULL,                  -- the session that it came in
        session BLOB NOT NULL,              -- first identity
        number INTEGER NOT NULL,
        received INTEGER NOT NULL,
        sent_at INTEGER,
        expires INTEGER,                    -- seconds; after this it must not be acted on
        envelope_bytes INTEGER NOT NULL,
        message_bytes INTEGER NOT NULL,
        event INTEGER NOT NULL,             -- 1: neither a request nor a response
        message BLOB                        -- NULL once handled
    );
    CREATE INDEX inbox_handled ON inbox (id) WHERE message IS NULL;
    CREATE INDEX inbox_waiting ON inbox (id) WHERE message IS NOT NULL;
    CREATE TABLE executed (                 -- requests begun here: at most once each
        peer TEXT NOT NULL,
        request BLOB NOT NULL,
        begun INTEGER NOT NULL,
        answer BLOB,                        -- NULL while it runs
        PRIMARY KEY (peer, request)
    ) WITHOUT ROWID;
    CREATE TABLE asked (                    -- requests sent from here
        request BLOB PRIMARY KEY,
        peer TEXT NOT NULL,
        message BLOB NOT NULL,
        asked INTEGER NOT NULL,
        deadline INTEGER NOT NULL,
        max_age INTEGER NOT NULL,           -- seconds
        answer BLOB,                        -- NULL while none came
        answered INTEGER
    ) WITHOUT ROWID;
    CREATE TABLE certificates (x5t BLOB PRIMARY KEY, chain BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE grants (digest BLOB PRIMARY KEY, holder TEXT NOT NULL, encoded BLOB NOT NULL) WITHOUT ROWID;
    """,
    """
    CREATE TABLE files (                    -- keys of sealed files that were not opened yet
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        peer TEXT NOT NULL,
        received INTEGER NOT NULL,
        key BLOB NOT NULL                   -- deleted once the file was handed out whole
    );
    CREATE INDEX files_of_peer ON files (peer, id);
    """,
    """
    CREATE TABLE set_aside (                -- what repair took out, in counts only: no key and no content is kept
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        what TEXT NOT NULL,                 -- session, bundle, window, certificate, message
        peer TEXT NOT NULL,                 -- as far as it could be read
        session TEXT NOT NULL,              -- its hash in hex, or empty
        why TEXT NOT NULL,
        bytes INTEGER NOT NULL,             -- of the damaged row
        unacknowledged INTEGER NOT NULL,    -- own messages that it owed
        opened INTEGER NOT NULL             -- numbers of the peer that the inbox still remembers
    );
    """,
    vault.SCRIPT,
    """
    ALTER TABLE sessions ADD COLUMN slot INTEGER;   -- of its state
    ALTER TABLE prekeys ADD COLUMN slot INTEGER;    -- of signed_prekey
    ALTER TABLE one_time ADD COLUMN slot INTEGER;   -- of scalar
    ALTER TABLE files ADD COLUMN slot INTEGER;      -- of key
    CREATE TRIGGER session_closed AFTER UPDATE OF state ON sessions
        WHEN NEW.state IS NULL AND OLD.state IS NOT NULL AND typeof(OLD.slot) = 'integer'
        BEGIN INSERT OR IGNORE INTO vault_freed VALUES (OLD.slot); END;
    CREATE TRIGGER session_deleted AFTER DELETE ON sessions
        WHEN OLD.state IS NOT NULL AND typeof(OLD.slot) = 'integer'
        BEGIN INSERT OR IGNORE INTO vault_freed VALUES (OLD.slot); END;
    CREATE TRIGGER prekey_deleted AFTER DELETE ON prekeys WHEN typeof(OLD.slot) = 'integer'
        BEGIN INSERT OR IGNORE INTO vault_freed VALUES (OLD.slot); END;
    CREATE TRIGGER one_time_deleted AFTER DELETE ON one_time WHEN typeof(OLD.slot) = 'integer'
        BEGIN INSERT OR IGNORE INTO vault_freed VALUES (OLD.slot); END;
    CREATE TRIGGER file_deleted AFTER DELETE ON files WHEN typeof(OLD.slot) = 'integer'
        BEGIN INSERT OR IGNORE INTO vault_freed VALUES (OLD.slot); END;
    """,
    """
    ALTER TABLE sent ADD COLUMN slot INTEGER;       -- of its message, if that carries a key
    CREATE INDEX sent_wrapped ON sent (slot) WHERE slot IS NOT NULL;
    CREATE TRIGGER sent_emptied AFTER UPDATE OF message ON sent
        WHEN typeof(OLD.slot) = 'integer' AND NEW.message IS NULL AND OLD.message IS NOT NULL
        BEGIN INSERT OR IGNORE INTO vault_freed VALUES (OLD.slot); END;
    CREATE TRIGGER sent_deleted AFTER DELETE ON sent
        WHEN typeof(OLD.slot) = 'integer' AND OLD.message IS NOT NULL
        BEGIN INSERT OR IGNORE INTO vault_freed VALUES (OLD.slot); END;
    """,
    """
    CREATE TABLE sessions_now (             -- appended to, so that its pages are full
        id INTEGER PRIMARY KEY,
        hash BLOB NOT NULL,
        peer TEXT NOT NULL,
        peer_key INTEGER NOT NULL DEFAULT 0, -- of its name: what an index of names would take up is a tenth of all
        kid BLOB NOT NULL,
        mailbox TEXT NOT NULL,              -- the peer's; empty if it is the one that its name gives
        newest BLOB NOT NULL,               -- the newest session that its start named, or empty
        x5t BLOB NOT NULL,                  -- SHA-256 of the peer's certificate
        created INTEGER NOT NULL,
        slot INTEGER,                       -- of its state
        state BLOB,                         -- a snapshot; NULL once the session is closed
        closed INTEGER,
        resumed INTEGER,                    -- lowest number sealed since an opening that no receipt confirms
        offered INTEGER,                    -- when a hop first took its start
        leaving INTEGER NOT NULL DEFAULT 0, -- its messages have to move to another session; see Leaving
        opening INTEGER NOT NULL DEFAULT 0, -- of the directory, in which the state was written
        sealed INTEGER NOT NULL DEFAULT 0,  -- when its newest message was, in seconds
        reported INTEGER NOT NULL DEFAULT -1, -- highest number that was reported as unacknowledged
        due INTEGER,                        -- when time has something to do with it, or earlier
        unanswered INTEGER NOT NULL DEFAULT 0, -- 1: its start is
        stored INTEGER NOT NULL DEFAULT 0,  -- secrets for what was jumped over
        shown INTEGER NOT NULL DEFAULT 0    -- 1: a grant was, in it
    );
    INSERT INTO sessions_now (
            hash, peer, kid, mailbox, newest, x5t, created, slot, state, closed, resumed, offered, leaving, due
        ) SELECT hash, peer, kid, mailbox, newest, x5t, created, slot, state, closed, resumed, offered, leaving, 0
        FROM sessions ORDER BY created;
    CREATE TABLE peers_now (
        name TEXT PRIMARY KEY,
        sending INTEGER,                    -- the session to send on
        sequence INTEGER NOT NULL DEFAULT 0 -- highest bundle sequence seen
    ) WITHOUT ROWID;
    INSERT INTO peers_now
        SELECT name, (SELECT id FROM sessions_now WHERE hash = sending), sequence FROM peers;
    DROP TABLE peers;
    ALTER TABLE peers_now RENAME TO peers;
    DROP TABLE starts;                      -- of sessions that no version reads any more
    CREATE TABLE starts (                   -- accepted starts, remembered as long as their signed prekey
        start BLOB PRIMARY KEY,             -- SHA-256, 16 bytes, of certificate hash and ephemeral key
        session INTEGER NOT NULL,
        bundle BLOB NOT NULL,
        one_time INTEGER
    ) WITHOUT ROWID;
    DROP TABLE sessions;
    ALTER TABLE sessions_now RENAME TO sessions;
    CREATE UNIQUE INDEX sessions_hash ON sessions (hash);
    CREATE INDEX sessions_kid ON sessions (kid);
    CREATE INDEX sessions_peer ON sessions (peer_key);
    CREATE INDEX sessions_due ON sessions (due) WHERE due IS NOT NULL;
    CREATE INDEX sessions_leaving ON sessions (id) WHERE leaving IN (1, 3);
    CREATE INDEX sessions_unanswered ON sessions (id) WHERE unanswered;
    CREATE INDEX sessions_storing ON sessions (id) WHERE stored > 0;
    CREATE INDEX sessions_closed ON sessions (closed) WHERE state IS NULL;
    CREATE TRIGGER session_closed AFTER UPDATE OF state ON sessions
        WHEN NEW.state IS NULL AND OLD.state IS NOT NULL AND typeof(OLD.slot) = 'integer'
        BEGIN INSERT OR IGNORE INTO vault_freed VALUES (OLD.slot); END;
    CREATE TRIGGER session_deleted AFTER DELETE ON sessions
        WHEN OLD.state IS NOT NULL AND typeof(OLD.slot) = 'integer'
        BEGIN INSERT OR IGNORE INTO vault_freed VALUES (OLD.slot); END;
    """,
)
