# SPDX-License-Identifier: Apache-2.0
"""The guide to settings: its TOML is good, its complaint is the real one, its log line has the fields of a real one."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from sealway.cli.logs import LogSettings, begin
from sealway.cli.ready import tell_ready
from tests.cli.town import call
from tests.docs.documents import ROOT, code_blocks

GUIDE = (ROOT / "docs" / "guides" / "configuration.md").read_text(encoding="utf-8")


def test_its_file_is_good(tmp_path: Path) -> None:
    (text,) = code_blocks(GUIDE, "toml")
    (tmp_path / "hub.toml").write_text(text)
    assert "is good" in call("config", "check", tmp_path / "hub.toml").expect(0).out


def test_its_complaint_is_the_real_one(tmp_path: Path) -> None:
    (tmp_path / "hub.toml").write_text("[hub.run]\nprot = 8443\n")
    shown = call("config", "check", tmp_path / "hub.toml").expect(2).err.replace(f"{tmp_path}/", "")
    assert [shown] == code_blocks(GUIDE, "text")


def test_its_line_is_a_real_one(tmp_path: Path) -> None:
    begin(LogSettings(tmp_path / "log"))
    logging.getLogger("sealway.cli.ready").setLevel(logging.INFO)
    tell_ready({})
    begin(LogSettings())
    (shown,), (real,) = (map(json.loads, text.splitlines()) for text in (*code_blocks(GUIDE, "json"), _read(tmp_path)))
    assert list(shown) == list(real)
    assert {**shown, "time": ""} == {**real, "time": ""}


def _read(directory: Path) -> str:
    return (directory / "log").read_text()
