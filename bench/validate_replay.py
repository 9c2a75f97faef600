"""Does the replay tell what a real server does? The same requests on both, side by side.

    PYTHONPATH=.:scripts python bench/validate_replay.py            about 40 minutes, CPU only

Goes on where it was interrupted: real runs are kept under ``build/`` (``--fresh``: from the start).

A step-time model is calibrated on the CPU engine as `sagesched calibrate` does it. Then every
policy serves the demo's workload on a fresh server, with an empty history: all requests at once,
and arriving at 0.8 and 1.1 times the measured fcfs saturation. The replay gets the same prompts,
lengths and arrival times, the calibrated model and the server's own settings, nothing else.

Bars: mean and P95 TTLT within 15 % at once and at 0.8; at 1.1, where a small error in step time
is a large one in waiting, over three seeds the same order of policies by mean TTLT and ratios to
fcfs within 0.1.
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
from bench.validation.compare import SHAKES, compare, failures, report
from bench.validation.real import SLOTS, STEP_MS, calibrated, run_missing
from bench.validation.replayed import replay_all
from bench.validation.runs import Real
from sagesched.replay.fitted import FittedStepTime

RESULTS = Path(__file__).resolve().parent / "results"
KEPT = Path(__file__).resolve().parents[1] / "build" / "validate_replay"
REAL_FILE, MODEL_FILE = KEPT / "real.json", KEPT / "model.json"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--requests", type=int, default=300, help="per run (300)")
    parser.add_argument("--fresh", action="store_true", help="do not go on with kept runs")
    options = parser.parse_args()
    KEPT.mkdir(parents=True, exist_ok=True)
    engine = make_engine(None, SLOTS, STEP_MS, ())
    if options.fresh or not (REAL_FILE.exists() and MODEL_FILE.exists()):
        real, model = calibrated(engine, options.requests)
        real.save(REAL_FILE)
        model.save(MODEL_FILE)
    real, model = Real.load(REAL_FILE), FittedStepTime.load(MODEL_FILE)
    run_missing(engine, real, model, REAL_FILE)
    replayed = replay_all(engine, real, model)
    shaken = [replay_all(engine, real, model, 1 + shake) for shake in SHAKES]
    rows = compare(real.runs, replayed, shaken)
    missed = failures(rows)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    about = (
        f"`bench/validate_replay.py` at commit {commit or 'unknown'}: {real.requests} requests a "
        f"run of the demo's workload, {engine.label} on {hardware(engine)} "
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
