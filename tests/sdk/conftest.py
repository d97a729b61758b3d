# SPDX-License-Identifier: Apache-2.0
"""A store and a journal for each test, and the world of the system tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sealway.sdk import endpoint
from sealway.sdk.journal import Journal
from sealway.sdk.schema import SCRIPTS, WRAPPED
from sealway.storage.store import Store, connect
from sealway.vault.vault import open_vault
from tests.sdk.small_town import SmallTown, found
from tests.system.world import World


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "state.sqlite", SCRIPTS, "tester")
    yield opened
    opened.close()


@pytest.fixture
def journal(store: Store, tmp_path: Path) -> Journal:
    with closing(connect(tmp_path / "state.sqlite")) as connection:
        vault = open_vault(tmp_path, connection, WRAPPED, os.urandom)
    return Journal(store, vault, lambda: 0)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(endpoint, "TICK_S", 0.01)
    monkeypatch.setattr(endpoint, "PAUSE_S", 0.01)
    monkeypatch.setattr(endpoint, "POLL_S", 0.2)
    return World(tmp_path)


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directories of a small domain, to be copied."""
    base = tmp_path_factory.mktemp("founded")
    found(base)
    return base


@pytest.fixture
def town(founded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallTown:
    """A small domain with a hub in memory."""
    monkeypatch.setattr(endpoint, "TICK_S", 0.01)
    monkeypatch.setattr(endpoint, "POLL_S", 0.2)
    return SmallTown.copied(founded, tmp_path)
