# SPDX-License-Identifier: Apache-2.0
"""Every ``sealway ...`` that a document names exists in the command line, with the options that it is shown with."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from tests.docs.documents import ROOT, code_blocks, commands, pages


def _unknown(command: Any, words: list[str]) -> str | None:
    """Walk down the commands; return what is not there, or None."""
    words = list(words)
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        name = words.pop(0)
        if name not in command.commands:
            return name
        command = command.commands[name]
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    named = {word.split("=")[0] for word in words if word.startswith("--")}
    return next(iter(sorted(named - options - {"--help"})), None)


@pytest.fixture(scope="module")
def command_line() -> Any:
    from sealway.cli.main import cli  # here: the rest of the documents' checks need no command line

    return typer.main.get_command(cli)


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_documents_name_commands_that_exist(page: Any, command_line: Any) -> None:
    text = page.read_text(encoding="utf-8")
    called = list(commands(text, "sealway")) + [["demo", *words] for words in _arguments_of_the_demo(text)]
    assert {" ".join(words): _unknown(command_line, words) for words in called if _unknown(command_line, words)} == {}


def test_every_command_is_in_the_readme(command_line: Any) -> None:
    named = {" ".join(words[:2]) for words in commands((ROOT / "README.md").read_text(encoding="utf-8"), "sealway")}
    there = {
        f"{name} {part}".strip()
        for name, command in command_line.commands.items()
        for part in getattr(command, "commands", [""])
        if not command.hidden
    }
    assert there <= named


def test_what_does_not_exist_is_found(command_line: Any) -> None:
    assert _unknown(command_line, ["fly"]) == "fly"
    assert _unknown(command_line, ["owner", "abdicate"]) == "abdicate"
    assert _unknown(command_line, ["demo", "--fly"]) == "--fly"
    assert _unknown(command_line, ["demo", "--devices", "3"]) is None


def _arguments_of_the_demo(text: str) -> list[list[str]]:
    """What ``make demo ARGS="..."`` hands on."""
    lines = [line for block in code_blocks(text, "sh") for line in block.splitlines()]
    return [line.split('ARGS="')[1].split('"')[0].split() for line in lines if 'make demo ARGS="' in line]
