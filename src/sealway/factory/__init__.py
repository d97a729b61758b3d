# SPDX-License-Identifier: Apache-2.0
"""How a device is made: setup code, birth certificate, label, and the list of what was made."""
