# SPDX-License-Identifier: Apache-2.0
"""``python -m scripts.diagrams``: draw the state diagrams of spec/diagrams.md from the tables of the code.

Each is a table, for reading, and the same as a Mermaid diagram (https://mermaid.js.org), for seeing. A test compares
the page with the tables.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Final

from sealway.joining.ownership import OWNERSHIP
from sealway.protocol.life import LIFE, TELLING, TURN, Machine
from sealway.sdk.executor import EXECUTION
from sealway.sdk.held import LEAVING

PAGE: Final = Path(__file__).parents[1] / "spec" / "diagrams.md"
MACHINES: Final = {
    LIFE: "`life_of` in `protocol/life.py` reads it off a session. [session.md, Start](session.md#start)",
    TURN: "`turn_of` in `protocol/life.py`. [session.md, Chains: sealing](session.md#chains-sealing)",
    TELLING: "`telling_of` in `protocol/life.py`. When it then goes: [session.md, Receipts](session.md#receipts)",
    LEAVING: "`Leaving` in `sdk/held.py`. [session.md, Moving](session.md#moving)",
    EXECUTION: "`Request` in `sdk/executor.py`. [session.md, Commands](session.md#commands)",
    OWNERSHIP: "`Ownership.state` in `joining/ownership.py`. [joining.md, Ownership](joining.md#ownership)",
}
"""The tables, and where each is at home."""

_HEAD: Final = (
    "# State diagrams\n\n"
    "Not normative. Drawn by `python -m scripts.diagrams` from the tables that stand in the code; "
    "`test_the_page_is_drawn_from_the_tables` fails when they differ. Other tests watch real ends and\n"
    "see that they take each step that is here, and no other: `test_what_is_in_the_table_is_done_and_nothing_else`, "
    "`test_every_step_of_the_tables_is_taken_and_no_other`.\n[session.md](session.md) says what they mean.\n"
)


def page() -> str:
    """Return the whole page."""
    return "\n".join([_HEAD, *(_section(machine, where) for machine, where in MACHINES.items())])


def _section(machine: Machine, where: str) -> str:
    rows = [f"| {_label(step.before)} | {step.on} | {_label(step.after)} |" for step in machine.steps]
    table = "\n".join(["| from | on | to |", "| --- | --- | --- |", *rows])
    return f"## {machine.title}\n\n{where}.\n\n{table}\n\n```mermaid\n{_drawn(machine)}\n```\n"


def _drawn(machine: Machine) -> str:
    states = [f'    state "{_label(state)}" as {state.name}' for state in machine.states]
    steps = [f"    {_node(step.before)} --> {_node(step.after)}: {step.on}" for step in machine.steps]
    return "\n".join(["stateDiagram-v2", *states, *steps])


def _node(state: Enum | None) -> str:
    return "[*]" if state is None else state.name


def _label(state: Enum | None) -> str:
    if state is None:
        return "–"
    return state.value if isinstance(state.value, str) else state.name.lower()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
