# SPDX-License-Identifier: Apache-2.0
"""Factories on disk: what a made device is, batches and what resumes them, and what a kill at any point leaves."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sealway.crypto.secret import Secret
from sealway.crypto.spake2plus import derive
from sealway.errors import InUse, LocalMisuse, Malformed, SealwayError, StateLost
from sealway.factory import making as making_module
from sealway.factory.authority import FactoryHome, OpenFactory
from sealway.factory.batch import Order, make_batch, sign_unlisted, signed_manifests
from sealway.factory.labelfile import Label
from sealway.factory.making import LABELS, Making, next_serials, verifier_of
from sealway.factory.newborn import IDEVID_KEY, NewbornHome
from sealway.factory.register import Made, Register
from sealway.factory.setupcode import SetupCode
from sealway.identity.birth import demand_listed, verify_idevid
from sealway.keystore.file import FileKeystore
from tests.factory.conftest import PASSPHRASE
from tests.factory.small_factory import MUD_URL

LATER = 4_000_000_000  # Unix seconds, after whatever the clock of this computer says


def order(out: Path, *serials: str, count: int = 0, **changes: Any) -> Order:
    options: dict[str, Any] = {
        "model": "Water meter WM-20",
        "mud_url": MUD_URL,
        "passphrase": Secret(b"of the device"),
    } | changes
    return Order(Making(out=out, **options), serials, count, "" if serials else "SW-")


def quietly(_: str, __: bool) -> None:
    """Tell nobody."""


def whole(factory: OpenFactory, out: Path, serial: str, passphrase: bytes = b"of the device") -> Label:
    """Return the label of a made device, once everything about the device fits."""
    device = NewbornHome(out / serial)
    birth = verify_idevid(device.read_birth().chain, [factory.manufacturer], LATER, expected_serial=serial)
    assert FileKeystore.open(device.keystore_path, Secret(passphrase)).signer(IDEVID_KEY).public == birth.key
    label = Label.read(out / LABELS / f"{serial}.json")
    verifier = device.read_verifier()
    assert verifier is not None
    assert derive(label.code.password.reveal(), verifier.parameters).record(verifier.parameters) == verifier
    demand_listed(birth, signed_manifests(factory))
    assert factory.register.made[serial].x5t == birth.x5t.hex() and birth.mud_url == MUD_URL
    return label


def test_a_made_device_is_whole(factory: OpenFactory, tmp_path: Path) -> None:
    out, told = tmp_path / "out", []
    manifests = make_batch(factory, order(out, "B-2", "A-1"), lambda *what: told.append(what))
    assert told == [("B-2", False), ("A-1", False)]
    label = whole(factory, out, "A-1")
    assert (label.manufacturer, label.model, label.serial) == ("Acme Meters", "Water meter WM-20", "A-1")
    assert [device.serial for device in manifests[0].claims.devices] == ["A-1", "B-2"]
    assert (out / "manifest-000001.cose").read_bytes() == manifests[0].encoded
    assert whole(factory, out, "B-2").code != label.code


def test_the_setup_code_is_on_the_label_and_nowhere_else(factory: OpenFactory, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make_batch(factory, order(out, "A-1"), quietly)
    code = Label.read(out / LABELS / "A-1.json").code
    needles = (code.reveal().encode(), code.password.reveal(), code.secret.reveal())
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.parent.name != LABELS]
    assert len(files) > 8
    for path in files:
        content = path.read_bytes()
        assert not [needle for needle in needles if needle in content], path
    for path in (out / "A-1", out / LABELS, *(out / "A-1").iterdir(), *(out / LABELS).iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_a_device_without_a_passphrase_of_ours_gets_one_of_its_own(factory: OpenFactory, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make_batch(factory, order(out, "A-1", "A-2", passphrase=None), quietly)
    first, second = ((out / serial / "passphrase").read_bytes() for serial in ("A-1", "A-2"))
    assert first != second and len(first) == 33
    whole(factory, out, "A-1", first.strip())


def test_counted_batches_go_on_where_the_last_one_ended(factory: OpenFactory, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make_batch(factory, order(out, count=2), quietly)
    make_batch(factory, order(out, "SW-000007", "SW-X"), quietly)
    (manifest,) = make_batch(factory, order(out, count=1), quietly)
    assert [device.serial for device in manifest.claims.devices] == ["SW-000008"]
    assert (manifest.claims.number, manifest.claims.previous) == (3, signed_manifests(factory)[1].hash)
    with pytest.raises(LocalMisuse, match="left"):
        next_serials(factory, "SW-", 999_999)


def test_a_manifest_is_of_one_kind_of_device(factory: OpenFactory, tmp_path: Path) -> None:
    for number, model in enumerate(("b", "a", "b")):
        factory.register.enter(Made(f"A-{number}", bytes([number] * 32).hex(), model, None, "out", 1))
    for number in range(300):
        factory.register.enter(
            Made(f"C-{number:03}", hashlib.sha256(bytes([number % 256])).hexdigest(), "c", MUD_URL, "out", 1)
        )
    lists = [[device.serial for device in one.claims.devices] for one in sign_unlisted(factory)]
    assert lists[:2] == [["A-1"], ["A-0", "A-2"]] and list(map(len, lists[2:])) == [256, 44]
    assert len(sign_unlisted(factory)) == 4  # nothing is listed twice


@pytest.mark.parametrize(
    ("serials", "count"), [((), 0), (("A",), 1), (("A", "A"), 0), ((), 10_001), (("A",) * 10_001, 0)], ids=str
)
def test_orders_that_cannot_be(tmp_path: Path, serials: tuple[str, ...], count: int) -> None:
    with pytest.raises(LocalMisuse):
        Order(Making("m", tmp_path), serials, count, "SW-")


@pytest.mark.parametrize("change", [{"model": ""}, {"mud_url": "http://x"}], ids=str)
def test_devices_that_cannot_be(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        order(tmp_path, "A", **change)
    with pytest.raises(Malformed):
        Order(Making("m", tmp_path), count=1, prefix="sw")


def test_a_serial_number_is_given_once(factory: OpenFactory, tmp_path: Path) -> None:
    make_batch(factory, order(tmp_path / "out", "A-1"), quietly)
    with pytest.raises(LocalMisuse, match="there is a device A-1 already"):
        make_batch(factory, order(tmp_path / "other", "A-2", "A-1"), quietly)
    with pytest.raises(LocalMisuse, match="there is a device A-1 already"):
        factory.register.enter(factory.register.made["A-1"])
    assert not factory.home.batch_path.exists()


def test_what_is_in_the_way_is_not_overwritten(factory: OpenFactory, tmp_path: Path) -> None:
    (tmp_path / "out" / "A-1").mkdir(parents=True)
    with pytest.raises(LocalMisuse, match="in the way"):
        make_batch(factory, order(tmp_path / "out", "A-1"), quietly)
    assert not factory.register.made


def test_a_label_that_is_there_is_not_overwritten(factory: OpenFactory, tmp_path: Path) -> None:
    label = tmp_path / "out" / LABELS / "A-2.json"
    label.parent.mkdir(parents=True)
    label.write_bytes(b"another factory's")
    with pytest.raises(LocalMisuse, match=r"A-2\.json is in the way"):
        make_batch(factory, order(tmp_path / "out", "A-1", "A-2"), quietly)
    assert label.read_bytes() == b"another factory's"
    assert not factory.register.made and not factory.home.batch_path.exists()


def test_a_manifest_that_is_there_is_not_overwritten(factory: OpenFactory, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make_batch(factory, order(out, "A-1"), quietly)
    later = out / "manifest-000002.cose"
    later.write_bytes(b"another factory's")
    with pytest.raises(LocalMisuse, match=r"manifest-000002\.cose is none of the manifests"):
        make_batch(factory, order(out, "A-2"), quietly)
    assert later.read_bytes() == b"another factory's"
    assert list(factory.register.made) == ["A-1"] and not factory.home.batch_path.exists()


def test_a_register_of_a_backup_is_told_before_a_number_is_given_again(
    home: FactoryHome, cheap: None, tmp_path: Path
) -> None:
    with OpenFactory.open(home, PASSPHRASE) as factory:
        make_batch(factory, order(tmp_path / "out", count=1), quietly)
        backup = home.register_path.read_bytes()
        make_batch(factory, order(tmp_path / "out", count=1), quietly)
    other = backup.replace(b"SW-000001", b"SW-000002")  # the number is there, and the device is another
    for register in (b"", backup, backup + other):
        home.register_path.write_bytes(register)
        with OpenFactory.open(home, PASSPHRASE) as factory, pytest.raises(StateLost, match="does not have the device"):
            make_batch(factory, order(tmp_path / "elsewhere", count=1), quietly)
    assert not (tmp_path / "elsewhere").exists() and not home.batch_path.exists()


def test_a_last_manifest_that_was_lost_shows_where_it_was_handed_over(factory: OpenFactory, tmp_path: Path) -> None:
    make_batch(factory, order(tmp_path / "out", "A-1"), quietly)
    (factory.home.manifests_path / "000001.cose").unlink()
    with pytest.raises(LocalMisuse, match="none of the manifests"):
        make_batch(factory, order(tmp_path / "out", "A-2"), quietly)


@pytest.mark.parametrize("serials", [(), ("A-1", "A-2", "A-3", "A-4", "A-5")], ids=["counted", "named"])
def test_the_options_of_an_unfinished_batch_are_given_whole(
    factory: OpenFactory, tmp_path: Path, serials: tuple[str, ...]
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "an out; with 'quotes'"
    begun = order(out, *serials, count=0 if serials else 3)
    with pytest.raises(KeyboardInterrupt):
        make_batch(factory, begun, stop)
    batch = factory.home.batch_path.read_text()
    factory.home.batch_path.write_text(batch.replace('"keystore": "file"', '"keystore": "pkcs11:token=a;id=%01"'))
    with pytest.raises(LocalMisuse) as refused:
        make_batch(factory, order(tmp_path / "other", "B-1"), quietly)
    words = shlex.split(str(refused.value.hint).partition(": ")[2])
    given = list(zip(words[::2], words[1::2], strict=True))
    asked = begun.asked()
    counted = [("--count", "3"), ("--prefix", "SW-")]
    assert given == [
        ("--model", asked["model"]), ("--out", str(out)), *(("--serial", serial) for serial in serials),
        *([] if serials else counted), ("--mud-url", MUD_URL), ("--device-keystore", "pkcs11:token=a;id=%01"),
    ]  # fmt: skip


def test_an_unfinished_batch_comes_first(factory: OpenFactory, tmp_path: Path) -> None:
    def stop(serial: str, _: bool) -> None:
        if serial == "SW-000002":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_batch(factory, order(tmp_path / "out", count=3), stop)
    with pytest.raises(LocalMisuse, match="unfinished: 2 of 3 devices are made") as refused:
        make_batch(factory, order(tmp_path / "out", count=4), quietly)
    assert "--count 3" in str(refused.value.hint)
    told: list[tuple[str, bool]] = []
    make_batch(factory, order(tmp_path / "out", count=3), lambda *what: told.append(what))
    assert told == [("SW-000001", True), ("SW-000002", True), ("SW-000003", False)]
    assert len(factory.register.made) == 3


class Killed(BaseException):
    """What no code of ours catches."""


@contextmanager
def killed_at(monkeypatch: pytest.MonkeyPatch, call: int) -> Iterator[None]:
    """End at this call of fsync, before or after it is done; what a kill there would leave is on the disk."""
    left, real = [call], os.fsync

    def fsync(descriptor: int) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        yield


def test_killed_at_every_write_and_resumed(
    home: FactoryHome, cheap: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No serial number twice, no half-made device counted; in the end, what was ordered, each in one manifest."""
    made = verifier_of(SetupCode("471", Secret(b"9382556")))  # the costly part, once
    monkeypatch.setattr(making_module, "verifier_of", lambda _: made)
    kills = 0
    for call in range(1, 200):
        here = FactoryHome(tmp_path / f"state-{call}")
        shutil.copytree(home.path, here.path)
        out = tmp_path / f"out-{call}"
        try:
            with killed_at(monkeypatch, call), OpenFactory.open(here, PASSPHRASE) as factory:
                make_batch(factory, order(out, count=2), quietly)
        except Killed:
            kills += 1
        else:
            break
        counted = set(Register.open(here.register_path).made)
        with OpenFactory.open(here, PASSPHRASE) as factory:
            kept = {serial: factory.register.made[serial].x5t for serial in counted}
            make_batch(factory, order(out, count=2), quietly)
            assert sorted(factory.register.made) == ["SW-000001", "SW-000002"]
            assert {serial: factory.register.made[serial].x5t for serial in counted} == kept
            for serial in factory.register.made:
                chain = NewbornHome(out / serial).read_birth().chain
                birth = verify_idevid(chain, [factory.manufacturer], LATER, expected_serial=serial)
                demand_listed(birth, signed_manifests(factory))
                assert (out / LABELS / f"{serial}.json").exists()
            listed = [device.serial for one in signed_manifests(factory) for device in one.claims.devices]
            assert sorted(listed) == ["SW-000001", "SW-000002"]
            assert not list(out.glob(".*")) and not here.batch_path.exists()
        assert len(here.register_path.read_text().splitlines()) == 2
        shutil.rmtree(here.path)
        shutil.rmtree(out)
    assert kills > 20


# the directory ---------------------------------------------------------------------------------------------------
def test_one_process_at_a_time(factory: OpenFactory) -> None:
    with pytest.raises(InUse):
        OpenFactory.open(factory.home, PASSPHRASE)


def test_a_wrong_passphrase_leaves_the_directory_free(home: FactoryHome) -> None:
    with pytest.raises(LocalMisuse, match="passphrase"):
        OpenFactory.open(home, Secret(b"wrong"))
    OpenFactory.open(home, PASSPHRASE).__exit__()


def test_a_factory_is_made_once(home: FactoryHome, tmp_path: Path) -> None:
    with pytest.raises(LocalMisuse, match="factory already"):
        home.create("Acme Meters", PASSPHRASE)
    with pytest.raises(LocalMisuse, match="no factory"):
        OpenFactory.open(FactoryHome(tmp_path / "nothing"), PASSPHRASE)
    with pytest.raises(Malformed, match="manufacturer"):
        FactoryHome(tmp_path / "new").create(" ", PASSPHRASE)


def test_a_factory_whose_making_was_interrupted_is_completed(home: FactoryHome) -> None:
    key = home.root_keystore_path.read_bytes()
    home.issuing_path.unlink()
    home.create("Acme Meters", PASSPHRASE)
    assert home.root_keystore_path.read_bytes() == key
    with OpenFactory.open(home, PASSPHRASE) as factory:
        assert factory.manufacturer.name == "Acme Meters"


def test_the_roots_key_is_not_needed_to_make_devices(home: FactoryHome, cheap: None, tmp_path: Path) -> None:
    home.root_keystore_path.unlink()
    with OpenFactory.open(home, PASSPHRASE) as factory:
        make_batch(factory, order(tmp_path / "out", "A-1"), quietly)
        whole(factory, tmp_path / "out", "A-1")


@pytest.mark.parametrize("name", ["root.der", "batch.json", "register.jsonl", "manifests/000001.cose"])
def test_damage_is_told(home: FactoryHome, cheap: None, tmp_path: Path, name: str) -> None:
    with OpenFactory.open(home, PASSPHRASE) as factory:
        make_batch(factory, order(tmp_path / "out", "A-1"), quietly)
    path = home.path / name
    path.write_bytes(b'{"x": 1}\n')
    path.chmod(0o600)
    with pytest.raises(StateLost, match="damaged"), OpenFactory.open(home, PASSPHRASE) as factory:
        make_batch(factory, order(tmp_path / "out", "A-2"), quietly)


def test_a_manifest_that_is_gone_is_told(factory: OpenFactory, tmp_path: Path) -> None:
    for serial in ("A-1", "A-2"):
        make_batch(factory, order(tmp_path / "out", serial), quietly)
    (factory.home.manifests_path / "000001.cose").unlink()
    with pytest.raises(StateLost, match="missing"):
        signed_manifests(factory)


def test_a_torn_line_of_the_register_counts_for_nothing(home: FactoryHome) -> None:
    first = Made("A-1", "00", "m", None, "out", 1)
    Register.open(home.register_path).enter(first)
    with home.register_path.open("ab") as file:
        file.write(b'{"serial": "A-2"')
    register = Register.open(home.register_path)
    assert list(register.made) == ["A-1"]
    register.enter(Made("A-3", "00", "m", None, "out", 1))
    assert list(Register.open(home.register_path).made) == ["A-1", "A-3"]


def test_a_label_file_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "label.json"
    label = Label("Acme", "m", "A-1", SetupCode("471", Secret(b"9382556")))
    good = label.encode()
    for content in (
        b"",
        b"[]",
        b"{}",
        good.replace(b'"m"', b"1"),
        good.replace(b"A-1", b"A-2", 1),
        good.replace(b"5564", b"5565", 1),
    ):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(SealwayError):
            Label.read(path)
    path.write_bytes(good)
    assert Label.read(path) == label and "9382" not in repr(label)
