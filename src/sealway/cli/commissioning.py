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
from sealway.errors import HopRefused, LocalMisuse, TransportFailed
from sealway.identity.birth import Birth, demand_listed, trust_manufacturer, verify_idevid, verify_manifest
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
    """What was read off a label: the code's password, and the serial number where the QR code was read."""

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
        roots: certificates (DER) of manufacturers that are trusted for this once, beside the owner's.
        manifests: lists that it must be on one of, beside the owner's.
    """

    code: Code
    address: str
    enrolling: Enrolling
    name: Callable[[str], Name]
    suite: int
    timeout_s: float
    networks: Mapping[str, bytes] = field(repr=False)
    roots: Sequence[bytes] = field(repr=False)
    manifests: Sequence[bytes] = field(repr=False)


async def commission(
    home: OwnerHome, passphrase: Secret, plan: Plan, told: Callable[[str], None] = lambda step: None
) -> Joined:
    """Take the device in. Raises as ``Commissioning.take``, and LocalMisuse for what is wrong with the plan."""
    prove = trusting(plan.roots, plan.manifests, home)
    taking = Taking(
        password=plan.code.password, enrolling=plan.enrolling, name=plan.name, serial=plan.code.serial,
        suite=plan.suite, networks=plan.networks,
    )  # fmt: skip
    with OpenOwner.open(home, passphrase) as owner:
        commissioning = Commissioning(owner, Joinings(home.path / "joining"), prove, told)
        async with asking(plan.address, plan.timeout_s) as ask:
            return await commissioning.take(ask, taking)


def trusting(
    roots: Sequence[bytes], manifests: Sequence[bytes], home: OwnerHome | None = None
) -> Callable[[Sequence[bytes]], Birth]:
    """Return what proves birth certificates of manufacturers that the owner trusts, or that are named for this once.

    A device whose manufacturer gave lists, to the owner or for this once, must be on one of them.

    Raises:
        LocalMisuse: there is no such manufacturer.
        StateLost: what the owner's directory holds of one is damaged.
    """
    now, held = int(time.time()), None if home is None else Manufacturers(home.path)
    trusted = [*(held.trusted() if held else ()), *map(trust_manufacturer, roots)]
    if not trusted:
        raise LocalMisuse("no manufacturer is trusted", hint="sealway owner trust-manufacturer, or --manufacturer FILE")
    lists = [
        *(held.manifests(now) if held else ()),
        *(verify_manifest(manifest, trusted, now) for manifest in manifests),
    ]

    def prove(chain: Sequence[bytes]) -> Birth:
        birth = verify_idevid(chain, trusted, int(time.time()))
        if manifests or any(one.manufacturer.fingerprint == birth.manufacturer.fingerprint for one in lists):
            demand_listed(birth, lists)
        return birth

    return prove


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
