# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the command line's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.town import PASSPHRASE, Town


@pytest.fixture(autouse=True)
def _passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALWAY_PASSPHRASE", PASSPHRASE)
    monkeypatch.delenv("SEALWAY_TRACEBACK", raising=False)


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """A domain with an owner; hub and gateway are enrolled and run once somebody needs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEALWAY_PASSPHRASE", PASSPHRASE)
        town = Town(tmp_path_factory.mktemp("town"))
        yield town
        town.close()


@pytest.fixture
def carried(town: Town) -> Town:
    """The same, with hub and gateway running."""
    town.run_hops()
    return town


@pytest.fixture
def owner_state(tmp_path: Path) -> Path:
    """The directory of a fresh owner of its own."""
    from tests.cli.town import call

    state = tmp_path / "owner"
    call("owner", "init", "--state", state, "--domain", "small.example").expect(0)
    return state
