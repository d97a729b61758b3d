# SPDX-License-Identifier: Apache-2.0
"""Contract 3: crypto, wire, identity and protocol do no input or output, and have no clock or chance of their own."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.contracts.source_rules import PURE, ROOT, impurities, modules, parse


@pytest.mark.parametrize("path", modules(*PURE), ids=lambda path: str(path.relative_to(ROOT / "src" / "sealway")))
def test_the_core_is_pure(path: Path) -> None:
    assert list(impurities(parse(path))) == []


def test_the_core_was_looked_at() -> None:
    looked_at = {path.parent.name for path in modules(*PURE)}
    assert looked_at >= set(PURE)


@pytest.mark.parametrize(
    "impure",
    [
        "open('state')",
        "import time",
        "from time import monotonic",
        "import os\nos.urandom(16)",
        "import os.path",
        "from datetime import datetime\ndatetime.now()",
        "import datetime\ndatetime.datetime.utcnow()",
        "from datetime import date as d\nd.today()",
        "import random",
        "from secrets import token_bytes",
        "import socket as s",
        "async def f():\n    import asyncio",
        "print('key')",
        "input()",
        "from os import environ",
        "from urllib.request import urlopen",
        "from cryptography.hazmat.primitives.asymmetric import ec\nec.generate_private_key(ec.SECP256R1())",
        "from x import ECPrivateKey as K\nK.generate()",
    ],
)
def test_the_checker_sees_impurity(impure: str) -> None:
    assert list(impurities(ast.parse(impure))) != []


@pytest.mark.parametrize(
    "pure",
    [
        "from datetime import datetime\ndef f(now: datetime) -> int: return int(now.timestamp())",
        "def f(random): return random(16)",
        "from urllib.parse import urlsplit",
        "import hashlib, hmac",
        "def open_envelope(): ...\nclass A:\n    def open(self): ...\nA().open()",
    ],
)
def test_the_checker_lets_the_pure_pass(pure: str) -> None:
    assert list(impurities(ast.parse(pure))) == []
