# SPDX-License-Identifier: Apache-2.0
"""The CDDL leaves nothing out and lets nothing else in: each rule is shown real bytes, and refuses each of them again
with any one part changed in kind, added or taken away."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import cbor2
import pytest

from sealway.errors import SealwayError
from sealway.identity.enrolment import sign_enrolment
from sealway.wire import cbor, options
from sealway.wire.message_parts import encode_void
from tests.identity.small_domain import SmallDomain
from tests.identity.test_enrolment import claims_of
from tests.protocol.worked_example import values
from tests.wire.cddl import Cddl, plain
from tests.wire.test_specification import CDDL, EMBEDDED, SPEC, schema
from tests.wire.wire_samples import FULL_MESSAGE, METER, OFFICE, PREFACES, SAMPLES, filled
from tests.wire.wire_strategies import CODECS

DOMAIN = SmallDomain()
ENROLMENTS = [sign_enrolment(claims_of(DOMAIN, **changes), DOMAIN.granter) for changes in ({}, {"gateway": None})]
PARTY = [str(OFFICE), filled(32), filled(32, 1)]
TRANSCRIPT = ["sealway start 1", filled(16), 1, [str(METER), filled(32), filled(32, 1)], PARTY, b"\x01", filled(32)]
FILES = [b"".join((preface.encode(), cbor.encode(filled(32)), cbor.encode(filled(16)) * 2)) for preface in PREFACES]

SHOWN: list[tuple[str, bytes]] = [
    *((rule, value.encode()) for rule, samples in SAMPLES.items() for value in samples),
    *EMBEDDED,
    *(("signed-enrolment", encoded) for encoded in ENROLMENTS),
    ("transcript", values()["transcript"]),
    ("transcript", cbor.encode([*TRANSCRIPT, 63, filled(32), filled(1088)])),
    ("one-time-leaf", cbor.encode([63, filled(32)])),
    *(("sealed-file", b"\x86" + file) for file in FILES),
]
each_shown = pytest.mark.parametrize(("rule", "encoded"), SHOWN, ids=[rule for rule, _ in SHOWN])
DECODERS: dict[str, Callable[[bytes], Any]] = {rule: type(samples[0]).decode for rule, samples in SAMPLES.items()}
DESCRIPTION = Cddl(CDDL)

_HEADER = r"-65537 1 as None|-65537 without the last|without (15|-65537|-65538)|15 without .*"
_FIELDS = "without 1[01]"
ALLOWED = {
    "envelope": f"0 ({_HEADER})",
    "envelope-header": _HEADER,
    "manifest": "without 4",
    "signed-manifest": "2 without 4",
    "enc-structure": f"1 ({_HEADER})",
    "bundle": _FIELDS,
    "signed-bundle": f"2 {_FIELDS}",
    "bundle-header": "33 as b'x'",
    "scopes": "without the last",
    "signature-structure": "4 (7|10|11) without the last",
    "signature1-structure": "3 [39] without the last",
    "signed-enrolment": "2 without 5|2 [67] without the last|2 2 .*|2 6 0 .*",
    "transcript": "[789] as None",
    "sealed-file": f"1 0 2 6 without the last|1 0 2 {_FIELDS}|1 1 without the last|2 0 ({_HEADER})|without the last",
}
"""Changes that a rule may describe although no decoder takes them: optional parts and lists, for rules without a
decoder; documents in an enrolment, which are opaque there; and what CDDL cannot say (claims are not empty; fields 10
and 11 of a bundle come together; number 1 of a manifest alone has no field 4)."""


@each_shown
def test_every_rule_describes_real_bytes(rule: str, encoded: bytes) -> None:
    assert DESCRIPTION.describes(rule, encoded)


def test_no_rule_is_left_without_real_bytes() -> None:
    seen = Cddl(CDDL)
    assert all(seen.describes(rule, encoded) for rule, encoded in SHOWN)
    assert seen.rules.keys() - seen.shown == set()


def test_the_tool_and_this_validator_agree_where_the_tool_can_read() -> None:
    """pycddl is another's; what both can read, both describe."""
    for rule, encoded in SHOWN:
        if rule not in ("receipt", "transcript", "sealed-file"):
            schema(rule).validate_cbor(encoded)


def test_every_type_that_is_encoded_in_cbor_has_a_rule() -> None:
    """A new type wants a rule, and a sample."""
    signed_forms, not_cbor = {"Sign1", "Sign"}, {"Message", "Preface"}
    known = {type(value).__name__ for samples in SAMPLES.values() for value in samples}
    assert {codec.name for codec in CODECS} - known == signed_forms | not_cbor


def test_every_option_with_a_cbor_value_has_a_rule() -> None:
    page = (SPEC / "message.md").read_text()
    rows = re.findall(r"^\| (\d+) \| [\w-]+ \| (?:yes|no) \| (?:CBOR, rule `([a-z-]+)`)?", page, re.M)
    found = dict(options.decode_options(FULL_MESSAGE.encode(), 1)[0])
    assert {int(number) for number, _ in rows} == found.keys()  # each stands in the sample
    ruled = {int(number): rule for number, rule in rows if rule}
    assert found[options.VOID] == encode_void(FULL_MESSAGE.void)
    assert all(DESCRIPTION.describes(rule, found[number]) for number, rule in ruled.items())
    assert len(ruled) == 5


# nothing else gets in ----------------------------------------------------------------------------------------------
def _of_another_kind(value: Any) -> Iterator[Any]:
    kinds: list[Any] = ["x", b"x", -1, 1 << 63, True, None, 0.5, [], {}]
    return (other for other in kinds if type(other) is not type(value) or type(value) is int)


def _changed(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    """A structure with one part changed, in each way; CBOR in byte strings is followed."""
    if isinstance(value, cbor2.CBORTag):
        yield f"{where} no tag", value.value
        yield from ((told, cbor2.CBORTag(value.tag, inner)) for told, inner in _changed(value.value, where))
        return
    yield from ((f"{where} as {other!r}", other) for other in _of_another_kind(value))
    if isinstance(value, dict):
        yield f"{where} more", {**value, 4711: 0}
        for key, item in value.items():
            yield f"{where} without {key}", {k: v for k, v in value.items() if k != key}
            yield from ((told, {**value, key: inner}) for told, inner in _changed(item, f"{where} {key}"))
    elif isinstance(value, list):
        yield f"{where} more", [*value, {4711: 0}]
        yield f"{where} without the last", value[:-1]
        for at, item in enumerate(value):
            parts = _changed(item, f"{where} {at}")
            yield from ((told, [*value[:at], inner, *value[at + 1 :]]) for told, inner in parts)
    elif isinstance(value, bytes) and (inside := _embedded(value)) is not None:
        yield from ((told, cbor2.dumps(inner)) for told, inner in _changed(inside, where))


def _embedded(value: bytes) -> Any:
    """What is encoded in a byte string, if it is a map, a structure or a tag."""
    try:
        inside = plain(cbor2.loads(value))
    except (ValueError, cbor2.CBORError):
        return None
    whole = isinstance(inside, dict | list | cbor2.CBORTag) and cbor2.dumps(inside) == value
    return inside if whole else None


def _is_taken(rule: str, encoded: bytes) -> bool:
    try:
        DECODERS[rule](encoded)
    except SealwayError:
        return False
    return True


@each_shown
def test_with_one_part_changed_it_is_refused_or_means_what_it_says(rule: str, encoded: bytes) -> None:
    allowed, tried = ALLOWED.get(rule.partition("<")[0], "nothing"), 0
    for told, changed in _changed(plain(cbor2.loads(encoded))):
        other = cbor2.dumps(changed)
        if other != encoded and DESCRIPTION.describes(rule, other):
            assert re.fullmatch(allowed, told.strip()) or (rule in DECODERS and _is_taken(rule, other)), told
        tried += 1
    assert tried > 8


@pytest.mark.parametrize(
    ("rule", "wrong"),
    [
        ("void", "80"),
        ("void", "8101"),
        ("receipt", "83004461626364830102"),
        ("envelope", "d0834ba0a04900"),
        ("claims", "a0ff"),
        ("bundle", ""),
    ],
)
def test_what_is_wrong_is_refused(rule: str, wrong: str) -> None:
    assert not DESCRIPTION.describes(rule, bytes.fromhex(wrong))
