# SPDX-License-Identifier: Apache-2.0
"""Keys in a PKCS#11 token (OASIS PKCS #11 v2.40), found by CKA_ID.

Invariant: a key is made in the token, private, sensitive and not extractable; the token is asked whether it was, before
the first use in each process, and one that was not is not used. CKA_LABEL says what a key is for: only who is logged in
can change that, as opposed to the index beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from sealway.crypto.ports import Random
from sealway.crypto.secret import Secret
from sealway.errors import StateLost, TokenFailed
from sealway.keystore.chip import PREFIX, ChipKey, Purpose
from sealway.keystore.pkcs11_session import TokenSession, find_key
from sealway.keystore.pkcs11_uri import TokenName
from sealway.keystore.token import checked, compressed, padded

if TYPE_CHECKING:
    from pkcs11 import PrivateKey, Session

IDENTITY_BYTES: Final = 16
_KEPT: Final = ("PRIVATE", "SENSITIVE", "LOCAL", "NEVER_EXTRACTABLE")
"""What is true of a key (§4.9, table 14) that was made in the token and has always been kept there. One that is not
private needs no PIN to be put there: anybody could plant it."""
_P256: Final = bytes.fromhex("06082a8648ce3d030107")  # the OID as DER, SEC 1 §C.2: the parameters' named curve
_OCTETS: Final = b"\x04\x41"  # CKA_EC_POINT is the point in a DER OCTET STRING (§2.3.3); some tokens leave that away


class Pkcs11Chip:
    """A token that is open.

    Args:
        name: which one. ``pin`` is the user's. Raises as ``TokenSession.open``.
    """

    def __init__(self, name: TokenName, pin: Secret) -> None:
        self._session = TokenSession.open(name, pin)

    @property
    def settings(self) -> Mapping[str, str]:
        """Nothing: the URI says it all."""
        return {}

    @property
    def counter(self) -> None:
        """None: PKCS #11 tokens seldom have one (§2.3, CKO_HW_FEATURE)."""

    def retire(self) -> None:
        """Do nothing: the token keeps keys only."""

    def identity(self, random: Random) -> bytes:
        """Return a new CKA_ID."""
        return random(IDENTITY_BYTES)

    def make(self, identity: bytes, purpose: Purpose) -> ChipKey:
        """Make a key with this CKA_ID. Raises TokenFailed."""

        def work(session: Session) -> bytes:
            return _make(session, identity, purpose)

        return ChipKey(purpose, identity, compressed(_bare(self._session.run(work))))

    def discard(self, reference: bytes) -> None:
        """Destroy Sealway's keys with this CKA_ID, and nothing else: who asks for it read it in a file that is
        authenticated by nothing."""
        if len(reference) != IDENTITY_BYTES:
            return
        self._session.run(lambda session: _destroy(session, reference))
        self._session.forget(reference)

    def demand(self, key: ChipKey) -> None:
        """Return if the key is there and is what it says it is for.

        Raises StateLost; TokenFailed if it could leave the token, or was not made in it.
        """
        if self._session.use(key.reference, _label) != key.purpose.text:
            raise StateLost(f"the token holds another key than {key.purpose.label} under its identifier")
        self._session.use(key.reference, _check_kept)

    def sign(self, key: ChipKey, digest: bytes) -> bytes:
        """Return r‖s (§2.3.1: as long as the order, twice)."""
        from pkcs11 import Mechanism

        def work(private: PrivateKey) -> bytes:
            return private.sign(digest, mechanism=Mechanism.ECDSA)  # type: ignore[attr-defined,no-any-return]

        return checked(self._session.use(key.reference, work), 64, "a signature")

    def agree(self, key: ChipKey, point: bytes) -> bytes:
        """Return the product's x-coordinate (§2.3.8, without a KDF). Some modules leave leading zeros of it away."""
        return padded(self._session.use(key.reference, lambda private: _derived(private, point)), "an agreement")


def _make(session: Session, identity: bytes, purpose: Purpose) -> bytes:
    from pkcs11 import Attribute, KeyType, MechanismFlag

    parameters = session.create_domain_parameters(KeyType.EC, {Attribute.EC_PARAMS: _P256}, local=True)
    signs = purpose.kind == "sign"
    public, private = parameters.generate_keypair(
        id=identity, label=purpose.text, store=True,
        capabilities=(MechanismFlag.SIGN | MechanismFlag.VERIFY) if signs else MechanismFlag.DERIVE,
        private_template={
            Attribute.PRIVATE: True, Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False,
            Attribute.SIGN: signs, Attribute.DERIVE: not signs,
        },
    )  # fmt: skip
    try:
        _check_kept(find_key(session, identity))
    except TokenFailed:
        private.destroy()
        public.destroy()
        raise
    point: bytes = public[Attribute.EC_POINT]
    return point


def _destroy(session: Session, identity: bytes) -> None:
    from pkcs11 import Attribute, ObjectClass

    for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY):
        for found in list(session.get_objects({Attribute.CLASS: kind, Attribute.ID: identity})):
            if str(found[Attribute.LABEL]).startswith(PREFIX):
                found.destroy()


def _check_kept(private: PrivateKey) -> None:
    from pkcs11 import Attribute

    if private[Attribute.EXTRACTABLE] or not all(private[Attribute[name]] for name in _KEPT):
        raise TokenFailed(
            "the token lets this key leave it, or did not make it itself", hint="use another token, or a file"
        )


def _label(private: PrivateKey) -> str:
    from pkcs11 import Attribute

    label: str = private[Attribute.LABEL]
    return label


def _derived(private: Any, point: bytes) -> bytes:
    from pkcs11 import KDF, Attribute, KeyType, Mechanism

    shared = private.derive_key(
        KeyType.GENERIC_SECRET, 256, mechanism=Mechanism.ECDH1_DERIVE, mechanism_param=(KDF.NULL, None, point),
        template={Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True},
    )  # fmt: skip
    try:
        value: bytes = shared[Attribute.VALUE]
        return value
    finally:
        shared.destroy()  # an object of the session, or they would add up


def _bare(point: bytes) -> bytes:
    return point[2:] if point[:2] == _OCTETS and len(point) == 67 else point
