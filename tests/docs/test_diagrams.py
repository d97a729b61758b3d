# SPDX-License-Identifier: Apache-2.0
"""spec/diagrams.md shows the tables of the code, all of them."""

from __future__ import annotations

import gc
import importlib
import pkgutil

import sealway
from scripts.diagrams import MACHINES, PAGE, page
from sealway.protocol.life import Machine


def test_the_page_is_drawn_from_the_tables() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "draw it anew: python -m scripts.diagrams"


def test_no_table_is_left_out() -> None:
    for package in ("joining", "protocol", "sdk"):
        for module in pkgutil.iter_modules([f"{sealway.__path__[0]}/{package}"]):
            importlib.import_module(f"sealway.{package}.{module.name}")
    assert {found.name for found in gc.get_objects() if isinstance(found, Machine)} == {one.name for one in MACHINES}


def test_nothing_in_a_label_ends_a_line_of_the_diagram() -> None:
    for machine in MACHINES:
        assert not [step.on for step in machine.steps if set(step.on) & set(":;#\n|")]
        assert all(state.name.isidentifier() for state in machine.states)
