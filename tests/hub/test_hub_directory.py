# SPDX-License-Identifier: Apache-2.0
"""The directory: only what proves itself is kept, one-time keys go out once, and nothing older replaces the newer."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from sealway.identity.bundles import verify_bundle, verify_offer
from sealway.wire.bundle import Offer, Publication, SignedBundle
from sealway.wire.carriage import CertChain
from sealway.wire.cose import TYP_BUNDLE, Kid, Sign1, X5chain, sign1_to_be_signed


async def publish(bench, member, body):
    return await bench.call(member, "PUT", "/v1/bundles", body)


async def claim(bench, caller, member):
    return await bench.call(caller, "POST", f"/v1/bundles/claim?name={member.name}")


async def test_credentials_are_found_by_their_hash(bench, meter, application):
    await bench.publish(meter)
    await bench.publish(meter)
    answer = await bench.call(application, "GET", f"/v1/credentials/{meter.credential.x5t.hex()}")
    assert CertChain.decode(answer.content).certificates == meter.credential.chain
    assert answer.headers["Content-Type"] == "application/cbor"
    other = await bench.call(application, "GET", f"/v1/credentials/{application.credential.x5t.hex()}")
    assert other.status_code == 404


async def test_anyone_certified_may_publish_for_another(bench, meter, gateway):
    assert (await bench.call(gateway, "PUT", "/v1/credentials", meter.chain_body)).status_code == 204


@pytest.mark.parametrize("digest", ["0" * 63, "0" * 65, "G" * 64, "A" * 64, "é", "%20" * 64])
@pytest.mark.parametrize("what", ["credentials", "bundles"])
async def test_what_is_no_hash(bench, meter, what, digest):
    assert (await bench.call(meter, "GET", f"/v1/{what}/{digest}")).status_code == 400


async def test_chains_that_prove_nothing(bench, domain, meter, stranger):
    for body, status in (
        (stranger.chain_body, 401),
        (CertChain((domain.ca,)).encode(), 401),
        (CertChain((meter.credential.chain[0][:-1] + b"\x00",)).encode(), 400),
        (CertChain((b"rubbish",)).encode(), 400),
        (b"\x80", 400),
        (b"", 400),
        (bytes(70_000), 413),
    ):
        answer = await bench.call(meter, "PUT", "/v1/credentials", body)
        assert answer.status_code == status, answer.text
        assert "WWW-Authenticate" not in answer.headers


async def test_an_expired_credential_is_refused_and_forgotten(bench, domain, meter):
    brief = domain.member("device", "brief", days=1)
    await bench.publish(brief, meter)
    await bench.token(brief)
    bench.clock.now += 86_400 + 1
    bench._tokens.clear()
    assert (await bench.call(meter, "PUT", "/v1/credentials", brief.chain_body)).status_code == 401
    path = f"/v1/credentials/{brief.credential.x5t.hex()}"
    assert (await bench.call(meter, "GET", path)).status_code == 200
    await bench.hub.sweep()
    assert (await bench.call(meter, "GET", path)).status_code == 404


async def test_a_bundle_and_its_one_time_keys(bench, domain, meter, application):
    await bench.publish(meter)
    body = meter.publication(bench.clock.now, keys=3)
    bundle = Publication.decode(body).bundle
    assert (await publish(bench, meter, body)).status_code == 204
    indices = set()
    for _ in range(3):
        answer = await claim(bench, application, meter)
        proven = verify_offer(answer.content, meter.credential, bench.clock.now)
        assert proven.one_time is not None
        indices.add(proven.one_time.index)
    assert indices == {0, 1, 2}
    last = await claim(bench, application, meter)
    assert Offer.decode(last.content).one_time is None
    newest = await bench.call(application, "GET", f"/v1/bundles?name={meter.name}")
    assert newest.content == bundle
    assert newest.headers["Content-Type"] == "application/cose"
    by_hash = await bench.call(application, "GET", f"/v1/bundles/{hashlib.sha256(bundle).hexdigest()}")
    assert verify_bundle(by_hash.content, meter.credential, bench.clock.now).encoded == bundle
    assert bench.hub.metrics.value("sealway_hub_one_time_keys_total") == 3


async def test_a_bundle_published_again_brings_no_key_back(bench, meter, application):
    await bench.publish(meter)
    body = meter.publication(bench.clock.now, keys=1)
    await publish(bench, meter, body)
    assert Offer.decode((await claim(bench, application, meter)).content).one_time is not None
    assert (await publish(bench, meter, body)).status_code == 204
    assert Offer.decode((await claim(bench, application, meter)).content).one_time is None


async def test_nothing_older_replaces_the_newer(bench, meter, application):
    await bench.publish(meter)
    old, now = meter.publication(bench.clock.now, sequence=4), bench.clock.now
    new = meter.publication(now, sequence=5, keys=2)
    for body, status in ((old, 204), (new, 204), (old, 409), (meter.publication(now, sequence=5), 409)):
        assert (await publish(bench, meter, body)).status_code == status
    for _ in range(2):
        offer = Offer.decode((await claim(bench, application, meter)).content)
        assert offer.bundle == Publication.decode(new).bundle
        assert offer.one_time is not None
    assert Offer.decode((await claim(bench, application, meter)).content).one_time is None
    digest = hashlib.sha256(Publication.decode(old).bundle).hexdigest()
    assert (await bench.call(application, "GET", f"/v1/bundles/{digest}")).status_code == 200
    assert bench.refusals("publish_bundle", "Replayed") == 2


async def test_bundles_expire_and_their_sequence_does_not(bench, meter, application):
    await bench.publish(meter)
    now = bench.clock.now
    first, second = meter.publication(now, sequence=1, seconds=600), meter.publication(now, sequence=2, seconds=600)
    await publish(bench, meter, first)
    await publish(bench, meter, second)
    bench.clock.now += 700
    digest = hashlib.sha256(Publication.decode(second).bundle).hexdigest()
    assert (await claim(bench, application, meter)).status_code == 404
    assert (await bench.call(application, "GET", f"/v1/bundles?name={meter.name}")).status_code == 404
    assert (await bench.call(application, "GET", f"/v1/bundles/{digest}")).status_code == 404
    await bench.hub.sweep()
    older = meter.publication(bench.clock.now, sequence=2)
    assert (await publish(bench, meter, older)).status_code == 409
    assert (await publish(bench, meter, meter.publication(bench.clock.now, sequence=3))).status_code == 204


async def test_bundles_of_a_name_are_bounded(benches, meter, application):
    bench = benches(bundles_per_name=2)
    await bench.publish(meter)
    bodies = [meter.publication(bench.clock.now, sequence=n) for n in (1, 2, 3)]
    for body in bodies:
        await publish(bench, meter, body)
    digests = [hashlib.sha256(Publication.decode(body).bundle).hexdigest() for body in bodies]
    statuses = [(await bench.call(application, "GET", f"/v1/bundles/{digest}")).status_code for digest in digests]
    assert statuses == [404, 200, 200]


async def test_bundles_that_prove_nothing(bench, meter, lock, stranger):
    body = meter.publication(bench.clock.now)
    assert (await publish(bench, meter, body)).status_code == 404  # no credential yet
    await bench.publish(meter, lock)
    publication = Publication.decode(body)
    signed = SignedBundle.decode(publication.bundle)
    for bad, status in (
        (stranger.publication(bench.clock.now), 404),
        (Publication(publication.bundle, publication.one_time[:-1]).encode(), 401),
        (Publication(publication.bundle, ()).encode(), 401),
        (Publication(publication.bundle, publication.one_time[::-1]).encode(), 401),
        (
            Publication(publication.bundle[:-1] + bytes([publication.bundle[-1] ^ 1]), publication.one_time).encode(),
            400,
        ),
        (meter.publication(bench.clock.now, seconds=10, skew=-86_400), 401),
        (resigned(signed, lock, Kid(bytes(8))), 400),
        (resigned(signed, lock, X5chain(lock.credential.chain)), 401),
        (resigned(signed, stranger, X5chain(stranger.credential.chain)), 401),
        (b"\x82\x40\x80", 400),
        (b"", 400),
    ):
        answer = await publish(bench, lock, bad)
        assert answer.status_code == status, answer.text
    assert (await claim(bench, lock, meter)).status_code == 404


async def test_a_bundle_may_carry_its_chain(bench, meter, application):
    signed = SignedBundle.decode(Publication.decode(meter.publication(bench.clock.now, keys=0)).bundle)
    assert (await publish(bench, meter, resigned(signed, meter, X5chain(meter.credential.chain)))).status_code == 204
    assert (await claim(bench, application, meter)).status_code == 200


def resigned(signed, member, key_ref):
    payload = signed.claims.encode()
    signature = member.signer.sign(sign1_to_be_signed(TYP_BUNDLE, key_ref, payload))
    return Publication(Sign1(TYP_BUNDLE, key_ref, payload, signature).encode(), ()).encode()


async def test_a_one_time_key_goes_out_once_under_concurrency(benches, meter, application, gateway):
    bench = benches(claims_per_minute=1000)
    await bench.publish(meter)
    await publish(bench, meter, meter.publication(bench.clock.now, keys=64))
    answers = await asyncio.gather(
        *(claim(bench, caller, meter) for _ in range(40) for caller in (application, gateway))
    )
    keys = [Offer.decode(answer.content).one_time for answer in answers]
    handed_out = [key.index for key in keys if key is not None]
    assert sorted(handed_out) == list(range(64))
    assert keys.count(None) == 16


async def test_claims_are_limited_by_caller_and_target(benches, meter, lock, application, gateway):
    bench = benches(claims_per_minute=2)
    await bench.publish(meter, lock)
    for device in (meter, lock):
        await publish(bench, device, device.publication(bench.clock.now))
    statuses = [(await claim(bench, application, meter)).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    assert (await claim(bench, application, lock)).status_code == 200
    assert (await claim(bench, gateway, meter)).status_code == 200


async def test_publications_are_limited(benches, meter):
    bench = benches(publications_per_minute=1)
    await bench.publish(meter)
    assert (await bench.call(meter, "PUT", "/v1/credentials", meter.chain_body)).status_code == 429


@pytest.mark.parametrize("query", ["", "?name=", "?name=meter-1", "?name=sealway://x", "?nome=1"])
async def test_names_that_are_none(bench, meter, query):
    assert (await bench.call(meter, "GET", f"/v1/bundles{query}")).status_code == 400
    assert (await bench.call(meter, "POST", f"/v1/bundles/claim{query}")).status_code == 400


async def consent(bench, caller, body):
    return await bench.call(caller, "PUT", "/v1/consents", body, "application/cose")


async def test_consents_that_prove_nothing(bench, domain, meter, lock, gateway, stranger):
    now = bench.clock.now
    assert (await consent(bench, gateway, meter.consent(gateway, now))).status_code == 404
    await bench.publish(meter, lock)
    good = meter.consent(gateway, now)
    for bad, status in (
        (good[:-1] + bytes([good[-1] ^ 1]), 400),
        (meter.consent(gateway, now - 7200), 401),
        (stranger.consent(gateway, now), 404),
        (b"\xd2\x84", 400),
        (bytes(2000), 413),
    ):
        assert (await consent(bench, gateway, bad)).status_code == status
    assert (await consent(bench, gateway, good)).status_code == 204


async def test_a_later_consent_stays(bench, meter, gateway):
    await bench.publish(meter)
    now = bench.clock.now
    later, earlier = meter.consent(gateway, now), meter.consent(gateway, now - 60)
    for body, status in ((earlier, 204), (later, 204), (later, 204), (earlier, 409)):
        assert (await consent(bench, gateway, body)).status_code == status


async def test_the_root_document_is_for_everybody(bench, domain):
    answer = await bench.http.get("/v1/root")
    assert (answer.status_code, answer.content) == (200, domain.document)
