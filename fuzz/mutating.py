# SPDX-License-Identifier: Apache-2.0
"""Mutations that keep an encoding well formed, so that what lies behind the first check is reached: of CBOR, of DER,
and of one inside the other.
"""

from __future__ import annotations

from random import Random
from typing import Any

import cbor2

from sealway.errors import SealwayError
from sealway.wire import cbor

_HEADS = (b"\xd0", b"\xd2", b"\xd8\x62", b"")  # the tags of COSE_Encrypt0, COSE_Sign1 and COSE_Sign, or none
_NUMBERS = (0, 1, 23, 24, 255, 256, 65_535, 65_536, 0xFFFFFFFF, 1 << 32, (1 << 63) - 1, (1 << 64) - 1, -1, -65_537)
_TEXTS = ("", "a", "sealway://building.example/device/meter-1", "ä", "\x00", "x" * 300)
_SEQUENCE = 0x30  # of DER
_DEEPEST = 12  # certificates nest less


def mutate_cbor(data: bytes, random: Random) -> bytes:
    """Return a document with a part of it changed, at any depth; other bytes with a few of them changed."""
    head = next(head for head in _HEADS if data.startswith(head))
    try:
        tree = cbor.decode(data[len(head) :], limit=len(data))
        return head + _encoded(_changed(tree, random), random)
    except SealwayError:
        return mutate_bytes(data, random)


def _encoded(tree: Any, random: Random) -> bytes:
    """The one encoding that is allowed, or now and then one that is not."""
    return cbor2.dumps(tree) if random.random() < 0.05 else cbor.encode(tree)


def _changed(tree: Any, random: Random) -> Any:
    if random.random() < 0.15:
        return _leaf(random)
    if isinstance(tree, list) and tree:
        return _changed_list(tree, random)
    if isinstance(tree, dict) and tree:
        return _changed_map(tree, random)
    if isinstance(tree, bytes):
        return mutate_inside(tree, random)
    if isinstance(tree, str):
        return mutate_bytes(tree.encode(), random).decode("utf-8", "replace")
    if type(tree) is int:
        return tree + random.choice((-1, 1, 2, 256, -256))
    return _leaf(random)


def _changed_list(items: list[Any], random: Random) -> list[Any]:
    at, other = random.randrange(len(items)), random.randrange(len(items))
    match random.randrange(8):
        case 0:
            return items[:at] + items[at + 1 :]
        case 1:
            return [*items[:at], items[other], *items[at:]]
        case 2:
            swapped = list(items)
            swapped[at], swapped[other] = items[other], items[at]
            return swapped
        case _:
            return [*items[:at], _changed(items[at], random), *items[at + 1 :]]


def _changed_map(entries: dict[Any, Any], random: Random) -> dict[Any, Any]:
    key, other = random.choice(list(entries)), random.choice(list(entries))
    match random.randrange(8):
        case 0:
            return {label: entries[label] for label in entries if label != key}
        case 1:
            return entries | {random.choice((0, 1, 2, 9, 10, 11, 40, -1)): _leaf(random)}
        case 2:
            return entries | {key: entries[other]}
        case _:
            return entries | {key: _changed(entries[key], random)}


def _leaf(random: Random) -> Any:
    match random.randrange(6):
        case 0:
            return random.choice(_NUMBERS)
        case 1:
            return random.randbytes(random.choice((0, 1, 4, 8, 16, 32, 33, 64)))
        case 2:
            return random.choice(_TEXTS)
        case 3:
            return random.choice((None, True, False))
        case 4:
            return []
        case _:
            return {}


def mutate_inside(data: bytes, random: Random) -> bytes:
    """Return bytes with what is encoded in them changed: DER, CBOR, or nothing in particular."""
    if len(data) > 8 and data[0] == _SEQUENCE:
        return mutate_der(data, random)
    try:
        tree = cbor.decode(data, limit=len(data))
    except SealwayError:
        return mutate_bytes(data, random)
    return cbor.encode(_changed(tree, random)) if isinstance(tree, list | dict) else mutate_bytes(data, random)


def mutate_bytes(data: bytes, random: Random) -> bytes:
    """Return bytes with a few of them changed, left out or put in."""
    at = random.randrange(len(data) + 1)
    match random.randrange(4):
        case 0:
            return data[:at] + random.randbytes(random.randrange(1, 5)) + data[at:]
        case 1:
            return data[:at] + data[at + random.randrange(1, 5) :]
        case 2:
            return data[:at]
        case _:
            return data[:at] + bytes((random.randrange(256),)) + data[at + 1 :]


def mutate_der(data: bytes, random: Random, depth: int = _DEEPEST) -> bytes:
    """Return DER with one element changed, at any depth, and all lengths put right."""
    elements = split_der(data)
    if not elements:
        return mutate_bytes(data, random)
    at = random.randrange(len(elements))
    tag, content = elements[at]
    nested = bool(tag & 0x20 and depth and split_der(content))
    match random.randrange(10):
        case 0 if len(elements) > 1:
            del elements[at]
        case 1:
            elements.insert(at, elements[random.randrange(len(elements))])
        case 2:
            elements[at] = (tag ^ (1 << random.randrange(8)), content)
        case _:
            elements[at] = (tag, mutate_der(content, random, depth - 1) if nested else mutate_bytes(content, random))
    return b"".join(der(tag, content) for tag, content in elements)


def der(tag: int, content: bytes) -> bytes:
    """Return one element of DER."""
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    size = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(size))) + size + content


def split_der(data: bytes) -> list[tuple[int, bytes]]:
    """Return the (tag, content) of the elements that fill ``data``; none if it is anything else."""
    elements: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data):
        if at + 2 > len(data):
            return []
        tag, length, at = data[at], data[at + 1], at + 2
        if length > 0x80:
            size = length - 0x80
            length, at = int.from_bytes(data[at : at + size]), at + size
        if at + length > len(data):
            return []
        elements.append((tag, data[at : at + length]))
        at += length
    return elements
