# SPDX-License-Identifier: Apache-2.0
"""What a fuzz target is: a function that any bytes may be given to, and that fails only if a promise is broken.

The promises are the same for all decoders: a refusal is one of the errors that the decoder names, in one short line;
what is accepted encodes to the very bytes that were read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random
from typing import Any, Final, TypeAlias

from sealway.errors import Malformed, SealwayError, TooLarge

Check: TypeAlias = Callable[[bytes], None]
Mutate: TypeAlias = Callable[[bytes, Random], bytes]
"""Changes an input in a way that its structure survives; the same for the same state of the generator."""

LONGEST_LINE: Final = 500
"""Characters of an error's line or hint: whoever sends the bytes must not choose how much is written to a log."""

MALFORMED: Final = (Malformed, TooLarge)


class PromiseBrokenError(AssertionError):
    """An input has shown that something does not hold that is promised."""


@dataclass(frozen=True, slots=True)
class Target:
    """One decoder of untrusted bytes.

    Args:
        name: also of its corpus.
        check: returns, or raises whatever it likes; everything it raises is a finding.
        seeds: real samples, the same in every run.
        longest: bytes of an input that the fuzzer makes.
        mutate: knows the structure of the inputs.
        weight: how many shares of the time it gets.
    """

    name: str
    check: Check
    seeds: Callable[[], Iterable[bytes]]
    longest: int
    mutate: Mutate
    weight: int = 1


def demand(holds: bool, otherwise: str) -> None:
    """Raise PromiseBrokenError unless it holds."""
    if not holds:
        raise PromiseBrokenError(otherwise)


def refused(error: SealwayError) -> None:
    """Check the words of a refusal: one line each for what happened and for what to do."""
    for line in (error.message, error.hint or ""):
        demand(len(line) <= LONGEST_LINE, f"a refusal of {len(line)} characters")
        demand(line.isprintable(), f"a refusal with what cannot be printed: {line!r}")


def strict(
    decode: Callable[[bytes], Any],
    encode: Callable[[Any], bytes] = lambda value: value.encode(),
    refusals: tuple[type[SealwayError], ...] = MALFORMED,
) -> Check:
    """Return the check of a decoder that accepts nothing but the one encoding of a value."""

    def check(data: bytes) -> None:
        try:
            value = decode(data)
        except refusals as error:
            refused(error)
            return
        demand(encode(value) == data, "what was accepted encodes to other bytes")
        demand(decode(data) == value, "the same bytes were read as two different values")

    return check
