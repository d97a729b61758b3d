# SPDX-License-Identifier: Apache-2.0
"""The agreement keys of an endpoint: the present one, and earlier ones for as long as a bundle with them is valid.

Invariant: they never leave the keystore, and a new one is durable there before a bundle says its public half. Their
labels are numbered: agreement, agreement-2, agreement-3, … The highest is the present one.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import Final

from sealway.crypto.ports import Agreer
from sealway.crypto.suites import Suite
from sealway.errors import LocalMisuse, TokenFailed
from sealway.keystore.ports import Keystore

log = logging.getLogger(__name__)

_LABEL: Final = re.compile(r"agreement(?:-([2-9]|[1-9][0-9]{1,8}))?")


class AgreementKeys:
    """The agreement keys in a keystore.

    Raises:
        LocalMisuse: it has none.
    """

    def __init__(self, keystore: Keystore) -> None:
        self._keystore = keystore
        kinds = keystore.labels()
        numbers = sorted(n for n in map(_number, (label for label in kinds if kinds[label] == "agree")) if n)
        if not numbers:
            raise LocalMisuse("there is no agreement key in the keystore", hint="enroll again")
        self._keys: dict[int, Agreer] = {number: keystore.agreer(_label(number)) for number in numbers}

    @property
    def suite(self) -> Suite:
        """The suite that the present key was made for; every later one is for the same."""
        return self._keystore.suite(_label(max(self._keys)))

    @property
    def current(self) -> Agreer:
        """The key that the next bundle publishes."""
        return self._keys[max(self._keys)]

    def find(self, public: bytes) -> Agreer | None:
        """Return the key with this public half, None if it is not, or no longer, here."""
        return next((key for key in self._keys.values() if key.public == public), None)

    def replace(self) -> bool:
        """Make a new key, durably; say whether that could be done. If not, the present one goes on.

        A key that an earlier try made, and then could not use, is the new one.
        """
        number = max(self._keys) + 1
        label = _label(number)
        try:
            if label not in self._keystore.labels():
                self._keystore.generate(label, "agree", self.suite)
            self._keys[number] = self._keystore.agreer(label)
        except (LocalMisuse, TokenFailed) as error:
            log.warning("the agreement key is not replaced yet: %s", error)
            return False
        return True

    def keep(self, publics: Iterable[bytes]) -> None:
        """Forget every earlier key whose public half is none of these."""
        wanted, current = set(publics), max(self._keys)
        for number in [n for n, key in self._keys.items() if n != current and key.public not in wanted]:
            del self._keys[number]  # from now on no start finds it; a copy on the disk goes as soon as it can
            try:
                self._keystore.remove(_label(number))
            except (LocalMisuse, TokenFailed) as error:
                log.warning("an old agreement key is still in the keystore: %s", error)


def _label(number: int) -> str:
    return "agreement" if number == 1 else f"agreement-{number}"


def _number(label: str) -> int:
    """The number of an agreement key's label, 0 for other labels."""
    match = _LABEL.fullmatch(label)
    return int(match[1] or 1) if match is not None else 0
