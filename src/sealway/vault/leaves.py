# SPDX-License-Identifier: Apache-2.0
"""The keys of all values that are to outlive a period, in pages; each page under a key in the top page.

Invariant: a page that changes is encrypted under a new key, and the top page under the key of the new period. So what
opens an earlier page, and with it every key that stood there, is nowhere once the earlier period's key is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from sealway.crypto.ports import Random
from sealway.errors import StateLost
from sealway.vault.wrapping import HEADER_BYTES, KEY_BYTES, Period, binding, decrypt, encrypt, period_of, salt_of

SLOTS: Final = 252
"""In one page, which so fills one of SQLite's, of 4 KiB: that is what a commit writes for each page that it touched."""
_PAGE_BYTES: Final = SLOTS * KEY_BYTES
_FREE: Final = bytes(KEY_BYTES)
_LEAF_BYTES: Final = 4
_ENTRY_BYTES: Final = _LEAF_BYTES + KEY_BYTES
_TOP_SLOT: Final = 0
_TOP: Final = b"top"
_LEAF: Final = b"leaf"


@dataclass(slots=True, repr=False)
class Leaf:
    """A page: 252 keys in a row, zeros where there is none; and the key that it is stored under."""

    key: bytes
    keys: bytearray = field(default_factory=lambda: bytearray(_PAGE_BYTES))

    def __getitem__(self, at: int) -> bytes | None:
        found = bytes(self.keys[at * KEY_BYTES : (at + 1) * KEY_BYTES])
        return found if found != _FREE else None

    def __setitem__(self, at: int, key: bytes | None) -> None:
        self.keys[at * KEY_BYTES : (at + 1) * KEY_BYTES] = key or _FREE

    @property
    def is_empty(self) -> bool:
        """Whether it holds no key at all."""
        return not any(self.keys)

    def stored(self, number: int) -> bytes:
        """Return the page as it lies in the database."""
        return encrypt(self.key, bytes(self.keys), binding(_LEAF, number))


def read_leaf(key: bytes, stored: bytes, number: int) -> Leaf:
    """Return a page. Raises StateLost if it is damaged or of another time than the top page."""
    keys = decrypt(key, stored, binding(_LEAF, number))
    if len(keys) != _PAGE_BYTES:
        raise StateLost("a page of keys has another size")
    return Leaf(key, bytearray(keys))


class Leaves:
    """All pages, in memory; ``changed`` says what becomes of some of them, and ``update`` that it has."""

    def __init__(self, leaves: Mapping[int, Leaf] | None = None) -> None:
        self._leaves = dict(leaves or {})

    def __getitem__(self, slot: int) -> bytes | None:
        leaf = self._leaves.get(slot // SLOTS)
        return leaf[slot % SLOTS] if leaf is not None else None

    @property
    def end(self) -> int:
        """A slot above all that are in use here."""
        return (max(self._leaves, default=-1) + 1) * SLOTS

    def free(self) -> Iterator[int]:
        """Yield the slots below ``end`` that have no key, in pages that are there."""
        for number, leaf in sorted(self._leaves.items()):
            if _FREE in leaf.keys:  # most pages are full
                yield from (number * SLOTS + at for at in range(SLOTS) if leaf[at] is None)

    def changed(self, keys: Mapping[int, bytes | None], random: Random) -> dict[int, Leaf]:
        """Return copies of the pages in which these slots get these keys, or none, under new keys of their own."""
        pages: dict[int, Leaf] = {}
        for slot, key in keys.items():
            number = slot // SLOTS
            if number not in pages:
                before = self._leaves.get(number)
                pages[number] = Leaf(random(KEY_BYTES), bytearray(before.keys if before is not None else _PAGE_BYTES))
            pages[number][slot % SLOTS] = key
        return pages

    def update(self, pages: Mapping[int, Leaf]) -> None:
        """Take changed pages in the place of earlier ones; one that is empty goes."""
        for number, page in pages.items():
            if page.is_empty:
                self._leaves.pop(number, None)
            else:
                self._leaves[number] = page

    def top(self, pages: Mapping[int, Leaf]) -> bytes:
        """Return the numbers and keys of all pages, with these in the place of earlier ones."""
        present = {number: page for number, page in {**self._leaves, **pages}.items() if not page.is_empty}
        return b"".join(number.to_bytes(_LEAF_BYTES) + page.key for number, page in sorted(present.items()))


def stored_top(period: Period, top: bytes, random: Random) -> bytes:
    """Return the top page as it lies in the database."""
    header = period.begin(random)
    return header + encrypt(period.key_of(_TOP_SLOT, _TOP + salt_of(header)), top, binding(_TOP, period.number))


def read_top(period: Period, stored: bytes) -> dict[int, bytes]:
    """Return the key of each page by its number. Raises StateLost if it is damaged or of another period."""
    if period_of(stored) != period.number:
        raise StateLost("the top page of keys is of another period")
    key = period.key_of(_TOP_SLOT, _TOP + salt_of(stored))
    top = decrypt(key, stored[HEADER_BYTES:], binding(_TOP, period.number))
    return dict(_entries(top[at : at + _ENTRY_BYTES] for at in range(0, len(top), _ENTRY_BYTES)))


def _entries(parts: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    for part in parts:
        yield int.from_bytes(part[:_LEAF_BYTES]), part[_LEAF_BYTES:]
