# SPDX-License-Identifier: Apache-2.0
"""Does what a page says: its shell code in one shell, in order, to the letter, in a directory of its own.

- ``sh`` code is run by bash, which ends at the first command that fails. A line that is meant to fail says so with a
  comment: ``# exit code 3``.
- Code with a title (``toml title="hub.toml"``) is written into a file of that name, at its place in the order.
- ``python`` code without a title is run.
- ``text`` code behind shell code is what that has to print. ``…`` stands for anything within a line; a line with
  nothing else, for any lines. Lines of the log, which begin with a time, are not compared. Where something is left
  running with ``&``, the order of the lines does not matter.

One liberty is taken: the ports that a page names are replaced by free ones, so that tests can run beside each other.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

from sealway.cli.demo.ports import TCP, UDP, free_ports
from tests.docs.documents import ROOT

PORTS = ("8443", "8444", "5683", "5684")
PATIENCE_S = 240

_FENCE = re.compile(
    r'^```(?P<language>\w*)(?: title="(?P<title>[\w./-]+)")?[^\n]*\n(?P<code>.*?)^```$', re.MULTILINE | re.DOTALL
)
_FAILS = re.compile(r"^(?P<command>.*?\S)\s+# exit code (?P<code>\d+)$", re.MULTILINE)
_LOGGED = re.compile(r"\d{4}-\d\d-\d\dT\S+Z (warning|error) ")
_SHELLS_OWN = " (BASH|SHELLOPTS|PWD|OLDPWD|SHLVL|EUID|UID|PPID|IFS|HOME)[A-Z_]*="
_ANYTHING = "…"


@dataclass
class Block:
    """One piece of code of a page, and what it has to print, if the page says so."""

    language: str
    title: str | None
    code: str
    expected: list[str] | None = None


@dataclass
class Walk:
    """What came of a page."""

    status: int
    blocks: list[Block]
    printed: dict[int, str] = field(default_factory=dict)
    left_running: bool = False
    variables: str = ""
    """Shell code that sets what the pages have set."""

    def complaints(self) -> list[str]:
        """Everything that is not as the page says."""
        found = [f"exit code {self.status}: {self.trace()}"] if self.status else []
        found += ["something is left running"] if self.left_running else []
        for number, block in enumerate(self.blocks):
            if block.expected is not None and not self.status:
                lines = [line for line in self.printed.get(number, "").splitlines() if not _LOGGED.match(line)]
                loose = re.search(r"&( \w+=\$!)?\s*$", block.code, re.MULTILINE) is not None
                if not printed_as_expected(lines, block.expected, in_order=not loose):
                    found.append(f"{block.code}\nprinted\n{self.printed.get(number)}\nand not\n{block.expected}")
        return found

    def trace(self) -> str:
        """All that was printed, with the code that printed it."""
        parts = [f"$ {block.code}{self.printed.get(n, '(not reached)')}" for n, block in enumerate(self.blocks)]
        return "\n".join(parts)[-6000:]


def blocks_of(text: str) -> list[Block]:
    """Return what is to be done of a page, in order."""
    done: list[Block] = []
    before = ""
    for fence in _FENCE.finditer(text):
        language, title, code = fence["language"], fence["title"], fence["code"]
        if language == "text" and before == "sh":
            done[-1].expected = code.splitlines()
        elif title or language in ("sh", "python"):
            done.append(Block(language, title, code))
        before = "" if title else language
    return done


def walk(
    texts: Iterable[str], directory: Path, *, given: str = "", skip: tuple[str, ...] = (), stranger: bool = False,
    ports: dict[str, str] | None = None,
) -> Walk:  # fmt: skip
    """Do what some pages say, one after the other.

    Args:
        directory: where; what is printed goes beside it.
        given: shell code that comes first: what the pages take for granted.
        skip: how lines of shell code begin that are left out, each of them tested elsewhere.
        stranger: with nothing of the environment that the tests run in, but an interpreter.
        ports: the free ports to use, as of ``ports_to_use``.
    """
    blocks = [block for text in texts for block in blocks_of(text)]
    ports = ports or ports_to_use()
    out = Path(mkdtemp(prefix=f"{directory.name}.out-", dir=directory.parent))
    directory.mkdir(exist_ok=True)
    script = out / "script"
    script.write_text(_script([_replaced(block, ports, skip) for block in blocks], out, given), encoding="utf-8")
    status, left = _run(script, directory, _environment(directory, stranger))
    back = {free: named for named, free in ports.items()}
    files = {n: out / str(n) for n in range(len(blocks))}
    printed = {n: _swap(file.read_text(errors="replace"), back) for n, file in files.items() if file.exists()}
    variables = out / "variables"
    return Walk(status, blocks, printed, left, variables.read_text() if variables.exists() else "")


def printed_as_expected(lines: list[str], expected: list[str], *, in_order: bool = True) -> bool:
    """Say whether lines are those that a page shows."""
    if not in_order:
        patterns = [_pattern(line) for line in expected if line != _ANYTHING]
        return all(any(pattern.fullmatch(line) for line in lines) for pattern in patterns)
    if not expected:
        return not lines
    if expected[0] == _ANYTHING:
        return any(printed_as_expected(lines[at:], expected[1:]) for at in range(len(lines) + 1))
    return (
        bool(lines) and bool(_pattern(expected[0]).fullmatch(lines[0])) and printed_as_expected(lines[1:], expected[1:])
    )


def _pattern(line: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, line.rstrip().split(_ANYTHING))) + r"\s*")


def _replaced(block: Block, ports: dict[str, str], skip: tuple[str, ...]) -> Block:
    code = block.code
    if block.language == "sh":
        code = "".join(line for line in code.splitlines(keepends=True) if not line.startswith(skip))
    return Block(block.language, block.title, _swap(code, ports))


def _script(blocks: list[Block], out: Path, given: str) -> str:
    parts = ["set -e", given]
    for number, block in enumerate(blocks):
        parts.append(f"exec >{out}/{number} 2>&1")
        if block.title:
            parts.append(f"cat >'{block.title}' <<'END OF FILE'\n{block.code}END OF FILE")
        elif block.language == "python":
            parts.append(f"python - <<'END OF FILE'\n{block.code}END OF FILE")
        else:
            parts.append(_FAILS.sub(r"status=0; \g<command> || status=$?; test $status = \g<code>", block.code))
    parts.append(f"declare -p | grep -E '^declare -[x-]+ [A-Z_]+=' | grep -vE '{_SHELLS_OWN}' >{out}/variables")
    return "\n".join(parts) + "\n"


def _environment(directory: Path, stranger: bool) -> dict[str, str]:
    ours = ("SEALWAY_", "MAKE", "PYTHON", "VIRTUAL_ENV", "COV_", "PYTEST")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    here = str(Path(sys.executable).parent)
    path = [folder for folder in os.environ["PATH"].split(os.pathsep) if folder != here]
    if stranger:
        return environment | {"PATH": os.pathsep.join(path), "PYTHON": f"{sys.base_prefix}/bin/python3"}
    return environment | {"PATH": os.pathsep.join([here, *path]), "HOME": str(directory)}


def _run(script: Path, directory: Path, environment: dict[str, str]) -> tuple[int, bool]:
    """Run the script; return its exit code, and whether anything is left running."""
    with (script.parent / "end").open("wb") as end:
        process = subprocess.Popen(
            ["bash", str(script)], cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=end, stderr=end,
            start_new_session=True,
        )  # fmt: skip
    try:
        status = process.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        status = -signal.SIGALRM
    left = True
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        left = False
    process.wait()
    return status, left


def ports_to_use() -> dict[str, str]:
    """Return a port that nobody uses for each port that pages name."""
    return dict(zip(PORTS, map(str, free_ports(TCP, TCP, UDP, UDP)), strict=True))


def _swap(text: str, ports: dict[str, str]) -> str:
    return re.sub(r"(?<![\w.])\d{4,5}(?![\w.])", lambda number: ports.get(number[0], number[0]), text)


def page(name: str) -> str:
    """Return the text of a page of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")
