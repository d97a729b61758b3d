# SPDX-License-Identifier: Apache-2.0
"""The owner's side on a disk: what it gave is there before the device has it, wherever its power is lost."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sealway.cli.commissioning import read_networks, trusting
from sealway.cli.pairing import born_of, pairing_of
from sealway.crypto.keys import SoftSigner, generate_scalar
from sealway.crypto.secret import Secret
from sealway.errors import (
    LocalMisuse,
    NotAuthorized,
    NotTrusted,
    RateLimited,
    StateLost,
    TransportFailed,
    WrongCode,
)
from sealway.home.home import Home
from sealway.identity.issuing import make_csr
from sealway.joining.device import Joiner, Moment
from sealway.joining.ownership import MOST_ATTEMPTS
from sealway.sdk.clock import SystemClock
from sealway.sdk.owner.authority import Enrolling, OpenOwner, OwnerHome
from sealway.sdk.owner.commissioning import Ask, Commissioning, Taking
from sealway.sdk.owner.joinings import Joined, Joinings
from sealway.sdk.owner.manufacturers import Manufacturers
from sealway.wire.address import Name
from tests.cli.factory_made import MadeDevice, make_device
from tests.cli.town import PASSPHRASE
from tests.joining.power import Power

SECRET = Secret(PASSPHRASE.encode())
DOMAIN = "building.example"


class Scene:
    """An owner and a made device, on the disk, as copies of the same two directories."""

    def __init__(self, base: Path) -> None:
        self.base = base
        (base / "made").mkdir()
        self.root, self.made = make_device(base / "made", "TH-000001")
        OwnerHome(base / "owner.first").create(DOMAIN, SECRET, days=30)
        Manufacturers(base / "owner.first").trust(self.root.read_bytes())
        self.owner, self.device = base / "owner", base / "device"

    def begin(self) -> None:
        """Everything as it was before anyone met."""
        for first, now in ((self.base / "owner.first", self.owner), (self.made.state, self.device)):
            shutil.rmtree(now, ignore_errors=True)
            shutil.copytree(first, now)

    def taking(self, code: Secret | None = None) -> Taking:
        enrolling = Enrolling(name=_name_for("unnamed"), hub="https://hub.example")
        return Taking(password=code or self.made.code.password, enrolling=enrolling, name=_name_for)

    def take(
        self, taking: Taking | None = None, lost: Callable[[int], bool] = lambda number: False,
        unheard: Callable[[int], bool] = lambda number: False, spent: int = 0,
    ) -> Joined:  # fmt: skip
        """Take the device in; ``lost`` says which answers do not arrive, ``unheard`` which questions, and ``spent`` how
        many attempts a stranger made before."""

        async def run() -> Joined:
            with pairing_of(Home(self.device, "device"), SECRET) as pairing:
                pairing.open_window(SystemClock().uptime(), pressed=True)
                for _ in range(spent):
                    pairing.count_attempt()
                ask = _asking(Joiner(born_of(self.device, SECRET), pairing, os.urandom), lost, unheard)
                with OpenOwner.open(OwnerHome(self.owner), SECRET) as owner:
                    prove = trusting(OwnerHome(self.owner))
                    return await Commissioning(owner, self.joinings, prove).take(ask, taking or self.taking())

        return asyncio.run(run())

    def come(self, serial: str, manufacturer: str) -> MadeDevice:
        """Another device stands in the place of the first one; the owner trusts whoever made it."""
        (self.base / manufacturer).mkdir(exist_ok=True)
        shutil.rmtree(self.base / manufacturer / serial, ignore_errors=True)
        root, made = make_device(self.base / manufacturer, serial, manufacturer)
        Manufacturers(self.owner).trust(root.read_bytes())
        shutil.rmtree(self.device)
        shutil.copytree(made.state, self.device)
        return made

    @property
    def joinings(self) -> Joinings:
        return Joinings(self.owner / "joining")

    def kept(self) -> bytes:
        """SHA-256 of what the device has."""
        kept = Home(self.device, "device").kept()
        assert kept is not None
        return kept[1]


def _name_for(serial: str) -> Name:
    return Name(DOMAIN, "device", serial.lower())


def _asking(device: Joiner, lost: Callable[[int], bool], unheard: Callable[[int], bool]) -> Ask:
    count = 0

    async def ask(message: bytes) -> bytes:
        nonlocal count
        count += 1
        if unheard(count):
            raise TransportFailed("lost")
        answer = device.answer(message, Moment(int(time.time()), SystemClock().uptime()))
        if lost(count):
            raise TransportFailed("lost")
        return answer

    return ask


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("scene"))


@pytest.fixture(autouse=True)
def _anew(scene: Scene) -> None:
    scene.begin()


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_whichever_answer_is_lost_the_same_command_goes_on(scene: Scene, number: int) -> None:
    with pytest.raises(TransportFailed):
        scene.take(lost=lambda count: count == number)
    before = list(scene.joinings)
    assert [joined.confirmed for joined in before] == [False] * (number == 4)
    joined = scene.take()
    assert joined.confirmed and hashlib.sha256(joined.enrolment).digest() == scene.kept()
    assert [one.confirmed for one in scene.joinings] == [True]
    assert not before or before[0].enrolment == joined.enrolment
    assert len(list(OwnerHome(scene.owner).ledger.entries("certificate"))) == 1


def test_a_stranger_who_spent_the_attempts_does_not_keep_the_owner_from_going_on(scene: Scene) -> None:
    with pytest.raises(TransportFailed):
        scene.take(unheard=lambda count: count == 4)
    (before,) = scene.joinings
    joined = scene.take(spent=MOST_ATTEMPTS)
    assert joined.enrolment == before.enrolment
    scene.begin()
    with pytest.raises(RateLimited, match="no attempts are left"):  # with nothing to go on with
        scene.take(spent=MOST_ATTEMPTS)


def test_power_lost_at_any_change_of_the_owner_s_directory(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    power, cuts = Power(monkeypatch), 0
    while True:
        scene.begin()
        if not power.runs_out(cuts, scene.take):
            break
        joined = scene.take()
        assert hashlib.sha256(joined.enrolment).digest() == scene.kept()
        assert [one.confirmed for one in scene.joinings] == [True]
        cuts += 5  # both sides' changes are counted here; the device's are looked at one by one elsewhere
    assert cuts > 10


def test_a_wrong_code_leaves_nothing_and_the_next_one_may_try_at_once(scene: Scene) -> None:
    with pytest.raises(WrongCode, match="19 attempts are left"):
        scene.take(scene.taking(Secret(b"0000000017")))
    assert list(scene.joinings) == []
    assert scene.take().serial == "TH-000001"


def test_an_owned_device_is_not_taken_again_and_the_record_stays(scene: Scene) -> None:
    scene.take()
    kept = scene.kept()
    with pytest.raises(NotAuthorized, match="has an owner"):
        scene.take()
    assert scene.kept() == kept


def test_another_serial_number_than_on_the_label_is_refused(scene: Scene) -> None:
    with pytest.raises(NotTrusted, match="another device"):
        scene.take(replace(scene.taking(), serial="TH-000002"))


def test_another_makers_device_with_this_serial_number_does_not_get_the_name(scene: Scene) -> None:
    first = scene.take()
    taking = scene.taking(scene.come("TH-000001", "Someone Else").code.password)
    with pytest.raises(NotTrusted, match="another device with this serial number") as refused:
        scene.take(taking)
    assert "--label" in str(refused.value.hint)
    assert [joined.birth for joined in scene.joinings] == [first.birth]
    assert len(list(OwnerHome(scene.owner).ledger.entries("certificate"))) == 1
    second = scene.take(replace(taking, name=lambda serial: Name(DOMAIN, "device", "cellar")))
    assert (second.serial, second.name.label) == ("TH-000001", "cellar") and second.birth != first.birth
    assert scene.joinings.find(first.birth) == first and scene.joinings.find(second.birth) == second


def test_a_name_is_given_to_another_device_only_if_it_replaces_the_first(scene: Scene) -> None:
    first = scene.take()
    taking = scene.taking(scene.come("TH-000002", "Example Sensors").code.password)
    taking = replace(taking, name=lambda serial: first.name)
    with pytest.raises(NotTrusted, match="th-000001 is the name of another"):
        scene.take(taking)
    second = scene.take(replace(taking, replaces=True))
    assert second.name == first.name and [joined.birth for joined in scene.joinings] == [second.birth]
    shutil.rmtree(scene.device)
    shutil.copytree(scene.made.state, scene.device)  # the first comes back, reset
    with pytest.raises(NotTrusted, match="is the name of another"):
        scene.take()


def test_the_name_of_a_member_that_has_shown_no_birth_certificate_is_taken(scene: Scene) -> None:
    key = SoftSigner(generate_scalar(os.urandom))
    enrolling = Enrolling(name=_name_for("TH-000001"), hub="https://hub.example")
    with OpenOwner.open(OwnerHome(scene.owner), SECRET) as owner:
        owner.enroll(make_csr(key, enrolling.name), enrolling)
        issued = next(iter(owner.ledger.entries("certificate")))
        assert owner.has_another(enrolling.name, bytes(32), issued["expires"])
        assert not owner.has_another(enrolling.name, bytes(32), issued["expires"] + 1)
    with pytest.raises(NotTrusted, match="is the name of another"):
        scene.take()


def test_a_device_that_was_reset_gets_its_name_again(scene: Scene) -> None:
    first = scene.take()
    shutil.rmtree(scene.device)
    shutil.copytree(scene.made.state, scene.device)
    second = scene.take()
    assert (second.birth, second.name) == (first.birth, first.name) and second.enrolment != first.enrolment


def test_who_looks_at_the_label_may_say_no_before_anything_is_certified(scene: Scene) -> None:
    asked = []

    def no(serial: str) -> None:
        asked.append(serial)
        raise NotTrusted("not that one")

    with pytest.raises(NotTrusted, match="not that one"):
        scene.take(replace(scene.taking(), agreed=no))
    assert asked == ["TH-000001"]
    assert list(scene.joinings) == [] == list(OwnerHome(scene.owner).ledger.entries("certificate"))


def test_a_device_with_an_enrolment_that_is_not_known_here_is_said(scene: Scene) -> None:
    joined = scene.take()
    scene.joinings.keep(replace(joined, confirmed=False, enrolment=b"another"))
    with pytest.raises(LocalMisuse, match="another enrolment"):
        scene.take()


def test_records_are_read_strictly_and_named_safely(scene: Scene) -> None:
    joined = scene.take()
    assert Joined.decode(joined.encode()) == joined
    (file,) = (scene.owner / "joining").iterdir()
    assert file.name.startswith("TH-000001.") and file.stat().st_mode & 0o777 == 0o600
    file.write_bytes(b"\xff")
    with pytest.raises(StateLost, match="damaged"):
        scene.joinings.find(joined.birth)
    for serial in ("../x", "", "a/b", "x" * 65):
        with pytest.raises(LocalMisuse):
            scene.joinings.keep(replace(joined, serial=serial))


def test_what_is_said_on_the_command_line_is_checked(tmp_path: Path) -> None:
    with pytest.raises(LocalMisuse, match="no manufacturer"):
        trusting(OwnerHome(tmp_path))
    with pytest.raises(LocalMisuse, match="KIND=FILE"):
        read_networks(["wifi"])
    (tmp_path / "wifi").write_bytes(b"psk")
    assert read_networks([f"wifi={tmp_path / 'wifi'}"]) == {"wifi": b"psk"}
