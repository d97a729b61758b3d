# SPDX-License-Identifier: Apache-2.0
"""Keys in a TPM 2.0: that they cannot leave it, that it keeps nothing loaded, and what is said when it fails."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sealway.crypto.secret import Secret
from sealway.crypto.suites import SUITE_2
from sealway.errors import LocalMisuse, SealwayError, StateLost, TokenFailed, TokenGone, TokenLocked
from sealway.keystore import tpm_connection
from sealway.keystore.places import create_keystore, create_token_keystore, open_keystore
from sealway.keystore.token import TokenKeystore
from sealway.keystore.tpm import TpmChip
from sealway.keystore.trial import try_place
from tests.keystore.swtpm import SwTpm

PASSPHRASE = Secret(b"something long")


def made(tpm: SwTpm, directory: Path) -> TokenKeystore:
    """A keystore with a key of each kind."""
    keystore = create_token_keystore(tpm.place, directory / "keys", PASSPHRASE)
    keystore.generate("identity")
    keystore.generate("agreement", "agree", SUITE_2)
    return keystore


def opened(directory: Path) -> TokenKeystore:
    keystore = open_keystore(directory / "keys", PASSPHRASE)
    assert isinstance(keystore, TokenKeystore)
    return keystore


def chip_of(keystore: TokenKeystore) -> TpmChip:
    assert isinstance(keystore.chip, TpmChip)
    return keystore.chip


def test_keys_cannot_leave_the_tpm(tpm: SwTpm, tmp_path: Path) -> None:
    from tpm2_pytss import TPM2B_PUBLIC, TPMA_OBJECT

    keystore = made(tpm, tmp_path)
    for key in keystore.index.keys.values():
        attributes = TPM2B_PUBLIC.unmarshal(key.reference)[0].publicArea.objectAttributes
        for kept in (TPMA_OBJECT.FIXEDTPM, TPMA_OBJECT.FIXEDPARENT, TPMA_OBJECT.SENSITIVEDATAORIGIN):
            assert attributes & kept
        assert bool(attributes & TPMA_OBJECT.SIGN_ENCRYPT) == (key.purpose.kind == "sign")
        assert bool(attributes & TPMA_OBJECT.DECRYPT) == (key.purpose.kind == "agree")


def test_keys_are_those_of_the_file_after_the_power_was_cut(tpm: SwTpm, tmp_path: Path) -> None:
    keystore = made(tpm, tmp_path)
    signer, agreer = keystore.signer("identity"), keystore.agreer("agreement")
    for _ in range(5):  # more often than a TPM that took it for an attack would allow
        tpm.cut_power()
        tpm.start()
        signer.public.verify(b"m", signer.sign(b"m"))
        assert agreer.agree(agreer.public) == opened(tmp_path).agreer("agreement").agree(agreer.public)


def test_no_handles_are_left(tpm: SwTpm, tmp_path: Path) -> None:
    keystore = made(tpm, tmp_path)
    for number in range(2, 6):
        keystore.generate(f"agreement-{number}", "agree")
    agreers = [keystore.agreer(label) for label, kind in keystore.labels().items() if kind == "agree"]
    for _ in range(4):
        for agreer in agreers:
            agreer.agree(agreers[0].public)
            assert len(tpm.handles()) <= 2
    tpm.connection.close()
    assert tpm.handles() == []


def test_a_program_that_ends_leaves_no_handles(tpm: SwTpm, tmp_path: Path) -> None:
    made(tpm, tmp_path)
    tpm.connection.close()
    program = (
        "import sys; from pathlib import Path; from sealway.crypto.secret import Secret;"
        "from sealway.keystore.places import open_keystore;"
        "k = open_keystore(Path(sys.argv[1]), Secret(b'something long'));"
        "k.signer('identity').sign(b'm'); k.agreer('agreement')"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "keys")], check=True, timeout=120)
    assert tpm.handles() == []


def test_what_a_killed_program_left_is_in_nobodys_way(tpm: SwTpm, tmp_path: Path) -> None:
    keystore = made(tpm, tmp_path)
    keystore.signer("identity").sign(b"m")
    keystore.agreer("agreement")
    tpm.connection._api = None  # as if this program had never loaded them; the TPM holds them still
    tpm.connection._loaded.clear()
    later = opened(tmp_path)
    for label in ("identity", "agreement"):
        use = later.signer(label).sign if label == "identity" else later.agreer(label).agree
        assert use(later.index.keys["agreement"].point[1:])
    assert len(tpm.handles()) <= 3


def test_a_wrong_passphrase(tpm: SwTpm, tmp_path: Path) -> None:
    made(tpm, tmp_path)
    for _ in range(5):
        with pytest.raises(LocalMisuse, match="wrong passphrase"):
            open_keystore(tmp_path / "keys", Secret(b"another"))
    assert opened(tmp_path).signer("identity").sign(b"m")  # the TPM has not locked itself


def test_another_tpm(tpm: SwTpm, tmp_path: Path) -> None:
    keystore = made(tpm, tmp_path)
    signer = keystore.signer("identity")
    tpm.clear()
    with pytest.raises(StateLost, match="cleared"):
        opened(tmp_path)
    with pytest.raises(StateLost, match="not this TPM's, or it was cleared"):
        signer.sign(b"m")


def test_a_tpm_that_is_away(tpm: SwTpm, tmp_path: Path) -> None:
    keystore = made(tpm, tmp_path)
    signer = keystore.signer("identity")
    tpm.cut_power()
    with pytest.raises(TokenGone, match="does not answer"):
        signer.sign(b"m")
    with pytest.raises(TokenGone, match="does not answer"):
        opened(tmp_path)
    before = (tmp_path / "keys").read_bytes()
    tpm.start()
    signer.public.verify(b"m", signer.sign(b"m"))
    assert (tmp_path / "keys").read_bytes() == before


@pytest.mark.parametrize("label", ["agreement", "identity"])
def test_another_purpose_in_the_file_is_found_out(tpm: SwTpm, tmp_path: Path, label: str) -> None:
    made(tpm, tmp_path)
    path = tmp_path / "keys"
    fields = json.loads(path.read_text())
    entry = next(entry for entry in fields["keys"] if entry["label"] == label)
    entry["suite"] = 3 - entry["suite"]
    path.write_text(json.dumps(fields, indent=1) + "\n")
    keystore = opened(tmp_path)
    with pytest.raises(StateLost, match="another key"):
        keystore.signer(label) if label == "identity" else keystore.agreer(label)


def test_an_older_copy_of_the_file_is_found_out(tpm: SwTpm, tmp_path: Path) -> None:
    keystore = made(tpm, tmp_path)
    shutil.copy(tmp_path / "keys", tmp_path / "copy")
    keystore.generate("agreement-2", "agree", SUITE_2)
    assert opened(tmp_path).labels() == keystore.labels()
    shutil.copy(tmp_path / "copy", tmp_path / "keys")
    with pytest.raises(StateLost, match="an older one, or a copy"):
        opened(tmp_path)


def test_an_older_list_with_the_present_count_is_accepted(tpm: SwTpm, tmp_path: Path) -> None:
    """What THREAT_MODEL admits: nothing authenticates the list."""
    keystore, path = made(tpm, tmp_path), tmp_path / "keys"
    older = json.loads(path.read_text())
    keystore.generate("agreement-2", "agree", SUITE_2)
    path.write_text(json.dumps({**older, "count": keystore.index.count}, indent=1) + "\n")
    assert opened(tmp_path).labels() == {"agreement": "agree", "identity": "sign"}


def test_a_crash_between_file_and_counter_is_made_good(
    tpm: SwTpm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keystore = made(tpm, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(type(chip_of(keystore).counter), "reach", _interrupted_after(keystore.index.count))
        with pytest.raises(KeyboardInterrupt):
            keystore.generate("agreement-2", "agree", SUITE_2)
    for _ in range(2):
        assert "agreement-2" in opened(tmp_path).labels()
    later = opened(tmp_path)
    assert later.agreer("agreement-2")
    assert chip_of(later).counter.value() == later.index.count - 1  # who reads does not count
    later.remove("agreement-2")
    assert chip_of(later).counter.value() == later.index.count


def _interrupted_after(count: int) -> Callable[..., None]:
    def reach(_: object, target: int) -> None:
        if target > count:
            raise KeyboardInterrupt

    return reach


def test_counting_that_fails_again_and_again_loses_nothing(
    tpm: SwTpm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keystore = made(tpm, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(type(chip_of(keystore).counter), "reach", _away)
        for label in ("agreement-2", "agreement-3", "agreement-4"):
            with pytest.raises(TokenGone):
                keystore.generate(label, "agree", SUITE_2)
    assert "identity" in opened(tmp_path).labels()
    with monkeypatch.context() as patch:
        patch.setattr(type(chip_of(keystore).counter), "reach", _interrupted_after(keystore.index.count))
        with pytest.raises(KeyboardInterrupt):
            keystore.generate("agreement-2", "agree", SUITE_2)
        with pytest.raises(KeyboardInterrupt):  # as a TPM that takes no writes for a while
            keystore.generate("agreement-3", "agree", SUITE_2)
    keystore.generate("agreement-4", "agree", SUITE_2)
    assert opened(tmp_path).labels() == keystore.labels()
    assert chip_of(keystore).counter.value() == keystore.index.count


def _away(*_: object) -> None:
    raise TokenGone("it is away")


def test_an_answer_that_was_lost_counts_once(tpm: SwTpm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tpm2_pytss import ESAPI, TSS2_Exception

    keystore = made(tpm, tmp_path)
    real = ESAPI.nv_increment
    lost: list[int] = []

    def increment(api: Any, *given: Any) -> None:
        real(api, *given)
        if not lost:
            lost.append(1)
            raise TSS2_Exception(0x000A000A)  # the TPM has counted, and the connection broke

    monkeypatch.setattr(ESAPI, "nv_increment", increment)
    keystore.generate("agreement-2", "agree", SUITE_2)
    assert lost
    assert chip_of(keystore).counter.value() == keystore.index.count
    assert opened(tmp_path).labels() == keystore.labels()


def test_the_counter_only_grows(tpm: SwTpm, tmp_path: Path) -> None:
    counter = chip_of(made(tpm, tmp_path)).counter
    before = counter.value()
    for target, value in ((before + 1, before + 1), (before + 3, before + 3), (before, before + 3)):
        counter.reach(target)
        assert counter.value() == value
    tpm.cut_power()
    tpm.start()
    assert counter.value() >= before + 3


def test_a_place_is_tried_and_left_as_it_was(tpm: SwTpm, tmp_path: Path) -> None:
    keystore = create_token_keystore(tpm.place, tmp_path / "keys", PASSPHRASE)
    assert len(tpm.counters()) == 1
    assert [trial.kind for trial in try_place(keystore, bytes_of, lambda: 0.0)] == ["agree", "sign"]
    assert tpm.counters() == []


def bytes_of(length: int) -> bytes:
    return b"\x07" * length


def test_who_lets_go_of_a_tpm_closes_the_way_to_it(tpm: SwTpm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a device's file stays open, and only one program at a time may open that."""
    from tpm2_pytss import TCTILdr

    real = TCTILdr.close
    closed: list[int] = []

    def close(way: Any) -> None:
        closed.append(1)
        real(way)

    monkeypatch.setattr(TCTILdr, "close", close)
    for times in (1, 2):
        tpm.handles()
        tpm.connection.close()
        assert len(closed) == times


def test_where_counting_fails_at_first_there_is_no_file(
    tpm: SwTpm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sealway.keystore.tpm_counter import TpmCounter

    real = TpmCounter.reach

    def reach(counter: TpmCounter, target: int) -> None:
        if (tmp_path / "keys").exists():
            raise TokenGone("it is away")
        real(counter, target)

    with monkeypatch.context() as patch:
        patch.setattr(TpmCounter, "reach", reach)
        with pytest.raises(TokenGone):
            create_keystore(tpm.place, tmp_path / "keys", PASSPHRASE)
    assert list(tmp_path.iterdir()) == [tpm.state]
    assert made(tpm, tmp_path).labels()


def test_what_cannot_be_begun_leaves_nothing(tpm: SwTpm, tmp_path: Path) -> None:
    with pytest.raises(LocalMisuse, match="cannot write"):
        create_keystore(tpm.place, tmp_path / "none" / "keys", PASSPHRASE)
    (tmp_path / "keys").touch()
    with pytest.raises(LocalMisuse, match="exists already"):
        create_keystore(tpm.place, tmp_path / "keys", PASSPHRASE)
    assert tpm.counters() == []


def test_a_tpm_whose_owner_has_a_password(tpm: SwTpm, tmp_path: Path) -> None:
    from tpm2_pytss import ESYS_TR

    tpm.connection.run(lambda api: api.hierarchy_change_auth(ESYS_TR.OWNER, b"owned"))
    tpm.connection.close()  # the bindings remember it
    with pytest.raises(LocalMisuse, match="has a password"):
        create_keystore(tpm.place, tmp_path / "keys", PASSPHRASE)


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (0x921, TokenLocked),
        (0x922, TokenFailed),
        (0x101, TokenFailed),
        (0x000A0001, TokenGone),
        (None, TokenFailed),
        (0x9F, StateLost),
        (0xA5, StateLost),
        (0x8A, StateLost),
        (0x9E, TokenFailed),
    ],
)
def test_a_failure_that_stays_is_told(
    tpm: SwTpm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int | None, told: type[SealwayError]
) -> None:
    from tpm2_pytss import TSS2_Exception

    keystore = made(tpm, tmp_path)
    signer = keystore.signer("identity")

    class Faulty:
        def __getattr__(self, name: str) -> Callable[..., Any]:
            def fail(*_: object, **__: object) -> None:
                raise ValueError("garbage") if number is None else TSS2_Exception(number)

            return fail

    with monkeypatch.context() as patch:
        patch.setattr(tpm_connection.TpmConnection, "_opened", lambda _: Faulty())
        with pytest.raises(told):
            signer.sign(b"m")
    signer.public.verify(b"m", signer.sign(b"m"))


def test_garbage_is_told(tpm: SwTpm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keystore = made(tpm, tmp_path)
    agreer, fresh = keystore.agreer("agreement"), opened(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(tpm_connection.TpmConnection, "use", lambda *_: bytes(40))
        with pytest.raises(TokenFailed, match="a number of 40 bytes"):
            agreer.agree(agreer.public)
    monkeypatch.setattr(TpmChip, "sign", lambda *_: bytes(64))
    with pytest.raises(StateLost, match="not the one that was made here"):
        fresh.signer("identity")


def test_a_damaged_file(tpm: SwTpm, tmp_path: Path) -> None:
    made(tpm, tmp_path)
    path = tmp_path / "keys"
    whole = path.read_text()
    for old, new in (
        ('"salt": "', '"salt": "%'),
        ('"salt": "', '"salt": "AAAA'),
        ('"passes": "2"', '"passes": "99"'),
        ('"counter"', '"another"'),
    ):
        path.write_text(whole.replace(old, new))
        with pytest.raises(StateLost, match="damaged"):
            opened(tmp_path)


def test_without_the_bindings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tpm2_pytss", None)
    with pytest.raises(LocalMisuse, match="tpm2-pytss is not installed") as refused:
        create_keystore("tpm:device:/dev/none", tmp_path / "keys", PASSPHRASE)
    assert 'pip install "sealway[tpm]"' in str(refused.value.hint)
