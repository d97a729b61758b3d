# SPDX-License-Identifier: Apache-2.0
"""What the fuzzer found, or what was found while a target was made for it. Each stays repaired."""

from __future__ import annotations

import pytest

from fuzz.targets import TARGETS
from sealway.adversary.scenario import parse_scenario
from sealway.errors import LocalMisuse
from sealway.transports.http_exchange import _token_in
from sealway.wire.message import Message


@pytest.mark.parametrize(
    "text",
    ["seed = " + "9" * 4400, "x = " + "[" * 3000, "name = " + "{a = " * 3000],
    ids=["a number of 4400 digits", "arrays in arrays", "tables in tables"],
)
def test_a_scenario_that_toml_itself_does_not_stand_is_refused_as_no_toml(text: str) -> None:
    with pytest.raises(LocalMisuse, match="not TOML"):
        parse_scenario(text)


@pytest.mark.parametrize(
    "text",
    ['"a\\nerror: all is well" = 1', '[[act]]\nattack = "' + "x" * 5000 + '"'],
    ids=["a key with a line feed", "an attack of 5000 characters"],
)
def test_a_scenario_does_not_choose_how_an_error_looks(text: str) -> None:
    with pytest.raises(LocalMisuse) as refusal:
        parse_scenario(text)
    assert refusal.value.message.isprintable()
    assert len(refusal.value.message) < 500


def test_a_hub_that_promises_a_token_for_ever_is_believed_for_a_day() -> None:
    answer = b'{"access_token":"abc","token_type":"Bearer","expires_in":' + b"9" * 400 + b"}"
    assert _token_in(answer).text == "abc"


def test_a_message_without_an_elective_option_may_be_as_long_as_with_it() -> None:
    """Found in the target itself: what is left out makes the next delta longer (RFC 7252 §3.1)."""
    data = b"\x03\x40\xb0"  # an ETag, which is not known here, and an empty Uri-Query
    assert len(Message.decode(data).encode()) == len(data)
    TARGETS["message"].check(data)
