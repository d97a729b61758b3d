# SPDX-License-Identifier: Apache-2.0
"""What ``sealway`` exports: a promise to those who build on it. A change here belongs into the changelog."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sealway
from sealway.errors import SealwayError

NAMES = [
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
    "Mistyped",
    "Moved",
    "Message",
    "Messages",
    "Missing",
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
MEMBERS = {
    "Application": "accept add_grant answer ask batches close events happenings introduce messages name next_event"
    " next_events open open_file prepare request seal_file unanswered",
    "CoapListener": "host port",
    "Device": "accept add_grant application applications close events happenings introduce name next_event next_events"
    " on open open_file prepare seal_file send serve",
    "Gateway": "address run served",
    "HopIdentity": "accept add_grant assertion hub name open prepare tls",
    "HttpUplink": "open",
    "Messages": "take",
    "Owner": "close create domain enroll fingerprint grant issued open root",
}
"""Public members of what is more than a value."""


def test_the_names() -> None:
    assert sorted(sealway.__all__) == sorted(NAMES)
    assert set(NAMES) <= set(dir(sealway))


def test_every_error_is_among_them() -> None:
    def below(kind: type[SealwayError]) -> Iterator[type[SealwayError]]:
        yield kind
        for smaller in kind.__subclasses__():
            yield from below(smaller)

    assert {kind.__name__ for kind in below(SealwayError) if kind.__module__ == "sealway.errors"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_is_documented_and_typed(name: str) -> None:
    found = getattr(sealway, name)
    assert inspect.getdoc(found)
    for member, value in _public(found):
        assert inspect.getdoc(value), member
        if callable(function := inspect.unwrap(getattr(value, "__func__", value))) and not isinstance(value, property):
            signature = inspect.signature(function)
            assert signature.return_annotation is not signature.empty, member
            assert [p for p in list(signature.parameters.values())[1:] if p.annotation is p.empty] == [], member


@pytest.mark.parametrize("name", MEMBERS)
def test_the_members(name: str) -> None:
    assert " ".join(sorted(member for member, _ in _public(getattr(sealway, name)))) == MEMBERS[name]


def _public(kind: type) -> list[tuple[str, Any]]:
    return [
        (member, inspect.getattr_static(kind, member))
        for member in dir(kind)
        if not member.startswith("_") and not hasattr(BaseException, member)
        and (callable(getattr(kind, member)) or isinstance(inspect.getattr_static(kind, member), property))
    ]  # fmt: skip


def test_what_is_not_there() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Nonsense'"):
        _ = sealway.Nonsense  # type: ignore[attr-defined]


def test_importing_an_error_imports_little() -> None:
    look = "import sys, sealway, sealway.errors; print(sorted(m for m in sys.modules if m.startswith('sealway')))"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60)
    assert ast.literal_eval(done.stdout) == ["sealway", "sealway.errors"]
    for names, absent in (("Message SealwayError Name", "asyncio"), ("Owner", "aiocoap"), ("Owner", "httpx")):
        look = f"import sys, sealway; [getattr(sealway, n) for n in {names.split()}]; print({absent!r} in sys.modules)"
        done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout.strip() == "False", (names, absent)


def test_it_is_marked_as_typed() -> None:
    assert (Path(sealway.__file__).parent / "py.typed").exists()
