# SPDX-License-Identifier: Apache-2.0
"""A world for each test, in which loops that wait turn quickly."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealway.sdk import endpoint
from sealway.sdk.role import Role
from tests.system.world import KeyWatch, World


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops of an endpoint pause for a moment instead of a second."""
    monkeypatch.setattr(endpoint, "TICK_S", 0.01)
    monkeypatch.setattr(endpoint, "PAUSE_S", 0.01)
    monkeypatch.setattr(endpoint, "POLL_S", 0.2)


@pytest.fixture(autouse=True)
def one_session_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions make room for each other at every moment that they may; tests/sdk runs with all of them in memory."""
    for made in (endpoint.Endpoint, Role):
        defaults = made.__init__.__kwdefaults__
        assert defaults is not None
        monkeypatch.setitem(defaults, "sessions_in_memory", 1)


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> KeyWatch:
    """Watches every encryption."""
    watch = KeyWatch()
    watch.install(monkeypatch)
    return watch


@pytest.fixture
def world(tmp_path: Path, keys: KeyWatch) -> World:
    """A domain whose endpoints live in ``tmp_path``; every test watches for a reused key."""
    return World(tmp_path)


@pytest.fixture
def fast(tmp_path: Path, keys: KeyWatch) -> World:
    """As ``world``, with a clock that runs 200 times as fast."""
    return World(tmp_path, speed=200.0)
