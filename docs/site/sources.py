# SPDX-License-Identifier: Apache-2.0
"""Brings the repository's pages into the docs site, where they are: nothing is copied by hand, nothing is told twice.

Each page keeps its path, so its links hold. What it links to besides pages comes along: pictures as they are, other
files as a page that shows them, folders as a list. Two pages are made here: the commands, from the command line itself,
and the Python API, from the docstrings of what ``sealway`` exports.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
NAVIGATION: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Start", ("README.md", "docs/glossary.md", "CHANGELOG.md")),
    ("Guides", ("docs/guides/README.md", "docs/guides/*.md", "examples/README.md", "deploy/README.md")),
    ("Reference", ("reference/commands.md", "reference/python.md")),
    ("Security", ("THREAT_MODEL.md", "SECURITY.md")),
    ("Specification", ("spec/README.md", "spec/*.md", "vectors/README.md")),
    ("Inside", ("ARCHITECTURE.md", "CONTRIBUTING.md", "docs/adr/README.md", "docs/adr/*.md")),
)
_PICTURES = (".png", ".svg", ".gif", ".jpg")
_LANGUAGES = {".py": "python", ".toml": "toml", ".json": "json", ".sh": "sh", ".yaml": "yaml", ".cddl": "text"}
_LINK = re.compile(r"(?<=\]\()(?P<name>[^)#\s:]+)(?P<anchor>#[^)\s]*)?(?=\))")
_TEST = re.compile(r"(?<=<code>)[\w/]+\.py::\w+(?=</code>)")
_CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_NAMED_CODE = re.compile(r"^```(\w+) +([\w.-]+)$", re.MULTILINE)
_NESTED = re.compile(r"(?<=\n) {2,3}(?=[-*] |\d+\. )")  # the site's Markdown wants four


def pages() -> list[Path]:
    """Every page of the repository that is in the site, in the order of the navigation."""
    return [ROOT / name for _, patterns in NAVIGATION for name in _found(patterns) if not name.startswith("reference/")]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Make the table of contents: the sections above, each page once."""
    config.nav = [{title: list(_found(patterns))} for title, patterns in NAVIGATION]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, what they link to, and the two pages that are made here."""
    for page in pages():
        files.append(File.generated(config, _name(page), abs_src_path=str(page)))
    for target in sorted({target for page in pages() for target in _linked(page)}):
        if target.suffix in _PICTURES:
            files.append(File.generated(config, _name(target), abs_src_path=str(target)))
        else:
            files.append(File.generated(config, _shown_as(target), content=_shown(target)))
            _add_entries(files, config, target)
    files.append(File.generated(config, "reference/commands.md", content=_commands()))
    files.append(File.generated(config, "reference/python.md", content=_python()))
    return files


def on_page_markdown(markdown: str, /, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links to files and folders lead to the pages that show them, and show the names that code has."""
    here = (ROOT / page.file.src_uri).parent
    markdown = _NAMED_CODE.sub(r'```\1 title="\2"', markdown)
    markdown = _outside_code(markdown, lambda text: _NESTED.sub("    ", text))
    return _outside_code(markdown, lambda text: _LINK.sub(lambda link: _redirected(link, here), text))


def on_page_content(html: str, /, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let the long names of tests break between their words."""
    return _TEST.sub(lambda code: re.sub(r"(/|::|_)", r"\1<wbr>", code[0]), html)


def _found(patterns: tuple[str, ...]) -> list[str]:
    names: dict[str, None] = {}
    for pattern in patterns:
        if pattern.startswith("reference/"):
            names[pattern] = None
        for path in _in_order(pattern):
            names.setdefault(_name(path))
    return list(names)


def _in_order(pattern: str) -> list[Path]:
    """The pages of a folder in the order in which its index names them, others behind."""
    found = sorted(ROOT.glob(pattern))
    index = ROOT / Path(pattern).parent / "README.md"
    if "*" not in pattern or not index.exists():
        return found
    named = re.findall(r"\]\(([\w.-]+\.md)\)", index.read_text(encoding="utf-8"))
    return sorted(found, key=lambda path: named.index(path.name) if path.name in named else len(named))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _linked(page: Path) -> Iterator[Path]:
    """Yield what a page links to in the repository, other than pages of the site."""
    text = _CODE.sub("", page.read_text(encoding="utf-8"))
    for link in _LINK.finditer(text):
        target = Path(os.path.normpath(page.parent / link["name"]))
        if target.exists() and target not in pages() and not (target / "README.md").exists():
            yield target


def _redirected(link: re.Match[str], here: Path) -> str:
    target = Path(os.path.normpath(here / link["name"]))
    anchor = link["anchor"] or ""
    if (target / "README.md").exists():
        shown = f"{_name(target)}/README.md"
    elif not target.exists() or target.suffix in (".md", *_PICTURES):
        return link[0]
    else:
        shown = _shown_as(target)
    return os.path.relpath(ROOT / shown, here) + anchor


def _shown_as(target: Path) -> str:
    return f"{_name(target)}/index.md" if target.is_dir() else f"{_name(target)}.md"


def _shown(target: Path) -> str:
    """A page that shows a file, or lists a folder."""
    head = f"---\ntitle: {target.name}\nsearch: {{exclude: true}}\n---\n\n# {_name(target)}\n\n"
    if target.is_dir():
        return head + "".join(f"- [{path.name}]({path.name}.md)\n" for path in _entries(target))
    text = target.read_text(encoding="utf-8").rstrip("\n")
    return f"{head}````{_LANGUAGES.get(target.suffix, 'text')}\n{text}\n````\n"


def _entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def _add_entries(files: Files, config: MkDocsConfig, target: Path) -> None:
    for path in _entries(target) if target.is_dir() else ():
        if files.get_file_from_path(_shown_as(path)) is None:
            files.append(File.generated(config, _shown_as(path), content=_shown(path)))


def _outside_code(text: str, change: Callable[[str], str]) -> str:
    """Change what is not code."""
    done, at = "", 0
    for code in _CODE.finditer(text):
        done += change(text[at : code.start()]) + code[0]
        at = code.end()
    return done + change(text[at:])


def _python() -> str:
    """What the package exports, by subject; a name that no subject claims comes with the messages."""
    import sealway

    groups: dict[str, list[str]] = {title: list(names) for title, names in _GROUPS.items()}
    claimed = {name for names in groups.values() for name in names}
    for name in sorted(set(sealway.__all__) - claimed):
        groups[_group_of(getattr(sealway, name))].append(name)
    intro = "What `sealway` exports, as in `from sealway import Device`. All else is inside, and may change."
    parts = [f"# Python API\n\n{intro}"]
    for title, names in groups.items():
        parts += [f"## {title}", *(f"::: sealway.{name}" for name in names)]
    return "\n\n".join(parts) + "\n"


_GROUPS = {
    "The two ends": ("Device", "Application"),
    "The owner and the carriers": (
        "Owner", "Issued", "HopIdentity", "Gateway", "CoapListener", "HttpUplink", "Limits",
    ),
    "Messages and what arrives": (),
    "What is reported": (),
    "Errors": ("SealwayError",),
}  # fmt: skip


def _group_of(value: Any) -> str:
    if isinstance(value, type) and issubclass(value, Exception):
        return "Errors"
    return "What is reported" if ".events" in getattr(value, "__module__", "") else "Messages and what arrives"


def _commands() -> str:
    """The command line, told by itself."""
    import typer

    from sealway.cli.main import cli

    root: Any = typer.main.get_command(cli)
    parts = ["# Commands\n\nEvery command explains itself with `--help`; this is the same text."]
    for name, command in root.commands.items():
        parts.append(f"## sealway {name}\n\n{_help(command)}")
        if hasattr(command, "commands"):
            parts += [_command(f"sealway {name} {part}", inner, "###") for part, inner in command.commands.items()]
        else:
            parts.append(_options(command))
    return "\n\n".join(parts) + "\n"


def _command(name: str, command: Any, heading: str) -> str:
    return f"{heading} {name}\n\n{_help(command)}\n\n{_options(command)}"


def _help(command: Any) -> str:
    return re.sub(r"\s*\n(?!\n)\s*", " ", (command.help or "").strip()).replace("<", "&lt;")


def _options(command: Any) -> str:
    rows = [
        f"| {_spelled(parameter)} | {_cell(getattr(parameter, 'help', None) or '')} | {_default(parameter)} |"
        for parameter in command.params
        if parameter.name != "help"
    ]
    return "\n".join(["| option | what it says | default |", "| --- | --- | --- |", *rows]) if rows else ""


def _spelled(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{(parameter.metavar or parameter.name).upper()}`"
    value = "" if parameter.is_flag else f" {parameter.metavar or _kind(parameter.type_descriptor.annotation)}"
    return f"`{', '.join((*parameter.opts, *parameter.secondary_opts))}{value}`"


def _kind(annotation: Any) -> str:
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return ", ".join(str(member.value) for member in annotation)
    return "NUMBER" if annotation in (int, float) else "TEXT"


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    if parameter.default is None or callable(parameter.default) or parameter.default is False:
        return ""
    value = getattr(parameter.default, "value", parameter.default)
    return f"`{value}`" if value not in ((), []) else ""


def _cell(text: str) -> str:
    return text.replace("|", "&#124;").replace("<", "&lt;")
