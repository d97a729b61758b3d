# SPDX-License-Identifier: Apache-2.0
"""SPAKE2+: the published vectors, and every point, code and order of calls that must be refused."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from sealway.crypto.kdf import hmac_sha256
from sealway.crypto.p256 import FIELD, ORDER, EccPoint, base_times, decode_point, encode_point, reduced, times
from sealway.crypto.secret import Secret
from sealway.crypto.spake2plus import (
    Binding,
    Parameters,
    Prover,
    ProverKey,
    Reply,
    ScryptCost,
    Verifier,
    VerifierRecord,
    derive,
    schedule,
    transcript,
)
from sealway.errors import LocalMisuse, Malformed, NotAuthentic, PeerMisbehaved

VECTORS: list[dict[str, str]] = json.loads((Path(__file__).parent / "data" / "rfc9383.json").read_text())["vectors"]
OUR_SUITE = "SPAKE2+-P256-SHA256-HKDF-SHA256-HMAC-SHA256 Test Vectors"
PARAMETERS = Parameters(bytes(range(16)), ScryptCost(2**14))
KEY = derive(b"4719382556", PARAMETERS)
OTHER = derive(b"4719382557", PARAMETERS)
BINDING = Binding(b"context", b"", b"serial 7")


def of(name: str) -> dict[str, bytes]:
    """One vector's values as bytes."""
    (found,) = [each for each in VECTORS if each["Context"] == name]
    text = {key: value.encode() for key, value in found.items() if key in ("Context", "idProver", "idVerifier")}
    return text | {key: bytes.fromhex(value) for key, value in found.items() if key not in text}


def giving(value: bytes) -> Callable[[int], bytes]:
    return lambda length: value


def counting() -> Callable[[int], bytes]:
    numbers = count(1)
    return lambda length: next(numbers).to_bytes(length)


def on_p256() -> list[str]:
    return [each["Context"] for each in VECTORS]


def test_the_vector_of_the_suite_from_end_to_end() -> None:
    vector = of(OUR_SUITE)
    key = ProverKey(Secret(vector["w0"]), Secret(vector["w1"]))
    binding = Binding(vector["Context"], vector["idProver"], vector["idVerifier"])
    record = key.record(PARAMETERS)
    assert record.point == vector["L"]
    prover, verifier = Prover(key, binding, giving(vector["x"])), Verifier(record, binding, giving(vector["y"]))
    assert prover.share == vector["shareP"]
    reply = verifier.answer(prover.share)
    assert reply == Reply(vector["shareV"], vector["HMAC(K_confirmV, shareP)"])
    confirmation, shared = prover.confirm(reply)
    assert confirmation == vector["HMAC(K_confirmP, shareV)"]
    assert shared.reveal() == vector["K_shared"]
    assert verifier.finish(confirmation).reveal() == vector["K_shared"]


@pytest.mark.parametrize("name", on_p256())
def test_shares_products_and_transcript_of_every_vector_on_the_curve(name: str) -> None:
    vector = of(name)
    key = ProverKey(Secret(vector["w0"]), Secret(vector["w1"]))
    binding = Binding(vector["Context"], vector["idProver"], vector["idVerifier"])
    assert Prover(key, binding, giving(vector["x"])).share == vector["shareP"]
    record = key.record(PARAMETERS)
    assert record.point == vector["L"]
    assert Verifier(record, binding, giving(vector["y"])).answer(vector["shareP"]).share == vector["shareV"]
    products = decode_point(vector["Z"]), decode_point(vector["V"])
    tt = transcript(binding, vector["shareP"], vector["shareV"], products, key.w0)
    assert tt.reveal() == vector["TT"]
    if "-SHA256-HKDF-SHA256" in name:
        assert schedule(tt).shared.reveal() == vector["K_shared"]


def test_the_key_schedule_of_the_vector() -> None:
    vector = of(OUR_SUITE)
    keys = schedule(Secret(vector["TT"]))
    assert keys.confirm_prover.reveal() == vector["K_confirmP"]
    assert keys.confirm_verifier.reveal() == vector["K_confirmV"]


def test_two_ends_with_one_code_agree() -> None:
    prover, verifier = Prover(KEY, BINDING, counting()), Verifier(KEY.record(PARAMETERS), BINDING, counting())
    confirmation, shared = prover.confirm(verifier.answer(prover.share))
    assert verifier.finish(confirmation) == shared


@pytest.mark.parametrize(
    ("key", "binding"),
    [(OTHER, BINDING), (KEY, Binding(b"other", b"", b"serial 7")), (KEY, Binding(b"context", b"", b"serial 8"))],
)
def test_another_code_or_context_is_refused_by_both_ends(key: ProverKey, binding: Binding) -> None:
    prover, verifier = Prover(key, binding, counting()), Verifier(KEY.record(PARAMETERS), BINDING, counting())
    reply = verifier.answer(prover.share)
    with pytest.raises(NotAuthentic, match="codes of the two ends differ"):
        prover.confirm(reply)
    with pytest.raises(NotAuthentic, match="codes of the two ends differ"):
        verifier.finish(hmac_sha256(b"a guess of the prover's key......", reply.share))


def bad_points() -> dict[str, bytes]:
    good = Prover(KEY, BINDING, counting()).share
    beyond = FIELD.to_bytes(32)
    return {
        "empty": b"",
        "identity": b"\x00",
        "identity, padded": bytes(65),
        "identity as the library has it": b"\x04" + bytes(64),
        "compressed": bytes([2 + (good[-1] & 1)]) + good[1:33],
        "hybrid": bytes([6 + (good[-1] & 1)]) + good[1:],
        "short": good[:-1],
        "long": good + b"\x00",
        "not on the curve": good[:-1] + bytes([good[-1] ^ 1]),
        "x not below p": b"\x04" + beyond + good[33:],
        "y not below p": good[:33] + beyond,
    }


@pytest.mark.parametrize("name", list(bad_points()))
def test_a_bad_point_is_refused_wherever_it_comes_in(name: str) -> None:
    bad = bad_points()[name]
    with pytest.raises(PeerMisbehaved):
        Verifier(KEY.record(PARAMETERS), BINDING, counting()).answer(bad)
    with pytest.raises(PeerMisbehaved):
        Prover(KEY, BINDING, counting()).confirm(Reply(bad, bytes(32)))
    with pytest.raises(PeerMisbehaved):
        VerifierRecord(KEY.w0, bad, PARAMETERS)


def test_a_share_that_leads_to_the_identity_is_refused() -> None:
    """Whoever knows w0 can cancel the other end's key; both ends see it."""
    m, n = (decode_point(of(OUR_SUITE)["TT"][at : at + 65]) for at in (100, 173))
    with pytest.raises(NotAuthentic, match="identity"):
        Verifier(KEY.record(PARAMETERS), BINDING, counting()).answer(encode_point(times(KEY.w0, m)))
    with pytest.raises(NotAuthentic, match="identity"):
        Prover(KEY, BINDING, counting()).confirm(Reply(encode_point(times(KEY.w0, n)), bytes(32)))


def test_confirmations_have_one_length() -> None:
    prover, verifier = Prover(KEY, BINDING, counting()), Verifier(KEY.record(PARAMETERS), BINDING, counting())
    reply = verifier.answer(prover.share)
    with pytest.raises(Malformed):
        prover.confirm(Reply(reply.share, reply.confirmation[:31]))
    with pytest.raises(Malformed):
        verifier.finish(b"")


def test_no_end_serves_twice() -> None:
    prover, verifier = Prover(KEY, BINDING, counting()), Verifier(KEY.record(PARAMETERS), BINDING, counting())
    with pytest.raises(LocalMisuse):
        verifier.finish(bytes(32))
    reply = verifier.answer(prover.share)
    with pytest.raises(LocalMisuse):
        verifier.answer(prover.share)
    confirmation, _ = prover.confirm(reply)
    with pytest.raises(LocalMisuse):
        prover.confirm(reply)
    verifier.finish(confirmation)
    with pytest.raises(LocalMisuse):
        verifier.finish(confirmation)


def test_a_failed_confirmation_ends_the_exchange() -> None:
    prover, verifier = Prover(KEY, BINDING, counting()), Verifier(KEY.record(PARAMETERS), BINDING, counting())
    confirmation, _ = prover.confirm(verifier.answer(prover.share))
    with pytest.raises(NotAuthentic):
        verifier.finish(bytes(32))
    with pytest.raises(LocalMisuse):
        verifier.finish(confirmation)


def test_the_code_is_stretched_as_stated() -> None:
    again = derive(b"4719382556", PARAMETERS)
    assert (again.w0, again.w1) == (KEY.w0, KEY.w1)
    assert KEY.w0 != KEY.w1
    assert derive(b"4719382556", Parameters(bytes(16), PARAMETERS.cost)).w0 != KEY.w0
    assert derive(b"4719382556", Parameters(PARAMETERS.salt, ScryptCost(2**15))).w0 != KEY.w0


@pytest.mark.parametrize("cost", [(2**13, 8, 1), (2**18, 8, 1), (2**15 - 1, 8, 1), (2**15, 16, 1), (2**15, 8, 5)])
def test_a_cost_outside_the_bounds_is_refused(cost: tuple[int, int, int]) -> None:
    with pytest.raises(Malformed):
        ScryptCost(*cost)


def test_malformed_records_and_parameters_are_refused() -> None:
    with pytest.raises(Malformed):
        Parameters(bytes(15))
    with pytest.raises(Malformed):
        VerifierRecord(Secret(bytes(31)), KEY.record(PARAMETERS).point, PARAMETERS)


def test_nothing_secret_shows() -> None:
    shown = repr((KEY, KEY.record(PARAMETERS), schedule(Secret(b"t"))))
    assert KEY.w0.reveal().hex() not in shown
    assert "w0" not in shown


def test_scalars_are_reduced_and_the_base_point_is_the_library_s() -> None:
    assert int.from_bytes(reduced((ORDER + 5).to_bytes(40)).reveal()) == 5
    three = Secret((3).to_bytes(32))
    generator = decode_point(encode_point(base_times(Secret((1).to_bytes(32)))))
    assert encode_point(times(three, generator)) == encode_point(base_times(three))
    assert isinstance(generator, EccPoint)


def test_no_library_is_admitted_whose_time_tells_the_length_of_a_scalar() -> None:
    """pycryptodomex pads it from 3.24.2 on; what is admitted stands in pyproject.toml."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    (least,) = re.findall(r"pycryptodomex>=([0-9.]+),", " ".join(project["dependencies"]))
    assert tuple(map(int, least.split("."))) >= (3, 24, 2)
