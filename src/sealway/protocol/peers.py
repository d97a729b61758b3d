# SPDX-License-Identifier: Apache-2.0
"""Which of several sessions with one peer to send on. spec/session.md, "Two sessions with one peer"."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KnownSession:
    """What the rule needs to know of a session.

    Args:
        hash: the session hash.
        newest: hash of the newest session that its start named, or empty.
        unanswered: this end sent the start, and has opened no reply.
    """

    hash: bytes
    newest: bytes
    unanswered: bool


def prefer(current: KnownSession | None, accepted: KnownSession) -> bytes:
    """Return the hash of the session to send on, after a start of the peer was accepted.

    If neither start names the other's session and this end's was unanswered, they crossed: both ends then take the
    smaller hash. A start that the current session's start names already is an older one that comes late: it is opened,
    but not sent on. Otherwise the newer start is sent on.

    Args:
        current: the session this end sends on until now.
        accepted: the session just accepted.
    """
    if current is None:
        return accepted.hash
    if current.newest == accepted.hash:
        return current.hash
    crossed = current.unanswered and accepted.newest != current.hash and current.newest != accepted.hash
    return min(current.hash, accepted.hash) if crossed else accepted.hash
