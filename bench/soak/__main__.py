"""A soak: 20,000 requests against a real server that is short of memory; a quarter leave early.

    PYTHONPATH=.:scripts python -m bench.soak [--requests N] [--ranks 1] [--no-stock] [--mixed]

SGLang's CPU engine with the tiny model under ``--schedule-policy gittins``. Requests are answered,
streamed, aborted in every state, and left by their clients; memory holds fewer than run, so that
running ones are retracted. Afterwards everybody must have been served, and nothing may be left:
``bench/soak/checks.py``. The same requests are first sent to a server under stock fcfs: how far its
memory grows is held beside ours. Writes ``bench/results/soak.md`` and ``soak.json``, or with
``--mixed``, where running requests give way to others, ``soak_mixed.md`` and ``.json``. Exit status
1 if a check fails.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from bench.bench_index import commit
from bench.demo.engine import make_engine, sglang_version
from bench.soak.checks import checks
from bench.soak.report import as_json, as_markdown
from bench.soak.run import ROOT, Options, soak, stock_growth
from sagesched.bench.machine import hardware


def main() -> int:
    """Do it and write the report."""
    base = Options()
    parser = argparse.ArgumentParser(
        prog="python -m bench.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--requests", type=int, default=base.requests, help="default %(default)s")
    add("--ranks", type=int, default=base.ranks, help="tensor-parallel, default %(default)s")
    add("--seed", type=int, default=base.seed, help="of the requests, default %(default)s")
    add("--out", type=Path, default=ROOT / "bench" / "results", help="folder for the report")
    add("--no-stock", action="store_true", help="without the server under stock fcfs")
    add("--mixed", action="store_true", help="mixed prefill: slow on CPUs, requests give way")
    given = parser.parse_args()
    options = Options(given.requests, given.ranks, seed=given.seed, mixed=given.mixed)
    model = Path(make_engine(None, None, 0.0, ()).model)
    stock = {} if given.no_stock else stock_growth(model, options)
    done = replace(soak(model, options), stock_growth=stock)
    found = list(checks(done))
    heading = (
        f"`python -m bench.soak` at commit {commit()}: {hardware()}, SGLang {sglang_version()} on "
        "its CPU engine."
    )
    text = as_markdown(heading, options, done, found)
    print(text)
    given.out.mkdir(parents=True, exist_ok=True)
    name = "soak_mixed" if given.mixed else "soak"
    (given.out / f"{name}.md").write_text(text)
    (given.out / f"{name}.json").write_text(as_json(heading, options, done, found))
    return int(not all(check.holds for check in found))


if __name__ == "__main__":
    sys.exit(main())
