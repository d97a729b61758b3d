# SPDX-License-Identifier: Apache-2.0
"""Named suites, typed keys, key derivation, and the ports behind which private keys live.

No I/O, no clock and no randomness of its own.
"""
