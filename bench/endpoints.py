# SPDX-License-Identifier: Apache-2.0
"""The two ends of a path, each a process of its own: ``python -m bench.endpoints KIND DIRECTORY``.

KIND is sealed-device, sealed-application, plain-device or plain-application. Standard input says what to do: a device
sends as many messages as the number in a line says, a hundred at a time, and answers "sent" when the last is durable;
an application answers "got" when it has handled so many more. DIRECTORY is where ``path.py`` has put what they need.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

from bench.plain import unseal_sessions
from sealway.crypto.keys import Secret, SoftSigner
from sealway.crypto.suites import SUITE_1
from sealway.identity.assertion import make_assertion
from sealway.identity.consents import sign_consent
from sealway.identity.credentials import verify_chain
from sealway.identity.root import trust_root_on_first_use
from sealway.keystore.memory import MemoryKeystore
from sealway.sdk import Application, Device, Member
from sealway.sdk.agreements import AgreementKeys
from sealway.transports.coap import CoapCarrier
from sealway.transports.hop_tls import client_context
from sealway.transports.http import HttpCarrier
from sealway.wire.address import MailboxAddress, Name
from sealway.wire.carriage import CertChain

GROUP = 100
_DAY_S = 86_400
_PATIENCE = timedelta(seconds=30)


def member_in(here: Path, kind: str) -> Member:
    """Return the member whose keys and chain lie in the directory."""
    now, hub = int(time.time()), (here / "hub.url").read_text()
    root = trust_root_on_first_use((here / "root").read_bytes(), now=now)
    chain = CertChain.decode((here / f"{kind}.chain").read_bytes()).certificates
    credential = verify_chain(chain, root, now)
    signer, agreement = ((here / f"{kind}.{key}").read_bytes() for key in ("scalar", "agreement"))
    keystore = MemoryKeystore(lambda _: agreement)
    keystore.generate("agreement", "agree")
    address = MailboxAddress(hub, credential.name.mailbox)
    return Member(root, credential, SoftSigner(Secret(signer)), AgreementKeys(keystore), address, SUITE_1)


async def _device(here: Path, kind: str, commands: asyncio.Queue[int]) -> None:
    member, peer = member_in(here, kind), Name.parse((here / f"{kind.partition('-')[0]}-application.name").read_text())
    gateway = Name.parse((here / "gateway.name").read_text())
    consent = sign_consent(member.credential, gateway, member.signer, now=int(time.time()), seconds=_DAY_S)
    carrier = CoapCarrier((here / "gateway.url").read_text())
    async with Device(here / f"{kind}-state", member, carrier, consents=[consent]) as device:
        await device.send(peer, "readings", bytes(64), within=_PATIENCE)
        print("ready device", flush=True)
        while count := await commands.get():
            for _ in range(0, count, GROUP):
                await asyncio.gather(*(device.send(peer, "readings", bytes(64)) for _ in range(GROUP)))
            print("sent", flush=True)


async def _application(here: Path, kind: str, commands: asyncio.Queue[int]) -> None:
    member = member_in(here, kind)
    name, context = str(member.name), client_context(member.root.issuing_cas)

    def assertion(audience: str) -> str:
        now = int(time.time())
        chain, signer = member.credential.chain, member.signer
        return make_assertion(name=name, chain=chain, signer=signer, audience=audience, now=now, random=os.urandom)

    hop = HttpCarrier((here / "hub.url").read_text(), ssl_context=context, name=name, make_assertion=assertion)
    async with Application(here / f"{kind}-state", member, hop) as application:
        await application.endpoint.publisher.published()
        print("ready application", flush=True)
        batches = application.batches()
        surplus = -1  # the message that began the session
        while count := await commands.get():
            while surplus < count:
                surplus += len(await anext(batches))
            surplus -= count
            print("got", flush=True)


async def _run(work: Callable[[Path, str, asyncio.Queue[int]], Awaitable[None]], here: Path, kind: str) -> None:
    commands: asyncio.Queue[int] = asyncio.Queue()

    def read() -> None:
        commands.put_nowait(int(sys.stdin.readline() or 0))

    asyncio.get_running_loop().add_reader(sys.stdin, read)
    await work(here, kind, commands)


if __name__ == "__main__":
    manner, role = sys.argv[1].split("-")
    if manner == "plain":
        unseal_sessions()
    asyncio.run(_run(_device if role == "device" else _application, Path(sys.argv[2]), sys.argv[1]))
