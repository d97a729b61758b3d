# SPDX-License-Identifier: Apache-2.0
"""Keys in a PKCS#11 token: that they cannot leave it, and what is said when the token fails."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pkcs11
import pytest
from pkcs11 import Attribute, ObjectClass

from sealway.crypto.secret import Secret
from sealway.crypto.suites import SUITE_1, SUITE_2
from sealway.errors import LocalMisuse, SealwayError, StateLost, TokenFailed, TokenGone, TokenLocked
from sealway.identity.issuing import self_signed_ca
from sealway.keystore import pkcs11_session
from sealway.keystore.memory import MemoryKeystore
from sealway.keystore.pkcs11 import Pkcs11Chip
from sealway.keystore.places import create_keystore, open_keystore, place_of
from sealway.keystore.token import TokenKeystore
from sealway.transports.hop_tls import client_context
from tests.keystore.softhsm import PIN, SoftHsm, module, raw_session, token_keystore, uri

WRONG = Secret(b"999999")


def made(tmp_path: Path, token: str) -> TokenKeystore:
    """A keystore with a key of each kind."""
    keystore = token_keystore(tmp_path, uri(token))
    assert isinstance(keystore, TokenKeystore)
    keystore.generate("identity")
    keystore.generate("agreement", "agree", SUITE_2)
    return keystore


def opened(tmp_path: Path) -> TokenKeystore:
    keystore = open_keystore(tmp_path / "keys", Secret(PIN.encode()))
    assert isinstance(keystore, TokenKeystore)
    return keystore


def private_keys(token: str) -> list[Any]:
    return list(raw_session(token).get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY}))


def sessions_of(keystore: TokenKeystore) -> Any:
    assert isinstance(keystore.chip, Pkcs11Chip)
    return keystore.chip._session


class Faulty:
    """A private key whose operations fail, or give what they should not."""

    def __init__(self, outcome: object) -> None:
        self.outcome = outcome
        self.calls = 0

    def sign(self, digest: bytes, **_: object) -> object:
        self.calls += 1
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    def derive_key(self, *_: object, **__: object) -> object:
        raise pkcs11.FunctionFailed


def test_keys_cannot_leave_the_token(tmp_path: Path, token: str) -> None:
    made(tmp_path, token)
    found = private_keys(token)
    assert {key[Attribute.LABEL] for key in found} == {"sealway identity sign 1", "sealway agreement agree 2"}
    for key in found:
        assert key[Attribute.SENSITIVE] and key[Attribute.ALWAYS_SENSITIVE]
        assert not key[Attribute.EXTRACTABLE] and key[Attribute.NEVER_EXTRACTABLE]
        assert key[Attribute.PRIVATE] and key[Attribute.LOCAL] and key[Attribute.TOKEN]
        signs = key[Attribute.LABEL].endswith("sign 1")
        assert (key[Attribute.SIGN], key[Attribute.DERIVE]) == (signs, not signs)
        with pytest.raises(pkcs11.PKCS11Error):
            assert key[Attribute.VALUE]


def test_they_are_found_by_their_identifier(tmp_path: Path, token: str) -> None:
    keystores = []
    for directory in (tmp_path / "a", tmp_path / "b"):  # the same labels, in the same token
        directory.mkdir()
        keystores.append(made(directory, token))
    assert keystores[0].signer("identity").public != keystores[1].signer("identity").public
    identities = {bytes(key[Attribute.ID]) for key in private_keys(token)}
    assert identities == {key.reference for keystore in keystores for key in keystore.index.keys.values()}


def test_the_file_holds_no_secret_and_no_pin(tmp_path: Path, token: str) -> None:
    made(tmp_path, token)
    content = (tmp_path / "keys").read_text()
    assert PIN not in content
    assert json.loads(content)["place"] == uri(token) == place_of(tmp_path / "keys")
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o600


def test_agreements_leave_no_objects_behind(tmp_path: Path, token: str) -> None:
    keystore = made(tmp_path, token)
    agreer = keystore.agreer("agreement")
    before = len(list(raw_session(token).get_objects()))
    for _ in range(20):
        agreer.agree(agreer.public)
    assert len(list(raw_session(token).get_objects())) == before == 4  # two pairs


def test_tls_goes_on_beside_a_token(tmp_path: Path, token: str) -> None:
    """SoftHSM2 leaves errors in OpenSSL's queue, which ssl would take for its own."""
    made(tmp_path, token)
    authority = MemoryKeystore()
    authority.generate("ca")
    certificate = self_signed_ca(authority.signer("ca"), "a.example", now=0, days=1, random=os.urandom)
    pkcs11_session._sessions.clear()
    pkcs11.lib(module()).reinitialize()  # as at the beginning of a program
    opened(tmp_path)
    assert client_context([certificate]).get_ca_certs(binary_form=True) == [certificate]


def test_a_wrong_pin_is_said_to_be_one(tmp_path: Path, token: str, softhsm: SoftHsm) -> None:
    made(tmp_path, token)
    with pytest.raises(LocalMisuse, match="wrong PIN"):  # known here: the token is not asked
        open_keystore(tmp_path / "keys", WRONG)
    softhsm.begin_anew()
    with pytest.raises(LocalMisuse, match="wrong PIN") as refused:
        open_keystore(tmp_path / "keys", WRONG)
    assert "999999" not in f"{refused.value!r} {refused.value.hint}"
    assert opened(tmp_path).signer("identity").sign(b"m")


def test_a_wrong_pin_makes_no_file(tmp_path: Path, token: str) -> None:
    with pytest.raises(LocalMisuse, match="wrong PIN"):
        create_keystore(uri(token), tmp_path / "keys", WRONG)
    assert not (tmp_path / "keys").exists()


def test_a_token_that_is_not_there(tmp_path: Path, token: str, softhsm: SoftHsm) -> None:
    keystore = made(tmp_path, token)
    public = keystore.signer("identity").public
    softhsm.remove_tokens()
    softhsm.begin_anew()
    try:
        with pytest.raises(TokenGone, match="no such token"):
            opened(tmp_path)
        with pytest.raises(TokenGone):
            keystore.signer("identity").sign(b"m")  # this one was open
    finally:
        softhsm.bring_back()
        softhsm.begin_anew()
    public.verify(b"m", keystore.signer("identity").sign(b"m"))  # and goes on


def test_a_session_that_breaks_is_opened_again(tmp_path: Path, token: str) -> None:
    keystore = made(tmp_path, token)
    signer, session = keystore.signer("identity"), sessions_of(keystore)
    for gone in (pkcs11.DeviceRemoved(), pkcs11.SessionHandleInvalid(), pkcs11.KeyHandleInvalid()):
        faulty = Faulty(gone)
        session._keys[keystore.index.keys["identity"].reference] = faulty
        signer.public.verify(b"m", signer.sign(b"m"))
        assert faulty.calls == 1


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (pkcs11.DeviceRemoved, TokenGone), (pkcs11.PinLocked, TokenLocked), (pkcs11.FunctionFailed, TokenFailed),
        (pkcs11.KeyHandleInvalid, StateLost), (ValueError, TokenFailed),
    ],
)  # fmt: skip
def test_a_failure_that_stays_is_told(
    tmp_path: Path, token: str, monkeypatch: pytest.MonkeyPatch, failure: type[Exception], told: type[SealwayError]
) -> None:
    keystore = made(tmp_path, token)
    signer = keystore.signer("identity")
    with monkeypatch.context() as patch:
        sessions_of(keystore)._forget()
        patch.setattr(pkcs11_session, "find_key", lambda *_: Faulty(failure()))
        with pytest.raises(told):
            signer.sign(b"m")
        before = (tmp_path / "keys").read_bytes()
        sessions_of(keystore)._forget()
        with pytest.raises(SealwayError):
            keystore.agreer("agreement")
        assert (tmp_path / "keys").read_bytes() == before
    sessions_of(keystore)._forget()
    signer.public.verify(b"m", signer.sign(b"m"))  # nothing was lost


def test_a_pin_that_is_refused_is_not_offered_again(
    tmp_path: Path, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when somebody else changed it while this program ran: three tries would lock most tokens."""
    keystore = made(tmp_path, token)
    signer, session, tries = keystore.signer("identity"), sessions_of(keystore), []

    class Changed:
        label, serial = token, b"1"

        def open(self, **_: object) -> object:
            tries.append(1)
            raise pkcs11.PinIncorrect

    session._forget()
    monkeypatch.setattr(pkcs11_session, "_find", lambda _: Changed())
    for _ in range(5):
        with pytest.raises(TokenLocked, match="any more: wrong PIN"):
            signer.sign(b"m")
    assert len(tries) == 1


def test_a_key_that_was_lost(tmp_path: Path, token: str) -> None:
    made(tmp_path, token)
    for key in private_keys(token):
        key.destroy()
    with pytest.raises(StateLost, match="no keys with the identifier"):
        opened(tmp_path).signer("identity")
    with pytest.raises(StateLost, match="no keys with the identifier"):
        opened(tmp_path).agreer("agreement")


def test_garbage_of_the_wrong_length(tmp_path: Path, token: str) -> None:
    keystore = made(tmp_path, token)
    signer = keystore.signer("identity")
    sessions_of(keystore)._keys[keystore.index.keys["identity"].reference] = Faulty(b"garbage")
    with pytest.raises(TokenFailed, match="a signature of 7 bytes"):
        signer.sign(b"m")


class Stripping:
    """A key of a module that leaves leading zeros of what it agrees away, or gives too much or nothing."""

    def __init__(self, value: bytes) -> None:
        self.value = value

    def derive_key(self, *_: object, **__: object) -> Stripping:
        return self

    def __getitem__(self, _: object) -> bytes:
        return self.value

    def destroy(self) -> None:
        pass


def test_leading_zeros_that_a_module_leaves_away_are_put_back(tmp_path: Path, token: str) -> None:
    keystore = made(tmp_path, token)
    key = keystore.index.keys["agreement"]
    keys, point = sessions_of(keystore)._keys, b"\x04" + bytes(64)
    keys[key.reference] = Stripping(b"\x07" * 30)
    assert keystore.chip.agree(key, point) == bytes(2) + b"\x07" * 30
    for value in (b"", bytes(33)):
        keys[key.reference] = Stripping(value)
        with pytest.raises(TokenFailed, match=f"an agreement of {len(value)} bytes"):
            keystore.chip.agree(key, point)


def test_garbage_is_no_proof(tmp_path: Path, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path, token)
    keystore = opened(tmp_path)
    monkeypatch.setattr(keystore.chip, "sign", lambda *_: bytes(64))
    monkeypatch.setattr(keystore.chip, "agree", lambda *_: b"\x05" * 32)
    for use in (lambda: keystore.signer("identity"), lambda: keystore.agreer("agreement")):
        with pytest.raises(StateLost, match="not the one that was made here"):
            use()


def changed(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields, indent=1) + "\n")


def test_another_public_half_in_the_file_is_found_out(tmp_path: Path, token: str) -> None:
    """Else peers would agree with whoever could write to the directory."""
    keystore = made(tmp_path, token)
    stranger = keystore.index.keys["identity"].point.hex()
    changed(tmp_path / "keys", lambda fields: fields["keys"][0].update(public=stranger))
    with pytest.raises(StateLost, match="not the one that was made here"):
        opened(tmp_path).agreer("agreement")


@pytest.mark.parametrize("entry", [{"suite": 1}, {"label": "agreement-2"}])
def test_another_purpose_in_the_file_is_found_out(tmp_path: Path, token: str, entry: dict[str, Any]) -> None:
    made(tmp_path, token)
    changed(tmp_path / "keys", lambda fields: fields["keys"][0].update(entry))
    label = next(label for label, kind in opened(tmp_path).labels().items() if kind == "agree")
    with pytest.raises(StateLost, match="another key than"):
        opened(tmp_path).agreer(label)


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields.update(version=2),
        lambda fields: fields.update(more=1),
        lambda fields: fields["keys"][0].update(kind="hop"),
        lambda fields: fields["keys"][0].update(suite=9),
        lambda fields: fields["keys"][0].update(public="02" + "00" * 31),
        lambda fields: fields["keys"][0].update(label="No Label"),
        lambda fields: fields.update(doomed=["%"]),
        lambda fields: fields.update(keys=7),
        lambda fields: fields.update(place=7),
    ],
)
def test_a_damaged_file(tmp_path: Path, token: str, change: Callable[[dict[str, Any]], None]) -> None:
    made(tmp_path, token)
    changed(tmp_path / "keys", change)
    with pytest.raises(StateLost, match="not a list of keys"):
        opened(tmp_path)


def test_a_key_that_was_begun_is_destroyed_with_the_next(
    tmp_path: Path, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keystore = made(tmp_path, token)
    with monkeypatch.context() as patch:
        patch.setattr(TokenKeystore, "_prove", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            keystore.generate("agreement-2", "agree", SUITE_2)
    assert len(private_keys(token)) == 3
    later = opened(tmp_path)
    assert later.labels() == {"identity": "sign", "agreement": "agree"}
    later.generate("agreement-2", "agree", SUITE_2)
    assert len(private_keys(token)) == 3  # not four
    with pytest.raises(LocalMisuse, match="changed by another program"):
        keystore.generate("agreement-3", "agree", SUITE_2)
    assert opened(tmp_path).agreer("agreement-2").public == later.agreer("agreement-2").public


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_removed_key_is_destroyed(tmp_path: Path, token: str) -> None:
    made(tmp_path, token).remove("agreement")
    assert [key[Attribute.LABEL] for key in private_keys(token)] == ["sealway identity sign 1"]


def test_what_cannot_be_destroyed_is_destroyed_later(
    tmp_path: Path, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keystore = made(tmp_path, token)
    with monkeypatch.context() as patch:
        patch.setattr(Pkcs11Chip, "discard", _gone)
        with pytest.raises(TokenGone):
            keystore.remove("agreement")
    assert keystore.labels() == {"identity": "sign"}
    opened(tmp_path).generate("agreement", "agree", SUITE_1)
    assert len(private_keys(token)) == 2


def _gone(*_: object) -> None:
    raise TokenGone("it is away")


@pytest.mark.parametrize(
    ("lie", "value"),
    [
        (Attribute.EXTRACTABLE, True), (Attribute.SENSITIVE, False), (Attribute.PRIVATE, False),
        (Attribute.LOCAL, False), (Attribute.NEVER_EXTRACTABLE, False),
    ],
)  # fmt: skip
def test_a_token_whose_keys_could_leave_it_is_not_used(
    tmp_path: Path, token: str, monkeypatch: pytest.MonkeyPatch, lie: Attribute, value: bool
) -> None:
    objects: Any = importlib.import_module("pkcs11._pkcs11").Object
    keystore, real = token_keystore(tmp_path, uri(token)), objects.__getitem__

    def leaky(key: Any, attribute: Attribute) -> object:
        return value if attribute is lie else real(key, attribute)

    with monkeypatch.context() as patch:
        patch.setattr(objects, "__getitem__", leaky)
        with pytest.raises(TokenFailed, match="lets this key leave it"):
            keystore.generate("identity")
    assert (private_keys(token), keystore.labels()) == ([], {})


def test_without_the_bindings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    with pytest.raises(LocalMisuse, match="python-pkcs11 is not installed") as refused:
        create_keystore("pkcs11:token=a?module-path=/no/such.so", tmp_path / "keys", Secret(b"1234"))
    assert refused.value.hint == 'pip install "sealway[pkcs11]"'


def test_without_the_module(tmp_path: Path) -> None:
    with pytest.raises(LocalMisuse, match="cannot load the PKCS#11 module"):
        create_keystore("pkcs11:token=a?module-path=/no/such.so", tmp_path / "keys", Secret(b"1234"))


def test_tokens_of_the_same_label_are_told_apart_by_serial(tmp_path: Path, softhsm: SoftHsm) -> None:
    softhsm.add_token("twin")
    softhsm.add_token("twin")
    with pytest.raises(LocalMisuse, match="several such tokens"):
        token_keystore(tmp_path, uri("twin"))
    serials = {token.serial.decode().strip() for token in pkcs11.lib(module()).get_tokens(token_label="twin")}
    keystore = token_keystore(tmp_path, f"pkcs11:serial={serials.pop()}?module-path={module()}")
    keystore.generate("identity")
    assert keystore.signer("identity").sign(b"m")
