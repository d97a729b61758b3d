# SPDX-License-Identifier: Apache-2.0
"""The manufacturer's state directory: its authority, the register of what it made, its manifests.

Invariant: keys exist before a certificate names them; the root's key is in a file of its own and is not opened again
after ``create``, so that it can be taken away and kept offline.

DIR/root.keystore   the root's key: to be taken away
DIR/keystore        the issuing authority's key
DIR/root.der        the root certificate: what owners trust
DIR/issuing.der     the issuing authority's certificate
DIR/register.jsonl  what was made
DIR/batch.json      the batch that is under way
DIR/manifests/      the signed lists, by number
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from sealway.crypto.ports import Signer
from sealway.crypto.secret import Secret
from sealway.errors import LocalMisuse, SealwayError, StateLost
from sealway.factory.register import Register
from sealway.identity.birth import Manufacturer, trust_manufacturer
from sealway.identity.manufacturing import issuing_authority, manufacturer_root
from sealway.keystore.file import FileKeystore
from sealway.keystore.private_file import read_private, replace_private
from sealway.storage.directory import DirectoryLock, demand_free
from sealway.wire.cose import MAX_CERTIFICATE_BYTES
from sealway.wire.manifest import check_label_text

ROOT_KEY: Final = "root"
ISSUING_KEY: Final = "issuing"


class FactoryHome:
    """The paths of a manufacturer's directory.

    Args:
        path: the directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root_keystore_path = path / "root.keystore"
        self.keystore_path = path / "keystore"
        self.root_path = path / "root.der"
        self.issuing_path = path / "issuing.der"
        self.register_path = path / "register.jsonl"
        self.batch_path = path / "batch.json"
        self.manifests_path = path / "manifests"

    def create(self, manufacturer: str, passphrase: Secret) -> Manufacturer:
        """Make a manufacturer's authority. Begun before and interrupted, it is completed.

        Raises:
            LocalMisuse: there is one already, a wrong passphrase, or the directory cannot be used.
            Malformed: not a name that certificates and labels can have.
        """
        check_label_text(manufacturer, "manufacturer")
        with _held(self.path):
            if self.issuing_path.exists():
                raise LocalMisuse(f"{self.path} is a factory already", hint="give another one a directory of its own")
            now = int(time.time())
            top = _signer(self.root_keystore_path, ROOT_KEY, passphrase)
            issuing = _signer(self.keystore_path, ISSUING_KEY, passphrase)
            root = manufacturer_root(top, manufacturer, now=now, random=os.urandom)
            below = issuing_authority(issuing.public, root, top, now=now, random=os.urandom)
            replace_private(self.root_path, root, check=lambda: None)
            replace_private(self.issuing_path, below, check=lambda: None)  # last: now it is a factory
            return trust_manufacturer(root)

    def demand(self) -> None:
        """Return if there is a factory here. Raises LocalMisuse."""
        if not self.issuing_path.exists():
            hint = f"sealway factory init --state {self.path} --manufacturer NAME"
            raise LocalMisuse(f"there is no factory in {self.path}", hint=hint)

    def manufacturer(self) -> Manufacturer:
        """Return whose factory this is. Raises LocalMisuse, StateLost."""
        self.demand()
        try:
            return trust_manufacturer(read_private(self.root_path, limit=MAX_CERTIFICATE_BYTES))
        except SealwayError as error:
            raise StateLost(f"{self.root_path} is damaged: {error.message}") from None


@dataclass(slots=True)
class OpenFactory:
    """A factory at work, a context: the directory is locked, the issuing key is open."""

    home: FactoryHome
    manufacturer: Manufacturer
    chain: tuple[bytes, ...] = field(repr=False)
    """The issuing authority's certificate, then the root's."""
    signer: Signer = field(repr=False)
    register: Register = field(repr=False)
    _lock: DirectoryLock = field(repr=False)

    @classmethod
    def open(cls, home: FactoryHome, passphrase: Secret) -> Self:
        """Open a factory. Raises LocalMisuse, InUse, StateLost."""
        manufacturer = home.manufacturer()
        lock = _held(home.path)
        try:
            issuing = read_private(home.issuing_path, limit=MAX_CERTIFICATE_BYTES)
            signer = FileKeystore.open(home.keystore_path, passphrase).signer(ISSUING_KEY)
            register = Register.open(home.register_path)
        except BaseException:
            lock.release()
            raise
        return cls(home, manufacturer, (issuing, manufacturer.root.der), signer, register, lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _held(path: Path) -> DirectoryLock:
    demand_free(path)
    return DirectoryLock(path, "sealway factory")


def _signer(path: Path, label: str, passphrase: Secret) -> Signer:
    """Return the key in a keystore of its own, made if it is not there."""
    keystore = (FileKeystore.open if path.exists() else FileKeystore.create)(path, passphrase)
    if label not in keystore.labels():
        keystore.generate(label)
    return keystore.signer(label)
