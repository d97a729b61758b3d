# SPDX-License-Identifier: Apache-2.0
"""Durable state in one directory: an exclusive lock, SQLite, and commits that many operations share."""
