# SPDX-License-Identifier: Apache-2.0
"""A member's state directory: its keys, what it asked the owner for, and what the owner answered.

Invariant: private keys never leave the directory. The root document is trusted by the fingerprint that was
pinned with the first enrolment; a later one brings the same document, or a successor that the old owner keys signed.

DIR/keystore      private keys, encrypted; or which ones they are in a token
DIR/request.csr   what the owner is asked to certify
DIR/enrolled      SHA-256 of the pinned root document, and the enrolment behind it: both change in one step
DIR/grants/       grants that came later, one a file
DIR/lock          held by the process that runs here
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from sealway.crypto.ports import Signer
from sealway.crypto.secret import Secret
from sealway.crypto.suites import SUITE_1, Suite
from sealway.errors import LocalMisuse, NotTrusted, SealwayError, StateLost
from sealway.home.ownership import state_in
from sealway.identity.credentials import Credential, verify_chain
from sealway.identity.enrolment import EnrolmentClaims, read_root, verify_enrolment
from sealway.identity.grants import verify_grant
from sealway.identity.issuing import make_csr, verify_csr
from sealway.identity.root import FINGERPRINT_BYTES, OwnerRoot, recall_root, trust_root_on_first_use, verify_root
from sealway.joining.ownership import Act, State, demand
from sealway.keystore.places import keystore_at, open_keystore
from sealway.keystore.ports import Keystore, Kind
from sealway.keystore.private_file import read_private, replace_private
from sealway.keystore.token import TokenKeystore
from sealway.storage.directory import DirectoryLock, demand_free
from sealway.storage.files import read_file
from sealway.wire.address import Name
from sealway.wire.cose import MAX_DOCUMENT_BYTES, Sign1

log = logging.getLogger(__name__)

SIGNING_KEY: Final = "identity"
AGREEMENT_KEY: Final = "agreement"
HOP_KEY: Final = "hop"
"""Labels of keys in a member's keystore."""

ENDPOINT_KEYS: Final[Mapping[str, Kind]] = {SIGNING_KEY: "sign", AGREEMENT_KEY: "agree"}
HOP_KEYS: Final[Mapping[str, Kind]] = {HOP_KEY: "hop"}

Warn: TypeAlias = Callable[[str, str | None], None]
"""Is told what the person in charge should know, and what to do about it."""

_OWN_KEYS: Final = re.compile(r"identity|hop|agreement(?:-[0-9]{1,9})?")
"""Labels of all keys that a member makes for one owner. Its agreement keys are numbered as they are replaced."""
_HOPS: Final = ("hub", "gateway", "adversary")
_MOST_GRANTS: Final = 64


def log_warning(message: str, hint: str | None) -> None:
    """Write a warning into the log."""
    log.warning("%s%s", message, f" ({hint})" if hint is not None else "")


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A member with its keys, ready to run.

    Args:
        root: the pinned root document.
        credential: its own, proven as of now.
        signer: the key of its certificate.
        claims: what its enrolment says.
        keystore: its open keys.
        grants: encoded grants that it holds and that are in their time.
        demand_still: returns if it may still work: to be called once the directory is this process's, since a reset or
            a stop may have come between the opening and that. Raises NotAuthorized, StateLost.
    """

    root: OwnerRoot
    credential: Credential
    signer: Signer
    claims: EnrolmentClaims
    keystore: Keystore = field(repr=False)
    grants: tuple[bytes, ...] = field(default=(), repr=False)
    demand_still: Callable[[], None] = field(default=lambda: None, repr=False)


def role_in(path: Path) -> str:
    """Return the role of the member whose state directory this is. Raises LocalMisuse, StateLost."""
    request = path / "request.csr"
    if not request.exists():
        raise LocalMisuse(f"{path} is no member's state directory")
    try:
        return verify_csr(read_private(request, limit=MAX_DOCUMENT_BYTES))[0].role
    except SealwayError as error:
        raise StateLost(f"the request in {path} is damaged: {error.message}") from None


class Home:
    """The state directory of one member.

    Args:
        path: the directory.
        command: the group of commands that it belongs to: hub, gateway, device, app, or adversary, whose certificate
            is a gateway's.
        warn: is told of what is left out, or trusted without proof; the log by default.
    """

    def __init__(self, path: Path, command: str, warn: Warn = log_warning) -> None:
        self.path = path
        self.command = command
        self._warn = warn
        self.keystore_path = path / "keystore"
        self.request_path = path / "request.csr"
        self._enrolled_path = path / "enrolled"
        self._grants_path = path / "grants"

    @property
    def role(self) -> str:
        """The role of the names that live here."""
        return {"app": "application", "adversary": "gateway"}.get(self.command, self.command)

    @property
    def _keys(self) -> Mapping[str, Kind]:
        return HOP_KEYS if self.command in _HOPS else ENDPOINT_KEYS

    @property
    def _identity(self) -> str:
        return HOP_KEY if self.command in _HOPS else SIGNING_KEY

    # first phase: keys and a request ---------------------------------------------------------------------------
    def prepare(self, name: Name, passphrase: Secret, suite: Suite | None = None, place: str | None = None) -> bytes:
        """Make the keys and the request for ``name``, and return the request. Begun before and interrupted, it is
        completed.

        Args:
            suite: what the keys are made for; None: what those that are here already were made for, or suite 1.
            place: where the keys shall be made (``sealway.keystore.places``); None: where they are already, or a file.

        Raises:
            LocalMisuse: another name, suite or place was asked for here, a wrong passphrase, or the directory cannot
                be used.
            TokenFailed: the token cannot be used.
        """
        with self.held():
            keystore = keystore_at(place, self.keystore_path, passphrase)
            known = keystore.labels()
            wanted = self._wanted_suite(keystore, suite)
            for label, kind in self._keys.items():
                if label not in known:
                    keystore.generate(label, kind, wanted)
            if self.request_path.exists():
                self._check_same(name)
            else:
                self._write(self.request_path, make_csr(keystore.signer(self._identity), name))
            return read_private(self.request_path, limit=MAX_DOCUMENT_BYTES)

    def held(self) -> DirectoryLock:
        """Take the directory, for steps that nothing may run beside: a context. Raises InUse, LocalMisuse."""
        demand_free(self.path)
        return DirectoryLock(self.path, f"sealway {self.command}")

    def _wanted_suite(self, keystore: Keystore, suite: Suite | None) -> Suite:
        known = keystore.suite(self._identity) if self._identity in keystore.labels() else None
        if suite is not None and known is not None and suite is not known:
            raise LocalMisuse(
                f"the keys in {self.path} are for suite {known.number}", hint="use a directory of its own"
            )
        return suite or known or SUITE_1

    def _check_same(self, name: Name) -> None:
        asked, _ = verify_csr(read_private(self.request_path, limit=MAX_DOCUMENT_BYTES))
        if asked != name:
            raise LocalMisuse(f"{self.path} is {asked} already", hint="give another name a directory of its own")

    # second phase: the owner's answer --------------------------------------------------------------------------
    def enrol(self, encoded: bytes, passphrase: Secret, fingerprint: bytes | None) -> Credential:
        """Verify an enrolment, pin its root document, and keep both.

        Raises:
            NotTrusted, NotAuthentic, NotAuthorized, Malformed: see ``verify_enrolment`` and ``verify_root``.
            LocalMisuse: there are no keys here yet.
        """
        with self.held():
            signer = self._open_keystore(passphrase).signer(self._identity)
            now = int(time.time())
            root = self._trusted_root(read_root(encoded), fingerprint, now)
            enrolment = verify_enrolment(encoded, root, now, member=signer.public)
            if enrolment.credential.role != self.role:
                raise NotTrusted(f"the enrolment is for a {enrolment.credential.role}, and this is a {self.role}")
            self._demand_no_older(root, enrolment.claims)
            self._write(self._enrolled_path, root.fingerprint + encoded)
            return enrolment.credential

    def _demand_no_older(self, root: OwnerRoot, claims: EnrolmentClaims) -> None:
        """An enrolment that was replaced does not come back: its grants may have been withdrawn since, and it would end
        a stop by presence."""
        if not self._enrolled_path.exists():
            return
        try:
            kept_root, kept = self._enrolled()
        except StateLost:
            return  # a damaged one is what a new one is for
        if kept_root.fingerprint == root.fingerprint and claims.issued < kept.issued:
            raise NotTrusted("the enrolment is older than the one that is kept")

    def _trusted_root(self, document: bytes, fingerprint: bytes | None, now: int) -> OwnerRoot:
        if fingerprint is not None:
            return verify_root(document, now=now, fingerprint=fingerprint)
        if self._enrolled_path.exists():
            return verify_root(document, now=now, pinned=self._enrolled()[0])
        root = trust_root_on_first_use(document, now=now)
        self._warn(
            f"trusting the root document {root.fingerprint.hex()} because it came first",
            "compare this with the fingerprint that the owner shows, or give --fingerprint",
        )
        return root

    def kept(self) -> tuple[bytes, bytes] | None:
        """Return SHA-256 of the pinned root document and of the enrolment; None where there is none. Raises StateLost.

        This file is what makes a device owned: it is there or it is not.
        """
        if not self._enrolled_path.exists():
            return None
        content = read_private(self._enrolled_path, limit=FINGERPRINT_BYTES + MAX_DOCUMENT_BYTES)
        return content[:FINGERPRINT_BYTES], hashlib.sha256(content[FINGERPRINT_BYTES:]).digest()

    def ownership(self, now: int) -> State:
        """Return whose a device is as of ``now``, Unix seconds. Raises StateLost."""
        kept = self.kept()
        return state_in(self.path, None if kept is None else kept[1], now)

    def discard_keys(self, passphrase: Secret) -> None:
        """Forget keys and request of a member that is not enrolled, so that the next ones are new. Raises LocalMisuse.

        Other keys of the keystore stay, as the one that a device was born with. The caller holds the directory
        (``held``).
        """
        if self._enrolled_path.exists():
            raise LocalMisuse(f"{self.path} is enrolled, and its keys are in use")
        self.request_path.unlink(missing_ok=True)
        if self.keystore_path.exists():
            keystore = self._open_keystore(passphrase)
            for label in sorted(filter(_OWN_KEYS.fullmatch, keystore.labels())):
                keystore.remove(label)
            if isinstance(keystore, TokenKeystore):
                keystore.tidy()  # an earlier attempt may have been interrupted

    def add_grant(self, encoded: bytes) -> None:
        """Keep a grant that came after the enrolment. Raises as ``verify_grant`` and ``Grant.held_by``."""
        now = int(time.time())
        root, claims = self._enrolled()
        verify_grant(encoded, root, now).held_by(verify_chain(claims.chain, root, now))
        if len(self._grant_files()) >= _MOST_GRANTS:
            raise LocalMisuse(f"{self._grants_path} holds {_MOST_GRANTS} grants", hint="remove those that have expired")
        self._grants_path.mkdir(mode=0o700, exist_ok=True)
        self._write(self._grants_path / f"{hashlib.sha256(encoded).hexdigest()[:16]}.grant", encoded)

    # running ---------------------------------------------------------------------------------------------------
    def open(self, passphrase: Secret, extra_grants: tuple[bytes, ...] = ()) -> Enrolled:
        """Open the keys and prove the own certificate as of now.

        Raises:
            LocalMisuse: not enrolled, or a wrong passphrase.
            TokenFailed: the token with the keys cannot be used.
            NotTrusted: the certificate or the root document has expired.
            NotAuthorized: a device in a state in which it does not work.
            StateLost: something in the directory is damaged.
        """
        demand_free(self.path)
        root, claims = self._enrolled()
        self._demand_working()
        now = int(time.time())
        keystore = self._open_keystore(passphrase)
        credential = verify_chain(claims.chain, root, now, expected_role=self.role)
        signer = keystore.signer(self._identity)
        if signer.public != credential.key:
            raise StateLost(f"the certificate in {self.path} is not for the key in it", hint="enroll again")
        later = [read_file(path, "the grant") for path in self._grant_files()]
        grants = self._current((*claims.grants, *later, *extra_grants), root, credential, now)
        return Enrolled(root, credential, signer, claims, keystore, grants, self._demand_working)

    def _demand_working(self) -> None:
        if self.command == "device":
            demand(self.ownership(int(time.time())), Act.OPERATE)

    def certificate(self) -> Credential:
        """Return the own certificate, proven as of now; no key is needed. Raises as ``open``."""
        root, claims = self._enrolled()
        return verify_chain(claims.chain, root, int(time.time()), expected_role=self.role)

    def _current(
        self, grants: tuple[bytes, ...], root: OwnerRoot, credential: Credential, now: int
    ) -> tuple[bytes, ...]:
        """Leave out, with a warning, grants that mean nothing any more: they must not keep an endpoint from running."""
        kept = []
        for encoded in dict.fromkeys(grants):
            try:
                kept.append(verify_grant(encoded, root, now).held_by(credential).encoded)
            except SealwayError as error:
                self._warn(f"a grant is left out: {error.message}", error.hint)
        return tuple(kept)

    def _grant_files(self) -> list[Path]:
        return sorted(self._grants_path.glob("*.grant"))

    def _enrolled(self) -> tuple[OwnerRoot, EnrolmentClaims]:
        """Return the pinned root document and the claims that came with it, which were verified when they were kept."""
        command = f"sealway {self.command} init --state {self.path} --enrolment FILE"
        if not self._enrolled_path.exists():
            raise LocalMisuse(f"{self.path} is not enrolled", hint=command)
        content = read_private(self._enrolled_path, limit=FINGERPRINT_BYTES + MAX_DOCUMENT_BYTES)
        try:
            claims = EnrolmentClaims.decode(Sign1.decode(content[FINGERPRINT_BYTES:]).payload)
            return recall_root(claims.root_document, content[:FINGERPRINT_BYTES]), claims
        except SealwayError as error:
            raise StateLost(f"the enrolment in {self.path} is damaged: {error.message}", hint=command) from None

    def _open_keystore(self, passphrase: Secret) -> Keystore:
        self.demand_keys()
        return open_keystore(self.keystore_path, passphrase)

    def demand_keys(self) -> None:
        """Return if the first phase was done here. Raises LocalMisuse."""
        if not self.keystore_path.exists():
            hint = f"sealway {self.command} init --state {self.path} --name sealway://DOMAIN/{self.role}/LABEL"
            raise LocalMisuse(f"there are no keys in {self.path}", hint=hint)

    @staticmethod
    def _write(path: Path, content: bytes) -> None:
        replace_private(path, content, check=lambda: None)
