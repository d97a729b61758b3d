# SPDX-License-Identifier: Apache-2.0
"""The device's ownership on a disk: what each state admits, and the power lost at every change of the directory."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest

from sealway.cli.pairing import born_of, pairing_of
from sealway.crypto.keys import VerifyingKey
from sealway.crypto.secret import Secret
from sealway.crypto.spake2plus import derive
from sealway.errors import InUse, LocalMisuse, NotAuthorized, NotTrusted, StateLost
from sealway.factory.newborn import IDEVID_KEY
from sealway.home.home import Home
from sealway.home.pairing import Pairing
from sealway.identity.enrolment import EnrolmentClaims, sign_enrolment
from sealway.joining.channel import Resumption
from sealway.joining.commissioner import Applicant, Commissioner, Wanted
from sealway.joining.device import Joiner
from sealway.joining.messages import Done
from sealway.joining.ownership import ADMITTED, OWNERSHIP, RESUMABLE_S, WINDOW_MS, Act, Pending, State, demand
from sealway.keystore.places import open_keystore
from sealway.keystore.private_file import replace_private
from sealway.sdk.agreements import AgreementKeys
from sealway.sdk.endpoint import Endpoint
from sealway.sdk.member import Member
from sealway.sdk.schema import DATABASE
from sealway.storage.directory import DirectoryLock
from sealway.transports.memory import MemoryHub
from sealway.wire.cose import Sign1
from tests.cli.factory_made import MadeDevice, make_device
from tests.cli.town import PASSPHRASE
from tests.identity.small_domain import NOW, name, seeded
from tests.joining.power import Power
from tests.joining.two_ends import BOOT, DOMAINS, SmallBirth, enrolment_for, moment

STRETCH = cache(derive)
SECRET = Secret(PASSPHRASE.encode())


@pytest.fixture(autouse=True)
def _at_the_time_of_the_small_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("sealway.home.home", "sealway.home.pairing"):
        monkeypatch.setattr(f"{module}.time", SimpleNamespace(time=lambda: float(NOW)))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeDevice:
    """A device fresh from the factory; tests work on copies."""
    return make_device(tmp_path_factory.mktemp("made"), "TH-000001")[1]


@pytest.fixture
def fresh(made: MadeDevice, tmp_path: Path) -> Callable[[], Path]:
    """Makes copies of the device's directory."""

    def copy() -> Path:
        target = tmp_path / "device"
        shutil.rmtree(target, ignore_errors=True)
        return Path(shutil.copytree(made.state, target))

    return copy


class Owners:
    """Two owners who both have the code, and give a device that asks again the identical enrolment."""

    def __init__(self, made: MadeDevice) -> None:
        self.code = made.code.password
        self.given: dict[bytes, bytes] = {}
        self.resumption: dict[str, Resumption] = {}
        self.count = 0

    def take(self, state: Path, domain: str = "one", *, resumed: bool = False, suite: int = 1) -> bytes:
        """Take the device in with the code, or go on; return SHA-256 of what it says that it has."""
        self.count += 1
        with opened(state) as pairing:
            born = born_of(state, SECRET)
            device = Joiner(born, pairing, seeded(f"device {self.count}"))
            pairing.open_window(moment().uptime, pressed=True)
            owner, root = self._commissioner(domain, born.signer.public, suite), DOMAINS[domain]
            hello = device.answer(owner.hello(self.resumption[domain] if resumed else None), moment())
            following = owner.take_offer(hello)
            if not resumed:
                following = owner.take_answer(device.answer(following, moment()))
                self.resumption[domain] = owner.resumption
            found = owner.take_proof(device.answer(following, moment()))
            if isinstance(found, Done):
                return found.digest
            enrolment = self.given.setdefault(
                hashlib.sha256(found.csr + root.root_document).digest(), self._new(found, domain)
            )
            owner.take_done(device.answer(owner.provision(enrolment, {"wifi": b"secret"}), moment()))
            return hashlib.sha256(enrolment).digest()

    @staticmethod
    def _new(found: Applicant, domain: str) -> bytes:
        return enrolment_for(found, domain)

    def _commissioner(self, domain: str, key: VerifyingKey, suite: int) -> Commissioner:
        owner = DOMAINS[domain]
        wanted = Wanted(owner.root_document, lambda serial: name(serial.lower(), domain=owner.root.domain), suite)
        birth = SmallBirth("TH-000001", key)
        return Commissioner(self.code, wanted, lambda chain: birth, seeded(f"owner {self.count}"), STRETCH)


@contextmanager
def opened(state: Path) -> Iterator[Pairing]:
    """Open the device's ownership as ``device pair`` does."""
    with pairing_of(Home(state, "device"), SECRET) as pairing:
        yield pairing


def state_of(state: Path) -> State:
    with opened(state) as pairing:
        return pairing.state(NOW)


def works_for(state: Path) -> str:
    """The domain for which the device works, proven as by ``device serve``."""
    return Home(state, "device").open(SECRET).credential.name.domain


def test_power_lost_at_any_change_while_it_joins(
    made: MadeDevice, fresh: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Afterwards it has no owner, or the whole of one; and goes on to have the one who asks again."""
    power, cuts = Power(monkeypatch), 0
    seen: set[State] = set()
    while True:
        owners, state = Owners(made), fresh()
        if not power.runs_out(cuts, lambda owners=owners, state=state: owners.take(state)):  # type: ignore[misc]
            break
        seen.add(found := state_of(state))
        if found is State.RFNOP:
            digest = owners.take(state, resumed=True)
            assert digest in {hashlib.sha256(given).digest() for given in owners.given.values()}
        else:
            owners.take(state)
        assert len(owners.given) <= 2
        assert works_for(state) == "building.example"
        with opened(state) as pairing:
            assert pairing.verifier() is None
        cuts += 1
    assert cuts > 10
    assert seen == {State.RFOTM, State.RFPRO, State.RFNOP}


def test_power_lost_and_another_owner_with_the_code_comes(
    made: MadeDevice, fresh: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of the two owns it, wholly."""
    power, cuts, winners = Power(monkeypatch), 0, set()
    while True:
        owners, state = Owners(made), fresh()
        if not power.runs_out(cuts, lambda owners=owners, state=state: owners.take(state)):  # type: ignore[misc]
            break
        if state_of(state) is State.RFNOP:
            with pytest.raises(NotAuthorized, match="has an owner"):
                owners.take(state, "other")
        else:
            owners.take(state, "other")
        winners.add(works_for(state))
        cuts += 1
    assert winners == {"building.example", "other.example"}


def test_power_lost_at_any_change_of_a_reset(
    made: MadeDevice, fresh: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the owner's still, or nobody's; and never something of the owner's without the owner."""
    owners, state = Owners(made), fresh()
    owners.take(state)
    (state / "state.db").write_bytes(b"messages of the owner")
    (state / "grants").mkdir()
    (state / "grants" / "a.grant").write_bytes(b"grant")
    owned = shutil.copytree(state, state.with_name("owned"))
    power, cuts, seen = Power(monkeypatch), 0, set()

    def reset() -> None:
        with opened(state) as pairing:
            pairing.reset(NOW)

    while True:
        shutil.rmtree(state)
        shutil.copytree(owned, state)
        if not power.runs_out(cuts, reset):
            break
        seen.add(found := state_of(state))
        if found is State.RFNOP:
            assert works_for(state) == "building.example"
        else:
            assert {entry.name for entry in state.iterdir()} == {"keystore", "birth", "verifier", "lock", "pairing"}
        cuts += 1
    assert cuts > 5
    assert seen == {State.RFNOP, State.RFOTM}
    owners.take(state, "other")
    assert works_for(state) == "other.example"


@pytest.mark.parametrize("suite", [1, 3])
def test_no_key_of_one_owner_is_the_next_one_s(made: MadeDevice, fresh: Callable[[], Path], suite: int) -> None:
    """Not one of those either that its rotation of keys made meanwhile."""
    owners, state = Owners(made), fresh()
    owners.take(state)
    agreements = AgreementKeys(open_keystore(state / "keystore", SECRET))
    assert agreements.replace() and agreements.replace()
    before = publics(state)
    assert before.keys() == {IDEVID_KEY, "identity", "agreement", "agreement-2", "agreement-3"}
    with opened(state) as pairing:
        pairing.reset(NOW)
    assert publics(state).keys() == {IDEVID_KEY}
    owners.take(state, "other", suite=suite)
    after = publics(state)
    assert after.keys() == {IDEVID_KEY, "identity", "agreement"}
    assert set(before.values()) & set(after.values()) == {before[IDEVID_KEY]}
    assert AgreementKeys(open_keystore(state / "keystore", SECRET)).suite.number == suite


def publics(state: Path) -> dict[str, bytes]:
    """The public halves in the device's keystore, by their labels."""
    keystore = open_keystore(state / "keystore", SECRET)
    return {
        label: keystore.agreer(label).public if kind == "agree" else keystore.signer(label).public.point
        for label, kind in keystore.labels().items()
    }


def test_a_service_that_is_just_starting_does_not_begin_after_a_reset(
    made: MadeDevice, fresh: Callable[[], Path]
) -> None:
    owners, state = Owners(made), fresh()
    steps: list[Callable[[Pairing], None]] = [lambda pairing: pairing.stop(NOW), lambda pairing: pairing.reset(NOW)]
    for step in steps:
        shutil.rmtree(state)
        fresh()
        owners.take(state)
        starting = Member.of(Home(state, "device").open(SECRET))
        with opened(state) as pairing:
            step(pairing)
        with pytest.raises(NotAuthorized, match="does not send"):
            Endpoint(state, starting, MemoryHub().carrier())
        assert not (state / DATABASE).exists()
        with DirectoryLock(state, "anybody"):
            pass


def test_nothing_is_reset_or_stopped_beside_a_service(made: MadeDevice, fresh: Callable[[], Path]) -> None:
    """Also where the service began after the ownership was opened."""
    owners, state = Owners(made), fresh()
    owners.take(state)
    with opened(state) as pairing:
        with DirectoryLock(state, "endpoint"):
            for step in (pairing.stop, pairing.reset):
                with pytest.raises(InUse):
                    step(NOW)
        assert pairing.state(NOW) is State.RFNOP
    assert works_for(state) == "building.example"


def test_networks_of_an_owner_who_got_no_further_do_not_stay(fresh: Callable[[], Path]) -> None:
    state = fresh()
    with opened(state):
        replace_private(state / "pairing" / "networks", b"psk", check=lambda: None)
    with opened(state):
        assert not (state / "pairing" / "networks").exists()


def test_every_state_is_reached_and_admits_what_the_table_says(made: MadeDevice, fresh: Callable[[], Path]) -> None:
    owners, state = Owners(made), fresh()
    steps: list[tuple[State | None, State]] = [(None, state_of(state))]
    with opened(state) as pairing:
        pairing.confirm(Pending(Resumption(bytes(8), Secret(bytes(32))), bytes(32), name("x"), 1, NOW + RESUMABLE_S))
        steps += [(State.RFOTM, pairing.state(NOW)), (State.RFPRO, pairing.state(NOW + RESUMABLE_S))]
        with pytest.raises(NotAuthorized):
            pairing.stop(NOW)
    with pytest.raises(LocalMisuse, match="not enrolled"):
        works_for(state)
    owners.take(state)
    steps.append((State.RFPRO, state_of(state)))
    with opened(state) as pairing:
        pairing.stop(NOW)
        steps.append((State.RFNOP, pairing.state(NOW)))
        with pytest.raises(NotAuthorized, match="state SRESET"):
            works_for(state)
    again = owners.given.popitem()[1]
    with pytest.raises(NotAuthorized, match="has an owner"):
        owners.take(state, "other")
    home = Home(state, "device")
    home.enrol(_anew(again), SECRET, None)
    steps.append((State.SRESET, state_of(state)))
    for before, after in steps:
        assert OWNERSHIP.allows(before, after), (before, after)
    assert {after for _, after in steps} == set(State) - {State.RESET}


def _anew(enrolment: bytes, *, later: int = 1) -> bytes:
    """Another enrolment of the same owner, for the same key, ``later`` seconds later."""
    claims = EnrolmentClaims.decode(Sign1.decode(enrolment).payload)
    return sign_enrolment(
        replace(claims, hub="https://other.example", issued=claims.issued + later), DOMAINS["one"].granter
    )


def test_an_enrolment_that_was_replaced_ends_no_stop(made: MadeDevice, fresh: Callable[[], Path]) -> None:
    owners, state = Owners(made), fresh()
    owners.take(state)
    kept = owners.given.popitem()[1]
    with opened(state) as pairing:
        pairing.stop(NOW)
    home, root = Home(state, "device"), DOMAINS["one"].root
    for fingerprint in (None, root.fingerprint):
        with pytest.raises(NotTrusted, match="older than the one that is kept"):
            home.enrol(_anew(kept, later=-1), SECRET, fingerprint)
    assert state_of(state) is State.SRESET
    home.enrol(_anew(kept, later=0), SECRET, None)  # within the same second
    assert state_of(state) is State.RFNOP
    enrolled = state / "enrolled"
    enrolled.write_bytes(enrolled.read_bytes()[:-100])
    home.enrol(_anew(kept, later=-1), SECRET, root.fingerprint)  # to be out of date is better than to be damaged
    assert works_for(state) == "building.example"


def test_a_restarted_process_goes_on_with_its_window_and_a_new_boot_does_not(fresh: Callable[[], Path]) -> None:
    state, at = fresh(), moment().uptime
    with opened(state) as pairing:
        assert pairing.attempts_left(at) is None
        assert pairing.open_window(at, pressed=False) == WINDOW_MS
        pairing.count_attempt()
    later = at._replace(ms=at.ms + 60_000)
    with opened(state) as pairing:
        assert pairing.open_window(later, pressed=False) == WINDOW_MS - 60_000
        assert pairing.attempts_left(later) == 19
        assert pairing.open_window(later._replace(ms=at.ms + WINDOW_MS), pressed=False) == 0
        assert pairing.open_window(later, pressed=True) == WINDOW_MS
        assert pairing.attempts_left(later) == 20
        pairing.count_attempt()
        assert pairing.open_window(at._replace(boot=bytes([1]) * 16), pressed=False) == WINDOW_MS
    assert at.boot == BOOT


def test_an_exchange_that_nobody_went_on_with_is_forgotten(fresh: Callable[[], Path]) -> None:
    state = fresh()
    with opened(state) as pairing:
        pairing.confirm(Pending(Resumption(bytes(8), Secret(bytes(32))), bytes(32), name("x"), 1, NOW))
    with opened(state) as pairing:
        assert pairing.pending(NOW - 1) is None
    assert b"sealway://building.example/device/x" not in (state / "pairing" / "ownership").read_bytes()


def test_one_process_at_a_time_and_a_damaged_record_is_said(fresh: Callable[[], Path]) -> None:
    state = fresh()
    with opened(state), pytest.raises(InUse), opened(state):
        pass
    (state / "pairing" / "ownership").write_bytes(b"\xff")
    with pytest.raises(StateLost, match="damaged"):
        state_of(state)


def test_a_device_that_no_factory_made_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LocalMisuse, match="factory"):
        state_of(tmp_path)


def test_what_is_not_admitted_is_refused_by_its_name() -> None:
    for state in State:
        for act in Act:
            if act in ADMITTED[state]:
                demand(state, act)
            else:
                with pytest.raises(NotAuthorized, match=str(state)):
                    demand(state, act)
