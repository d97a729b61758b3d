# SPDX-License-Identifier: Apache-2.0
"""Every attack against live traffic: all that it tried got through, nothing wrong came to a handler, nothing went
unnoticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealway.adversary.attack import Selection
from sealway.adversary.catalogue import ATTACKS
from sealway.adversary.passing import Leg
from sealway.adversary.tampering import Original, TamperParameters
from sealway.adversary.verdict import faults
from tests.adversary.cases import LONG_S, Case
from tests.adversary.performing import perform


@pytest.mark.parametrize("name", sorted(ATTACKS))
async def test_attack(tmp_path: Path, name: str) -> None:
    row = await perform(tmp_path, name)
    assert not faults(row), row
    assert row["expected"] != "refused" or row["reported_as"]


@pytest.mark.parametrize("leg", list(Leg))
@pytest.mark.parametrize("name", ["tamper-ciphertext", "tamper-start-ephemeral", "strip-start", "insert-claims"])
async def test_an_altered_envelope_in_place_of_the_genuine_one(tmp_path: Path, name: str, leg: Leg) -> None:
    """Before the hub or behind it: its sender offers the genuine one again."""
    case = Case(Selection(leg=leg, count=4, seconds=LONG_S), lambda path: TamperParameters(Original.WITHHELD))
    row = await perform(tmp_path, name, case=case)
    assert not faults(row), row
