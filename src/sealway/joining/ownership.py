# SPDX-License-Identifier: Apache-2.0
"""Whose a device is: the five states that OCF names, in one table, and what the device keeps about it.

Invariant: the device decides (it is the arbiter of the two ends), and its enrolment is what it decides by: a device
with an enrolment has an owner, one without has none. Everything else here is put right from there. So whatever a power
cut leaves behind, there is never half an owner, and never two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from sealway.crypto.secret import Secret
from sealway.crypto.spake2plus import Parameters, ScryptCost, VerifierRecord
from sealway.errors import Malformed, NotAuthorized
from sealway.joining.channel import Resumption
from sealway.joining.messages import RESUME_ID_BYTES
from sealway.protocol.life import Machine, Step
from sealway.protocol.sentlog import Uptime
from sealway.wire import cbor, shape
from sealway.wire.address import Name

WINDOW_MS: Final = 15 * 60_000
"""How long a pairing window is open, on the boot clock."""
MOST_ATTEMPTS: Final = 20
"""How often the code may be tried in one pairing window."""
RESUMABLE_S: Final = 24 * 3600
"""How long both ends can go on with an exchange that was broken off."""
MAX_OWNERSHIP_BYTES: Final = 4096

_VERSION: Final = 2


class State(StrEnum):
    """Whose the device is. The names are OCF's."""

    RESET = "RESET"
    """Everything of an owner is being destroyed."""
    RFOTM = "RFOTM"
    """Ready for an owner."""
    RFPRO = "RFPRO"
    """A commissioner has shown the code, and is handing over what the owner gives."""
    RFNOP = "RFNOP"
    """It has an owner, and works."""
    SRESET = "SRESET"
    """It has an owner, and does not work before that owner has enrolled it anew."""


class Act(StrEnum):
    """What a device may be asked for."""

    PAIR = "pair by setup code"
    PROVISION = "take an enrolment"
    RESUME = "go on with an exchange"
    OPERATE = "send and execute"
    RESET = "be reset by presence"
    SOFT_RESET = "be stopped by presence, for its owner to enrol it anew"


ADMITTED: Final[Mapping[State, frozenset[Act]]] = {
    State.RESET: frozenset({Act.RESET}),
    State.RFOTM: frozenset({Act.PAIR, Act.RESET}),
    State.RFPRO: frozenset({Act.PAIR, Act.PROVISION, Act.RESUME, Act.RESET}),
    State.RFNOP: frozenset({Act.RESUME, Act.OPERATE, Act.RESET, Act.SOFT_RESET}),
    State.SRESET: frozenset({Act.PROVISION, Act.RESET}),
}
"""Everything else is refused."""

OWNERSHIP: Final = Machine(
    "ownership",
    "Whose a device is",
    State,
    (
        Step(None, "it was made", State.RFOTM),
        Step(State.RFOTM, "the prover's confirmation holds, attempts are forgotten", State.RFPRO),
        Step(State.RFPRO, "an enrolment of this owner is kept, the verifier deleted", State.RFNOP),
        Step(State.RFPRO, "24 hours have passed", State.RFOTM),
        Step(State.RFNOP, "it is stopped by presence", State.SRESET),
        Step(State.SRESET, "an enrolment of the same owner is kept", State.RFNOP),
        Step(State.RFOTM, "it is reset by presence", State.RESET),
        Step(State.RFPRO, "it is reset by presence", State.RESET),
        Step(State.RFNOP, "it is reset by presence", State.RESET),
        Step(State.SRESET, "it is reset by presence", State.RESET),
        Step(State.RESET, "all of the owner's is destroyed, the verifier restored", State.RFOTM),
    ),
)


def demand(state: State, act: Act) -> None:
    """Return if a device in this state admits an act. Raises NotAuthorized."""
    if act not in ADMITTED[state]:
        raise NotAuthorized(f"a device in state {state} does not {act}", hint="sealway device status shows the state")


@dataclass(frozen=True, slots=True)
class Pending:
    """An exchange whose code was right: with whom the device goes on.

    Args:
        resumption: how it knows the other end again.
        root: SHA-256 of the root document that was shown.
        name: what the device is to be called.
        suite: what its keys are to be made for.
        until: Unix seconds.
    """

    resumption: Resumption
    root: bytes
    name: Name
    suite: int
    until: int

    def __post_init__(self) -> None:
        shape.bstr(self.resumption.id, "resume id", RESUME_ID_BYTES)
        shape.bstr(self.resumption.secret.reveal(), "resume secret", 32)
        shape.bstr(self.root, "root", 32)
        shape.uint(self.suite, "suite", 1, 3)
        shape.instant(self.until, "end of an exchange")

    def is_for(self, root: bytes, name: Name, suite: int) -> bool:
        """Say whether this owner wants this name, with keys of this suite."""
        return (self.root, self.name, self.suite) == (root, name, suite)


@dataclass(frozen=True, slots=True)
class Window:
    """A pairing window: when it was opened, and how often the code was tried since."""

    opened: Uptime
    attempts: int = 0

    def __post_init__(self) -> None:
        shape.bstr(self.opened.boot, "boot", 16)
        shape.uint(self.opened.ms, "opened", 0, 1 << 62)
        shape.uint(self.attempts, "attempts", 0, MOST_ATTEMPTS)

    def left(self, at: Uptime) -> int:
        """Return for how many milliseconds it is still open: 15 minutes, within the same boot."""
        passed = at.ms - self.opened.ms
        return max(0, WINDOW_MS - passed) if self.opened.boot == at.boot and passed >= 0 else 0


@dataclass(frozen=True, slots=True)
class Ownership:
    """What a device keeps about whose it is, beside its enrolment.

    Args:
        resets: how often it was reset; each owner's time has its own number.
        verifier: what recognises the code; None once there is an owner.
        window: the last pairing window.
        pending: the exchange that can be gone on with.
        stopped: SHA-256 of the enrolment that a soft reset made void; one that is kept later is another.
        resetting: the reset has begun, and is to be completed before anything else.
    """

    resets: int = 0
    verifier: VerifierRecord | None = field(default=None, repr=False)
    window: Window | None = None
    pending: Pending | None = field(default=None, repr=False)
    stopped: bytes | None = None
    resetting: bool = False

    def state(self, enrolment: bytes | None, now: int) -> State:
        """Return the state of a device.

        Args:
            enrolment: SHA-256 of the enrolment that it keeps, or None.
            now: Unix seconds.
        """
        if self.resetting:
            return State.RESET
        if enrolment is not None:
            return State.SRESET if self.stopped == enrolment else State.RFNOP
        return State.RFOTM if self.pending_at(now) is None else State.RFPRO

    def pending_at(self, now: int) -> Pending | None:
        """Return the exchange that can still be gone on with."""
        return self.pending if self.pending is not None and now < self.pending.until else None

    def attempts_left(self, at: Uptime) -> int | None:
        """Return how often the code may still be tried; None where no window is open."""
        return MOST_ATTEMPTS - self.window.attempts if self.window is not None and self.window.left(at) > 0 else None

    def with_attempt(self) -> Ownership:
        """Return it with one more attempt. There must be a window with attempts left."""
        window = self.window
        return self if window is None else replace(self, window=replace(window, attempts=window.attempts + 1))

    def with_pending(self, pending: Pending) -> Ownership:
        """Return it after a valid confirmation: no attempts count any more (the window goes on)."""
        window = None if self.window is None else replace(self.window, attempts=0)
        return replace(self, window=window, pending=pending)

    def encode(self) -> bytes:
        """Return the content of the file; it holds secrets."""
        value: dict[int, Any] = {1: _VERSION, 2: self.resets, 7: self.resetting}
        if self.verifier is not None:
            cost = self.verifier.parameters.cost
            value[3] = [self.verifier.w0.reveal(), self.verifier.point, self.verifier.parameters.salt]
            value[3] += [cost.n, cost.r, cost.p]
        if self.window is not None:
            value[4] = [self.window.opened.boot, self.window.opened.ms, self.window.attempts]
        if self.pending is not None:
            resumption = self.pending.resumption
            value[5] = [resumption.id, resumption.secret.reveal(), self.pending.root]
            value[5] += [str(self.pending.name), self.pending.suite, self.pending.until]
        if self.stopped is not None:
            value[6] = self.stopped
        return cbor.encode(value)

    @classmethod
    def decode(cls, data: bytes) -> Ownership:
        """Read the content of the file. Raises Malformed, TooLarge, NotAuthentic."""
        found = shape.fields(cbor.decode(data, limit=MAX_OWNERSHIP_BYTES), "ownership", (1, 2, 7), (3, 4, 5, 6))
        shape.constant(found[1], "ownership's version", _VERSION)
        if not isinstance(found[7], bool):
            raise Malformed("ownership: a flag expected")
        return cls(
            resets=shape.uint(found[2], "resets"),
            verifier=_verifier(found[3]) if 3 in found else None,
            window=_window(found[4]) if 4 in found else None,
            pending=_pending(found[5]) if 5 in found else None,
            stopped=shape.bstr(found[6], "stopped", 32) if 6 in found else None,
            resetting=found[7],
        )


def _verifier(value: object) -> VerifierRecord:
    w0, point, salt, *cost = shape.array(value, "verifier", 6, 6)
    n, r, p = (shape.uint(number, "cost") for number in cost)
    parameters = Parameters(shape.bstr(salt, "salt", 16), ScryptCost(n, r, p))
    return VerifierRecord(Secret(shape.bstr(w0, "w0", 32)), shape.bstr(point, "L", 65), parameters)


def _window(value: object) -> Window:
    boot, ms, attempts = shape.array(value, "window", 3, 3)
    return Window(Uptime(boot, ms), attempts)


def _pending(value: object) -> Pending:
    identifier, secret, root, name, suite, until = shape.array(value, "pending", 6, 6)
    resumption = Resumption(identifier, Secret(shape.bstr(secret, "secret", 32)))
    return Pending(resumption, root, Name.parse(name), suite, until)
