# SPDX-License-Identifier: Apache-2.0
"""Every command and every program in the guides is run, in order, to the letter, and prints what the page shows."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.docs.documents import ROOT
from tests.guides.walkthrough import Walk, blocks_of, page, ports_to_use, printed_as_expected, walk

GUIDES = sorted((ROOT / "docs" / "guides").glob("*.md"))
FIRST = "docs/guides/first-sealed-message.md"
SKIPPED = ("make setup-runtime",)  # tests/e2e/test_new_user.py does it, in a clean clone

CONTINUED = {
    "keys-in-a-token.md",
    "put-a-device-into-service.md",
    "put-a-gateway-in.md",
    "repair.md",
    "write-a-device.md",
    "read-an-inspect.md",
    "attack-your-own-deployment.md",
}
"""Guides that go on where the first one ended."""

_TWO_ENDS = """
export SEALWAY_PASSPHRASE="something long"
python - <<'END OF GIVEN'
from sealway import Application, Device, Owner

GATEWAY = ("sealway://building.example/gateway/cellar", "coap://127.0.0.1:5683")
with Owner.create("owner", "building.example") as owner:
    for kind, role, label in ((Device, "device", "meter"), (Application, "application", "office")):
        name = f"sealway://building.example/{role}/{label}"
        gateway = GATEWAY if role == "device" else None
        answer = owner.enroll(kind.prepare(label, name), name, hub="https://127.0.0.1:8443", gateway=gateway)
        kind.accept(label, answer, fingerprint=owner.fingerprint)
END OF GIVEN
mkdir reports
seq 10 > reports/today
seq 1000 > log.csv
"""

GIVEN = {"configuration.md": f"cp {ROOT}/docs/samples/hub.toml .", "files-and-pipes.md": _TWO_ENDS}
"""What a guide takes for granted."""


PORTS = ports_to_use()
"""The same for all guides: some go on where another one ended."""


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Walk]:
    """The guide that others go on from, once: where it was done, and what came of it."""
    here = tmp_path_factory.mktemp("first") / "here"
    return here, walk([page(FIRST)], here, skip=SKIPPED, ports=PORTS)


@pytest.mark.processes
def test_first_guide(first: tuple[Path, Walk]) -> None:
    assert first[1].complaints() == [], first[1].trace()


@pytest.mark.processes
@pytest.mark.parametrize("guide", [path.name for path in GUIDES if f"docs/guides/{path.name}" != FIRST])
def test_guide(guide: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if guide == "keys-in-a-token.md" and shutil.which("softhsm2-util") is None:
        pytest.skip("SoftHSM2 is not installed (Debian: softhsm2)")
    text, given = page(f"docs/guides/{guide}"), GIVEN.get(guide, "")
    if guide in CONTINUED:
        there, before = request.getfixturevalue("first")
        shutil.copytree(there, tmp_path / "here")
        given = before.variables
    if blocks_of(text):
        done = walk([text], tmp_path / "here", given=given, skip=SKIPPED, ports=PORTS)
        assert done.complaints() == [], done.trace()


def test_the_index_names_every_guide() -> None:
    index = page("docs/guides/README.md")
    assert [path.name for path in GUIDES if path.name != "README.md" and f"]({path.name})" not in index] == []


def test_what_a_page_says_is_found() -> None:
    text = "```sh\na\n```\n\nIt prints:\n\n```text\nb\n```\n"
    text += '```toml title="c.toml"\nd = 1\n```\n```text\ne\n```\n```python\nf\n```\n'
    blocks = blocks_of(text)
    assert [(block.language, block.title, block.expected) for block in blocks] == [
        ("sh", None, ["b"]),
        ("toml", "c.toml", None),
        ("python", None, None),
    ]


@pytest.mark.parametrize(
    ("lines", "expected", "good"),
    [
        (["a 17 b"], ["a … b"], True),
        (["a", "x", "y", "b"], ["a", "…", "b"], True),
        (["a", "x"], ["a"], False),
        (["a"], ["a", "b"], False),
        ([], ["…"], True),
    ],
)
def test_what_is_printed_is_compared(lines: list[str], expected: list[str], good: bool) -> None:
    assert printed_as_expected(lines, expected) is good


def test_the_order_of_what_runs_beside_each_other_does_not_matter() -> None:
    assert printed_as_expected(["b", "a", "c"], ["a", "b"], in_order=False)
    assert not printed_as_expected(["b"], ["a", "b"], in_order=False)


def _walked(text: str, here: Path) -> Walk:
    return walk([text], here / "here")


def test_a_page_that_lies_is_found(tmp_path: Path) -> None:
    for number, (text, complaint) in enumerate(
        {
            "```sh\nfalse\n```\n": "exit code 1",
            "```sh\ntrue # exit code 3\n```\n": "exit code 1",
            "```sh\necho a\n```\n```text\nb\n```\n": "and not",
            "```sh\nsleep 60 &\n```\n": "left running",
            "```python\nraise SystemExit(4)\n```\n": "exit code 4",
        }.items()
    ):
        (tmp_path / str(number)).mkdir()
        assert complaint in "".join(_walked(text, tmp_path / str(number)).complaints())


def test_a_page_that_is_right_is_not_complained_of(tmp_path: Path) -> None:
    text = '```toml title="a.toml"\nport = 8443\n```\n'
    text += "```sh\ncat a.toml\nfalse # exit code 1\n```\n```text\nport = 8443\n```\n"
    assert _walked(text, tmp_path).complaints() == []
