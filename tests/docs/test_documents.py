# SPDX-License-Identifier: Apache-2.0
"""The documents say what is there: links, folders, packages, targets of make, decisions, CDDL."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pycddl
import pytest

from tests.docs.documents import ROOT, anchors, broken_links, code_blocks, commands, pages

every_page = pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))


def _read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@every_page
def test_every_link_leads_somewhere(page: Path) -> None:
    assert list(broken_links(page, page.read_text(encoding="utf-8"))) == []


def test_a_broken_link_is_found() -> None:
    page = ROOT / "README.md"
    text = (
        "# One two\n[a](no-such-file.md) [b](#one-two) [c](#three) ![d](LICENSE) `[e](code)` [f](https://example.org)"
    )
    assert list(broken_links(page, text)) == ["no-such-file.md", "#three"]


def test_anchors_are_those_of_github() -> None:
    assert anchors("# The `wire`: format, §2\n## A-b\n## A-b\n") == {"the-wire-format-2", "a-b", "a-b-1"}


def _folder_map() -> dict[str, list[str]]:
    """The entries of ARCHITECTURE.md's folder map: those at the top, and those in src/sealway."""
    section = _read("ARCHITECTURE.md").split("## Folder map")[1]
    lines = code_blocks(section, "")[0].splitlines()
    return {
        "": [line.split()[0] for line in lines if not line.startswith(" ")],
        "src/sealway": [line.split()[0] for line in lines if line.startswith("  ")],
    }


def test_what_the_folder_map_names_exists() -> None:
    missing = [
        f"{parent}/{name}"
        for parent, names in _folder_map().items()
        for name in names
        if not (ROOT / parent / name).exists()
    ]
    assert missing == []


def test_no_package_is_missing_from_the_folder_map() -> None:
    source = ROOT / "src" / "sealway"
    there = {f"{path.name}/" for path in source.iterdir() if (path / "__init__.py").exists()}
    there |= {path.name for path in source.glob("*.py")} - {"__init__.py"}
    assert there == set(_folder_map()["src/sealway"])


@every_page
def test_every_target_of_make_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", _read("Makefile"), re.MULTILINE))
    named = {words[0] for words in commands(page.read_text(encoding="utf-8"), "make") if words}
    assert named <= targets


def test_readme_opens_with_the_promise_the_picture_and_two_commands() -> None:
    readme = _read("README.md")
    promise, picture, command = readme.index("**"), readme.index("!["), readme.index("```sh")
    assert promise < picture < command
    assert code_blocks(readme, "sh")[0].split("\n")[:2] == ["make demo", "make test"]


@pytest.mark.parametrize("picture", sorted((ROOT / "docs").rglob("*.svg")), ids=lambda path: path.name)
def test_pictures_say_in_words_what_they_show(picture: Path) -> None:
    svg = "{http://www.w3.org/2000/svg}"
    root = ElementTree.fromstring(picture.read_text(encoding="utf-8"))  # noqa: S314 (our own file)
    assert root.findtext(f"{svg}title")
    assert root.findtext(f"{svg}desc")


def test_every_decision_is_in_the_index_and_has_its_parts() -> None:
    folder = ROOT / "docs" / "adr"
    index = (folder / "README.md").read_text(encoding="utf-8")
    decisions = sorted(folder.glob("[0-9]*.md"))
    assert decisions
    for number, page in enumerate(decisions):
        text = page.read_text(encoding="utf-8")
        assert page.name.startswith(f"{number:04}-")
        assert f"[{number:04}]({page.name})" in index
        assert all(part in text for part in ("Status: ", "## Context", "## Decision", "## Consequences")), page.name


def test_the_cddl_is_cddl() -> None:
    pycddl.Schema(_read("spec/sealway.cddl"))


def test_broken_cddl_is_found() -> None:
    with pytest.raises(ValueError, match="missing closing delimiter"):
        pycddl.Schema("envelope = [ bstr, ")
