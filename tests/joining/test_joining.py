# SPDX-License-Identifier: Apache-2.0
"""Joining, end against end in memory: the way it goes, and every way it must not."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from sealway.crypto.secret import Secret
from sealway.crypto.spake2plus import Reply
from sealway.crypto.suites import SUITE_1, SUITE_3, Suite
from sealway.errors import (
    LocalMisuse,
    Malformed,
    NotAuthentic,
    NotAuthorized,
    NotTrusted,
    RateLimited,
    SealwayError,
    WrongCode,
)
from sealway.identity.issuing import make_csr
from sealway.joining.channel import Channel, Direction
from sealway.joining.commissioner import Applicant
from sealway.joining.device import PATIENCE_MS, Joiner
from sealway.joining.messages import (
    Abort,
    Answer,
    Confirm,
    Done,
    Hello,
    Offer,
    Refusal,
    Sealed,
    Share,
    Why,
    decode_outer,
)
from sealway.joining.ownership import MOST_ATTEMPTS, RESUMABLE_S, WINDOW_MS, State
from tests.identity.small_domain import NOW, name, seeded, signer
from tests.joining.two_ends import (
    CODE,
    DOMAINS,
    SERIAL,
    arbiter,
    commissioner,
    enrolment_for,
    gone_on_with,
    introduced,
    joined,
    joiner,
    moment,
)

WRONG = b"4719382557"


def refusal(data: bytes) -> Refusal:
    message = decode_outer(data)
    assert isinstance(message, Refusal), message
    return message


def test_the_right_code_joins_and_the_verifier_is_gone() -> None:
    durable = arbiter()
    enrolment = joined(commissioner(), joiner(durable))
    assert durable.state(NOW) is State.RFNOP
    assert durable.held == (hashlib.sha256(DOMAINS["one"].root_document).digest(), hashlib.sha256(enrolment).digest())
    assert durable.verifier() is None
    assert durable.networks == {"wifi": b"secret"}
    assert durable.log == ["counted", "confirmed", "owned"]


def test_a_wrong_code_says_so_and_how_many_attempts_are_left() -> None:
    durable = arbiter()
    device = joiner(durable)
    for left in (19, 18, 17):
        owner = commissioner(f"owner {left}", WRONG)
        answer = device.answer(owner.take_offer(device.answer(owner.hello(), moment())), moment())
        with pytest.raises(WrongCode, match=f"{left} attempts are left") as caught:
            owner.take_answer(answer)
        assert caught.value.left == left
        assert (abort := owner.abort()) is not None
        assert refusal(device.answer(abort, moment())).why is Why.WRONG_CODE
    joined(commissioner(), device)


def test_an_attempt_is_durable_before_the_devices_confirmation_leaves() -> None:
    durable = arbiter()
    device, owner = joiner(durable), commissioner(code=WRONG)
    share = owner.take_offer(device.answer(owner.hello(), moment()))
    assert durable.log == []
    assert isinstance(decode_outer(device.answer(share, moment())), Answer)
    assert durable.log == ["counted"]
    assert joiner(durable, "restarted").answer(commissioner("x").hello(), moment())
    assert durable.attempts_left(moment().uptime) == 19


def test_after_twenty_attempts_the_right_code_is_refused_too() -> None:
    durable = arbiter(attempts=MOST_ATTEMPTS - 1)
    device, owner = joiner(durable), commissioner(code=WRONG)
    answer = device.answer(owner.take_offer(device.answer(owner.hello(), moment())), moment())
    with pytest.raises(WrongCode, match="0 attempts are left"):
        owner.take_answer(answer)
    device.answer(owner.abort() or b"", moment())
    assert refusal(device.answer(commissioner("right").hello(), moment())) == Refusal(Why.EXHAUSTED, 0)
    with pytest.raises(RateLimited, match="no attempts are left"):
        commissioner("right").take_offer(Refusal(Why.EXHAUSTED, 0).encode())


def test_two_hellos_share_the_last_attempt() -> None:
    durable = arbiter(attempts=MOST_ATTEMPTS - 1)
    device, owner = joiner(durable), commissioner()
    share = owner.take_offer(device.answer(owner.hello(), moment()))
    durable.count_attempt()  # as if by another exchange
    assert refusal(device.answer(share, moment())).why is Why.EXHAUSTED


def test_a_confirmed_code_clears_the_attempts() -> None:
    durable = arbiter(attempts=7)
    introduced(commissioner(), joiner(durable))
    assert durable.attempts_left(moment().uptime) == MOST_ATTEMPTS
    assert durable.state(NOW) is State.RFPRO


def test_outside_a_pairing_window_nobody_is_taken() -> None:
    durable = arbiter()
    assert refusal(joiner(durable).answer(commissioner().hello(), moment(WINDOW_MS))).why is Why.CLOSED
    other_boot = replace(moment(), uptime=moment().uptime._replace(boot=b"another boot...."))
    assert refusal(joiner(durable).answer(commissioner().hello(), other_boot)).why is Why.CLOSED
    device, owner = joiner(durable), commissioner()
    share = owner.take_offer(device.answer(owner.hello(), moment(WINDOW_MS - 1)))
    assert refusal(device.answer(share, moment(WINDOW_MS))).why is Why.CLOSED


def test_an_owned_device_offers_nothing_to_who_has_the_label() -> None:
    durable = arbiter()
    joined(commissioner(), joiner(durable))
    device = joiner(durable, "later")
    other = commissioner("photograph", domain="other")
    answer = device.answer(other.hello(), moment())
    with pytest.raises(NotAuthorized, match="has an owner"):
        other.take_offer(answer)


def test_one_exchange_at_a_time() -> None:
    device, owner, other = joiner(arbiter()), commissioner(), commissioner("other", WRONG)
    offer = device.answer(owner.hello(), moment(1000))
    with pytest.raises(RateLimited, match="busy"):
        other.take_offer(device.answer(other.hello(), moment(1000 + PATIENCE_MS - 1)))
    assert isinstance(decode_outer(device.answer(other.hello(), moment(1000 + PATIENCE_MS))), Offer)
    assert refusal(device.answer(owner.take_offer(offer), moment(40_000))).why is Why.BUSY


def test_a_stranger_cannot_end_an_exchange() -> None:
    device, owner = joiner(arbiter()), commissioner()
    share = owner.take_offer(device.answer(owner.hello(), moment()))
    noise = [
        b"",
        b"\xff",
        Abort(bytes(16)).encode(),
        Share(bytes(16), b"\x04" * 65).encode(),
        Refusal(Why.BUSY, 0).encode(),
    ]
    noise += [Sealed(bytes(16), b"x").encode(), Confirm(bytes(16), bytes(32), b"x").encode(), Hello(bytes(16)).encode()]
    for message in noise:
        assert refusal(device.answer(message, moment())).why in (Why.BUSY, Why.MALFORMED)
    owner.take_proof(device.answer(owner.take_answer(device.answer(share, moment())), moment()))


def test_messages_out_of_their_order_end_the_exchange() -> None:
    def under_way() -> tuple[Joiner, bytes]:
        device = joiner(arbiter())
        offer = decode_outer(device.answer(Hello(bytes(16)).encode(), moment()))
        assert isinstance(offer, Offer)
        return device, offer.nonce

    for make in (
        lambda nonce: Confirm(nonce, bytes(32), b"x"),
        lambda nonce: Sealed(nonce, b"x"),
        lambda nonce: Share(nonce, b"\x04" + bytes(64)),
    ):
        device, nonce = under_way()
        assert refusal(device.answer(make(nonce).encode(), moment())).why is Why.MALFORMED
        assert isinstance(decode_outer(device.answer(Hello(bytes(16)).encode(), moment())), Offer)


def test_a_second_share_is_no_second_guess() -> None:
    durable = arbiter()
    device, owner = joiner(durable), commissioner(code=WRONG)
    share = owner.take_offer(device.answer(owner.hello(), moment()))
    device.answer(share, moment())
    assert refusal(device.answer(share, moment())).why is Why.MALFORMED
    assert durable.log == ["counted"]


def test_a_wrong_confirmation_is_refused_and_says_how_many_attempts_are_left() -> None:
    durable = arbiter()
    device, owner = joiner(durable), commissioner()
    confirm = decode_outer(
        owner.take_answer(device.answer(owner.take_offer(device.answer(owner.hello(), moment())), moment()))
    )
    assert isinstance(confirm, Confirm)
    wrong = device.answer(replace(confirm, confirmation=bytes(32)).encode(), moment())
    assert refusal(wrong) == Refusal(Why.WRONG_CODE, 19)
    assert durable.state(NOW) is State.RFOTM
    with pytest.raises(WrongCode, match="19 attempts are left"):
        owner.take_proof(wrong)


def test_what_is_altered_in_the_channel_is_refused() -> None:
    durable = arbiter()
    device, owner = joiner(durable), commissioner()
    applicant = introduced(owner, device)
    assert isinstance(applicant, Applicant)
    provision = decode_outer(owner.provision(enrolment_for(applicant), {}))
    assert isinstance(provision, Sealed)
    altered = replace(provision, sealed=provision.sealed[:-1] + bytes([provision.sealed[-1] ^ 1]))
    assert refusal(device.answer(altered.encode(), moment())).why is Why.MALFORMED
    assert refusal(device.answer(provision.encode(), moment())).why is Why.BUSY  # the exchange is over
    assert durable.state(NOW) is State.RFPRO


def test_an_enrolment_of_another_owner_or_key_is_not_taken() -> None:
    for domain, serial in (("other", SERIAL), ("one", "TH-000002")):
        durable = arbiter()
        device, owner = joiner(durable), commissioner()
        applicant = introduced(owner, device)
        assert isinstance(applicant, Applicant)
        if domain == "other":
            elsewhere = introduced(commissioner("elsewhere", domain="other"), joiner(arbiter()))
            assert isinstance(elsewhere, Applicant)
            enrolment = enrolment_for(elsewhere, "other")
        else:
            second = arbiter()
            second.keys = 5
            elsewhere = introduced(commissioner("elsewhere"), joiner(second))
            assert isinstance(elsewhere, Applicant)
            enrolment = enrolment_for(elsewhere)
        assert serial
        answer = device.answer(owner.provision(enrolment, {}), moment())
        assert refusal(answer).why is Why.NOT_ACCEPTED
        with pytest.raises(NotAuthorized, match="did not accept"):
            owner.take_done(answer)
        assert isinstance(device.fault, SealwayError)
        assert durable.state(NOW) is State.RFPRO


def test_a_label_on_another_device_is_refused() -> None:
    """Who has the label and not the device relays or imitates; the birth certificate is what it lacks."""
    with pytest.raises(NotTrusted, match="birth certificate of TH-000009"):
        introduced(commissioner(), joiner(arbiter(), serial="TH-000009"))
    with pytest.raises(NotTrusted, match="another device answered"):
        introduced(commissioner(serial="TH-000002"), joiner(arbiter()))


def test_an_untrusted_manufacturer_is_refused() -> None:
    owner, device = commissioner(), joiner(arbiter())
    device._born = replace(device._born, chain=(b"made elsewhere",))
    with pytest.raises(NotTrusted, match="not made by"):
        introduced(owner, device)


def test_a_proof_of_another_channel_is_refused() -> None:
    """The device signs the channel: what it said to one commissioner convinces no other."""
    durable = arbiter()
    relayed, honest = joiner(durable), commissioner()
    proof = introduced(honest, relayed)
    assert isinstance(proof, Applicant)
    signature = relayed._born.signer.sign(b"something else")

    class Fixed:
        public = relayed._born.signer.public

        def sign(self, message: bytes) -> bytes:
            return signature

    device = joiner(arbiter())
    device._born = replace(device._born, signer=Fixed())
    with pytest.raises(NotAuthentic):
        introduced(commissioner("other"), device)


def test_a_request_for_another_name_is_refused() -> None:
    durable = arbiter()
    request = durable.request
    durable.request = lambda wanted, suite: request(name("else"), suite)  # type: ignore[method-assign]
    with pytest.raises(NotTrusted, match="asks for the name"):
        introduced(commissioner(), joiner(durable))


@pytest.mark.parametrize(("number", "made"), [(1, SUITE_3), (2, SUITE_3), (3, SUITE_1)])
def test_a_key_that_is_not_of_the_suite_is_refused(number: int, made: Suite) -> None:
    durable = arbiter()
    durable.request = lambda wanted, suite: make_csr(signer("other", made), wanted)  # type: ignore[method-assign]
    with pytest.raises(NotTrusted, match=f"not one of suite {number}"):
        introduced(commissioner(suite=number), joiner(durable))


# power lost -----------------------------------------------------------------------------------------------------------
def test_power_lost_before_the_enrolment_resumes_with_the_same_keys() -> None:
    durable = arbiter()
    first = commissioner()
    applicant = introduced(first, joiner(durable))
    assert isinstance(applicant, Applicant)
    device = joiner(durable, "restarted")
    owner, again = gone_on_with(first.resumption, device)
    assert isinstance(again, Applicant) and again.csr == applicant.csr
    enrolment = enrolment_for(applicant)
    owner.take_done(device.answer(owner.provision(enrolment, {}), moment()))
    assert durable.state(NOW) is State.RFNOP


def test_power_lost_after_the_enrolment_the_device_says_which_it_has() -> None:
    durable, first = arbiter(), commissioner()
    device = joiner(durable)
    applicant = introduced(first, device)
    assert isinstance(applicant, Applicant)
    enrolment = enrolment_for(applicant)
    device.answer(first.provision(enrolment, {}), moment())  # and its answer is lost
    _, done = gone_on_with(first.resumption, joiner(durable, "restarted"))
    assert done == Done(hashlib.sha256(enrolment).digest())
    assert durable.log.count("owned") == 1


def test_the_code_again_instead_of_resuming_gives_the_same_request() -> None:
    durable = arbiter()
    applicant = introduced(commissioner(), joiner(durable))
    again = introduced(commissioner("again"), joiner(durable, "restarted"))
    assert isinstance(applicant, Applicant) and isinstance(again, Applicant)
    assert again.csr == applicant.csr


def test_another_owner_who_has_the_code_gets_other_keys_while_there_is_no_owner() -> None:
    durable = arbiter()
    first = introduced(commissioner(), joiner(durable))
    enrolment = joined(commissioner("b", domain="other"), joiner(durable, "restarted"), "other")
    assert isinstance(first, Applicant)
    assert durable.held is not None and durable.held[1] == hashlib.sha256(enrolment).digest()
    assert durable.keys == 2


def test_who_resumes_is_the_same_owner_with_the_same_name_within_a_day() -> None:
    durable, first = arbiter(), commissioner()
    introduced(first, joiner(durable))
    owner = commissioner("again", domain="other")
    device = joiner(durable, "restarted")
    begin = owner.take_offer(device.answer(owner.hello(first.resumption), moment()))
    assert refusal(device.answer(begin, moment())).why is Why.NOT_ACCEPTED
    owner, device = commissioner("of another suite", suite=2), joiner(durable, "restarted again")
    begin = owner.take_offer(device.answer(owner.hello(first.resumption), moment()))
    assert refusal(device.answer(begin, moment())).why is Why.NOT_ACCEPTED
    late = moment(now=NOW + RESUMABLE_S)
    assert refusal(joiner(durable).answer(commissioner("late").hello(first.resumption), late)).why is Why.OWNED
    assert durable.state(NOW + RESUMABLE_S) is State.RFOTM


def test_another_owner_cannot_ask_an_owned_device_what_it_has() -> None:
    durable, first = arbiter(), commissioner()
    joined(first, joiner(durable))
    device, owner = joiner(durable, "later"), commissioner("other", domain="other")
    begin = owner.take_offer(device.answer(owner.hello(first.resumption), moment()))
    assert refusal(device.answer(begin, moment())).why is Why.NOT_ACCEPTED


def test_a_resumed_exchange_takes_no_share_and_no_other_secret() -> None:
    durable, first = arbiter(), commissioner()
    introduced(first, joiner(durable))
    device, owner = joiner(durable, "restarted"), commissioner("again")
    forged = replace(first.resumption, secret=Secret(bytes(32)))
    begin = owner.take_offer(device.answer(owner.hello(forged), moment()))
    assert refusal(device.answer(begin, moment())).why is Why.MALFORMED
    offer = decode_outer(device.answer(commissioner("c").hello(first.resumption), moment()))
    assert isinstance(offer, Offer) and offer.parameters is None
    assert refusal(device.answer(Share(offer.nonce, b"\x04" + bytes(64)).encode(), moment())).why is Why.MALFORMED
    fresh = commissioner("d")
    fresh.hello()
    with pytest.raises(Malformed, match="no parameters"):
        fresh.take_offer(offer.encode())


# misuse and odd answers -----------------------------------------------------------------------------------------------
def test_the_commissioner_keeps_its_order() -> None:
    owner = commissioner()
    assert owner.abort() is None
    with pytest.raises(LocalMisuse, match="no share"):
        owner.take_answer(Answer(Reply(b"\x04" + bytes(64), bytes(32)), 1).encode())
    with pytest.raises(LocalMisuse, match="no channel"):
        owner.take_proof(b"")
    with pytest.raises(LocalMisuse, match="no channel"):
        _ = owner.resumption
    with pytest.raises(Malformed, match="instead of"):
        owner.take_offer(Abort(bytes(16)).encode())
    with pytest.raises(Malformed, match="did not understand"):
        owner.take_offer(Refusal(Why.MALFORMED, 0).encode())


def test_the_device_must_say_that_it_has_exactly_what_it_was_given() -> None:
    durable, owner = arbiter(), commissioner()
    device = joiner(durable)
    applicant = introduced(owner, device)
    assert isinstance(applicant, Applicant)
    owner.provision(enrolment_for(applicant), {})
    channel = Channel(Secret(bytes(32)), (b"a", b"b"), is_device=True)
    owner._channel = Channel(Secret(bytes(32)), (b"a", b"b"), is_device=False)
    said = Sealed(bytes(16), channel.outward.seal(Done(bytes(32)).encode()))
    with pytest.raises(NotAuthentic, match="did not take"):
        owner.take_done(said.encode())
    with pytest.raises(Malformed, match="did not say who"):
        owner.take_proof(Sealed(bytes(16), channel.outward.seal(owner._begin().encode())).encode())


def test_a_channel_opens_each_message_once_and_in_order() -> None:
    ours, theirs = (Channel(Secret(CODE), (b"a", b"b"), is_device=end) for end in (True, False))
    first, second = ours.outward.seal(b"1"), ours.outward.seal(b"2")
    with pytest.raises(NotAuthentic):
        Channel(Secret(CODE), (b"a", b"b"), is_device=False).inward.open(second)
    assert (theirs.inward.open(first), theirs.inward.open(second)) == (b"1", b"2")
    with pytest.raises(NotAuthentic):
        theirs.inward.open(second)
    with pytest.raises(LocalMisuse, match="over"):
        theirs.inward.open(second)
    with pytest.raises(NotAuthentic):
        ours.inward.open(first)  # the other direction has another key
    assert ours.binding == theirs.binding and ours.resumption.id == theirs.resumption.id
    assert Channel(Secret(CODE), (b"a", b"c"), is_device=True).binding != ours.binding


def test_a_direction_ends_after_64_messages() -> None:
    direction = Direction(Secret(seeded("d")(32)), b"x")
    sealed = {direction.seal(b"") for _ in range(64)}
    assert len(sealed) == 64
    with pytest.raises(LocalMisuse):
        direction.seal(b"")
