# SPDX-License-Identifier: Apache-2.0
"""Tokens for the tests of keystores."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.keystore import swtpm
from tests.keystore.softhsm import CONTRACT_TOKEN, SoftHsm
from tests.keystore.swtpm import SwTpm

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftHsm]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", "")  # is given back as it was
        yield SoftHsm(tmp_path_factory.mktemp("softhsm"))


@pytest.fixture
def token(softhsm: SoftHsm) -> str:
    """The label of a token of its own."""
    label = f"token {next(_numbers)}"
    softhsm.add_token(label)
    return label


@pytest.fixture(scope="session")
def contract_token(softhsm: SoftHsm) -> None:
    """A token that stays for the whole session, if there is SoftHSM2."""
    with contextlib.suppress(pytest.skip.Exception):
        softhsm.add_token(CONTRACT_TOKEN)


@pytest.fixture(scope="session")
def contract_tpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A TPM that runs for the whole session, if there is swtpm."""
    with contextlib.suppress(pytest.skip.Exception):
        swtpm.contract = SwTpm(tmp_path_factory.mktemp("swtpm"))
    yield
    if swtpm.contract is not None:
        swtpm.contract.close()


@pytest.fixture
def tpm(tmp_path: Path) -> Iterator[SwTpm]:
    """A TPM of its own."""
    made = SwTpm(tmp_path)
    yield made
    made.close()
