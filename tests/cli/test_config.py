# SPDX-License-Identifier: Apache-2.0
"""Settings: which source wins, what a file may say, and that the published schema says the same."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealway.cli.config.file import MOST_BYTES, check_tables, read_settings
from sealway.cli.config.groups import GROUPS
from sealway.cli.config.schema import json_schema
from sealway.cli.config.settings import Setting, settings_of
from sealway.cli.demo.process import _environment
from sealway.cli.watching import open_application
from sealway.crypto.secret import Secret
from sealway.errors import LocalMisuse
from sealway.gateway import limits as gateway_limits
from sealway.gateway.gateway import GatewayConfig
from sealway.home.home import Home
from sealway.hub import config as hub_config
from sealway.hub.config import HubConfig
from sealway.sdk.sessions import IN_MEMORY
from tests.cli.town import PASSPHRASE, Town, call

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "docs" / "schemas" / "config.schema.json"
SAMPLES = sorted((ROOT / "docs" / "samples").glob("*.toml"))
SETTINGS = settings_of(GROUPS)
NUMBERS = ("port", "body-seconds")
BY_THE_SCHEMA = jsonschema.Draft202012Validator(json_schema(SETTINGS))


@pytest.fixture(autouse=True)
def _no_settings_from_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("SEALWAY_CONFIG", *(setting.variable for setting in SETTINGS)):
        monkeypatch.delenv(variable, raising=False)


def settings_file(directory: Path, text: str) -> Path:
    path = directory / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return path


# one schema -------------------------------------------------------------------------------------------------------
def test_the_published_schema_is_that_of_the_options() -> None:
    hint = "after a change of options: .venv/bin/sealway config schema > docs/schemas/config.schema.json"
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == json_schema(SETTINGS), hint
    assert call("config", "schema").expect(0).json() == json_schema(SETTINGS)
    jsonschema.Draft202012Validator.check_schema(json_schema(SETTINGS))


def test_names_follow_the_words_of_the_command() -> None:
    for setting in SETTINGS:
        words = f"sealway {setting.group} {setting.command} {setting.key}"
        assert setting.variable == words.replace(" ", "_").replace("-", "_").upper()
        assert setting.key not in {one.command for one in SETTINGS if one.group == setting.group}
    assert len({setting.variable for setting in SETTINGS}) == len(SETTINGS)


def test_what_says_something_of_one_call_only_cannot_be_set() -> None:
    keys = {setting.key for setting in SETTINGS}
    assert not keys & {"json", "data", "payload", "id", "enrolment", "name", "out", "help", "version"}
    assert {"state", "key-file", "host", "port", "envelope-bytes", "log-level", "interval", "received"} <= keys


def test_no_setting_is_a_secret() -> None:
    assert not [one.key for one in SETTINGS if "pass" in one.key or "secret" in one.key or one.key.endswith("key")]


@given(
    tables=st.dictionaries(
        st.sampled_from(["hub", "device", "nothing"]),
        st.dictionaries(
            st.sampled_from([*NUMBERS, "host", "log-level", "public-url", "no-sensor", "state", "run", "x"]),
            st.one_of(
                st.integers(-5, 70_000), st.integers(-(2**63), 2**64), st.booleans(), st.text(max_size=3),
                st.floats(-10, 4000).filter(lambda value: not value.is_integer()),
                st.sampled_from(["info", "", "\0"]), st.lists(st.sampled_from(["a", "", 1]), max_size=2),
                st.just({"port": 1}), st.just({"port": "1"}),
            ),
            max_size=3,
        )
        | st.just(3),
        max_size=2,
    )
)  # fmt: skip
def test_the_schema_and_the_checks_agree(tables: dict[str, Any]) -> None:
    valid = BY_THE_SCHEMA.is_valid(tables)
    try:
        check_tables(Path("f"), tables, SETTINGS)
        taken = True
    except LocalMisuse:
        taken = False
    assert taken == valid


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_samples_are_good(sample: Path) -> None:
    import tomllib

    outcome = call("config", "check", sample).expect(0)
    assert outcome.out.startswith(f"{sample} is good; it sets something for ")
    BY_THE_SCHEMA.validate(tomllib.loads(sample.read_text(encoding="utf-8")))


# what a file may say ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[hubb]\n", "the file has no table 'hubb'", "did you mean hub?"),
        ("[hub]\nprot = 1\n", "[hub] has no key 'prot'", "did you mean port?"),
        ("[hub]\ntokens-per-minut = 1\n", "[hub] has no key 'tokens-per-minut'", "did you mean tokens-per-minute?"),
        ("[hub.status]\nport = 1\n", "[hub.status] has no key 'port'", "there are state"),
        ("[hub.runs]\nport = 1\n", "[hub] has no key 'runs'", "did you mean run?"),
        ("port = 1\n", "the file has no table 'port'", "there are owner, factory, hub, gateway, device, app"),
        ("hub = 1\n", "hub is a table", "begin it with a line [hub]"),
        ("[hub]\nrun = 1\n", "hub.run is a table", "begin it with a line [hub.run]"),
        ("[hub]\nport = 70000\n", "[hub] port: 70000 is not an integer from 0 to 65535", "port: "),
        ("[hub]\nport = -1\n", "[hub] port: -1 is not an integer from 0 to 65535", "port: "),
        ("[hub]\nport = 1.5\n", "[hub] port: 1.5 is not an integer from 0 to 65535", "port: "),
        ("[hub]\nport = true\n", "[hub] port is not an integer from 0 to 65535", "port: "),
        ('[hub]\nport = "8443"\n', "[hub] port is not an integer from 0 to 65535", "port: "),
        ("[hub]\nhost = 1\n", "[hub] host is not a text", "host: address to listen on"),
        ('[hub]\nhost = "a\\u0000"\n', "[hub] host is not a text", "host: address to listen on"),
        ('[hub]\nstate = ""\n', "[hub] state is not a path", "state: the state directory"),
        ('[hub]\nlog-level = "loud"\n', "[hub] log-level is not one of debug, info, warning, error", "log-level: "),
        ("[hub]\ndeposits-per-minute = 0\n", "deposits-per-minute: 0 is not an integer of at least 1", "deposits"),
        (f"[hub]\ndeposits-per-minute = {2**63}\n", f"{2**63} is not an integer of at least 1", "deposits"),
        ("[hub]\nbody-seconds = nan\n", "body-seconds: nan is not a number from 0.1 to 3600", "body-seconds: "),
        ('[hub]\npublic-url = "https://a"\n', "[hub] public-url is not a list, each a text", "public-url: "),
        ("[device]\nno-sensor = 1\n", "[device] no-sensor is not true or false", "no-sensor: "),
        ("[hub\n", "is not TOML (at line 1, column 5)", "https://toml.io"),
        ("[hub]\nport = 1\nport = 2\n", "is not TOML (at line 3", "https://toml.io"),
        ("[hub]\nport = " + "[" * 100_000, "is nested too deeply", None),
        ("#" * (MOST_BYTES + 1), f"is larger than {MOST_BYTES} bytes", None),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path: Path, text: str, message: str, hint: str | None) -> None:
    path = settings_file(tmp_path, text)
    for arguments in (("config", "check", path), ("--config", path, "hub", "status")):
        outcome = call(*arguments).expect(2)
        complaint, _, advice = outcome.err.partition("\nhint: ")
        assert complaint.startswith("error: ")
        assert message in complaint
        assert str(path) in complaint
        assert advice.startswith(hint or "")


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    assert "no such file" in call("--config", tmp_path / "nothing", "hub", "status").expect(2).err
    assert "cannot read the settings" in call("--config", tmp_path, "hub", "status").expect(2).err
    (tmp_path / "binary").write_bytes(b"[hub]\nhost = '\xff'")
    assert "is not UTF-8, at byte 14" in call("config", "check", tmp_path / "binary").expect(2).err


@pytest.mark.parametrize(
    "key", ["passphrase", "Password", "secret", "hub_key", "key", "token", "private-key", "tls_pem"]
)
@pytest.mark.parametrize("where", ["", "[hub]\n", "[hub.run]\n", "[hub.run.deep]\n"])
def test_a_secret_is_refused_and_not_shown(tmp_path: Path, where: str, key: str) -> None:
    outcome = call("config", "check", settings_file(tmp_path, f'{where}{key} = "hunter22"\n')).expect(2)
    assert "hunter22" not in outcome.err
    if "deep" not in where:
        assert f"{key!r}: a secret does not belong into a file of settings" in outcome.err
        assert "key-file" in outcome.err


def test_a_value_in_the_wrong_place_is_not_shown(tmp_path: Path) -> None:
    for text in ('[hub]\nport = "hunter22"', '[hub]\nhunter = "hunter22"', '[hub]\nlog-level = "hunter22"', "hunter22"):
        assert "hunter22" not in call("config", "check", settings_file(tmp_path, text)).expect(2).err


@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_file_is_read_or_refused(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content)
    with suppress(LocalMisuse):
        assert isinstance(read_settings(path, SETTINGS), dict)


# which source wins ------------------------------------------------------------------------------------------------
@pytest.fixture
def started(town: Town, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What hub and gateway were started with; they are not."""
    found: list[Any] = []
    monkeypatch.setattr("sealway.hub.server.run_hub", lambda config, ready: found.append(config))
    monkeypatch.setattr("sealway.gateway.serve.run_gateway", lambda config, uplink, ready: found.append(config))
    monkeypatch.setattr("sealway.cli.running.log_as_told", lambda *_arguments, **_more: None)
    for command in ("hub", "gateway"):
        if not (town.base / f"set-{command}").exists():
            town.enroll(command, f"set-{command}")
    return found


def run_with(town: Town, command: str, *arguments: object, config: Path | None = None) -> None:
    before = () if config is None else ("--config", config)
    call(*before, command, "run", "--state", town.base / f"set-{command}", *arguments).expect(0)


def test_options_then_environment_then_file_then_defaults(
    town: Town, started: list[HubConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = settings_file(tmp_path, "[hub]\nenvelope-bytes = 1001\n")
    narrow = tmp_path / "narrow.toml"
    narrow.write_text("[hub]\nenvelope-bytes = 1001\n[hub.run]\nenvelope-bytes = 1002\n")
    for config in (None, wide, narrow):
        run_with(town, "hub", config=config)
    monkeypatch.setenv("SEALWAY_CONFIG", str(wide))
    run_with(town, "hub")
    run_with(town, "hub", config=narrow)
    monkeypatch.setenv("SEALWAY_HUB_RUN_ENVELOPE_BYTES", "1003")
    run_with(town, "hub")
    monkeypatch.setenv("SEALWAY_HUB_RUN_ENVELOPE_BYTES", "")  # as if it were not there
    run_with(town, "hub")
    monkeypatch.setenv("SEALWAY_HUB_RUN_ENVELOPE_BYTES", "1003")
    run_with(town, "hub", "--envelope-bytes", 1004)
    assert [config.limits.envelope_bytes for config in started] == [262_144, 1001, 1002, 1001, 1002, 1003, 1001, 1004]


def test_every_limit_of_a_hub_can_be_set_and_defaults_to_its_own(
    town: Town, started: list[HubConfig], tmp_path: Path
) -> None:
    names = [field.name for field in fields(hub_config.Limits)]
    values = {name: 2_000 + number for number, name in enumerate(names)}
    values |= {"held_for": 5, "collect_seconds": 7, "mailboxes_per_collect": 8, "body_seconds": 9}
    keys = {name: name.replace("_", "-") for name in names} | {"held_for": "held-for-hours"}
    text = "".join(f"{keys[name]} = {value}\n" for name, value in values.items())
    run_with(town, "hub")
    run_with(town, "hub", config=settings_file(tmp_path, f"[hub]\n{text}"))
    assert started[0].limits == hub_config.Limits()
    assert asdict(started[1].limits) == values | {"held_for": 5 * 3_600}


def test_every_limit_of_a_gateway_can_be_set_and_defaults_to_its_own(
    town: Town, started: list[GatewayConfig], tmp_path: Path
) -> None:
    names = [field.name for field in fields(gateway_limits.Limits)]
    values = {name: 2_000 + number for number, name in enumerate(names)}
    values |= {"held_for": 5, "bearer_bytes": 96}
    keys = {name: name.replace("_", "-") for name in names} | {"held_for": "held-for-hours"}
    text = "".join(f"{keys[name]} = {value}\n" for name, value in values.items())
    run_with(town, "gateway")
    run_with(town, "gateway", config=settings_file(tmp_path, f"[gateway]\n{text}"))
    assert started[0].limits == gateway_limits.Limits()
    assert asdict(started[1].limits) == values | {"held_for": timedelta(hours=5)}


def test_hub_and_gateway_listen_on_loopback_unless_told_otherwise(
    town: Town, started: list[Any], tmp_path: Path
) -> None:
    run_with(town, "hub")
    run_with(town, "gateway")
    run_with(town, "hub", config=settings_file(tmp_path, '[hub]\nhost = "::"\nport = 0\n'))
    assert [config.host for config in started] == ["127.0.0.1", "127.0.0.1", "::"]


def test_paths_are_taken_from_where_the_file_is(
    town: Town, started: list[HubConfig], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = settings_file(town.base, '[hub]\nstate = "set-hub"\n')
    monkeypatch.chdir(tmp_path)
    call("--config", config, "hub", "run").expect(0)
    assert started[0].state_dir == town.base / "set-hub"
    found = read_settings(settings_file(tmp_path, '[device]\ninput = "-"\nstate = "/a"\n'), SETTINGS)
    assert {(setting.key, value) for setting, value in found.items()} == {("input", "-"), ("state", "/a")}


def test_a_value_in_the_environment_that_cannot_be_read(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALWAY_HUB_RUN_PORT", "tcp://10.0.0.1:8443")
    for arguments in (("hub", "run", "--state", town.base), ("config", "show")):
        assert "SEALWAY_HUB_RUN_PORT" in call(*arguments).expect(2).err


def test_names_that_others_put_into_the_environment_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALWAY_HUB_PORT", "tcp://10.0.0.1:8443")  # as Kubernetes does for a service sealway-hub
    monkeypatch.setenv("SEALWAY_VERSION", "1")
    monkeypatch.setenv("SEALWAY_HUB_RUN_PROT", "1")
    outcome = call("config", "show", "hub", "run", "--json").expect(0)
    assert {row["source"] for row in outcome.json()} == {"default"}
    assert "did you mean SEALWAY_HUB_RUN_PORT?" in outcome.err


def test_of_two_that_exclude_each_other_the_stronger_source_wins(
    town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans: list[Any] = []
    monkeypatch.setattr("sealway.cli.running.run_until_stopped", lambda work: None)
    monkeypatch.setattr("sealway.cli.running.log_as_told", lambda *_arguments, **_more: None)
    monkeypatch.setattr("sealway.cli.serving.Plan", lambda **given: plans.append(given))
    state = town.base / "set-device"
    if not state.exists():
        town.enroll("device", "set-device")
    (tmp_path / "in.csv").write_text("a\n1\n")
    text = 'to = "sealway://building.example/application/a"\ninterval = 2\ninput = "in.csv"\n'
    config = settings_file(tmp_path, f"[device]\n{text}")
    serve = ("--config", config, "device", "serve", "--state", state)
    call(*serve, "--rate", 4, "--no-sensor").expect(0)
    call(*serve).expect(0)
    assert [(plan["interval_s"], plan["source"] is None, plan["sensor"]) for plan in plans] == [
        (0.25, True, False), (2.0, False, True),
    ]  # fmt: skip
    assert "--interval and --rate say the same" in call(*serve, "--rate", 4, "--interval", 1).expect(2).err
    both = settings_file(tmp_path, f"[device]\n{text}rate = 4\n")
    assert "--interval and --rate say the same" in call(*serve[:1], both, *serve[2:]).expect(2).err


def test_the_demo_is_not_touched_by_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SEALWAY_CONFIG", "SEALWAY_HUB_RUN_HOST", "SEALWAY_PASSPHRASE", "SEALWAY_TRACEBACK"):
        monkeypatch.setenv(name, "0")
    assert {name for name in _environment() if name.startswith("SEALWAY_")} == {"SEALWAY_TRACEBACK"}


# what is set ------------------------------------------------------------------------------------------------------
def test_show_says_what_is_set_and_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings_file(tmp_path, '[hub]\nstate = "s"\nport = 1\n[hub.run]\nlog-level = "debug"\n')
    monkeypatch.setenv("SEALWAY_HUB_RUN_PORT", "2")
    monkeypatch.setenv("SEALWAY_PASSPHRASE", "hunter22")
    rows = call("--config", config, "config", "show", "--json").expect(0).json()
    found = {(row["command"], row["setting"]): (row["value"], row["source"]) for row in rows}
    assert found == {
        ("hub run", "port"): (2, "environment"),
        ("hub run", "log-level"): ("debug", "file"),
        **{(f"hub {command}", "state"): (str(tmp_path / "s"), "file") for command in ("init", "run", "status")},
    }
    text = call("--config", config, "config", "show", "hub", "run").expect(0).out
    lines = {tuple(line.split()) for line in text.splitlines()}
    assert ("hub", "run", "port", "2", "SEALWAY_HUB_RUN_PORT") in lines
    assert ("hub", "run", "log-level", "debug", str(config)) in lines
    assert ("hub", "run", "host", "127.0.0.1", "default") in lines
    assert "hunter22" not in text
    assert "there is no command fly" in call("config", "show", "fly").expect(2).err


def test_settings_are_told_apart() -> None:
    kinds: dict[str, Setting] = {f"{one.group} {one.command} {one.key}": one for one in SETTINGS}
    assert kinds["hub run public-url"].many
    assert kinds["hub run state"].required
    assert kinds["hub run log-format"].choices == ("json", "console")
    assert kinds["device serve no-sensor"].kind is bool


def test_how_many_sessions_an_application_keeps_in_memory(
    town: Town, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans: list[Any] = []
    monkeypatch.setattr("sealway.cli.running.run_until_stopped", lambda work: None)
    monkeypatch.setattr("sealway.cli.running.log_as_told", lambda *_arguments, **_more: None)
    monkeypatch.setattr("sealway.cli.watching.WatchPlan", lambda **given: plans.append(given))
    state = town.application("set-memory")
    config = settings_file(tmp_path, "[app]\nsessions-in-memory = 1000\n")
    watch = ("app", "watch", "--state", state, "--received", tmp_path / "received.jsonl")
    for arguments in (watch, ("--config", config, *watch), (*watch, "--sessions-in-memory", 7)):
        call(*arguments).expect(0)
    assert [plan["sessions_in_memory"] for plan in plans] == [None, 1000, 7]
    call(*watch, "--sessions-in-memory", 0).expect(2)


async def test_an_application_keeps_so_many(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.setattr("sealway.cli.watching.Application", lambda *_, **given: made.append(given))
    enrolled = Home(town.application("set-memory-2"), "app").open(Secret(PASSPHRASE.encode()))
    open_application(town.base, enrolled)
    open_application(town.base, enrolled, sessions_in_memory=7)
    assert [given["sessions_in_memory"] for given in made] == [IN_MEMORY, 7]
