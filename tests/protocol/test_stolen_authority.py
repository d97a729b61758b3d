# SPDX-License-Identifier: Apache-2.0
"""What the stolen keys of the owner, and the key of a sealed file, are good for: THREAT_MODEL.md, "Stolen keys"."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sealway.crypto.keys import SoftSigner
from sealway.errors import NotAuthentic, NotAuthorized, NotTrusted
from sealway.identity.credentials import Credential, verify_chain
from sealway.identity.grants import issue_grant, verify_grant
from sealway.identity.issuing import issue_certificate, make_csr, self_signed_ca
from sealway.identity.root import sign_root, verify_root
from sealway.wire.root_document import Authority
from tests.identity.small_domain import DAY, NOW, SmallDomain, name, seeded, signer
from tests.protocol.test_sealed_file import KEY, PREFACE, opened, sealed
from tests.wire.wire_samples import PREFACES

VALVE = name("valve-1")


@pytest.fixture(scope="module")
def town() -> SmallDomain:
    return SmallDomain()


def test_the_thief_of_the_owner_root_key_is_the_owner(town: SmallDomain) -> None:
    """A newer root document of his names an issuing CA and a grant key of his, and whoever pinned the owner follows."""
    thief, key = signer("thief's ca"), signer("thief's device")
    ca = self_signed_ca(thief, "building.example", now=NOW, days=9, random=seeded("thief"))
    claims = replace(
        town.claims, number=2, issuing_cas=(ca,), grant_keys=(Authority(thief.public.point, NOW + DAY),)
    )  # fmt: skip
    root = verify_root(sign_root(claims, [town.owner]), now=NOW, pinned=town.root)
    chain = issue_certificate(
        make_csr(key, VALVE), expected_name=VALVE, ca_chain=[ca], ca_signer=thief, now=NOW, days=3,
        random=seeded("issued"),
    )  # fmt: skip
    assert verify_chain(chain, root, NOW).name == VALVE
    with pytest.raises(NotTrusted):
        verify_chain(chain, town.root, NOW)
    with pytest.raises((NotTrusted, NotAuthentic)):
        verify_root(sign_root(replace(claims, owner_keys=(thief.public.point,)), [thief]), now=NOW, pinned=town.root)


def grant_by(town: SmallDomain, by: SoftSigner, holder: Credential) -> bytes:
    return issue_grant(
        holder=holder, audience=[VALVE], scopes=["valve:write"], signer=by, now=NOW, random=seeded("grant")
    )  # fmt: skip


def test_the_thief_of_a_grant_key_lets_any_certified_holder_command_until_the_owner_strikes_it_out(
    town: SmallDomain,
) -> None:
    accomplice, _ = town.credential("accomplice", "application")
    grant = grant_by(town, town.granter, accomplice)
    assert verify_grant(grant, town.root, NOW).permits(accomplice, VALVE, "valve:write", NOW)
    struck = town.root_with(number=2, grant_keys=(Authority(signer("new granter").public.point, NOW + DAY),))
    with pytest.raises(NotTrusted):
        verify_grant(grant, struck, NOW)
    with pytest.raises(NotTrusted):
        verify_grant(grant, town.root, NOW + 101 * DAY)  # the time of the grant key itself is over


def test_the_thief_of_a_grant_key_commands_nothing_without_a_certified_key(town: SmallDomain) -> None:
    accomplice, _ = town.credential("accomplice", "application")
    other, _ = town.credential("other", "application")
    grant = verify_grant(grant_by(town, town.granter, accomplice), town.root, NOW)
    with pytest.raises(NotAuthorized):
        grant.permits(other, VALVE, "valve:write", NOW)


def test_other_keys_of_the_owner_grant_nothing(town: SmallDomain) -> None:
    accomplice, _ = town.credential("accomplice", "application")
    for key in (town.ca, town.owner):
        with pytest.raises(NotTrusted):
            verify_grant(grant_by(town, key, accomplice), town.root, NOW)


def test_the_thief_of_a_files_key_reads_and_replaces_that_file_and_no_other() -> None:
    """Who has the key of a file has what seals it; behind another envelope it is another file's."""
    assert b"".join(opened(sealed(b"content"))) == b"content"
    assert b"".join(opened(sealed(b"the thief's content"))) == b"the thief's content"
    other = sealed(b"content of another file", replace(KEY, key=bytes(32)), PREFACES[1])
    with pytest.raises(NotAuthentic):
        list(opened(other))
    assert PREFACES[1] != PREFACE
