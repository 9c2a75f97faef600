"""Does the replay tell what a real server does? The same requests on both, side by side.

    PYTHONPATH=.:scripts python bench/validate_replay.py            about 15 minutes, CPU only
    PYTHONPATH=.:scripts python bench/validate_replay.py --again    the replay alone, on kept runs

A step-time model is calibrated on the CPU engine as `sagesched calibrate` does it. Then every
policy serves the demo's workload on a fresh server, with an empty history: all requests at once,
and arriving at 0.8 and 1.1 times the measured fcfs saturation. The replay gets the same prompts,
lengths and arrival times, the calibrated model and the server's own settings, nothing else.

Bars: mean and P95 TTLT within 15 % at once and at 0.8; at 1.1, where a small error in step time
is a large one in waiting, the same order of policies by mean TTLT and ratios to fcfs within 0.1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import subprocess
import sys
import tempfile
import urllib.request
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.demo.arrivals import poisson_arrivals
from bench.demo.client import Client, Outcome
from bench.demo.engine import Engine, hardware, make_engine, sglang_version
from bench.demo.progress import Progress, say
from bench.demo.replay import make_replay
from bench.demo.run import Bench
from bench.demo.tables import markdown
from bench.demo.workload import Workload, built_in
from cpu_engine.eos_at import eos_at_params
from sagesched.replay.calibrate import calibrate, summary
from sagesched.replay.fitted import FittedStepTime
from sagesched.replay.probe import Server
from sagesched.replay.steptime import Step
from sagesched.replay.trace import FIRST_PROMPT_TOKEN, TraceRequest

RESULTS = Path(__file__).resolve().parent / "results"
KEPT = Path(__file__).resolve().parents[1] / "build" / "validate_replay"
REAL_FILE, MODEL_FILE = KEPT / "real.json", KEPT / "model.json"
POLICIES = ("fcfs", "lpm", "gittins")
LOADS = (None, 0.8, 1.1)
"""Of the measured fcfs saturation; None: all requests at once."""
SLOTS, STEP_MS = 8, 16.0
"""Steps that leave the shared cores twice the time they need for one, so that the engine keeps
its pace when other programs run; see ``cpu_engine/pace.py``."""
LONGEST_PROBE = 1024
DISTURBED, ATTEMPTS = 1.04, 4
"""Steps this much longer than calibrated mean that other programs held the engine up: not what is
compared here, so the run is repeated, so many times at most."""
WITHIN, RATIO_WITHIN = 0.15, 0.1

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Times:
    """TTLT and TTFT of a run's requests, seconds, in order of arrival.

    Attributes:
        step_s: mean decode step by the server's own count; 0 in a replay.
    """

    ttlt: list[float]
    ttft: list[float]
    step_s: float = 0.0

    def figures(self) -> dict[str, float]:
        """What is compared."""
        ttlt = np.array(self.ttlt)
        return {
            "mean_ttlt_s": float(ttlt.mean()),
            "p50_ttlt_s": float(np.percentile(ttlt, 50)),
            "p95_ttlt_s": float(np.percentile(ttlt, 95)),
            "p99_ttlt_s": float(np.percentile(ttlt, 99)),
            "mean_ttft_s": float(np.mean(self.ttft)),
        }


@dataclass(frozen=True)
class Real:
    """What the real server did; kept in a file between runs.

    Attributes:
        saturation_rps: measured under fcfs.
        runs: by ``key(policy, load)``.
    """

    seed: int
    requests: int
    saturation_rps: float
    runs: dict[str, Times]

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Real:
        values = json.loads(path.read_text())
        runs = {name: Times(**run) for name, run in values.pop("runs").items()}
        return cls(runs=runs, **values)


def key(policy: str, load: float | None) -> str:
    return f"{policy} {name_of(load)}"


def name_of(load: float | None) -> str:
    return "at once" if load is None else f"load {load:g}"


def arrivals_of(real: Real, load: float | None) -> list[float]:
    """The same for the server and the replay."""
    if load is None:
        return [0.0] * real.requests
    rate = load * real.saturation_rps
    return poisson_arrivals(seed=real.seed, requests=real.requests, rate_rps=rate)


# The real server


def measure(work: Workload, seed: int, engine: Engine) -> tuple[Real, FittedStepTime]:
    """Calibrate, find the saturation, and run every policy at every load."""
    replay = make_replay(Path(engine.model))
    with tempfile.TemporaryDirectory() as logs:
        bench = Bench(engine, work, replay, 1.0, seed, Path(logs))
        with bench.server("fcfs") as server:
            # The engine keeps its pace only in steps with a logit processor.
            params = eos_at_params(10**9, replay.eos)
            body = {
                "custom_logit_processor": replay.processor,
                "sampling_params": {"custom_params": params, **replay.sampling},
            }
            model = calibrate(Server(server.url, body), max_prompt=LONGEST_PROBE, name="tiny Llama")
            say(summary(model))
            model.save(MODEL_FILE)
            limit = bench.measure_saturation(server)
        say(f"saturation: {limit.requests_per_s:.2f} requests/s")
        real = Real(seed, len(work.timed), limit.requests_per_s, {})
        for load in LOADS:
            for policy in POLICIES:
                real.runs[key(policy, load)] = times = serve(bench, policy, arrivals_of(real, load))
                say(f"  mean TTLT {times.figures()['mean_ttlt_s']:.2f} s")
    real.save(REAL_FILE)
    return real, model


def serve_undisturbed(
    bench: Bench, policy: str, arrivals: Sequence[float], model: FittedStepTime
) -> Times:
    """The first run whose decode steps took what they should; else the least disturbed one."""
    calibrated = model.seconds(Step(decode_requests=SLOTS, decode_kv_tokens=SLOTS * 256))
    runs: list[Times] = []
    while len(runs) < ATTEMPTS and not (runs and runs[-1].step_s <= DISTURBED * calibrated):
        runs.append(serve(bench, policy, arrivals))
        say(
            f"  mean TTLT {runs[-1].figures()['mean_ttlt_s']:.2f} s, decode steps of "
            f"{1e3 * runs[-1].step_s:.2f} ms, calibrated {1e3 * calibrated:.2f} ms"
        )
    return min(runs, key=lambda run: run.step_s)


def serve(bench: Bench, policy: str, arrivals: Sequence[float]) -> Times:
    """One policy on a fresh server."""

    async def drive(url: str) -> list[Outcome]:
        async with Client.connect(url, bench.workload, bench.replay) as client:
            progress = Progress("timed", len(arrivals))
            return await client.open_loop(bench.workload.timed, arrivals, progress)

    with bench.server(policy) as server:
        outcomes = asyncio.run(drive(server.url))
        step_s = decode_step_s(server.url)
    wrong = [
        o.error or f"{o.tokens} tokens instead of {r.output_tokens}"
        for o, r in zip(outcomes, bench.workload.timed, strict=True)
        if o.error is not None or o.tokens != r.output_tokens
    ]
    if wrong:
        raise RuntimeError(f"{policy}: {len(wrong)} requests failed, the first: {wrong[0]}")
    return Times([o.ttlt for o in outcomes], [o.ttft for o in outcomes], step_s)


def decode_step_s(url: str) -> float:
    """Mean time between decode steps in a row since the server's start, as it counts itself."""
    with urllib.request.urlopen(f"{url}/v1/loads?include=core") as response:
        steps, _, microseconds, *_ = json.load(response)["loads"][0]["decode_moments"]
    return float(microseconds / steps / 1e6)


# The replay


class DemoTrace:
    """The demo's workload as the replay takes it: the served model's tokens, and the text."""

    name = "built-in"
    recorded_rate_rps = None

    def __init__(self, work: Workload, model: str) -> None:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(Path(model) / "tokenizer.json"))
        self.max_output_tokens = work.max_new_tokens
        self._rows = [
            # Moved up into the replay's range of prompt tokens; equal prefixes stay equal.
            (array("q", [FIRST_PROMPT_TOKEN + i for i in tokenizer.encode(r.text).ids]), r)
            for r in work.timed
        ]

    def at(self, arrivals: Sequence[float]) -> list[TraceRequest]:
        """The requests, arriving at these times."""
        return [
            TraceRequest(at, prompt, r.output_tokens, text=r.text, cluster=r.family)
            for at, (prompt, r) in zip(arrivals, self._rows, strict=True)
        ]


def replay_all(
    work: Workload, engine: Engine, real: Real, model: FittedStepTime
) -> dict[str, Times]:
    """Every policy at every load, in virtual time."""
    from sagesched.replay.engine import EngineConfig
    from sagesched.replay.harness import Harness
    from sagesched.replay.predictors import Shipped

    names = ("pool_tokens", "max_running", "context", "chunk", "page_size", "mixed", "overlap")
    harness = Harness(EngineConfig(**{name: model.engine[name] for name in names}))
    trace = DemoTrace(work, engine.model)
    runs = {}
    for load in LOADS:
        for policy in POLICIES:
            result = harness.run(
                trace.at(arrivals_of(real, load)),
                policy=policy,
                step_time=model,
                predictions=Shipped(harness.grid),
                max_output_tokens=trace.max_output_tokens,
            )
            if result.refused or result.fallbacks:
                raise RuntimeError(f"{policy}: {result.refused} refused, {result.notes}")
            runs[key(policy, load)] = Times(result.ttlt_s.tolist(), result.ttft_s.tolist())
    return runs


# The comparison


def compare(real: Real, replayed: Mapping[str, Times]) -> list[dict[str, Any]]:
    """One row per run, with the relative errors and, at 1.1, ratios to fcfs."""
    rows = []
    for load in LOADS:
        bases = [runs[key("fcfs", load)].figures() for runs in (real.runs, replayed)]
        for policy in POLICIES:
            pair = [runs[key(policy, load)].figures() for runs in (real.runs, replayed)]
            ratios = [
                figures["mean_ttlt_s"] / base["mean_ttlt_s"]
                for figures, base in zip(pair, bases, strict=True)
            ]
            rows.append(
                {
                    "load": name_of(load),
                    "policy": policy,
                    "real": pair[0],
                    "real_step_s": real.runs[key(policy, load)].step_s,
                    "replay": pair[1],
                    "error": {name: pair[1][name] / pair[0][name] - 1 for name in pair[0]},
                    "real_ratio_to_fcfs": ratios[0],
                    "replay_ratio_to_fcfs": ratios[1],
                }
            )
    return rows


def failures(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which bars were missed, in words."""
    missed = []
    for row in rows:
        name = f"{row['policy']}, {row['load']}"
        if row["load"] == name_of(LOADS[-1]):
            off = row["replay_ratio_to_fcfs"] - row["real_ratio_to_fcfs"]
            if abs(off) > RATIO_WITHIN:
                missed.append(f"{name}: ratio to fcfs off by {off:+.2f}")
            continue
        for figure in ("mean_ttlt_s", "p95_ttlt_s"):
            if abs(row["error"][figure]) > WITHIN:
                missed.append(f"{name}: {figure} off by {row['error'][figure]:+.1%}")
    heavy = [row for row in rows if row["load"] == name_of(LOADS[-1])]
    orders = [
        [row["policy"] for row in sorted(heavy, key=lambda r: r[f"{side}_ratio_to_fcfs"])]
        for side in ("real", "replay")
    ]
    if orders[0] != orders[1]:
        missed.append(f"load 1.1: order {orders[0]} on the server, {orders[1]} in replay")
    return missed


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Seconds, real / replay, with the error of mean and P95."""
    head = ["run", "mean TTLT", "error", "P95 TTLT", "error", "mean TTFT", "mean / fcfs", "step"]
    cells = []
    for row in rows:
        real, replay, error = row["real"], row["replay"], row["error"]
        cells.append(
            [
                f"{row['policy']}, {row['load']}",
                f"{real['mean_ttlt_s']:.2f} / {replay['mean_ttlt_s']:.2f}",
                f"{error['mean_ttlt_s']:+.1%}",
                f"{real['p95_ttlt_s']:.2f} / {replay['p95_ttlt_s']:.2f}",
                f"{error['p95_ttlt_s']:+.1%}",
                f"{real['mean_ttft_s']:.2f} / {replay['mean_ttft_s']:.2f}",
                f"{row['real_ratio_to_fcfs']:.2f} / {row['replay_ratio_to_fcfs']:.2f}",
                f"{1e3 * row['real_step_s']:.2f} ms",
            ]
        )
    return markdown(head, cells)


def report(
    rows: Sequence[Mapping[str, Any]], missed: Sequence[str], model: FittedStepTime, about: str
) -> str:
    """The Markdown that is kept."""
    verdict = "All bars are met." if not missed else "Missed:\n\n- " + "\n- ".join(missed)
    return f"""# The replay against a real server

{about}

Seconds: the real server's, seen by its client / the replay's. The last column is the real server's
mean decode step as it counts itself: runs in which other programs on the shared cores held it up by
more than {DISTURBED - 1:.0%} were repeated.

{table(rows)}

Bars: at once and at load 0.8, mean and P95 TTLT within {WITHIN:.0%}; at load 1.1 the same order of
policies by mean TTLT and ratios to fcfs within {RATIO_WITHIN:g}. {verdict}

The step-time model, calibrated on the same server over HTTP:

```
{summary(model)}
```
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="replay the last real runs again")
    options = parser.parse_args()
    KEPT.mkdir(parents=True, exist_ok=True)
    engine = make_engine(None, SLOTS, STEP_MS, ())
    if options.again:
        real, model = Real.load(REAL_FILE), FittedStepTime.load(MODEL_FILE)
        work = built_in(seed=real.seed, learn=0, requests=real.requests)
    else:
        work = built_in(seed=options.seed, learn=0, requests=options.requests)
        real, model = measure(work, options.seed, engine)
    rows = compare(real, replay_all(work, engine, real, model))
    missed = failures(rows)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    about = (
        f"`bench/validate_replay.py` at commit {commit or 'unknown'}, seed {real.seed}: "
        f"{real.requests} requests of the demo's workload, {engine.label} on {hardware(engine)} "
        f"({platform.machine()}), {SLOTS} slots, SGLang {sglang_version()}, "
        f"Python {platform.python_version()}. "
        f"Measured fcfs saturation: {real.saturation_rps:.2f} requests/s."
    )
    text = report(rows, missed, model, about)
    settings = {"about": about, "saturation_rps": real.saturation_rps, "missed": missed}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "validate_replay.md").write_text(text)
    step_time = asdict(replace(model, engine={**model.engine, "model": engine.label}))
    data = {"settings": settings, "step_time": step_time, "rows": rows}
    (RESULTS / "validate_replay.json").write_text(json.dumps(data, indent=1) + "\n")
    print(text)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
