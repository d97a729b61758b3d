# SPDX-License-Identifier: Apache-2.0
"""What a keystore needs of a token or a TPM: keys that are born in it, work in it, and never leave it.

All keys are P-256's, which is what such chips have. What is kept outside of one is a reference that is no secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from sealway.crypto.ports import Counter, Random
from sealway.crypto.suites import Suite
from sealway.keystore.ports import Kind

PREFIX: Final = "sealway "
"""With what the purpose of each key of Sealway begins."""


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a key was made for; the chip holds the key to it, so a changed index cannot say otherwise."""

    label: str
    kind: Kind
    suite: Suite

    @property
    def text(self) -> str:
        """All of it, in one line."""
        return f"{PREFIX}{self.label} {self.kind} {self.suite.number}"


@dataclass(frozen=True, slots=True)
class ChipKey:
    """A key in a chip.

    Args:
        purpose: what for.
        reference: how the chip finds it; not secret.
        point: its public half, compressed (SEC 1 §2.3.3), 33 bytes.
    """

    purpose: Purpose
    reference: bytes
    point: bytes


class Chip(Protocol):
    """A token or a TPM that is open. Each call may raise TokenFailed, and StateLost if the key is not there."""

    @property
    def settings(self) -> Mapping[str, str]:
        """What the chip needs to know to be opened again, beside its name; not secret."""

    @property
    def counter(self) -> Counter | None:
        """What counts the changes of the keystore, if the chip can."""

    def retire(self) -> None:
        """Remove what the chip keeps of the whole keystore, beside its keys."""

    def identity(self, random: Random) -> bytes:
        """Return what the next key can be found by, should its making be cut off; empty if nothing stays then."""

    def make(self, identity: bytes, purpose: Purpose) -> ChipKey:
        """Make a key that cannot leave the chip."""

    def discard(self, reference: bytes) -> None:
        """Destroy a key, given its reference or identity; if there is none, that is as well."""

    def demand(self, key: ChipKey) -> None:
        """Return if the key is there and is what it says it is for."""

    def sign(self, key: ChipKey, digest: bytes) -> bytes:
        """Return r‖s, 64 bytes, over a SHA-256 digest."""

    def agree(self, key: ChipKey, point: bytes) -> bytes:
        """Return the x-coordinate of the product with a point, which is uncompressed and known to be on the curve."""
