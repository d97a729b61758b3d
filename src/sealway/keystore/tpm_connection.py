# SPDX-License-Identifier: Apache-2.0
"""The way to one TPM for all of this process, and the few keys that are loaded in it.

Invariant: a TPM holds three objects at a time. What was loaded is unloaded to make room, and at the end of the process;
what a killed process left behind is unloaded when it is in the way.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, TypeVar

from sealway.crypto.secret import Secret
from sealway.errors import LocalMisuse, SealwayError, StateLost, TokenFailed, TokenGone, TokenLocked
from sealway.keystore.tpm_name import TpmName

T = TypeVar("T")

# What the bindings raise: TSS2_Exception is a RuntimeError; nonsense that a TPM returns fails in one of the other ways.
FAILURES: Final = (RuntimeError, ValueError, LookupError, TypeError, AttributeError)

_MOST_LOADED: Final = 2
"""Three fit in; the parent needs the third while a key is loaded."""
_TRANSIENT: Final = 0x8000_0000

# Response codes (TPM 2.0 Library, Part 2, §6.6.3), without the parameter, handle or session that they are about.
_FULL: Final = 0x902
_LOCKOUT: Final = 0x921
BAD_AUTH: Final = frozenset({0x8E, 0xA2})
_NO_HANDLE: Final = frozenset({0x8B, *range(0x910, 0x917)})
_NOT_OURS: Final = frozenset({0x9F, 0xA5, 0x8A})  # integrity, binding or type: another TPM, or one that was cleared
_LAYER: Final = 0xFF_0000
_TCTI: Final = 0x0A_0000

_connections: dict[TpmName, TpmConnection] = {}


class TpmConnection:
    """A TPM as this process reaches it. Made by ``to``."""

    def __init__(self, name: TpmName) -> None:
        self._name = name
        self._lock = threading.RLock()
        self._api: Any = None
        self._loaded: OrderedDict[bytes, tuple[Any, Secret]] = OrderedDict()

    @classmethod
    def to(cls, name: TpmName) -> TpmConnection:
        """Return this process's way to a TPM; it is opened with the first use."""
        return _connections.setdefault(name, cls(name))

    def run(self, work: Callable[[Any], T]) -> T:
        """Return what some work does with the TPM's interface (ESAPI); tried once more if that was away, or full.

        Raises:
            TokenGone, TokenLocked, TokenFailed: it cannot be used.
            StateLost: it does not have the key, or was not the one that made it.
            LocalMisuse: tpm2-pytss is not installed.
        """
        with self._lock:
            try:
                return work(self._opened())
            except FAILURES as error:
                if not self._may_pass(error):
                    raise _told(error) from error
            try:
                return work(self._opened())
            except FAILURES as error:
                raise _told(error) from error

    def use(self, reference: bytes, auth: Secret, operation: Callable[[Any, Any], T]) -> T:
        """Return what an operation does with the interface and a loaded key. Raises as ``run``."""
        return self.run(lambda api: operation(api, self._key(api, reference, auth)))

    def close(self) -> None:
        """Unload what is loaded, and let go of the TPM; the next use opens it again."""
        with self._lock:
            self._drop_all()
            self._let_go()

    def primary(self, api: Any) -> Any:
        """Load the parent of all keys: it is made from the TPM's seed, always the same. To be flushed after use.

        Raises LocalMisuse if the TPM's owner has set a password.
        """
        from tpm2_pytss import ESYS_TR, TPM2B_PUBLIC, TSS2_Exception

        template = TPM2B_PUBLIC.parse("ecc256:aes128cfb", _storage_attributes())
        try:
            return api.create_primary(None, template, ESYS_TR.OWNER)[0]
        except TSS2_Exception as error:
            demand_open_owner(error)
            raise

    def room(self) -> None:
        """Leave room for a parent and a key that is loaded under it."""
        self._unload(_MOST_LOADED - 1)

    def _opened(self) -> Any:
        if self._api is None:
            os.environ.setdefault("TSS2_LOG", "all+none")  # what goes wrong is told by errors
            try:
                from tpm2_pytss import ESAPI
            except ImportError:
                hint = 'apt-get install libtss2-dev gcc python3-dev; pip install "sealway[tpm]"'
                raise LocalMisuse("tpm2-pytss is not installed, which TPMs need", hint=hint) from None
            self._api = ESAPI(f"{self._name.way}:{self._name.where}")  # as text: then it closes the way too
            atexit.register(self.close)
        return self._api

    def _key(self, api: Any, reference: bytes, auth: Secret) -> Any:
        handle, known = self._loaded.get(reference) or (self._load(api, reference), None)
        if known != auth:
            api.tr_set_auth(handle, auth.reveal())
        self._loaded[reference] = handle, auth
        self._loaded.move_to_end(reference)
        return handle

    def _load(self, api: Any, reference: bytes) -> Any:
        self.room()
        parent = self.primary(api)
        try:
            return _load(api, parent, reference)
        finally:
            api.flush_context(parent)

    def _unload(self, most: int) -> None:
        while len(self._loaded) > most:
            _, (handle, _) = self._loaded.popitem(last=False)
            self._api.flush_context(handle)

    def _drop_all(self) -> None:
        for handle, _ in self._loaded.values():
            with contextlib.suppress(*FAILURES):
                self._api.flush_context(handle)
        self._loaded.clear()

    def _may_pass(self, error: Exception) -> bool:
        """Make ready for another try, if it may help."""
        number = code(error)
        if number == _FULL:
            self._flush_all()
        elif number is not None and number & _LAYER == _TCTI:
            self._let_go()
        elif number in _NO_HANDLE | BAD_AUTH:  # another process flushed a key, and has its own in its place perhaps
            self._drop_all()
        else:
            return False
        return True

    def _let_go(self) -> None:
        api, self._api = self._api, None
        self._loaded.clear()
        atexit.unregister(self.close)
        with contextlib.suppress(*FAILURES):
            if api is not None:
                api.close()

    def _flush_all(self) -> None:
        """Unload everything: behind a resource manager that is this process's own, else nobody's who lives."""
        from tpm2_pytss import TPM2_CAP

        self._loaded.clear()
        with contextlib.suppress(*FAILURES):
            _, found = self._api.get_capability(TPM2_CAP.HANDLES, _TRANSIENT, 100)
            for handle in list(found.data.handles):
                self._api.flush_context(self._api.tr_from_tpmpublic(handle))


def code(error: Exception) -> int | None:
    """Return a response code without what it is about; None if it is no TPM's error."""
    number = getattr(error, "error", None)
    return number if isinstance(number, int) else None


def demand_open_owner(error: Exception) -> None:
    """Return unless an error says that the TPM's owner has set a password. Raises LocalMisuse then."""
    if code(error) in BAD_AUTH:
        hint = "Sealway needs the owner hierarchy without one"
        raise LocalMisuse("the TPM's owner hierarchy has a password", hint=hint) from None


def _load(api: Any, parent: Any, reference: bytes) -> Any:
    from tpm2_pytss import TPM2B_PRIVATE, TPM2B_PUBLIC

    public, used = TPM2B_PUBLIC.unmarshal(reference)
    private, _ = TPM2B_PRIVATE.unmarshal(reference[used:])
    return api.load(parent, private, public)


def _storage_attributes() -> Any:
    from tpm2_pytss import TPMA_OBJECT

    kept = TPMA_OBJECT.FIXEDTPM | TPMA_OBJECT.FIXEDPARENT | TPMA_OBJECT.SENSITIVEDATAORIGIN
    return kept | TPMA_OBJECT.USERWITHAUTH | TPMA_OBJECT.NODA | TPMA_OBJECT.RESTRICTED | TPMA_OBJECT.DECRYPT


def _told(error: Exception) -> SealwayError:
    number = code(error)
    if number is None:
        return TokenFailed(f"the TPM failed: {type(error).__name__}")
    if number & _LAYER == _TCTI:
        return TokenGone("the TPM does not answer", hint="is it there, and may this user use it (the group tss)?")
    if number == _LOCKOUT:
        return TokenLocked(
            "the TPM is locked", hint="it unlocks itself after some time: tpm2_getcap properties-variable"
        )
    if number in BAD_AUTH:
        return StateLost("the TPM holds another key under this name", hint="restore the keystore's file from a backup")
    if number in _NOT_OURS | _NO_HANDLE:
        hint = "use the computer that they were made on, or a new state directory"
        return StateLost("the keys are not this TPM's, or it was cleared", hint=hint)
    return TokenFailed(f"the TPM failed with the code {number:#x}")
