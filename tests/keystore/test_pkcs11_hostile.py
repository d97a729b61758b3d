# SPDX-License-Identifier: Apache-2.0
"""Keys in a PKCS#11 token, and what others put into the token or into the file beside it; PINs that it refuses."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pkcs11
import pytest
from pkcs11 import Attribute, ObjectClass

from sealway.crypto.keys import SoftSigner
from sealway.crypto.secret import Secret
from sealway.crypto.suites import SUITE_2
from sealway.errors import StateLost, TokenFailed
from tests.keystore.softhsm import raw_session
from tests.keystore.test_pkcs11 import changed, made, opened


def test_a_key_that_was_planted_is_not_used(tmp_path: Path, token: str) -> None:
    """What is not private is put into a token without any PIN; here by somebody who knows its private half."""
    key = made(tmp_path, token).index.keys["identity"]
    for found in raw_session(token).get_objects({Attribute.ID: key.reference}):
        found.destroy()
    planted = SoftSigner(Secret(b"\x07" * 32))
    raw_session(token).create_object({
        Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.KEY_TYPE: pkcs11.KeyType.EC, Attribute.TOKEN: True,
        Attribute.PRIVATE: False, Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.SIGN: True,
        Attribute.ID: key.reference, Attribute.LABEL: key.purpose.text, Attribute.VALUE: b"\x07" * 32,
        Attribute.EC_PARAMS: bytes.fromhex("06082a8648ce3d030107"),
    })  # fmt: skip
    point = planted.public.point.hex()
    changed(tmp_path / "keys", lambda fields: fields["keys"][1].update(public=point))
    with pytest.raises(TokenFailed, match="did not make it itself"):
        opened(tmp_path).signer("identity")


def test_only_keys_of_sealway_are_destroyed(tmp_path: Path, token: str) -> None:
    """Who can write into the directory says what is to be destroyed."""
    keystore, identity = made(tmp_path, token), b"sixteen of bytes"
    foreign = [
        {Attribute.CLASS: ObjectClass.DATA, Attribute.LABEL: "sealway data", Attribute.VALUE: b"v"},
        {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: pkcs11.KeyType.GENERIC_SECRET,
         Attribute.ID: identity, Attribute.LABEL: "sealway secret", Attribute.VALUE: b"v" * 16},
    ]  # fmt: skip
    for template in foreign:
        raw_session(token).create_object({Attribute.TOKEN: True, **template})
    for number in (b"short", identity):
        raw_session(token).generate_keypair(pkcs11.KeyType.RSA, 1024, id=number, label="another's", store=True)
    everything = len(list(raw_session(token).get_objects()))
    doomed = [b64encode(reference).decode() for reference in (b"", b"short", identity)]
    changed(tmp_path / "keys", lambda fields: fields.update(doomed=doomed))
    later = opened(tmp_path)
    later.generate("agreement-2", "agree", SUITE_2)
    assert len(list(raw_session(token).get_objects())) == everything + 2
    assert later.index.doomed == ()
    assert keystore.signer("identity").sign(b"m")


def test_a_key_that_was_removed_is_not_remembered(tmp_path: Path, token: str) -> None:
    keystore = made(tmp_path, token)
    signer = keystore.signer("identity")
    keystore.remove("identity")
    with pytest.raises(StateLost, match="no keys with the identifier"):
        signer.sign(b"m")
