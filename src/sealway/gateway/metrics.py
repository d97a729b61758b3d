# SPDX-License-Identifier: Apache-2.0
"""Counters of what a gateway carried and refused: a fixed set of names, so nobody can make the table grow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

COUNTERS: Final[Mapping[str, str]] = {
    "deposits_taken": "envelopes taken from devices, durable before the answer",
    "deposits_compact": "of these, envelopes that came in compact form",
    "deposits_repeated": "envelopes offered again while already held",
    "deposits_forwarded": "envelopes accepted by the next hop",
    "deposits_dropped": "envelopes that the next hop refused for good",
    "deposits_expired": "envelopes for the next hop held longer than allowed",
    "batches_forwarded": "deposit calls that the next hop answered",
    "collected": "envelopes taken from the next hop for devices",
    "collected_dropped": "envelopes from the next hop that no device here may get, or too large",
    "delivered": "envelopes that devices acknowledged",
    "handed_compact": "envelopes handed to devices in compact form, repetitions included",
    "collected_expired": "envelopes for devices held longer than allowed",
    "uplink_failures": "calls to the next hop that failed",
    "directory_requests": "directory requests passed on",
    "consents_taken": "consents that the next hop accepted",
    "consents_dropped": "consents that expired or that the next hop no longer accepts",
    "notifications": "answers sent to observers",
    "refused_malformed": "requests refused with 4.00",
    "refused_option": "requests with a critical option not known here, 4.02 or 5.05",
    "refused_path": "requests for an unknown path, 4.04",
    "refused_method": "requests with a method the path does not have, 4.05",
    "refused_incomplete": "blockwise uploads out of order or forgotten, 4.08",
    "refused_too_large": "requests over a size limit, 4.13",
    "refused_format": "requests with the wrong content format, 4.15, or that accept none there is, 4.06",
    "refused_rate": "requests over a rate limit, 4.29",
    "refused_full": "requests refused because the gateway is full, 5.03",
    "refused_hops": "requests whose hop limit is used up, 5.08",
    "refused_upstream": "directory requests that the next hop refused or could not answer",
    "failed_inside": "requests that failed in the gateway, 5.00",
    "coap_duplicates": "repeated datagrams answered from memory",
    "coap_overloaded": "requests dropped because too many were being answered",
    "coap_malformed_datagrams": "datagrams that are not CoAP",
}


class Metrics:
    """Counts by the names of ``COUNTERS``; starts from ``stored`` (what an earlier run wrote down)."""

    def __init__(self, stored: Mapping[str, int] | None = None) -> None:
        self._values = {name: (stored or {}).get(name, 0) for name in COUNTERS}

    def add(self, name: str, amount: int = 1) -> None:
        """Count ``amount`` more of ``name``; a KeyError if there is no such counter."""
        self._values[name] += amount

    def values(self) -> dict[str, int]:
        """A copy of all counters."""
        return dict(self._values)

    def prometheus(self, gauges: Mapping[str, int]) -> str:
        """All counters, and ``gauges``, in the Prometheus text exposition format 0.0.4."""
        lines: list[str] = []
        for name, value in self._values.items():
            full = f"sealway_gateway_{name}_total"
            lines += [f"# HELP {full} {COUNTERS[name]}", f"# TYPE {full} counter", f"{full} {value}"]
        for name, value in gauges.items():
            lines += [f"# TYPE sealway_gateway_{name} gauge", f"sealway_gateway_{name} {value}"]
        return "\n".join(lines) + "\n"
