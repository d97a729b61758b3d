# SPDX-License-Identifier: Apache-2.0
"""A second reading of spec/envelope.md and spec/message.md, by somebody who has nothing but those pages.

It shares no code with the implementation (a test looks at its imports) and does not care for speed or elegance.
"""

from __future__ import annotations

import struct
from typing import Any

import cbor2
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM, ChaCha20Poly1305

UINT32 = 2**32 - 1
TAG_OF_ALG = {10: 8, 30: 16, 24: 16}
SUITE_OF_ALG = {10: 1, 30: 2, 24: 3}
LONGEST = 262_144
CRITICAL_ONCE = {65001, 65003, 65005, 65007, 65009, 65011, 65013, 65015, 65017, 65019, 65021}


class Refused(Exception):
    """Not accepted; the text is the verdict, as it stands in the vectors."""


def demand(condition: bool, verdict: str = "malformed") -> None:
    """Refuse unless the condition holds."""
    if not condition:
        raise Refused(verdict)


def strict_cbor(data: bytes) -> Any:
    """README.md, Conventions: what is accepted is what would have been written."""
    try:
        value = cbor2.loads(data, allow_indefinite=False, allow_duplicate_keys=False, max_depth=8)
    except (cbor2.CBORError, ValueError, TypeError, RecursionError) as error:
        raise Refused("malformed") from error
    demand(deterministic(value) == data)
    return value


def deterministic(value: Any) -> bytes:
    """RFC 8949 §4.2.1, for the few types that there are."""
    if isinstance(value, dict):
        pairs = sorted((deterministic(key), deterministic(item)) for key, item in value.items())
        return head(5, len(pairs)) + b"".join(key + item for key, item in pairs)
    if isinstance(value, list | tuple):
        return head(4, len(value)) + b"".join(map(deterministic, value))
    if value is None or isinstance(value, bool):
        return b"\xf6" if value is None else b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + bytes(value)
    demand(isinstance(value, str))
    return head(3, len(str(value).encode())) + str(value).encode()


def head(major: int, number: int) -> bytes:
    """The first bytes of a CBOR item."""
    for limit, extra, form in ((24, None, ""), (1 << 8, 24, ">B"), (1 << 16, 25, ">H"), (1 << 32, 26, ">I")):
        if number < limit:
            return (
                bytes([major << 5 | number])
                if extra is None
                else bytes([major << 5 | extra]) + struct.pack(form, number)
            )
    return bytes([major << 5 | 27]) + struct.pack(">Q", number)


def is_bytes(value: Any, shortest: int, longest: int | None = None) -> bool:
    return isinstance(value, bytes) and shortest <= len(value) <= (shortest if longest is None else longest)


def is_uint(value: Any, lowest: int = 0, highest: int = UINT32) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest


# envelope.md ---------------------------------------------------------------------------------------------------------
def read_envelope(data: bytes) -> dict[str, Any]:
    """Read an envelope. Refused: malformed, too-large."""
    demand(len(data) <= LONGEST, "too-large")
    demand(data[:1] == b"\xd0")
    parts = strict_cbor(data[1:])
    demand(isinstance(parts, list) and len(parts) == 3)
    protected, unprotected, ciphertext = parts
    demand(isinstance(protected, bytes) and unprotected == {} and isinstance(unprotected, dict))
    header = strict_cbor(protected)
    demand(isinstance(header, dict) and {1, 4, 6} <= set(header) <= {1, 4, 6, 15, -65537, -65538})
    demand(not any(isinstance(key, bool) for key in header))
    alg, kid, partial_iv = header[1], header[4], header[6]
    demand(is_uint(alg) and alg in TAG_OF_ALG and is_bytes(kid, 1, 8) and is_bytes(partial_iv, 1, 4))
    demand(len(partial_iv) == 1 or partial_iv[0] != 0)
    demand(is_bytes(ciphertext, TAG_OF_ALG[alg] + 1, LONGEST))
    envelope = {"alg": alg, "kid": kid, "number": int.from_bytes(partial_iv, "big"), "ciphertext": ciphertext}
    envelope |= {"protected": protected, "claims": None, "start": None, "opener": None}
    if 15 in header:
        envelope["claims"] = _claims(header[15])
    if -65537 in header:
        envelope["start"] = _start(header[-65537])
    if -65538 in header:
        envelope["opener"] = _opener(header[-65538], envelope["number"], beside_start=-65537 in header)
    return envelope


def _claims(claims: Any) -> dict[int, Any]:
    demand(isinstance(claims, dict) and bool(claims) and set(claims) <= {4, -65537, -65538})
    for label, longest in ((-65537, 128), (-65538, 64)):
        text = claims.get(label, "x")
        demand(isinstance(text, str) and 1 <= len(text.encode()) <= longest)
    demand(is_uint(claims.get(4, 0), 0, 253_402_300_799))
    return dict(claims)


def _start(start: Any) -> dict[str, Any]:
    demand(isinstance(start, list) and 1 <= len(start) <= 3 and is_bytes(start[0], 97, 104))
    bundle, x5t, ephemeral, kid = start[0][:32], start[0][32:64], start[0][64:96], start[0][96:]
    one_time = start[1] if len(start) > 1 else None
    demand(one_time is None or is_uint(one_time, 0, 63))
    demand(len(start) != 2 or one_time is not None)
    demand(len(start) != 3 or is_bytes(start[2], 1088))
    ml_kem = start[2] if len(start) == 3 else None
    return {"bundle": bundle, "x5t": x5t, "kid": kid, "ephemeral": ephemeral, "one_time": one_time, "ml_kem": ml_kem}


def _opener(opener: Any, number: int, *, beside_start: bool) -> dict[str, Any]:
    demand(isinstance(opener, list) and len(opener) in (2, 3, 5))
    first, x, epoch, reseed = opener[0], None, None, None
    if len(opener) == 2:
        x, epoch = opener[1], first
    elif len(opener) == 3:
        reseed = (opener[1], opener[2])
    else:
        x, epoch, reseed = opener[1], opener[2], (opener[3], opener[4])
    demand(is_uint(first) and first <= number)
    demand(x is None or (is_bytes(x, 32) and is_uint(epoch) and epoch <= first))
    demand(reseed is None or (is_uint(reseed[0], 1) and is_bytes(reseed[1], 16)))
    demand(not (beside_start and x is not None))
    return {"first": first, "x": x, "epoch": epoch, "reseed": reseed}


def write_header(envelope: dict[str, Any]) -> bytes:
    """The protected bucket of an envelope."""
    number = envelope["number"]
    header = {1: envelope["alg"], 4: envelope["kid"], 6: number.to_bytes(max(1, (number.bit_length() + 7) // 8), "big")}
    start, opener = envelope.get("start"), envelope.get("opener")
    if envelope.get("claims"):
        header[15] = envelope["claims"]
    if start is not None:
        header[-65537] = [start["bundle"] + start["x5t"] + start["ephemeral"] + start["kid"]]
        if start["one_time"] is not None or start["ml_kem"] is not None:
            header[-65537].append(start["one_time"])
        if start["ml_kem"] is not None:
            header[-65537].append(start["ml_kem"])
    if opener is not None:
        x = [] if opener["x"] is None else [opener["x"]]
        epoch = [opener["epoch"]] if x and opener["reseed"] else []
        header[-65538] = [opener["first"], *x, *epoch, *(opener["reseed"] or ())]
    return deterministic(header)


def write_envelope(protected: bytes, ciphertext: bytes) -> bytes:
    """The envelope of its two parts."""
    return b"\xd0" + deterministic([protected, {}, ciphertext])


def associated_data(protected: bytes) -> bytes:
    """RFC 9052 §5.3."""
    return deterministic(["Encrypt0", protected, b""])


def decrypt(envelope: dict[str, Any], key: bytes, base_iv: bytes) -> bytes:
    """Open. Refused: not-authentic."""
    nonce = (int.from_bytes(base_iv, "big") ^ envelope["number"]).to_bytes(len(base_iv), "big")
    cipher = _cipher(envelope["alg"], key)
    try:
        return bytes(cipher.decrypt(nonce, envelope["ciphertext"], associated_data(envelope["protected"])))
    except InvalidTag as error:
        raise Refused("not-authentic") from error


def encrypt(envelope: dict[str, Any], key: bytes, base_iv: bytes, plaintext: bytes) -> bytes:
    """Seal; return the whole envelope."""
    nonce = (int.from_bytes(base_iv, "big") ^ envelope["number"]).to_bytes(len(base_iv), "big")
    protected = write_header(envelope)
    cipher = _cipher(envelope["alg"], key)
    return write_envelope(protected, cipher.encrypt(nonce, plaintext, associated_data(protected)))


def _cipher(alg: int, key: bytes) -> AESCCM | ChaCha20Poly1305:
    """RFC 9053 §4.2 and §4.3."""
    return ChaCha20Poly1305(key) if alg == 24 else AESCCM(key, tag_length=TAG_OF_ALG[alg])


def read_compact(data: bytes) -> bytes:
    """The COSE form of an envelope in the compact form. Refused: malformed, too-large."""
    demand(len(data) <= LONGEST, "too-large")
    demand(len(data) > 0)
    flags = data[0]
    suite, kid_length, number_length = flags >> 6, (flags >> 3 & 7) + 1, (flags >> 1 & 3) + 1
    algs = {suite: alg for alg, suite in SUITE_OF_ALG.items()}
    demand(suite in algs and len(data) > 1 + kid_length + number_length)
    kid, rest = data[1 : 1 + kid_length], data[1 + kid_length :]
    number, rest = rest[:number_length], rest[number_length:]
    header: dict[int, Any] = {1: algs[suite], 4: kid, 6: number}
    if flags & 1:
        length = _first_item(rest)
        header[-65538], rest = strict_cbor(rest[:length]), rest[length:]
    encoded = write_envelope(deterministic(header), rest)
    read_envelope(encoded)
    return encoded


def write_compact(data: bytes) -> bytes:
    """The compact form of an envelope in the COSE form."""
    envelope = read_envelope(data)
    demand(envelope["claims"] is None and envelope["start"] is None)
    header = cbor2.loads(envelope["protected"])
    opener = deterministic(header[-65538]) if -65538 in header else b""
    flags = SUITE_OF_ALG[header[1]] << 6 | len(header[4]) - 1 << 3 | len(header[6]) - 1 << 1 | bool(opener)
    return bytes([flags]) + bytes(header[4]) + bytes(header[6]) + opener + bytes(envelope["ciphertext"])


def _first_item(data: bytes) -> int:
    """How long the first CBOR item is: the shortest beginning that can be read."""
    for length in range(1, min(len(data), 100) + 1):
        try:
            cbor2.loads(data[:length])
        except (cbor2.CBORError, ValueError):
            continue
        return length
    raise Refused("malformed")


# message.md ----------------------------------------------------------------------------------------------------------
def read_message(data: bytes) -> dict[str, Any]:
    """Code, options by number (a list of values each), payload. Refused: malformed, too-large."""
    demand(len(data) <= LONGEST, "too-large")
    demand(len(data) > 0)
    code = data[0]
    demand(code == 0 or 1 <= code <= 7 or code >> 5 in (2, 4, 5))
    options: list[tuple[int, bytes]] = []
    at, number = 1, 0
    while at < len(data) and data[at] != 0xFF:
        delta, length = data[at] >> 4, data[at] & 15
        at += 1
        delta, at = _extended(data, at, delta)
        length, at = _extended(data, at, length)
        number += delta
        demand(number <= 65_535 and at + length <= len(data))
        options.append((number, data[at : at + length]))
        at += length
    demand(len(options) <= 128)
    demand(at == len(data) or len(data) > at + 1)
    known: dict[int, list[bytes]] = {}
    for number, value in options:
        known.setdefault(number, []).append(value)
    for number, values in known.items():
        _check_option(number, values)
    return {"code": code, "options": known, "payload": data[at + 1 :]}


def _extended(data: bytes, at: int, nibble: int) -> tuple[int, int]:
    demand(nibble != 15)
    if nibble < 13:
        return nibble, at
    size = nibble - 12
    demand(at + size <= len(data))
    return int.from_bytes(data[at : at + size], "big") + (13 if size == 1 else 269), at + size


def _check_option(number: int, values: list[bytes]) -> None:
    if number in (11, 15):
        demand(len(values) <= 16)
        for value in values:
            try:
                text = value.decode()
            except UnicodeDecodeError as error:
                raise Refused("malformed") from error
            demand(len(value) <= 255 and not (number == 11 and text in (".", "..")))
        return
    if number % 2 == 0 and number not in (12, 65000, 65002):
        return
    demand(number in CRITICAL_ONCE or number in (12, 65000, 65002))
    demand(len(values) == 1)
    value = values[0]
    lengths = {65001: (8, 8), 65009: (64, 64), 65013: (1, 8), 65017: (1, 1024), 65021: (32, 32)}
    if number in lengths:
        demand(lengths[number][0] <= len(value) <= lengths[number][1])
    if number == 65011:
        demand(len(value) in (0, 32))
    if number in (12, 65000, 65002):
        demand(not value.startswith(b"\0"))
        top = {12: 65_535, 65000: 253_402_300_799_999, 65002: UINT32}[number]
        demand((1 if number == 65002 else 0) <= int.from_bytes(value, "big") <= top)
    if number in (65003, 65005, 65007, 65015):
        demand(len(value) <= 1024)
        _check_cbor_option(number, strict_cbor(value))


def _check_cbor_option(number: int, value: Any) -> None:
    demand(isinstance(value, list))
    if number == 65003:
        read_receipt(value)
    elif number == 65005:
        demand(len(value) == 3 and is_uint(value[0]) and is_bytes(value[1], 4) and is_uint(value[2]))
    elif number == 65007:
        demand(len(value) == 2 and is_bytes(value[0], 32) and is_uint(value[1]))
    else:
        demand(1 <= len(_ranges(value, UINT32 + 1)) <= 64)


def read_receipt(value: Any) -> dict[str, Any]:
    """N, the tag, missing and gone ranges."""
    demand(isinstance(value, list) and len(value) in (3, 4) and is_uint(value[0]) and is_bytes(value[1], 4))
    missing, gone = _ranges(value[2], value[0]), _ranges(value[3], value[0]) if len(value) == 4 else []
    demand(len(value) == 3 or bool(gone))
    demand(len(missing) + len(gone) <= 8)
    demand(not any(a <= d and c <= b for a, b in missing for c, d in gone))
    return {"number": value[0], "tag": value[1], "missing": missing, "gone": gone}


def _ranges(flat: Any, below: int) -> list[tuple[int, int]]:
    demand(isinstance(flat, list) and len(flat) % 2 == 0)
    pairs = list(zip(flat[::2], flat[1::2], strict=True))
    floor = 0
    for first, last in pairs:
        demand(is_uint(first) and is_uint(last) and floor <= first <= last < below)
        floor = last + 2
    return pairs
