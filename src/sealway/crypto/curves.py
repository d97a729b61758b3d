# SPDX-License-Identifier: Apache-2.0
"""The groups in which two ends agree on keys. A suite names one; private and public keys have 32 bytes in each.

Invariant: keys of one group are never used in the other: whoever agrees takes the operations from its suite's curve.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sealway.crypto import keys, x25519
from sealway.crypto.ports import Agreer, Random
from sealway.crypto.secret import Secret


@dataclass(frozen=True, slots=True)
class Curve:
    """One group and what is done in it.

    Fields: ``draw`` makes a private key; ``public`` returns the public half of one; ``agree`` multiplies a private
    key with a peer's public one; ``agreer`` loads a private key that agrees more than once; ``validated`` returns a
    public key once it is known to be sound. What they raise: Malformed, NotAuthentic for a peer's key, LocalMisuse for
    an own one.
    """

    name: str
    draw: Callable[[Random], Secret]
    public: Callable[[Secret], bytes]
    agree: Callable[[Secret, bytes], Secret]
    agreer: Callable[[Secret], Agreer]
    validated: Callable[[bytes], bytes]

    def __repr__(self) -> str:
        return self.name


P256: Final = Curve(
    "P-256", keys.generate_scalar, keys.public_x, keys.agree, keys.SoftAgreer, keys.validated_x
)  # SP 800-186 §3.2.1.3
X25519: Final = Curve(
    "X25519", x25519.draw, x25519.public, x25519.agree, x25519.X25519Agreer, x25519.validated
)  # RFC 7748
