# SPDX-License-Identifier: Apache-2.0
"""Scenario files: strict, with errors that name the key; performed act by act; reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sealway.adversary.catalogue import ATTACKS
from sealway.adversary.middlebox import Middlebox
from sealway.adversary.passing import Leg
from sealway.adversary.play import GRACE_S, Play
from sealway.adversary.report import as_plain, as_text, attacks_as_text
from sealway.adversary.scenario import MOST_BYTES, parse_scenario, read_scenario, shipped
from sealway.adversary.tampering import Original, TamperParameters
from sealway.errors import LocalMisuse
from tests.adversary.samples import Clock, numbered

ACT = '[[act]]\nattack = "tamper-tag"\n'


def test_a_scenario_says_all_of_it() -> None:
    scenario = parse_scenario(
        'name = "mine"\nsays = "What it does."\nseed = 5\n[[act]]\nattack = "tamper-tag"\nleg = "up"\n'
        'subjects = ["a"]\nevery = 2\ncount = 3\nseconds = 4\n[act.parameters]\noriginal = "withheld"\n'
    )
    (act,) = scenario.acts
    assert (scenario.name, scenario.says, scenario.seed) == ("mine", "What it does.", 5)
    assert act.parameters == TamperParameters(Original.WITHHELD)
    select = act.select
    assert (select.leg, select.every, select.count, select.seconds) == (Leg.UP, 2, 3, 4.0)
    assert act.legs == {Leg.UP} and act.concerns(Leg.UP, "a") and not act.concerns(Leg.UP, "b")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "act:"),
        ("act = 1", "act:"),
        ("= 1", "not TOML"),
        ("colour = 1\n" + ACT, "colour: not known"),
        ("seed = true\n" + ACT, "seed: a whole number"),
        ("[[act]]", "act 1: attack: is missing"),
        ('[[act]]\nattack = "none"', "act 1: attack: there is no 'none'"),
        (ACT + ACT + "evry = 2", "act 2: evry: not known"),
        (ACT + "every = 0", "act 1: every: at least 1"),
        (ACT + "count = 0", "act 1: count: at least 1"),
        (ACT + "count = 1.5", "act 1: count: a whole number"),
        (ACT + "seconds = 0", "act 1: seconds:"),
        (ACT + "seconds = inf", "act 1: seconds:"),
        (ACT + "seconds = nan", "act 1: seconds:"),
        (ACT + 'leg = "sideways"', "act 1: leg: one of up, down"),
        (ACT + "leg = []", "act 1: leg: one of up, down"),
        (ACT + "subjects = [1]", "act 1: subjects:"),
        (ACT + "parameters = 1", "act 1: parameters:"),
        (ACT + "[act.parameters]\nplace = 1", "act 1: parameters.place: not known"),
        (ACT + '[act.parameters]\noriginal = "x"', "act 1: parameters.original: one of"),
        ('[[act]]\nattack = "delay"\n[act.parameters]\nseconds = "x"', "act 1: parameters.seconds: a number"),
        ('[[act]]\nattack = "flood-stranger"', "act 1: parameters.directory: is missing"),
    ],
)
def test_what_is_wrong_is_named(text: str, named: str) -> None:
    with pytest.raises(LocalMisuse) as refused:
        parse_scenario(text)
    assert refused.value.message.startswith(named)


def test_files_are_named_too(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    for content in (b"\xff", b"[[act]]", b"#" * (MOST_BYTES + 1)):
        path.write_bytes(content)
        with pytest.raises(LocalMisuse, match=r"mine\.toml"):
            read_scenario(path)
    with pytest.raises(LocalMisuse, match=r"none\.toml cannot be read"):
        read_scenario(tmp_path / "none.toml")
    path.write_text(ACT)
    assert read_scenario(path).name == "mine"


def test_one_scenario_for_each_attack_and_one_for_all() -> None:
    scenarios = shipped()
    assert set(scenarios) == {*ATTACKS, "everything"}
    for name, path in scenarios.items():
        scenario = read_scenario(path)
        assert scenario.name == name and scenario.says
        if name != "everything":
            assert [act.attack.name for act in scenario.acts] == [name]
    every = [act.attack.name for act in read_scenario(scenarios["everything"]).acts]
    assert sorted(every) == sorted(ATTACKS)


def test_a_play_goes_from_act_to_act() -> None:
    scenario = parse_scenario(
        '[[act]]\nattack = "drop-some"\ncount = 1\n[[act]]\nattack = "flood-stranger"\n[act.parameters]\n'
        'directory = "/nowhere"\n[[act]]\nattack = "duplicate"\nseconds = 5\n[[act]]\nattack = "tamper-tag"\n'
    )
    clock = Clock()
    box = Middlebox(seed=scenario.seed, now=clock)
    play = Play(scenario, box, clock)
    play.look()
    assert play.act_on == "drop-some" and not box.pass_on(numbered(1))
    play.look()
    play.look()
    assert play.act_on == "duplicate" and "cannot be read" in play.performed[1].failure
    box.pass_on(numbered(2))
    clock.now += 5
    play.look()
    assert play.act_on == "duplicate"  # its copy has not arrived
    clock.now += GRACE_S
    play.look()
    assert play.act_on == "tamper-tag" and not play.is_over
    play.stop()
    assert play.is_over and play.act_on == ""
    plain = as_plain(scenario, play.performed[:3])
    assert [(act["name"], act["tried"], act["reached_network"]) for act in plain["acts"]] == [
        ("drop-some", 1, 1), ("flood-stranger", 0, 0), ("duplicate", 1, 0),
    ]  # fmt: skip
    assert plain["not_performed"] == ["tamper-tag"] and json.loads(json.dumps(plain)) == plain
    text = as_text(scenario, play.performed[:3])
    assert "not performed: tamper-tag" in text and "cannot be read" in text


def test_every_attack_is_described() -> None:
    text = attacks_as_text()
    assert len(ATTACKS) >= 35
    for name, attack in ATTACKS.items():
        assert name == name.lower() and " " not in name and name in text
        assert attack.says.endswith(".") and attack.legs
        assert (attack.expected == "reported") == bool(attack.reports)
