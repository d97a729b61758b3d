# SPDX-License-Identifier: Apache-2.0
"""What a device keeps about its ownership, and the steps that change it: the Arbiter of joining, on a disk.

Invariant: DIR/enrolled is the one file that says that there is an owner, and it appears and vanishes in one step; what
DIR/pairing holds is put right from it whenever it is opened. What counts attempts is on the disk before the method
returns.

DIR/pairing/lock       held by the process that pairs or resets
DIR/pairing/ownership  attempts, the verifier while there is no owner, with whom to go on
DIR/pairing/asked      for which owner, name and suite the keys were made
DIR/pairing/networks   credentials of networks that the owner handed over: CBOR, text to bytes
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Self

from sealway.crypto.secret import Secret
from sealway.crypto.spake2plus import VerifierRecord
from sealway.crypto.suites import suite as suite_of
from sealway.errors import SealwayError
from sealway.home.home import Home
from sealway.home.ownership import DIRECTORY, RECORD, read_ownership
from sealway.joining.ownership import (
    Act,
    Ownership,
    Pending,
    State,
    Window,
    demand,
)
from sealway.keystore.private_file import read_private, replace_private
from sealway.protocol.sentlog import Uptime
from sealway.storage.directory import DirectoryLock, demand_free
from sealway.storage.files import sync_directory
from sealway.wire import cbor
from sealway.wire.address import Name


class Pairing:
    """The ownership of the device in a state directory: a context that holds a lock. Made by ``open``.

    Args:
        home: the device's state directory.
        passphrase: of its keystore.
        verifier: gives the verifier that the device was made with.
        kept: names in the directory that a reset leaves as they are, besides keystore, lock and this.
        told: is called with the state whenever that may have changed: a device's maker wires a light to it.
    """

    def __init__(
        self, home: Home, passphrase: Secret, verifier: Callable[[], VerifierRecord],
        kept: frozenset[str] = frozenset(), told: Callable[[State], None] = lambda state: None,
    ) -> None:  # fmt: skip
        self._home, self._passphrase, self._birth = home, passphrase, verifier
        self._kept_names = kept | {"keystore", "lock", DIRECTORY}
        self._told = told
        self._path = home.path / DIRECTORY
        demand_free(home.path)
        self._lock = DirectoryLock(self._path, "pairing")
        try:
            self._record = self._settled()
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def _settled(self) -> Ownership:
        """Complete what a power cut interrupted: a reset, or the steps after the one that gave an owner."""
        record = read_ownership(self._home.path)
        if record is None:
            record = Ownership(verifier=None if self._home.kept() else self._birth())
            self._write(record)
        self._record = record
        if self._home.kept() is None:  # those of an owner who got no further
            (self._path / "networks").unlink(missing_ok=True)
        if record.resetting:
            with self._home.held():
                self._destroy()
        elif self._home.kept() is not None and record.verifier is not None:
            self._write(_owned(record))
        elif record.pending is not None and record.pending_at(int(time.time())) is None:
            self._write(replace(record, pending=None))  # its secret is of no use any more
        return self._record

    # the Arbiter of joining -----------------------------------------------------------------------------------
    def state(self, now: int) -> State:
        """Return whose the device is."""
        kept = self._home.kept()
        return self._record.state(None if kept is None else kept[1], now)

    def verifier(self) -> VerifierRecord | None:
        """Return what recognises the code; None once there is an owner."""
        return self._record.verifier

    def pending(self, now: int) -> Pending | None:
        """Return the exchange that can be gone on with."""
        return self._record.pending_at(now)

    def attempts_left(self, at: Uptime) -> int | None:
        """Return how often the code may still be tried; None where no pairing window is open."""
        return self._record.attempts_left(at)

    def count_attempt(self) -> None:
        """Count one attempt, durably."""
        self._write(self._record.with_attempt())

    def confirm(self, pending: Pending) -> None:
        """Forget the attempts, and keep with whom to go on, durably: RFPRO."""
        self._write(self._record.with_pending(pending))

    def request(self, name: Name, suite: int) -> bytes:
        """Return the request for ``name``. Another owner or another name gets other keys. Raises LocalMisuse."""
        pending = self._record.pending
        root = b"" if pending is None else pending.root
        marker, asked = self._path / "asked", cbor.encode([root, str(name), suite])
        if not marker.exists() or read_private(marker, limit=1024) != asked:
            with self._home.held():
                self._home.discard_keys(self._passphrase)
            replace_private(marker, asked, check=lambda: None)
        return self._home.prepare(name, self._passphrase, suite_of(suite))

    def enrolment(self) -> tuple[bytes, bytes] | None:
        """Return SHA-256 of the root document and of the enrolment that are kept, or None."""
        return self._home.kept()

    def own(self, enrolment: bytes, networks: Mapping[str, bytes], root: bytes) -> None:
        """Take an owner: RFNOP. Raises as ``Home.enrol``; nothing has changed then."""
        file = self._path / "networks"
        replace_private(file, cbor.encode(dict(networks)), check=lambda: None)
        try:
            self._home.enrol(enrolment, self._passphrase, root)  # one file, in one step: from here on there is an owner
        except SealwayError:
            file.unlink(missing_ok=True)
            raise
        self._write(_owned(self._record))

    # presence -------------------------------------------------------------------------------------------------
    def open_window(self, at: Uptime, *, pressed: bool) -> int:
        """Open a pairing window where this boot has had none yet, or a person asks for one; return how long it is open.

        In milliseconds; 0 if it has closed. A process that was killed and started again is no new boot: it goes on with
        its window, and what was counted.
        """
        window = self._record.window
        if pressed or window is None or window.opened.boot != at.boot:
            window = Window(at)
            self._write(replace(self._record, window=window))
        return window.left(at)

    def reset(self, now: int) -> None:
        """Destroy everything of the owner, by presence: RESET, then RFOTM. Interrupted, it is completed on opening.

        Raises LocalMisuse, StateLost.
        """
        with self._home.held():  # no service can begin between the look and the end
            demand(self.state(now), Act.RESET)
            self._write(replace(self._record, resetting=True))
            self._destroy()

    def stop(self, now: int) -> None:
        """Stop working until the owner has enrolled the device anew, by presence: SRESET. Raises NotAuthorized."""
        with self._home.held():
            demand(self.state(now), Act.SOFT_RESET)
            kept = self._home.kept()
            self._write(replace(self._record, stopped=None if kept is None else kept[1]))

    def _destroy(self) -> None:
        (self._home.path / "enrolled").unlink(missing_ok=True)
        for entry in sorted(self._home.path.iterdir()):
            if entry.name not in self._kept_names:
                shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
        for name in ("asked", "networks"):
            (self._path / name).unlink(missing_ok=True)
        sync_directory(self._home.path)  # gone for good, before the record says that the reset is over
        self._home.discard_keys(self._passphrase)
        self._write(Ownership(resets=self._record.resets + 1, verifier=self._birth()))

    def _write(self, record: Ownership) -> None:
        replace_private(self._path / RECORD, record.encode(), check=lambda: None)
        self._record = record
        self._told(self.state(int(time.time())))


def _owned(record: Ownership) -> Ownership:
    return replace(record, verifier=None, window=None, stopped=None)
