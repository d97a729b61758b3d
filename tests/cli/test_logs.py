# SPDX-License-Identifier: Apache-2.0
"""The log: what a line looks like, what cannot get into it, and that it goes on when its file is moved or full."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealway.cli.logs import MOST_FIELD, MOST_FIELDS, MOST_MESSAGE, Format, Level, LogSettings, begin
from sealway.errors import LocalMisuse

NAMES = ("", "sealway", "uvicorn", "uvicorn.access", "uvicorn.error", "asyncio", "httpx", "sealway.coap")
NASTY = '\x1b[2J\x1b]0;title\x07 \n{"level":"error","message":"forged"}\r\n\x00\x9b31m\u2028\u202e\x7f\udcff end'


@pytest.fixture(autouse=True)
def _loggers_as_before() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in NAMES]
    before = [(list(one.handlers), one.level, one.propagate) for one in loggers]
    yield
    for one, (handlers, level, propagate) in zip(loggers, before, strict=True):
        for handler in set(one.handlers) - set(handlers):
            with suppress(OSError):
                handler.close()
        one.handlers[:], one.propagate = handlers, propagate
        one.setLevel(level)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def test_a_line_is_an_object_with_time_level_logger_message_and_fields(tmp_path: Path) -> None:
    begin(LogSettings(tmp_path / "log"))
    extra = {"event": "ready", "port": 8443, "odd": object(), "nan": float("nan"), "none": None}
    logging.getLogger("sealway.hub").info("serves %s", "here", extra=extra)
    (line,) = lines(tmp_path / "log")
    at = datetime.fromisoformat(line.pop("time"))
    assert at.tzinfo == UTC
    assert abs(datetime.now(UTC) - at) < timedelta(minutes=1)
    assert line == {
        "level": "info", "logger": "sealway.hub", "message": "serves here",
        "event": "ready", "port": 8443, "none": None,
    }  # fmt: skip


def test_for_people_it_is_words(capsys: pytest.CaptureFixture[str]) -> None:
    begin(LogSettings(form=Format.CONSOLE))
    logging.getLogger("sealway.hub").warning("serves", extra={"event": "ready", "where": "over there", "port": 1})
    line = capsys.readouterr().err.rstrip("\n")
    time, rest = line.split(" ", 1)
    assert datetime.fromisoformat(time).tzinfo == UTC
    assert rest == 'warning sealway.hub: serves event=ready where="over there" port=1'


@pytest.mark.parametrize("form", Format)
@pytest.mark.parametrize("level", Level)
def test_levels(tmp_path: Path, form: Format, level: Level) -> None:
    begin(LogSettings(tmp_path / "log", level, form))
    for name in NAMES[1:]:
        for at in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            logging.getLogger(name).log(at, "%s says %d", name, at)
    written = {line for line in (tmp_path / "log").read_text().splitlines() if "sealway says" in line}
    assert len(written) == len(Level) - list(Level).index(level)
    text = (tmp_path / "log").read_text()
    assert ("uvicorn.access says 20" in text) == (level is Level.DEBUG)
    assert "httpx says 10" not in text
    assert "httpx says 20" not in text
    assert ("httpx says 30" in text) == (level is not Level.ERROR)


@pytest.mark.parametrize("form", Format)
def test_what_a_stranger_sends_stays_within_its_line(tmp_path: Path, form: Format) -> None:
    begin(LogSettings(tmp_path / "log", form=form))
    logging.getLogger("sealway.hub").info("got %s", NASTY, extra={"path": NASTY})
    logging.getLogger("uvicorn.error").warning(NASTY)
    text = (tmp_path / "log").read_text(encoding="utf-8")
    assert text.count("\n") == 2
    assert all(char.isprintable() or char == "\n" for char in text)
    if form is Format.JSON:
        assert lines(tmp_path / "log")[0]["path"] == NASTY  # nothing is lost for who reads it
        assert [line["level"] for line in lines(tmp_path / "log")] == ["info", "warning"]


@given(text=st.text(alphabet=st.characters(), max_size=60))
def test_no_text_at_all_makes_a_second_line(text: str) -> None:
    for form in Format:
        out = io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stderr", out)
            begin(LogSettings(form=form))
            logging.getLogger("sealway").info("%s", text, extra={"field": text})
        written = out.getvalue()
        assert written.splitlines() == [written[:-1]]
        assert written[:-1].isprintable()


@pytest.mark.parametrize("form", Format)
def test_a_line_is_short(tmp_path: Path, form: Format) -> None:
    begin(LogSettings(tmp_path / "log", form=form))
    extra: dict[str, object] = {f"field_{number}": "x" * 10_000 for number in range(100)}
    logging.getLogger("sealway").info("y" * 1_000_000, extra=extra)
    (line,) = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert "(999000 more)" in line
    assert line.count("field_") == MOST_FIELDS
    assert len(line) < MOST_MESSAGE + MOST_FIELDS * (MOST_FIELD + 50) + 200


def test_of_an_error_only_kind_and_place_are_written(tmp_path: Path) -> None:
    begin(LogSettings(tmp_path / "log"))
    try:
        int("a secret value")
    except ValueError:
        logging.getLogger("uvicorn.error").exception("it broke")
    logging.getLogger("asyncio").error("Task exception was never retrieved\nfuture: <Task exception=E('a secret')>")
    wrongly = logging.makeLogRecord({"name": "sealway", "msg": "%d %d", "args": ("a secret",)})
    logging.getLogger().handlers[-1].handle(wrongly)
    assert "secret" not in (tmp_path / "log").read_text()
    broke, forgotten, wrong = lines(tmp_path / "log")
    assert (broke["message"], broke["error"]) == ("it broke", "ValueError")
    assert broke["place"].startswith(f"{__name__}:")
    assert forgotten["message"] == "Task exception was never retrieved"
    assert wrong["message"] == "%d %d"


def test_a_log_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    begin(LogSettings(tmp_path / "log"))
    logging.getLogger("sealway").info("one")
    (tmp_path / "log").rename(tmp_path / "log.1")
    logging.getLogger("sealway").info("two")
    assert [line["message"] for line in lines(tmp_path / "log.1")] == ["one"]
    assert [line["message"] for line in lines(tmp_path / "log")] == ["two"]


def test_a_full_disk_ends_nothing_and_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    begin(LogSettings(Path("/dev/full")))
    logging.getLogger("sealway").info("a value")
    assert capsys.readouterr().err == ""


def test_a_log_that_cannot_be_opened_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(LocalMisuse, match=r"cannot write the log .*no such file"):
        begin(LogSettings(tmp_path / "nowhere" / "log"))


def test_the_last_settings_hold(tmp_path: Path) -> None:
    begin(LogSettings(tmp_path / "first"))
    begin(LogSettings(tmp_path / "second", Level.WARNING))
    logging.getLogger("sealway").info("one")
    logging.getLogger("sealway").warning("two")
    assert (tmp_path / "first").read_text() == ""
    assert [line["message"] for line in lines(tmp_path / "second")] == ["two"]
