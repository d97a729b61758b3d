# SPDX-License-Identifier: Apache-2.0
"""Makes the test vectors for other implementations: ``python -m scripts.vectors`` writes vectors/*.json."""
