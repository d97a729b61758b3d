# SPDX-License-Identifier: Apache-2.0
"""A reader's browser: headless Chromium, told what to do over the DevTools protocol, with no way out to any network."""

from __future__ import annotations

import base64
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

_PATIENCE_S = 60.0
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip


class Tab:
    """One page, with what it asked for and what it complained of."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection, self._number, self._loaded = connection, 0, False
        self.requests: list[str] = []
        self.complaints: list[str] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        forgetful = "try { localStorage.clear() } catch {}"  # each page is a first visit
        self.call("Page.addScriptToEvaluateOnNewDocument", source=forgetful)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while (message := self._next()).get("id") != self._number:
            pass
        assert "error" not in message, message
        result: dict[str, Any] = message["result"]
        return result

    def open(self, address: str, *, width: int = 1280, height: int = 900, scheme: str = "light") -> None:
        """Open a page in a window of this size and with this colour scheme, and wait until it is loaded."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self._loaded = False
        self.call("Page.navigate", url=address)
        while not self._loaded:
            self._next()

    def value(self, expression: str) -> Any:
        """Return what a JavaScript expression yields, awaited if it is a promise."""
        done = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def until(self, expression: str) -> Any:
        """Wait until an expression yields something true, and return that."""
        end = time.monotonic() + _PATIENCE_S
        while not (found := self.value(expression)):
            assert time.monotonic() < end, f"in vain: {expression}"
            time.sleep(0.05)
        return found

    def picture(self, path: Path) -> None:
        """Save what is in the window as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def _next(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._connection.recv(_PATIENCE_S))
        match message.get("method"):
            case "Page.loadEventFired":
                self._loaded = True
            case "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(str(message["params"]["exceptionDetails"]))
            case "Log.entryAdded" if message["params"]["entry"]["level"] == "error":
                self.complaints.append(message["params"]["entry"]["text"])
        return message


@contextmanager
def chromium(program: str, profile: Path) -> Iterator[Tab]:
    """Start the browser with an empty profile, and end it afterwards."""
    with (profile.parent / "chromium.log").open("wb") as log:
        process = subprocess.Popen(
            [program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"], stdout=log, stderr=log
        )
    try:
        with connect(_tab_address(profile / "DevToolsActivePort"), max_size=None, proxy=None) as connection:
            yield Tab(connection)
    finally:
        process.terminate()
        process.wait(_PATIENCE_S)


def _tab_address(file: Path) -> str:
    from urllib.request import ProxyHandler, build_opener

    end = time.monotonic() + _PATIENCE_S
    while not (file.exists() and (lines := file.read_text().split())):
        assert time.monotonic() < end, "the browser did not start"
        time.sleep(0.05)
    opener = build_opener(ProxyHandler({}))  # loopback, whatever proxy the environment names
    while True:
        with opener.open(f"http://127.0.0.1:{lines[0]}/json/list", timeout=_PATIENCE_S) as answer:
            tabs = [tab for tab in json.load(answer) if tab["type"] == "page"]
        if tabs:
            return str(tabs[0]["webSocketDebuggerUrl"])
        time.sleep(0.05)
