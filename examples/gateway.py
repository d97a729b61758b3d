# SPDX-License-Identifier: Apache-2.0
"""A gateway: devices come over CoAP, and what they say goes to the hub over HTTPS. It opens nothing.

python gateway.py DIR [HOST:PORT]
"""

import asyncio
import sys
from datetime import timedelta

from sealway import CoapListener, Gateway, HopIdentity, HttpUplink, Limits


async def main(directory: str, listen: str = "127.0.0.1:5683") -> None:
    gateway = Gateway(
        CoapListener(listen),
        uplink=HttpUplink(identity=HopIdentity.open(directory)),
        state=directory,
        limits=Limits(envelope_bytes=4096, per_minute=6000, held_for=timedelta(days=1)),
    )
    async with gateway:
        print("devices come to", gateway.address, flush=True)
        await gateway.served()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
