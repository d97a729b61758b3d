# SPDX-License-Identifier: Apache-2.0
"""Closes a meter's valve, then prints what the meter says.

python application.py DIR [DEVICE]
"""

import asyncio
import sys
from datetime import timedelta

from sealway import Application, SealwayError

METER = "sealway://building.example/device/meter"


async def main(directory: str, meter: str = METER) -> None:
    async with Application.open(directory) as building, asyncio.TaskGroup() as tasks:
        tasks.create_task(tell(building))
        try:
            reply = await building.request(meter, "valve", b"close", timeout=timedelta(seconds=60))
            print("the valve is", reply.payload.decode(), flush=True)
        except SealwayError as error:
            print("the valve may be open:", error, flush=True)
        async for reading in building.messages(sender=meter):  # handled once the loop goes on
            print(f"{reading.sent_at:%H:%M:%S}", reading.sender.label, reading.payload.decode(), flush=True)


async def tell(building: Application) -> None:
    async for event in building.events():  # what is missing, who is silent
        print("note:", event, flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
