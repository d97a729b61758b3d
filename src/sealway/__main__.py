# SPDX-License-Identifier: Apache-2.0
"""``python -m sealway`` is the ``sealway`` command."""

from sealway.cli.main import main

if __name__ == "__main__":
    main()
