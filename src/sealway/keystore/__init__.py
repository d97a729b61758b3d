# SPDX-License-Identifier: Apache-2.0
"""Where private keys live. What is above uses them through the ports of ``sealway.crypto.ports``."""
