"""Which replica: SAL beside SGLang's methods, the gateway's and the truth, by replay.

    python -m bench.bench_balance --seeds 2          what is missing, then the report
    python -m bench.bench_balance --only hetero,chat

Writes ``bench/results/balance.md`` and ``balance.json``. Finished runs are kept in a file under
everything that decides them; a run counts only after the checks of ``bench/replay/checked.py``. The
constants were chosen on seeds 100 to 103, figures are of seeds from 300 on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

from bench.balance.overhead import overhead_table
from bench.balance.rows import CELLS, METHODS, STOCK, Cell
from bench.replay.checked import MakeCheckedWorker
from bench.replay.keeping import run_and_keep
from bench.replay.machine import REPOSITORY, origin
from bench.replay.store import Store
from sagesched.replay.backend import RealBackend
from sagesched.replay.cluster.plan import predictor_of
from sagesched.replay.progress import Progress
from sagesched.replay.result import Row
from sagesched.replay.runner import WorkerPool
from sagesched.replay.tasks import (
    Result,
    RunTask,
    Saturation,
    SaturationTask,
    Task,
    engine_of,
    together,
)

SEED_BASE = 300
HEAR_NOTHING = ("round_robin", "random", "oracle", "oracle_start")
TITLES = (
    "method", "mean TTFT s", "P99 TTFT s", "x best stock", "gap closed", "mean TTLT s",
    "P99 TTLT s", "hit", "seeds",
)  # fmt: skip
ABOUT = """\
SGLang's own schedulers under fcfs in virtual time, llama-3.1-8b on h100 (a roofline, not
calibrated), gamma gaps with a coefficient of variation of 4, load 0.95 of the sum of the replicas'
saturations under fcfs, the first 10 % of the requests not counted. The loads that replicas report
are as old as the delay says; that a request has ended is known at once, as by a router that carries
the answers, but where the heading says otherwise. With `answers=0` ends are never heard of, as in
SGLang's controller of `--dp-size` (`sal` under a policy that predicts, `sal-prompt` under others),
and neither do SGLang's methods. `sal` and `shortest_predicted` know what the shipped predictor has
learned, from an empty history. `oracle` (least true work, tokens) and `oracle_start` (the replica
that would truly start the request first) know true lengths and the present, whatever the delay.

*x best stock*: P99 TTFT to that of the best of round_robin, total_requests and total_tokens (of the
means over the seeds), in brackets to that method's in the worst seed. *gap closed*: the part of the
P99 TTFT between it and `oracle`, in brackets and `oracle_start`; a dash where the oracle is not
below the best stock method."""


@dataclass(frozen=True)
class Case:
    """A cell at a delay."""

    cell: Cell
    delay_s: float

    @property
    def title(self) -> str:
        """The table's heading."""
        return f"{self.cell.title}, delay {self.delay_s:g} s"


class Bench:
    """Runs, and what was found so far."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.backend = RealBackend()
        policies = {"fcfs": self.backend.policies()["fcfs"]}
        self.origin = origin(self.backend.versions()["sglang"], policies)
        self.store = Store(options.store)
        self.progress = Progress()
        self.failures: list[str] = []
        self.deadline = time.monotonic() + 60 * options.budget_min
        self.seeds = range(SEED_BASE, SEED_BASE + options.seeds)

    def run(self, cases: Sequence[Case]) -> None:
        """Seed by seed, so that a budget that ends early leaves whole tables of fewer seeds."""
        pool = WorkerPool[Task, Result](
            MakeCheckedWorker(self.backend), engine_of, self.options.jobs, self.backend.preload
        )
        with pool:
            for seed in self.seeds:
                wanted = [one for case in cases for one in self._saturations(case, seed)]
                self._do(pool, list({str(key): (task, key) for task, key in wanted}.values()))
                for case in cases:
                    self._do(pool, list(self._runs(case, seed)))

    def _do(
        self, pool: WorkerPool[Task, Result], tasks: Sequence[tuple[Task, dict[str, Any]]]
    ) -> None:
        run_and_keep(
            pool,
            tasks,
            self.store,
            progress=self.progress,
            failures=self.failures,
            deadline=self.deadline,
        )

    def _saturations(self, case: Case, seed: int) -> Iterator[tuple[Task, dict[str, Any]]]:
        scenario = case.cell.scenario(case.delay_s, self.options.data)
        assert scenario.cluster is not None
        for pool in scenario.cluster.shares():
            key = self._saturation_key(case, pool, seed)
            if self.store.get(key) is None:
                yield SaturationTask(scenario.with_pool(pool), seed), key

    def _runs(self, case: Case, seed: int) -> Iterator[tuple[Task, dict[str, Any]]]:
        scenario = case.cell.scenario(case.delay_s, self.options.data)
        assert scenario.cluster is not None
        parts = []
        for pool, share in scenario.cluster.shares().items():
            entry = self.store.get(self._saturation_key(case, pool, seed))
            if entry is None:
                return
            values = [entry[name] for name in ("rate_rps", "served", "refused")]
            parts.append((Saturation(*values), share))
        for method in METHODS:
            key = self._key(case, seed, method)
            if self.store.get(key) is None:
                task = RunTask(
                    scenario=scenario,
                    policy="fcfs",
                    predictor=predictor_of("none", "shipped", method),
                    load=case.cell.load,
                    rate_rps=case.cell.load * together(parts).offered_rps,
                    seed=seed,
                    balance=method,
                )
                yield task, key

    def _saturation_key(self, case: Case, pool: int, seed: int) -> dict[str, Any]:
        return {"saturation": pool, **self._common(case), "seed": seed, "delay": None}

    def _key(self, case: Case, seed: int, method: str) -> dict[str, Any]:
        common = self._common(case) | {"chooser": _chooser_code(method.startswith("sal"))}
        heard: dict[str, float | bool | None]
        if method in HEAR_NOTHING:
            heard = {"delay": None}
        elif method in STOCK or method.endswith(":answers=0"):  # these hear of no ends
            heard = {"delay": case.delay_s}
        else:
            heard = {"delay": case.delay_s, "ends_late": case.cell.ends_late}
        return {"method": method, **common, "seed": seed, **heard}

    def _common(self, case: Case) -> dict[str, Any]:
        return {"cell": _cell(case.cell), "code": self.origin.codes["fcfs"]}

    def rows(self, case: Case, method: str) -> dict[int, Row]:
        """What was found, by seed."""
        entries = {seed: self.store.get(self._key(case, seed, method)) for seed in self.seeds}
        return {seed: Row(**entry["row"]) for seed, entry in entries.items() if entry}

    def as_json(self, cases: Sequence[Case]) -> str:
        """Every row."""
        rows = [
            {
                "cell": case.cell.name,
                "delay_s": case.delay_s,
                **asdict(row),
                "balance": method,
            }
            for case in cases
            for method in METHODS
            for row in self.rows(case, method).values()
        ]
        return json.dumps({"origin": asdict(self.origin), "rows": rows}, indent=1) + "\n"

    def as_markdown(self, cases: Sequence[Case]) -> str:
        """A table a case, and the chooser's own time."""
        made = self.origin
        what = f"`python -m bench.bench_balance` at commit {made.commit}, SGLang {made.sglang}"
        blocks = ["# Which replica", f"{what}, {made.hardware}. {ABOUT}"]
        for case in cases:
            table = list(self._table(case))
            if table:
                blocks += [f"## {case.title}", "\n".join(table)]
        blocks += ["## The chooser's own time", overhead_table()]
        if self.failures:
            blocks.append("\n".join(["## Failed", *(f"- {line}" for line in self.failures)]))
        return "\n\n".join(blocks) + "\n"

    def _table(self, case: Case) -> Iterator[str]:
        found = {method: self.rows(case, method) for method in METHODS}
        seeds = set.intersection(*(set(rows) for rows in found.values()))
        if not seeds:
            return
        yield f"| {' | '.join(TITLES)} |"
        yield "|---" * len(TITLES) + "|"
        p99 = {m: mean(rows[s].p99_ttft_s for s in seeds) for m, rows in found.items()}
        best_stock = min(STOCK, key=p99.__getitem__)
        best = p99[best_stock]
        for method, rows in found.items():
            chosen = [rows[seed] for seed in sorted(seeds)]
            closed = ""
            if method.startswith("sal"):
                closed = f"{_closed(p99, best, method, 'oracle')} "
                closed += f"({_closed(p99, best, method, 'oracle_start')})"
            worst = max(
                rows[seed].p99_ttft_s / found[best_stock][seed].p99_ttft_s for seed in seeds
            )
            cells = [
                method,
                f"{mean(row.mean_ttft_s for row in chosen):.3f}",
                f"{p99[method]:.2f}",
                f"{p99[method] / best:.2f} ({worst:.2f})",
                closed,
                f"{mean(row.mean_ttlt_s for row in chosen):.2f}",
                f"{mean(row.p99_ttlt_s for row in chosen):.2f}",
                f"{mean(row.prefix_hit for row in chosen):.3f}",
                str(len(chosen)),
            ]
            yield f"| {' | '.join(cells)} |"


@cache
def _chooser_code(sal: bool) -> str:
    """Digest of the sources of the library; for other methods without those of SAL."""
    folder = REPOSITORY / "python" / "sagesched" / "balance"
    files = [file for file in sorted(folder.glob("*.py")) if sal or file.name != "sal.py"]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def _cell(cell: Cell) -> dict[str, Any]:
    """What decides a run: not how the cell is called, nor which delays there are."""
    decides = asdict(cell)
    for name in ("name", "about", "delays_s", "ends_late"):
        del decides[name]
    return decides


def _closed(p99: dict[str, float], best: float, method: str, oracle: str) -> str:
    gap = best - p99[oracle]
    return f"{(best - p99[method]) / gap:.0%}" if gap > 0 else "-"


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is missing and write the report."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.bench_balance",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--seeds", type=int, default=2, help="number of seeds, default %(default)s")
    add("--budget-min", type=float, default=60.0, help="minutes, default %(default)s")
    add("--jobs", type=int, default=2, help="parallel processes, default %(default)s")
    add("--only", default="", help="names of cells, comma-separated; default all")
    add("--data", type=Path, default=REPOSITORY.parent / "shared" / "data", help="recorded traces")
    add("--store", type=Path, default=REPOSITORY / "build" / "bench_balance.jsonl")
    add("--out", type=Path, default=REPOSITORY / "bench" / "results", help="folder for the report")
    options = parser.parse_args(arguments)
    wanted = {name for name in options.only.split(",") if name}
    unknown = wanted - {cell.name for cell in CELLS}
    if unknown:
        parser.error(f"--only: unknown {', '.join(sorted(unknown))}")
    cases = [Case(cell, delay) for cell in CELLS for delay in cell.delays_s]
    bench = Bench(options)
    bench.run(
        [
            case
            for case in cases
            if (not wanted or case.cell.name in wanted) and case.cell.is_there(options.data)
        ]
    )
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "balance.md").write_text(bench.as_markdown(cases))
    (options.out / "balance.json").write_text(bench.as_json(cases))
    return int(bool(bench.failures))


if __name__ == "__main__":
    sys.exit(main())
