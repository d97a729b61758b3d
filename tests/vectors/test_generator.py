# SPDX-License-Identifier: Apache-2.0
"""The published vectors are what the implementation makes today, byte for byte."""

import json

import pytest

from scripts.vectors.__main__ import VECTORS
from scripts.vectors.files import files


@pytest.mark.parametrize("name", sorted(files()))
def test_the_files_are_what_the_code_makes(name: str) -> None:
    assert (VECTORS / name).read_text() == files()[name], "python -m scripts.vectors writes them anew"


def test_there_is_nothing_else() -> None:
    assert {path.name for path in VECTORS.iterdir()} == {*files(), "README.md"}


def test_each_verdict_is_there() -> None:
    """A second implementation meets every outcome that the pages name, except those that need a stored state."""
    events = [e for text in files().values() for c in json.loads(text)["cases"] for e in (c, *c.get("events", ()))]
    verdicts = {event["verdict"] for event in events if "verdict" in event}
    assert verdicts >= {
        "opened",
        "replayed",
        "not-authentic",
        "gap-too-large",
        "peer-forked",
        "state-lost",
        "stale",
        "fresh",
    }
    assert any(event.get("suspected") for event in events)
    assert any(event.get("again") for event in events)
    assert any(event.get("moved") for event in events)
