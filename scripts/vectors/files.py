# SPDX-License-Identifier: Apache-2.0
"""The content of each file of vectors/."""

from __future__ import annotations

import json
from typing import Any

from scripts.vectors import chains, commands, envelopes, messages, receipts, starts


def files() -> dict[str, str]:
    """Return the text of each file by its name; the same in every run."""
    made = {
        "envelope.json": envelopes.cases(),
        "message.json": messages.cases(),
        "start.json": starts.cases(),
        "chains.json": chains.cases(),
        "receipts.json": receipts.cases(),
        "commands.json": commands.cases(),
    }
    return {name: _text(cases) for name, cases in made.items()}


def _text(cases: list[dict[str, Any]]) -> str:
    return json.dumps({"format": 1, "protocol": 0, "cases": cases}, indent=1, ensure_ascii=True) + "\n"
