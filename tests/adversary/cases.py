# SPDX-License-Identifier: Apache-2.0
"""How each attack meets the traffic that it needs: whom it lets restart, how the clock turns, who asks what."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from sealway.adversary.attack import Selection
from sealway.adversary.delaying import HoldParameters
from sealway.adversary.flooding import RecordedParameters
from sealway.adversary.replaying import LaterParameters
from sealway.errors import SealwayError
from sealway.identity.bundles import verify_offer
from sealway.identity.root import verify_root
from sealway.protocol.policy import DEFAULT_POLICY, Policy
from sealway.protocol.sentlog import Uptime
from sealway.protocol.start import OwnKeys, start
from sealway.sdk.encapsulating import encapsulate
from sealway.sdk.evidence import digest_of
from sealway.sdk.prekeystore import PrekeyStore
from sealway.wire.address import Name
from sealway.wire.message import CODE_POST, Message
from tests.adversary.arena import DEVICES, QUICK, Arena
from tests.system.domain import DOMAIN, signer
from tests.system.world import until

DAY_S = 86_400
LONG_S = 100_000.0
"""Of the fast clock: longer than any test."""

FEW = Selection(count=4, seconds=LONG_S)

Hook = Callable[[Arena], Awaitable[None]]


async def nothing(arena: Arena) -> None:
    """The traffic does what is needed."""


@dataclass(frozen=True)
class Case:
    """One attack's circumstances.

    Args:
        select, parameters: of the act.
        warm: there are sessions and answers before it begins.
        before, during: what else happens; ``during`` runs beside the traffic.
        options: of the arena.
        seconds: real time after which the act is ended, whatever it has done.
        commands: whether there are any.
    """

    select: Selection = FEW
    parameters: Callable[[Path], Any] | None = None
    warm: bool = False
    before: Hook = nothing
    during: Hook = nothing
    options: dict[str, Any] = field(default_factory=dict)
    seconds: float = 10.0
    commands: bool = True


async def restart_all(arena: Arena) -> None:
    """One endpoint after the other is killed and opened again, as long as the act is on."""
    while not arena.box.is_over:
        for label in DEVICES:
            await asyncio.sleep(0.1)
            if not arena.box.is_over:
                await arena.restart(label)


async def ask_for_bundles(arena: Arena) -> None:
    """The application asks the directory for bundles, as when it begins sessions."""
    while not arena.box.is_over:
        for label in DEVICES:
            try:
                await arena.roles["ops"].endpoint.directory.offer(arena.name(label))
            except SealwayError as error:
                arena.reported[type(error).__name__] += 1
        await asyncio.sleep(0.02)


async def ask_for_root(arena: Arena) -> None:
    """A member asks for the newest root document, and proves it against the one that it pinned."""
    pinned = arena.world.domain.root
    while not arena.box.is_over:
        document = await arena.carrier("ops").root_document()
        try:
            verify_root(document, now=arena.world.clock.now_ms() // 1_000, pinned=pinned)
        except SealwayError as error:
            arena.refused.append((digest_of(document), type(error).__name__))
        await asyncio.sleep(0.02)


async def renew_bundles(arena: Arena) -> None:
    """A week passes; everybody has published anew, and the application has seen it."""
    await arena.warm_up()
    await arena.quiet()
    await _pass(arena, 8 * DAY_S)
    for label in DEVICES:
        await _see_newer(arena, label, 1)


async def let_bundles_expire(arena: Arena) -> None:
    """Five weeks pass, in which everybody publishes anew."""
    await arena.warm_up()
    await arena.quiet()
    for _ in range(5):
        await _pass(arena, 8 * DAY_S)
    for label in DEVICES:
        await _see_newer(arena, label, 2)
    journal = arena.roles["ops"].endpoint.journal
    await journal.commit()
    journal.note("UPDATE peers SET sequence = 0")  # as one who asks for the first time
    await journal.commit()


async def _pass(arena: Arena, seconds: int) -> None:
    before = {label: _sequence(role.endpoint.prekeys) for label, role in arena.roles.items()}
    arena.world.clock.turn(seconds)
    await until(lambda: all(_sequence(role.endpoint.prekeys) > before[x] for x, role in arena.roles.items()))


async def _see_newer(arena: Arena, label: str, above: int) -> None:
    directory = arena.roles["ops"].endpoint.directory
    proven = await directory.offer(arena.name(label))
    while proven.claims.sequence <= above:
        await asyncio.sleep(0.01)
        proven = await directory.offer(arena.name(label))


def _sequence(prekeys: PrekeyStore) -> int:
    newest = prekeys.newest
    return newest.proven.claims.sequence if newest is not None else 0


async def record_strangers_starts(arena: Arena) -> None:
    """A certified device outside this traffic seals 48 starts for the application, one file each."""
    await _record_starts(arena, 48, signed=True)


async def record_unsigned_starts(arena: Arena) -> None:
    """As that, eight of them, signed by another key than the certificate's: as by one who has stolen all but that."""
    await _record_starts(arena, 8, signed=False)


async def _record_starts(arena: Arena, count: int, *, signed: bool) -> None:
    await arena.warm_up()
    world, folder = arena.world, arena.world.path / "stranger-starts"
    folder.mkdir()
    stranger = await arena.stranger()
    own = stranger.endpoint.prekeys.newest
    now_ms, member = world.clock.now_ms(), stranger.endpoint.member
    for n in range(count):
        encoded = await world.hub.carrier().claim_bundle(str(arena.name("ops")))
        offer = verify_offer(encoded, world.member("application", "ops").credential, now_ms // 1_000)
        session = start(
            OwnKeys(own.proven, member.agreer, member.root.domain_id), offer, member.signer if signed else signer(),
            receive_kid=os.urandom(4), newest=b"", now_ms=now_ms, random=os.urandom, policy=DEFAULT_POLICY,
            encapsulate=encapsulate,
        )  # fmt: skip
        message = Message(CODE_POST, ("readings",), payload=b"stranger %d" % n)
        sealed = session.seal(message, now_ms=now_ms, uptime=Uptime(bytes(16), 0), random=os.urandom)
        if signed:
            arena.may.append((str(member.name), str(arena.name("ops")), f"stranger {n}"))
        (folder / f"{n:03}").write_bytes(sealed.envelope)


async def count_strangers(arena: Arena) -> None:
    """How many of a stranger's sessions the application has taken."""
    sessions = arena.roles["ops"].endpoint.sessions
    while True:
        peers = [held.session.peer for held in sessions.all()]
        arena.accepted = sum("stranger" in peer for peer in peers)
        await asyncio.sleep(0.02)


def _short(policy: Policy = QUICK, **changes: Any) -> dict[str, Any]:
    return {"policy": replace(policy, **changes)}


TO_OPS = frozenset({Name(DOMAIN, "application", "ops").mailbox})
TO_DEVICES = frozenset(Name(DOMAIN, "device", label).mailbox for label in DEVICES)
ONCE = Selection(count=1, seconds=LONG_S)
TWICE = Selection(count=2, seconds=LONG_S)
FLOOD = Selection(count=60, seconds=LONG_S)
RESTARTS = Case(ONCE, during=restart_all, warm=True)

CASES: dict[str, Case] = {
    **dict.fromkeys(("tamper-opener-reseed", "tamper-opener-salt"), RESTARTS),
    "tamper-opener-epoch": replace(RESTARTS, options=_short(step_after_messages=1), seconds=20),
    "replay-after-restart": replace(RESTARTS, select=Selection(count=4, seconds=LONG_S)),
    "replay-after-step": Case(TWICE, warm=True, seconds=4),
    "replay-later": Case(parameters=lambda path: LaterParameters(20.0)),
    "replay-start": Case(TWICE, parameters=lambda path: LaterParameters(20.0)),
    **dict.fromkeys(("splice", "splice-with-kid", "swap-kids", "swap-answers", "reflect"), Case(warm=True)),
    **dict.fromkeys(("tamper-topic", "tamper-tag-claim", "tamper-expiry", "strip-claims"), Case()),
    "hold-commands": Case(
        Selection(count=4, seconds=LONG_S, subjects=TO_DEVICES), lambda path: HoldParameters(40.0, 96), warm=True,
        options={"speed": 30.0, "max_age": timedelta(seconds=20)},
    ),
    "silence": Case(Selection(seconds=100), warm=True, commands=False),
    "withhold-for-good": Case(Selection(count=4, seconds=150), warm=True, commands=False),
    "drop-everything": Case(Selection(seconds=30)),
    "deny-directory": Case(Selection(seconds=30)),
    "serve-one-time-twice": Case(ONCE, options=_short(anew_after_ms=60_000)),
    "substitute-root": Case(TWICE, during=ask_for_root),
    "substitute-bundle-older": Case(TWICE, before=renew_bundles, during=ask_for_bundles),
    "substitute-bundle-expired": Case(TWICE, before=let_bundles_expire, during=ask_for_bundles),
    **dict.fromkeys(
        (
            "substitute-bundle-other", "substitute-bundle-forged", "substitute-bundle-resigned", "tamper-bundle",
            "substitute-certificate-other", "substitute-certificate-forged", "substitute-one-time-key",
            "withhold-one-time-keys",
        ),
        Case(TWICE),
    ),
    **dict.fromkeys(
        ("flood-noise", "flood-junk", "flood-oversized", "flood-forged", "flood-numbers", "flood-reseeds",
         "flood-epochs", "flood-starts"),
        Case(FLOOD, warm=True),
    ),
    "flood-numbers": Case(FLOOD, warm=True, options={"speed": 20.0}),
    "flood-oversized": Case(Selection(count=12, seconds=LONG_S), warm=True),
    "flood-stranger": Case(
        Selection(count=48, seconds=LONG_S, subjects=TO_OPS),
        lambda path: RecordedParameters(str(path / "stranger-starts")), before=record_strangers_starts,
        during=count_strangers,
    ),
}  # fmt: skip


UNSIGNED = replace(
    CASES["flood-stranger"], select=Selection(count=8, seconds=LONG_S, subjects=TO_OPS), before=record_unsigned_starts,
    during=nothing,
)  # fmt: skip
"""Starts of a stranger that are sound but for their signature."""

QUIET = _short(reoffer_after_ms=3_600_000, longest_reoffer_ms=3_600_000)
"""Senders offer nothing twice, so nothing comes twice but by the adversary's doing."""


def case_of(name: str) -> Case:
    """The circumstances of an attack."""
    return CASES.get(name, Case())
