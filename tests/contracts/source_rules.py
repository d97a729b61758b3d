# SPDX-License-Identifier: Apache-2.0
"""Rules about the source that no linter knows, as functions from a syntax tree to findings.

Import contracts see imports only. The builtin ``open``, ``datetime.now`` and a key generator that asks the operating
system for chance need none, so the purity of the core is looked for here too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "sealway"
PURE = ("crypto", "identity", "joining", "protocol", "wire")

IMPURE_BUILTINS = frozenset({"open", "input", "print", "breakpoint", "exec", "eval", "compile", "__import__"})
_IMPURE_MODULES = """
    aiocoap asyncio fcntl http httpx io logging multiprocessing os pathlib random secrets select shutil signal socket
    sqlite3 ssl subprocess sys tempfile threading time uuid
"""
IMPURE_MODULES = frozenset(_IMPURE_MODULES.split())
IMPURE_METHODS = frozenset(
    {
        *("now", "utcnow", "today"),  # of datetime and date: the clock
        *("generate", "generate_private_key", "generate_key", "random_serial_number", "urandom"),  # hidden chance
        *("getenv", "environ"),
    }
)


def impurities(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, what) for each use of input, output, clock, chance or environment."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, name.name) for name in names if _impure_module(name.name))
            case ast.ImportFrom(module=str(module), names=names):
                if _impure_module(module):
                    yield node.lineno, module
                yield from ((node.lineno, name.name) for name in names if name.name in IMPURE_METHODS)
            case ast.Call(func=ast.Name(id=name)) if name in IMPURE_BUILTINS:
                yield node.lineno, name
            case ast.Attribute(attr=name) if name in IMPURE_METHODS:
                yield node.lineno, name


def _impure_module(name: str) -> bool:
    return name.split(".")[0] in IMPURE_MODULES or name == "urllib.request"


def forbidden_words(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield (line, what) for what is nowhere in the source: checks that vanish under -O, and handlers that hide."""
    for node in ast.walk(tree):
        match node:
            case ast.Assert():  # gone under python -O
                yield node.lineno, "assert"
            case ast.ExceptHandler(type=None):
                yield node.lineno, "bare except"
            case ast.Name(id="NotImplementedError"):
                yield node.lineno, "NotImplementedError"
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                if name == "__del__" or name.startswith(("get_", "process", "handle_data")):
                    yield node.lineno, name


def missing_docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield (line, name) for each public module, class, function and method without a docstring.

    Functions inside functions are documented by what they belong to.
    """
    if tree.body and ast.get_docstring(tree) is None:
        yield 1, "module"
    yield from _undocumented(tree.body)


def _undocumented(body: list[ast.stmt]) -> Iterator[tuple[int, str]]:
    for node in body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
            continue
        if ast.get_docstring(node) is None and not _says_it_elsewhere(node):
            yield node.lineno, node.name
        if isinstance(node, ast.ClassDef):
            yield from _undocumented(node.body)


def _says_it_elsewhere(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Overrides and setters are documented by what they belong to; a REST route by its summary, which OpenAPI shows."""
    for decorator in node.decorator_list:
        match decorator:
            case ast.Name(id="override") | ast.Attribute(attr="override" | "setter"):
                return True
            case ast.Call(keywords=keywords) if any(keyword.arg == "summary" for keyword in keywords):
                return True
    return False


def function_lengths(tree: ast.AST) -> Iterator[tuple[int, str, int]]:
    """Yield (line, name, lines without the docstring) for each function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            last = node.end_lineno or node.lineno
            first = body[0].lineno if body else last + 1
            yield node.lineno, node.name, last - first + 1 + 1  # the signature counts as one


def modules(*packages: str) -> list[Path]:
    """The source files of the packages, or of everything."""
    roots = [SOURCE / package for package in packages] or [SOURCE]
    return sorted(path for root in roots for path in root.rglob("*.py"))


def parse(path: Path) -> ast.Module:
    """The syntax tree of one file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
