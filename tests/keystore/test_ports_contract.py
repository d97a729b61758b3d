# SPDX-License-Identifier: Apache-2.0
"""What every signer, agreer and keystore must do, whatever is behind it. New implementations join the lists."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from sealway.crypto.keys import SoftAgreer, SoftSigner, VerifyingKey, agree, generate_scalar, public_x
from sealway.crypto.ports import Agreer, Signer
from sealway.crypto.secret import Secret
from sealway.crypto.suites import SUITE_1, SUITE_2, SUITE_3, Suite
from sealway.errors import LocalMisuse, Malformed, NotAuthentic
from sealway.keystore import pkcs11_session
from sealway.keystore.file import FileKeystore
from sealway.keystore.memory import MemoryKeystore
from sealway.keystore.places import create_keystore, open_keystore
from sealway.keystore.ports import Keystore, Kind
from sealway.keystore.sealing import Cost
from tests.keystore.softhsm import CONTRACT_TOKEN, PIN, uri
from tests.keystore.swtpm import contract_place

SCALAR = Secret(b"\x07" * 32)
CHEAP = Cost(memory_kib=8, passes=1)


def seven(length: int) -> bytes:
    """A source of randomness for keys that are known here."""
    return b"\x07" * length


def memory_keystore(_: Path) -> Keystore:
    return MemoryKeystore(seven)


def file_keystore(directory: Path) -> Keystore:
    return FileKeystore.create(directory / "keys", Secret(b"passphrase"), seven, cost=CHEAP)


def reopened_keystore(directory: Path) -> Keystore:
    """Each use through a file that has just been opened."""

    class Reopened:
        def __getattr__(self, name: str) -> object:
            return getattr(FileKeystore.open(directory / "keys", Secret(b"passphrase"), seven), name)

    file_keystore(directory)
    return Reopened()  # type: ignore[return-value]


def pkcs11_keystore(directory: Path) -> Keystore:
    return create_keystore(uri(CONTRACT_TOKEN), directory / "keys", Secret(PIN.encode()))


def reopened_pkcs11_keystore(directory: Path) -> Keystore:
    """Each use through a session that has just been opened."""

    class Reopened:
        def __getattr__(self, name: str) -> object:
            pkcs11_session._sessions.clear()
            return getattr(open_keystore(directory / "keys", Secret(PIN.encode())), name)

    pkcs11_keystore(directory)
    return Reopened()  # type: ignore[return-value]


def tpm_keystore(directory: Path) -> Keystore:
    return create_keystore(contract_place(), directory / "keys", Secret(b"passphrase"))


SOFT = [memory_keystore, file_keystore, reopened_keystore]
CHIPS = [pkcs11_keystore, reopened_pkcs11_keystore, tpm_keystore]
KEYSTORES = [*SOFT, *CHIPS]
Make = Callable[[Path], Keystore]


pytestmark = pytest.mark.usefixtures("contract_token", "contract_tpm")


@pytest.fixture(params=KEYSTORES)
def keystore(request: pytest.FixtureRequest, tmp_path: Path) -> Keystore:
    made: Keystore = request.param(tmp_path)
    return made


@pytest.fixture(params=SOFT)
def soft_keystore(request: pytest.FixtureRequest, tmp_path: Path) -> Keystore:
    made: Keystore = request.param(tmp_path)
    return made


@pytest.fixture(params=CHIPS)
def chip_keystore(request: pytest.FixtureRequest, tmp_path: Path) -> Keystore:
    made: Keystore = request.param(tmp_path)
    return made


def soft_signer(_: Path) -> Signer:
    return SoftSigner(SCALAR)


def soft_agreer(_: Path) -> Agreer:
    return SoftAgreer(SCALAR)


def signer_of(make: Make) -> Callable[[Path], Signer]:
    def signer(directory: Path) -> Signer:
        keystore = make(directory)
        keystore.generate("key", "sign")
        return keystore.signer("key")

    return signer


def agreer_of(make: Make) -> Callable[[Path], Agreer]:
    def agreer(directory: Path) -> Agreer:
        keystore = make(directory)
        keystore.generate("key", "agree")
        return keystore.agreer("key")

    return agreer


@pytest.mark.parametrize("make", [soft_signer, *map(signer_of, KEYSTORES)])
class TestSigner:
    def test_signs_for_its_public_half(self, make: Callable[[Path], Signer], tmp_path: Path) -> None:
        signer = make(tmp_path)
        for message in (b"", b"message", bytes(100_000)):
            signature = signer.sign(message)
            assert len(signature) == 64
            signer.public.verify(message, signature)

    def test_signs_nothing_else(self, make: Callable[[Path], Signer], tmp_path: Path) -> None:
        signer = make(tmp_path)
        with pytest.raises(NotAuthentic):
            signer.public.verify(b"another", signer.sign(b"message"))

    def test_public_half_is_always_the_same_verifying_key(self, make: Callable[[Path], Signer], tmp_path: Path) -> None:
        signer = make(tmp_path)
        assert isinstance(signer.public, VerifyingKey)
        assert signer.public == signer.public

    def test_shows_no_secret(self, make: Callable[[Path], Signer], tmp_path: Path) -> None:
        assert "0707" not in repr(make(tmp_path))


@pytest.mark.parametrize("make", [soft_agreer, *map(agreer_of, KEYSTORES)])
class TestAgreer:
    def test_agrees_with_a_peer(self, make: Callable[[Path], Agreer], tmp_path: Path) -> None:
        agreer, peer = make(tmp_path), Secret(b"\x08" * 32)
        assert agreer.agree(public_x(peer)) == agree(peer, agreer.public)
        assert (len(agreer.public), len(agreer.agree(public_x(peer)))) == (32, 32)

    def test_refuses_a_bad_peer(self, make: Callable[[Path], Agreer], tmp_path: Path) -> None:
        agreer = make(tmp_path)
        with pytest.raises(Malformed):
            agreer.agree(b"\x01" * 31)
        with pytest.raises(NotAuthentic):
            agreer.agree((1).to_bytes(32))


class TestKeystore:
    def test_lists_what_it_has(self, keystore: Keystore) -> None:
        assert keystore.labels() == {}
        kinds: list[tuple[str, Kind]] = [("b", "agree"), ("a", "sign"), ("c", "sign")]
        for label, kind in kinds:
            keystore.generate(label, kind)
        assert list(keystore.labels().items()) == [("a", "sign"), ("b", "agree"), ("c", "sign")]

    def test_a_hop_key_signs_too(self, soft_keystore: Keystore) -> None:
        soft_keystore.generate("tls", "hop")
        assert soft_keystore.labels() == {"tls": "hop"}
        soft_keystore.signer("tls").public.verify(b"m", soft_keystore.signer("tls").sign(b"m"))

    def test_a_hop_key_is_given_to_tls(self, soft_keystore: Keystore) -> None:
        keystore = soft_keystore
        keystore.generate("tls", "hop")
        key = load_pem_private_key(keystore.hop_key_pem("tls"), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        assert VerifyingKey.from_certificate_key(key.public_key()) == keystore.signer("tls").public

    @pytest.mark.parametrize("kind", ["sign", "agree"])
    def test_no_other_key_is_given_out(self, keystore: Keystore, kind: Kind) -> None:
        keystore.generate("key", kind)
        with pytest.raises(LocalMisuse, match=f"of the kind {kind}, not hop"):
            keystore.hop_key_pem("key")

    def test_a_key_is_used_for_its_kind_only(self, keystore: Keystore) -> None:
        keystore.generate("s", "sign")
        keystore.generate("a", "agree")
        with pytest.raises(LocalMisuse, match="of the kind sign, not agree"):
            keystore.agreer("s")
        with pytest.raises(LocalMisuse, match="of the kind agree, not sign or hop"):
            keystore.signer("a")

    def test_a_chip_has_no_hop_keys(self, chip_keystore: Keystore) -> None:
        with pytest.raises(LocalMisuse, match="TLS"):
            chip_keystore.generate("tls", "hop")
        assert chip_keystore.labels() == {}

    def test_a_chip_has_no_keys_of_suite_3(self, chip_keystore: Keystore) -> None:
        with pytest.raises(LocalMisuse, match="no keys of suite 3"):
            chip_keystore.generate("a", "agree", SUITE_3)
        assert chip_keystore.labels() == {}

    def test_keys_of_suite_3_in_software(self, soft_keystore: Keystore) -> None:
        self.test_keys_are_of_the_suite_they_were_made_for(soft_keystore, SUITE_3)

    @pytest.mark.parametrize("suite", [SUITE_1, SUITE_2])
    def test_keys_are_of_the_suite_they_were_made_for(self, keystore: Keystore, suite: Suite) -> None:
        keystore.generate("s", "sign", suite)
        keystore.generate("a", "agree", suite)
        assert keystore.suite("s") is keystore.suite("a") is suite
        assert keystore.signer("s").public.algorithm is suite.signature
        keystore.signer("s").public.verify(b"m", keystore.signer("s").sign(b"m"))
        peer = suite.curve.draw(lambda length: b"\x08" * length)
        assert keystore.agreer("a").agree(suite.curve.public(peer)) == suite.curve.agree(
            peer, keystore.agreer("a").public
        )

    def test_a_hop_has_keys_of_no_other_suite(self, keystore: Keystore) -> None:
        with pytest.raises(LocalMisuse, match="TLS"):
            keystore.generate("tls", "hop", SUITE_3)

    def test_a_removed_key_is_gone(self, keystore: Keystore) -> None:
        keystore.generate("a")
        keystore.generate("b")
        keystore.remove("a")
        assert keystore.labels() == {"b": "sign"}
        with pytest.raises(LocalMisuse, match="no key named a"):
            keystore.signer("a")

    def test_refuses_what_is_not_there(self, keystore: Keystore) -> None:
        for use in (keystore.signer, keystore.agreer, keystore.hop_key_pem, keystore.remove):
            with pytest.raises(LocalMisuse, match="no key named none"):
                use("none")

    def test_refuses_a_label_that_is_taken(self, keystore: Keystore) -> None:
        keystore.generate("a")
        with pytest.raises(LocalMisuse, match="already"):
            keystore.generate("a", "hop")

    @pytest.mark.parametrize("label", ["", "A", "-a", "a b", "a/b", "a\n", "a" * 64, "é"])
    def test_refuses_what_is_no_label(self, keystore: Keystore, label: str) -> None:
        with pytest.raises(LocalMisuse, match="no label"):
            keystore.generate(label)

    def test_refuses_an_unknown_kind(self, keystore: Keystore) -> None:
        with pytest.raises(LocalMisuse, match="no kind of key"):
            keystore.generate("a", "wrap")  # type: ignore[arg-type]


def test_what_is_drawn_is_what_is_kept(tmp_path: Path) -> None:
    for make in (memory_keystore, file_keystore):
        assert signer_of(make)(tmp_path).public == SoftSigner(SCALAR).public


def test_keys_differ_by_default() -> None:
    keystore = MemoryKeystore()
    keystore.generate("a")
    keystore.generate("b")
    assert keystore.signer("a").public != keystore.signer("b").public
    assert generate_scalar(seven) == SCALAR
