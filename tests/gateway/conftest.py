# SPDX-License-Identifier: Apache-2.0
"""Makes the helper module beside this file importable, and gives each test a bench."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from tests.gateway.gateway_bench import Bench


@pytest.fixture
async def bench(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Bench]:
    """What a test needs around a gateway; when everything is closed, no task and no complaint may be left."""
    before = asyncio.all_tasks()
    async with AsyncExitStack() as stack:
        yield Bench(tmp_path, stack)
    await asyncio.sleep(0)
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, left
    gc.collect()
    complaints = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert not complaints, complaints
