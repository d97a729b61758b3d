# SPDX-License-Identifier: Apache-2.0
"""Two endpoints of one domain."""

from __future__ import annotations

import pytest

from tests.identity.small_domain import SmallDomain
from tests.protocol.party import Party


@pytest.fixture(scope="module")
def town() -> SmallDomain:
    return SmallDomain()


@pytest.fixture(scope="module")
def alice(town: SmallDomain) -> Party:
    return Party(town, "alice")


@pytest.fixture(scope="module")
def bob(town: SmallDomain) -> Party:
    return Party(town, "bob")
