# SPDX-License-Identifier: Apache-2.0
"""Reads the repository's Markdown: links, headings, code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOP_PAGES = ("README.md", "ARCHITECTURE.md", "THREAT_MODEL.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")

_FENCE = re.compile(r"^```(?P<language>[\w-]*)[^\n`]*\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?)\s*$", re.MULTILINE)


def pages() -> list[Path]:
    """Every page that readers are pointed to."""
    found = [ROOT / name for name in TOP_PAGES]
    for folder in ("docs", "spec", "deploy"):
        found += sorted((ROOT / folder).rglob("*.md"))
    return found


def code_blocks(text: str, *languages: str) -> list[str]:
    """The fenced code in one of the languages ("" for a fence without a language)."""
    return [match["code"] for match in _FENCE.finditer(text) if match["language"] in languages]


def links(text: str) -> list[str]:
    """The targets of all links and pictures outside code."""
    return _LINK.findall(_INLINE_CODE.sub("", _FENCE.sub("", text)))


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings."""
    found: set[str] = set()
    for heading in _HEADING.findall(_FENCE.sub("", text)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).strip().replace(" ", "-")
        number = 0
        while (anchor := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(anchor)
    return found


def broken_links(page: Path, text: str) -> Iterator[str]:
    """Yield each link to a file or heading of this repository that is not there. The web is not asked."""
    for target in links(text):
        name, _, anchor = target.partition("#")
        file = page.parent / name
        if re.match(r"[a-z]+:", target):
            continue
        there = (
            anchors(file.read_text(encoding="utf-8") if name else text)
            if anchor and (file.is_file() or not name)
            else ()
        )
        if not file.exists() or (anchor and anchor not in there):
            yield target


def commands(text: str, program: str) -> Iterator[list[str]]:
    """Yield the words after each call of the program: in shell code, and in inline code that begins with it."""
    lines = [line for block in code_blocks(text, "sh", "console", "bash") for line in block.splitlines()]
    lines += _INLINE_CODE.findall(_FENCE.sub("", text))
    for line in lines:
        match = re.match(rf"\s*(?:\$ )?(?:\S*/)?{program}(?: +(.*))?$", line)
        if match:
            yield (match[1] or "").split("#")[0].split()
