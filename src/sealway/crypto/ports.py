# SPDX-License-Identifier: Apache-2.0
"""What the rest of Sealway needs of a private key, wherever it lives: in memory, in a file, in a token or a TPM.

Invariant: nothing above this module can tell where a private key is kept, and no port gives one out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from sealway.crypto.keys import VerifyingKey
    from sealway.crypto.secret import Secret

Random: TypeAlias = Callable[[int], bytes]
"""A source of randomness: given a count, returns that many unpredictable bytes; chosen by the outermost layers."""


class Signer(Protocol):
    """A signing key: P-256 (ES256) or Ed25519 (EdDSA); ``public.algorithm`` says which."""

    @property
    def public(self) -> VerifyingKey:
        """The public half."""

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature: r‖s over SHA-256 of ``message``, or R‖S (RFC 9053 §2.1, §2.2)."""


class Agreer(Protocol):
    """A key-agreement key on the curve of its endpoint's suites."""

    @property
    def public(self) -> bytes:
        """The public half: a 32-byte x-coordinate (P-256), or u-coordinate (X25519)."""

    def agree(self, peer: bytes, /) -> Secret:
        """Return the 32-byte coordinate that both ends compute. Raises Malformed, NotAuthentic for a bad ``peer``."""


class Unwrapper(Protocol):
    """A key-encryption key: what was wrapped for it, it unwraps."""

    def unwrap(self, wrapped: bytes) -> Secret:
        """Return what ``wrapped`` holds. Raises NotAuthentic if it was not wrapped for this key, or was altered."""


class Counter(Protocol):
    """A number that only grows and that a restored copy of the state cannot take back."""

    def value(self) -> int:
        """Return the present value."""

    def reach(self, target: int) -> None:
        """Count up to ``target``, durably, if it is not reached already: this may be called again after any failure."""
