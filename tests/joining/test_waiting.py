# SPDX-License-Identifier: Apache-2.0
"""A device that waits for its owner: whom it waits for, and that one message at a time is looked at."""

from __future__ import annotations

import asyncio
import shutil
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from sealway.cli import pairing as waiting
from sealway.cli.messages import Refused
from sealway.cli.pairing import Waiting, _Host, born_of, pairing_of, wait_for_owner
from sealway.crypto.secret import Secret
from sealway.gateway.facade import CoapListener
from sealway.home.home import Home
from sealway.joining.channel import Resumption
from sealway.joining.ownership import RESUMABLE_S, WINDOW_MS, Pending
from sealway.keystore.private_file import replace_private
from sealway.sdk.clock import SystemClock
from tests.cli.factory_made import make_device
from tests.cli.town import PASSPHRASE
from tests.identity.small_domain import name

SECRET = Secret(PASSPHRASE.encode())
PATIENCE_S = 60.0


class SlowJoiner:
    """Answers when it is let; the first answer is the last word to an owner."""

    def __init__(self, *_: object) -> None:
        self.fault = None
        self.finished = False
        self.entered, self.let = threading.Event(), threading.Event()
        self.inside = self.most_inside = 0

    def answer(self, data: bytes, at: object) -> bytes:
        """Count who is in here at once."""
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)
        self.entered.set()
        self.let.wait(PATIENCE_S)
        self.finished = True
        self.inside -= 1
        return b"done"


class Waiter:
    """A made device that waits over CoAP, with a SlowJoiner."""

    def __init__(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        self.joiner = SlowJoiner()
        self._port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        monkeypatch.setattr(waiting, "Joiner", lambda *_: self.joiner)
        monkeypatch.setattr(waiting, "emit", self._emitted)
        monkeypatch.setattr(waiting, "_LINGER_S", 0.0)
        listener = Waiting(CoapListener("127.0.0.1:0"), None, pressed=True)
        self.task = asyncio.create_task(wait_for_owner(home, SECRET, listener))
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def _emitted(self, event: str, **fields: Any) -> None:
        if event == "waiting":
            self._port.set_result(int(fields["address"].rpartition(":")[2]))

    async def send(self, number: int, token: bytes, path: bytes) -> None:
        """Send POST /path as a confirmable message with this id and token."""
        head = bytes([0x40 | len(token), 0x02]) + number.to_bytes(2, "big") + token
        datagram = head + bytes([0xB0 | len(path)]) + path + b"\x11\x3c\xff" + b"hello"  # Content-Format 60
        await asyncio.get_running_loop().sock_sendto(self._socket, datagram, ("127.0.0.1", await self._port))

    async def answered(self, number: int) -> None:
        """Wait for the answer to the message with this id."""
        while (await asyncio.get_running_loop().sock_recv(self._socket, 2048))[2:4] != number.to_bytes(2, "big"):
            pass

    async def until_it_works(self) -> None:
        """Wait until a message is being answered."""
        await asyncio.to_thread(self.joiner.entered.wait, PATIENCE_S)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_device(tmp_path_factory.mktemp("made"), "TH-000001")[1].state


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Home:
    return Home(Path(shutil.copytree(made, tmp_path / "device")), "device")


async def test_a_token_used_again_neither_loses_what_was_answered_nor_brings_a_second_thread(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asyncio.timeout(PATIENCE_S):
        waiter = Waiter(home, monkeypatch)
        await waiter.send(1, b"T", b"j")
        await waiter.until_it_works()
        await waiter.send(2, b"T", b"x")  # which ends the handler of the first
        await waiter.answered(2)
        await waiter.send(3, b"U", b"j")
        await waiter.send(4, b"V", b"x")
        await waiter.answered(4)
        waiter.joiner.let.set()
        await waiter.task
    waiter.close()
    assert (waiter.joiner.most_inside, waiter.joiner.inside) == (1, 0)


async def test_it_gives_nothing_back_while_a_message_is_answered(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    async with asyncio.timeout(PATIENCE_S):
        waiter = Waiter(home, monkeypatch)
        await waiter.send(1, b"T", b"j")
        await waiter.until_it_works()
        waiter.task.cancel()
        asyncio.get_running_loop().call_later(0.2, waiter.joiner.let.set)
        with pytest.raises(asyncio.CancelledError):
            await waiter.task
        assert waiter.joiner.inside == 0
    waiter.close()


async def test_what_came_in_time_may_end_after_the_window(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    joiner = SlowJoiner()
    monkeypatch.setattr(waiting, "Joiner", lambda *_: joiner)
    with pairing_of(home, SECRET) as pairing:
        host = _Host(pairing, born_of(home.path, SECRET))
        answer = asyncio.create_task(host.answer(b"provision"))  # which no window has to be open for here
        await asyncio.to_thread(joiner.entered.wait, PATIENCE_S)
        asyncio.get_running_loop().call_later(0.2, joiner.let.set)
        await host.owned()
        assert await answer == b"done"


def test_who_has_shown_the_code_may_go_on_though_the_window_has_closed(home: Home) -> None:
    with pairing_of(home, SECRET) as pairing:
        at = SystemClock().uptime()
        pairing.open_window(at._replace(ms=at.ms - WINDOW_MS), pressed=True)
        with pytest.raises(Refused, match="window has closed"):
            _Host(pairing, born_of(home.path, SECRET)).begin(pressed=False)
        until = int(time.time()) + RESUMABLE_S
        pairing.confirm(Pending(Resumption(bytes(8), Secret(bytes(32))), bytes(32), name("x"), 1, until))
        _Host(pairing, born_of(home.path, SECRET)).begin(pressed=False)
        assert pairing.attempts_left(SystemClock().uptime()) is None  # nobody else may pair


def test_a_stopped_device_does_not_wait_for_who_could_not_go_on(home: Home) -> None:
    """Its owner answers with a new enrolment, and that is no exchange."""
    replace_private(home.path / "enrolled", bytes(33), check=lambda: None)
    with pairing_of(home, SECRET) as pairing:
        until = int(time.time()) + RESUMABLE_S
        pairing.confirm(Pending(Resumption(bytes(8), Secret(bytes(32))), bytes(32), name("x"), 1, until))
        _Host(pairing, born_of(home.path, SECRET)).begin(pressed=False)
        pairing.stop(int(time.time()))
        with pytest.raises(Refused, match="stopped"):
            _Host(pairing, born_of(home.path, SECRET)).begin(pressed=False)
