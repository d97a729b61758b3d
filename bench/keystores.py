# SPDX-License-Identifier: Apache-2.0
"""A signature and an agreement through each keystore, against the raw call of what holds the key.

Raw are: for a file, the cryptography package with the key loaded; for a PKCS#11 token (SoftHSM2), the calls of
python-pkcs11 with the key found, for an agreement the derivation, reading its value and destroying it; for a TPM 2.0
(swtpm), one command of the ESAPI with the key loaded, and its result as bytes. Points are at hand as the raw call takes
them. A figure is the median of elapsed times, since a TPM is another process. What is not installed is left out.
"""

from __future__ import annotations

import gc
import hashlib
import importlib.util
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from bench.measure import Pair, Subject
from sealway.crypto.keys import generate_scalar, lifted, private_key, public_x
from sealway.crypto.secret import Secret
from sealway.keystore.file import FileKeystore
from sealway.keystore.places import create_token_keystore
from sealway.keystore.ports import Keystore
from sealway.keystore.token import TokenKeystore
from tests.keystore.softhsm import MODULES, PIN, SoftHsm, raw_session
from tests.keystore.swtpm import SwTpm

TIMES = 50
MESSAGE = b"m" * 64
DIGEST = hashlib.sha256(MESSAGE).digest()

Raw = tuple[Callable[[], object], Callable[[bytes], object]]
"""A signature over MESSAGE, and an agreement with an uncompressed point."""


@contextmanager
def _file() -> Iterator[tuple[Keystore, Raw]]:
    with tempfile.TemporaryDirectory() as directory:
        keystore = FileKeystore.create(Path(directory) / "keys", Secret(b"passphrase"))
        _generate(keystore)
        key, ecdsa = private_key(generate_scalar(os.urandom)), ec.ECDSA(SHA256(), deterministic_signing=True)

        def agree(point: bytes) -> bytes:
            return key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point))

        yield keystore, (lambda: key.sign(MESSAGE, ecdsa), agree)


@contextmanager
def _token() -> Iterator[tuple[Keystore, Raw]]:
    from pkcs11 import KDF, Attribute, KeyType, Mechanism

    with tempfile.TemporaryDirectory() as directory:
        place = SoftHsm(Path(directory) / "softhsm").add_token("bench")
        keystore = create_token_keystore(place, Path(directory) / "keys", Secret(PIN.encode()))
        _generate(keystore)
        session = raw_session("bench")
        signing, agreeing = (
            list(session.get_objects({Attribute.ID: keystore.index.keys[label].reference}))
            for label in ("identity", "agreement")
        )
        signer: Any = next(key for key in signing if hasattr(key, "sign"))
        deriver: Any = next(key for key in agreeing if hasattr(key, "derive_key"))

        def agree(point: bytes) -> object:
            shared = deriver.derive_key(
                KeyType.GENERIC_SECRET, 256, mechanism=Mechanism.ECDH1_DERIVE,
                mechanism_param=(KDF.NULL, None, point),
                template={Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True},
            )  # fmt: skip
            value = shared[Attribute.VALUE]
            shared.destroy()
            return value

        yield keystore, (lambda: signer.sign(DIGEST, mechanism=Mechanism.ECDSA), agree)


@contextmanager
def _tpm() -> Iterator[tuple[Keystore, Raw]]:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        tpm = SwTpm(directory)
        stack.callback(tpm.close)
        keystore = create_token_keystore(tpm.place, directory / "keys", Secret(b"passphrase"))
        _generate(keystore)
        keystore.signer("identity")
        keystore.agreer("agreement")
        yield keystore, _raw_tpm(tpm, keystore)


def _raw_tpm(tpm: SwTpm, keystore: TokenKeystore) -> Raw:
    from tpm2_pytss import (
        TPM2_ALG,
        TPM2_RH,
        TPM2_ST,
        TPM2B_ECC_POINT,
        TPMS_ECC_POINT,
        TPMT_SIG_SCHEME,
        TPMT_TK_HASHCHECK,
    )

    connection = tpm.connection
    signer, agreer = (
        connection._loaded[keystore.index.keys[label].reference][0] for label in ("identity", "agreement")
    )
    scheme, ticket = (
        TPMT_SIG_SCHEME(scheme=TPM2_ALG.NULL),
        TPMT_TK_HASHCHECK(tag=TPM2_ST.HASHCHECK, hierarchy=TPM2_RH.OWNER),
    )

    def agree(point: bytes) -> bytes:
        product = connection._api.ecdh_zgen(agreer, TPM2B_ECC_POINT(TPMS_ECC_POINT(x=point[1:33], y=point[33:])))
        return bytes(product.point.x)

    def sign() -> bytes:
        signed = connection._api.sign(signer, DIGEST, scheme, ticket)
        parts = signed.signature.ecdsa
        return bytes(parts.signatureR) + bytes(parts.signatureS)

    return sign, agree


def _generate(keystore: Keystore) -> None:
    keystore.generate("identity")
    keystore.generate("agreement", "agree")


Open = Callable[[], Any]


@contextmanager
def _signing(opened: Open) -> Iterator[Pair]:
    with opened() as (keystore, (raw, _)):
        signer = keystore.signer("identity")
        yield Pair(lambda: _each(lambda: signer.sign(MESSAGE)), lambda: _each(raw))


@contextmanager
def _agreeing(opened: Open) -> Iterator[Pair]:
    xs = [public_x(generate_scalar(os.urandom)) for _ in range(TIMES)]
    ours, raws = cycle(xs), cycle([lifted(x) for x in xs])
    with opened() as (keystore, (_, raw)):
        agreer = keystore.agreer("agreement")
        yield Pair(lambda: _each(lambda: agreer.agree(next(ours))), lambda: _each(lambda: raw(next(raws))))


def _each(work: Callable[[], object]) -> float:
    gc.collect()
    return median(_elapsed(work) for _ in range(TIMES)) * 1e6


def _elapsed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _places() -> list[tuple[str, Open]]:
    found: list[tuple[str, Open]] = [("file", _file)]
    if any(Path(module).exists() for module in MODULES) and importlib.util.find_spec("pkcs11"):
        found.append(("PKCS#11 token", _token))
    if shutil.which("swtpm") and importlib.util.find_spec("tpm2_pytss"):
        found.append(("TPM", _tpm))
    return found


SUBJECTS = tuple(
    Subject(f"{what}, key in a {place}", "µs", 1.2, partial(prepare, opened))
    for place, opened in _places()
    for what, prepare in (("sign", _signing), ("agree", _agreeing))
)
