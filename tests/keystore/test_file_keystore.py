# SPDX-License-Identifier: Apache-2.0
"""The keystore file: passphrase, permissions, damage, and crashes at any point of a change."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealway.crypto.secret import Secret
from sealway.crypto.suites import SUITE_1
from sealway.errors import LocalMisuse, StateLost
from sealway.keystore import file as file_module
from sealway.keystore import kept as kept_module
from sealway.keystore.file import FileKeystore
from sealway.keystore.sealing import Cost, Lock, seal, unseal

PASSPHRASE = Secret(b"correct horse")
CHEAP = Cost(memory_kib=8, passes=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A keystore with one key, "old"."""
    at = tmp_path / "keys"
    FileKeystore.create(at, PASSPHRASE, cost=CHEAP).generate("old")
    return at


def holding(plaintext: bytes) -> bytes:
    """A keystore file that opens, and holds this."""
    return seal(Lock.derive(PASSPHRASE, CHEAP, bytes(16)), Secret(plaintext), bytes)


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)


class TestPassphrase:
    def test_opens_with_the_right_one(self, path: Path) -> None:
        assert FileKeystore.open(path, PASSPHRASE).labels() == {"old": "sign"}

    def test_refuses_a_wrong_one(self, path: Path) -> None:
        with pytest.raises(LocalMisuse, match="wrong passphrase or damaged keystore") as caught:
            FileKeystore.open(path, Secret(b"incorrect horse"))
        assert caught.value.hint is not None

    def test_refuses_an_empty_one(self, tmp_path: Path) -> None:
        with pytest.raises(LocalMisuse, match="empty"):
            FileKeystore.create(tmp_path / "keys", Secret(b""), cost=CHEAP)

    def test_can_be_changed(self, path: Path) -> None:
        keystore = FileKeystore.open(path, PASSPHRASE)
        public = keystore.signer("old").public
        keystore.change_passphrase(Secret(b"another"), cost=Cost(memory_kib=16, passes=2))
        keystore.generate("new")
        with pytest.raises(LocalMisuse):
            FileKeystore.open(path, PASSPHRASE)
        opened = FileKeystore.open(path, Secret(b"another"))
        assert (opened.labels(), opened.signer("old").public) == ({"new": "sign", "old": "sign"}, public)
        assert json.loads(path.read_bytes())["argon2id"]["memory_kib"] == 16

    def test_a_change_that_fails_keeps_the_old_one(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        keystore = FileKeystore.open(path, PASSPHRASE)
        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", fail)
            with pytest.raises(LocalMisuse):
                keystore.change_passphrase(Secret(b"another"))
        keystore.generate("new")
        assert FileKeystore.open(path, PASSPHRASE).labels() == {"new": "sign", "old": "sign"}

    def test_costs_what_it_should_by_default(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(file_module, "Cost", Cost)  # as it is outside the tests
        FileKeystore.create(tmp_path / "keys", PASSPHRASE)
        parameters = json.loads((tmp_path / "keys").read_bytes())["argon2id"]
        assert (parameters["memory_kib"], parameters["passes"], parameters["lanes"]) == (65536, 2, 1)
        assert FileKeystore.open(tmp_path / "keys", PASSPHRASE).labels() == {}


class TestSecrecy:
    def test_the_file_holds_no_key_and_no_label(self, path: Path) -> None:
        keystore = FileKeystore.open(path, PASSPHRASE)
        keystore.generate("tls", "hop")
        content = path.read_bytes()
        scalar = keystore._keys["tls"].scalar.reveal()
        assert scalar not in content
        assert scalar.hex().encode() not in content
        assert b"tls" not in content

    def test_every_change_has_a_new_nonce(self, path: Path) -> None:
        keystore, nonces = FileKeystore.open(path, PASSPHRASE), set()
        for number in range(5):
            keystore.generate(f"key-{number}")
            nonces.add(json.loads(path.read_bytes())["nonce"])
        assert len(nonces) == 5


class TestPermissions:
    def test_is_made_for_its_owner_alone(self, path: Path) -> None:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o610, 0o644, 0o601])
    def test_refuses_a_file_open_to_others(self, path: Path, mode: int) -> None:
        path.chmod(mode)
        with pytest.raises(LocalMisuse, match="open to other users") as caught:
            FileKeystore.open(path, PASSPHRASE)
        assert caught.value.hint == f"chmod 600 {path}"

    def test_refuses_another_users_file(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
        with pytest.raises(LocalMisuse, match="another user"):
            FileKeystore.open(path, PASSPHRASE)

    def test_refuses_a_link(self, path: Path) -> None:
        link = path.with_name("link")
        link.symlink_to(path)
        with pytest.raises(LocalMisuse, match="cannot read"):
            FileKeystore.open(link, PASSPHRASE)

    def test_refuses_what_is_no_file(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe", 0o600)
        for other in (tmp_path, tmp_path / "pipe"):
            with pytest.raises(LocalMisuse, match="not a regular file"):
                FileKeystore.open(other, PASSPHRASE)

    def test_refuses_what_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(LocalMisuse, match="no such file"):
            FileKeystore.open(tmp_path / "none", PASSPHRASE)


class TestCreation:
    def test_never_replaces_a_file(self, path: Path) -> None:
        before = path.read_bytes()
        with pytest.raises(LocalMisuse, match="exists already"):
            FileKeystore.create(path, PASSPHRASE, cost=CHEAP)
        assert path.read_bytes() == before

    def test_never_replaces_a_dangling_link(self, tmp_path: Path) -> None:
        (tmp_path / "keys").symlink_to("nowhere")
        with pytest.raises(LocalMisuse, match="exists already"):
            FileKeystore.create(tmp_path / "keys", PASSPHRASE, cost=CHEAP)

    def test_needs_a_directory(self, tmp_path: Path) -> None:
        with pytest.raises(LocalMisuse, match="cannot write"):
            FileKeystore.create(tmp_path / "none" / "keys", PASSPHRASE, cost=CHEAP)


class TestDamage:
    def test_truncation_at_every_byte_is_noticed(self, path: Path) -> None:
        good = path.read_bytes()
        for end in range(len(good)):
            write(path, good[:end])
            with pytest.raises(StateLost):
                FileKeystore.open(path, PASSPHRASE)

    def test_a_damaged_byte_anywhere_is_noticed(self, path: Path) -> None:
        good = path.read_bytes()
        for at in range(len(good)):
            for flip in (0x01, 0x20, 0x80):
                write(path, good[:at] + bytes([good[at] ^ flip]) + good[at + 1 :])
                with pytest.raises((StateLost, LocalMisuse)):
                    FileKeystore.open(path, PASSPHRASE)

    @settings(max_examples=50)
    @given(
        st.binary(max_size=200) | st.recursive(st.none() | st.text(), st.lists).map(lambda v: json.dumps(v).encode())
    )
    def test_anything_else_is_no_keystore(self, content: bytes) -> None:
        with pytest.raises(StateLost):
            unseal(content, PASSPHRASE)

    def test_deep_nesting_is_no_keystore(self) -> None:
        with pytest.raises(StateLost):
            unseal(b"[" * 100_000, PASSPHRASE)

    def test_a_file_too_large_is_refused_unread(self, path: Path) -> None:
        write(path, bytes((1 << 20) + 1))
        with pytest.raises(StateLost, match="larger"):
            FileKeystore.open(path, PASSPHRASE)

    def test_another_version_is_refused(self, path: Path) -> None:
        write(path, path.read_bytes().replace(b'"version": 1', b'"version": 2'))
        with pytest.raises(StateLost):
            FileKeystore.open(path, PASSPHRASE)

    @pytest.mark.parametrize("field", ["nonce", "ciphertext"])
    def test_a_field_of_another_length_is_refused(self, path: Path, field: str) -> None:
        fields = json.loads(path.read_bytes()) | {field: "AAAA"}
        write(path, json.dumps(fields, indent=1).encode() + b"\n")
        with pytest.raises(StateLost):
            FileKeystore.open(path, PASSPHRASE)

    @pytest.mark.parametrize(
        "plaintext",
        [
            b"",
            b"7",
            b"[7]",
            b'[["a", "sign"]]',
            b'[["a", "sign", "AAAA"]]',
            b'[["a", "sign", 7]]',
            b'[["a", ["sign"], "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="]]',
            b'[["a", "other", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="]]',
            b'[["A", "sign", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="]]',
            b'[["a", "sign", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=", 4]]',
            b'[["a", "sign", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=", [3]]]',
            b'[["a", "sign", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=", 3, 3]]',
            b'[["a", "hop", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=", 3]]',
        ],
    )
    def test_content_that_cannot_be_read_is_refused(self, path: Path, plaintext: bytes) -> None:
        write(path, holding(plaintext))
        with pytest.raises(StateLost, match="cannot be read"):
            FileKeystore.open(path, PASSPHRASE)

    def test_a_key_without_a_suite_is_one_of_suite_1(self, path: Path) -> None:
        """As files were written before there were others."""
        write(path, holding(b'[["a", "sign", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="]]'))
        assert FileKeystore.open(path, PASSPHRASE).suite("a") is SUITE_1


class TestHostileCost:
    @pytest.mark.parametrize(
        "parameters",
        [
            {"memory_kib": 10 << 30},
            {"memory_kib": (1 << 20) + 1},
            {"memory_kib": 7},
            {"memory_kib": 16, "lanes": 3},
            {"passes": 17},
            {"passes": 0},
            {"lanes": 17},
            {"lanes": 0},
            {"memory_kib": -8},
            {"memory_kib": 8.0},
            {"passes": True},
        ],
    )
    def test_is_refused_before_it_is_paid(self, path: Path, parameters: dict[str, Any]) -> None:
        fields = json.loads(path.read_bytes())
        fields["argon2id"] |= parameters
        write(path, json.dumps(fields, indent=1).encode() + b"\n")
        began = time.monotonic()
        with pytest.raises(LocalMisuse):
            FileKeystore.open(path, PASSPHRASE)
        assert time.monotonic() - began < 1


class TestConcurrentChange:
    def test_another_programs_change_is_not_overwritten(self, path: Path) -> None:
        one, other = (FileKeystore.open(path, PASSPHRASE) for _ in range(2))
        one.generate("mine")
        with pytest.raises(LocalMisuse, match="changed by another program"):
            other.generate("theirs")
        assert list(other.labels()) == ["old"]
        assert list(FileKeystore.open(path, PASSPHRASE).labels()) == ["mine", "old"]

    def test_a_file_that_vanished_is_not_written_again(self, path: Path) -> None:
        keystore = FileKeystore.open(path, PASSPHRASE)
        path.unlink()
        with pytest.raises(LocalMisuse, match="no such file"):
            keystore.generate("new")
        assert not path.exists()


class TestCrash:
    def test_a_change_that_fails_leaves_file_and_keystore_as_they_were(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keystore = FileKeystore.open(path, PASSPHRASE)
        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", fail)
            with pytest.raises(LocalMisuse, match="cannot write"):
                keystore.generate("new")
        assert list(keystore.labels()) == ["old"]
        assert list(FileKeystore.open(path, PASSPHRASE).labels()) == ["old"]
        keystore.generate("new")
        assert list(FileKeystore.open(path, PASSPHRASE).labels()) == ["new", "old"]

    @pytest.mark.parametrize(
        ("moment", "expected"),
        [
            ("private_file._write_new = die", ["old"]),
            ("os.fsync = die", ["old"]),
            ("Path.replace = die", ["old"]),
            ("replace = Path.replace; Path.replace = lambda *a: (replace(*a), die())", ["new", "old"]),
        ],
    )
    def test_killed_at_any_point_the_file_is_old_or_new(self, path: Path, moment: str, expected: list[str]) -> None:
        program = f"""
            import os, signal, sys
            from pathlib import Path
            from sealway.crypto.secret import Secret
            from sealway.keystore import private_file
            from sealway.keystore.file import FileKeystore
            die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
            keystore = FileKeystore.open(sys.argv[1], Secret(b"correct horse"))
            {moment}
            keystore.generate("new")
        """
        command = [sys.executable, "-c", textwrap.dedent(program), str(path)]
        assert subprocess.run(command, timeout=120, check=False).returncode == -9
        keystore = FileKeystore.open(path, PASSPHRASE)
        assert list(keystore.labels()) == expected
        keystore.generate("after")  # what the crash left lying about is no hindrance
        assert sorted(entry.name for entry in path.parent.iterdir()) == ["keys"]

    def test_file_and_directory_are_synced_before_the_key_is_known(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        synced: list[str] = []
        fsync = os.fsync

        def noted(descriptor: int) -> None:
            synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", noted)
        FileKeystore.open(path, PASSPHRASE).generate("new")
        assert synced == [str(path.with_name(".keys.new")), str(path.parent)]

    def test_a_full_keystore_says_so(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(kept_module, "MAX_FILE_BYTES", len(path.read_bytes()) + 150)
        keystore = FileKeystore.open(path, PASSPHRASE)
        keystore.generate("second")
        with pytest.raises(LocalMisuse, match="full"):
            keystore.generate("third")
        assert FileKeystore.open(path, PASSPHRASE).labels() == keystore.labels()


def fail(*_: object) -> None:
    raise OSError(5, "Input/output error")
