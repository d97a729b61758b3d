# SPDX-License-Identifier: Apache-2.0
"""vectors/ as another implementation reads them: with the specification, and without a line of this one's code."""

from __future__ import annotations

import ast
import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey

from scripts.vectors import ml_kem
from tests.vectors import foreign_session as session
from tests.vectors import foreign_wire as wire
from tests.vectors.foreign_session import Session
from tests.vectors.foreign_wire import Refused

VECTORS = Path(__file__).parents[2] / "vectors"
FOREIGN = [Path(__file__), Path(str(session.__file__)), Path(str(wire.__file__))]


def cases(name: str) -> list[Any]:
    """The cases of one file, with their names as ids."""
    content = json.loads((VECTORS / name).read_text())
    assert (content["format"], content["protocol"]) == (1, 0)
    return [pytest.param(case, id=case["name"]) for case in content["cases"]]


def unhex(text: str) -> bytes:
    return bytes.fromhex(text)


@pytest.mark.parametrize("path", FOREIGN, ids=lambda path: path.name)
def test_nothing_of_the_implementation_is_used(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert not [name for name in names if name.split(".")[0] == "sealway"]


@pytest.mark.parametrize("case", cases("envelope.json"))
def test_envelopes(case: dict[str, Any]) -> None:
    if case["verdict"] != "opened":
        read, form = (wire.read_envelope, "envelope") if "envelope" in case else (wire.read_compact, "compact")
        with pytest.raises(Refused, match=case["verdict"]):
            read(unhex(case[form]))
        return
    encoded = unhex(case["envelope"])
    envelope = wire.read_envelope(encoded)
    assert (envelope["kid"].hex(), envelope["number"]) == (case["kid"], case["number"])
    assert wire.write_header(envelope) == envelope["protected"]
    plaintext = wire.decrypt(envelope, unhex(case["key"]), unhex(case["base_iv"]))
    assert plaintext.hex() == case["plaintext"]
    assert wire.encrypt(envelope, unhex(case["key"]), unhex(case["base_iv"]), plaintext) == encoded
    if case["compact"] is not None:
        assert wire.write_compact(encoded).hex() == case["compact"]
        assert wire.read_compact(unhex(case["compact"])) == encoded
    else:
        with pytest.raises(Refused):
            wire.write_compact(encoded)


@pytest.mark.parametrize("case", cases("message.json"))
def test_messages(case: dict[str, Any]) -> None:
    if case["verdict"] != "read":
        with pytest.raises(Refused, match=case["verdict"]):
            wire.read_message(unhex(case["message"]))
        return
    message = wire.read_message(unhex(case["message"]))
    assert (message["code"], message["payload"].hex()) == (case["code"], case["payload"])


# start.json ----------------------------------------------------------------------------------------------------------
def test_there_are_starts_of_each_kind() -> None:
    verdicts = [case.values[0]["verdict"] for case in cases("start.json")]
    assert set(verdicts) == {"accepted", "not-authentic", "malformed", "not-trusted"}


@pytest.mark.parametrize("case", cases("start.json"))
def test_starts(case: dict[str, Any]) -> None:
    responder = case["responder"]["private"]
    if case["verdict"] != "accepted":
        with pytest.raises(Refused, match=f"^{case['verdict']}$"):
            _accept(case, responder)
        return
    accepted = _accept(case, responder)
    assert accepted.session_hash.hex() == case["session_hash"]
    initiator = _initiator(case)
    assert initiator.session_hash == accepted.session_hash
    assert initiator.seal(unhex(case["plaintext"]), step=None, salt=None).hex() == case["envelope"]
    step, reply = unhex(case["reply_step_private"]), unhex(case["reply"])
    assert accepted.seal(unhex(case["reply_plaintext"]), step=step, salt=None) == reply
    assert initiator.open(reply)["plaintext"].hex() == case["reply_plaintext"]
    assert initiator.kid_out.hex() == case["responder_kid"]


def _documents(party: dict[str, Any]) -> dict[str, Any]:
    """Verify a bundle by its certificate (documents.md, Bundle)."""
    certificate = x509.load_der_x509_certificate(unhex(party["certificate"]))
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey | Ed25519PublicKey)
    x5t, encoded = hashlib.sha256(unhex(party["certificate"])).digest(), unhex(party["bundle"])
    assert encoded[0] == 0xD2
    protected, unprotected, payload, signature = wire.strict_cbor(encoded[1:])
    alg = -8 if isinstance(key, Ed25519PublicKey) else -7
    assert wire.strict_cbor(protected) == {1: alg, 16: "application/sealway-bundle+cbor", 34: [-16, x5t]}
    assert unprotected == {}
    session.verify_signature(key, wire.deterministic(["Signature1", protected, b"", payload]), signature)
    claims = wire.strict_cbor(payload)
    assert claims[3] == party["name"]
    return {"key": key, "x5t": x5t, "hash": hashlib.sha256(encoded).digest(), "claims": claims, "name": party["name"]}


def _transcript(
    case: dict[str, Any], suite: int, a: dict[str, Any], b: dict[str, Any], header: dict[str, Any],
    one_time: bytes | None,
) -> bytes:  # fmt: skip
    ends = [[end["name"], end["x5t"], end["hash"]] for end in (a, b)]
    offered = [header["kid"], header["ephemeral"], header["one_time"], one_time, header["ml_kem"]]
    return wire.deterministic(["sealway start 1", unhex(case["domain_id"]), suite, *ends, *offered])


def _accept(case: dict[str, Any], private: dict[str, str]) -> Session:
    """Session.md, The responder, steps 3 to 6."""
    a, b = _documents(case["initiator"]), _documents(case["responder"])
    envelope = wire.read_envelope(unhex(case["envelope"]))
    header = envelope["start"]
    wire.demand(envelope["kid"] == b["claims"][2])
    suite = wire.SUITE_OF_ALG[envelope["alg"]]
    wire.demand(suite in a["claims"][6] and suite in b["claims"][6], "not-authentic")
    wire.demand(header["ml_kem"] is None or 9 in b["claims"])
    wire.demand((header["bundle"], header["x5t"]) == (a["hash"], a["x5t"]), "not-trusted")
    one_time = None if header["one_time"] is None else unhex(private[f"one-time {header['one_time']}"])
    shown = None if one_time is None else session.public(one_time, suite)
    session_hash = hashlib.sha256(_transcript(case, suite, a, b, header, shown)).digest()
    prekey, agreement, e = unhex(private["prekey"]), unhex(private["agreement"]), header["ephemeral"]
    agreements = session.agree(prekey, a["claims"][7], suite) + session.agree(agreement, e, suite)
    agreements += session.agree(prekey, e, suite)
    agreements += b"" if one_time is None else session.agree(one_time, e, suite)
    if header["ml_kem"] is not None:
        agreements += MLKEM768PrivateKey.from_seed_bytes(unhex(private["ml_kem"])).decapsulate(header["ml_kem"])
    root, reseed, chain = session.start_keys(agreements, session_hash)
    accepted = Session(session_hash, False, root, True, e, b"\x07", header["kid"], announce_kid=True, suite=suite)
    accepted.epochs.append(session.Epoch(e, 0, reseed, chains=[session.Chain(0, b"", 0, 0, chain)]))
    plaintext = accepted.open(unhex(case["envelope"]))["plaintext"]
    assert plaintext.hex() == case.get("plaintext", plaintext.hex())
    message = wire.read_message(plaintext)
    signed = b"sealway start signature 1\0" + session_hash
    session.verify_signature(a["key"], signed, message["options"][session.SIGNATURE][0])
    return accepted


def _initiator(case: dict[str, Any]) -> Session:
    """Session.md, The initiator."""
    a, b = _documents(case["initiator"]), _documents(case["responder"])
    header = wire.read_envelope(unhex(case["envelope"]))["start"]
    offered = wire.strict_cbor(unhex(case["offer"]))[1]
    one_time = None if offered is None else offered[1]
    if offered is not None:
        _check_path(b["claims"], *offered)
    suite = next(number for number in b["claims"][6] if number in a["claims"][6])  # the recipient prefers
    session_hash = hashlib.sha256(_transcript(case, suite, a, b, header, one_time)).digest()
    e, agreement = unhex(case["ephemeral_private"]), unhex(case["initiator"]["private"]["agreement"])
    assert session.public(e, suite) == header["ephemeral"]
    agreements = session.agree(agreement, b["claims"][8], suite)
    agreements += session.agree(e, b["claims"][7], suite) + session.agree(e, b["claims"][8], suite)
    agreements += b"" if one_time is None else session.agree(e, one_time, suite)
    if case["ml_kem_message"] is not None:
        shared, ciphertext = ml_kem.encapsulate(b["claims"][9], unhex(case["ml_kem_message"]))
        assert ciphertext == header["ml_kem"]
        agreements += shared
    root, reseed, chain = session.start_keys(agreements, session_hash)
    sending = session.SendingEpoch(e, header["ephemeral"], 0, reseed, chain, 0)
    return Session(
        session_hash, True, root, False, b"", header["kid"], b["claims"][2], sending, start=header, suite=suite
    )


def _check_path(claims: dict[int, Any], index: int, key: bytes, path: list[bytes]) -> None:
    """RFC 9162 §2.1.3.2."""
    node = hashlib.sha256(b"\0" + wire.deterministic([index, key])).digest()
    at, last = index, claims[11] - 1
    for sibling in path:
        if at % 2 or at == last:
            node = hashlib.sha256(b"\1" + sibling + node).digest()
            while at % 2 == 0 and at:
                at, last = at >> 1, last >> 1
        else:
            node = hashlib.sha256(b"\1" + node + sibling).digest()
        at, last = at >> 1, last >> 1
    assert (last, node) == (0, claims[10])


# scripts -------------------------------------------------------------------------------------------------------------
SCRIPTS = [case for name in ("chains.json", "receipts.json", "commands.json") for case in cases(name)]


@pytest.mark.parametrize("case", SCRIPTS)
def test_scripts(case: dict[str, Any]) -> None:
    """Each event is done by the second implementation, and has the outcome that the file says."""
    ends = _ends(case["start"])
    for event in case["events"]:
        ACTS[event["do"]](ends, event)


def _ends(start: dict[str, Any]) -> dict[str, Session]:
    digest, e = unhex(start["session_hash"]), unhex(start["ephemeral_private"])
    root, reseed, chain = session.start_keys(unhex(start["agreements"]), digest)
    told = start["start_header"]
    header: dict[str, Any] = {"bundle": unhex(told["bundle_hash"]), "x5t": unhex(told["x5t"])}
    header |= {"kid": unhex(told["receive_kid"])}
    header |= {"ephemeral": unhex(told["ephemeral"]), "one_time": told["one_time"], "ml_kem": None}
    suite = start["suite"]
    x = session.public(e, suite)
    sending = session.SendingEpoch(e, x, 0, reseed, chain, 0)
    kid_a, kid_b, bundle_id = (unhex(start[name]) for name in ("kid_a", "kid_b", "bundle_id_b"))
    a = Session(digest, True, root, False, b"", kid_a, bundle_id, sending, start=header, suite=suite)
    b = Session(digest, False, root, True, x, kid_b, kid_a, announce_kid=True, suite=suite)
    b.epochs.append(session.Epoch(x, 0, reseed, chains=[session.Chain(0, b"", 0, 0, chain)]))
    return {"a": a, "b": b}


def _seal(ends: dict[str, Session], event: dict[str, Any]) -> None:
    end = ends[event["end"]]
    step, salt = (unhex(event[what]) if event[what] is not None else None for what in ("step", "salt"))
    assert end.next == event["number"]
    end.sealed_at[end.next] = unhex(event["boot"]), event["at_ms"]
    assert end.seal(unhex(event["plaintext"]), step=step, salt=salt).hex() == event["envelope"]


def _open(ends: dict[str, Session], event: dict[str, Any]) -> None:
    end = ends[event["end"]]
    try:
        outcome = end.open(unhex(event["envelope"]))
    except Refused as refusal:
        reason, _, suspected = str(refusal).partition(", ")
        assert reason == event["verdict"], event.get("note")
        assert not suspected or event["suspected"]
        return
    assert event["verdict"] == "opened", event.get("note")
    assert outcome["number"] == event["number"]
    for what in ("covered", "again", "moved"):
        assert outcome.get(what, set()) == session._spread(event.get(what, [])), what


def _lose(ends: dict[str, Session], event: dict[str, Any]) -> None:
    for _ in range(event["count"]):
        ends[event["end"]].seal(unhex(event["plaintext"]), step=None, salt=None)


def _restart(ends: dict[str, Session], event: dict[str, Any]) -> None:
    end = ends[event["end"]]
    end.must_reseed = end.sending is not None


def _copy(ends: dict[str, Session], event: dict[str, Any]) -> None:
    copied = ends[event["as"]] = copy.deepcopy(ends[event["end"]])
    copied.must_reseed = copied.sending is not None


def _judge(ends: dict[str, Session], event: dict[str, Any]) -> None:
    number, tag, max_age = event["reference"]
    judged = "fresh"
    try:
        ends[event["end"]].fresh([number, unhex(tag), max_age], unhex(event["boot"]), event["at_ms"], event["cap_ms"])
    except Refused as refusal:
        judged = str(refusal)
    assert judged == event["verdict"]


ACTS = {"seal": _seal, "open": _open, "lose": _lose, "restart": _restart, "copy": _copy, "judge": _judge}
