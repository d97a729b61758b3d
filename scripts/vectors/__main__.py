# SPDX-License-Identifier: Apache-2.0
"""``python -m scripts.vectors [--check]``: write vectors/*.json, or say whether they are what would be written."""

import argparse
import sys
from pathlib import Path

from scripts.vectors.files import files

VECTORS = Path(__file__).parents[2] / "vectors"


def main() -> int:
    """Return 0, or 1 if a file differs and was only to be checked."""
    parser = argparse.ArgumentParser(description="Write the test vectors.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file would change")
    check = parser.parse_args().check
    different = [name for name, text in files().items() if not _is_same(name, text)]
    for name in different:
        print(f"{'differs' if check else 'written'}: vectors/{name}")
        if not check:
            (VECTORS / name).write_text(files()[name])
    return 1 if check and different else 0


def _is_same(name: str, text: str) -> bool:
    path = VECTORS / name
    return path.exists() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main())
