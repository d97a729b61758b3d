# SPDX-License-Identifier: Apache-2.0
"""Seals a file for an application, without any network; the application opens it. Both could be pipes.

python files_and_pipes.py introduce DIR                > introduction
python files_and_pipes.py seal      DIR introduction   < plain  > sealed
python files_and_pipes.py open      DIR                < sealed > plain
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

from sealway import Application, Device

BUILDING = "sealway://building.example/application/building"


async def introduce(directory: str) -> None:
    async with Application.open(directory) as building:
        sys.stdout.buffer.write(await building.introduce())  # not secret; to be carried to whoever seals


async def seal(directory: str, introduction: str) -> None:
    async with Device.open(directory) as meter:
        known = await asyncio.to_thread(Path(introduction).read_bytes)
        await meter.seal_file(BUILDING, sys.stdin.buffer, sys.stdout.buffer, introduction=known)


async def open_sealed(directory: str) -> None:
    async with Application.open(directory) as building:
        opened = await building.open_file(sys.stdin.buffer, sys.stdout.buffer)
        print(f"{opened.size} bytes, sealed by {opened.sender}", file=sys.stderr)


if __name__ == "__main__":
    what: dict[str, Any] = {"introduce": introduce, "seal": seal, "open": open_sealed}
    asyncio.run(what[sys.argv[1]](*sys.argv[2:]))
