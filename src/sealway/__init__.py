# SPDX-License-Identifier: Apache-2.0
"""Messages between things and applications, sealed from end to end through every gateway and cloud between them.

The two ends are ``Device`` and ``Application``; ``Owner`` says who is who and who may do what; ``Gateway`` carries and
opens nothing. Errors are sorted by culprit; all of them are a ``SealwayError``.

Each name is imported when it is first used: ``import sealway`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sealway.errors import (
        Closed,
        GapTooLarge,
        HopRefused,
        Interrupted,
        InUse,
        LocalMisuse,
        Malformed,
        Mistyped,
        NoCommonSuite,
        NotAuthentic,
        NotAuthorized,
        NotFound,
        NotPostQuantum,
        NotTrusted,
        PeerForked,
        PeerMisbehaved,
        PrekeyGone,
        RateLimited,
        Replayed,
        SealwayError,
        Stale,
        StateLost,
        TokenFailed,
        TokenGone,
        TokenLocked,
        TooLarge,
        TransportFailed,
        WrongCode,
    )
    from sealway.gateway.facade import CoapListener, Gateway, HttpUplink
    from sealway.gateway.limits import Limits
    from sealway.home.hop import HopIdentity
    from sealway.protocol.events import Event, ForkSuspected, Missing, Silent, Unacknowledged, WithoutOneTimeKey
    from sealway.protocol.policy import PostQuantum
    from sealway.sdk.application import Application
    from sealway.sdk.backlog import Unread
    from sealway.sdk.device import Device
    from sealway.sdk.inbox import Received
    from sealway.sdk.owner.owner import Issued, Owner
    from sealway.sdk.place import Moved
    from sealway.sdk.reading import Messages
    from sealway.sdk.sealedfiles import OpenedFile, SealedFile
    from sealway.wire.address import Name
    from sealway.wire.header import Claims
    from sealway.wire.message import Message

_WHERE: Final = {
    "errors": (
        "Closed", "GapTooLarge", "HopRefused", "InUse", "Interrupted", "LocalMisuse", "Malformed", "Mistyped",
        "NoCommonSuite", "NotAuthentic", "NotAuthorized", "NotFound", "NotPostQuantum", "NotTrusted", "PeerForked",
        "PeerMisbehaved", "PrekeyGone", "RateLimited", "Replayed", "SealwayError", "Stale", "StateLost", "TokenFailed",
        "TokenGone", "TokenLocked", "TooLarge", "TransportFailed", "WrongCode",
    ),
    "gateway.facade": ("CoapListener", "Gateway", "HttpUplink"),
    "gateway.limits": ("Limits",),
    "home.hop": ("HopIdentity",),
    "protocol.events": ("Event", "ForkSuspected", "Missing", "Silent", "Unacknowledged", "WithoutOneTimeKey"),
    "protocol.policy": ("PostQuantum",),
    "sdk.application": ("Application",),
    "sdk.backlog": ("Unread",),
    "sdk.device": ("Device",),
    "sdk.inbox": ("Received",),
    "sdk.owner.owner": ("Issued", "Owner"),
    "sdk.place": ("Moved",),
    "sdk.reading": ("Messages",),
    "sdk.sealedfiles": ("OpenedFile", "SealedFile"),
    "wire.address": ("Name",),
    "wire.header": ("Claims",),
    "wire.message": ("Message",),
}  # fmt: skip
_HOME: Final = {name: module for module, names in _WHERE.items() for name in names}

__all__ = [
    "Application",
    "Claims",
    "Closed",
    "CoapListener",
    "Device",
    "Event",
    "ForkSuspected",
    "GapTooLarge",
    "Gateway",
    "HopIdentity",
    "HopRefused",
    "HttpUplink",
    "InUse",
    "Interrupted",
    "Issued",
    "Limits",
    "LocalMisuse",
    "Malformed",
    "Message",
    "Messages",
    "Missing",
    "Mistyped",
    "Moved",
    "Name",
    "NoCommonSuite",
    "NotAuthentic",
    "NotAuthorized",
    "NotFound",
    "NotPostQuantum",
    "NotTrusted",
    "OpenedFile",
    "Owner",
    "PeerForked",
    "PeerMisbehaved",
    "PostQuantum",
    "PrekeyGone",
    "RateLimited",
    "Received",
    "Replayed",
    "SealedFile",
    "SealwayError",
    "Silent",
    "Stale",
    "StateLost",
    "TokenFailed",
    "TokenGone",
    "TokenLocked",
    "TooLarge",
    "TransportFailed",
    "Unacknowledged",
    "Unread",
    "WithoutOneTimeKey",
    "WrongCode",
]


if not TYPE_CHECKING:  # a type checker sees the imports above, and so each name that is not there

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
