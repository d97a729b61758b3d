# SPDX-License-Identifier: Apache-2.0
"""An adversary as a process that takes orders on its standard input."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sealway.cli.demo.process import RoleProcess
from sealway.cli.demo.town import Member
from sealway.errors import TransportFailed


class Adversary(RoleProcess):
    """One position of the adversary.

    Args:
        between: http, coap or gateway.
        directory: what it prints and writes goes there.
        member: whose keys it has: the adversary's own.
        listen: the address at which clients come.
        upstream: the real next hop.
        seed: of its chance.
    """

    def __init__(self, between: str, directory: Path, member: Member, listen: str, upstream: str, seed: int) -> None:
        place = urlsplit(listen)
        words = (
            "adversary", "run", "--between", between, "--listen", f"{place.hostname}:{place.port}",
            "--upstream", upstream, "--seed", str(seed), "--state", str(member.directory),
            "--report", str(directory / "report.json"), "--log-file", str(directory / "log"),
        )  # fmt: skip
        super().__init__("adversary", f"adversary-{between}", directory, words, member.key_file)
        self.between = between
        self.input = asyncio.subprocess.PIPE
        self.acting = ""
        self.begun = 0
        self.tried, self.reached, self.holds, self.is_over = 0, 0, 0, False
        self.ended: list[dict[str, Any]] = []
        self.refusals: list[str] = []

    def order(self, line: dict[str, Any]) -> None:
        """Write one order. Raises TransportFailed if the process has ended."""
        if self.process is None or self.process.stdin is None or not self.running:
            raise TransportFailed(f"{self.title} has ended", hint=f"see {self.directory / 'stderr.log'}")
        self.process.stdin.write(json.dumps(line).encode() + b"\n")

    def begin(self, act: dict[str, Any]) -> None:
        """Order an act: one table of a scenario. The one before it ends in the same moment."""
        self.end_if_any()
        self.acting, self.tried, self.reached, self.is_over = str(act["attack"]), 0, 0, False
        self.holds = 0
        self.order({"begin": act})
        self.begun += 1

    def end_if_any(self) -> None:
        """Order the end of the act that is on, if one is."""
        if self.acting:
            self.end()

    def end(self) -> None:
        """Order the end of the act that is on."""
        self.acting = ""
        self.order({"end": True})

    def look(self) -> None:
        """Take in what it has printed."""
        for event in self.events():
            match event.get("event"):
                case "acting" if event.get("attack") == self.acting:
                    self.tried, self.reached = int(event["tried"]), int(event["reached_network"])
                    self.holds = int(event["holds"])
                case "over" if event.get("attack") == self.acting:
                    self.is_over = True
                case "ended":
                    self.ended.append(event)
                case "invalid":
                    self.refusals.append(str(event.get("error")))
