# SPDX-License-Identifier: Apache-2.0
"""Attacks that alter an envelope on its way: each part of the header by itself, each region of the bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from sealway.adversary import rewriting, surgery
from sealway.adversary.attack import Attack, Expected, Tools, Working
from sealway.adversary.passing import Leg, Passing
from sealway.adversary.surgery import Change, cutting
from sealway.wire.envelope import LABEL_CLAIMS, LABEL_OPENER, LABEL_START

_MOST_REMEMBERED: Final = 256
_EXPIRES, _TOPIC, _TAG = 4, -65537, -65538


class Original(StrEnum):
    """What becomes of the genuine envelope."""

    FOLLOWS = "follows"
    PRECEDES = "precedes"
    WITHHELD = "withheld"
    """Its sender has to offer it again."""


@dataclass(frozen=True, slots=True)
class TamperParameters:
    """Args: original: where the genuine envelope goes."""

    original: Original = Original.FOLLOWS


class Tampering(Working):
    """Sends an altered envelope with, or in place of, the genuine one."""

    def __init__(self, parameters: TamperParameters, tools: Tools, change: Change) -> None:
        super().__init__(parameters, tools)
        self._change = change
        self._made: OrderedDict[str, None] = OrderedDict()

    def meets(self, passing: Passing) -> list[Passing] | None:
        """See ``Working``."""
        altered = self._change(passing.content, self.tools)
        if altered is None or altered == passing.content or self._is_known(replace(passing, content=altered)):
            return None
        return beside(self.tools.item(passing, altered), passing, self.parameters.original)

    def _is_known(self, altered: Passing) -> bool:
        """Say whether the hub was given these very bytes before: it holds them once, so they would get nowhere."""
        if altered.leg is Leg.DOWN or altered.digest not in self._made:
            self._made[altered.digest] = None
            if len(self._made) > _MOST_REMEMBERED:
                self._made.popitem(last=False)
            return False
        return True


def beside(item: Passing, original: Passing, place: Original) -> list[Passing]:
    """Return an item and its original in their order."""
    if place is Original.WITHHELD:
        return [item]
    return [item, original] if place is Original.FOLLOWS else [original, item]


_CHANGES: Final[tuple[tuple[str, str, Change], ...]] = (
    ("tamper-alg", "Names another AEAD in the header.", cutting(surgery.alg)),
    ("tamper-kid", "Changes a bit of the key id.", cutting(surgery.kid)),
    ("tamper-number", "Shows another message number (Partial IV).", cutting(surgery.number)),
    ("tamper-topic", "Changes the disclosed topic.", cutting(surgery.claim(_TOPIC, lambda topic: "x" + topic[1:]))),
    ("tamper-tag-claim", "Changes the disclosed tag.", cutting(surgery.claim(_TAG, lambda tag: "x" + tag[1:]))),
    ("tamper-expiry", "Moves the disclosed expiry.", cutting(surgery.claim(_EXPIRES, lambda expiry: expiry + 86_400))),
    ("strip-claims", "Takes the disclosed claims away.", cutting(surgery.stripped(LABEL_CLAIMS))),
    ("insert-claims", "Adds a claim that the sender did not make.", cutting(surgery.added_claims)),
    ("insert-critical", "Adds a header parameter that must be understood.", cutting(surgery.critical)),
    (
        "tamper-start-bundle-hash",
        "Changes the hash of the initiator's bundle in a start.",
        cutting(surgery.start_field("bundle_hash", surgery.flipped)),
    ),
    (
        "tamper-start-certificate",
        "Changes the hash of the initiator's certificate in a start.",
        cutting(surgery.start_field("x5t", surgery.flipped)),
    ),
    (
        "tamper-start-receive-kid",
        "Changes the key id that a start asks for.",
        cutting(surgery.start_field("receive_kid", surgery.flipped)),
    ),
    (
        "tamper-start-ephemeral",
        "Puts a key of the adversary's own in the place of a start's ephemeral key.",
        cutting(surgery.start_field("ephemeral", lambda _, tools: tools.forger.public_key())),
    ),
    (
        "tamper-start-one-time",
        "Names another one-time key in a start.",
        cutting(surgery.start_field("one_time", surgery.other_index)),
    ),
    (
        "insert-start-ml-kem",
        "Puts a post-quantum ciphertext of its own into a start.",
        cutting(surgery.start_field("ml_kem", surgery.other_ml_kem)),
    ),
    ("strip-one-time", "Pretends that a start used no one-time key.", cutting(surgery.without_one_time)),
    ("strip-post-quantum", "Pretends that a start has no post-quantum part.", cutting(surgery.without_ml_kem)),
    ("strip-start", "Takes the start header away.", cutting(surgery.stripped(LABEL_START))),
    ("tamper-opener-first", "Lets a chain begin at another number.", cutting(surgery.opener_first)),
    ("tamper-opener-key", "Puts its own key in the place of an epoch's.", cutting(surgery.opener_key)),
    ("tamper-opener-epoch", "Lets an epoch begin at another number.", cutting(surgery.opener_epoch)),
    ("tamper-opener-reseed", "Shows another index of a reseed.", cutting(surgery.opener_reseed)),
    ("tamper-opener-salt", "Changes the salt of a reseed.", cutting(surgery.opener_salt)),
    ("strip-opener", "Takes the opener away.", cutting(surgery.stripped(LABEL_OPENER))),
    ("tamper-ciphertext", "Changes a bit of the sealed message.", cutting(surgery.body)),
    ("tamper-tag", "Changes a bit of the authentication tag.", cutting(surgery.tag)),
    ("tamper-any-bit", "Changes one bit anywhere.", rewriting.any_bit),
    ("tamper-structure", "Changes the CBOR around the parts.", rewriting.structure),
    ("truncate", "Cuts the end of an envelope off.", rewriting.truncated),
    ("truncate-ciphertext", "Cuts the ciphertext short within a sound envelope.", cutting(surgery.shorter)),
    ("extend", "Adds bytes behind an envelope.", rewriting.extended),
    ("extend-ciphertext", "Makes the ciphertext longer within a sound envelope.", cutting(surgery.longer)),
    ("re-encode", "Writes the same content in another encoding.", rewriting.encoded_otherwise),
    ("insert-unprotected", "Puts something into the header that nothing protects.", rewriting.with_unprotected),
)


def _attack(name: str, says: str, change: Change) -> Attack:
    return Attack(
        name,
        Expected.REFUSED,
        says,
        lambda parameters, tools: Tampering(parameters, tools, change),
        parameters=TamperParameters,
    )


def attacks() -> Iterator[Attack]:
    """Every attack of this module."""
    return (_attack(*row) for row in _CHANGES)
