# SPDX-License-Identifier: Apache-2.0
"""Files sealed and opened through endpoints: without any network, and beside one."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sealway.crypto.suites import SUITE_2, SUITE_3, Suite
from sealway.errors import (
    GapTooLarge,
    LocalMisuse,
    Malformed,
    NotAuthentic,
    NotTrusted,
    PeerMisbehaved,
    PrekeyGone,
    RateLimited,
    Replayed,
    StateLost,
    TransportFailed,
)
from sealway.protocol.policy import DEFAULT_POLICY, Policy
from sealway.protocol.rotation import Rotation
from sealway.sdk.endpoint import Endpoint
from sealway.sdk.role import Role
from sealway.sdk.sealedfiles import introduce, open_file, seal_file
from sealway.wire.sealed_file import Cursor, Preface
from tests.system.world import World, counters, kill, ready, until

CHUNK = 1024


@contextlib.asynccontextmanager
async def at_rest(role: Role) -> AsyncIterator[Endpoint]:
    """An endpoint that was opened and does nothing by itself."""
    try:
        yield role.endpoint
    finally:
        await role.close()


@contextlib.asynccontextmanager
async def offline(world: World, policy: Policy = DEFAULT_POLICY) -> AsyncIterator[tuple[Endpoint, Endpoint]]:
    """Two endpoints that never reach a hub."""
    world.hub.away = True
    async with at_rest(world.device(policy=policy)) as meter, at_rest(world.application(policy=policy)) as ops:
        yield meter, ops


async def sealed(sender: Endpoint, to: Endpoint, content: bytes, *, introduced: bool = True) -> bytes:
    sink = io.BytesIO()
    introduction = await introduce(to) if introduced else None
    done = await seal_file(
        sender, to.member.name, io.BytesIO(content), sink, introduction=introduction, chunk=CHUNK
    )  # fmt: skip
    assert (done.recipient, done.size) == (to.member.name, len(content))
    return sink.getvalue()


async def opened(endpoint: Endpoint, file: bytes) -> bytes:
    sink = io.BytesIO()
    done = await open_file(endpoint, io.BytesIO(file), sink)
    assert done.size == len(sink.getvalue())
    return sink.getvalue()


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 100 * CHUNK + 5])
async def test_without_any_network_in_both_directions(world: World, size: int) -> None:
    content = random.Random(size).randbytes(size)
    async with offline(world) as (meter, ops):
        assert await opened(ops, await sealed(meter, ops, content)) == content
        assert await opened(meter, await sealed(ops, meter, content, introduced=False)) == content
        file = await sealed(meter, ops, content, introduced=False)
        assert Preface.read(Cursor(file).read).introduction is None, "the session is answered: nobody is introduced"
        assert await opened(ops, file) == content
    assert world.hub.deposited == 0


@pytest.mark.parametrize("suite", [SUITE_2, SUITE_3])
async def test_files_of_the_other_suites(world: World, suite: Suite) -> None:
    world.suite = suite
    async with offline(world) as (meter, ops):
        file = await sealed(meter, ops, b"content")
        assert Preface.read(Cursor(file).read).envelope.alg == suite.cose_alg
        assert await opened(ops, file) == b"content"
        assert await opened(meter, await sealed(ops, meter, b"back", introduced=False)) == b"back"


async def test_files_open_in_any_order_and_once(world: World) -> None:
    async with offline(world) as (meter, ops):
        files = [await sealed(meter, ops, b"%d" % n) for n in range(8)]
        for n in (5, 0, 7, 1, 6, 2, 4, 3):
            assert await opened(ops, files[n]) == b"%d" % n
        for file in files:
            with pytest.raises(Replayed, match="opened before"):
                await opened(ops, file)


async def test_each_run_opens_its_state_anew(world: World) -> None:
    """As the command line does: one process for each file, on both sides."""
    world.hub.away = True
    async with at_rest(world.application()) as ops:
        introduction = await introduce(ops)
    files = []
    for n in range(6):
        async with at_rest(world.device()) as meter:
            sink = io.BytesIO()
            await seal_file(meter, world.ops, io.BytesIO(b"%d" % n), sink, introduction=introduction)
            files.append(sink.getvalue())
    for n in (3, 5, 4, 0, 1, 2):
        async with at_rest(world.application()) as ops:
            assert await opened(ops, files[n]) == b"%d" % n


async def test_a_hub_serves_the_bundle_when_it_is_in_reach(world: World) -> None:
    async with world.application() as running:
        await ready(running)
        async with at_rest(world.device()) as meter:
            file = await sealed(meter, running.endpoint, b"content", introduced=False)
        assert await opened(running.endpoint, file) == b"content"


async def test_without_a_bundle_and_a_network_nothing_is_sealed(world: World) -> None:
    async with offline(world) as (meter, ops):
        with pytest.raises(TransportFailed):
            await sealed(meter, ops, b"content", introduced=False)


@pytest.mark.parametrize("online_first", [True, False])
async def test_the_envelope_also_travels_online_and_the_file_opens_once(world: World, online_first: bool) -> None:
    async with world.device() as device, world.application() as application, world.watching(application):
        meter, ops = device.endpoint, application.endpoint
        await ready(device, application)
        file = await sealed(meter, ops, b"content")
        if online_first:
            await until(lambda: not meter.outbox, "the envelope is acknowledged, and offered no more")
        assert await opened(ops, file) == b"content"
        await device.send(world.ops, "readings", b"1")
        await until(lambda: world.got == [b"1"], "a key is no reading")
        await until(lambda: not meter.outbox and not ops.outbox, "nothing is offered for ever")
        with pytest.raises(Replayed):
            await opened(ops, file)
    assert world.got == [b"1"]


async def test_what_was_sealed_offline_is_acknowledged_at_the_next_contact(world: World) -> None:
    """Also a bundle that was made without the directory is published then as it is, so that the start is accepted."""
    async with offline(world) as (meter, ops):
        file = await sealed(meter, ops, b"content")
        newest = ops.prekeys.newest
        assert newest is not None
    world.hub.away = False
    async with world.device() as device, world.application() as application:
        await ready(device, application)
        await until(lambda: not device.endpoint.outbox, "the start came and was acknowledged")
        assert application.endpoint.prekeys.newest is not None
        assert application.endpoint.prekeys.newest.proven.hash == newest.proven.hash
        assert counters(device)["directory_forgot"] == counters(application)["directory_forgot"] == 0
        assert await opened(application.endpoint, file) == b"content"


async def test_a_message_that_moved_brings_the_key_all_the_same(world: World) -> None:
    """The session of the file is left before its envelope came: the key comes under another number."""
    async with world.device() as device, world.application() as application:
        meter, ops = device.endpoint, application.endpoint
        await ready(device, application)
        world.hub.away = True
        file = await sealed(meter, ops, b"content")
        (held,) = meter.sessions.all()
        meter.sessions.leave(held)
        world.hub.away = False
        await until(lambda: not meter.outbox, "moved and acknowledged", 60)
        assert await opened(ops, file) == b"content"
        with pytest.raises(PeerMisbehaved):
            await opened(ops, file)


async def test_a_file_is_for_its_recipient(world: World) -> None:
    async with offline(world) as (meter, ops), at_rest(world.application("other")) as other:
        first = await sealed(meter, ops, b"content")
        await introduce(other)
        with pytest.raises(PrekeyGone):
            await opened(other, first)
        assert await opened(ops, first) == b"content"
        await opened(meter, await sealed(ops, meter, b"answer"))
        running = await sealed(meter, ops, b"more")
        with pytest.raises(NotAuthentic):
            await opened(other, running)
        assert await opened(ops, running) == b"more"


async def test_the_sender_may_be_demanded(world: World) -> None:
    async with offline(world) as (meter, ops):
        file, sink = await sealed(meter, ops, b"content"), io.BytesIO()
        with pytest.raises(NotTrusted, match="sealed by sealway"):
            await open_file(ops, io.BytesIO(file), sink, sender=world.member("device", "other").name)
        assert sink.getvalue() == b""
        done = await open_file(ops, io.BytesIO(file), sink, sender=meter.member.name)
        assert (done.sender, sink.getvalue()) == (meter.member.name, b"content")


async def test_who_is_not_of_the_domain_introduces_nobody(world: World, tmp_path: Path) -> None:
    stranger = World(tmp_path / "elsewhere")
    stranger.hub.away = True
    async with offline(world) as (meter, ops), at_rest(stranger.application()) as theirs:
        with pytest.raises(NotTrusted):
            await seal_file(meter, world.ops, io.BytesIO(b""), io.BytesIO(), introduction=await introduce(theirs))
        with pytest.raises(NotTrusted):  # another endpoint's
            await seal_file(meter, world.ops, io.BytesIO(b""), io.BytesIO(), introduction=await introduce(meter))
        with pytest.raises(Malformed):
            await seal_file(meter, world.ops, io.BytesIO(b""), io.BytesIO(), introduction=b"\x80")
        assert await opened(ops, await sealed(meter, ops, b"content")) == b"content"


async def test_whatever_is_done_to_a_file_it_can_still_be_opened_whole(world: World) -> None:
    """A change anywhere is refused, nothing wrong is handed out, and the true file opens afterwards."""
    content, chance = random.Random(1).randbytes(3 * CHUNK + 100), random.Random(2)
    async with offline(world) as (meter, ops):
        for kind in ("start", "running"):
            file = await sealed(meter, ops, content)
            for at in [*range(40), *(chance.randrange(len(file)) for _ in range(150)), len(file) - 1]:
                changed = bytearray(file)
                changed[at] ^= 1 << chance.randrange(8)
                for bad in (bytes(changed), file[:at], file + file[at : at + 1]):
                    sink = io.BytesIO()
                    with pytest.raises(PeerMisbehaved):
                        await open_file(ops, io.BytesIO(bad), sink)
                    assert content.startswith(sink.getvalue()), (kind, at)
            assert await opened(ops, file) == content
            await opened(meter, await sealed(ops, meter, b"an answer: the next file has no start"))


async def test_chunks_of_another_file_are_refused(world: World) -> None:
    async with offline(world) as (meter, ops):
        one, other = [await sealed(meter, ops, bytes([n]) * 3 * CHUNK) for n in range(2)]
        size = 3 + CHUNK + 16
        tail, content = -3 * size, -3 * size - 34
        for bad in (one[:tail] + other[tail:], one[:-size] + other[-size:], one[:content] + other[content:]):
            with pytest.raises(PeerMisbehaved, match=r"does not open|was altered"):
                await opened(ops, bad)
        assert await opened(ops, one) == bytes(3 * CHUNK)
        assert await opened(ops, other) == b"\x01" * 3 * CHUNK


class _Broken(io.BytesIO):
    """Takes two chunks, and then no more."""

    def write(self, content: object) -> int:
        if len(self.getvalue()) > CHUNK:
            raise OSError(28, "No space left on device")
        return super().write(content)  # type: ignore[arg-type]


async def test_a_file_whose_output_failed_opens_again(world: World) -> None:
    async with offline(world) as (meter, ops):
        file = await sealed(meter, ops, bytes(9 * CHUNK))
        with pytest.raises(LocalMisuse, match="cannot write the output: no space left on device"):
            await open_file(ops, io.BytesIO(file), _Broken())
        assert await opened(ops, file) == bytes(9 * CHUNK)


async def test_a_file_whose_sealing_failed_is_sealed_anew_with_another_key(world: World) -> None:
    async with offline(world) as (meter, ops):
        broken = _Broken()
        introduction = await introduce(ops)
        with pytest.raises(LocalMisuse, match="no space left"):
            await seal_file(
                meter, world.ops, io.BytesIO(bytes(9 * CHUNK)), broken, introduction=introduction, chunk=CHUNK
            )  # fmt: skip
        whole = await sealed(meter, ops, bytes(9 * CHUNK))
        with pytest.raises(PeerMisbehaved):
            await opened(ops, broken.getvalue())
        assert await opened(ops, whole) == bytes(9 * CHUNK)


async def test_a_kill_between_the_commit_and_the_output_loses_nothing(world: World) -> None:
    world.hub.away = True
    async with at_rest(world.device()) as meter, at_rest(world.application()) as ops:
        file = await sealed(meter, ops, b"content")
    application = world.application()
    with pytest.raises(LocalMisuse):
        await open_file(application.endpoint, io.BytesIO(file), _Broken(bytes(2 * CHUNK)))
    await kill(application)
    async with at_rest(world.application()) as ops:
        assert await opened(ops, file) == b"content"
    async with at_rest(world.application()) as ops:
        with pytest.raises(Replayed):
            await opened(ops, file)


async def test_a_kill_between_the_output_and_its_being_noted_gives_the_same_file_again(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.hub.away = True
    async with at_rest(world.device()) as meter, at_rest(world.application()) as ops:
        file = await sealed(meter, ops, b"content")

    def die(*_: object) -> None:
        raise StateLost("killed here")

    application, out = world.application(), tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr("sealway.sdk.waitingkeys.WaitingKeys.done", die)
        with pytest.raises(StateLost):
            await open_file(application.endpoint, io.BytesIO(file), out)
    await kill(application)
    assert out.read_bytes() == b"content"
    async with at_rest(world.application()) as ops:
        assert await opened(ops, file) == b"content"
        with pytest.raises(Replayed):
            await opened(ops, file)


async def test_two_ways_at_once_accept_a_start_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The envelope comes through a hop whose directory is slow; meanwhile the file is opened."""
    async with world.application() as application, world.device() as device:
        meter, ops = device.endpoint, application.endpoint
        await ready(application, device)
        genuine = ops.carrier.bundle_by_hash

        async def slow(digest: bytes) -> bytes:
            await asyncio.sleep(0.2)
            return await genuine(digest)

        monkeypatch.setattr(ops.carrier, "bundle_by_hash", slow)
        file = await sealed(meter, ops, b"content")
        envelope = Preface.read(Cursor(file).read).envelope
        assert envelope.start is not None
        through_the_hop = asyncio.create_task(ops.links.open_start(envelope, envelope.start))
        await asyncio.sleep(0.05)
        assert not through_the_hop.done()
        assert await opened(ops, file) == b"content"
        with pytest.raises(Replayed):
            await through_the_hop
        assert len(ops.sessions.all()) == 1
        await until(lambda: not meter.outbox, "the session lives on")


async def test_a_kill_while_sealing_costs_a_number_and_nothing_else(world: World) -> None:
    world.hub.away = True
    async with at_rest(world.application()) as ops:
        introduction = await introduce(ops)
        device = world.device()
        with pytest.raises(LocalMisuse):
            await seal_file(
                device.endpoint, world.ops, io.BytesIO(b"one"), _Broken(bytes(2 * CHUNK)), introduction=introduction
            )  # fmt: skip
        await kill(device)
        async with at_rest(world.device()) as meter:
            assert len(meter.outbox) == 1, "the envelope was durable before a byte left"
            assert await opened(ops, await sealed(meter, ops, b"two")) == b"two"


def unfinished(folder: Path) -> list[Path]:
    return list(folder.glob(".*.new"))


async def test_a_file_appears_in_one_step_or_not_at_all(world: World, tmp_path: Path) -> None:
    plain, box, out = tmp_path / "plain", tmp_path / "box", tmp_path / "out"
    plain.write_bytes(bytes(5 * CHUNK))
    async with offline(world) as (meter, ops):
        introduction = await introduce(ops)
        await seal_file(meter, world.ops, plain, box, introduction=introduction, chunk=CHUNK)
        cut = tmp_path / "cut"
        cut.write_bytes(box.read_bytes()[:-10])
        with pytest.raises(Malformed):
            await open_file(ops, cut, out)
        assert not out.exists()
        out.write_bytes(b"mine")
        with pytest.raises(LocalMisuse, match="exists already"):
            await open_file(ops, box, out)
        assert out.read_bytes() == b"mine"
        with pytest.raises(LocalMisuse, match="is a directory"):
            await open_file(ops, box, tmp_path)
        with pytest.raises(LocalMisuse, match="cannot read"):
            await open_file(ops, tmp_path / "none", out)
        await open_file(ops, box, out, replace=True)
    assert out.read_bytes() == plain.read_bytes()
    assert unfinished(tmp_path) == []


async def test_a_cancelled_seal_leaves_no_file_and_no_waiting(world: World, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    async with offline(world) as (meter, ops):
        introduction = await introduce(ops)
        with os.fdopen(reading, "rb") as pipe:
            task = asyncio.create_task(
                seal_file(meter, world.ops, pipe, tmp_path / "box", introduction=introduction)
            )  # fmt: skip
            await until(lambda: len(meter.outbox) == 1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert unfinished(tmp_path) == []
            assert not (tmp_path / "box").exists()
            os.close(writing)


async def test_too_much_that_nobody_acknowledges_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with offline(world) as (meter, ops):
        monkeypatch.setattr("sealway.sdk.sealedfiles.OUTBOX_ENVELOPES", 3)
        for _ in range(3):
            await sealed(meter, ops, b"")
        with pytest.raises(RateLimited):
            await sealed(meter, ops, b"")


async def test_answers_in_files_acknowledge_files(world: World) -> None:
    async with offline(world) as (meter, ops):
        for _ in range(5):
            await opened(ops, await sealed(meter, ops, b"there"))
        assert len(meter.outbox) == 5
        await opened(meter, await sealed(ops, meter, b"and back"))
        assert len(meter.outbox) == 0


async def test_waiting_keys_are_bounded_and_forgotten(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealway.sdk.waitingkeys.MOST_OF_ONE_PEER", 3)
    count = "SELECT count(*) FROM files"
    async with offline(world) as (meter, ops):
        files = [await sealed(meter, ops, b"%d" % n) for n in range(5)]
        for file in files:
            with pytest.raises(LocalMisuse):
                await open_file(ops, io.BytesIO(file), _Broken(bytes(2 * CHUNK)))
        assert await ops.journal.read(count) == [(3,)]
        assert await opened(ops, files[4]) == b"4"
        with pytest.raises(Replayed):
            await opened(ops, files[0])
        world.clock.turn(31 * 86_400)
        await ops.tick()
        assert await ops.journal.read(count) == [(0,)]


async def test_a_start_whose_bundles_expired_is_begun_anew(world: World) -> None:
    policy = Policy(rotation=Rotation(bundle_life_ms=20 * 86_400_000))
    async with offline(world, policy) as (meter, ops):
        old = await sealed(meter, ops, b"old")
        world.clock.turn(21 * 86_400)
        with pytest.raises(TransportFailed):  # the present start will not be accepted any more
            await sealed(meter, ops, b"new", introduced=False)
        assert await opened(ops, await sealed(meter, ops, b"new")) == b"new"
        with pytest.raises((NotTrusted, PrekeyGone)):
            await opened(ops, old)


async def test_a_newer_introduction_begins_a_new_session_while_nobody_has_answered(world: World) -> None:
    async with offline(world) as (meter, ops):
        lost = await introduce(ops)
        await seal_file(meter, world.ops, io.BytesIO(b"1"), io.BytesIO(), introduction=lost)
        ops.prekeys.discard_all()
        await ops.journal.commit()
        assert await opened(ops, await sealed(meter, ops, b"2")) == b"2"
        with pytest.raises(Replayed):
            await seal_file(meter, world.ops, io.BytesIO(b"1"), io.BytesIO(), introduction=lost)


async def test_more_than_can_be_skipped_is_refused_and_nothing_is_lost(world: World) -> None:
    async with offline(world) as (meter, ops):
        assert await opened(ops, await sealed(meter, ops, b"first")) == b"first"
        (held,) = ops.sessions.all()
        held.session.policy = type(held.session.policy)(walk=2)
        for _ in range(4):
            await sealed(meter, ops, b"lost")
        last = await sealed(meter, ops, b"last")
        with pytest.raises(GapTooLarge):
            await opened(ops, last)
        held.session.policy = type(held.session.policy)()
        assert await opened(ops, last) == b"last"
