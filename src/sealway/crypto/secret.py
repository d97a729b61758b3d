# SPDX-License-Identifier: Apache-2.0
"""Secret bytes in a type of their own.

Invariant: a secret never shows in a repr, a log line, a pickle or a set; the one way to its bytes is ``reveal()``,
which is easy to search for. (Python cannot promise to erase memory: this type keeps secrets from spreading, no more.)
"""

from __future__ import annotations

import hmac
from typing import NoReturn


class Secret:
    """Bytes that must not be shown.

    Args:
        value: the secret itself, any length.
    """

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = bytes(value)

    def reveal(self) -> bytes:
        """Return the secret bytes; whoever calls this answers for where they go."""
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value, other._value)

    # A hash would let a secret be found by its bucket, and put it into sets and dictionary keys.
    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "[redacted]"

    def __format__(self, spec: str) -> str:
        return "[redacted]"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret is never pickled or copied")
