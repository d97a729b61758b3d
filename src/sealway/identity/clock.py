# SPDX-License-Identifier: Apache-2.0
"""Validity in time, for everything that is signed with a period: certificates, documents, bundles, grants, consents.

Invariant: nothing that has expired is taken for valid. A clock that is only a floor (the latest time known for sure to
have passed) can prove that something has expired, and can never prove that something has not begun.
"""

from __future__ import annotations

from typing import Final

from sealway.errors import NotTrusted

SKEW_SECONDS: Final = 300
"""How far another computer's clock may be ahead of this one's."""


def check_period(what: str, begins: int, ends: int, now: int, *, now_is_floor: bool, skew: int = SKEW_SECONDS) -> None:
    """Return if ``now`` is from ``begins`` (less ``skew``) to before ``ends``; all in seconds. Raises NotTrusted."""
    if now >= ends:  # RFC 7519 §4.1.4: "on or after which" it is no longer accepted
        raise NotTrusted(f"{what} has expired", hint="have it renewed, or set this computer's clock")
    if now < begins - skew and not now_is_floor:
        raise NotTrusted(f"{what} is not valid yet", hint="set this computer's clock")
