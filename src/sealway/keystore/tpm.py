# SPDX-License-Identifier: Apache-2.0
"""Keys in a TPM 2.0 (TCG, TPM 2.0 Library), and a counter in it that no copy of a directory takes back.

Invariant: keys are made in the TPM, fixed to it, and leave it only encrypted under its own storage key: that blob is
the reference. What a key is used with is derived from the passphrase at a price, and from what the key is for.

A wrong passphrase does not count as an attack on the TPM (noDA): a device that loses power too often would lock its
TPM. Each guess costs Argon2id and a command of this very TPM instead.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from sealway.crypto.ports import Random
from sealway.crypto.secret import Secret
from sealway.errors import LocalMisuse, StateLost
from sealway.keystore.chip import ChipKey, Purpose
from sealway.keystore.sealing import SALT_BYTES, Cost, Lock
from sealway.keystore.token import compressed, padded
from sealway.keystore.tpm_connection import TpmConnection
from sealway.keystore.tpm_counter import TpmCounter
from sealway.keystore.tpm_name import TpmName

_COORDINATE: Final = 32
_NUMBER: Final = "a number"


class TpmChip:
    """A TPM that is open. Made by ``create`` and ``open``."""

    def __init__(self, connection: TpmConnection, lock: Lock, counter: TpmCounter) -> None:
        self._connection = connection
        self._lock = lock
        self._counter = counter

    @classmethod
    def create(cls, name: TpmName, passphrase: Secret, random: Random, cost: Cost | None = None) -> TpmChip:
        """Begin a keystore in a TPM: its counter is made.

        Raises:
            LocalMisuse: an empty passphrase; tpm2-pytss is not installed; the TPM's owner has set a password.
            TokenGone, TokenLocked, TokenFailed: the TPM cannot be used.
        """
        lock = Lock.derive(passphrase, cost or Cost(), random(SALT_BYTES))
        connection = TpmConnection.to(name)
        return cls(connection, lock, TpmCounter.create(connection, _auth(lock, "counter"), random))

    @classmethod
    def open(cls, name: TpmName, passphrase: Secret, settings: Mapping[str, str]) -> TpmChip:
        """Open what ``create`` began. Raises as it; also LocalMisuse for a wrong passphrase, StateLost for settings
        that cannot be read, and a TPM that was cleared."""
        try:
            salt = _salt(settings["salt"])
            cost = Cost(*(int(settings[part]) for part in ("memory_kib", "passes", "lanes")))
            handle = int(settings["counter"], 16)
        except (ValueError, KeyError, TypeError, LocalMisuse):
            raise StateLost("not a list of keys in a TPM, or a damaged one", hint="restore it from a backup") from None
        lock = Lock.derive(passphrase, cost, salt)
        connection = TpmConnection.to(name)
        chip = cls(connection, lock, TpmCounter(connection, _auth(lock, "counter"), handle))
        chip.counter.value()  # refuses a wrong passphrase
        return chip

    @property
    def settings(self) -> dict[str, str]:
        """What ``open`` needs to know."""
        cost = self._lock.cost
        parts = {"memory_kib": cost.memory_kib, "passes": cost.passes, "lanes": cost.lanes}
        return {
            "salt": b64encode(self._lock.salt).decode(),
            **{name: str(value) for name, value in parts.items()},
            "counter": f"{self._counter.handle:08x}",
        }

    @property
    def counter(self) -> TpmCounter:
        """Counts the changes of the keystore."""
        return self._counter

    def retire(self) -> None:
        """Remove what is kept of this keystore in the TPM: its counter."""
        self._counter.remove()

    def identity(self, random: Random) -> bytes:
        """Return nothing: a key that is not written down is nowhere."""
        return b""

    def make(self, identity: bytes, purpose: Purpose) -> ChipKey:
        """Make a key. Raises as ``create``."""
        return self._connection.run(lambda api: self._make(api, purpose))

    def discard(self, reference: bytes) -> None:
        """Do nothing: the TPM keeps nothing of a key between two uses but the seed of its storage key."""

    def demand(self, key: ChipKey) -> None:
        """Return if the TPM can load the key. Raises StateLost."""
        self._connection.use(key.reference, self._auth(key.purpose), lambda *_: None)

    def sign(self, key: ChipKey, digest: bytes) -> bytes:
        """Return r‖s (Part 3, §20.2)."""

        def work(api: Any, handle: Any) -> tuple[bytes, bytes]:
            signed = api.sign(handle, digest, *_unrestricted())  # its parts are no longer there than this is
            parts = signed.signature.ecdsa
            return bytes(parts.signatureR), bytes(parts.signatureS)

        r, s = self._connection.use(key.reference, self._auth(key.purpose), work)
        return padded(r, _NUMBER) + padded(s, _NUMBER)

    def agree(self, key: ChipKey, point: bytes) -> bytes:
        """Return the product's x-coordinate (Part 3, §14.5)."""
        from tpm2_pytss import TPM2B_ECC_POINT, TPMS_ECC_POINT

        peer = TPM2B_ECC_POINT(TPMS_ECC_POINT(x=point[1 : 1 + _COORDINATE], y=point[1 + _COORDINATE :]))

        def work(api: Any, handle: Any) -> bytes:
            product = api.ecdh_zgen(handle, peer)
            return bytes(product.point.x)

        return padded(self._connection.use(key.reference, self._auth(key.purpose), work), _NUMBER)

    def _auth(self, purpose: Purpose) -> Secret:
        return _auth(self._lock, purpose.text)

    def _make(self, api: Any, purpose: Purpose) -> ChipKey:
        from tpm2_pytss import TPM2B_SENSITIVE_CREATE, TPMS_SENSITIVE_CREATE

        auth = TPM2B_SENSITIVE_CREATE(TPMS_SENSITIVE_CREATE(userAuth=self._auth(purpose).reveal()))
        self._connection.room()
        parent = self._connection.primary(api)
        try:
            private, public, *_ = api.create(parent, auth, _template(purpose))
        finally:
            api.flush_context(parent)
        point = public.publicArea.unique.ecc
        uncompressed = b"\x04" + padded(bytes(point.x), _NUMBER) + padded(bytes(point.y), _NUMBER)
        return ChipKey(purpose, public.marshal() + private.marshal(), compressed(uncompressed))


def _auth(lock: Lock, what: str) -> Secret:
    return Secret(hmac.digest(lock.key.reveal(), what.encode(), "sha256"))


def _salt(text: str) -> bytes:
    salt = b64decode(text, validate=True)
    if len(salt) != SALT_BYTES:
        raise ValueError(text)
    return salt


def _template(purpose: Purpose) -> Any:
    from tpm2_pytss import TPM2B_PUBLIC, TPMA_OBJECT

    kept = TPMA_OBJECT.FIXEDTPM | TPMA_OBJECT.FIXEDPARENT | TPMA_OBJECT.SENSITIVEDATAORIGIN
    kept |= TPMA_OBJECT.USERWITHAUTH | TPMA_OBJECT.NODA
    if purpose.kind == "sign":
        return TPM2B_PUBLIC.parse("ecc256:ecdsa-sha256", kept | TPMA_OBJECT.SIGN_ENCRYPT)
    return TPM2B_PUBLIC.parse("ecc256", kept | TPMA_OBJECT.DECRYPT)


@cache
def _unrestricted() -> tuple[Any, Any]:
    """Return the key's own scheme, and no ticket: the digest was made outside. Made once: a tenth of a millisecond."""
    from tpm2_pytss import TPM2_ALG, TPM2_RH, TPM2_ST, TPMT_SIG_SCHEME, TPMT_TK_HASHCHECK

    ticket = TPMT_TK_HASHCHECK(tag=TPM2_ST.HASHCHECK, hierarchy=TPM2_RH.OWNER)
    return TPMT_SIG_SCHEME(scheme=TPM2_ALG.NULL), ticket
