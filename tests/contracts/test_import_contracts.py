# SPDX-License-Identifier: Apache-2.0
"""The import contracts bite: each of them breaks when its rule is broken. (`make check` shows that they are kept.)"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.contracts.source_rules import ROOT, SOURCE

CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONTRACTS = [contract["name"] for contract in CONFIG["tool"]["importlinter"]["contracts"]]

# One forbidden import for each contract: (contract, file, import). The second one is indirect.
BREAKS = [
    ("the layers", "wire/cbor.py", "import sealway.protocol"),
    ("the trust boundary", "gateway/__init__.py", "import sealway.helper_of_the_test"),
    ("carriers know bytes", "transports/ports.py", "import sealway.crypto.keys"),
    ("transports carry", "transports/ports.py", "import sqlite3"),
    ("the keystore knows keys", "keystore/__init__.py", "import sealway.wire.cbor"),
    ("the core does no input", "protocol/__init__.py", "import time"),
]


def _lint(directory: Path) -> dict[str, str]:
    """Run import-linter over a copy of the source; return each contract's verdict."""
    finished = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(directory / "src"), "COLUMNS": "300"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    flat = re.sub(r"\s+", " ", finished.stdout)
    verdicts = {name: re.search(re.escape(name) + r" (?:\(\d+ warnings?\) )?(KEPT|BROKEN)", flat) for name in CONTRACTS}
    assert all(verdicts.values()), finished.stdout + finished.stderr
    return {name: match[1] for name, match in verdicts.items() if match}


@pytest.fixture
def copy_of_the_source(tmp_path: Path) -> Path:
    shutil.copytree(SOURCE, tmp_path / "src" / "sealway", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_each_contract_breaks_when_its_rule_is_broken(copy_of_the_source: Path) -> None:
    package = copy_of_the_source / "src" / "sealway"
    (package / "helper_of_the_test.py").write_text("import sealway.sdk\n")
    for _, file, forbidden_import in BREAKS:
        with (package / file).open("a", encoding="utf-8") as module:
            module.write(f"\n{forbidden_import}\n")

    verdicts = _lint(copy_of_the_source)

    assert all(any(name.startswith(start) for start, _, _ in BREAKS) for name in CONTRACTS), "a contract without a test"
    assert verdicts == dict.fromkeys(CONTRACTS, "BROKEN")


def test_every_package_has_its_layer() -> None:
    layers = CONFIG["tool"]["importlinter"]["contracts"][0]["layers"]
    placed = {name.strip() for layer in layers for name in re.split(r"[|:]", layer)}
    assert {path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()} <= placed
