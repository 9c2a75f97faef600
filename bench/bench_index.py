"""The index kernel against NumPy, Numba, plain Python and the speed of memory.

    python bench/bench_index.py [--quick] [--json FILE] [--markdown FILE] [--plot FILE]

The same as ``sagesched bench index``, with the commit in the result. Results are kept as
results/index.md, index.json and index.png.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from sagesched.bench import cli


def commit() -> str:
    """Of the checkout, with "+" behind it where the sources differ."""
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=here.parent, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--", "python", "csrc")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def main() -> int:
    """Parse the flags and run."""
    parser = argparse.ArgumentParser(description="Verify the index kernel, time it, compare.")
    cli.add_arguments(parser)
    return cli.run(parser.parse_args(), commit())


if __name__ == "__main__":
    sys.exit(main())
