# SPDX-License-Identifier: Apache-2.0
"""Setup codes: what is drawn, what people may type, which mistakes are found, and that the secret never shows."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealway.crypto.secret import Secret
from sealway.errors import LocalMisuse, Malformed, Mistyped
from sealway.factory.setupcode import QrText, SetupCode, check_digit
from sealway.wire.manifest import check_serial
from tests.contracts.source_rules import SOURCE, impurities, parse

# The tables of Verhoeff's scheme as they are published, for an implementation beside ours.
D5 = ["0123456789", "1234067895", "2340178956", "3401289567", "4012395678", "5987604321", "6598710432", "7659821043"]
D5 += ["8765932104", "9876543210"]
PLACES = [
    "0123456789",
    "1576283094",
    "5803796142",
    "8916043527",
    "9453126870",
    "4286573901",
    "2793806415",
    "7046913258",
]

simple = {str(d) * 7 for d in range(10)} | {
    "".join(str((d + s * k) % 10) for k in range(7)) for d in range(10) for s in (1, 9)
}
secrets = st.text("0123456789", min_size=7, max_size=7).filter(lambda digits: digits not in simple)
codes = st.builds(
    lambda discriminator, secret: SetupCode(discriminator, Secret(secret.encode())),
    st.text("0123456789", min_size=3, max_size=3),
    secrets,
)


def published_check(digits: str) -> int:
    """Zero for digits whose last one is their check digit."""
    value = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(D5[value][int(PLACES[place % 8][int(digit)])])
    return value


@given(st.text("0123456789", min_size=1, max_size=40))
def test_the_check_digit_is_verhoeffs(digits: str) -> None:
    assert published_check(digits + check_digit(digits)) == 0


def test_the_check_digit_of_a_published_example() -> None:
    assert check_digit("236") == "3"


@given(codes, st.integers(0, 10), st.integers(1, 9))
def test_every_single_wrong_digit_is_found(code: SetupCode, at: int, off: int) -> None:
    digits = code.reveal().replace("-", "")
    wrong = digits[:at] + str((int(digits[at]) + off) % 10) + digits[at + 1 :]
    with pytest.raises(Mistyped, match="a digit of the setup code is wrong"):
        SetupCode.parse(wrong)


@given(codes)
def test_every_swap_of_neighbours_is_found(code: SetupCode) -> None:
    digits = code.reveal().replace("-", "")
    for at, (left, right) in enumerate(itertools.pairwise(digits)):
        if left != right:
            with pytest.raises(Mistyped):
                SetupCode.parse(digits[:at] + right + left + digits[at + 2 :])


@given(codes)
def test_a_code_is_read_as_it_is_written(code: SetupCode) -> None:
    text = code.reveal()
    assert SetupCode.parse(text) == code
    assert SetupCode.parse(text.replace("-", "")) == SetupCode.parse(text.replace("-", " ")) == code
    assert SetupCode.parse("-".join(text.replace("-", ""))) == code
    assert code.password.reveal().decode() == text.replace("-", "")[:10]


MADE = SetupCode("471", Secret(b"9382556"))


def test_what_a_label_says() -> None:
    assert MADE.reveal() == "471-9382-5564"
    assert QrText(MADE, "SW-0001").reveal() == "SEALWAY:1:47193825564:SW-0001"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "4719382556",
        "471938255600",
        "471--9382-5560",
        "471 - 9382-5560",
        "-47193825560",
        "47193825560-",
        " 47193825560",
        "47193825560\n",
        "471.9382.5560",
        "471_9382_5560",
        "471\N{EN DASH}9382\N{EN DASH}5560",
        "\N{ARABIC-INDIC DIGIT FOUR}7193825560",
        "\N{FULLWIDTH DIGIT FOUR}7193825560",
        "47193825S60",
        "1" * 10_000,
    ],
)
def test_what_is_no_setup_code_is_told_apart_from_a_mistyped_one(text: str) -> None:
    with pytest.raises(Malformed) as refused:
        SetupCode.parse(text)
    assert not isinstance(refused.value, Mistyped)


@pytest.mark.parametrize("secret", ["0000000", "9999999", "1234567", "7654321", "0123456", "3210987", "8901234"])
def test_what_anyone_would_try_first_is_no_setup_code(secret: str) -> None:
    with pytest.raises(Malformed, match="so simple"):
        SetupCode("471", Secret(secret.encode()))
    with pytest.raises(Malformed, match="so simple"):
        SetupCode.parse(f"471{secret}{check_digit('471' + secret)}")


def test_eleven_equal_digits_are_no_setup_code() -> None:
    for digit in range(10):
        with pytest.raises(Malformed):
            SetupCode.parse(str(digit) * 11)


def test_a_draw_passes_over_what_is_too_simple_or_not_fair() -> None:
    given_bytes = iter([4711234567, (1 << 40) - 1, 109 * 10**10, 4719382556])
    assert SetupCode.draw(lambda n: next(given_bytes).to_bytes(n)) == MADE


def test_draws_come_from_all_codes_alike() -> None:
    """Of 4000 draws each digit stands at each place about 400 times; 19 standard deviations are never reached."""
    state = [0]

    def counting(n: int) -> bytes:
        state[0] += 1
        return ((state[0] * 0x9E3779B97F4A7C15) & ((1 << 64) - 1)).to_bytes(8)[:n]

    drawn = [SetupCode.draw(counting).password.reveal().decode() for _ in range(4000)]
    for place in range(10):
        counts = Counter(code[place] for code in drawn)
        assert len(counts) == 10 and all(200 < count < 600 for count in counts.values())


@pytest.mark.parametrize("broken", [lambda n: b"\xff" * n, lambda n: b"\1" * (n - 1)])
def test_a_broken_source_of_randomness_is_refused(broken) -> None:
    with pytest.raises(LocalMisuse, match="random"):
        SetupCode.draw(broken)


@pytest.mark.parametrize(
    ("discriminator", "secret"), [("47", b"19382556"), ("4711", b"382556"), ("47x", b"9382556"), ("471", b"938255\xff")]
)
def test_a_code_of_other_parts_does_not_exist(discriminator: str, secret: bytes) -> None:
    with pytest.raises(Malformed):
        SetupCode(discriminator, Secret(secret))


def test_the_secret_shows_nowhere() -> None:
    qr = QrText(MADE, "SW-0001")
    shown = f"{MADE!r} {MADE} {qr!r} {qr} {MADE.password!r}"
    assert "9382556" not in shown and "938" not in shown
    assert f"{MADE}" == "471-[redacted]"
    for text in ("301-7746-2093", "301-7746-209x"):
        with pytest.raises(Malformed) as refused:
            SetupCode.parse(text)
        assert "7746" not in f"{refused.value} {refused.value.hint}"


serials = st.from_regex(r"[A-Z0-9]([A-Z0-9.-]{0,30}[A-Z0-9])?", fullmatch=True)


@given(codes, serials)
def test_what_a_qr_code_says_is_read_as_it_is_written(code: SetupCode, serial: str) -> None:
    text = QrText(code, serial).reveal()
    assert QrText.parse(text) == QrText(code, serial)
    assert not set(text) - set("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:")


GOOD = QrText(MADE, "SW-0001").reveal()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://example.com",
        GOOD.lower(),
        GOOD.replace(":1:", ":2:"),
        GOOD.removesuffix(":SW-0001"),
        GOOD.removesuffix("SW-0001"),
        GOOD + "\n",
        GOOD + " ",
        GOOD.replace("SW", "sw"),
        GOOD + ":",
        GOOD.replace("47", "47-"),
        GOOD + "0" * 40,
    ],
)
def test_another_qr_code_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        QrText.parse(text)


def test_a_wrong_digit_in_a_qr_code_is_found() -> None:
    with pytest.raises(Mistyped):
        QrText.parse(GOOD.replace("SEALWAY:1:4", "SEALWAY:1:5"))


@pytest.mark.parametrize("serial", ["", "-1", "1-", "a", "A B", "A_B", "Ä", "A" * 33, "A\n", "A:B", "A/B"])
def test_what_is_no_serial_number(serial: str) -> None:
    with pytest.raises(Malformed, match="serial number"):
        check_serial(serial)


def test_setup_codes_do_no_input_or_output() -> None:
    assert list(impurities(parse(SOURCE / "factory" / "setupcode.py"))) == []
