# SPDX-License-Identifier: Apache-2.0
"""The town of the command line's tests, for the adversary's commands."""

from __future__ import annotations

from tests.cli.conftest import carried, town

__all__ = ["carried", "town"]
