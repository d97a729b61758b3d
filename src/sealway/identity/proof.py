# SPDX-License-Identifier: Apache-2.0
"""A proof that travels in the type.

Invariant: a value of a proven type was made by the verification that its module holds. Each such class takes a
``proof`` argument that nobody outside its module has; it is consumed at construction, so that ``dataclasses.replace``
fails. This guards against mistakes, not against code that is out to cheat.
"""

from __future__ import annotations

from sealway.errors import LocalMisuse


class Proof:
    """A module's private token. Args: ``maker``, the function that callers should have used."""

    __slots__ = ("_maker",)

    def __init__(self, maker: str) -> None:
        self._maker = maker

    def demand(self, given: object) -> None:
        """Return if ``given`` is this very token. Raises LocalMisuse."""
        if given is not self:
            raise LocalMisuse(f"this value can only come from {self._maker}")
