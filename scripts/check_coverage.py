# SPDX-License-Identifier: Apache-2.0
"""Fail unless in each of the named packages enough of the branches have been taken: the promise of ``make test``.

Usage: check_coverage.py REPORT.json PERCENT PACKAGE...

Coverage's own threshold counts lines and branches of everything together; this one counts branches only, a package at a
time, so that a well-tested package cannot pay for another. A file that no test imports counts as it should: untested.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def branch_coverage(report: dict[str, dict[str, dict[str, dict[str, int]]]], package: str) -> float:
    """Return the percentage of the package's branches that were taken. Raises LookupError where none was measured."""
    summaries = [file["summary"] for path, file in report["files"].items() if f"/sealway/{package}/" in f"/{path}"]
    total = sum(summary["num_branches"] for summary in summaries)
    if total == 0:
        raise LookupError(package)
    return 100 * sum(summary["covered_branches"] for summary in summaries) / total


def main(report_path: str, percent: str, *packages: str) -> int:
    """Print a line for each package; return 1 if one of them falls short, else 0."""
    report = json.loads(Path(report_path).read_text())
    missed = False
    for package in packages:
        try:
            covered = branch_coverage(report, package)
        except LookupError:
            print(f"error: no branch of {package} was measured")
            missed = True
            continue
        if covered < float(percent):
            print(f"error: branch coverage of {package} is {covered:.1f} %, and must be {percent} %")
            missed = True
        else:
            print(f"branch coverage of {package}: {covered:.1f} %")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
