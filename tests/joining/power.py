# SPDX-License-Identifier: Apache-2.0
"""A power cut at the n-th change of a directory: renames and removals, which is how files here come and go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


class PowerCut(BaseException):
    """The process is gone; nothing catches this."""


class Power:
    """Cuts the power before the change number ``cut_at``, from 0; ``changes`` counts them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.changes, self.cut_at = 0, -1
        for name in ("replace", "unlink", "rmdir"):
            monkeypatch.setattr(Path, name, self._counted(getattr(Path, name)))

    def runs_out(self, at: int, work: Callable[[], object]) -> bool:
        """Do ``work`` with the power cut at a change; return whether it came to that."""
        self.changes, self.cut_at = 0, at
        try:
            work()
        except PowerCut:
            return True
        finally:
            self.cut_at = -1
        return False

    def _counted(self, change: Callable[..., Any]) -> Callable[..., Any]:
        def counted(path: Path, *arguments: Any, **options: Any) -> Any:
            if self.changes == self.cut_at:
                raise PowerCut
            self.changes += 1
            return change(path, *arguments, **options)

        return counted
