# SPDX-License-Identifier: Apache-2.0
"""What the adversary has seen pass, as any hop could keep it: recent envelopes, and what the directory was told.

Invariant: bounded in number and in bytes, whatever passes.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from sealway.adversary.dissecting import header_of, start_of
from sealway.adversary.passing import Kind, Passing
from sealway.errors import SealwayError
from sealway.wire.bundle import BundleClaims, Offer, Publication, SignedBundle
from sealway.wire.cose import X5t
from sealway.wire.envelope import LABEL_KID

MOST_ENVELOPES: Final = 2_048
MOST_BYTES: Final = 16 << 20
MOST_NAMES: Final = 1_024
MOST_BUNDLES: Final = 8
"""Of one name."""
_MOST_KIDS: Final = 16


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
        self._owners: OrderedDict[bytes, str] = OrderedDict()
        self._answering: OrderedDict[bytes, str] = OrderedDict()
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

    def mailboxes(self) -> list[str]:
        """The mailboxes that envelopes went to, in the order of their names."""
        return sorted({seen.subject for seen in self._envelopes})

    def kids(self, mailbox: str) -> list[bytes]:
        """The key ids of envelopes to one mailbox, the newest first."""
        found: dict[bytes, None] = {}
        for seen in self.envelopes():
            if seen.subject == mailbox and len(found) < _MOST_KIDS:
                kid = header_of(seen.content).get(LABEL_KID)
                if kid is not None:
                    found[kid] = None
        return list(found)

    def sender_of(self, envelope: Passing) -> str | None:
        """Return the mailbox of who sealed an envelope, if what passed tells: a start says it outright."""
        header = header_of(envelope.content)
        start = start_of(header)
        if start is not None:
            return self._owners.get(start.x5t)
        return self._answering.get(header.get(LABEL_KID, b""))

    def bundles(self, name: str) -> list[SeenBundle]:
        """The bundles of one name, the oldest first."""
        seen = self._bundles.get(name, OrderedDict())
        return [seen[sequence] for sequence in sorted(seen)]

    def bundles_of_others(self, name: str) -> list[SeenBundle]:
        """The newest bundle of every other name."""
        return [seen[max(seen)] for other, seen in self._bundles.items() if other != name]

    def bundle_of_mailbox(self, mailbox: str) -> SeenBundle | None:
        """The newest bundle of the endpoint whose mailbox this is."""
        newest = (seen[max(seen)] for seen in self._bundles.values())
        return next((bundle for bundle in newest if bundle.claims.mailbox.mailbox == mailbox), None)

    def chains_of_others(self, x5t: str) -> list[bytes]:
        """Every certificate chain but the one whose leaf has this SHA-256."""
        return [chain for other, chain in self._chains.items() if other != x5t]

    def _keep(self, passing: Passing) -> None:
        self._envelopes.append(passing)
        self._digests[passing.digest] += 1
        self._note_sender(passing)
        self._bytes += len(passing.content)
        while len(self._envelopes) > MOST_ENVELOPES or self._bytes > MOST_BYTES:
            self._forget(self._envelopes.popleft())

    def _note_sender(self, passing: Passing) -> None:
        """A start names its sender and the kid that answers come to."""
        start = start_of(header_of(passing.content))
        if start is not None:
            self._answering[start.receive_kid] = passing.subject
            if len(self._answering) > MOST_NAMES:
                self._answering.popitem(last=False)

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
        key_ref = SignedBundle.decode(seen.encoded).sign1.key_ref
        if isinstance(key_ref, X5t):
            self._owners[key_ref.digest] = seen.claims.mailbox.mailbox
        if len(of_one) > MOST_BUNDLES:
            of_one.popitem(last=False)
        for known in (self._bundles, self._owners):
            if len(known) > MOST_NAMES:
                known.popitem(last=False)


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
