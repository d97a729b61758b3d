# SPDX-License-Identifier: Apache-2.0
"""The second town: the same roles in a domain of their own, with an adversary on every hop.

Devices 1 and 2 reach their gateway through a relay, device 3 has the adversary itself for a gateway, and what all of
them believe to be the hub is the adversary's proxy. The adversary has the certificate of a gateway, as any hop that has
turned hostile has one, and keys of no endpoint.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from random import Random

from sealway.cli.demo.ports import HOST, TCP, UDP, free_ports
from sealway.cli.demo.process import RoleProcess
from sealway.cli.demo.puppeteer import Adversary
from sealway.cli.demo.town import SCOPES, Joining, Member, member_of, settle

DOMAIN = "besieged.example"
THROUGH_RELAY = 2
"""Devices behind the honest gateway; one more is behind the adversary."""

RATE = 5.0
PAUSES = ("--reoffer-after", "2.5", "--receipt-after", "1", "--report-after", "4", "--evidence")
APPLICATION = ("--anew-after", "2.5")
"""It begins anew with the stranger, who never answers: so it claims another bundle of a peer that it knows."""

"""So that what takes hours in the field is seen in seconds."""

SILENCE = ("--max-silence", "3")
SHOWN = ("--topic", "heating", "--tag", "floor 3", "--expire-after", "86400")
"""What carriers may see, so that they can try to change it."""

ROWS = 20_000


@dataclass(frozen=True, slots=True)
class Besieged:
    """A founded domain with an adversary, ready to run."""

    hub: Member
    gateway: Member
    application: Member
    devices: tuple[Member, ...]
    stranger: Member
    adversary: Member
    hub_port: int
    proxy_port: int
    gateway_port: int
    relay_port: int
    hostile_port: int

    @property
    def recorded(self) -> Path:
        """Where the stranger leaves what it has sealed."""
        return self.stranger.directory / "recorded"

    @property
    def hub_url(self) -> str:
        """Where the hub really is."""
        return f"https://{HOST}:{self.hub_port}"

    @property
    def proxy_url(self) -> str:
        """Where everybody believes the hub to be."""
        return f"https://{HOST}:{self.proxy_port}"


async def found_besieged(base: Path, seed: int, suite: int) -> Besieged:
    """Make and enrol everyone. Raises TransportFailed if a command fails."""

    def make(role: str, label: str, command: str) -> Member:
        return member_of(base, role, label, command, domain=DOMAIN)

    town = Besieged(
        make("hub", "hub", "hub"), make("gateway", "gateway", "gateway"), make("application", "app", "app"),
        tuple(make("device", f"device-{k + 1}", "device") for k in range(THROUGH_RELAY + 1)),
        make("device", "stranger", "device"), make("gateway", "adversary", "adversary"),
        *free_ports(TCP, TCP, UDP, UDP, UDP),
    )  # fmt: skip
    await settle(base, DOMAIN, _joining(town), asyncio.Semaphore(os.cpu_count() or 2), suite)
    for device in town.devices:
        write_rows(device, seed)
    requests_of(town).touch(mode=0o600)
    return town


def requests_of(town: Besieged) -> Path:
    """Return the file of what the application is to ask."""
    return town.application.directory / "requests.jsonl"


def _joining(town: Besieged) -> list[Joining]:
    peers = tuple(word for device in (*town.devices, town.stranger) for word in ("--peer", device.name))
    scopes = tuple(word for scope in SCOPES for word in ("--grant-scope", scope))
    everyone = [
        Joining(town.hub, town.hub_url, ("--ip", HOST)),
        Joining(town.adversary, town.hub_url, ("--ip", HOST)),
        Joining(town.gateway, town.proxy_url),
        Joining(town.application, town.proxy_url, (*peers, *scopes)),
        Joining(town.stranger, town.proxy_url, ("--peer", town.application.name)),
    ]
    for k, device in enumerate(town.devices):
        honest = k < THROUGH_RELAY
        name, port = (town.gateway.name, town.relay_port) if honest else (town.adversary.name, town.hostile_port)
        words = ("--gateway-name", name, "--gateway", f"coap://{HOST}:{port}", "--peer", town.application.name)
        everyone.append(Joining(device, town.proxy_url, words))
    return everyone


def rows_of(device: Member) -> Path:
    """Return the file of a device's readings."""
    return device.directory / "rows.jsonl"


def write_rows(device: Member, seed: int) -> None:
    """Write a device's readings: each one is unlike every other, so that what arrives can be compared."""
    chance = Random(f"{device.name} {seed}")  # noqa: S311 - readings, not keys
    lines = (f'{{"n":{n},"at":"{device.directory.name}","x":{chance.random():.12f}}}\n' for n in range(ROWS))
    rows_of(device).write_text("".join(lines), encoding="utf-8")


def honest_roles(town: Besieged) -> dict[str, RoleProcess]:
    """Return every honest role's process by title; none is started yet."""

    def make(role: str, title: str, member: Member, *arguments: str) -> RoleProcess:
        words = (member.command, *arguments[:1], "--state", str(member.directory), *arguments[1:])
        return RoleProcess(role, title, member.directory, words, member.key_file)

    hub = ("run", "--host", HOST, "--port", str(town.hub_port), "--public-url", town.proxy_url)
    gateway = ("run", "--host", HOST, "--port", str(town.gateway_port))
    files = (str(town.application.directory / name) for name in ("received.jsonl", "requests.jsonl", "answers.jsonl"))
    watch = [word for pair in zip(("--received", "--requests", "--answers"), files, strict=True) for word in pair]
    roles = [
        make("hub", "hub", town.hub, *hub),
        make("gateway", "gateway", town.gateway, *gateway),
        make("application", "application", town.application, "watch", *watch, *PAUSES, *APPLICATION),
    ]
    for k, device in enumerate(town.devices):
        rows = ("--input", str(rows_of(device)), "--format", "jsonl", "--rate", f"{RATE:g}")
        serve = ("serve", "--to", town.application.name, *rows, *SHOWN, *PAUSES, *SILENCE)
        roles.append(make("device", f"device-{k + 1}", device, *serve))
    return {process.title: process for process in roles}


def adversaries_of(town: Besieged, base: Path, seed: int) -> dict[str, Adversary]:
    """Return the adversary's processes by position; none is started yet."""
    places = {
        "http": (town.proxy_url, town.hub_url),
        "coap": (f"coap://{HOST}:{town.relay_port}", f"coap://{HOST}:{town.gateway_port}"),
        "gateway": (f"coap://{HOST}:{town.hostile_port}", town.proxy_url),
    }
    return {
        between: Adversary(between, base / f"adversary-{between}", town.adversary, listen, upstream, seed)
        for between, (listen, upstream) in places.items()
    }
