# SPDX-License-Identifier: Apache-2.0
"""State directories as the commands open them: what should be known is printed as a warning."""

from __future__ import annotations

from pathlib import Path

from sealway.cli.messages import warn
from sealway.home.home import Home


def home_of(path: Path, command: str) -> Home:
    """Return the state directory of a member; ``command`` is its group: hub, gateway, device, app."""
    return Home(path, command, warn)
