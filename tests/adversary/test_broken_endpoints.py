# SPDX-License-Identifier: Apache-2.0
"""Controls: the table can fail. The same attack runs against sound endpoints, and its row is green; then against
endpoints that leave out the one check that stands against it, and the row turns red, for that very reason."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from sealway.adversary.verdict import faults
from tests.adversary import broken
from tests.adversary.broken import Break
from tests.adversary.cases import QUIET, TO_DEVICES, TO_OPS, UNSIGNED, Case, case_of
from tests.adversary.performing import perform

WRONG, UNDETECTED = "wrong_at_handler", "undetected"


@dataclass(frozen=True)
class Control:
    """One broken check and the attack that must show it.

    Args:
        red: the column in which it shows.
        warm: whether there are sessions before the attack begins, whatever its own case says.
        subjects: whose mailboxes, if not all.
        clean: a column that stays at zero, since another check still stands.
        quiet: senders offer nothing twice by themselves.
        base: the circumstances, if not the attack's own.
    """

    breaks: Break
    attack: str
    red: str
    warm: bool = False
    subjects: frozenset[str] = frozenset()
    clean: str = ""
    quiet: bool = False
    base: Case | None = None

    @property
    def case(self) -> Case:
        """The attack's case, as this control needs it."""
        case = self.base or case_of(self.attack)
        subjects = self.subjects or case.select.subjects
        options = QUIET if self.quiet else case.options
        select = replace(case.select, subjects=subjects)
        return replace(case, warm=case.warm or self.warm, select=select, options=options)


CONTROLS = [
    Control(broken.tag_not_verified, "tamper-ciphertext", UNDETECTED, warm=True),
    Control(broken.tag_not_verified, "tamper-tag", UNDETECTED),
    Control(broken.header_not_bound, "insert-claims", UNDETECTED),
    Control(broken.header_not_bound, "tamper-topic", UNDETECTED),
    Control(broken.header_not_bound, "strip-claims", UNDETECTED),
    Control(broken.every_key_tried, "tamper-kid", UNDETECTED, warm=True),
    Control(broken.loosely_decoded, "re-encode", UNDETECTED),
    Control(broken.loosely_decoded, "extend", UNDETECTED),
    Control(broken.loosely_decoded, "insert-unprotected", UNDETECTED),
    Control(broken.no_replay_check, "replay-at-once", WRONG, subjects=TO_OPS, quiet=True),
    Control(broken.no_replay_check, "duplicate", WRONG, subjects=TO_OPS, quiet=True),
    Control(broken.no_replay_check, "replay-later", WRONG, subjects=TO_OPS, quiet=True),
    Control(
        broken.no_replay_check, "replay-at-once", UNDETECTED, warm=True, subjects=TO_DEVICES, clean=WRONG, quiet=True
    ),
    Control(broken.not_at_most_once, "replay-at-once", WRONG, warm=True, subjects=TO_DEVICES, quiet=True),
    Control(broken.no_freshness, "hold-commands", WRONG),
    Control(broken.starts_not_recorded, "replay-start", WRONG, subjects=TO_OPS, quiet=True),
    Control(broken.forgets_at_the_hop, "accept-and-drop", UNDETECTED),
    Control(broken.reports_nothing, "silence", UNDETECTED),
    Control(broken.bundle_signature_not_verified, "substitute-bundle-resigned", UNDETECTED),
    Control(broken.name_not_compared, "substitute-bundle-other", UNDETECTED),
    Control(broken.older_bundles_taken, "substitute-bundle-older", UNDETECTED),
    Control(broken.expiry_not_looked_at, "substitute-bundle-expired", UNDETECTED),
    Control(broken.one_time_key_not_proven, "substitute-one-time-key", UNDETECTED),
    Control(broken.chain_not_verified, "substitute-bundle-forged", UNDETECTED),
    Control(broken.root_not_compared, "substitute-root", UNDETECTED),
    Control(broken.start_signature_not_verified, "flood-stranger", WRONG, base=UNSIGNED),
    Control(broken.sessions_not_bounded, "flood-stranger", UNDETECTED),
]


@pytest.mark.parametrize("control", CONTROLS, ids=lambda c: f"{c.breaks.__name__}: {c.attack}")
async def test_the_row_turns_red(tmp_path: Path, control: Control) -> None:
    for part in ("sound", "broken"):
        (tmp_path / part).mkdir()
    sound = await perform(tmp_path / "sound", control.attack, case=control.case)
    assert not faults(sound), sound
    with pytest.MonkeyPatch.context() as patch:
        control.breaks(patch)
        row = await perform(
            tmp_path / "broken", control.attack, case=control.case, patience_s=0.3, red=control.red
        )  # fmt: skip
    assert row["tried"] and row["reached_network"] == row["tried"], row
    assert row[control.red] > 0, row
    assert not control.clean or row[control.clean] == 0, row
