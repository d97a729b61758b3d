# SPDX-License-Identifier: Apache-2.0
"""Makes the helper module beside this file importable, and gives tests one small domain."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small_domain import SmallDomain


@pytest.fixture(scope="session")
def domain() -> SmallDomain:
    """A domain with an owner, a CA, a grant key; the same for all tests, which only read it."""
    return SmallDomain()
