# SPDX-License-Identifier: Apache-2.0
"""What the adversary has seen pass, as any hop could keep it: recent envelopes, and what the directory was told.

Invariant: bounded in number and in bytes, whatever passes.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sealway.adversary.passing import Kind, Passing
from sealway.errors import SealwayError
from sealway.wire.bundle import BundleClaims, Offer, Publication, SignedBundle

MOST_ENVELOPES: Final = 2_048
MOST_BYTES: Final = 16 << 20
MOST_NAMES: Final = 1_024
MOST_BUNDLES: Final = 8
"""Of one name."""


@dataclass(frozen=True, slots=True)
class SeenBundle:
    """A signed bundle that passed, and what it says."""

    encoded: bytes
    claims: BundleClaims


class Memory:
    """What passed."""

    def __init__(self) -> None:
        self._envelopes: deque[Passing] = deque()
        self._bytes = 0
        self._digests: Counter[str] = Counter()
        self._bundles: OrderedDict[str, OrderedDict[int, SeenBundle]] = OrderedDict()
        self._chains: OrderedDict[str, bytes] = OrderedDict()
        self.root: bytes | None = None
        """The owner's root document."""

    @property
    def size(self) -> int:
        """Bytes of the envelopes held."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._envelopes)

    def saw(self, passing: Passing) -> None:
        """Remember what passes."""
        match passing.kind:
            case Kind.ENVELOPE:
                self._keep(passing)
            case Kind.OFFER | Kind.BUNDLE | Kind.PUBLICATION:
                self._note_bundle(passing)
            case Kind.CREDENTIAL | Kind.CHAIN:
                self._chains[passing.subject] = passing.content
                if len(self._chains) > MOST_NAMES:
                    self._chains.popitem(last=False)
            case Kind.ROOT:
                self.root = passing.content

    def envelopes(self) -> Iterator[Passing]:
        """The envelopes held, the newest first."""
        return reversed(self._envelopes)

    def has_envelope(self, digest: str) -> bool:
        """Say whether an envelope of this digest passed and is still held."""
        return digest in self._digests

    def bundles(self, name: str) -> list[SeenBundle]:
        """The bundles of one name, the oldest first."""
        seen = self._bundles.get(name, OrderedDict())
        return [seen[sequence] for sequence in sorted(seen)]

    def bundles_of_others(self, name: str) -> list[SeenBundle]:
        """The newest bundle of every other name."""
        return [seen[max(seen)] for other, seen in self._bundles.items() if other != name]

    def bundle(self, subject: str) -> SeenBundle | None:
        """The bundle that an answer was asked for by name or by hexadecimal hash; None if it never passed."""
        if subject in self._bundles:
            return self.bundles(subject)[-1]
        every = (seen for of_one in self._bundles.values() for seen in of_one.values())
        return next((seen for seen in every if SignedBundle.decode(seen.encoded).hash.hex() == subject), None)

    def chains_of_others(self, x5t: str) -> list[bytes]:
        """Every certificate chain but the one whose leaf has this SHA-256."""
        return [chain for other, chain in self._chains.items() if other != x5t]

    def _keep(self, passing: Passing) -> None:
        self._envelopes.append(passing)
        self._digests[passing.digest] += 1
        self._bytes += len(passing.content)
        while len(self._envelopes) > MOST_ENVELOPES or self._bytes > MOST_BYTES:
            self._forget(self._envelopes.popleft())

    def _forget(self, passing: Passing) -> None:
        self._bytes -= len(passing.content)
        self._digests[passing.digest] -= 1
        if not self._digests[passing.digest]:
            del self._digests[passing.digest]

    def _note_bundle(self, passing: Passing) -> None:
        seen = bundle_in(passing)
        if seen is None:
            return
        of_one = self._bundles.setdefault(str(seen.claims.name), OrderedDict())
        of_one[seen.claims.sequence] = seen
        if len(of_one) > MOST_BUNDLES:
            of_one.popitem(last=False)
        if len(self._bundles) > MOST_NAMES:
            self._bundles.popitem(last=False)


def bundle_in(passing: Passing) -> SeenBundle | None:
    """Return the bundle that an offer, an answer or a publication holds; None if it holds none that can be read."""
    try:
        encoded = passing.content
        if passing.kind is Kind.OFFER:
            encoded = Offer.decode(encoded).bundle
        elif passing.kind is Kind.PUBLICATION:
            encoded = Publication.decode(encoded).bundle
        return SeenBundle(encoded, SignedBundle.decode(encoded).claims)
    except SealwayError:
        return None
