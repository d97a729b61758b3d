# SPDX-License-Identifier: Apache-2.0
"""The attacks of the demo's second act: which, on which hop, on whose traffic, and how often."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from sealway.cli.demo.besieged import Besieged
from sealway.cli.demo.witnesses import Report
from sealway.cli.stranger import EXPIRED, OLDER, STARTS
from sealway.wire.address import Name


class Until(Enum):
    """When an act is over."""

    DONE = "done"
    """It has done all that it may, and all that it made has arrived."""
    REACHED = "reached"
    """So many have arrived; it goes on until the next one begins, so that nothing slips through between them."""
    REPORTED = "reported"
    """An end has said so."""
    A_WHILE = "a while"
    """It has lasted for some seconds, and not in vain."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One act of the adversary on one hop.

    Args:
        attack: its name.
        row: further keys of its table in a scenario.
        until: when it is over.
        reached: how many have to arrive, for Until.REACHED.
        report: who has to tell what of whom, for Until.REPORTED.
        seconds: how long it may take; a computer that is busy with other things gets far.
        while_s: how long it lasts, for Until.A_WHILE.
        alone: only once nothing is done on the other hops any more: it sends things of its own through them.
        kill: the role that is killed once the act is on, and has so many in its hands (``holding``).
    """

    attack: str
    row: dict[str, Any] = field(default_factory=dict)
    until: Until = Until.DONE
    reached: int = 1
    report: Report = ("", "", "")
    seconds: float = 60.0
    while_s: float = 5.0
    alone: bool = False
    kill: str = ""
    holding: int = 0

    def table(self) -> dict[str, Any]:
        """Return the act as a scenario has it."""
        return {"attack": self.attack, "seconds": self.seconds, **self.row}


DIRECTORY: Final = (
    "substitute-certificate-other", "substitute-certificate-forged", "substitute-bundle-other",
    "substitute-bundle-expired", "substitute-bundle-forged", "substitute-bundle-resigned", "tamper-bundle",
    "substitute-one-time-key",
)  # fmt: skip
ON_STARTS: Final = (
    "tamper-start-bundle-hash", "tamper-start-certificate", "tamper-start-receive-kid", "tamper-start-ephemeral",
    "tamper-start-one-time", "insert-start-ml-kem", "strip-one-time", "strip-post-quantum", "strip-start",
    "drop-starts",
)  # fmt: skip
ON_ENVELOPES: Final = (
    "tamper-alg", "tamper-kid", "tamper-number", "tamper-topic", "tamper-tag-claim", "tamper-expiry", "strip-claims",
    "insert-claims", "insert-critical", "tamper-ciphertext", "tamper-tag", "tamper-any-bit", "tamper-structure",
    "truncate", "truncate-ciphertext", "extend", "extend-ciphertext", "re-encode", "insert-unprotected", "duplicate",
    "replay-at-once", "swap-kids", "swap-answers", "drop-some", "invent-verdicts",
)  # fmt: skip
ACROSS: Final = ("splice", "splice-with-kid")
ON_OPENERS: Final = ("tamper-opener-reseed", "tamper-opener-salt", "tamper-opener-first", "strip-opener")
FLOODS: Final = (
    "flood-noise", "flood-junk", "flood-oversized", "flood-forged", "flood-numbers", "flood-reseeds", "flood-epochs",
    "flood-starts",
)  # fmt: skip
EACH: Final = 3
OF_A_FLOOD: Final = 16


def against_directory(town: Besieged) -> Iterator[Turn]:
    """On what the application is told of the stranger: it has never met it."""
    for name in DIRECTORY:
        row = {"parameters": {"file": str(town.recorded / EXPIRED)}} if name == "substitute-bundle-expired" else {}
        yield Turn(name, row, Until.REACHED)


def against_memory(town: Besieged) -> Turn:
    """On what the application is told when it claims a bundle of the stranger a second time."""
    row = {"parameters": {"file": str(town.recorded / OLDER)}, "subjects": [town.stranger.name]}
    return Turn("substitute-bundle-older", row, Until.REACHED)


def before_hub(town: Besieged) -> Iterator[Turn]:
    """On what the devices send to the application, at the hub's door."""
    here = {"subjects": [mailbox_of(town.application.name)]}
    for name in ON_STARTS:
        # No start comes through until all of them are done: sessions that have begun send no more of them.
        yield Turn(name, here, Until.REACHED, reached=2)
    yield Turn("replay-start", here | {"count": 2, "parameters": {"seconds": 0.5}})
    for name in ON_ENVELOPES:
        yield Turn(name, here | {"count": EACH})
    yield Turn("replay-later", here | {"count": EACH, "parameters": {"seconds": 1.0}})
    yield Turn("accept-and-drop", here | {"count": EACH})
    yield Turn("swallow-acknowledgements", here | {"count": EACH})
    yield Turn("reorder", here | {"count": 8, "parameters": {"together": 4, "seconds": 1.0}})
    yield Turn("replay-after-restart", here | {"count": EACH}, seconds=180.0, kill="application", holding=EACH)
    for name in FLOODS:
        yield Turn(name, here | {"count": OF_A_FLOOD})
    yield Turn("flood-stranger", here | {"count": 48, "parameters": {"directory": str(town.recorded / STARTS)}})
    # Alone: what is on its way to a device that is killed may never be refused by anybody.
    yield Turn("tamper-opener-reseed", here | {"count": 2}, seconds=180.0, alone=True, kill="device-1")
    for name in ON_OPENERS[1:]:
        yield Turn(name, here | {"count": 2})
    to = {"parameters": {"to": mailbox_of(town.devices[0].name)}}
    for name in ACROSS:
        yield Turn(name, here | {"count": EACH} | to, alone=True)
    yield Turn("reflect", {"count": EACH}, alone=True)  # what the application has sealed goes back to it


def before_gateway(town: Besieged) -> Iterator[Turn]:
    """On what the application sends to devices 1 and 2, between them and their gateway."""
    devices = [mailbox_of(device.name) for device in town.devices[:2]]
    both, second = {"subjects": devices}, {"subjects": devices[1:]}
    yield Turn("drop-everything", both, Until.A_WHILE)
    for name in ("duplicate", "replay-at-once", "tamper-ciphertext", "tamper-number", "truncate", "extend"):
        yield Turn(name, both | {"count": 2})
    held = {"seconds": 3.0, "least_bytes": 130}
    yield Turn("hold-commands", second | {"count": 2, "parameters": held})
    yield Turn("delay", both | {"count": EACH, "parameters": {"seconds": 1.0}})
    yield Turn("drop-some", both | {"count": EACH})
    yield Turn("flood-forged", second | {"count": OF_A_FLOOD})


def as_gateway(town: Besieged) -> Iterator[Turn]:
    """In the place of device 3's gateway."""
    device = {"subjects": [mailbox_of(town.devices[2].name)]}
    yield Turn("drop-everything", device, Until.A_WHILE)
    yield Turn("tamper-any-bit", device | {"count": 2})
    silent = ("application", "Silent", town.devices[2].name)
    missing = ("device-3", "Missing", town.application.name)
    yield Turn("silence", {}, Until.REPORTED, report=silent, seconds=45.0)
    # Several: of a bare receipt that is missing nothing is reported, since its sender says that it will not come again.
    yield Turn("withhold-for-good", device | {"count": 8}, Until.REPORTED, report=missing, seconds=45.0)
    yield Turn("accept-and-drop", {"count": EACH})


def mailbox_of(name: str) -> str:
    """Return the mailbox of a member."""
    return Name.parse(name).mailbox
