# SPDX-License-Identifier: Apache-2.0
"""Keys in a token or TPM, and the small file beside it that says which they are: no secret, but trusted in nothing.

Invariant: a key is used only after it has proven, by an operation inside the chip, that its public half is the one in
the file. A key that was begun is written down before it is made, so that none is left behind in the chip unknown.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import Final, get_args

from sealway.crypto.keys import POINT_BYTES, VerifyingKey, agree, agreed_x, generate_scalar, lifted, public_x
from sealway.crypto.ports import Agreer, Random, Signer
from sealway.crypto.secret import Secret
from sealway.crypto.suites import SUITE_1, Suite
from sealway.errors import LocalMisuse, NotAuthentic, SealwayError, StateLost, TokenFailed
from sealway.keystore.chip import Chip, ChipKey, Purpose
from sealway.keystore.index import Index, encode_index
from sealway.keystore.kept import KeptFile
from sealway.keystore.memory import LABEL
from sealway.keystore.ports import Kind

_PROOF: Final = b"sealway proof of a key in a token, no message"
_CHALLENGE_BYTES: Final = 32
_NUMBER_BYTES: Final = 32  # a coordinate, or half a signature, of P-256


class TokenSigner:
    """A Signer whose private key is in a chip."""

    __slots__ = ("_chip", "_key", "_public")

    def __init__(self, chip: Chip, key: ChipKey) -> None:
        self._chip = chip
        self._key = key
        self._public = VerifyingKey(key.point)

    @property
    def public(self) -> VerifyingKey:
        """The public half."""
        return self._public

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature. Raises TokenFailed; StateLost if the key is gone."""
        return self._chip.sign(self._key, hashlib.sha256(message).digest())


class TokenAgreer:
    """An Agreer whose private key is in a chip."""

    __slots__ = ("_chip", "_key")

    def __init__(self, chip: Chip, key: ChipKey) -> None:
        self._chip = chip
        self._key = key

    @property
    def public(self) -> bytes:
        """The public half: a 32-byte x-coordinate."""
        return self._key.point[1:]

    def agree(self, peer: bytes) -> Secret:
        """Return the agreed 32-byte x-coordinate.

        Raises:
            Malformed, NotAuthentic: as ``sealway.crypto.keys.agree``; the chip is not asked then.
            TokenFailed, StateLost: the chip cannot be used, or has lost the key.
        """
        return agreed_x(self._chip.agree(self._key, lifted(peer)))


@dataclass(slots=True)
class TokenKeystore:
    """A Keystore in a chip. Made by ``sealway.keystore.places``.

    Args:
        chip: open.
        index: which keys are in it, as in ``file``.
        file: where the index is kept.
        random: source of identities and challenges.
    """

    chip: Chip
    index: Index
    file: KeptFile
    random: Random
    _proven: set[str] = field(default_factory=set)

    @classmethod
    def begin(cls, place: str, chip: Chip, file: KeptFile, random: Random) -> TokenKeystore:
        """Make a keystore without keys. Raises LocalMisuse if there is such a file; TokenFailed, and leaves none."""
        count = chip.counter.value() if chip.counter is not None else 0
        keystore = cls(chip, Index(place, chip.settings, count=count), file, random)
        try:
            keystore._write(keystore.index)
        except SealwayError:
            file.remove()  # it may be there already, and what it is about is not
            raise
        return keystore

    @classmethod
    def resume(cls, index: Index, chip: Chip, file: KeptFile, random: Random) -> TokenKeystore:
        """Open a keystore. Raises StateLost if the chip counted changes that the file does not know of.

        It may be one behind the file, after a crash. The next change makes that good and not this, since who only
        reads keeps nobody else from writing.
        """
        if chip.counter is not None:
            ahead = index.count - chip.counter.value()
            if ahead not in (0, 1):
                raise StateLost(
                    f"the list of keys in {index.place} is an older one, or a copy",
                    hint="use the newest one; else enroll in a directory of its own",
                )
        return cls(chip, index, file, random)

    def retire(self) -> None:
        """Destroy all keys, and what else the chip keeps of this keystore. It cannot be used any more."""
        try:
            for label in self.labels():
                self.remove(label)
            self.tidy()
        finally:
            self.chip.retire()

    def tidy(self) -> None:
        """Destroy what is left of keys that were begun, or were removed while the chip was away. Raises TokenFailed."""
        self._clear()

    def labels(self) -> dict[str, Kind]:
        """Return every label, with its key's kind."""
        return {label: key.purpose.kind for label, key in sorted(self.index.keys.items())}

    def suite(self, label: str) -> Suite:
        """Return what a key was made for. Raises LocalMisuse if there is none."""
        return self._key(label, *get_args(Kind)).purpose.suite

    def generate(self, label: str, kind: Kind = "sign", suite: Suite = SUITE_1) -> None:
        """Make a key in the chip and keep its reference durably.

        Raises:
            LocalMisuse: the label is taken or not a label; a key of kind hop, or of suite 3; the file was changed.
            TokenFailed: the chip cannot be used. The key was made if ``labels`` names it; what was only begun is
                destroyed with the next change.
        """
        purpose = self._wanted(label, kind, suite)
        identity = self.chip.identity(self.random)
        self._clear(*([identity] if identity else []))
        key = self.chip.make(identity, purpose)
        self._prove(key)
        self._write(replace(self.index, keys={**self.index.keys, label: key}, doomed=()))

    def remove(self, label: str) -> None:
        """Destroy a key. Raises LocalMisuse if there is none, TokenFailed if that has to wait for the next change."""
        gone = self._key(label, *get_args(Kind))
        keys = {other: key for other, key in self.index.keys.items() if other != label}
        self._write(replace(self.index, keys=keys, doomed=(*self.index.doomed, gone.reference)))
        self._clear()

    def signer(self, label: str) -> Signer:
        """Return the signing port of a key of kind sign.

        Raises:
            LocalMisuse: there is no such key.
            TokenFailed: the chip cannot be used.
            StateLost: the chip does not have the key, or it is another one.
        """
        return TokenSigner(self.chip, self._sound(label, "sign"))

    def agreer(self, label: str) -> Agreer:
        """Return the agreement port of a key of kind agree. Raises as ``signer``."""
        return TokenAgreer(self.chip, self._sound(label, "agree"))

    def hop_key_pem(self, label: str) -> bytes:
        """Raise LocalMisuse: a chip gives out no key."""
        self._key(label, "hop")
        raise LocalMisuse(_NO_HOPS, hint=_HOP_HINT)

    def _wanted(self, label: str, kind: Kind, suite: Suite) -> Purpose:
        if not LABEL.fullmatch(label):
            raise LocalMisuse(f"{label!r} is no label for a key", hint="use a-z, 0-9, dot, underscore and hyphen")
        if label in self.index.keys:
            raise LocalMisuse(f"there is a key named {label} already")
        if kind not in get_args(Kind):
            raise LocalMisuse(f"there is no kind of key named {kind}", hint="use sign or agree")
        if kind == "hop":
            raise LocalMisuse(_NO_HOPS, hint=_HOP_HINT)
        if suite.curve.name != "P-256":
            raise LocalMisuse(f"tokens have no keys of suite {suite.number}", hint="use suite 1 or 2, or a file")
        return Purpose(label, kind, suite)

    def _clear(self, *begun: bytes) -> None:
        """Destroy what is doomed, after this program has made sure that the file is its own; then write what is begun
        down."""
        doomed = self.index.doomed
        if not doomed and not begun:
            return
        self._write(replace(self.index, doomed=(*doomed, *begun)))
        for reference in doomed:
            self.chip.discard(reference)
        if doomed:
            self._write(replace(self.index, doomed=begun))

    def _write(self, index: Index) -> None:
        """Keep an index.

        The file is written first: a crash or a failure leaves it one ahead of the counter, never more, since that is
        made good before the file is written again.
        """
        counter = self.chip.counter
        if counter is None:
            fresh = index
        else:
            counter.reach(self.index.count)
            fresh = replace(index, count=self.index.count + 1)
        self.file.replace(encode_index(fresh))
        self.index = fresh
        if counter is not None:
            counter.reach(fresh.count)

    def _key(self, label: str, *kinds: Kind) -> ChipKey:
        key = self.index.keys.get(label)
        if key is None:
            raise LocalMisuse(f"there is no key named {label}")
        if key.purpose.kind not in kinds:
            raise LocalMisuse(f"the key {label} is of the kind {key.purpose.kind}, not {' or '.join(kinds)}")
        return key

    def _sound(self, label: str, kind: Kind) -> ChipKey:
        key = self._key(label, *(("sign", "hop") if kind == "sign" else (kind,)))
        if label not in self._proven:
            self.chip.demand(key)
            self._prove(key)
            self._proven.add(label)
        return key

    def _prove(self, key: ChipKey) -> None:
        """Let a key show that it is the private half of its point. Raises StateLost."""
        try:
            (self._prove_signer if key.purpose.kind == "sign" else self._prove_agreer)(key)
        except NotAuthentic:
            raise StateLost(
                f"the key {key.purpose.label} in {self.index.place} is not the one that was made here",
                hint="use the token or TPM that the keys were made in, or a new state directory",
            ) from None

    def _prove_signer(self, key: ChipKey) -> None:
        challenge = _PROOF + self.random(_CHALLENGE_BYTES)
        signer = TokenSigner(self.chip, key)
        signer.public.verify(challenge, signer.sign(challenge))

    def _prove_agreer(self, key: ChipKey) -> None:
        once = generate_scalar(self.random)
        if TokenAgreer(self.chip, key).agree(public_x(once)) != agree(once, key.point[1:]):
            raise NotAuthentic("an agreement gave something else")


def checked(result: bytes, length: int, what: str) -> bytes:
    """Return what a chip gave if it has the right length. Raises TokenFailed."""
    if len(result) != length:
        raise TokenFailed(f"the token gave {what} of {len(result)} bytes, not {length}", hint="it may be broken")
    return result


def padded(number: bytes, what: str) -> bytes:
    """Return a number that a chip gave in 32 bytes; some leave leading zeros away. Raises TokenFailed."""
    if not 0 < len(number) <= _NUMBER_BYTES:
        raise TokenFailed(f"the token gave {what} of {len(number)} bytes", hint="it may be broken")
    return number.rjust(_NUMBER_BYTES, b"\x00")


def compressed(point: bytes) -> bytes:
    """Return a point that a chip gave uncompressed in compressed form. Raises TokenFailed if it is on no curve."""
    if len(point) != 2 * POINT_BYTES - 1 or point[0] != 4:
        raise TokenFailed("the token gave no public key for a key that it made", hint="it may be broken")
    return bytes([2 + (point[-1] & 1)]) + point[1:POINT_BYTES]


_NO_HOPS: Final = "a hop's key is given to a TLS library, which a token does not do"
_HOP_HINT: Final = "keep hop keys in a file"
