# SPDX-License-Identifier: Apache-2.0
"""The two ends, Device and Application, with durable state; and the owner. Imported when they are first used: an owner
needs no carrier."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sealway.sdk.application import Application
    from sealway.sdk.device import Device
    from sealway.sdk.inbox import Received
    from sealway.sdk.member import Member

_WHERE: Final = {"Application": "application", "Device": "device", "Member": "member", "Received": "inbox"}

__all__ = ["Application", "Device", "Member", "Received"]


if not TYPE_CHECKING:  # a type checker sees the imports above, and so each name that is not there

    def __getattr__(name: str) -> Any:
        if name not in _WHERE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
