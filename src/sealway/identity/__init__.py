# SPDX-License-Identifier: Apache-2.0
"""Verification with public keys: the owner's root document, certificates, bundles, grants, consents.

Everything here either raises or returns the proven value, in a type that only verification can make.
"""
