# SPDX-License-Identifier: Apache-2.0
"""A real TPM 2.0 in software for tests: swtpm, with its state in a directory of its own."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from sealway.cli.demo.ports import HOST, TCP, free_ports
from sealway.keystore.tpm_connection import TpmConnection
from sealway.keystore.tpm_name import TpmName

_PATIENCE_S = 60.0
_TRIES = 5
_ENDS_WITH_US = ("setpriv", "--pdeathsig", "KILL") if shutil.which("setpriv") else ()
"""Its own --terminate ends it with the first connection, and tests open several."""

contract: SwTpm | None = None
"""The one that the tests of the ports share."""


def contract_place() -> str:
    """Return its name."""
    if contract is None:
        pytest.skip("swtpm or tpm2-pytss is not installed")
    return contract.place


class SwTpm:
    """A TPM, on two ports of loopback that follow each other: the TSS takes the second for what switches it on."""

    def __init__(self, directory: Path) -> None:
        if shutil.which("swtpm") is None:
            pytest.skip("swtpm is not installed (Debian: swtpm)")
        if importlib.util.find_spec("tpm2_pytss") is None:
            pytest.skip("tpm2-pytss is not installed: pip install 'sealway[tpm]' needs gcc and libtss2-dev")
        self.state = directory / "tpm"
        self.state.mkdir()
        for _ in range(_TRIES):
            self.port = _two_ports()
            if self._started():
                return
        raise AssertionError("swtpm ended each time that it was begun")

    @property
    def place(self) -> str:
        """Its name as a place for keys."""
        return f"tpm:swtpm:host={HOST},port={self.port}"

    @property
    def connection(self) -> TpmConnection:
        """This process's way to it."""
        return TpmConnection.to(TpmName.parse(self.place))

    def start(self) -> None:
        """Switch it on again, at the same ports."""
        assert self._started(), "swtpm ended"

    def _started(self) -> bool:
        """Start it; say whether it serves. If not, somebody else had taken a port."""
        ports = [f"type=tcp,port={port},bindaddr={HOST}" for port in (self.port, self.port + 1)]
        self.process = subprocess.Popen(
            [
                *_ENDS_WITH_US, "swtpm", "socket", "--tpm2", "--server", ports[0], "--ctrl", ports[1],
                "--tpmstate", f"dir={self.state}", "--flags", "not-need-init,startup-clear",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        end = time.monotonic() + _PATIENCE_S
        while not {self.port, self.port + 1} <= self._listens_at():
            if self.process.poll() is not None:
                return False
            if time.monotonic() > end:
                self.cut_power()
                raise AssertionError("swtpm does not listen")
            time.sleep(0.02)
        return True

    def _listens_at(self) -> set[int]:
        """Looked up and not tried out: it serves one connection at a time."""
        with contextlib.suppress(psutil.NoSuchProcess):
            sockets = psutil.Process(self.process.pid).net_connections("tcp4")
            return {found.laddr.port for found in sockets if found.status == psutil.CONN_LISTEN}
        return set()

    def cut_power(self) -> None:
        """Switch it off without a word."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End it; this process lets go of it first."""
        self.connection.close()
        if self.process.poll() is None:
            self.cut_power()

    def clear(self) -> None:
        """Make it another TPM: a new seed, and nothing in its memory."""
        self.cut_power()
        shutil.rmtree(self.state)
        self.state.mkdir()
        self.start()

    def handles(self) -> list[int]:
        """What is loaded in it."""
        from tpm2_pytss import TPM2_CAP

        def work(api: Any) -> list[int]:
            _, found = api.get_capability(TPM2_CAP.HANDLES, 0x8000_0000, 100)
            return list(found.data.handles)

        return self.connection.run(work)

    def counters(self) -> list[int]:
        """Which indices are defined in the range of the owner."""
        from tpm2_pytss import TPM2_CAP

        def work(api: Any) -> list[int]:
            _, found = api.get_capability(TPM2_CAP.HANDLES, 0x0180_0000, 100)
            return list(found.data.handles)

        return [handle for handle in self.connection.run(work) if 0x0180_0000 <= handle < 0x01C0_0000]


def _two_ports() -> int:
    for _ in range(100):
        (port,) = free_ports(TCP)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind((HOST, port + 1))
            return port
    raise AssertionError("no two free ports")
