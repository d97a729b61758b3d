# SPDX-License-Identifier: Apache-2.0
"""The owner, as programs use it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sealway import Application, Device, InUse, Issued, LocalMisuse, Malformed, Name, NotTrusted, Owner, SealwayError
from sealway.identity.grants import verify_grant
from tests.sdk.small_town import DOMAIN, HUB, METER, OPS, SECRET


@pytest.fixture
def owner(tmp_path: Path) -> Any:
    with Owner.create(tmp_path / "owner", DOMAIN, passphrase=SECRET) as opened:
        yield opened


def test_one_at_a_time(owner: Owner, tmp_path: Path) -> None:
    assert (owner.domain, owner.root.domain, len(owner.fingerprint)) == (DOMAIN, DOMAIN, 64)
    with pytest.raises(InUse):
        Owner.open(tmp_path / "owner", passphrase=SECRET)
    owner.close()
    with Owner.open(tmp_path / "owner", passphrase=SECRET) as again:
        assert again.fingerprint == owner.fingerprint
    with pytest.raises(LocalMisuse, match="has an owner already"):
        Owner.create(tmp_path / "owner", DOMAIN, passphrase=SECRET)
    with pytest.raises(LocalMisuse, match="wrong passphrase"):
        Owner.open(tmp_path / "owner", passphrase="wrong")
    with pytest.raises(LocalMisuse, match="no owner"):
        Owner.open(tmp_path / "nobody", passphrase=SECRET)
    with pytest.raises(LocalMisuse):
        Owner.create(tmp_path / "other", "Not a domain", passphrase=SECRET)


def test_what_was_issued(owner: Owner, tmp_path: Path) -> None:
    request = Application.prepare(tmp_path / "ops", OPS, passphrase=SECRET)
    (tmp_path / "file").write_bytes(request)
    assert Application.prepare(tmp_path / "ops", OPS, passphrase=SECRET) == request
    owner.enroll(tmp_path / "file", OPS, hub=HUB, scopes=["valve:write"], lifetime=timedelta(days=7))
    enrolment = owner.enroll(request, Name.parse(OPS), hub=HUB)
    Application.accept(tmp_path / "ops", enrolment, passphrase=SECRET)
    grant = owner.grant(OPS, ["door:open"], devices=[METER], lifetime=timedelta(hours=3))
    proven = verify_grant(grant, owner.root, int(datetime.now(UTC).timestamp()) + 1)
    assert proven.claims.audience == (METER,)
    Application.add_grant(tmp_path / "ops", grant)
    first, everywhere, second, later = owner.issued()
    who, now = Name.parse(OPS), datetime.now(UTC)
    assert (first.kind, first.member, first.scopes) == ("certificate", who, ())
    assert timedelta(days=6) < first.expires - now < timedelta(days=8)
    assert everywhere == Issued(
        "grant", who, everywhere.expires, ("valve:write",), (f"sealway://{DOMAIN}/device/*",)
    )  # fmt: skip
    assert second.kind == "certificate"
    assert (later.scopes, later.devices) == (("door:open",), (METER,))
    assert timedelta(hours=2) < later.expires - now < timedelta(hours=4)


def test_what_an_owner_does_not_do(owner: Owner, tmp_path: Path) -> None:
    request = Device.prepare(tmp_path / "meter", METER, passphrase=SECRET)
    wrong: list[tuple[type[SealwayError], str, dict[str, Any]]] = [
        (NotTrusted, "asks for the name", {"name": f"{METER}-2"}),
        (LocalMisuse, "is not in the domain", {"name": "sealway://other.example/device/meter"}),
        (LocalMisuse, "is not a name", {"name": "meter"}),
        (LocalMisuse, "is not a name", {"peers": ["ops"]}),
        (LocalMisuse, "is not the name of a gateway", {"gateway": (OPS, "coap://127.0.0.1:5683")}),
        (LocalMisuse, "coap://", {"gateway": (f"sealway://{DOMAIN}/gateway/g", "http://127.0.0.1")}),
        (LocalMisuse, "lifetime", {"lifetime": timedelta(hours=30)}),
        (LocalMisuse, "lifetime", {"lifetime": timedelta(0)}),
        (Malformed, "request", {"request": b"nonsense"}),
    ]
    for error, words, options in wrong:
        with pytest.raises(error, match=words):
            owner.enroll(**{"request": request, "name": METER, "hub": HUB} | options)
    with pytest.raises(LocalMisuse, match="was not enrolled here"):
        owner.grant(OPS, ["valve:write"])
    assert owner.issued() == []


def test_a_member_trusts_only_the_owner_it_was_told_of(owner: Owner, tmp_path: Path) -> None:
    request = Device.prepare(tmp_path / "meter", METER, passphrase=SECRET)
    enrolment = owner.enroll(request, METER, hub=HUB)
    with pytest.raises(LocalMisuse, match="64 hex digits"):
        Device.accept(tmp_path / "meter", enrolment, fingerprint="xyz", passphrase=SECRET)
    with pytest.raises(NotTrusted):
        Device.accept(tmp_path / "meter", enrolment, fingerprint="00" * 32, passphrase=SECRET)
    with pytest.raises(LocalMisuse, match="is not the name of a device"):
        Device.prepare(tmp_path / "other", OPS, passphrase=SECRET)
    with pytest.raises(LocalMisuse, match="there are no keys"):
        Device.accept(tmp_path / "other", enrolment, passphrase=SECRET)
    assert str(Device.accept(tmp_path / "meter", enrolment, passphrase=SECRET)) == METER  # the first is trusted
