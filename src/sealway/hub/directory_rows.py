# SPDX-License-Identifier: Apache-2.0
"""The SQL of the directory: credentials, bundles, one-time keys, consents. No verification: that comes before."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class StoredBundle:
    """A verified bundle as it is kept; ``one_time`` is all its one-time public keys, 32 bytes each."""

    hash: bytes
    name: str
    sequence: int
    encoded: bytes
    one_time: bytes
    expires: int

    @property
    def keys(self) -> tuple[bytes, ...]:
        """The one-time public keys, in the order of the Merkle tree."""
        return tuple(self.one_time[at : at + KEY_BYTES] for at in range(0, len(self.one_time), KEY_BYTES))


_BUNDLE = "SELECT hash, name, sequence, encoded, one_time, expires FROM bundles"


def keep_credential(db: sqlite3.Connection, x5t: bytes, name: str, chain: bytes, expires: int) -> None:
    """Keep a verified chain (encoded CertChain)."""
    db.execute(
        "INSERT INTO credentials (x5t, name, chain, expires) VALUES (?, ?, ?, ?)"
        " ON CONFLICT DO UPDATE SET chain = excluded.chain",
        (x5t, name, chain, expires),
    )


def chain_of(db: sqlite3.Connection, x5t: bytes) -> bytes | None:
    """Return the encoded CertChain whose leaf has this SHA-256."""
    row = db.execute("SELECT chain FROM credentials WHERE x5t = ?", (x5t,)).fetchone()
    return None if row is None else bytes(row[0])


def newest_bundle(db: sqlite3.Connection, name: str) -> StoredBundle | None:
    """Return the bundle of ``name`` with the highest sequence."""
    row = db.execute(f"{_BUNDLE} WHERE name = ? ORDER BY sequence DESC LIMIT 1", (name,)).fetchone()
    return None if row is None else StoredBundle(*row)


def bundle_by_hash(db: sqlite3.Connection, digest: bytes, now: int) -> StoredBundle | None:
    """Return an unexpired bundle by the SHA-256 of its bytes."""
    row = db.execute(f"{_BUNDLE} WHERE hash = ? AND expires > ?", (digest, now)).fetchone()
    return None if row is None else StoredBundle(*row)


def keep_bundle(db: sqlite3.Connection, bundle: StoredBundle, most: int) -> None:
    """Keep a bundle as the newest of its name, its one-time keys instead of the older ones; ``most`` in all."""
    db.execute(
        "INSERT INTO bundles (hash, name, sequence, encoded, one_time, expires) VALUES (?, ?, ?, ?, ?, ?)",
        (bundle.hash, bundle.name, bundle.sequence, bundle.encoded, bundle.one_time, bundle.expires),
    )
    db.execute("DELETE FROM one_time WHERE name = ?", (bundle.name,))
    indices = range(len(bundle.one_time) // KEY_BYTES)
    db.executemany(
        "INSERT INTO one_time (name, hash, idx) VALUES (?, ?, ?)",
        [(bundle.name, bundle.hash, index) for index in indices],
    )
    db.execute(
        "DELETE FROM bundles WHERE name = ? AND sequence NOT IN"
        " (SELECT sequence FROM bundles WHERE name = ? ORDER BY sequence DESC LIMIT ?)",
        (bundle.name, bundle.name, most),
    )


def take_one_time(db: sqlite3.Connection, bundle: StoredBundle) -> int | None:
    """Delete one index of the bundle's one-time keys and return it, or None when all have been handed out."""
    row = db.execute(
        "SELECT idx FROM one_time WHERE name = ? AND hash = ? LIMIT 1", (bundle.name, bundle.hash)
    ).fetchone()
    if row is None:
        return None
    db.execute("DELETE FROM one_time WHERE name = ? AND idx = ?", (bundle.name, row[0]))
    return int(row[0])


def consent_issued(db: sqlite3.Connection, mailbox: str, gateway: str) -> int | None:
    """Return when the consent on file was issued."""
    row = db.execute("SELECT issued FROM consents WHERE mailbox = ? AND gateway = ?", (mailbox, gateway)).fetchone()
    return None if row is None else int(row[0])


def keep_consent(db: sqlite3.Connection, mailbox: str, gateway: str, encoded: bytes, issued: int, expires: int) -> None:
    """Keep a verified consent in the place of an older one."""
    db.execute(
        "INSERT OR REPLACE INTO consents (mailbox, gateway, encoded, issued, expires) VALUES (?, ?, ?, ?, ?)",
        (mailbox, gateway, encoded, issued, expires),
    )


def forget_expired(db: sqlite3.Connection, now: int) -> None:
    """Delete what is no longer valid. A name's newest bundle stays, so that its sequence keeps older ones out."""
    db.execute("DELETE FROM credentials WHERE expires <= ?", (now,))
    db.execute("DELETE FROM consents WHERE expires <= ?", (now,))
    db.execute(
        "DELETE FROM bundles WHERE expires <= ?"
        " AND sequence < (SELECT max(sequence) FROM bundles b WHERE b.name = bundles.name)",
        (now,),
    )
