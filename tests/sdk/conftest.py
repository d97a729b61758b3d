# SPDX-License-Identifier: Apache-2.0
"""A store and a journal for each test, and the world of the system tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sealway.sdk import endpoint
from sealway.sdk.journal import Journal
from sealway.sdk.schema import SCRIPTS
from sealway.storage.store import Store
from tests.system.world import World


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "state.sqlite", SCRIPTS, "tester")
    yield opened
    opened.close()


@pytest.fixture
def journal(store: Store) -> Journal:
    return Journal(store)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(endpoint, "TICK_S", 0.01)
    monkeypatch.setattr(endpoint, "PAUSE_S", 0.01)
    monkeypatch.setattr(endpoint, "POLL_S", 0.2)
    return World(tmp_path)
