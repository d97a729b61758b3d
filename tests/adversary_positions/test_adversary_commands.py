# SPDX-License-Identifier: Apache-2.0
"""``sealway adversary``: what it is told, what it stands before, what it writes down."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import pytest

from sealway.adversary.catalogue import ATTACKS
from sealway.adversary.scenario import shipped
from sealway.cli.stranger import EXPIRED, OLDER, STARTS
from sealway.crypto.secret import Secret
from sealway.errors import HopRefused, NotFound
from sealway.home.carriers import hub_carrier
from sealway.home.home import Enrolled, Home
from sealway.transports.coap import CoapCarrier
from sealway.wire.bundle import SignedBundle
from sealway.wire.envelope import Envelope
from tests.cli.town import PASSPHRASE, PATIENCE_S, Town, call

HERE = "127.0.0.1:0"


@pytest.fixture(autouse=True)
def _passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALWAY_PASSPHRASE", PASSPHRASE)


def test_every_attack_is_listed_with_what_to_expect_of_it() -> None:
    told = call("adversary", "list").expect(0).out
    assert all(name in told and attack.says in told for name, attack in ATTACKS.items())
    assert all(name in told for name in shipped())
    rows = call("adversary", "list", "--json").expect(0).json()
    assert {row["name"]: row["expected"] for row in rows} == {a.name: str(a.expected) for a in ATTACKS.values()}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--between", "mqtt", "--listen", HERE, "--upstream", "coap://127.0.0.1:1"), "mqtt is unknown"),
        (("--between", "coap", "--listen", "here", "--upstream", "coap://127.0.0.1:1"), "is not HOST:PORT"),
        (("--between", "coap", "--listen", "127.0.0.1:70000", "--upstream", "coap://127.0.0.1:1"), "is not HOST:PORT"),
        (("--between", "coap", "--listen", HERE, "--upstream", "https://127.0.0.1:1"), "is not a gateway's URI"),
        (("--between", "http", "--listen", HERE, "--upstream", "coap://127.0.0.1:1"), "--upstream"),
        (
            ("--between", "http", "--listen", HERE, "--upstream", "https://127.0.0.1:1"),
            "identity of the adversary's own",
        ),
        (
            ("--between", "coap", "--listen", HERE, "--upstream", "coap://127.0.0.1:1", "--scenario", "/nowhere.toml"),
            "cannot be read",
        ),
        (("--between", "coap", "--listen", "192.0.2.1:0", "--upstream", "coap://127.0.0.1:1"), "plain CoAP on"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_starts(options: tuple[str, ...], told: str) -> None:
    outcome = call("adversary", "run", *options).expect(2)
    assert told in outcome.err
    assert "ready" not in outcome.out


class Running:
    """``sealway adversary run`` as a process that takes orders."""

    def __init__(self, *arguments: object) -> None:
        command = [sys.executable, "-m", "sealway", "adversary", "run", *map(str, arguments)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            self.ready = self.line()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.communicate()

    def line(self) -> dict[str, Any]:
        """The next event."""
        assert self.process.stdout is not None and self.process.stderr is not None
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(self.process.stderr.read().decode())
        event: dict[str, Any] = json.loads(line)
        return event

    def order(self, order: object) -> dict[str, Any]:
        """Give an order and return what is said to it."""
        assert self.process.stdin is not None
        self.process.stdin.write((order if isinstance(order, bytes) else json.dumps(order).encode()) + b"\n")
        self.process.stdin.flush()
        return self.line()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop it and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)


@pytest.mark.processes
def test_orders_come_on_standard_input_and_what_is_no_order_is_told(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    with Running(
        "--between", "coap", "--listen", HERE, "--upstream", "coap://127.0.0.1:1", "--report", report
    ) as running:
        assert running.ready["event"] == "ready" and running.ready["at"].startswith("coap://127.0.0.1:")
        for nonsense in (b"nonsense", 7, {"begin": {"attack": "fly"}}, {"begin": {"attack": "extend", "speed": 3}}):
            assert running.order(nonsense)["event"] == "invalid"
        assert running.order({"end": True})["event"] == "invalid", "none is on"
        assert running.order({"begin": {"attack": "extend", "count": 3}}) == {"event": "begun", "attack": "extend"}
        assert running.order({"begin": {"attack": "extend"}})["event"] == "invalid", "one is on"
        ended = running.order({"end": True})
        assert (ended["event"], ended["attack"], ended["tried"]) == ("ended", "extend", 0)
        assert running.order({"begin": {"attack": "truncate"}})["event"] == "begun"
        assert running.stop(signal.SIGINT) == 0
    written = json.loads(report.read_text())
    assert [act["name"] for act in written["acts"]] == ["extend", "truncate"], "what was on is ended, and told"
    assert (written["between"], written["seed"]) == ("coap", 0)


@pytest.mark.processes
def test_a_scenario_that_is_stopped_is_reported_as_far_as_it_got(tmp_path: Path) -> None:
    report, scenario = tmp_path / "report.json", tmp_path / "two.toml"
    scenario.write_text('name = "two"\nseed = 5\n[[act]]\nattack = "extend"\n[[act]]\nattack = "truncate"\n')
    words = ("--between", "coap", "--listen", HERE, "--upstream", "coap://127.0.0.1:1", "--report", report)
    with Running(*words, "--scenario", scenario) as running:
        assert running.line() == {"event": "begun", "attack": "extend"}
        assert running.stop() == 0
    written = json.loads(report.read_text())
    assert (written["scenario"], written["seed"], written["not_performed"]) == ("two", 5, ["truncate"])
    assert [act["name"] for act in written["acts"]] == ["extend"]


@pytest.fixture(scope="session")
def keys(town: Town) -> Path:
    """The adversary's own state directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEALWAY_PASSPHRASE", PASSPHRASE)
        return town.enroll("adversary", "adversary", "--ip", "127.0.0.1")


@pytest.mark.processes
async def test_who_is_certified_as_a_gateway_can_stand_before_the_hub(carried: Town, keys: Path) -> None:
    gateway = _opened(Home(keys, "adversary"))
    honest = hub_carrier(gateway)
    with Running("--between", "http", "--listen", HERE, "--upstream", carried.hub_url, "--state", keys) as running:
        hostile = hub_carrier(gateway, str(running.ready["at"]))
        try:
            with pytest.raises(HopRefused, match="meant for another hop"):
                await hostile.root_document()  # TLS was fine; the hub was not told of another address
            assert await honest.root_document() == gateway.root.encoded
        finally:
            await honest.close()
            await hostile.close()
        assert running.stop() == 0


@pytest.mark.processes
async def test_in_a_gateway_s_place_it_is_a_gateway_and_lies(carried: Town, keys: Path) -> None:
    with Running("--between", "gateway", "--listen", HERE, "--upstream", carried.hub_url, "--state", keys) as running:
        carrier = CoapCarrier(str(running.ready["at"]))
        try:
            genuine = await carrier.root_document()
            assert running.order({"begin": {"attack": "substitute-root", "count": 1}})["event"] == "begun"
            assert await carrier.root_document() != genuine
            assert running.line()["event"] == "acting"
            assert running.line() == {"event": "over", "attack": "substitute-root"}
            ended = running.order({"end": True})
            assert (ended["tried"], ended["reached_network"], len(ended["items"])) == (1, 1, 1)
            assert await carrier.root_document() == genuine
            with pytest.raises(NotFound):
                await carrier.newest_bundle("sealway://building.example/device/nobody")
        finally:
            await carrier.close()
        assert running.stop() == 0


@pytest.mark.processes
def test_a_stranger_leaves_starts_and_bundles(carried: Town, tmp_path: Path) -> None:
    town = carried
    watch = town.role(
        "strange-app", "app", "watch", "--state", town.application("strange-app"), "--received", tmp_path / "r"
    )
    watch.wait_event("published")
    state = town.enroll("device", "stranger")
    to = town.name("application", "strange-app")
    told = call(
        "adversary", "stranger", "--state", state, "--to", to, "--out", tmp_path / "out", "--starts", 5, "--one-time", 2
    )
    assert told.expect(0).out.count("recorded") == 1
    starts = [Envelope.decode(path.read_bytes()).start for path in sorted((tmp_path / "out" / STARTS).iterdir())]
    assert [start is not None and start.one_time is not None for start in starts] == [True, True, False, False, False]
    assert len({start.ephemeral for start in starts if start is not None}) == 5
    older, expired = (SignedBundle.decode((tmp_path / "out" / name).read_bytes()).claims for name in (OLDER, EXPIRED))
    assert expired.sequence < older.sequence and expired.expires < time.time() < older.expires
    assert watch.stop() == 0


def _opened(home: Home) -> Enrolled:
    return home.open(Secret(PASSPHRASE.encode()))


@pytest.mark.processes
def test_after_its_scenario_it_stands_there_and_lets_everything_pass(tmp_path: Path) -> None:
    scenario = tmp_path / "short.toml"
    scenario.write_text('name = "short"\nseed = 5\n[[act]]\nattack = "extend"\nseconds = 0.1\n')
    words = ("--between", "coap", "--listen", HERE, "--upstream", "coap://127.0.0.1:1", "--scenario", scenario)
    with Running(*words) as running:
        while running.line()["event"] != "finished":
            pass
        with pytest.raises(subprocess.TimeoutExpired):
            running.process.wait(0.5)
        assert running.stop() == 0
