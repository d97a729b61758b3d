# SPDX-License-Identifier: Apache-2.0
"""One small domain for all tests of identity."""

from __future__ import annotations

import pytest

from tests.identity.small_domain import SmallDomain


@pytest.fixture(scope="session")
def domain() -> SmallDomain:
    """A domain with an owner, a CA, a grant key; the same for all tests, which only read it."""
    return SmallDomain()
