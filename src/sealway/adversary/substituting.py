# SPDX-License-Identifier: Apache-2.0
"""Attacks on the directory's answers: other bundles, one-time keys, certificates and root documents than the real
ones."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sealway.adversary.attack import Attack, Expected, NoParameters, Tools, Working
from sealway.adversary.memory import MOST_NAMES, SeenBundle, bundle_in
from sealway.adversary.passing import Kind, Leg, Passing
from sealway.adversary.surgery import flipped
from sealway.errors import LocalMisuse
from sealway.identity.certificates import check_endpoint, read_certificate
from sealway.wire.bundle import Offer, SignedBundle
from sealway.wire.carriage import CertChain
from sealway.wire.cose import MAX_DOCUMENT_BYTES
from sealway.wire.root_document import SignedRoot

_BUNDLES: Final = frozenset({Kind.OFFER, Kind.BUNDLE})
_OFFERS: Final = frozenset({Kind.OFFER})

Other = Callable[[Passing, Any, Tools], bytes | None]


@dataclass(frozen=True, slots=True)
class RecordedBundle:
    """Args: file: a signed bundle, or a publication, recorded earlier; empty: what was seen to pass."""

    file: str = ""


class Substituting(Working):
    """Answers with something else."""

    def __init__(self, parameters: Any, tools: Tools, other: Other) -> None:
        super().__init__(parameters, tools)
        self._other = other

    def meets(self, passing: Passing) -> list[Passing] | None:
        """See ``Working``."""
        content = self._other(passing, self.parameters, self.tools)
        if content is None or content == passing.content:
            return None
        return [self.tools.item(passing, content)]


class ServingTwice(Working):
    """Hands the same one-time key to everyone who asks for one of the same name."""

    def __init__(self, parameters: NoParameters, tools: Tools) -> None:
        super().__init__(parameters, tools)
        self._first: OrderedDict[str, bytes] = OrderedDict()

    def meets(self, passing: Passing) -> list[Passing] | None:
        """See ``Working``."""
        offer = Offer.decode(passing.content)
        first = self._first.get(passing.subject)
        if first is None or Offer.decode(first).bundle != offer.bundle:
            if offer.one_time is not None:
                self._first[passing.subject] = passing.content
            if len(self._first) > MOST_NAMES:
                self._first.popitem(last=False)
            return None
        return [self.tools.item(passing, first)]


# bundles ---------------------------------------------------------------------------------------------------------
def others(passing: Passing, parameters: Any, tools: Tools) -> bytes | None:
    """Another endpoint's."""
    genuine = bundle_in(passing)
    if genuine is None:
        return None
    seen = tools.memory.bundles_of_others(str(genuine.claims.name))
    return _answer(passing, tools.random.choice(seen).encoded) if seen else None


def older(passing: Passing, parameters: RecordedBundle, tools: Tools) -> bytes | None:
    """An older one of the same endpoint."""
    genuine = bundle_in(passing)
    if genuine is None:
        return None
    known = _recorded(parameters.file) or tools.memory.bundles(str(genuine.claims.name))
    before = [seen for seen in known if _precedes(seen, genuine)]
    return _answer(passing, before[0].encoded) if before else None


def expired(passing: Passing, parameters: RecordedBundle, tools: Tools) -> bytes | None:
    """One of the same endpoint whose time is over."""
    genuine = bundle_in(passing)
    if genuine is None:
        return None
    known = _recorded(parameters.file) or tools.memory.bundles(str(genuine.claims.name))
    over = [seen for seen in known if seen.claims.name == genuine.claims.name and seen.claims.expires < tools.now()]
    return _answer(passing, over[-1].encoded) if over else None


def forged(passing: Passing, parameters: Any, tools: Tools) -> bytes | None:
    """One in the same name with keys of the adversary's own, under a certificate that it issued to itself."""
    genuine = bundle_in(passing)
    return _answer(passing, tools.forger.bundle(genuine.claims)) if genuine is not None else None


def resigned(passing: Passing, parameters: Any, tools: Tools) -> bytes | None:
    """One with keys of the adversary's own that names the genuine certificate, and is not signed by its key."""
    genuine = bundle_in(passing)
    if genuine is None:
        return None
    key_ref = SignedBundle.decode(genuine.encoded).sign1.key_ref
    return _answer(passing, tools.forger.bundle(genuine.claims, key_ref))


def tampered(passing: Passing, parameters: Any, tools: Tools) -> bytes | None:
    """The genuine one with a bit changed."""
    genuine = bundle_in(passing)
    return _answer(passing, flipped(genuine.encoded, tools)) if genuine is not None else None


def _answer(passing: Passing, bundle: bytes) -> bytes:
    """Return a bundle in the form that was asked for; an offer keeps no one-time key that is not the bundle's."""
    return bundle if passing.kind is Kind.BUNDLE else Offer(bundle).encode()


def _precedes(seen: SeenBundle, genuine: SeenBundle) -> bool:
    return seen.claims.name == genuine.claims.name and seen.claims.sequence < genuine.claims.sequence


def _recorded(file: str) -> list[SeenBundle]:
    if not file:
        return []
    try:
        with Path(file).open("rb") as recorded:
            content = recorded.read(MAX_DOCUMENT_BYTES + 4_096)
    except OSError as error:
        raise LocalMisuse(f"{file} cannot be read: {error.strerror}") from error
    for kind in (Kind.BUNDLE, Kind.PUBLICATION):
        seen = bundle_in(Passing(kind, Leg.UP, "", content))
        if seen is not None:
            return [seen]
    raise LocalMisuse(f"{file} holds no bundle")


# one-time keys ---------------------------------------------------------------------------------------------------
def without_one_time(passing: Passing, parameters: Any, tools: Tools) -> bytes | None:
    """The genuine offer without its one-time key."""
    return Offer(Offer.decode(passing.content).bundle).encode()


def other_one_time(passing: Passing, parameters: Any, tools: Tools) -> bytes | None:
    """The genuine bundle with a one-time key of the adversary's own."""
    offer = Offer.decode(passing.content)
    if offer.one_time is None:
        return None
    claims = SignedBundle.decode(offer.bundle).claims
    return Offer(offer.bundle, tools.forger.one_time_key(claims, offer.one_time.index)).encode()


# certificates and the root ---------------------------------------------------------------------------------------
def others_certificate(passing: Passing, parameters: Any, tools: Tools) -> bytes | None:
    """Another endpoint's certificate."""
    seen = tools.memory.chains_of_others(passing.subject)
    return tools.random.choice(seen) if seen else None


def forged_certificate(passing: Passing, parameters: Any, tools: Tools) -> bytes | None:
    """A certificate in the same name, by an authority of the adversary's own."""
    leaf = CertChain.decode(passing.content).certificates[0]
    return CertChain(tools.forger.chain(check_endpoint(read_certificate(leaf)))).encode()


def forged_root(passing: Passing, parameters: Any, tools: Tools) -> bytes | None:
    """A root document that claims to follow the genuine one."""
    return tools.forger.root(SignedRoot.decode(passing.content).claims)


_SUBSTITUTES: Final[tuple[tuple[str, str, frozenset[Kind], Other, type], ...]] = (
    ("substitute-bundle-other", "Answers with another endpoint's bundle.", _BUNDLES, others, NoParameters),
    ("substitute-bundle-older", "Answers with an older bundle of the same endpoint.", _OFFERS, older, RecordedBundle),
    ("substitute-bundle-expired", "Answers with an expired bundle of the endpoint.", _OFFERS, expired, RecordedBundle),
    ("substitute-bundle-forged", "Answers with a bundle under its own certificate.", _BUNDLES, forged, NoParameters),
    ("substitute-bundle-resigned", "Answers with its own keys, signed by itself.", _BUNDLES, resigned, NoParameters),
    ("tamper-bundle", "Changes a bit of a bundle.", _BUNDLES, tampered, NoParameters),
    (
        "substitute-one-time-key",
        "Puts a one-time key of its own beside a genuine bundle.",
        _OFFERS,
        other_one_time,
        NoParameters,
    ),
    (
        "substitute-certificate-other",
        "Answers with another endpoint's certificate.",
        frozenset({Kind.CREDENTIAL}),
        others_certificate,
        NoParameters,
    ),
    (
        "substitute-certificate-forged",
        "Answers with a certificate in the same name, issued by itself.",
        frozenset({Kind.CREDENTIAL}),
        forged_certificate,
        NoParameters,
    ),
    (
        "substitute-root",
        "Answers with a root document of its own that claims to follow the owner's.",
        frozenset({Kind.ROOT}),
        forged_root,
        NoParameters,
    ),
)


def attacks() -> Iterator[Attack]:
    """Every attack of this module."""
    for name, says, kinds, other, parameters in _SUBSTITUTES:
        yield _attack(name, Expected.REFUSED, says, kinds, other, parameters)
    yield _attack(
        "withhold-one-time-keys",
        Expected.HEALED,
        "Hands bundles out without one-time keys: weaker first messages, and nothing else.",
        _OFFERS,
        without_one_time,
        NoParameters,
    )
    yield Attack(
        "serve-one-time-twice",
        Expected.HEALED,
        "Hands one one-time key to several who ask: the first start wins, the others start anew.",
        ServingTwice,
        kinds=_OFFERS,
    )


def _attack(
    name: str, expected: Expected, says: str, kinds: frozenset[Kind], other: Other, parameters: type
) -> Attack:  # fmt: skip
    return Attack(
        name,
        expected,
        says,
        lambda chosen, tools: Substituting(chosen, tools, other),
        kinds=kinds,
        parameters=parameters,
    )
