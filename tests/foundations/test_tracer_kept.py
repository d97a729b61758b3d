# SPDX-License-Identifier: Apache-2.0
"""A test that switches off the tracer of a coverage run fails, and the tests after it are counted all the same."""

from __future__ import annotations

from pathlib import Path

from tests.foundations.inner_run import run_pytest

TESTS = """
import sys
import pytest

def _leave_another(): sys.settrace(None)

@pytest.fixture
def begun(): _leave_another()

@pytest.fixture
def ended():
    yield
    _leave_another()

def test_in_itself(): _leave_another()
def test_before(begun): pass
def test_after(ended): pass

def test_and_back():
    before = sys.gettrace()
    _leave_another()
    sys.settrace(before)

def test_that_fails():
    _leave_another()
    assert False

def test_then():
    from subject import choose
    assert choose(1) and not choose(0)
"""
SUBJECT = "def choose(what):\n    if what:\n        return True\n    return False\n"
COUNTED_SO = "[run]\ncore = ctrace\n"
"""By the tracer that a test can switch off."""


def test_who_changes_the_tracer_fails(tmp_path: Path) -> None:
    files = {"test_one.py": TESTS, "subject.py": SUBJECT, ".coveragerc": COUNTED_SO}
    _, printed = run_pytest(tmp_path, files, "--cov=subject", "--cov-branch", "--cov-report=term-missing")

    for row in (
        "FAILED test_one.py::test_in_itself",
        "ERROR test_one.py::test_before",
        "ERROR test_one.py::test_after",
    ):
        assert f"{row} - AssertionError: another trace function was left" in printed, printed
    assert "FAILED test_one.py::test_that_fails - assert False" in printed
    assert "PASSED test_one.py::test_and_back" in printed and "PASSED test_one.py::test_then" in printed
    assert "subject.py       4      0      2      0   100%" in printed, printed
