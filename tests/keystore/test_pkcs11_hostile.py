# SPDX-License-Identifier: Apache-2.0
"""Keys in a PKCS#11 token, and what others put into the token or into the file beside it; PINs that it refuses."""

from __future__ import annotations

import os
from base64 import b64encode
from pathlib import Path

import pkcs11
import pytest
from pkcs11 import Attribute, ObjectClass

from sealway.crypto.keys import SoftSigner
from sealway.crypto.secret import Secret
from sealway.crypto.suites import SUITE_2
from sealway.errors import LocalMisuse, StateLost, TokenFailed, TokenLocked
from sealway.home.home import Home
from sealway.keystore import pkcs11_session
from sealway.keystore.pkcs11 import Pkcs11Chip
from sealway.keystore.pkcs11_session import TokenSession
from sealway.keystore.pkcs11_uri import TokenName
from sealway.keystore.places import open_keystore
from sealway.keystore.token import TokenKeystore
from sealway.keystore.trial import try_place
from sealway.wire.address import Name
from tests.keystore.softhsm import PIN, SoftHsm, module, raw_session, token_keystore, uri
from tests.keystore.test_pkcs11 import changed, made, opened, private_keys, sessions_of


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


class Counted:
    """A token that counts how often a PIN is offered to it, and takes one of them."""

    label, serial = "counted", b"1"

    def __init__(self, right: str) -> None:
        self.right = right
        self.offered: list[str] = []

    def open(self, *, user_pin: str, **_: object) -> object:
        self.offered.append(user_pin)
        if user_pin != self.right:
            raise pkcs11.PinIncorrect
        return object()


def test_a_pin_is_not_offered_again_after_it_was_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    name, token = TokenName("/counted.so", "counted"), Counted("2")
    monkeypatch.setattr(pkcs11_session, "_find", lambda _: token)
    for _ in range(3):
        with pytest.raises(LocalMisuse, match="wrong PIN"):
            TokenSession.open(name, Secret(b"1"))
    assert token.offered == ["1"]
    session = TokenSession.open(name, Secret(b"2"))
    assert TokenSession.open(name, Secret(b"2")) is session
    assert token.offered == ["1", "2"]
    token.right = "1"
    session._forget()
    with pytest.raises(TokenLocked, match="any more: wrong PIN"):
        session._logged_in()
    with pytest.raises(LocalMisuse, match="wrong PIN"):
        TokenSession.open(name, Secret(b"2"))
    assert TokenSession.open(name, Secret(b"1")) is not session  # the one that was refused is in nobody's way
    assert token.offered == ["1", "2", "2", "1"]


def test_what_is_no_refusal_of_the_pin_is_not_taken_for_one(
    tmp_path: Path, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keystore = made(tmp_path, token)
    signer = keystore.signer("identity")
    with monkeypatch.context() as patch:
        patch.setattr(pkcs11_session, "_find", _several)
        sessions_of(keystore)._forget()
        with pytest.raises(TokenFailed, match="several"):
            signer.sign(b"m")
    signer.public.verify(b"m", signer.sign(b"m"))


def _several(_: object) -> None:
    raise LocalMisuse("there are several such tokens")


def test_a_slot_that_cannot_be_read_is_in_nobodys_way(
    tmp_path: Path, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, token)

    class Odd:
        def get_token(self) -> None:
            raise pkcs11.TokenNotRecognised

    class Module:
        def get_slots(self, **_: object) -> list[object]:
            return [Odd(), *library.get_slots(token_present=True)]

    library = pkcs11.lib(module())
    monkeypatch.setattr(pkcs11, "lib", lambda _: Module())
    assert opened(tmp_path).signer("identity").sign(b"m")


def test_a_pin_that_is_no_text_is_in_no_error(tmp_path: Path, token: str, softhsm: SoftHsm) -> None:
    made(tmp_path, token)
    softhsm.begin_anew()
    with pytest.raises(LocalMisuse, match="text in UTF-8") as refused:
        open_keystore(tmp_path / "keys", Secret(b"1234\xff"))
    assert refused.value.__cause__ is None
    assert refused.value.__context__ is None


def test_a_trial_that_fails_leaves_no_keys(tmp_path: Path, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keystore = token_keystore(tmp_path, uri(token))
    assert isinstance(keystore, TokenKeystore)
    monkeypatch.setattr(TokenKeystore, "_prove", _broken)
    with pytest.raises(TokenFailed, match="it may be broken"):
        try_place(keystore, os.urandom, lambda: 0.0)
    assert private_keys(token) == []


def _broken(*_: object) -> None:
    raise TokenFailed("it may be broken")


def test_keys_that_are_discarded_are_destroyed_even_if_that_was_interrupted(
    tmp_path: Path, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, pin = Home(tmp_path, "device"), Secret(PIN.encode())
    home.prepare(Name.parse("sealway://home.example/device/a"), pin, place=uri(token))
    assert len(private_keys(token)) == 2
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(Pkcs11Chip, "discard", _broken)
            with pytest.raises(TokenFailed):
                home.discard_keys(pin)
    home.discard_keys(pin)
    assert private_keys(token) == []
