# SPDX-License-Identifier: Apache-2.0
"""Where a passphrase comes from."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from sealway.crypto.secret import Secret
from sealway.errors import LocalMisuse, StateLost
from sealway.keystore import unlock
from sealway.keystore.unlock import find_passphrase


def typed(*answers: str) -> Callable[[str], str]:
    """A person who types these."""
    remaining = iter(answers)
    return lambda _: next(remaining)


def key_file(directory: Path, content: bytes, mode: int = 0o600) -> Path:
    path = directory / "passphrase"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_key_file_wins(tmp_path: Path) -> None:
    path = key_file(tmp_path, b"from the file\n")
    found = find_passphrase(key_file=path, environment={"SEALWAY_PASSPHRASE": "b"}, prompt=typed("c"))
    assert found == Secret(b"from the file")


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"a", b"a"), (b"a\r\n", b"a"), (b"a\n\n", b"a\n"), (b" a \n", b" a "), (b"\0\xff", b"\0\xff")],
)
def test_only_the_last_newline_of_a_key_file_does_not_count(tmp_path: Path, content: bytes, expected: bytes) -> None:
    assert find_passphrase(key_file=str(key_file(tmp_path, content))) == Secret(expected)


def test_a_key_file_must_be_private(tmp_path: Path) -> None:
    with pytest.raises(LocalMisuse, match="open to other users"):
        find_passphrase(key_file=key_file(tmp_path, b"a", 0o644))


@pytest.mark.parametrize(
    ("mode", "good"), [(0o400, True), (0o440, True), (0o444, False), (0o640, False), (0o460, False)]
)
def test_a_credential_of_systemd_is_private_though_a_group_seems_to_read_it(
    tmp_path: Path, mode: int, good: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # systemd issue 29435: the right of an access control list shows as that of the group
    path = tmp_path / "passphrase"
    path.write_bytes(b"secret")
    path.chmod(mode)
    status = path.stat()
    monkeypatch.setattr(os, "fstat", lambda _: os.stat_result((status.st_mode, *status[1:4], 0, 0, *status[6:])))
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(LocalMisuse):
        find_passphrase(key_file=path)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with nullcontext() if good else pytest.raises(LocalMisuse):
        assert find_passphrase(key_file=path) == Secret(b"secret")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path.parent))
    with pytest.raises(LocalMisuse):
        find_passphrase(key_file=path)


def test_a_key_file_is_bounded(tmp_path: Path) -> None:
    with pytest.raises(StateLost, match="larger"):
        find_passphrase(key_file=key_file(tmp_path, bytes(4097)))


def test_the_environment_comes_before_the_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_passphrase(environment={"SEALWAY_PASSPHRASE": "b"}, prompt=typed("c")) == Secret(b"b")
    monkeypatch.setenv("SEALWAY_PASSPHRASE", "from this process")
    assert find_passphrase() == Secret(b"from this process")


def test_a_person_is_asked() -> None:
    assert find_passphrase(environment={}, prompt=typed("pass phrase")) == Secret(b"pass phrase")


def test_a_person_is_asked_twice_for_a_new_keystore() -> None:
    assert find_passphrase(environment={}, prompt=typed("a", "a"), confirm=True) == Secret(b"a")
    with pytest.raises(LocalMisuse, match="differ"):
        find_passphrase(environment={}, prompt=typed("a", "b"), confirm=True)


def test_composed_and_decomposed_letters_are_the_same() -> None:
    spellings = {find_passphrase(environment={}, prompt=typed(text)).reveal() for text in ("é", "e\u0301")}
    assert spellings == {"é".encode()}


def test_bytes_that_are_no_text_come_through_the_environment() -> None:
    assert find_passphrase(environment={"SEALWAY_PASSPHRASE": "a\udcff"}) == Secret(b"a\xff")


@pytest.mark.parametrize("source", ["file", "environment", "prompt"])
def test_an_empty_passphrase_is_refused(source: str, tmp_path: Path) -> None:
    path = key_file(tmp_path, b"\n") if source == "file" else None
    environment = {"SEALWAY_PASSPHRASE": ""} if source == "environment" else {}
    with pytest.raises(LocalMisuse, match="empty"):
        find_passphrase(key_file=path, environment=environment, prompt=typed(""))


def test_without_a_terminal_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    with pytest.raises(LocalMisuse, match="no terminal") as caught:
        find_passphrase(environment={})
    assert "SEALWAY_PASSPHRASE" in (caught.value.hint or "")


def test_at_a_terminal_it_asks_without_echo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(unlock, "getpass", typed("typed"))
    assert find_passphrase(environment={}) == Secret(b"typed")
