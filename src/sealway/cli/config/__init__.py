# SPDX-License-Identifier: Apache-2.0
"""Settings: what a command is not told by its options, it takes from the environment, then from one TOML file."""
