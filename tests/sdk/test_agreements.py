# SPDX-License-Identifier: Apache-2.0
"""Agreement keys in a keystore: replaced, found while they are needed, forgotten after that."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealway.crypto.secret import Secret
from sealway.crypto.suites import SUITE_3
from sealway.errors import LocalMisuse
from sealway.keystore.file import FileKeystore
from sealway.keystore.memory import MemoryKeystore
from sealway.keystore.sealing import Cost
from sealway.sdk.agreements import AgreementKeys

SECRET = Secret(b"correct horse")
CHEAP = Cost(memory_kib=8, passes=1)


def keystore(path: Path) -> FileKeystore:
    made = FileKeystore.create(path, SECRET, cost=CHEAP) if not path.exists() else None
    if made is not None:
        made.generate("identity", "sign")
        made.generate("agreement", "agree", SUITE_3)
    return made or FileKeystore.open(path, SECRET)


def test_a_new_key_is_durable_and_the_old_one_is_found_until_nothing_needs_it(tmp_path: Path) -> None:
    keys = AgreementKeys(keystore(tmp_path / "keys"))
    first = keys.current.public
    assert keys.replace()
    second = keys.current.public
    assert first != second and keys.suite is SUITE_3
    keys = AgreementKeys(keystore(tmp_path / "keys"))
    assert keys.current.public == second
    old = keys.find(first)
    assert old is not None and old.public == first
    keys.keep([first])
    assert keys.find(first) is not None
    assert keys.replace()
    keys.keep([second])
    assert keys.find(first) is None and keys.find(second) is not None
    assert keystore(tmp_path / "keys").labels() == {"agreement-2": "agree", "agreement-3": "agree", "identity": "sign"}
    keys.keep([])
    assert AgreementKeys(keystore(tmp_path / "keys")).current.public == keys.current.public != second


def test_who_cannot_write_the_keystore_goes_on_with_the_present_key(tmp_path: Path) -> None:
    keys, other = AgreementKeys(keystore(tmp_path / "keys")), keystore(tmp_path / "keys")
    assert keys.replace()
    before = keys.current.public
    other = keystore(tmp_path / "keys")
    other.generate("other", "sign")  # another program: the file is not what this one read
    assert not keys.replace()
    assert keys.current.public == before
    first = next(iter(keys._keys.values())).public
    keys.keep([])
    assert keys.find(first) is None  # not used any more, although it is still in the file
    assert "agreement" in keystore(tmp_path / "keys").labels()


def test_an_agreement_key_is_needed_and_other_labels_are_none() -> None:
    store = MemoryKeystore()
    for label in ("agreement-x", "agreement-1", "agreement-02", "disagreement"):
        store.generate(label, "agree")
    store.generate("agreement-7", "sign")
    with pytest.raises(LocalMisuse, match="no agreement key"):
        AgreementKeys(store)
