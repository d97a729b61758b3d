# SPDX-License-Identifier: Apache-2.0
"""One attack, in its circumstances, from the first message to the row of the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.adversary.arena import Arena
from tests.adversary.cases import Case, case_of


async def perform(
    path: Path, name: str, *, patience_s: float = 10.0, case: Case | None = None, red: str = ""
) -> dict[str, Any]:  # fmt: skip
    """Run an attack against live traffic; return its row.

    Args:
        red: a column in which something has to show before the row is looked at, a bounded time.
    """
    case = case_of(name) if case is None else case
    async with Arena(path, **case.options).running() as arena:
        if case.warm:
            await arena.warm_up()
        await case.before(arena)
        arena.begin(name, case.parameters(path) if case.parameters is not None else None, case.select)
        arena.start_traffic(commands=case.commands)
        arena.beside(case.during(arena))
        tally = await arena.over(case.seconds)
        if red:
            await arena.red(tally, red)
        return await arena.row(tally, patience_s=patience_s)
