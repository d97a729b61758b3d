# SPDX-License-Identifier: Apache-2.0
"""A factory on disk whose passphrases cost little."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sealway.crypto.secret import Secret
from sealway.factory.authority import FactoryHome, OpenFactory
from sealway.keystore.sealing import Cost

PASSPHRASE = Secret(b"of the factory")
Opening = Callable[[], OpenFactory]


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passphrases that anyone could guess, so that a device takes a few milliseconds."""
    monkeypatch.setattr("sealway.keystore.file.Cost", lambda: Cost(memory_kib=8, passes=1))


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A factory's directory, to be copied."""
    path = tmp_path_factory.mktemp("factory") / "state"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sealway.keystore.file.Cost", lambda: Cost(memory_kib=8, passes=1))
        FactoryHome(path).create("Acme Meters", PASSPHRASE)
    return path


@pytest.fixture
def home(template: Path, tmp_path: Path) -> FactoryHome:
    """A factory of its own."""
    shutil.copytree(template, tmp_path / "state")
    return FactoryHome(tmp_path / "state")


@pytest.fixture
def factory(home: FactoryHome, cheap: None) -> Iterator[OpenFactory]:
    """The same, open."""
    with OpenFactory.open(home, PASSPHRASE) as opened:
        yield opened
