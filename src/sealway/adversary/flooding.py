# SPDX-License-Identifier: Apache-2.0
"""Attacks that send more than anyone asked for: garbage, forgeries that cost work to refuse, starts of a stranger."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sealway.adversary.attack import Attack, Expected, Tools, Working
from sealway.adversary.passing import Kind, Leg, Passing
from sealway.adversary.surgery import HIGHEST_NUMBER
from sealway.errors import LocalMisuse, SealwayError
from sealway.wire import cbor
from sealway.wire.bundle import SignedBundle
from sealway.wire.cose import X5t
from sealway.wire.envelope import MAX_ENVELOPE_BYTES, Envelope
from sealway.wire.header import Opener, StartHeader

MOST_FILES: Final = 1_024
_TOO_LONG: Final = 65_600
"""Bytes of a ciphertext that no suite seals."""

Make = Callable[[str, Tools], bytes | None]


@dataclass(frozen=True, slots=True)
class FloodParameters:
    """Args: burst: how many at one occasion."""

    burst: int = 16


@dataclass(frozen=True, slots=True)
class RecordedParameters:
    """Args: directory: files, an envelope each, that an endpoint of the domain has sealed; burst: how many at once."""

    directory: str
    burst: int = 16


class Flooding(Working):
    """Makes envelopes for a mailbox whenever it is looked into."""

    parameters: FloodParameters

    def __init__(self, parameters: FloodParameters, tools: Tools, make: Make) -> None:
        super().__init__(parameters, tools)
        self._make = make

    def due(self, leg: Leg, subject: str) -> list[Passing]:
        """See ``Working``."""
        if not self.tools.stands(leg, subject):
            return []
        going = []
        for _ in range(min(self.parameters.burst, self.tools.room())):
            content = self._make(subject, self.tools)
            if content is not None:
                going.append(self.tools.item(Passing(Kind.ENVELOPE, leg, subject, content)))
        return going


class Recorded(Working):
    """Sends what somebody else has sealed, from files. Raises LocalMisuse when it begins without any."""

    parameters: RecordedParameters

    def __init__(self, parameters: RecordedParameters, tools: Tools) -> None:
        super().__init__(parameters, tools)
        self._contents = _files(Path(parameters.directory))

    def due(self, leg: Leg, subject: str) -> list[Passing]:
        """See ``Working``."""
        if not self.tools.stands(leg, subject):
            return []
        batch = [
            self._contents.pop() for _ in range(min(self.parameters.burst, len(self._contents), self.tools.room()))
        ]
        return [self.tools.item(Passing(Kind.ENVELOPE, leg, subject, content)) for content in batch]


def _files(directory: Path) -> list[bytes]:
    try:
        paths = sorted(path for path in directory.iterdir() if path.is_file())[:MOST_FILES]
        contents = [path.read_bytes() for path in paths if path.stat().st_size <= MAX_ENVELOPE_BYTES]
    except OSError as error:
        raise LocalMisuse(f"{directory} cannot be read: {error.strerror}") from error
    if not contents:
        raise LocalMisuse(f"there is no envelope in {directory}")
    contents.reverse()
    return contents


def noise(subject: str, tools: Tools) -> bytes:
    """Random bytes."""
    return tools.random.randbytes(tools.random.randrange(1, 300))


def junk(subject: str, tools: Tools) -> bytes:
    """Well-formed CBOR that is no envelope."""
    some = tools.random.randbytes(tools.random.randrange(1, 40))
    nested: Any = [some]
    for _ in range(6):
        nested = [nested]
    content = tools.random.choice([nested, {1: some, 4: {4: some}}, [0] * 2_000, [some, {}, some], some.hex()])
    return cbor.encode_tagged(16, content) if tools.random.random() < 0.5 else cbor.encode(content)


def oversized(subject: str, tools: Tools) -> bytes:
    """An envelope longer than anyone seals."""
    length = tools.random.choice([_TOO_LONG, _TOO_LONG * 2, MAX_ENVELOPE_BYTES - 64])
    return Envelope(_kid(subject, tools), 1, tools.random.randbytes(64) * (length // 64)).encode()


def forged(subject: str, tools: Tools) -> bytes:
    """An envelope of a session that exists, with a ciphertext that nobody sealed."""
    number = tools.random.randrange(200)
    return Envelope(_kid(subject, tools), number, tools.random.randbytes(40)).encode()


def numbers(subject: str, tools: Tools) -> bytes:
    """A number far ahead: to find its key takes steps."""
    number = tools.random.choice([900, 4_000, 40_000, 60_000, 70_000, HIGHEST_NUMBER])
    return Envelope(_kid(subject, tools), number, tools.random.randbytes(40)).encode()


def reseeds(subject: str, tools: Tools) -> bytes:
    """A reseed that nobody made."""
    first = tools.random.choice([0, 50, 500, 50_000])
    reseed = (tools.random.choice([1, 2, 900, 5_000, HIGHEST_NUMBER]), tools.random.randbytes(16))
    opener = Opener(first, None, None, reseed)
    return Envelope(_kid(subject, tools), first + 3, tools.random.randbytes(40), opener=opener).encode()


def epochs(subject: str, tools: Tools) -> bytes:
    """A new epoch, with a key of the adversary's own: an agreement has to be computed to refuse it."""
    first = tools.random.choice([1, 50, 500, 50_000])
    opener = Opener(first, tools.forger.public_key(), first, None)
    return Envelope(_kid(subject, tools), first, tools.random.randbytes(40), opener=opener).encode()


def starts(subject: str, tools: Tools) -> bytes | None:
    """A start in the name of somebody whose bundle was seen, or of nobody."""
    victim = tools.memory.bundle_of_mailbox(subject)
    if victim is None:
        return None
    others = tools.memory.bundles_of_others(str(victim.claims.name))
    noise_of, one_time = tools.random.randbytes, tools.random.choice([None, tools.random.randrange(64)])
    bundle_hash, x5t = noise_of(32), noise_of(32)
    if others and tools.random.random() < 0.5:
        signed = SignedBundle.decode(tools.random.choice(others).encoded)
        bundle_hash = signed.hash
        x5t = signed.sign1.key_ref.digest if isinstance(signed.sign1.key_ref, X5t) else x5t
    start = StartHeader(bundle_hash, x5t, noise_of(1), tools.forger.public_key(), one_time)
    return Envelope(victim.claims.bundle_id, 0, noise_of(200), start=start).encode()


def _kid(subject: str, tools: Tools) -> bytes:
    kids = tools.memory.kids(subject)
    return tools.random.choice(kids) if kids else tools.random.randbytes(1)


def _safely(make: Make) -> Make:
    """What was seen may be of a form that cannot be copied."""

    def made(subject: str, tools: Tools) -> bytes | None:
        try:
            return make(subject, tools)
        except SealwayError:
            return None

    return made


_FLOODS: Final[tuple[tuple[str, str, Make], ...]] = (
    ("flood-noise", "Sends random bytes.", noise),
    ("flood-junk", "Sends well-formed CBOR that is no envelope.", junk),
    ("flood-oversized", "Sends envelopes longer than anyone seals.", oversized),
    ("flood-forged", "Sends envelopes of sessions that exist, with ciphertexts that nobody sealed.", forged),
    ("flood-numbers", "Sends numbers far ahead, each of which costs steps to refuse.", numbers),
    ("flood-reseeds", "Sends reseeds that nobody made.", reseeds),
    ("flood-epochs", "Sends new epochs with keys of its own.", epochs),
    ("flood-starts", "Sends starts in others' names.", starts),
)


def attacks() -> Iterator[Attack]:
    """Every attack of this module."""
    for name, says, make in _FLOODS:
        yield _flood(name, says, _safely(make))
    yield Attack(
        "flood-stranger",
        Expected.REFUSED,
        "Sends starts that a certified stranger's own endpoint has sealed: the bounds on sessions hold.",
        Recorded,
        kinds=frozenset(),
        parameters=RecordedParameters,
        tolerated=32,
    )


def _flood(name: str, says: str, make: Make) -> Attack:
    return Attack(
        name,
        Expected.REFUSED,
        says,
        lambda parameters, tools: Flooding(parameters, tools, make),
        kinds=frozenset(),
        parameters=FloodParameters,
    )
