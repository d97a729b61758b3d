# SPDX-License-Identifier: Apache-2.0
"""Whose devices an owner takes in, and what its directory holds of that."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from sealway.errors import LocalMisuse, NotTrusted, StateLost
from sealway.identity.manufacturing import manufacturer_root
from sealway.sdk.owner import manufacturers as module
from sealway.sdk.owner.manufacturers import Manufacturers
from sealway.wire.manifest import MadeDevice
from tests.factory.small_factory import SmallFactory
from tests.identity.small_domain import DAY, NOW, seeded

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ACME, OTHER = SmallFactory(), SmallFactory("Other Things")


def listed(serial: str, factory: SmallFactory = ACME) -> MadeDevice:
    return MadeDevice(serial, sha256(factory.chain(serial)[0]).digest())


@pytest.fixture
def owners(tmp_path: Path) -> Manufacturers:
    held = Manufacturers(tmp_path)
    held.trust(ACME.root_der, fingerprint=ACME.manufacturer.fingerprint)
    return held


def test_a_trusted_manufacturers_devices_are_taken_in(owners: Manufacturers) -> None:
    owners.trust(ACME.root_der)
    assert [one.name for one in owners.trusted()] == ["Acme Meters"]
    assert owners.prove(ACME.chain("SW-1"), NOW, expected_serial="SW-1").serial == "SW-1"
    with pytest.raises(NotTrusted, match="does not trust"):
        owners.prove(OTHER.chain("SW-1"), NOW)
    owners.trust(OTHER.root_der)
    assert owners.prove(OTHER.chain("SW-1"), NOW).manufacturer.name == "Other Things"


def test_another_fingerprint_is_not_trusted(tmp_path: Path) -> None:
    with pytest.raises(NotTrusted, match="not the one expected"):
        Manufacturers(tmp_path).trust(ACME.root_der, fingerprint=OTHER.manufacturer.fingerprint)
    assert Manufacturers(tmp_path).trusted() == []


def test_with_a_manifest_only_listed_devices_are_taken_in(owners: Manufacturers) -> None:
    owners.trust(OTHER.root_der)
    for _ in range(2):
        owners.add_manifest(ACME.manifest(listed("SW-1")), NOW)
    assert len(owners.manifests(ACME.manufacturer, NOW)) == owners.held(ACME.manufacturer) == 1
    assert owners.prove(ACME.chain("SW-1"), NOW).serial == "SW-1"
    with pytest.raises(NotTrusted, match="does not list the device SW-2"):
        owners.prove(ACME.chain("SW-2"), NOW)
    assert owners.prove(OTHER.chain("SW-2"), NOW).serial == "SW-2"  # that one gave no lists


def test_a_manifest_that_nobody_trusted_signed_is_not_kept(owners: Manufacturers) -> None:
    with pytest.raises(NotTrusted, match="does not trust"):
        owners.add_manifest(OTHER.manifest(), NOW)
    assert owners.held(OTHER.manufacturer) == 0


def test_two_manifests_of_one_number_are_told(owners: Manufacturers) -> None:
    owners.add_manifest(ACME.manifest(listed("SW-1")), NOW)
    with pytest.raises(NotTrusted, match="two different manifests 1"):
        owners.add_manifest(ACME.manifest(listed("SW-2")), NOW)
    with pytest.raises(NotTrusted, match="manifest 2 of Acme Meters does not follow"):
        owners.add_manifest(ACME.manifest(listed("SW-2"), number=2, previous=bytes(32)), NOW)


def test_neighbours_have_to_link_in_whatever_order_they_come(owners: Manufacturers) -> None:
    first = ACME.manifest(listed("SW-1"))
    second = ACME.manifest(listed("SW-2"), number=2, previous=sha256(first).digest())
    owners.add_manifest(second, NOW)
    with pytest.raises(NotTrusted, match="the manifest after 1 of Acme Meters does not follow"):
        owners.add_manifest(ACME.manifest(listed("SW-3")), NOW)
    owners.add_manifest(first, NOW)
    owners.add_manifest(ACME.manifest(listed("SW-4"), number=4, previous=bytes(32)), NOW)  # 3 is not here
    assert [one.claims.number for one in owners.manifests(ACME.manufacturer, NOW)] == [1, 2, 4]


def test_a_list_that_was_signed_twice_is_one_list(owners: Manufacturers) -> None:
    first = ACME.manifest(listed("SW-1"))
    again = first[:-32] + (P256_ORDER - int.from_bytes(first[-32:])).to_bytes(32)  # ECDSA: (r, -s) verifies as well
    owners.add_manifest(again, NOW)
    owners.add_manifest(first, NOW)
    owners.add_manifest(ACME.manifest(listed("SW-2"), number=2, previous=sha256(first).digest()), NOW)
    owners.add_manifest(again, NOW)


def test_what_is_held_of_one_manufacturer_does_not_matter_for_another(owners: Manufacturers, tmp_path: Path) -> None:
    owners.add_manifest(ACME.manifest(listed("SW-1")), NOW)
    owners.trust(OTHER.root_der)
    (tmp_path / "manufacturers" / f"{ACME.manufacturer.fingerprint.hex()}.der").unlink()
    assert owners.prove(OTHER.chain("SW-2"), NOW).serial == "SW-2"
    owners.trust(ACME.root_der)
    with pytest.raises(NotTrusted, match="does not list"):  # its lists are here still
        owners.prove(ACME.chain("SW-2"), NOW)


def test_a_manifest_that_is_not_valid_now_is_held_and_lists_nothing(owners: Manufacturers) -> None:
    owners.add_manifest(ACME.manifest(listed("SW-1"), issued=NOW + DAY), NOW + DAY)
    owners.trust(OTHER.root_der)
    assert owners.manifests(ACME.manufacturer, NOW) == []  # the clock was put back
    for serial in ("SW-1", "SW-2"):
        with pytest.raises(NotTrusted, match="does not list"):
            owners.prove(ACME.chain(serial), NOW)
    assert owners.prove(OTHER.chain("SW-2"), NOW).serial == "SW-2"
    assert owners.prove(ACME.chain("SW-1"), NOW + DAY).serial == "SW-1"


def test_a_root_that_was_issued_anew_has_its_lists(owners: Manufacturers) -> None:
    owners.add_manifest(ACME.manifest(listed("SW-1")), NOW)
    for number in range(4):  # one of them comes before the first
        owners.trust(manufacturer_root(ACME.root, "Acme Meters", now=NOW, random=seeded(f"anew {number}")))
    assert owners.prove(ACME.chain("SW-1"), NOW).serial == "SW-1"
    with pytest.raises(NotTrusted, match="does not list"):
        owners.prove(ACME.chain("SW-2"), NOW)


def test_manifests_that_cannot_be_looked_at_are_not_taken_for_none(owners: Manufacturers, tmp_path: Path) -> None:
    (tmp_path / "manifests").write_bytes(b"")
    with pytest.raises(LocalMisuse, match="cannot use the manifests"):
        owners.prove(ACME.chain("SW-1"), NOW)


def test_a_root_with_the_key_identifier_of_another_is_not_trusted(owners: Manufacturers) -> None:
    impostor = ACME.impostor("Other Things")
    with pytest.raises(NotTrusted, match="key identifier of another that is trusted, of Acme Meters"):
        owners.trust(impostor)
    assert [one.name for one in owners.trusted()] == ["Acme Meters"]


def test_there_is_a_bound(owners: Manufacturers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 1)
    with pytest.raises(LocalMisuse, match="holds 1 files"):
        owners.trust(OTHER.root_der)


def test_damage_is_told(owners: Manufacturers, tmp_path: Path) -> None:
    owners.add_manifest(ACME.manifest(listed("SW-1")), NOW)
    (manifest,) = (tmp_path / "manifests").glob("*/*.cose")
    manifest.write_bytes(b"\x00")
    with pytest.raises(StateLost, match="damaged"):
        owners.manifests(ACME.manufacturer, NOW)
    (root,) = (tmp_path / "manufacturers").iterdir()
    root.write_bytes(OTHER.root_der)
    with pytest.raises(StateLost, match="damaged"):
        owners.trusted()
    root.rename(root.with_name("x.der"))
    with pytest.raises(StateLost, match="damaged"):
        owners.trusted()
