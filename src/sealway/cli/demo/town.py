# SPDX-License-Identifier: Apache-2.0
"""Founding the demo's domain: an owner, a hub, a gateway, devices and an application, each with keys of its own.

Only requests (public keys) and enrolments (signed, not secret) pass between the directories, as files, by the public
commands.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from sealway.cli.demo.options import DOMAIN, Options
from sealway.cli.demo.ports import HOST, TCP, UDP, free_ports
from sealway.cli.demo.process import run, run_json
from sealway.wire.address import Name

SCOPES = ("interval:write", "status:read", "identify:write")


@dataclass(frozen=True, slots=True)
class Member:
    """A member's name and its own directory."""

    name: str
    command: str
    directory: Path

    @property
    def key_file(self) -> Path:
        """The file that unlocks this member's keystore; no other member is told of it."""
        return self.directory / "passphrase"


@dataclass(frozen=True, slots=True)
class Town:
    """A founded domain, ready to run."""

    hub: Member
    gateway: Member
    application: Member
    devices: tuple[Member, ...]
    hub_port: int
    gateway_port: int


@dataclass(frozen=True, slots=True)
class Joining:
    """A member that is to be enrolled: the hub that it will use, and further options of ``owner enroll``."""

    member: Member
    hub: str
    options: tuple[str, ...] = ()


async def found(options: Options) -> Town:
    """Make and enrol everyone. Raises TransportFailed if a command fails."""
    base = options.directory
    hub_port, gateway_port = free_ports(TCP, UDP)
    hub, gateway = member_of(base, "hub", "hub", "hub"), member_of(base, "gateway", "gateway", "gateway")
    application = member_of(base, "application", "app", "app")
    devices = tuple(member_of(base, "device", f"device-{k + 1}", "device") for k in range(options.devices))
    town = Town(hub, gateway, application, devices, hub_port, gateway_port)
    everyone = [
        Joining(m, f"https://{HOST}:{hub_port}", _words(m, town)) for m in (hub, gateway, application, *devices)
    ]
    await settle(base, DOMAIN, everyone, asyncio.Semaphore(os.cpu_count() or 2), options.suite)
    return town


async def settle(base: Path, domain: str, everyone: list[Joining], limit: asyncio.Semaphore, suite: int) -> None:
    """Make an owner and enrol its members, some at a time. Raises TransportFailed if a command fails.

    Args:
        suite: what the endpoints' keys are made for.
    """
    owner = base / "owner"
    write_passphrase(owner / "passphrase")
    await run("owner", "init", "--state", str(owner), "--domain", domain, *_unlock(owner))
    made = await run_json("owner", "list", "--state", str(owner), "--json")
    await asyncio.gather(*(_request(joining.member, limit, suite) for joining in everyone))
    for joining in everyone:  # the owner's ledger is written by one command at a time
        await run(*_enrolment(owner, joining))
    await asyncio.gather(*(_join(owner, joining.member, str(made["fingerprint"]), limit) for joining in everyone))


async def _request(member: Member, limit: asyncio.Semaphore, suite: int) -> None:
    write_passphrase(member.key_file)
    keys = ("--suite", str(suite)) if member.command in ("device", "app") else ()
    words = ("--state", str(member.directory), "--name", member.name, *keys, *_unlock(member.directory))
    async with limit:
        await run(member.command, "init", *words)


async def _join(owner: Path, member: Member, fingerprint: str, limit: asyncio.Semaphore) -> None:
    enrolment = str(_enrolment_file(owner, member))
    async with limit:
        await run(
            member.command, "init", "--state", str(member.directory), "--enrolment", enrolment,
            "--fingerprint", fingerprint, *_unlock(member.directory),
        )  # fmt: skip


def _enrolment(owner: Path, joining: Joining) -> list[str]:
    member = joining.member
    command = ["owner", "enroll", "--state", str(owner), "--request", str(member.directory / "request.csr")]
    command += ["--name", member.name, "--hub", joining.hub, *_unlock(owner), *joining.options]
    return [*command, "--out", str(_enrolment_file(owner, member))]


def _words(member: Member, town: Town) -> tuple[str, ...]:
    if member.command == "hub":
        return ("--ip", HOST)
    if member.command == "device":
        gateway = f"coap://{HOST}:{town.gateway_port}"
        return ("--gateway-name", town.gateway.name, "--gateway", gateway, "--peer", town.application.name)
    if member.command == "app":
        peers = (word for device in town.devices for word in ("--peer", device.name))
        return (*peers, *(word for scope in SCOPES for word in ("--grant-scope", scope)))
    return ()


def _enrolment_file(owner: Path, member: Member) -> Path:
    return owner / f"{Name.parse(member.name).label}.enrolment"


def member_of(base: Path, role: str, label: str, command: str, *, domain: str = DOMAIN) -> Member:
    """Return a member with a directory of its own."""
    return Member(str(Name(domain, role, label)), command, base / label)


def _unlock(directory: Path) -> list[str]:
    return ["--key-file", str(directory / "passphrase")]


def write_passphrase(path: Path) -> None:
    """Draw a passphrase into a new file that only this user can read."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(24))
