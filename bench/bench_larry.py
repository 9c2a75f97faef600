"""LARRY beside fcfs, hrrn, prompt-only and gittins, by replay: its targets, and its whole front.

    python -m bench.bench_larry --seeds 3            what is missing, then the report

Writes ``bench/results/larry.md`` and ``larry.json``. Figures are ratios to fcfs on the same
requests; seeds from 300 on (the constants were chosen on 100 to 103).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from statistics import mean

from bench.bench_front import Front, make_report
from bench.front.compare import ratio
from bench.front.rows import FCFS, Line, Setting, others, ours
from bench.replay.cells import Cell
from sagesched.replay.result import Row

SEED_BASE = 300
TITLES = (
    "policy", "mean TTFT", "P99 TTFT", "mean TTLT", "P99 TTLT", "hit", "given up", "seeds",
)  # fmt: skip
ABOUT = """\
SGLang's own scheduler in virtual time, llama-3.1-8b on h100 (a roofline, not calibrated), the first
10 % of the requests not counted, load relative to the saturation under fcfs of the same requests.
Ratios to fcfs (its own row: seconds), mean over seeds ± standard deviation. Seeds from 300 on; the
constants were chosen on 100 to 103. Hit is the share of prompt tokens from the radix cache, given
up the share of requests that were preempted or retracted. gittins knows the true law of a request's
cluster; all others know no lengths."""
FIGURES = ("mean_ttft_s", "p99_ttft_s", "mean_ttlt_s", "p99_ttlt_s")
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
    return make_report("larry", __doc__, SETTINGS, LarryFront, arguments)


class LarryFront(Front):
    """Other seeds, other columns."""

    name = "larry"
    heading = "LARRY: no prediction"
    about = ABOUT
    titles = TITLES
    seed_base = SEED_BASE

    def cells(
        self, setting: Setting, line: Line, pairs: Sequence[tuple[Row, Row]]
    ) -> Iterator[str]:
        """A line's figures."""
        for name in FIGURES:
            if line is setting.baseline:
                yield f"{mean(getattr(row, name) for row, _ in pairs):.3g}"
            else:
                yield ratio(pairs, name, 3)
        yield f"{mean(row.prefix_hit for row, _ in pairs):.3f}"
        given_up = mean((row.preemptions + row.retractions) / row.n for row, _ in pairs)
        yield f"{100 * given_up:.2f} %"

    def after(self, setting: Setting) -> Iterator[str]:
        """Nothing."""
        return iter(())


if __name__ == "__main__":
    sys.exit(main())
