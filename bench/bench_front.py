"""The policy's front: its dial, what it knows and its parts, beside every other policy, by replay.

    python -m bench.bench_front --seeds 3            what is missing, then the report
    python -m bench.bench_front --only hetero,chat

Writes ``bench/results/front.md`` and ``front.json``. Every figure is a ratio to fcfs on the same
requests. Finished runs are kept in a file under everything that decides them, so that the command
can be repeated until nothing is missing; a run counts only after the checks of
``bench/replay/checked.py``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any

from bench.front.compare import beaten, ratio
from bench.front.rows import CLAIRVOYANT, SETTINGS, Line, Setting
from bench.front.targets import verdicts
from bench.replay.checked import MakeCheckedWorker
from bench.replay.keeping import run_and_keep
from bench.replay.machine import REPOSITORY, origin
from bench.replay.store import Store
from sagesched.replay.backend import RealBackend
from sagesched.replay.progress import Progress
from sagesched.replay.result import Row
from sagesched.replay.runner import WorkerPool
from sagesched.replay.tasks import Result, RunTask, Saturation, SaturationTask, Task, engine_of

SEED_BASE = 200
"""Policies were tuned on seeds from 300 on."""

TITLES = (
    "policy", "knows", "mean", "P99", "gap", "mean TTFT", "mean TPOT", "P99 TPOT", "stall", "rate",
    "hits", "seeds",
)  # fmt: skip
ABOUT = """\
SGLang's own scheduler in virtual time, llama-3.1-8b on h100 (a roofline, not calibrated), the first
10 % of the requests not counted, load relative to the saturation under fcfs of the same requests.
Seeds from 200 on; tuned on others.

Ratios to fcfs, smaller is better, mean over seeds ± standard deviation. *law* knows the true law of
the request's cluster, *shipped* learns from an empty history, *oracle* knows the length. Gap is
how much of the way from fcfs's mean to the clairvoyant's (SRPT with soft preemption) is gone, %;
stall the longest wait between two tokens, seconds; rate completions per second between the 10th and
90th percentile of completions; hits the share of prompt tokens found in the radix cache, %."""
FIGURES = (
    ("mean_ttlt_s", 3), ("p99_ttlt_s", 3), ("mean_ttft_s", 2), ("mean_tpot_s", 2),
    ("p99_tpot_s", 2),
)  # fmt: skip
"""With their digits."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is missing and write the report."""
    return make_report("front", __doc__, SETTINGS, Front, arguments)


def make_report(
    name: str,
    about: str | None,
    all_settings: Sequence[Setting],
    make: Callable[[argparse.Namespace, RealBackend], Front],
    arguments: Sequence[str] | None,
) -> int:
    """The command ``python -m bench.bench_NAME``: options, runs, ``NAME.md`` and ``NAME.json``."""
    parser = argparse.ArgumentParser(
        prog=f"python -m bench.bench_{name}",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--seeds", type=int, default=5, help="number of seeds, default %(default)s")
    add("--budget-min", type=float, default=60.0, help="minutes, default %(default)s")
    add("--jobs", type=int, default=2, help="parallel processes, default %(default)s")
    add("--only", default="", help="names of settings, comma-separated; default all")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--ours", action="store_true", help="only fcfs and our own policy")
    which.add_argument("--theirs", action="store_true", help="all but our own policy")
    add("--data", type=Path, default=REPOSITORY.parent / "shared" / "data", help="recorded traces")
    add("--store", type=Path, default=REPOSITORY / "build" / f"bench_{name}.jsonl")
    add("--out", type=Path, default=REPOSITORY / "bench" / "results", help="folder for the report")
    options = parser.parse_args(arguments)
    wanted = {name for name in options.only.split(",") if name}
    unknown = wanted - {setting.name for setting in all_settings}
    if unknown:
        parser.error(f"--only: unknown {', '.join(sorted(unknown))}")
    settings = [
        setting
        for setting in all_settings
        if (not wanted or setting.name in wanted) and not setting.cell.missing_files(options.data)
    ]
    front = make(options, RealBackend())
    front.run(settings)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{name}.md").write_text(front.as_markdown(all_settings))
    (options.out / f"{name}.json").write_text(front.as_json(all_settings))
    return int(bool(front.failures))


class Front:
    """Runs, and what was found so far."""

    name = "front"
    heading = "The front: mean against tail"
    about = ABOUT
    titles: Sequence[str] = TITLES
    seed_base = SEED_BASE

    def __init__(self, options: argparse.Namespace, backend: RealBackend) -> None:
        self.options = options
        self.backend = backend
        self.policies = backend.policies()
        self.origin = origin(backend.versions()["sglang"], self.policies)
        self.store = Store(options.store)
        self.progress = Progress()
        self.failures: list[str] = []
        self.deadline = time.monotonic() + 60 * options.budget_min

    @property
    def seeds(self) -> range:
        """Of the samples."""
        return range(self.seed_base, self.seed_base + self.options.seeds)

    def run(self, settings: Sequence[Setting]) -> None:
        """Seed by seed, so that a budget that ends early leaves whole rows of fewer seeds."""
        pool = WorkerPool[Task, Result](
            MakeCheckedWorker(self.backend), engine_of, self.options.jobs, self.backend.preload
        )
        with pool:
            for seed in self.seeds:
                for kind in (self._saturations, self._runs):
                    tasks = [task for setting in settings for task in kind(setting, seed)]
                    self._do(pool, tasks)

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

    def _saturations(self, setting: Setting, seed: int) -> Iterator[tuple[Task, dict[str, Any]]]:
        key = self._key(setting, seed, setting.baseline) | {"saturation": True}
        if self.store.get(key) is None:
            yield SaturationTask(setting.scenario(self.options.data), seed), key

    def _runs(self, setting: Setting, seed: int) -> Iterator[tuple[Task, dict[str, Any]]]:
        base = self._key(setting, seed, setting.baseline) | {"saturation": True}
        saturation = self.store.get(base)
        if saturation is None:
            return
        found = Saturation(*(saturation[name] for name in ("rate_rps", "served", "refused")))
        for line in setting.lines:
            left_out = self.options.theirs if line.policy == "gittins" else self.options.ours
            if left_out and line is not setting.baseline:
                continue
            key = self._key(setting, seed, line)
            if self.store.get(key) is None:
                yield (
                    RunTask(
                        scenario=setting.scenario(self.options.data),
                        policy=line.policy,
                        predictor=self.policies[line.policy].knows(line.predictor),
                        load=setting.load,
                        rate_rps=setting.load * found.offered_rps,
                        seed=seed,
                        settings=line.settings,
                    ),
                    key,
                )

    def _key(self, setting: Setting, seed: int, line: Line) -> dict[str, Any]:
        scenario = setting.scenario(self.options.data)
        return {
            "workload": asdict(scenario.workload)
            | {"content": None, "source": setting.cell.workload},
            "engine": asdict(scenario.engine),
            "step_time": asdict(scenario.step_time),
            "load": setting.load,
            "seed": seed,
            "policy": line.policy,
            "predictor": self.policies[line.policy].knows(line.predictor),
            "settings": list(map(list, line.settings)),
            "code": self.origin.codes[line.policy],
            "sglang": self.origin.sglang,
        }

    def rows(self, setting: Setting, line: Line) -> dict[int, Row]:
        """What was found, by seed."""
        entries = {seed: self.store.get(self._key(setting, seed, line)) for seed in self.seeds}
        return {seed: Row(**entry["row"]) for seed, entry in entries.items() if entry}

    def as_json(self, settings: Sequence[Setting]) -> str:
        """Every row."""
        rows = [
            {"setting": setting.name, "line": line.name, **asdict(row)}
            for setting in settings
            for line in setting.lines
            for row in self.rows(setting, line).values()
        ]
        return json.dumps({"origin": asdict(self.origin), "rows": rows}, indent=1) + "\n"

    def as_markdown(self, settings: Sequence[Setting]) -> str:
        """A table a setting."""
        made = self.origin
        what = f"`python -m bench.bench_{self.name}` at commit {made.commit}, SGLang {made.sglang}"
        blocks = [f"# {self.heading}", f"{what}, {made.hardware}. {self.about}"]
        for setting in settings:
            table = list(self._table(setting))
            if table:
                blocks.append(f"## {setting.title}")
                if setting.wanted:
                    blocks.append(f"To reach: {setting.wanted}")
                blocks.append("\n".join(table))
                blocks.extend(self.after(setting))
        if self.failures:
            blocks.append("\n".join(["## Failed", *(f"- {line}" for line in self.failures)]))
        return "\n\n".join(blocks) + "\n"

    def after(self, setting: Setting) -> Iterator[str]:
        """What follows a table."""
        found = list(verdicts(self.rows, setting))
        if found:
            head = ("| to reach | knows | found, and at most | reached | seeds |", "|---" * 5 + "|")
            yield "\n".join((*head, *found))
        lines = list(beaten(self.rows, setting))
        if lines:
            head = (
                "| published | mean at P99 | better in both | dial | mean at P99 |",
                "|---" * 5 + "|",
            )
            yield "\n".join((*head, *lines))

    def _table(self, setting: Setting) -> Iterator[str]:
        if not self.rows(setting, setting.baseline):
            return
        yield f"| {' | '.join(self.titles)} |"
        yield "|---" * len(self.titles) + "|"
        for line in setting.lines:
            pairs = self.pairs(setting, line)
            if pairs:
                cells = [line.name, *self.cells(setting, line, pairs), str(len(pairs))]
                yield f"| {' | '.join(cells)} |"

    def pairs(self, setting: Setting, line: Line) -> list[tuple[Row, Row]]:
        """A line's rows, each with the baseline's of the same seed."""
        base = self.rows(setting, setting.baseline)
        found = self.rows(setting, line).items()
        return [(row, base[seed]) for seed, row in found if seed in base]

    def cells(
        self, setting: Setting, line: Line, pairs: Sequence[tuple[Row, Row]]
    ) -> Iterator[str]:
        """A line's figures."""
        yield pairs[0][0].predictor
        for name, digits in FIGURES:
            if line is setting.baseline:
                yield f"{mean(getattr(row, name) for row, _ in pairs):.3g}"
            else:
                yield ratio(pairs, name, digits)
            if name == "p99_ttlt_s":
                yield self._gap(setting, line)
        yield f"{max(row.max_stall_s for row, _ in pairs):.2g}"
        yield ratio(pairs, "throughput_mid80_rps", 3)
        yield f"{100 * mean(row.prefix_hit for row, _ in pairs):.0f}"

    def _gap(self, setting: Setting, line: Line) -> str:
        """How much of the way from fcfs's mean to the clairvoyant's is gone."""
        best = next((each for each in setting.lines if each.policy == CLAIRVOYANT), None)
        if best is None:
            return ""
        base, found, least = (
            {seed: row.mean_ttlt_s for seed, row in self.rows(setting, each).items()}
            for each in (setting.baseline, line, best)
        )
        seeds = base.keys() & found.keys() & least.keys()
        shares = [(base[x] - found[x]) / (base[x] - least[x]) for x in seeds if base[x] > least[x]]
        return f"{100 * mean(shares):.0f}" if shares else ""


if __name__ == "__main__":
    sys.exit(main())
