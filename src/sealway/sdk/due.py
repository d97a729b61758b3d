# SPDX-License-Identifier: Apache-2.0
"""When time next has something to do with a session, so that nobody has to look at all of them to find out.

Invariant: ``soonest`` and ``after_looking`` name no later time than that at which there is something to do; an earlier
one costs a look in vain.
"""

from __future__ import annotations

from sealway.protocol.policy import MINUTE_MS, Policy
from sealway.protocol.ranges import RangeSet
from sealway.sdk.held import Held, Leaving

_SECOND_MS = 1_000


def soonest(held: Held, policy: Policy) -> int | None:
    """Return when the earliest of what may have come up since the session was looked at is due. Cheap: it is asked
    whenever a session is written."""
    session, send = held.session, held.session.send
    at = [] if session.stopped is not None else _of_protocol(held, policy)
    if held.sealed_unlooked:
        at.append(held.sealed_ms + policy.unacknowledged_after_ms + 1)
    if held.leaving is Leaving.NO:
        if session.start is not None and held.offered_ms is not None:
            at.append(held.offered_ms + policy.anew_after_ms)
        if send.unacknowledged > policy.walk // 2:
            at.append(0)
    return min(at) if at else None


def _of_protocol(held: Held, policy: Policy) -> list[int]:
    session, at = held.session, list[int]()
    receipt = session.receipt_at()
    if receipt is not None:
        at.append(receipt)
    if session.clock.listed:
        at += (since + policy.missing_after_ms for since in session.clock.listed.values() if since >= 0)
    if session.max_silence_s is not None and not session.silence_told:
        at.append(session.heard_ms + session.max_silence_s * 1_000 + 1)
    epochs = session.receive.epochs
    if epochs and epochs[0].superseded_ms is not None:
        at.append(epochs[0].superseded_ms + policy.held_for_ms)
    return at


def after_looking(held: Held, policy: Policy, now_ms: int, *, in_use: bool, silence_s: int | None) -> int | None:
    """Return when a session has to be looked at again, that was looked at just now.

    Args:
        in_use: its peer is sent to on it.
        silence_s: after how long this end promised to be heard again.
    """
    soon, later = now_ms + _SECOND_MS, now_ms + MINUTE_MS  # what could not be done now is tried again
    session = held.session
    at = [max(when, soon) for when in _of_protocol(held, policy)] if session.stopped is None else []
    if not in_use:
        at.append(max(max(session.heard_ms, session.created_ms, session.stepped_ms) + policy.held_for_ms + 1, later))
    elif silence_s is not None and held.leaving is Leaving.NO:
        at.append(max(held.sealed_ms + silence_s * 500, soon))
    if held.leaving is not Leaving.DONE:
        at += (max(when, later) for when in _of_owed(held, policy))
    return min(at) if at else None


def _of_owed(held: Held, policy: Policy) -> list[int]:
    session, at = held.session, list[int]()
    if held.leaving is Leaving.NO and session.start is not None and held.offered_ms is not None:
        at.append(held.offered_ms + policy.anew_after_ms)
    waiting = RangeSet(session.send.acked.gaps(session.send.next_number))
    for first, last in session.send.unkept:
        waiting.remove(first, last)
    for first, last in waiting:
        if last > held.reported:
            sealed = session.log.sealed_ms(max(first, held.reported + 1))
            at.append(sealed + policy.unacknowledged_after_ms + 1)
            break
    for first, _ in waiting:
        at.append(session.log.sealed_ms(first) + policy.held_for_ms + 1)
        break
    return at
