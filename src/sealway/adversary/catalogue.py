# SPDX-License-Identifier: Apache-2.0
"""Every attack by its name: the same in scenarios, in reports and in the demo's evidence."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from sealway.adversary import delaying, flooding, lying, replaying, splicing, substituting, tampering
from sealway.adversary.attack import Attack

_MODULES = (tampering, replaying, delaying, splicing, substituting, lying, flooding)

ATTACKS: Final = MappingProxyType({attack.name: attack for module in _MODULES for attack in module.attacks()})
"""Name to attack."""


def attack_named(name: str) -> Attack | None:
    """Return the attack of this name, or None."""
    return ATTACKS.get(name)
