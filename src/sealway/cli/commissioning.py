# SPDX-License-Identifier: Apache-2.0
"""Reaching a device that waits for an owner, and taking it in: CoAP on the local network, or a stream of bytes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sealway.cli.files import read_file
from sealway.crypto.secret import Secret
from sealway.errors import HopRefused, LocalMisuse, SealwayError, StateLost, TransportFailed
from sealway.identity.birth import Birth
from sealway.joining.messages import MAX_JOINING_BYTES, MAX_NETWORK_BYTES
from sealway.sdk.owner.authority import Enrolling, OpenOwner, OwnerHome
from sealway.sdk.owner.commissioning import Ask, Commissioning, Taking
from sealway.sdk.owner.joinings import Joined, Joinings
from sealway.sdk.owner.manufacturers import Manufacturers
from sealway.transports import coap_api
from sealway.transports.coap_lanes import Lanes, Request, check_uri
from sealway.transports.frames import FramedClient
from sealway.wire.address import Name

_POST: Final = 2
_UNIX: Final = "unix:"
_HINT: Final = "does it wait for an owner (sealway device pair)? Run again, this goes on where it stopped"


@dataclass(frozen=True, slots=True)
class Code:
    """What was read off a label: the code's password, and the serial number where that was typed too, or scanned."""

    password: Secret = field(repr=False)
    serial: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One device to take in.

    Args:
        code: off its label.
        address: where it is.
        enrolling: what it is given.
        name: what a device with a serial number is called.
        suite: what its keys are made for.
        timeout_s: how long one answer may take.
        networks: credentials by kind.
        replaces: the device may take the name and the place of another.
        agreed: is asked about the proven serial number; see ``Taking``.
    """

    code: Code
    address: str
    enrolling: Enrolling
    name: Callable[[str], Name]
    suite: int
    timeout_s: float
    networks: Mapping[str, bytes] = field(repr=False)
    replaces: bool = False
    agreed: Callable[[str], None] = lambda serial: None


async def commission(
    home: OwnerHome, passphrase: Secret, plan: Plan, told: Callable[[str], None] = lambda step: None
) -> Joined:
    """Take the device in. Raises as ``Commissioning.take``, and LocalMisuse for what is wrong with the plan."""
    prove = trusting(home)
    with OpenOwner.open(home, passphrase) as owner:
        return await _take(Commissioning(owner, Joinings(home.path / "joining"), prove, told), plan)


async def commission_all(
    home: OwnerHome, passphrase: Secret, plans: Mapping[int, Plan], done: Callable[[int, Joined | SealwayError], None]
) -> None:
    """Take devices in, one after the other; what goes wrong with one is told to ``done`` and stops none of the others.

    Raises LocalMisuse, InUse, StateLost for what is wrong with the owner's directory.
    """
    prove = trusting(home)
    with OpenOwner.open(home, passphrase) as owner:
        commissioning = Commissioning(owner, Joinings(home.path / "joining"), prove)
        for row, plan in plans.items():
            try:
                done(row, await _take(commissioning, plan))
            except StateLost:
                raise
            except SealwayError as error:
                done(row, error)


async def _take(commissioning: Commissioning, plan: Plan) -> Joined:
    taking = Taking(
        password=plan.code.password, enrolling=plan.enrolling, name=plan.name, serial=plan.code.serial,
        suite=plan.suite, networks=plan.networks, replaces=plan.replaces, agreed=plan.agreed,
    )  # fmt: skip
    async with asking(plan.address, plan.timeout_s) as ask:
        return await commissioning.take(ask, taking)


def trusting(home: OwnerHome) -> Callable[[Sequence[bytes]], Birth]:
    """Return what proves birth certificates of the owner's manufacturers. Raises LocalMisuse if there is none."""
    manufacturers = Manufacturers(home.path)
    if not manufacturers.trusted():
        hint = f"sealway owner trust-manufacturer --state {home.path} --root FILE"
        raise LocalMisuse("no manufacturer is trusted", hint=hint)
    return lambda chain: manufacturers.prove(chain, int(time.time()))


@asynccontextmanager
async def asking(address: str, timeout_s: float) -> AsyncIterator[Ask]:
    """Reach a device: coap://HOST:PORT, or unix:SOCKET for a stream of bytes. Raises LocalMisuse."""
    if address.startswith(_UNIX):
        client = FramedClient(Path(address.removeprefix(_UNIX)), most=MAX_JOINING_BYTES, timeout=timeout_s)
        try:
            yield client.ask
        finally:
            await client.close()
        return
    lanes = Lanes(check_uri(address), window=1, timeout=timeout_s, most=MAX_JOINING_BYTES)

    async def ask(message: bytes) -> bytes:
        request = Request(_POST, (coap_api.JOIN,), payload=message, content_format=coap_api.FORMAT_CBOR)
        try:
            response = await lanes.ask(request)
        except TransportFailed as error:
            raise TransportFailed(f"no device answers at {address}", hint=_HINT) from error
        if not response.successful:
            status = coap_api.status_of(response.code)
            raise HopRefused(f"what is at {address} answered {status / 100:.2f}", status=status)
        return response.payload

    try:
        yield ask
    finally:
        await lanes.close()


def read_networks(texts: Sequence[str]) -> dict[str, bytes]:
    """Return the credentials that KIND=FILE name. Raises LocalMisuse."""
    found = {}
    for text in texts:
        kind, separator, file = text.partition("=")
        if not separator or not kind:
            raise LocalMisuse(f"--network: {text!r} is not KIND=FILE", hint="such as wifi=credentials.txt")
        found[kind] = read_file(Path(file), "the network's credentials", limit=MAX_NETWORK_BYTES)
    return found
