# SPDX-License-Identifier: Apache-2.0
"""Files that are written whole, also where others may write; directories that are listed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sealway.errors import LocalMisuse
from sealway.storage.files import names_in, write_file


def fresh(path: Path) -> Path:
    """The temporary file of ``path``."""
    return path.with_name(f".{path.name}.{os.getpid()}.new")


def test_a_link_in_the_place_of_the_temporary_file_is_not_followed(tmp_path: Path) -> None:
    victim, path = tmp_path / "victim", tmp_path / "label"
    victim.write_bytes(b"theirs")
    fresh(path).symlink_to(victim)
    write_file(path, b"secret", "the label", mode=0o600)
    assert victim.read_bytes() == b"theirs"
    assert path.read_bytes() == b"secret" and not path.is_symlink() and path.stat().st_mode & 0o777 == 0o600


def test_a_temporary_file_that_others_may_read_is_not_written_into(tmp_path: Path) -> None:
    path = tmp_path / "label"
    fresh(path).write_bytes(b"left by a crash")
    fresh(path).chmod(0o666)
    write_file(path, b"secret", "the label", mode=0o600)
    assert path.read_bytes() == b"secret" and path.stat().st_mode & 0o777 == 0o600


def test_one_that_comes_between_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, unlink = tmp_path / "label", Path.unlink

    def unlink_and_lose(self: Path, missing_ok: bool = False) -> None:
        if self.exists():
            unlink(self, missing_ok=missing_ok)
        monkeypatch.setattr(Path, "unlink", unlink)
        self.write_bytes(b"theirs")

    monkeypatch.setattr(Path, "unlink", unlink_and_lose)
    with pytest.raises(LocalMisuse, match="cannot use the label"):
        write_file(path, b"secret", "the label")
    assert not path.exists()


def test_nothing_is_left_of_what_could_not_be_written(tmp_path: Path) -> None:
    path = tmp_path / "label"
    (path / "in the way").mkdir(parents=True)
    with pytest.raises(LocalMisuse, match="cannot use the label"):
        write_file(path, b"secret", "the label")
    assert os.listdir(tmp_path) == ["label"]


def test_a_directory_that_cannot_be_read_is_not_empty(tmp_path: Path) -> None:
    assert names_in(tmp_path / "none", ".der", "the directory") == []
    for name in ("b.der", "a.der", ".c.der", "d.der.new"):
        (tmp_path / name).write_bytes(b"")
    assert names_in(tmp_path, ".der", "the directory") == [tmp_path / "a.der", tmp_path / "b.der"]
    with pytest.raises(LocalMisuse, match="cannot use the directory"):
        names_in(tmp_path / "a.der", ".der", "the directory")
