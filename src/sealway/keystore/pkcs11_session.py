# SPDX-License-Identifier: Apache-2.0
"""One session with one PKCS#11 token, for all of this process; it is opened again when the token was away.

Invariant: a PIN that a token has refused is not offered to it again by this process until it has taken another one,
since each such try brings the token nearer to locking itself; and no two threads are in a module at a time, since
modules need not allow for it (PKCS #11 v2.40 §5.4: ``C_Initialize`` without arguments).
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from sealway.crypto.secret import Secret
from sealway.errors import LocalMisuse, SealwayError, StateLost, TokenFailed, TokenGone, TokenLocked
from sealway.keystore.pkcs11_uri import TokenName

if TYPE_CHECKING:
    from pkcs11 import PrivateKey, Session, Slot, Token

T = TypeVar("T")

_AWAY: Final = frozenset({
    "DeviceError", "DeviceRemoved", "NoSuchToken", "SessionClosed", "SessionHandleInvalid", "SlotIDInvalid",
    "TokenNotPresent", "TokenNotRecognised", "UserNotLoggedIn",
})  # fmt: skip
_HANDLES: Final = frozenset({"KeyHandleInvalid", "NoSuchKey", "ObjectHandleInvalid"})
_LOCKED: Final = frozenset({"PinExpired", "PinLocked", "UserPinNotInitialized"})
_WRONG: Final = frozenset({"PinIncorrect", "PinInvalid", "PinLenRange"})

# What the bindings raise: PKCS11Error is a RuntimeError; nonsense that a module returns fails in one of the other ways.
FAILURES: Final = (RuntimeError, ValueError, LookupError, TypeError, AttributeError)

_Which: TypeAlias = tuple[str, str, bytes]
"""A token: its module, label and serial number."""

_locks: dict[str, threading.RLock] = {}
_sessions: dict[_Which, TokenSession] = {}
_refused: dict[_Which, list[Secret]] = {}
"""PINs that a token has refused since it last took one."""


class TokenSession:
    """A session that is logged in. Made by ``open``."""

    def __init__(self, name: TokenName, pin: Secret) -> None:
        self._name = name
        self._pin = pin
        self._lock = _lock_of(name)
        self._session: Session | None = None
        self._keys: dict[bytes, PrivateKey] = {}
        self._refused: SealwayError | None = None

    @classmethod
    def open(cls, name: TokenName, pin: Secret) -> TokenSession:
        """Return this process's session with a token, logged in.

        Raises:
            LocalMisuse: a wrong PIN, or no UTF-8; python-pkcs11 is not installed; the module cannot be loaded.
            TokenGone: there is no such token.
            TokenLocked: it takes no PIN any more.
            TokenFailed: it answers with something else.
        """
        with _lock_of(name):
            token = _find(name)
            known = _sessions.get(_which(name, token))
            if known is not None and known._refused is None:
                if known._pin != pin:  # the token is not asked, so this costs no try
                    raise LocalMisuse("wrong PIN")
                return known
            made = cls(name, pin)
            made._session = made._log_in(token)
            _sessions[_which(name, token)] = made
            return made

    def use(self, identity: bytes, operation: Callable[[PrivateKey], T]) -> T:
        """Return what an operation does with a private key; tried once more if the token was away.

        Raises:
            StateLost: the token has no such key.
            TokenGone, TokenLocked, TokenFailed: it cannot be used.
        """
        return self._again(lambda: operation(self._key(identity)))

    def run(self, operation: Callable[[Session], T]) -> T:
        """Return what an operation does with the session. Raises as ``use``."""
        return self._again(lambda: operation(self._logged_in()))

    def forget(self, identity: bytes) -> None:
        """Forget where a key is that was destroyed."""
        with self._lock:
            self._keys.pop(identity, None)

    def _again(self, work: Callable[[], T]) -> T:
        with self._lock:
            try:
                return work()
            except FAILURES as error:
                clear_openssl_errors()
                if type(error).__name__ not in _AWAY | _HANDLES:
                    raise self._told(error) from error
            self._forget()
            try:
                return work()
            except FAILURES as error:
                clear_openssl_errors()
                raise self._told(error) from error

    def _forget(self) -> None:
        """Drop the session; it is not closed, since that would fail, or log out what else uses the token."""
        self._session = None
        self._keys.clear()

    def _logged_in(self) -> Session:
        if self._refused is not None:
            raise self._refused
        if self._session is None:
            token = self._found_again()
            try:
                self._session = self._log_in(token)
            except (LocalMisuse, TokenLocked) as error:
                self._refused = TokenLocked(
                    f"the token does not take the PIN any more: {error.message}", hint="open the keystore anew"
                )
                raise self._refused from None
        return self._session

    def _found_again(self) -> Token:
        """Return the token. It was found once, so what is wrong now is no misuse: a start that came has to wait."""
        try:
            return _find(self._name)
        except LocalMisuse as error:
            raise TokenFailed(error.message, hint=error.hint) from None

    def _key(self, identity: bytes) -> PrivateKey:
        key = self._keys.get(identity)
        if key is None:
            key = self._keys[identity] = find_key(self._logged_in(), identity)
        return key

    def _log_in(self, token: Token) -> Session:
        refused = _refused.setdefault(_which(self._name, token), [])
        if self._pin in refused:
            raise LocalMisuse("wrong PIN", hint="the token has refused it before, and was not asked again")
        try:
            session, taken = _opened(token, _text(self._pin))
        except FAILURES as error:
            if type(error).__name__ in _WRONG:
                refused.append(self._pin)
            raise self._told(error) from error
        finally:
            clear_openssl_errors()
        if taken:
            refused.clear()
        return session

    def _told(self, error: Exception) -> SealwayError:
        kind = type(error).__name__
        if kind in _WRONG:
            return LocalMisuse("wrong PIN", hint="try again with care: a token locks itself after a few wrong ones")
        if kind in _LOCKED:
            return TokenLocked("the token is locked", hint="its security officer can set a new PIN")
        if kind in _AWAY:
            return TokenGone("the token does not answer", hint="is it plugged in?")
        if kind in _HANDLES:
            return StateLost("the token does not have the key any more", hint="use the token that it was made in")
        return TokenFailed(f"the token failed: {kind}")


def _opened(token: Token, pin: str) -> tuple[Session, bool]:
    """Return a session, and whether the token has taken the PIN: it is not asked while this program is logged in."""
    try:
        return token.open(rw=True, user_pin=pin), True
    except FAILURES as error:
        if type(error).__name__ != "UserAlreadyLoggedIn":  # by another part of this program
            raise
    return token.open(rw=True), False


def _text(pin: Secret) -> str:
    """Return a PIN as text. Raises LocalMisuse outside of what Python says about it, which holds the PIN."""
    with suppress(UnicodeDecodeError):
        return pin.reveal().decode()
    raise LocalMisuse("a PIN is text in UTF-8")


def _lock_of(name: TokenName) -> threading.RLock:
    return _locks.setdefault(name.module, threading.RLock())


def _which(name: TokenName, token: Token) -> _Which:
    return name.module, token.label, token.serial


def find_key(session: Session, identity: bytes) -> PrivateKey:
    """Return the one private key with a CKA_ID. Raises StateLost if there is none, or several."""
    from pkcs11 import Attribute, ObjectClass

    found = list(session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.ID: identity}))
    if len(found) != 1:
        raise StateLost(
            f"the token has {len(found) or 'no'} keys with the identifier {identity.hex()}",
            hint="use the token that the keys were made in, or a new state directory",
        )
    key: PrivateKey = found[0]  # type: ignore[assignment]
    return key


def _find(name: TokenName) -> Token:
    try:
        import pkcs11
    except ImportError:
        hint = 'pip install "sealway[pkcs11]"'
        raise LocalMisuse("python-pkcs11 is not installed, which tokens need", hint=hint) from None
    try:
        module = pkcs11.lib(name.module)
    except FAILURES as error:
        hint = "its path is module-path in the token's URI; the token's maker, or apt-get install softhsm2, installs it"
        raise LocalMisuse(f"cannot load the PKCS#11 module {name.module}: {_first_line(error)}", hint=hint) from None
    clear_openssl_errors()
    try:
        found = [_token_in(slot) for slot in module.get_slots(token_present=True)]
    except FAILURES as error:
        raise TokenFailed(f"the token failed: {type(error).__name__}") from error
    fitting = [token for token in found if token is not None and _fits(token, name)]
    if not fitting:
        raise TokenGone("there is no such token", hint=f"it is {name.token or name.serial}; is it plugged in?")
    if len(fitting) > 1:
        raise LocalMisuse("there are several such tokens", hint="give serial=… in the token's URI")
    return fitting[0]


def _token_in(slot: Slot) -> Token | None:
    """Return the token in a slot; None if it was pulled out just now, or is of a kind that the module does not know."""
    try:
        return slot.get_token()
    except FAILURES as error:
        if type(error).__name__ not in {"TokenNotPresent", "TokenNotRecognised"}:
            raise
        return None


def clear_openssl_errors() -> None:
    """Forget what a module left in this thread's queue of OpenSSL's errors: SoftHSM2 uses the same library as ``ssl``,
    which takes it for a failure of its own next call, such as reading an authority's certificate."""
    with suppress(ssl.SSLError, ValueError):
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=b"\x00")


def _fits(token: Token, name: TokenName) -> bool:
    serial = token.serial.decode("ascii", "replace").strip()
    return name.token in (None, token.label) and name.serial in (None, serial)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
