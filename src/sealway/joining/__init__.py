# SPDX-License-Identifier: Apache-2.0
"""Joining: how a device that has an owner's setup code in common with a commissioner gets its owner. Pure."""
