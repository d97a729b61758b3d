# SPDX-License-Identifier: Apache-2.0
"""Loops of endpoints turn quickly here too."""

from __future__ import annotations

import pytest

from sealway.sdk import endpoint


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops of an endpoint pause for a moment instead of a second."""
    monkeypatch.setattr(endpoint, "TICK_S", 0.01)
    monkeypatch.setattr(endpoint, "PAUSE_S", 0.01)
    monkeypatch.setattr(endpoint, "POLL_S", 0.2)
