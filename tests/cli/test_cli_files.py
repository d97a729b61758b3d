# SPDX-License-Identifier: Apache-2.0
"""received.jsonl, requests, inspect: what is read from and written to files."""

from __future__ import annotations

import asyncio
import io
import json
from base64 import b64encode
from pathlib import Path

import pytest

from sealway.cli.jsonlines import JsonLines
from sealway.cli.questions import Question, lines_as_they_come
from sealway.cli.readings import ReceivedFile, rfc3339
from sealway.cli.status import app_status, device_status, percentile
from sealway.errors import LocalMisuse, StateLost
from sealway.sdk import Received
from sealway.wire.envelope import Envelope
from sealway.wire.message import CODE_POST, FirstIdentity, Message
from tests.cli.town import call

DEVICE = "sealway://building.example/device/meter"


def received(number: int, payload: bytes = b"x", query: tuple[str, ...] = ()) -> Received:
    message = Message(CODE_POST, ("readings",), query, payload=payload, sent_at=1_700_000_000_123)
    return Received(DEVICE, message, FirstIdentity(b"s" * 32, number), b"s" * 32, 1_700_000_000_200, number)


def test_a_reading_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "received.jsonl"
    file = ReceivedFile(path)
    assert file.write([received(0, b"\xff\n", ("row=17",)), received(1)]) == 2
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert first == {
        "device": DEVICE,
        "session": (b"s" * 32).hex(),
        "number": 0,
        "sent_at": "2023-11-14T22:13:20.123Z",
        "payload_b64": b64encode(b"\xff\n").decode(),
        "row": 17,
    }
    assert second["row"] is None
    file.close()


def test_a_torn_line_is_cut_and_known_numbers_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "received.jsonl"
    file = ReceivedFile(path)
    file.write([received(0), received(1)])
    file.close()
    whole = path.read_bytes()
    for torn in range(1, len(whole.splitlines()[1])):
        path.write_bytes(whole[: len(whole) - torn])
        again = ReceivedFile(path)
        assert again.write([received(0), received(1), received(1)]) == 1
        again.close()
        assert path.read_bytes() == whole


def test_a_torn_line_without_any_newline_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"x" * 200_000)
    JsonLines(path).close()
    assert path.read_bytes() == b""
    path.write_bytes(b"{}\n" + b"x" * 200_000)
    JsonLines(path).close()
    assert path.read_bytes() == b"{}\n"


@pytest.mark.parametrize("content", [b"[]\n", b"nonsense\n", b"{}\n", b'{"session": "zz", "number": 1}\n'])
def test_a_file_of_something_else_is_left_alone(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "received.jsonl"
    path.write_bytes(content)
    with pytest.raises(StateLost):
        ReceivedFile(path)
    assert path.read_bytes() == content


def test_times_are_rfc_3339() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"
    assert rfc3339(1_700_000_000_009) == "2023-11-14T22:13:20.009Z"


GOOD_REQUEST = {"id": "0011223344556677", "to": DEVICE, "path": "/valve/", "payload": "é", "timeout_s": 2.5}


def test_a_request_is_read() -> None:
    question = Question.parse(json.dumps(GOOD_REQUEST).encode())
    assert (question.id.hex(), str(question.to), question.path) == ("0011223344556677", DEVICE, "valve")
    assert question.payload == "é".encode()
    assert question.timeout.total_seconds() == 2.5
    binary = {name: value for name, value in GOOD_REQUEST.items() if name != "payload"} | {"payload_b64": "AP8="}
    assert Question.parse(json.dumps(binary).encode()).payload == b"\x00\xff"


@pytest.mark.parametrize(
    "change",
    [
        {"id": "00"}, {"id": 7}, {"id": "zz" * 8}, {"to": "meter"}, {"to": None}, {"path": "x" * 300}, {"payload": 1},
        {"payload_b64": "AA=="}, {"timeout_s": 0}, {"timeout_s": "x"}, {"timeout_s": 1e9}, {"more": 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_bad_request_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(LocalMisuse, match="not a request"):
        Question.parse(json.dumps(GOOD_REQUEST | change).encode())


@pytest.mark.parametrize("line", [b"nonsense", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_a_line_that_is_no_request_is_refused(line: bytes) -> None:
    with pytest.raises(LocalMisuse):
        Question.parse(line)


async def test_requests_are_followed_as_the_file_grows(tmp_path: Path) -> None:
    path = tmp_path / "requests"
    path.write_bytes(b"1\n\n2")
    lines = lines_as_they_come(path)
    assert await anext(lines) == b"1"
    waiting = asyncio.ensure_future(anext(lines))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    with path.open("ab") as file:
        file.write(b"3\n")
    assert await waiting == b"23"
    await lines.aclose()  # type: ignore[attr-defined]


ENVELOPE = Envelope(b"k", 300, bytes(40)).encode()


@pytest.mark.parametrize(
    "content",
    [
        ENVELOPE, ENVELOPE.hex().encode() + b"\n", ENVELOPE.hex().upper().encode(), b64encode(ENVELOPE),
        b64encode(ENVELOPE).rstrip(b"=").replace(b"+", b"-").replace(b"/", b"_"),
    ],
    ids=["raw", "hex", "HEX", "base64", "base64url"],
)  # fmt: skip
def test_inspect_takes_raw_hex_and_base64(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "envelope"
    path.write_bytes(content)
    seen = call("inspect", path, "--json").expect(0).json()
    assert (seen["suite"], seen["number"], seen["message_bytes"], seen["claims"]) == (1, 300, 32, None)
    assert "message_bytes  32" in call("inspect", path).expect(0).out


def test_inspect_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(ENVELOPE)))
    assert call("inspect", "-", "--json").expect(0).json()["number"] == 300


def test_status_of_what_never_ran_is_zero(tmp_path: Path) -> None:
    nothing = {"in_flight": 0, "sent": 0, "executed": 0, "sessions": 0, "counters": {}, "suites": []}
    assert device_status(tmp_path) == nothing
    assert app_status(tmp_path)["latency_ms"] == {"p50": None, "p99": None}
    (tmp_path / "state.sqlite").write_bytes(b"nonsense" * 100)
    with pytest.raises(StateLost):
        device_status(tmp_path)
    assert call("app", "status", "--state", tmp_path).expect(5).err.startswith("error: ")


def test_percentiles_are_of_the_nearest_rank() -> None:
    assert [percentile(range(1, 101), percent) for percent in (1, 50, 99, 100)] == [1, 50, 99, 100]
    assert percentile([7], 50) == 7
    assert percentile([], 50) is None
