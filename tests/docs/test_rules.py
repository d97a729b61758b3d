# SPDX-License-Identifier: Apache-2.0
"""spec/rules.md names tests that exist, and follows the sections of session.md."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = set(re.findall(r"`(test_\w+)`", (ROOT / "spec" / "rules.md").read_text()))


def defined(*folders: str) -> set[str]:
    """Names of test functions below these folders of tests/."""
    files = [path for folder in folders for path in (ROOT / "tests" / folder).rglob("test_*.py")]
    return {name for path in files for name in re.findall(r"^\s*(?:async )?def (test_\w+)", path.read_text(), re.M)}


def test_every_test_that_is_named_exists() -> None:
    assert not NAMED - defined("protocol", "system", "sdk", "model", "power", "vectors")


def test_every_section_with_rules_is_there() -> None:
    """The table follows the page: a new section needs a row."""
    sections = set(re.findall(r"^## (.+)$", (ROOT / "spec" / "session.md").read_text(), re.M))
    plain = {"Roles and state", "Key schedule", "Labels", "Worked example", "Reserved", "Bounds and times"}
    covered = {
        "Suites", "Start", "Key identifiers", "Chains: sealing", "Chains: opening", "Receipts", "Commands", "Prekeys",
        "State",
    }  # fmt: skip
    assert sections == plain | covered
