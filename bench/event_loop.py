"""What our hooks cost the event loop of a real server's tokenizer process; five minutes.

    PYTHONPATH=.:scripts python bench/event_loop.py [--quick]

The CPU engine serves bursts of streaming requests over HTTP, under fcfs (where our hooks do
nothing) and under gittins with a full history, and a probe inside looks at two things: the CPU
time of every stretch of our code on the loop, and how late the loop runs a task that is due every
millisecond. The latter is measured twice: as the machine is, and with the tokenizer's threads
at real-time priority, where no other program on the cores delays them (needs the right to ask for
it). Exit status 1 if a stretch, or at real-time priority a delay that gittins adds, is too long.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

from bench.bench_index import commit
from bench.demo.engine import make_engine, sglang_version
from bench.demo.replay import make_replay
from bench.loop_probe.load import BURST, PROMPT_CHARS, measured, prompts
from bench.loop_probe.report import report, summary, too_long
from cpu_engine.server import EngineServer
from sagesched.bench.machine import hardware

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().parent / "results"
RECORDS = 10_000
STEP_MS = 8.0
MEASURED = {
    "as it is": "",
    "real time": "real_time=1",
    "5 ms": "real_time=1&switch_interval_s=0.005",
}
"""How the probe is started; the last one, for gittins only: without our switch interval."""


class ProbedServer(EngineServer):
    """A server with the probe inside."""

    def command(self) -> list[str]:
        """See `EngineServer`."""
        replaced = {"sglang.launch_server": "bench.loop_probe.launch"}
        return [replaced.get(part, part) for part in super().command()]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one burst each; nothing is kept")
    quick = parser.parse_args().quick
    bursts = 1 if quick else 6
    with tempfile.TemporaryDirectory() as folder:
        history = make_history(Path(folder), 200 if quick else RECORDS)
        runs = {policy: serve(policy, bursts, history) for policy in ("fcfs", "gittins")}
    result = {
        policy: {name: summary(run) for name, run in of.items()} for policy, of in runs.items()
    }
    heading = (
        f"`bench/event_loop.py` at commit {commit()}: {bursts * BURST} requests a run in bursts of "
        f"{BURST}, prompts of {PROMPT_CHARS} characters, {RECORDS:,} records in the history; "
        f"{hardware()}, SGLang {sglang_version()} on its CPU engine, steps of {STEP_MS:g} ms."
    )
    text = report(heading, result)
    print(text)
    if not quick:
        (RESULTS / "event_loop.md").write_text(text + "\n", encoding="utf-8")
        kept = {"heading": heading, **result}
        (RESULTS / "event_loop.json").write_text(json.dumps(kept, indent=1) + "\n")
    return int(too_long(result))


def serve(policy: str, bursts: int, history: Path) -> dict[str, Any]:
    """What the probe saw under a policy, by how it was measured."""
    engine = make_engine(None, None, STEP_MS, ())
    replay = make_replay(Path(engine.model))
    env = {"PYTHONPATH": str(ROOT), "SAGESCHED_HISTORY_FILE": str(history)}
    arguments = [*engine.arguments(policy), "--enable-metrics"]
    with ProbedServer(
        engine.model, arguments, env, cpu=engine.cpu, step_ms=engine.step_ms
    ) as server:
        seen: dict[str, Any] = {}
        asyncio.run(measured(server.url, replay, 1, 0))  # warm
        for seed, (name, start) in enumerate(MEASURED.items()):
            if policy == "fcfs" and "switch" in start:
                continue
            print(f"{policy}, {name} ...", file=sys.stderr, flush=True)
            try:
                seen[name] = asyncio.run(measured(server.url, replay, bursts, seed + 1, start))
            except RuntimeError as error:
                if not start:
                    raise
                print(f"  left out: {error}", file=sys.stderr)
    return seen


def make_history(folder: Path, records: int) -> Path:
    """A history file."""
    rng, lines, file = random.Random(0), folder / "lines.jsonl", folder / "history"
    with lines.open("w") as out:
        for prompt in islice(prompts(-1), records):
            tokens = int(rng.lognormvariate(3, 1)) + 1
            out.write(json.dumps({"prompt": prompt, "output_tokens": tokens}) + "\n")
    command = (sys.executable, "-m", "sagesched.cli", "history", "import", "--file")
    subprocess.run([*command, str(file), str(lines)], check=True, stdout=subprocess.DEVNULL)
    return file


if __name__ == "__main__":
    sys.exit(main())
