# SPDX-License-Identifier: Apache-2.0
"""Every attack against live traffic: all that it tried got through, nothing wrong came to a handler, nothing went
unnoticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealway.adversary.catalogue import ATTACKS
from sealway.adversary.verdict import faults
from tests.adversary.performing import perform


@pytest.mark.parametrize("name", sorted(ATTACKS))
async def test_attack(tmp_path: Path, name: str) -> None:
    row = await perform(tmp_path, name)
    assert not faults(row), row
    assert row["expected"] != "refused" or row["reported_as"]
