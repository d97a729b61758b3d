# SPDX-License-Identifier: Apache-2.0
"""Taking an envelope apart and putting it together otherwise, as anybody can who holds its bytes.

A cut takes (header map, ciphertext) and the tools and returns other ones, or None if this envelope has nothing to cut
there. What comes out need not be a valid envelope.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

from sealway.adversary.attack import Tools
from sealway.adversary.dissecting import Header, number_of, partial_iv, put_together, start_of, taken_apart
from sealway.wire.envelope import (
    AES_CCM_16_64_128,
    AES_CCM_16_128_128,
    LABEL_ALG,
    LABEL_CLAIMS,
    LABEL_KID,
    LABEL_OPENER,
    LABEL_PARTIAL_IV,
    LABEL_START,
    TAG_BYTES,
)

Cut: TypeAlias = Callable[[Header, bytes, Tools], tuple[Header, bytes] | None]
Change: TypeAlias = Callable[[bytes, Tools], bytes | None]

HIGHEST_NUMBER = (1 << 32) - 1
_LONGEST_NUMBER = 4
_ML_KEM_BYTES = 1088


def cutting(cut: Cut) -> Change:
    """Return the change of an envelope's bytes that a cut makes."""

    def change(envelope: bytes, tools: Tools) -> bytes | None:
        parts = taken_apart(envelope)
        outcome = cut(*parts, tools) if parts is not None else None
        return put_together(*outcome) if outcome is not None else None

    return change


def flipped(content: bytes, tools: Tools, first: int = 0, end: int | None = None) -> bytes:
    """Return the bytes with one bit changed between two places."""
    end = len(content) if end is None else end
    changed = bytearray(content)
    changed[tools.random.randrange(first, end)] ^= 1 << tools.random.randrange(8)
    return bytes(changed)


# the four fields that are always there ---------------------------------------------------------------------------
def alg(header: Header, ciphertext: bytes, tools: Tools) -> tuple[Header, bytes] | None:
    """Name another AEAD."""
    other = AES_CCM_16_128_128 if header[LABEL_ALG] == AES_CCM_16_64_128 else AES_CCM_16_64_128
    return header | {LABEL_ALG: other}, ciphertext


def kid(header: Header, ciphertext: bytes, tools: Tools) -> tuple[Header, bytes] | None:
    """Change a bit of the kid."""
    return header | {LABEL_KID: flipped(header[LABEL_KID], tools)}, ciphertext


def number(header: Header, ciphertext: bytes, tools: Tools) -> tuple[Header, bytes] | None:
    """Show a number a little higher than the real one."""
    if number_of(header) >= HIGHEST_NUMBER - _LONGEST_NUMBER:
        return None
    higher = number_of(header) + tools.random.randrange(1, _LONGEST_NUMBER)
    return header | {LABEL_PARTIAL_IV: partial_iv(higher)}, ciphertext


def critical(header: Header, ciphertext: bytes, tools: Tools) -> tuple[Header, bytes] | None:
    """Add a header parameter that must be understood (crit, RFC 9052 §3.1)."""
    return header | {2: [99], 99: b""}, ciphertext


# claims ----------------------------------------------------------------------------------------------------------
def claim(label: int, other: Callable[[Any], Any]) -> Cut:
    """Return the cut that changes one disclosed claim."""

    def cut(header: Header, ciphertext: bytes, tools: Tools) -> tuple[Header, bytes] | None:
        claims = header.get(LABEL_CLAIMS, {})
        if label not in claims:
            return None
        return header | {LABEL_CLAIMS: claims | {label: other(claims[label])}}, ciphertext

    return cut


def added_claims(header: Header, ciphertext: bytes, tools: Tools) -> tuple[Header, bytes] | None:
    """Disclose something that the sender did not."""
    return (header | {LABEL_CLAIMS: {4: 1}}, ciphertext) if LABEL_CLAIMS not in header else None


def stripped(label: int) -> Cut:
    """Return the cut that takes a whole part of the header away."""

    def cut(header: Header, ciphertext: bytes, tools: Tools) -> tuple[Header, bytes] | None:
        if label not in header:
            return None
        return {key: part for key, part in header.items() if key != label}, ciphertext

    return cut


# start header ----------------------------------------------------------------------------------------------------
def start_field(name: str, other: Callable[[Any, Tools], Any]) -> Cut:
    """Return the cut that changes one field of a start header (`wire.header.StartHeader`)."""

    def cut(header: Header, ciphertext: bytes, tools: Tools) -> tuple[Header, bytes] | None:
        start = start_of(header)
        if start is None:
            return None
        fields: dict[str, Any] = {name: other(getattr(start, name), tools)}
        return header | {LABEL_START: replace(start, **fields).to_value()}, ciphertext

    return cut


def other_index(value: Any, tools: Tools) -> Any:
    """The index of another one-time key."""
    return 0 if value is None else (value + 1) % 64


def other_ml_kem(value: Any, tools: Tools) -> Any:
    """Another ciphertext, or one where there was none."""
    return tools.random.randbytes(_ML_KEM_BYTES)


def without_one_time(header: Header, ciphertext: bytes, tools: Tools) -> tuple[Header, bytes] | None:
    """Pretend that a start used no one-time key."""
    start = start_of(header)
    if start is None or start.one_time is None:
        return None
    return start_field("one_time", lambda value, tools: None)(header, ciphertext, tools)


def without_ml_kem(header: Header, ciphertext: bytes, tools: Tools) -> tuple[Header, bytes] | None:
    """Pretend that a start has no post-quantum part."""
    start = start_of(header)
    if start is None or start.ml_kem is None:
        return None
    return start_field("ml_kem", lambda value, tools: None)(header, ciphertext, tools)


# opener ----------------------------------------------------------------------------------------------------------
def opener_first(header: Header, ciphertext: bytes, tools: Tools) -> tuple[Header, bytes] | None:
    """Let the chain begin one number earlier, or later where it cannot."""
    opener = header.get(LABEL_OPENER)
    if opener is None:
        return None
    first = opener[0] - 1 if opener[0] else 1
    return header | {LABEL_OPENER: [first, *opener[1:]]}, ciphertext


def opener_key(header: Header, ciphertext: bytes, tools: Tools) -> tuple[Header, bytes] | None:
    """Put a key of the adversary's own in the place of the epoch's."""
    opener = header.get(LABEL_OPENER)
    if opener is None or not isinstance(opener[1], bytes):
        return None
    return header | {LABEL_OPENER: [opener[0], tools.forger.public_key(), *opener[2:]]}, ciphertext


def opener_epoch(header: Header, ciphertext: bytes, tools: Tools) -> tuple[Header, bytes] | None:
    """Let the epoch begin elsewhere: in an opener that shows it."""
    opener = header.get(LABEL_OPENER)
    if opener is None or len(opener) != 5:
        return None
    epoch = opener[2] - 1 if opener[2] else opener[2] + 1
    return header | {LABEL_OPENER: [*opener[:2], epoch, *opener[3:]]}, ciphertext


def opener_reseed(header: Header, ciphertext: bytes, tools: Tools) -> tuple[Header, bytes] | None:
    """Show another index of a reseed."""
    opener = header.get(LABEL_OPENER)
    if opener is None or len(opener) < 3:
        return None
    return header | {LABEL_OPENER: [*opener[:-2], opener[-2] + 1, opener[-1]]}, ciphertext


def opener_salt(header: Header, ciphertext: bytes, tools: Tools) -> tuple[Header, bytes] | None:
    """Change the salt of a reseed."""
    opener = header.get(LABEL_OPENER)
    if opener is None or len(opener) < 3:
        return None
    return header | {LABEL_OPENER: [*opener[:-1], flipped(opener[-1], tools)]}, ciphertext


# bytes -----------------------------------------------------------------------------------------------------------
def body(header: Header, ciphertext: bytes, tools: Tools) -> tuple[Header, bytes] | None:
    """Change a bit of the sealed message."""
    return header, flipped(ciphertext, tools, 0, len(ciphertext) - TAG_BYTES[header[LABEL_ALG]])


def tag(header: Header, ciphertext: bytes, tools: Tools) -> tuple[Header, bytes] | None:
    """Change a bit of the authentication tag."""
    return header, flipped(ciphertext, tools, len(ciphertext) - TAG_BYTES[header[LABEL_ALG]])


def shorter(header: Header, ciphertext: bytes, tools: Tools) -> tuple[Header, bytes] | None:
    """Cut the ciphertext short, within a sound envelope."""
    least = TAG_BYTES[header[LABEL_ALG]] + 1
    return (header, ciphertext[: tools.random.randrange(least, len(ciphertext))]) if len(ciphertext) > least else None


def longer(header: Header, ciphertext: bytes, tools: Tools) -> tuple[Header, bytes] | None:
    """Make the ciphertext longer, within a sound envelope."""
    return header, ciphertext + tools.random.randbytes(tools.random.randrange(1, 32))
