# SPDX-License-Identifier: Apache-2.0
"""The owner of a domain: its keys, its root document, and what it has issued."""
