# SPDX-License-Identifier: Apache-2.0
"""Signers in the shape that the cryptography package's CSR and certificate builders want.

Invariant: what the builders get can sign, and nothing else: asked for the private key itself, it refuses.
"""

from __future__ import annotations

from typing import NoReturn

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from sealway.crypto.ports import Signer
from sealway.errors import LocalMisuse


class SigningKey(ec.EllipticCurvePrivateKey):
    """A P-256 private key that can only sign.

    Args:
        signer: does the work, wherever its key is. Raises LocalMisuse unless that is on P-256.
    """

    def __init__(self, signer: Signer) -> None:
        public = signer.public.to_cryptography()
        if not isinstance(public, ec.EllipticCurvePublicKey):
            raise LocalMisuse("this signer's key is not on P-256")
        self._signer, self._public = signer, public

    @property
    def curve(self) -> ec.EllipticCurve:
        """P-256."""
        return ec.SECP256R1()

    @property
    def key_size(self) -> int:
        """256 bits."""
        return 256

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Return the public half."""
        return self._public

    def sign(
        self, data: bytes | bytearray | memoryview, signature_algorithm: ec.EllipticCurveSignatureAlgorithm
    ) -> bytes:
        """Return a DER signature (RFC 3279 §2.2.3). Raises LocalMisuse unless ECDSA with SHA-256 is asked for."""
        if not isinstance(signature_algorithm, ec.ECDSA) or not isinstance(
            signature_algorithm.algorithm, hashes.SHA256
        ):
            raise LocalMisuse("this key signs with ECDSA and SHA-256 only")
        raw = self._signer.sign(bytes(data))
        return encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> bytes:
        """Refuse: a signing key does not agree."""
        self._refuse()

    def private_numbers(self) -> ec.EllipticCurvePrivateNumbers:
        """Refuse."""
        self._refuse()

    def private_bytes(self, encoding: object, format: object, encryption_algorithm: object) -> bytes:  # noqa: A002
        """Refuse."""
        self._refuse()

    def __copy__(self) -> SigningKey:
        self._refuse()

    def __deepcopy__(self, memo: object) -> SigningKey:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise LocalMisuse("this key can sign and nothing else")


class EdwardsSigningKey(ed25519.Ed25519PrivateKey):
    """An Ed25519 private key that can only sign.

    Args:
        signer: does the work, wherever its key is.
    """

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def public_key(self) -> ed25519.Ed25519PublicKey:
        """Return the public half."""
        return ed25519.Ed25519PublicKey.from_public_bytes(self._signer.public.point)

    def sign(self, data: bytes | bytearray | memoryview) -> bytes:
        """Return the 64-byte signature (RFC 8032 §5.1.6)."""
        return self._signer.sign(bytes(data))

    def private_bytes(self, encoding: object, format: object, encryption_algorithm: object) -> bytes:  # noqa: A002
        """Refuse."""
        self._refuse()

    def private_bytes_raw(self) -> bytes:
        """Refuse."""
        self._refuse()

    def __copy__(self) -> EdwardsSigningKey:
        self._refuse()

    def __deepcopy__(self, memo: object) -> EdwardsSigningKey:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise LocalMisuse("this key can sign and nothing else")
