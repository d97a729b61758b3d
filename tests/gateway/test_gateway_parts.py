# SPDX-License-Identifier: Apache-2.0
"""The parts of a gateway one by one: blocks, rates, observations, the queue, what a status means."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiocoap.message import Message
from aiocoap.numbers.codes import Code
from hypothesis import given
from hypothesis import strategies as st

from sealway.errors import HopRefused, Malformed, NotFound, RateLimited, StateLost, TransportFailed
from sealway.gateway import watchers
from sealway.gateway.blocks import Downloads, Uploads
from sealway.gateway.limits import Limits, RateLimiter
from sealway.gateway.metrics import COUNTERS, Metrics
from sealway.gateway.queue import FILE_NAME, Consent, DurableQueue
from sealway.gateway.refusal import Refusal, code_of_status, refusal_of, upstream_refusal, upstream_status
from sealway.gateway.status import gateway_status
from sealway.gateway.uplink import Backoff, Uplink, refused_for_good
from sealway.gateway.watchers import Watchers
from sealway.transports.memory import Honest, MemoryCarrier
from sealway.transports.ports import Collected, Deposit
from tests.gateway.gateway_bench import Bench


def request(code: Code, *, port: int = 1, payload: bytes = b"", host: str = "::1", **options: object) -> Message:
    message = Message(code=code, payload=payload)
    message.remote = SimpleNamespace(sockaddr=(host, port, 0, 0))
    message.opt.uri_path = ("m", "a" * 16)
    for name, value in options.items():
        setattr(message.opt, name, value)
    return message


class TestBlocks:
    @given(body=st.binary(min_size=1, max_size=5000), exponents=st.lists(st.integers(0, 6), min_size=1))
    def test_uploads_come_together_whatever_the_block_sizes(self, body: bytes, exponents: list[int]) -> None:
        uploads = Uploads(Limits(), clock=lambda: 0.0)
        offset, step, result = 0, 0, None
        while offset < len(body):
            exponent = min(exponents[: step + 1])  # sizes may only shrink
            size = 16 << exponent
            more = offset + size < len(body)
            block = (offset >> (exponent + 4), more, exponent)
            result = uploads.feed(request(Code.POST, payload=body[offset : offset + size], block1=block), 5000)
            offset, step = offset + size, step + 1
        assert result == body
        assert len(uploads) == 0

    @given(body=st.binary(max_size=5000), exponents=st.lists(st.integers(0, 6), min_size=1))
    def test_downloads_come_together_whatever_the_block_sizes(self, body: bytes, exponents: list[int]) -> None:
        downloads = Downloads(clock=lambda: 0.0)
        first = downloads.first(request(Code.GET, block2=(0, False, exponents[0])), Code.CONTENT, body, 60)
        got, more, step = first.payload, first.opt.block2 is not None and first.opt.block2.more, 1
        while more:
            exponent = min(exponents[: step + 1])
            following = request(Code.GET, block2=(len(got) >> (exponent + 4), False, exponent))
            answer = downloads.following(following, Code.CONTENT)
            assert answer.opt.etag == first.opt.etag
            got, more, step = got + answer.payload, answer.opt.block2.more, step + 1
        assert got == body

    def test_two_endpoints_upload_to_one_mailbox_at_once(self) -> None:
        uploads = Uploads(Limits())
        for number in range(3):
            for port in (1, 2):
                block = (number, number < 2, 0)
                done = uploads.feed(request(Code.POST, port=port, payload=bytes([port]) * 16, block1=block), 100)
        assert done == b"\x02" * 48

    def test_a_first_block_begins_anew(self) -> None:
        uploads = Uploads(Limits())
        for _ in range(2):
            assert uploads.feed(request(Code.POST, payload=bytes(16), block1=(0, True, 0)), 100) is None
        assert uploads.feed(request(Code.POST, payload=b"end", block1=(1, False, 0)), 100) == bytes(16) + b"end"

    def test_an_upload_is_cut_off_at_its_limit(self) -> None:
        uploads = Uploads(Limits())
        for number in range(6):
            uploads.feed(request(Code.POST, payload=bytes(16), block1=(number, True, 0)), 100)
        with pytest.raises(Refusal) as refused:
            uploads.feed(request(Code.POST, payload=bytes(16), block1=(6, True, 0)), 100)
        assert (refused.value.code, refused.value.size) == (0x8D, 100)
        assert len(uploads) == 0

    def test_who_holds_the_most_uploads_gives_way_to_who_holds_fewer(self) -> None:
        now = [0.0]
        uploads = Uploads(Limits(uploads=4), clock=lambda: now[0])

        def begin(host: str, port: int) -> None:
            now[0] += 1.0
            uploads.feed(request(Code.POST, host=host, port=port, payload=bytes(16), block1=(0, True, 0)), 100)

        def end(host: str, port: int) -> bytes | None:
            return uploads.feed(request(Code.POST, host=host, port=port, payload=b"end", block1=(1, False, 0)), 100)

        for port in range(4):
            begin("::a", port)
        begin("::b", 0)
        for port in range(4, 8):  # it gets its place back at nobody's expense
            with pytest.raises(Refusal, match="too many"):
                begin("::a", port)
        begin("::b", 1)
        assert len(uploads) == 4
        with pytest.raises(Refusal, match="not known here"):
            end("::a", 0)
        assert [end("::b", 0), end("::b", 1), end("::a", 3)] == [bytes(16) + b"end"] * 3

    def test_answers_are_kept_for_a_while_and_not_too_many(self) -> None:
        now = [0.0]
        downloads = Downloads(clock=lambda: now[0])
        for port in range(100):
            downloads.first(request(Code.GET, port=port), Code.CONTENT, bytes(3000), 60)
        later = (1, False, 6)
        assert len(downloads.following(request(Code.GET, port=99, block2=later), Code.CONTENT).payload) == 1024
        for port, seconds in ((0, 0.0), (99, 61.0)):
            now[0] = seconds
            with pytest.raises(Refusal, match="not kept"):
                downloads.following(request(Code.GET, port=port, block2=later), Code.CONTENT)
        downloads.first(request(Code.GET), Code.CONTENT, bytes(3000), 60)
        with pytest.raises(Refusal, match="past the end"):
            downloads.following(request(Code.GET, block2=(3, False, 6)), Code.CONTENT)


class TestRates:
    def test_a_bucket_refills_evenly(self) -> None:
        rates = RateLimiter(60)
        for _ in range(60):
            rates.spend("a", 0.0)
        with pytest.raises(RateLimited):
            rates.spend("a", 0.5)
        rates.spend("a", 1.5)
        rates.spend("b", 0.5)

    def test_the_table_has_a_fixed_size(self) -> None:
        rates = RateLimiter(1, tracked=10)
        for number in range(1000):
            rates.spend(str(number), 0.0)
        assert len(rates) == 10
        with pytest.raises(RateLimited):
            rates.spend("999", 0.0)


class TestWatchers:
    async def test_no_second_notification_before_an_answer_except_a_reminder(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(watchers, "_REMIND", 0.2)
        every = Watchers(10)
        with every.watch("m", "endpoint") as watch:
            assert watch is not None
            every.news(["m", "other"])
            assert await asyncio.wait_for(watch.next(), 0.1)
            watch.notified()
            every.news(["m"])
            start = time.monotonic()
            assert await watch.next()
            assert time.monotonic() - start > 0.15  # the reminder
            watch.notified()
            every.answered("m")
            start = time.monotonic()
            assert await watch.next()
            assert time.monotonic() - start < 0.1
        assert len(every) == 0

    async def test_registering_again_ends_the_earlier_observation(self) -> None:
        every = Watchers(1)
        with every.watch("m", "endpoint") as first, every.watch("m", "endpoint") as second:
            assert first is not None
            assert second is not None
            assert not await first.next()
            assert len(every) == 1
            with every.watch("m", "another") as third:
                assert third is None
        assert len(every) == 0

    async def test_an_observation_has_an_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(watchers, "_LIFETIME", 0.05)
        with Watchers(1).watch("m", "endpoint") as watch:
            assert watch is not None
            assert not await asyncio.wait_for(watch.next(), 1)

    def test_observe_values_grow(self) -> None:
        every = Watchers(1)
        values = [every.next_sequence() for _ in range(100)]
        assert all(earlier < later for earlier, later in pairwise(values))


class TestQueue:
    async def test_rows_are_never_named_twice(self, tmp_path: Path) -> None:
        queue = DurableQueue(tmp_path, Limits())
        await queue.store([Collected("m", 1, b"one")], 0.0)
        (first,) = await queue.waiting("m", 10)
        assert await queue.acknowledge("m", [first.sequence]) == 1
        assert await queue.acknowledge("m", [first.sequence]) == 0
        await queue.close()
        queue = DurableQueue(tmp_path, Limits())
        await queue.store([Collected("m", 1, b"two"), Collected("m", 2, b"two")], 0.0)
        (second,) = await queue.waiting("m", 10)
        assert second.sequence > first.sequence
        assert await queue.acknowledge("other", [second.sequence]) == 0
        await queue.close()

    async def test_what_is_not_due_waits_behind_what_is(self, tmp_path: Path) -> None:
        queue = DurableQueue(tmp_path, Limits())
        for number in range(5):
            await queue.put(Deposit("m", bytes([number])), 0.0)
        batch = await queue.next_batch(0.0)
        await queue.settle([batch[0].row], [batch[1].row], 50.0)
        assert [outbound.deposit.envelope for outbound in await queue.next_batch(0.0)] == [b"\x02", b"\x03", b"\x04"]
        assert [outbound.deposit.envelope for outbound in await queue.next_batch(60.0)][-1] == b"\x01"
        assert await queue.next_due() == 0.0
        assert await queue.held() == {
            "outbound_envelopes": 4,
            "outbound_bytes": 4,
            "inbound_envelopes": 0,
            "inbound_bytes": 0,
        }
        await queue.close()

    async def test_a_deposit_that_does_not_fit_spoils_none_beside_it(self, tmp_path: Path) -> None:
        queue = DurableQueue(tmp_path, Limits(queue_bytes=100))
        deposits = [Deposit("m", bytes([number]) * size) for number, size in enumerate([40, 70, 40, 30, 20])]
        results = await asyncio.gather(*(queue.put(d, 0.0) for d in deposits), return_exceptions=True)
        assert [isinstance(result, TransportFailed) for result in results] == [False, True, False, True, False]
        assert (await queue.held())["outbound_bytes"] == 100
        await queue.close()

    async def test_expiry_takes_the_old_and_leaves_the_young(self, tmp_path: Path) -> None:
        queue = DurableQueue(tmp_path, Limits(held_for=timedelta(seconds=10)))
        for number in range(1500):
            await queue.put(Deposit("m", number.to_bytes(2, "big")), 0.0 if number < 1200 else 100.0)
        await queue.store([Collected("m", 1, b"x")], 0.0)
        assert await queue.expire(50.0) == (1200, 1)
        assert (await queue.held())["outbound_envelopes"] == 300
        await queue.close()

    async def test_consents_are_bounded_and_replaced(self, tmp_path: Path) -> None:
        queue = DurableQueue(tmp_path, Limits(consents=2))
        for mailbox in ("a", "b", "a"):
            await queue.remember(Consent(mailbox, b"new", 1))
        with pytest.raises(RateLimited):
            await queue.remember(Consent("c", b"new", 1))
        await queue.forget_consent(Consent("a", b"another", 1))
        assert [consent.mailbox for consent in await queue.consents()] == ["a", "b"]
        await queue.forget_consent(Consent("a", b"new", 1))
        assert [consent.mailbox for consent in await queue.consents()] == ["b"]
        await queue.close()

    async def test_every_commit_is_synced_and_logged_ahead(self, tmp_path: Path) -> None:
        queue = DurableQueue(tmp_path, Limits())
        pragmas = ("journal_mode", "synchronous")
        found = [
            await queue._store.write(lambda db, name=pragma: db.execute(f"PRAGMA {name}").fetchone()[0])  # type: ignore[misc]
            for pragma in pragmas
        ]
        assert found == ["wal", 2]
        await queue.close()


class TestStatus:
    def test_of_nothing(self, tmp_path: Path) -> None:
        assert gateway_status(tmp_path / "none")["in_flight"] == 0

    def test_of_a_queue_before_its_first_commit(self, tmp_path: Path) -> None:
        with closing(sqlite3.connect(tmp_path / FILE_NAME)) as database:
            database.execute("PRAGMA journal_mode=WAL")
        assert gateway_status(tmp_path)["in_flight"] == 0

    def test_of_a_damaged_file(self, tmp_path: Path) -> None:
        (tmp_path / FILE_NAME).write_bytes(b"not a database" * 100)
        with pytest.raises(StateLost):
            gateway_status(tmp_path)
        with pytest.raises(StateLost):
            DurableQueue(tmp_path, Limits())


class TestCodes:
    @pytest.mark.parametrize(
        ("status", "code"), [(404, 0x84), (429, 0x9D), (503, 0xA3), (508, 0xA8), (418, 0x80), (507, 0xA2), (302, 0xA2)]
    )
    def test_a_status_has_a_code(self, status: int, code: int) -> None:
        assert code_of_status(status) == code

    def test_errors_have_codes_and_words(self) -> None:
        assert refusal_of(Malformed("bad", hint="do better")).text == "bad; do better"
        assert upstream_refusal(HopRefused("no", status=403)).code == 0x83
        assert upstream_refusal(NotFound("no")).counter == "refused_upstream"
        assert upstream_status(TransportFailed("away")) == 503
        assert Refusal(0x9D, "x" * 1000).to_message().opt.max_age
        assert len(Refusal(0x80, "x" * 1000).to_message().payload) == 200

    def test_what_is_refused_for_good(self) -> None:
        assert all(refused_for_good(status) for status in (400, 403, 404, 413, 508))
        assert not any(refused_for_good(status) for status in (201, 401, 408, 425, 429, 500, 503, 507))

    def test_backoff_doubles_up_to_its_end(self) -> None:
        backoff = Backoff(0.1, 5.0)
        assert all(0.05 <= backoff.seconds(1) <= 0.1 for _ in range(100))
        assert all(2.5 <= backoff.seconds(10_000) <= 5.0 for _ in range(100))

    def test_counters_have_fixed_names(self) -> None:
        metrics = Metrics({"deposits_taken": 3, "of an older version": 1})
        metrics.add("deposits_taken")
        assert metrics.values()["deposits_taken"] == 4
        assert set(metrics.values()) == set(COUNTERS)
        with pytest.raises(KeyError):
            metrics.add("made up")


async def test_memory_does_not_grow_with_what_waits_for_the_hub(bench: Bench) -> None:
    bench.hub.away = True
    queue, metrics = DurableQueue(bench.root, Limits()), Metrics()
    uplink = Uplink(bench.hub.carrier(), queue, metrics, Backoff(0.01, 0.02))
    draining = asyncio.create_task(uplink.run())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(1000):
        await queue.put(Deposit(bench.mailbox(), bench.envelope(60_000)), time.time())
        uplink.wake()
    assert (await queue.held())["outbound_bytes"] > 60_000_000
    await bench.until(lambda: metrics.values()["uplink_failures"] > 10)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 24_000  # KiB
    draining.cancel()
    await asyncio.gather(draining, return_exceptions=True)
    await queue.close()


async def test_a_hub_that_refuses_one_device_still_serves_the_others(bench: Bench) -> None:
    refused, served = bench.mailbox("meter-1"), bench.mailbox("meter-2")

    class Partial(MemoryCarrier):
        refused_mailboxes: frozenset[str] = frozenset()

        async def collect(self, mailboxes: Sequence[str], *, wait: float, most: int = 100) -> list[Collected]:
            found = await super().collect([m for m in mailboxes if m != refused], wait=min(wait, 0.2), most=most)
            self.refused_mailboxes = frozenset({refused}) & set(mailboxes)
            return found

        async def publish_consent(self, consent: bytes) -> None:
            await super().publish_consent(consent)
            if self.calls["publish_consent"] > 2:
                raise HopRefused("revoked", status=403)

    uplink = Partial(bench.hub, Honest(), needs_consent=False)
    gateway = await bench.gateway(uplink=uplink)
    carrier = await bench.carrier(gateway.uri)
    for label in ("meter-1", "meter-2"):
        await carrier.publish_consent(bench.consent(label))
    await bench.until(lambda: uplink.calls["publish_consent"] == 3)
    for _ in range(3):
        envelope = bench.envelope()
        bench.hub.take(Deposit(served, envelope))
        items = await carrier.collect([served], wait=5)
        assert [item.envelope for item in items] == [envelope]
        await carrier.acknowledge(items)
    assert uplink.calls["publish_consent"] == 3  # the refused one rests


async def test_an_expired_consent_is_forgotten(bench: Bench) -> None:
    uplink = bench.hub.carrier()
    gateway = await bench.gateway(uplink=uplink)
    carrier = await bench.carrier(gateway.uri)
    with pytest.raises(HopRefused, match="expired"):
        await carrier.publish_consent(bench.consent(lasts=-5))
    await carrier.publish_consent(bench.consent(lasts=1))
    await gateway.stop()
    await asyncio.sleep(1.1)
    calls = uplink.calls["collect"]
    again = await bench.gateway(uplink=uplink)
    await bench.until(lambda: gateway_status(again.state_dir)["consents"] == 0)
    assert uplink.calls["collect"] == calls
