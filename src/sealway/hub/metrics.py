# SPDX-License-Identifier: Apache-2.0
"""Counters, and the Prometheus text they are served as (exposition format 0.0.4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_HELP: Final = {
    "sealway_hub_requests_total": ("counter", "requests answered, by operation and status"),
    "sealway_hub_refusals_total": ("counter", "requests and deposits refused, by operation and reason"),
    "sealway_hub_deposits_total": ("counter", "envelopes accepted, by whether they were held already"),
    "sealway_hub_collected_total": ("counter", "envelopes handed out, repeats included"),
    "sealway_hub_acknowledged_total": ("counter", "envelopes acknowledged and forgotten"),
    "sealway_hub_expired_total": ("counter", "envelopes that nobody collected in time"),
    "sealway_hub_one_time_keys_total": ("counter", "one-time keys handed out"),
    "sealway_hub_held": ("gauge", "envelopes held and not acknowledged"),
    "sealway_hub_held_bytes": ("gauge", "bytes of envelopes held"),
    "sealway_hub_mailboxes": ("gauge", "mailboxes"),
    "sealway_hub_collecting": ("gauge", "long polls waiting"),
}


class Metrics:
    """Counts since the process began. Labels come from the code, never from a request."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()

    def count(self, metric: str, by: int = 1, **labels: str) -> None:
        """Add ``by`` to a counter of the table above."""
        self._counts[metric, tuple(sorted(labels.items()))] += by

    def value(self, metric: str, **labels: str) -> int:
        """Return a counter's present value."""
        return self._counts[metric, tuple(sorted(labels.items()))]

    def text(self, gauges: Mapping[str, int]) -> str:
        """Return everything in Prometheus text format; ``gauges`` are values of this moment."""
        lines: list[str] = []
        for metric, (kind, meaning) in _HELP.items():
            lines += [f"# HELP {metric} {meaning}", f"# TYPE {metric} {kind}", *self._samples(metric, gauges)]
        return "\n".join(lines) + "\n"

    def _samples(self, metric: str, gauges: Mapping[str, int]) -> list[str]:
        if metric in gauges:
            return [f"{metric} {gauges[metric]}"]
        counted = sorted((labels, count) for (name, labels), count in self._counts.items() if name == metric)
        return [f"{metric}{_braced(labels)} {count}" for labels, count in counted]


def _braced(labels: tuple[tuple[str, str], ...]) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels) + "}" if labels else ""
