# SPDX-License-Identifier: Apache-2.0
"""The search itself can find: without this, finding nothing would mean nothing."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest

from tests.e2e.memory import forms, in_files, in_memory


@pytest.mark.parametrize("before", range(6))
def test_base64_is_found_at_every_alignment(before: int) -> None:
    secret = os.urandom(8)
    text = base64.b64encode(os.urandom(before) + secret + os.urandom(5))
    assert sum(needle in text for form, needle in forms(secret).items() if form.startswith("base64")) >= 1


def test_own_memory_and_files_are_searched(tmp_path: Path) -> None:
    secret = os.urandom(8)
    held = bytearray(secret)
    (tmp_path / "log").write_bytes(b"x" * 5000 + secret.hex().encode())
    assert in_files(tmp_path, forms(secret)) == ["log: hex"]
    assert "raw" in in_memory(os.getpid(), forms(secret))
    assert held
