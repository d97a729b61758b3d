# SPDX-License-Identifier: Apache-2.0
"""``python -m spec.model``."""

import sys

from spec.model.explore import main

if __name__ == "__main__":
    sys.exit(main())
