# SPDX-License-Identifier: Apache-2.0
"""A water meter with a valve: sends a reading every second, and obeys whom the owner has granted it.

python device.py DIR
"""

import asyncio
import sys
from itertools import count

from sealway import Device, LocalMisuse, Message


async def main(directory: str) -> None:
    async with Device.open(directory) as meter, asyncio.TaskGroup() as tasks:

        @meter.on("valve", scope="valve:write")  # no handler without a scope
        async def set_valve(command: Message) -> str:
            if command.payload not in (b"open", b"close"):
                raise LocalMisuse("a valve opens and closes")
            print("the valve is told to", command.payload.decode(), flush=True)
            return "closed" if command.payload == b"close" else "open"

        tasks.create_task(meter.serve())
        for litres in count():
            await meter.send(meter.application, "readings", b"%d L" % litres)  # sealed here, opened only there
            await asyncio.sleep(1)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
