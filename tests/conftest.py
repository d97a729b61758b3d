# SPDX-License-Identifier: Apache-2.0
"""For all tests: Hypothesis profiles, and what CI relies on: no skip and no uncounted branch goes unseen.

With SEALWAY_NO_SKIP=1 every skip is a failure: a test that could not run has not shown anything. Expected failures
count as skips, and so does a module that skips itself while it is collected.

A test that leaves another trace function behind than it found has switched off branch coverage for all tests after it:
it fails, and the trace function is put back.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

NO_SKIP = os.environ.get("SEALWAY_NO_SKIP") == "1"

settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("deep", deadline=None, max_examples=2_000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not (NO_SKIP and report.skipped):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else getattr(report, "wasxfail", report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"{report.nodeid}: skipped where nothing may be skipped: {reason}"
    if isinstance(report, pytest.TestReport) and hasattr(report, "wasxfail"):
        del report.wasxfail


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn the skip of a test, or an expected failure, into a failure."""
    report = yield
    _fail_if_skipped(report)
    # What a test printed travels from the process that ran it to the one that reports; as UTF-8, whatever it is.
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_setup() -> Generator[None, object, object]:
    """Fail the test whose fixtures change the tracer of a coverage run. Raises AssertionError."""
    return (yield from _with_the_tracer_kept())


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Fail the test that changes the tracer of a coverage run. Raises AssertionError."""
    return (yield from _with_the_tracer_kept())


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_teardown() -> Generator[None, object, object]:
    """Fail the test whose fixtures change the tracer when they end. Raises AssertionError."""
    return (yield from _with_the_tracer_kept())


def _with_the_tracer_kept() -> Generator[None, object, object]:
    before = sys.gettrace()
    try:
        result = yield
    finally:
        after = sys.gettrace()
        if after is not before:
            sys.settrace(before)
    assert after is before, f"another trace function was left behind, {after}: no branch would be counted any more"
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn the skip of a whole module into a failure."""
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """What a test turns down, as programs do for their own good, is heard again in the next one."""
    names = ("sealway.gateway", "coap")
    levels = [logging.getLogger(name).level for name in names]
    yield
    logging.disable(logging.NOTSET)
    for name, level in zip(names, levels, strict=True):
        logging.getLogger(name).setLevel(level)


@pytest.fixture(scope="session", autouse=True)
def _cheap_guesses() -> Iterator[None]:
    """Keystores that tests make cost a guess nothing: a file says itself what a guess costs, whoever opens it."""
    from sealway.keystore import file
    from sealway.keystore.sealing import Cost

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file, "Cost", lambda: Cost(memory_kib=8, passes=1))
        yield
