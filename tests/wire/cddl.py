# SPDX-License-Identifier: Apache-2.0
"""A validator for as much of CDDL (RFC 8610) as spec/sealway.cddl uses, to the letter.

pycddl reads that file too, and misreads some of it (tests/wire/test_specification.py says what); this one follows what
is embedded in byte strings, counts of groups, and arrays in arrays, and refuses everything else.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import cbor2

_TOKEN = re.compile(
    r";.*|\s+|(?P<text>\"(?:[^\"\\]|\\.)*\")|(?P<tag>#6\.\d+)|(?P<number>-?\d+)|(?P<word>[A-Za-z][\w-]*)"
    r"|(?P<control>\.[a-z]+)|(?P<sign>=>|\.\.|[=/\[\]{}()<>,:?*])"
)
PRELUDE = {"bstr": bytes, "tstr": str, "bool": bool, "null": type(None)}
MANY = 1 << 62


@dataclass(frozen=True)
class Node:
    """A part of a rule: its kind, and what it is made of."""

    kind: str
    of: tuple[Any, ...]


@dataclass(frozen=True)
class Entry:
    """A member of an array, a map or a group, and how often it may stand there."""

    low: int
    high: int
    key: Node | None
    type: Node


Scope = dict[str, "tuple[Node, Scope]"]
"""What the parameters of a rule stand for, each with the scope in which it was written."""


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            assert found, text[at : at + 40]
            if found.lastgroup is not None:
                self.tokens.append((found.lastgroup, found[0]))
            at = found.end()
        self.at = 0

    def sees(self, *words: str, ahead: int = 0) -> bool:
        return self.at + ahead < len(self.tokens) and self.tokens[self.at + ahead][1] in words

    def take(self, word: str = "") -> str:
        token = self.tokens[self.at][1]
        assert token == word or not word, f"{word!r} expected, not {token!r}"
        self.at += 1
        return token

    def rules(self) -> Iterator[tuple[str, tuple[str, ...], Node]]:
        while self.at < len(self.tokens):
            name = self.take()
            parameters = tuple(part.of[0] for part in self.arguments())
            self.take("=")
            yield name, parameters, self.type()

    def arguments(self) -> list[Node]:
        if not self.sees("<"):
            return []
        self.take("<")
        found = [self.type()]
        while self.sees(","):
            self.take(",")
            found.append(self.type())
        self.take(">")
        return found

    def type(self) -> Node:
        choices = [self.type1()]
        while self.sees("/"):
            self.take("/")
            choices.append(self.type1())
        return choices[0] if len(choices) == 1 else Node("choice", tuple(choices))

    def type1(self) -> Node:
        first = self.type2()
        if self.sees(".."):
            self.take("..")
            return Node("range", (first.of[0], self.type2().of[0]))
        if self.sees(".size", ".cbor", ".regexp"):
            return Node(self.take(), (first, self.type2()))
        return first

    def type2(self) -> Node:
        kind, token = self.tokens[self.at]
        self.at += 1
        if kind == "number":
            return Node("literal", (int(token),))
        if kind == "text":
            return Node("literal", (token[1:-1].replace("\\\\", "\\"),))
        if kind == "tag":
            self.take("(")
            inner = self.type()
            self.take(")")
            return Node("tag", (int(token[3:]), inner))
        if kind == "word":
            return Node("name", (token, tuple(self.arguments())))
        return self.enclosed(token)

    def enclosed(self, opening: str) -> Node:
        closing, kind = {"[": ("]", "array"), "{": ("}", "map"), "(": (")", "group")}[opening]
        entries = []
        while not self.sees(closing):
            entries.append(self.entry())
            if self.sees(","):
                self.take(",")
        self.take(closing)
        if kind == "group" and len(entries) == 1 and entries[0].key is None and entries[0].high == 1:
            return entries[0].type
        return Node(kind, tuple(entries))

    def entry(self) -> Entry:
        low, high = self.occurrence()
        if self.sees(":", ahead=1):  # the name of a place in an array, which says nothing of the value
            self.at += 2
            return Entry(low, high, None, self.type())
        first = self.type()
        if self.sees("=>"):
            self.take("=>")
            return Entry(low, high, first, self.type())
        return Entry(low, high, None, first)

    def occurrence(self) -> tuple[int, int]:
        if self.sees("?"):
            self.take("?")
            return 0, 1
        if self.sees("*", ahead=1):
            low = int(self.take())
            self.take("*")
            return low, int(self.take())
        return 1, 1


@dataclass
class Cddl:
    """All rules of a file. ``shown`` are those that some value has matched."""

    text: str
    shown: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.rules = {name: (parameters, node) for name, parameters, node in _Parser(self.text).rules()}

    def describes(self, rule: str, encoded: bytes) -> bool:
        """Say whether these bytes are one item, and one that the rule (perhaps with arguments) describes."""
        try:
            value = _one_item(encoded)
        except (ValueError, cbor2.CBORError):
            return False
        return self._matches(_Parser(rule).type(), value, {})

    def _matches(self, node: Node, value: Any, scope: Scope) -> bool:
        if node.kind == "name":
            return self._is_named(node, value, scope)
        return bool(getattr(self, f"_is_{node.kind.lstrip('.')}")(value, scope, *node.of))

    def _is_named(self, node: Node, value: Any, scope: Scope) -> bool:
        name, _ = node.of
        if name in PRELUDE:
            return type(value) is PRELUDE[name]
        target, inner = self._resolved(node, scope)
        matches = self._matches(target, value, inner)
        if matches and name in self.rules:
            self.shown.add(name)
        return matches

    def _resolved(self, node: Node, scope: Scope) -> tuple[Node, Scope]:
        name, arguments = node.of
        if name in scope:
            return scope[name]
        parameters, target = self.rules[name]
        return target, {p: (argument, scope) for p, argument in zip(parameters, arguments, strict=True)}

    def _is_choice(self, value: Any, scope: Scope, *choices: Node) -> bool:
        return any(self._matches(choice, value, scope) for choice in choices)

    def _is_literal(self, value: Any, scope: Scope, wanted: int | str) -> bool:
        return type(value) is type(wanted) and value == wanted

    def _is_range(self, value: Any, scope: Scope, low: int, high: int) -> bool:
        return type(value) is int and low <= value <= high

    def _is_tag(self, value: Any, scope: Scope, number: int, inner: Node) -> bool:
        return isinstance(value, cbor2.CBORTag) and value.tag == number and self._matches(inner, value.value, scope)

    def _is_size(self, value: Any, scope: Scope, of: Node, size: Node) -> bool:
        if not self._matches(of, value, scope):
            return False
        return self._matches(size, len(value.encode() if isinstance(value, str) else value), scope)

    def _is_regexp(self, value: Any, scope: Scope, of: Node, pattern: Node) -> bool:
        return self._matches(of, value, scope) and re.fullmatch(pattern.of[0], value) is not None

    def _is_cbor(self, value: Any, scope: Scope, of: Node, inner: Node) -> bool:
        if not self._matches(of, value, scope):
            return False
        try:
            return self._matches(inner, _one_item(value), scope)
        except (ValueError, cbor2.CBORError):
            return False

    def _is_map(self, value: Any, scope: Scope, *entries: Entry) -> bool:
        if type(value) is not dict:
            return False
        keys = {entry.key.of[0]: entry for entry in entries if entry.key is not None}
        there = all(key in value for key, entry in keys.items() if entry.low)
        return there and all(key in keys and self._matches(keys[key].type, item, scope) for key, item in value.items())

    def _is_array(self, value: Any, scope: Scope, *entries: Entry) -> bool:
        return type(value) is list and len(value) in set(self._ends(entries, value, 0, scope))

    def _ends(self, entries: tuple[Entry, ...], items: list[Any], at: int, scope: Scope) -> Iterator[int]:
        """Where these entries may end in the items, if they begin at ``at``."""
        if not entries:
            yield at
            return
        for after in self._repeated(entries[0], items, at, scope, 0):
            yield from self._ends(entries[1:], items, after, scope)

    def _repeated(self, entry: Entry, items: list[Any], at: int, scope: Scope, times: int) -> Iterator[int]:
        if times < entry.high:
            for after in self._once(entry, items, at, scope):
                yield from self._repeated(entry, items, after, scope, times + 1)
        if times >= entry.low:
            yield at

    def _once(self, entry: Entry, items: list[Any], at: int, scope: Scope) -> Iterator[int]:
        node = entry.type
        if node.kind == "name" and node.of[0] not in PRELUDE:
            target, inner = self._resolved(node, scope)
            if target.kind == "group":
                self.shown.add(node.of[0])
                yield from self._ends(target.of, items, at, inner)
                return
        if at < len(items) and self._matches(node, items[at], scope):
            yield at + 1


def _one_item(encoded: bytes) -> Any:
    stream = io.BytesIO(encoded)
    value = plain(cbor2.load(stream))
    if stream.read(1):
        raise ValueError("bytes after the item")
    return value


def plain(value: Any) -> Any:
    """The same with lists and dictionaries in place of what the reader makes inside a tag."""
    if isinstance(value, cbor2.CBORTag):
        return cbor2.CBORTag(value.tag, plain(value.value))
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value
