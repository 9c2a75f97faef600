"""Instructions of the index kernel's main case, by callgrind: a number that noise does not move.

    PYTHONPATH=. python -m bench.index_instructions [--markdown FILE]      needs valgrind; a minute

Valgrind knows no AVX-512, so the levels are scalar and avx2. What is counted is the calls alone:
the instructions of many calls less those of few, so that start-up cancels out. Counts depend on the
compiler and on NumPy a little; a change of more than 2 % under the same versions is a change of
the kernel.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from bench.bench_index import commit
from sagesched import _core
from sagesched.bench.machine import hardware
from sagesched.bench.report import table

FEW, MANY = 2, 6
LEVELS = ("scalar", "avx2")
LAYOUTS = ("column-major", "row-major")
N, M = 1024, 128
PROGRAM = """
import sys
from sagesched.bench.requests import make_requests
from sagesched.gittins import gittins_index
calls, layout = int(sys.argv[1]), sys.argv[2]
arguments = make_requests({n}, {m}).arguments(layout)
for _ in range(calls):
    gittins_index(*arguments)
"""


def instructions(level: str, layout: str, calls: int) -> int:
    """Of a process that makes so many calls."""
    environment = {
        **os.environ,
        "SAGESCHED_SIMD": level,
        "PYTHONHASHSEED": "0",
        "OPENBLAS_NUM_THREADS": "1",
        # NumPy's own AVX-512 code would end the process.
        "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL "
        "AVX512_SPR",
    }
    with tempfile.TemporaryDirectory() as folder:
        command = [
            "valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out",
            sys.executable, "-c", PROGRAM.format(n=N, m=M), str(calls), layout,
        ]  # fmt: skip
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not found:
        raise RuntimeError(f"valgrind failed:\n{done.stderr[-2000:]}")
    return int(found[1])


def per_call(level: str, layout: str) -> float:
    """Instructions of one call."""
    first, second = (instructions(level, layout, calls) for calls in (FEW, MANY))
    return (second - first) / (MANY - FEW)


def main() -> int:
    """Print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description="Count the index kernel's instructions.")
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="write the table, too")
    options = parser.parse_args()
    rows = []
    for level in (level for level in LEVELS if level in _core.simd_levels()):
        for layout in LAYOUTS:
            twice = [per_call(level, layout) for _ in range(2)]
            spread = abs(twice[0] - twice[1]) / twice[0]
            rows.append((level, layout, f"{twice[0]:,.0f}", f"{twice[0] / (N * M):.2f}",
                         f"{spread:.4%}"))  # fmt: skip
    head = [
        "level",
        "layout",
        "instructions a call",
        "a bin of a request",
        "second count differs by",
    ]
    text = (
        f"# Instructions of the index kernel\n\n`python -m bench.index_instructions` at commit "
        f"{commit()}, {hardware()}, NumPy {np.__version__}: {N} x {M}, float32, half of the "
        f"requests at age 0; callgrind.\n\n{table(head, rows)}\n"
    )
    print(text, end="")
    if options.markdown:
        options.markdown.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
