# SPDX-License-Identifier: Apache-2.0
"""What the state of a device or an application holds, looked at while nobody uses it: what is damaged, left, or waits.

Invariant: nothing is written here, and no key and no content leaves it.
"""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, NamedTuple

from sealway.crypto import kem
from sealway.crypto.secret import Secret
from sealway.crypto.suites import suite
from sealway.errors import LocalMisuse, NotTrusted, PeerMisbehaved, SealwayError, StateLost
from sealway.identity.bundles import verify_bundle
from sealway.identity.credentials import Credential
from sealway.protocol.life import Life, life_of
from sealway.protocol.policy import DEFAULT_POLICY
from sealway.protocol.session import Session
from sealway.protocol.snapshot import restore
from sealway.sdk.prekeystore import parted
from sealway.sdk.schema import DATABASE, FILE, ONE_TIME, SCRIPTS, SENT, SESSION, SIGNED_PREKEY
from sealway.sdk.sessions import Leaving, stored_log
from sealway.storage.directory import demand_free
from sealway.storage.store import connect_readonly
from sealway.vault.vault import Vault, read_vault
from sealway.wire import cbor
from sealway.wire.address import Name
from sealway.wire.bundle import SignedBundle
from sealway.wire.carriage import CertChain
from sealway.wire.cose import X5t
from sealway.wire.message import FileKey, Message

_UNREADABLE: Final = (
    PeerMisbehaved,
    NotTrusted,
    StateLost,
    LocalMisuse,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
)
_MOST_COMPLAINTS: Final = 20
_LIMIT: Final = 1 << 24
_RESTORE_HINT: Final = "restore it from a backup and run sealway state repair --restored, or begin anew"

_SESSIONS = (
    "SELECT hash, peer, kid, mailbox, created, slot, state, resumed, leaving FROM sessions WHERE state IS NOT NULL"
)
IS_RECORD: Final = (
    "typeof(number) = 'integer' AND number >= 0 AND typeof(tag) = 'blob' AND typeof(boot) = 'blob'"
    " AND typeof(uptime) = 'integer' AND typeof(sealed) = 'integer'"
)
"""What holds of every row of a sent message, in SQL."""
_WAITING = f"SELECT session, number, slot, message, {IS_RECORD} FROM sent WHERE envelope IS NOT NULL"  # noqa: S608 - a constant
_ODD = f"SELECT DISTINCT session FROM sent WHERE NOT ({IS_RECORD})"  # noqa: S608 - a constant
_UNHANDLED = "SELECT count(*) FROM inbox WHERE message IS NOT NULL"
_SET_ASIDE = "SELECT count(*) FROM set_aside"
_HAS_SET_ASIDE = "SELECT count(*) FROM sqlite_master WHERE name = 'set_aside'"


class Condition(StrEnum):
    """How a session is."""

    SOUND = "in order"
    UNANSWERED = "unanswered"
    """Its start has not been answered yet."""
    STOPPED = "stopped"
    FORKED = "peer forked"
    LOST = "state lost"
    DAMAGED = "damaged"


class SessionRow(NamedTuple):
    """A stored session that is not closed, as it lies there; any column may hold anything."""

    hash: Any
    peer: Any
    kid: Any
    mailbox: Any
    created: Any
    slot: Any
    state: Any
    resumed: Any
    leaving: Any


@dataclass(frozen=True, slots=True, repr=False)
class SessionFinding:
    """What was found of one session.

    Args:
        why: what is damaged, or why it was stopped; empty if it is in order.
        waiting: numbers of own messages without a receipt.
        unreadable: those of them whose stored content is damaged; their sealed bytes may be whole.
        names_peer: its row says whose it is, so that another one can be begun.
        is_left: its messages go on in another session, or have.
    """

    row: SessionRow
    condition: Condition
    why: str
    waiting: tuple[int, ...]
    unreadable: tuple[int, ...]
    names_peer: bool
    is_left: bool

    @property
    def has_to_be_left(self) -> bool:
        """Whether it is of no use any more, and nothing has been done about that yet."""
        return self.condition is Condition.DAMAGED or (self.condition in _ENDED and not self.is_left)


_ENDED: Final = (Condition.STOPPED, Condition.FORKED, Condition.LOST)


class DamagedRow(NamedTuple):
    """A row besides a session that cannot be read.

    Fields: ``what`` bundle, window, certificate or file key; ``table``; its ``key`` by column; ``peer``; ``size`` in
    bytes.
    """

    what: str
    table: str
    key: tuple[tuple[str, Any], ...]
    peer: str
    why: str
    size: int


@dataclass(frozen=True, slots=True, repr=False)
class Findings:
    """What an examination found.

    Args:
        file: what SQLite's own check complains about; the rest is empty then.
        rows: damaged rows besides sessions.
        bundles: own bundles whose private halves exist and can be read.
        newest_is_damaged: the newest own bundle cannot be read.
        unhandled: messages that wait for their handler.
        set_aside: how many rows repairs have set aside until now.
    """

    file: tuple[str, ...] = ()
    sessions: tuple[SessionFinding, ...] = ()
    rows: tuple[DamagedRow, ...] = ()
    bundles: int = 0
    newest_is_damaged: bool = False
    unhandled: int = 0
    set_aside: int = 0

    @property
    def needs_repair(self) -> bool:
        """Whether something is damaged, or a session ended and its messages stay."""
        return bool(self.file or self.rows) or any(found.has_to_be_left for found in self.sessions)

    @property
    def unacknowledged(self) -> int:
        """Own messages without a receipt, in all sessions that are not closed."""
        return sum(len(found.waiting) for found in self.sessions)

    def counted(self) -> Counter[Condition]:
        """Return how many sessions are in which condition."""
        return Counter(found.condition for found in self.sessions)


@dataclass(frozen=True, slots=True)
class StoredState:
    """The database of a state directory that nobody uses meanwhile."""

    directory: Path
    connection: sqlite3.Connection

    def vault(self) -> Vault:
        """Return what unwraps its secrets; what cannot be unwrapped any more counts as damaged."""
        return read_vault(self.directory, self.connection, os.urandom, leniently=True)


@contextmanager
def looked_at(directory: Path) -> Iterator[StoredState]:
    """Open a state to look at it.

    Raises:
        InUse: a process runs there.
        LocalMisuse: no endpoint ever did.
        StateLost: it cannot be read.
    """
    demand_free(directory)
    demand_state(directory)
    with as_lost(directory), closing(connect_readonly(directory / DATABASE)) as connection:
        connection.execute("BEGIN")
        yield StoredState(directory, connection)


def demand_state(directory: Path) -> None:
    """Return if an endpoint has run in this directory. Raises LocalMisuse."""
    if not (directory / DATABASE).is_file():
        raise LocalMisuse(f"no device or application has run in {directory}", hint="give its state directory")


@contextmanager
def as_lost(directory: Path) -> Iterator[None]:
    """Turn what SQLite raises into StateLost."""
    try:
        yield
    except sqlite3.Error as error:
        raise StateLost(f"cannot read {directory / DATABASE}: {error}", hint=_RESTORE_HINT) from None


def examine(state: StoredState, credential: Credential | None = None) -> Findings:
    """Return what a state holds.

    Args:
        credential: whose state it is, to verify the own bundles as it will when it starts; None: only whether they can
            be read.

    Raises:
        StateLost: a newer version wrote it.
        sqlite3.Error: it cannot be read.
    """
    connection = state.connection
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(SCRIPTS):
        raise StateLost("the state was written by a newer version", hint="run the newer version")
    checked = [str(line) for (line,) in connection.execute(f"PRAGMA integrity_check({_MOST_COMPLAINTS})")]
    if checked != ["ok"]:
        return Findings(file=tuple(checked))
    vault = state.vault()
    bundles = list(_bundles(connection, vault, credential))
    damaged = [row for row in bundles if row is not None]
    (has_set_aside,) = connection.execute(_HAS_SET_ASIDE).fetchone()
    return Findings(
        (),
        tuple(_sessions(connection, vault)),
        (*damaged, *_windows(connection), *_certificates(connection), *_file_keys(connection, vault)),
        len(bundles) - len(damaged),
        bool(bundles) and bundles[-1] is not None,
        connection.execute(_UNHANDLED).fetchone()[0],
        connection.execute(_SET_ASIDE).fetchone()[0] if has_set_aside else 0,
    )


# sessions ------------------------------------------------------------------------------------------------------------
def _sessions(connection: sqlite3.Connection, vault: Vault) -> Iterator[SessionFinding]:
    waiting: dict[Any, list[tuple[Any, bool]]] = {}
    for digest, number, slot, stored, is_record in connection.execute(_WAITING):
        readable = bool(is_record) and _trouble(lambda row: _content(vault, *row), (slot, stored)) is None
        waiting.setdefault(digest, []).append((number, readable))
    odd = {digest for (digest,) in connection.execute(_ODD)}
    for row in map(SessionRow._make, connection.execute(_SESSIONS).fetchall()):
        yield _examined(connection, vault, row, waiting.get(row.hash, []), odd=row.hash in odd)


def _content(vault: Vault, slot: Any, stored: Any) -> Message:
    return Message.decode(stored if slot is None else vault.unwrap(slot, SENT, stored))


def _examined(
    connection: sqlite3.Connection, vault: Vault, row: SessionRow, waiting: list[tuple[Any, bool]], *, odd: bool
) -> SessionFinding:
    names_peer = _trouble(_check_address, row) is None
    numbers, unreadable = tuple(n for n, _ in waiting), tuple(n for n, whole in waiting if not whole)
    try:
        session = _read(connection, vault, row, odd=odd)
    except _UNREADABLE as damage:
        why = _said(damage)
        return SessionFinding(row, Condition.DAMAGED, why, numbers, unreadable, names_peer, is_left=False)
    leaving = Leaving(row.leaving)
    condition, why = _condition(session, leaving), session.stopped or ""
    return SessionFinding(row, condition, why, numbers, unreadable, names_peer, leaving is not Leaving.NO)


def _read(connection: sqlite3.Connection, vault: Vault, row: SessionRow, *, odd: bool) -> Session:
    """Return a session as an endpoint would load it. Raises one of ``_UNREADABLE``."""
    if odd:
        raise StateLost("what is stored of the messages sealed in it is damaged")
    Leaving(row.leaving)
    _check_address(row)
    state, names = vault.unwrap(row.slot, SESSION, row.state), (row.hash, row.peer, row.kid)
    return restore(state, stored_log(connection, row.hash), DEFAULT_POLICY, names=names)


def _check_address(row: SessionRow) -> None:
    blobs = (
        isinstance(row.hash, bytes) and len(row.hash) == 32 and isinstance(row.kid, bytes) and 1 <= len(row.kid) <= 8
    )
    if not blobs or str(Name.parse(row.peer)) != row.peer or not isinstance(row.mailbox, str):
        raise ValueError("a stored session does not say whose it is")


def _condition(session: Session, leaving: Leaving) -> Condition:
    life = life_of(session)
    if life is not Life.STOPPED:
        return Condition.UNANSWERED if life is Life.UNANSWERED else Condition.SOUND
    if session.peer_forked:
        return Condition.FORKED
    return Condition.LOST if leaving is Leaving.LOST else Condition.STOPPED


# other rows that an endpoint reads when it starts -------------------------------------------------------------------
def _bundles(
    connection: sqlite3.Connection, vault: Vault, credential: Credential | None
) -> Iterator[DamagedRow | None]:  # fmt: skip
    """Yield, in their order, None for each own bundle that can be read and what is wrong with the others."""
    rows = connection.execute("SELECT id, encoded, slot, signed_prekey, issued FROM prekeys ORDER BY sequence")
    for bundle_id, encoded, slot, prekey, issued in rows.fetchall():
        scalars = connection.execute("SELECT slot, scalar FROM one_time WHERE bundle = ?", (bundle_id,)).fetchall()
        stored = _StoredBundle(vault, encoded, (slot, prekey), issued, scalars, credential)
        why = _trouble(_check_bundle, stored)
        if why is None:
            yield None
        else:
            yield DamagedRow("bundle", "prekeys", (("id", bundle_id),), "", why, _size(encoded) + _size(prekey))


class _StoredBundle(NamedTuple):
    vault: Vault
    encoded: Any
    signed_prekey: tuple[Any, Any]
    issued: Any
    one_time: list[tuple[Any, Any]]
    credential: Credential | None


def _check_bundle(stored: _StoredBundle) -> None:
    bundle, credential = SignedBundle.decode(stored.encoded), stored.credential
    curve, (slot, prekey) = suite(bundle.claims.suites[0]).curve, stored.signed_prekey
    signed_prekey, seed = parted(stored.vault.unwrap(slot, SIGNED_PREKEY, prekey))
    if curve.public(signed_prekey) != bundle.claims.signed_prekey:
        raise ValueError("the private half of a signed prekey is not the one of its bundle")
    if (kem.public_key(seed) if seed is not None else None) != bundle.claims.ml_kem:
        raise ValueError("the private half of an ML-KEM key is not the one of its bundle")
    for slot, scalar in stored.one_time:
        curve.public(Secret(stored.vault.unwrap(slot, ONE_TIME, scalar)))
    if credential is not None and bundle.sign1.key_ref == X5t(credential.x5t):  # others are passed over at start
        verify_bundle(stored.encoded, credential, stored.issued)


def _windows(connection: sqlite3.Connection) -> Iterator[DamagedRow]:
    for peer, digest, ranges in connection.execute("SELECT peer, session, ranges FROM windows").fetchall():
        why = _trouble(_check_ranges, ranges)
        if why is not None:
            yield DamagedRow("window", "windows", (("peer", peer), ("session", digest)), str(peer), why, _size(ranges))


def _check_ranges(encoded: Any) -> None:
    edges = cbor.decode(encoded, limit=_LIMIT)
    if len(edges) % 2 or not all(isinstance(edge, int) for edge in edges):
        raise ValueError("not ranges of numbers")


def _certificates(connection: sqlite3.Connection) -> Iterator[DamagedRow]:
    for x5t, chain in connection.execute("SELECT x5t, chain FROM certificates").fetchall():
        why = _trouble(CertChain.decode, chain)
        if why is not None:
            yield DamagedRow("certificate", "certificates", (("x5t", x5t),), "", why, _size(chain))


def _file_keys(connection: sqlite3.Connection, vault: Vault) -> Iterator[DamagedRow]:
    for row, peer, slot, wrapped in connection.execute("SELECT id, peer, slot, key FROM files").fetchall():
        why = _trouble(lambda stored: FileKey.decode(vault.unwrap(stored[0], FILE, stored[1])), (slot, wrapped))
        if why is not None:
            yield DamagedRow("file key", "files", (("id", row),), str(peer), why, _size(wrapped))


def _trouble(check: Callable[[Any], object], value: Any) -> str | None:
    """Return what is wrong with a stored value, None if nothing is."""
    try:
        check(value)
    except _UNREADABLE as damage:
        return _said(damage)
    return None


def _said(damage: BaseException) -> str:
    """What an error says; of others than Sealway's own nothing, since they may quote what lies there."""
    return damage.message if isinstance(damage, SealwayError) else "its values are not of their kind"


def _size(value: Any) -> int:
    return len(value) if isinstance(value, bytes | str) else 0
