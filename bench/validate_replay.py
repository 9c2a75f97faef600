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
import json
import platform
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

from bench.demo.engine import hardware, make_engine, sglang_version
from bench.demo.workload import built_in
from bench.validation.compare import compare, failures, report
from bench.validation.real import SLOTS, STEP_MS, measure
from bench.validation.replayed import replay_all
from bench.validation.runs import Real
from sagesched.replay.fitted import FittedStepTime

RESULTS = Path(__file__).resolve().parent / "results"
KEPT = Path(__file__).resolve().parents[1] / "build" / "validate_replay"
REAL_FILE, MODEL_FILE = KEPT / "real.json", KEPT / "model.json"


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
        real.save(REAL_FILE)
        model.save(MODEL_FILE)
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
