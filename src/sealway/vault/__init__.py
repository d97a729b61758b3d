# SPDX-License-Identifier: Apache-2.0
"""Secrets of a state database, stored so that they can be forgotten: docs/adr/0016."""
