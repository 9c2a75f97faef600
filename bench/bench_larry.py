"""LARRY beside fcfs, hrrn, prompt-only and gittins, by replay: its targets, and its whole front.

    python -m bench.bench_larry --seeds 3            what is missing, then the report

Writes ``bench/results/larry.md`` and ``larry.json``. Figures are ratios to fcfs on the same
requests; seeds from 300 on (the constants were chosen on 100 to 102).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean

from bench.bench_front import Front, _ratio
from bench.front.rows import FCFS, Line, Setting, others, ours
from bench.replay.cells import Cell
from bench.replay.machine import REPOSITORY
from sagesched.replay.backend import RealBackend

SEED_BASE = 300
TITLES = (
    "policy", "mean TTFT", "P99 TTFT", "mean TTLT", "P99 TTLT", "hit", "given up", "seeds",
)  # fmt: skip
ABOUT = """\
SGLang's own scheduler in virtual time, llama-3.1-8b on h100 (a roofline, not calibrated), the first
10 % of the requests not counted, load relative to the saturation under fcfs of the same requests.
Ratios to fcfs (its own row: seconds), mean over seeds ± standard deviation. Seeds from 300 on; the
constants were chosen on 100 to 102. Hit is the share of prompt tokens from the radix cache, given
up the share of requests that were preempted or retracted. gittins knows the true law of a request's
cluster; all others know no lengths."""
TARGET = "mean TTFT at most 0.70 at a P99 TTFT of at most 1.3 and below hrrn's; given up under 1 %"


def larry(*dials: float) -> tuple[Line, ...]:
    """The shipped policy at some dials."""
    return tuple(Line(f"larry, dial {d:g}", "larry", "none", (("dial", d),)) for d in dials)


TARGETS = (FCFS, *others("hrrn", "prompt-only"), *larry(1.0, 0.5, 1.5, 2.0))
FRONT = (
    FCFS,
    *others("hrrn", "prompt-only"),
    *(ours(f"dial {d:g}", dial=d) for d in (0.5, 1.0, 4.0)),
    *larry(0.25, 0.5, 1.0, 2.0, 4.0, math.inf),
)
MOONCAKE = Cell("mooncake", 400_000, 256, context=131_072)
SETTINGS = (
    *(Setting(f"chat-{x}", Cell("chat", 60_000, 64), x, TARGETS, 2000, TARGET) for x in (1.0, 1.1)),
    *(Setting(f"mooncake-{x}", MOONCAKE, x, TARGETS, 1000, TARGET) for x in (1.0, 1.1)),
    Setting("hetero", Cell("hetero", 60_000, 64), 1.1, FRONT),
    Setting("cluster", Cell("cluster", 60_000, 64), 1.1, FRONT),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what is missing and write the report."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.bench_larry",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--seeds", type=int, default=3, help="number of seeds, default %(default)s")
    add("--budget-min", type=float, default=60.0, help="minutes, default %(default)s")
    add("--jobs", type=int, default=2, help="parallel processes, default %(default)s")
    add("--only", default="", help="names of settings, comma-separated; default all")
    add("--data", type=Path, default=REPOSITORY.parent / "shared" / "data", help="recorded traces")
    add("--store", type=Path, default=REPOSITORY / "build" / "bench_larry.jsonl")
    add("--out", type=Path, default=REPOSITORY / "bench" / "results", help="folder for the report")
    options = parser.parse_args(arguments)
    wanted = {name for name in options.only.split(",") if name}
    unknown = wanted - {setting.name for setting in SETTINGS}
    if unknown:
        parser.error(f"--only: unknown {', '.join(sorted(unknown))}")
    found = LarryFront(options, RealBackend())
    found.run(
        [
            setting
            for setting in SETTINGS
            if (not wanted or setting.name in wanted)
            and not setting.cell.missing_files(options.data)
        ]
    )
    (options.out / "larry.md").write_text(found.as_markdown(SETTINGS))
    (options.out / "larry.json").write_text(found.as_json(SETTINGS))
    return int(bool(found.failures))


class LarryFront(Front):
    """Other seeds, other columns."""

    @property
    def seeds(self) -> range:
        """Of the samples."""
        return range(SEED_BASE, SEED_BASE + self.options.seeds)

    def as_markdown(self, settings: Sequence[Setting]) -> str:
        """A table a setting."""
        made = self.origin
        what = f"`python -m bench.bench_larry` at commit {made.commit}, SGLang {made.sglang}"
        blocks = ["# LARRY: no prediction", f"{what}, {made.hardware}. {ABOUT}"]
        for setting in settings:
            table = list(self._table(setting))
            if table:
                blocks += [f"## {setting.title}", *([setting.wanted] if setting.wanted else [])]
                blocks.append("\n".join(table))
        if self.failures:
            blocks.append("\n".join(["## Failed", *(f"- {line}" for line in self.failures)]))
        return "\n\n".join(blocks) + "\n"

    def _table(self, setting: Setting) -> Iterator[str]:
        base = self.rows(setting, setting.baseline)
        if not base:
            return
        yield f"| {' | '.join(TITLES)} |"
        yield "|---" * len(TITLES) + "|"
        for line in setting.lines:
            rows = self.rows(setting, line)
            pairs = [(row, base[seed]) for seed, row in rows.items() if seed in base]
            if not pairs:
                continue
            names = ("mean_ttft_s", "p99_ttft_s", "mean_ttlt_s", "p99_ttlt_s")
            if line is setting.baseline:
                figures = [f"{mean(getattr(row, name) for row, _ in pairs):.3g}" for name in names]
            else:
                figures = [_ratio(pairs, name, 3) for name in names]
            hit = mean(row.prefix_hit for row, _ in pairs)
            given_up = mean((row.preemptions + row.retractions) / row.n for row, _ in pairs)
            cells = [
                line.name, *figures, f"{hit:.3f}", f"{100 * given_up:.2f} %", str(len(pairs)),
            ]  # fmt: skip
            yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
