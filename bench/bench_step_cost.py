"""What our hooks add to a step of SGLang's scheduler, with many running and very many waiting.

    python -m bench.bench_step_cost                    writes bench/results/step_cost.md

SGLang's real scheduler runs in virtual time (no model is computed); every hook is timed inside the
very steps it runs in, less what SGLang's own code takes inside it; what SGLang calls of ours inside
its own (admission by forecast) is ours. So both parts of a ratio come from the same steps of the
same run. Beside those that wait from the start, requests arrive as fast as fcfs would serve them;
the short ones go first, so fewer wait at the end. Our metrics are exported, SGLang's are not. A
step with its model pass is the virtual one: llama-3.1-8b on an h100. Each size runs several times,
each in a process of its own; the steps are the same every time, and the run counts in which host
and hooks together were fastest: what a neighbour on the machine takes is nobody's cost. Outputs are
checked by the replay's tests.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench.replay.machine import REPOSITORY, _hardware, commit
from sagesched.replay import clock

RUNNING, WAITING = (64, 256), (1_000, 10_000, 100_000)
MOST = {1_000: 0.02, 10_000: 0.05, 100_000: 0.05}
STEPS, SKIPPED = 400, 50
KV_TOKENS_PER_SLOT = 940
PREDICTED_AFTER_S = 0.002
RUNS = 5


now = clock.REAL_PERF_COUNTER


class EnoughError(Exception):
    """The steps are measured."""


def measure(running: int, waiting: int, mixed: bool) -> dict[str, float]:
    """Seconds per step, in this process: ours, SGLang's, the modelled pass."""
    folder = tempfile.TemporaryDirectory()  # until this process ends
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder.name
    from sagesched.plugin import metrics
    from sagesched.plugin import timing as hooks
    from sagesched.plugin.table import HOOKS

    metrics.enable()

    spent = Stopwatch()
    for hook in HOOKS:
        if not hook.is_async:
            object.__setattr__(hook, "fn", spent.around(hook.fn))
    from sagesched.replay.engine import EngineConfig
    from sagesched.replay.generators import GeneratedWorkload
    from sagesched.replay.harness import Harness
    from sagesched.replay.predictors import Law
    from sagesched.replay.presets import preset
    from sagesched.replay.run import Run
    from sagesched.replay.steptime import Step
    from sagesched.replay.trace import TraceRequest

    class Following(Law):
        seconds = PREDICTED_AFTER_S

    config = EngineConfig(
        pool_tokens=running * KV_TOKENS_PER_SLOT, max_running=running, mixed=mixed, context=4096
    )
    harness = Harness(config)
    workload = GeneratedWorkload("hetero", 4_000)
    drawn = list(workload.requests(seed=1, rate_rps=None))
    step_time = preset("llama-3.1-8b", "h100")
    full = Step(decode_requests=running, decode_kv_tokens=running * KV_TOKENS_PER_SLOT // 2)
    output_tokens = float(np.mean([one.output_tokens for one in drawn]))
    apart_s = step_time.seconds(full) * output_tokens / running
    at_once = waiting + running + STEPS * running // 240

    def requests() -> Iterator[TraceRequest]:
        for number in itertools.count():
            one = drawn[number % len(drawn)]
            arrival_s = max(0, number - at_once) * apart_s
            yield TraceRequest(
                arrival_s, array("q", one.prompt[:400]), one.output_tokens, "", one.cluster
            )

    steps: list[tuple[float, float, float, int]] = []
    stock = Run.forward
    ended = now()

    def forward(self: Run, batch: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal ended
        host = now() - ended
        before = self.clock.now
        result = stock(self, batch, *args, **kwargs)
        ours = spent.ours + hooks.spent.inside
        steps.append(
            (host - ours, ours, self.clock.now - before, len(self.scheduler.waiting_queue))
        )
        if len(steps) >= STEPS:
            raise EnoughError
        spent.ours = hooks.spent.inside = 0.0
        ended = now()
        return result

    Run.forward = forward  # type: ignore[method-assign]
    with contextlib.suppress(EnoughError):
        harness.run(
            requests(),
            policy="gittins",
            step_time=step_time,
            predictions=Following(workload, harness.grid),
            short_cut=False,
        )
    host, ours, model, queue = (np.array(column)[SKIPPED:] for column in zip(*steps, strict=True))
    assert abs(queue.mean() / waiting - 1) < 0.15, f"{queue.mean():.0f} wait"
    return {
        "running": running,
        "waiting": waiting,
        "mixed": mixed,
        "mean_waiting": float(queue.mean()),
        "ours_us": 1e6 * float(ours.mean()),
        "ours_p50_us": 1e6 * float(np.median(ours)),
        "ours_p99_us": 1e6 * float(np.percentile(ours, 99)),
        "host_us": 1e6 * float(host.mean()),
        "model_us": 1e6 * float(model.mean()),
    }


class Stopwatch:
    """Adds up what our functions take, less the original inside."""

    def __init__(self) -> None:
        self.ours = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed."""

        def timed(original: Any, *args: Any, **kwargs: Any) -> Any:
            inside = 0.0

            def stock(*given: Any, **named: Any) -> Any:
                nonlocal inside
                begin, ours = now(), self.ours
                try:
                    return original(*given, **named)
                finally:  # what hooks further in have noted themselves is theirs
                    inside += now() - begin
                    nested.append(self.ours - ours)

            nested: list[float] = []
            begin, before = now(), self.ours
            try:
                return function(stock, *args, **kwargs)
            finally:
                self.ours = before + sum(nested) + (now() - begin - inside)

        return timed


def main() -> int:
    """All sizes; the exit status is 1 if one is above its bar."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.bench_step_cost",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--one", nargs=3, metavar=("RUNNING", "WAITING", "MIXED"), type=int)
    parser.add_argument("--runs", type=int, default=RUNS, help="of each size (%(default)s)")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "bench" / "results")
    options = parser.parse_args()
    if options.runs < 1:
        parser.error("--runs: expected at least 1")
    if options.one:
        running, waiting, mixed = options.one
        print(json.dumps(measure(running, waiting, bool(mixed))))
        return 0
    found = []
    for running in RUNNING:
        for waiting in WAITING:
            command = [sys.executable, "-m", "bench.bench_step_cost", "--one"]
            command += [str(running), str(waiting), "1"]
            runs = [_run(command) for _ in range(options.runs)]
            if len({(run["model_us"], run["mean_waiting"]) for run in runs}) > 1:
                sys.exit(f"{' '.join(command)}: the steps are not the same in all runs")
            found.append(
                {"runs": options.runs} | min(runs, key=lambda run: run["ours_us"] + run["host_us"])
            )
            print(table(found[-1:]).splitlines()[-1], flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "step_cost.md").write_text(
        "# What our hooks add to a step\n\n"
        f"`python -m bench.bench_step_cost` at commit {commit()}, {_hardware()}, admission by "
        f"{os.environ.get('SAGESCHED_ADMISSION', 'forecast')}, our metrics on.\n\n"
        f"Means over 350 steps of the fastest of {options.runs} runs, in microseconds: our hooks, "
        "SGLang's scheduler in the same steps, "
        "and the modelled pass of llama-3.1-8b on an h100; ours as a share of a whole stock "
        "step (host and pass, one after the other), with the most it may be.\n\n"
        + table(found)
        + "\n"
    )
    (options.out / "step_cost.json").write_text(json.dumps(found, indent=1) + "\n")
    return int(any(share(one) > MOST[int(one["waiting"])] for one in found))


def _run(command: list[str]) -> dict[str, float]:
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def share(one: dict[str, float]) -> float:
    """Ours, of a stock step."""
    return one["ours_us"] / (one["host_us"] + one["model_us"])


def table(found: list[dict[str, float]]) -> str:
    """As Markdown."""
    lines = [
        "| running | waiting | ours | ours P50 | ours P99 | scheduler | pass | share | at most |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        names = ("ours_us", "ours_p50_us", "ours_p99_us", "host_us", "model_us")
        figures = " | ".join(f"{one[name]:,.0f}" for name in names)
        lines.append(
            f"| {one['running']} | {one['waiting']:,} | {figures} | {share(one):.2%} | "
            f"{MOST[int(one['waiting'])]:.0%} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
