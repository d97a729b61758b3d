# SPDX-License-Identifier: Apache-2.0
"""The demo's ``--input``: a file that every device can read again after it was killed."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from sealway.cli.rows import Source
from sealway.errors import LocalMisuse


def settled_source(given: str, directory: Path) -> tuple[Path, int]:
    """Return the input as a file, and how many rows it has; standard input is written down first.

    Raises:
        LocalMisuse: there is no such file, it has no rows, or a row cannot be read.
    """
    path = _written_down(directory) if given == "-" else Path(given).resolve()
    rows = Source(path).check()
    if not rows:
        raise LocalMisuse(f"{given} has no rows", hint="give a CSV file with a header line, or one JSON value a line")
    return path, rows


def _written_down(directory: Path) -> Path:
    path = directory / "input"
    with path.open("xb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return path
