# SPDX-License-Identifier: Apache-2.0
"""Batches: what was asked for is written down before the first device is made, and forgotten after the manifest.

Invariant: a batch that was begun is finished before another begins, with the serial numbers that it began with. Each
device is in exactly one manifest; a manifest that was signed is never replaced. What does not fit together (a register
or manifests of an older backup) stops everything before a serial number or a number of a manifest is given again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from shlex import quote
from typing import Any, Final, Self

from sealway.errors import LocalMisuse, SealwayError, StateLost
from sealway.factory.authority import OpenFactory
from sealway.factory.making import MOST_IN_A_BATCH, Making, demand_room, make_all, next_serials
from sealway.factory.register import Made
from sealway.identity.birth import ProvenManifest, verify_manifest
from sealway.identity.manufacturing import sign_manifest
from sealway.keystore.places import FILE
from sealway.keystore.private_file import read_private, replace_private
from sealway.storage.files import names_in, read_file, usable, write_file
from sealway.wire.cose import MAX_DOCUMENT_BYTES
from sealway.wire.manifest import MAX_DEVICES, MadeDevice, ManifestClaims, check_serial

_MOST_BYTES: Final = 1 << 20
_MANIFEST: Final = "manifest-"


@dataclass(frozen=True, slots=True)
class Order:
    """What a batch was asked for.

    Args:
        making: what its devices have in common.
        serials: their serial numbers, or empty for the next ``count``.
        count: how many, if no serial numbers are given.
        prefix: what those numbers begin with.

    Raises:
        LocalMisuse: no devices, too many, or the same serial number twice.
        Malformed: not a serial number.
    """

    making: Making
    serials: tuple[str, ...] = ()
    count: int = 0
    prefix: str = ""

    def __post_init__(self) -> None:
        if bool(self.serials) == bool(self.count) or not 0 <= self.count <= MOST_IN_A_BATCH >= len(self.serials):
            raise LocalMisuse("which devices to make", hint=f"give serial numbers, or a count up to {MOST_IN_A_BATCH}")
        if len(set(self.serials)) < len(self.serials):
            raise LocalMisuse("the same serial number twice")
        for serial in self.serials or (f"{self.prefix}0",):
            check_serial(serial)

    def asked(self) -> dict[str, Any]:
        """What is compared when a batch is taken up again."""
        return {
            "model": self.making.model, "mud_url": self.making.mud_url, "out": str(self.making.out.resolve()),
            "keystore": self.making.keystore, "serials": list(self.serials), "count": self.count, "prefix": self.prefix,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch that is under way: what was asked for, and the serial numbers that it got."""

    asked: dict[str, Any]
    serials: tuple[str, ...]

    @classmethod
    def begin_or_resume(cls, factory: OpenFactory, order: Order) -> tuple[Self, bool]:
        """Return the batch of this order, and whether it was begun before.

        Raises:
            LocalMisuse: another batch is unfinished, or a serial number was given before.
            StateLost: what was written down of a batch is damaged.
        """
        unfinished = cls._read(factory.home.batch_path)
        if unfinished is not None:
            if unfinished.asked != order.asked():
                made = sum(serial in factory.register.made for serial in unfinished.serials)
                raise LocalMisuse(
                    f"a batch is unfinished: {made} of {len(unfinished.serials)} devices are made",
                    hint=f"give the same options again: {_options(unfinished.asked)}",
                )
            return unfinished, True
        taken = [serial for serial in order.serials if serial in factory.register.made]
        if taken:
            raise LocalMisuse(f"there is a device {taken[0]} already", hint="a serial number is given once")
        serials = order.serials or tuple(next_serials(factory, order.prefix, order.count))
        demand_room(factory, serials, order.making.out)
        batch = cls(order.asked(), serials)
        content = json.dumps({"asked": batch.asked, "serials": serials}).encode()
        replace_private(factory.home.batch_path, content, check=lambda: None)
        return batch, False

    @classmethod
    def _read(cls, path: Path) -> Self | None:
        if not path.exists():
            return None
        try:
            found = json.loads(read_private(path, limit=_MOST_BYTES))
            return cls(found["asked"], tuple(map(check_serial, found["serials"])))
        except (ValueError, KeyError, TypeError, SealwayError):
            raise StateLost(f"{path} is damaged", hint="remove it: what it made is in the register") from None


def make_batch(factory: OpenFactory, order: Order, tell: Callable[[str, bool], None]) -> list[ProvenManifest]:
    """Make the devices of an order and sign what was made; begun before and interrupted, it is completed.

    Args:
        tell: is called with each serial number, and whether it was made before.

    Returns:
        The manifests that list the batch's devices; each is also in the order's directory.

    Raises:
        LocalMisuse: see ``Batch.begin_or_resume`` and ``make_all``.
        LocalMisuse: in the order's directory is another manifest, label or device where one of this batch goes.
        StateLost: something in the factory's directory is damaged, or older than something else in it.
    """
    _demand_same(signed_manifests(factory), order.making.out)
    batch, _ = Batch.begin_or_resume(factory, order)
    make_all(factory, batch.serials, order.making, tell)
    wanted = set(batch.serials)
    listing = [one for one in sign_unlisted(factory) if wanted & {made.serial for made in one.claims.devices}]
    for manifest in listing:
        path = order.making.out / f"{_MANIFEST}{manifest.claims.number:06}.cose"
        write_file(path, manifest.encoded, "the manifest")
    with usable(factory.home.batch_path, "the batch"):
        factory.home.batch_path.unlink()
    return listing


def sign_unlisted(factory: OpenFactory) -> list[ProvenManifest]:
    """Sign manifests for the counted devices that are in none, and return all that there are.

    Raises:
        StateLost: a manifest is missing or damaged.
        LocalMisuse: the directory cannot be written.
    """
    manifests = signed_manifests(factory)
    listed = {made.serial for manifest in manifests for made in manifest.claims.devices}
    unlisted = [made for serial, made in sorted(factory.register.made.items()) if serial not in listed]
    for devices in _groups(unlisted):
        manifests.append(_sign_next(factory, devices, manifests[-1] if manifests else None))
    return manifests


def signed_manifests(factory: OpenFactory) -> list[ProvenManifest]:
    """Return the factory's manifests by number, each proven again. Raises StateLost, LocalMisuse."""
    found: list[ProvenManifest] = []
    for path in names_in(factory.home.manifests_path, ".cose", "the manifests"):
        try:
            content = read_private(path, limit=MAX_DOCUMENT_BYTES)
            found.append(verify_manifest(content, [factory.manufacturer], int(time.time())))
        except SealwayError as error:
            raise StateLost(f"{path} is damaged: {error.message}") from None
        if path != _path_of(factory, len(found)) or found[-1].claims.number != len(found):
            raise StateLost(f"a manifest is missing before {path}")
        _demand_counted(factory, found[-1], path)
    return found


def _demand_counted(factory: OpenFactory, manifest: ProvenManifest, path: Path) -> None:
    """Return if the register has all that a manifest lists: else it is older, and would give numbers again."""
    for device in manifest.claims.devices:
        counted = factory.register.made.get(device.serial)
        if counted is None or counted.x5t != device.x5t.hex():
            raise StateLost(
                f"{factory.home.register_path} does not have the device {device.serial} that {path} lists",
                hint="is it an old copy? Put the last one back; its serial numbers were given",
            )


def _demand_same(manifests: Sequence[ProvenManifest], out: Path) -> None:
    """Return if the manifests in the order's directory are these. Raises LocalMisuse."""
    signed = {f"{_MANIFEST}{manifest.claims.number:06}.cose": manifest.encoded for manifest in manifests}
    for path in names_in(out, ".cose", "the directory"):
        if path.name.startswith(_MANIFEST) and signed.get(path.name) != read_file(path, "the manifest"):
            hint = "it is another factory's: give another --out; or a later one of this: put back what it has lost"
            raise LocalMisuse(f"{path} is none of the manifests that are known here", hint=hint)


def _sign_next(factory: OpenFactory, devices: Sequence[Made], last: ProvenManifest | None) -> ProvenManifest:
    number, now = 1 if last is None else last.claims.number + 1, int(time.time())
    claims = ManifestClaims(
        manufacturer=factory.manufacturer.name, number=number, previous=None if last is None else last.hash,
        model=devices[0].model, mud_url=devices[0].mud_url, issued=now,
        devices=tuple(MadeDevice(made.serial, bytes.fromhex(made.x5t)) for made in devices),
    )  # fmt: skip
    encoded = sign_manifest(claims, factory.chain[0], factory.signer)
    proven = verify_manifest(encoded, [factory.manufacturer], now)
    path = _path_of(factory, number)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    replace_private(path, encoded, check=lambda: None)
    return proven


def _path_of(factory: OpenFactory, number: int) -> Path:
    return factory.home.manifests_path / f"{number:06}.cose"


def _groups(devices: Sequence[Made]) -> list[list[Made]]:
    """Devices of one model and MUD URL, in the order of their serial numbers, at most 256 in each."""

    def kind(made: Made) -> tuple[str, str]:
        return made.model, made.mud_url or ""

    alike = [list(group) for _, group in groupby(sorted(devices, key=kind), key=kind)]
    return [group[at : at + MAX_DEVICES] for group in alike for at in range(0, len(group), MAX_DEVICES)]


def _options(asked: dict[str, Any]) -> str:
    """All that is compared, as the command has it."""
    options = [("--model", asked["model"]), ("--out", asked["out"]), *(("--serial", one) for one in asked["serials"])]
    if not asked["serials"]:
        options += [("--count", str(asked["count"])), ("--prefix", asked["prefix"])]
    if asked["mud_url"] is not None:
        options.append(("--mud-url", asked["mud_url"]))
    if asked["keystore"] != FILE:
        options.append(("--device-keystore", asked["keystore"]))
    return " ".join(f"{option} {quote(value)}" for option, value in options)
