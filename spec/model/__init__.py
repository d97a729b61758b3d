# SPDX-License-Identifier: Apache-2.0
"""A model of the chain rules, small enough to be explored exhaustively. It shares no code with the implementation."""
