# SPDX-License-Identifier: Apache-2.0
"""Where an adversary can stand: each position speaks one hop's protocol and does what the middlebox decides.

A position decodes what passes, lets the middlebox decide on each item, and encodes the outcome. It contains no attack.
"""
