# SPDX-License-Identifier: Apache-2.0
"""The ends that the whole path is compared with do seal nothing, and carry and acknowledge all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import plain
from sealway.errors import Replayed
from sealway.protocol.session import Session
from tests.protocol.session_pair import talking

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def _unsealed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("seal", "open"):
        monkeypatch.setattr(Session, name, getattr(Session, name))  # put back afterwards
    plain.unseal_sessions()


@pytest.mark.usefixtures("_unsealed")
def test_messages_travel_as_they_are_once_and_are_acknowledged():
    sender, receiver = talking()
    for _ in range(100):
        receiver.open(sender.seal())
        sender.open(receiver.receipt())
    sealed = sender.seal(b"seen by anyone")
    assert b"seen by anyone" in sealed.envelope
    opened = receiver.open(sealed)
    assert opened.message is not None and opened.message.payload == b"seen by anyone"
    with pytest.raises(Replayed):
        receiver.open(sealed)
    acknowledged = sender.open(receiver.receipt()).acknowledgement
    assert acknowledged is not None and acknowledged.covered == ((sealed.number, sealed.number),)


def test_nothing_of_the_product_knows_of_it():
    sources = [file.read_text(encoding="utf-8") for file in (ROOT / "src").rglob("*.py")]
    assert sources and not [text for text in sources if "import bench" in text or "from bench" in text]
