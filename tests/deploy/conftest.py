# SPDX-License-Identifier: Apache-2.0
"""The domain of the command line's tests, for what is deployed."""

from tests.cli.conftest import _passphrase, carried, town

__all__ = ["_passphrase", "carried", "town"]
