"""The demo's command line: flags, and errors before anything starts."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DESCRIPTION = """\
Serves the same requests with a real SGLang server under one scheduling policy after another,
and shows how long users waited. For each policy: a fresh server, a learning part (the
history starts empty), an emptied radix cache, then the timed part: Poisson arrivals at a
multiple of what the server can do, streamed over HTTP.
"""

EPILOG = """\
examples:
  scripts/demo                                        fcfs against gittins, about 5 minutes
  scripts/demo --policies fcfs,lpm,hrrn,gittins       more policies
  scripts/demo --requests 1000 --json out.json        longer, with numbers in a file
  scripts/demo --workload sharegpt conversations.json real prompts and real lengths
  scripts/demo --model-path DIRECTORY                 on a machine with a GPU and SGLang

exit status: 0; 1 when a request failed or had not exactly its true length, or a run broke off;
2 for a bad flag; 130 after Ctrl-C
"""

MAX_STEP_MS = 1000.0

RESULTS = Path(__file__).resolve().parents[2] / "demo-results"
"""Where files go that were not named."""


@dataclass(frozen=True)
class Options:
    """What was asked for; see ``--help``."""

    policies: tuple[str, ...]
    requests: int
    learn: int
    load: float
    seed: int
    json: Path | None
    plot: Path
    keep: bool
    model_path: str | None
    server_args: tuple[str, ...]
    max_running: int | None
    step_ms: float | None
    conversations: Path | None


def parse(arguments: Sequence[str]) -> Options:
    """Read the command line, given without the program's name.

    Raises:
        SystemExit: with status 2 and a message for a bad value, with 0 after ``--help``.
    """
    parser = _parser()
    given = parser.parse_args(_joined(arguments))
    try:
        return _options(given)
    except ValueError as error:
        parser.error(str(error))


def _make_folder(flag: str, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{flag}: the folder {folder} cannot be made: {error}") from None
    _require(os.access(folder, os.W_OK), f"{flag}: the folder {folder} cannot be written to")


def _joined(arguments: Sequence[str]) -> list[str]:
    """``--server-args X`` as ``--server-args=X``: argparse takes an X of dashes for a flag."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--server-args":
            joined[-1] += "=" + argument
        else:
            joined.append(argument)
    return joined


def make_results_folder() -> None:
    """Create ``RESULTS``, which git is to ignore."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / ".gitignore").write_text("*\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "scripts/demo",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--policies",
        default="fcfs,gittins",
        metavar="NAMES",
        help="scheduling policies, separated by commas (default: %(default)s)",
    )
    add(
        "--requests",
        type=int,
        default=600,
        metavar="N",
        help="timed requests per policy (default: %(default)s)",
    )
    add(
        "--learn",
        type=int,
        default=300,
        metavar="N",
        help="requests finished before the clock starts, under every policy (default: "
        "%(default)s); half of the timed requests use phrasings that are not among them",
    )
    add(
        "--load",
        type=float,
        default=1.2,
        metavar="X",
        help="arrival rate as a multiple of the measured saturation (default: %(default)s); "
        "below 1 hardly anything waits and all policies are alike",
    )
    add(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="of prompts, true lengths and arrivals (default: %(default)s)",
    )
    add("--json", type=Path, metavar="FILE", help="write all numbers to FILE")
    add(
        "--plot",
        type=Path,
        default=RESULTS / "ttlt.png",
        metavar="FILE",
        help="write the plot (PNG) to FILE, and the servers' logs beside it (default: %(default)s)",
    )
    add(
        "--keep",
        action="store_true",
        help="leave the last server up and say how to talk to it and how to stop it",
    )
    add(
        "--workload",
        nargs="+",
        default=["builtin"],
        metavar=("NAME", "FILE"),
        help="'builtin' (default), or 'sharegpt FILE': ShareGPT conversations as JSON or JSON "
        "lines, or lines with prompt and output_tokens; .gz is understood",
    )
    add(
        "--model-path",
        metavar="PATH",
        help="model to serve: a directory or a name that SGLang knows (default: a tiny random "
        "Llama, for machines without a GPU)",
    )
    add(
        "--max-running",
        type=int,
        metavar="N",
        help="--max-running-requests of the server (default: 8, on a GPU 32); more slots need "
        "more --requests before a queue forms",
    )
    add(
        "--step-ms",
        type=float,
        metavar="X",
        help="an engine step takes at least X milliseconds (default: 8 on the CPU engine, where "
        "the speed of shared cores would blur the comparison; 0, as fast as it goes, on a GPU)",
    )
    add("--server-args", default="", metavar="ARGUMENTS",
        help="further server arguments, such as --server-args '--page-size 16'")  # fmt: skip
    return parser


def _options(given: argparse.Namespace) -> Options:
    policies = tuple(dict.fromkeys(p.strip() for p in given.policies.split(",") if p.strip()))
    _require(bool(policies), "--policies: name at least one, such as fcfs,gittins")
    _require(given.requests >= 1, f"--requests must be at least 1, got {given.requests}")
    _require(given.learn >= 0, f"--learn must be at least 0, got {given.learn}")
    _require(
        math.isfinite(given.load) and given.load > 0,
        f"--load must be a number above 0, got {given.load}",
    )
    _require(
        given.max_running is None or given.max_running >= 1,
        f"--max-running must be at least 1, got {given.max_running}",
    )
    _require(
        given.step_ms is None or 0 <= given.step_ms <= MAX_STEP_MS,
        f"--step-ms must be between 0 and {MAX_STEP_MS:g}, got {given.step_ms}",
    )
    for flag, file in (("--json", given.json), ("--plot", given.plot)):
        if file is not None:
            _require(not file.is_dir(), f"{flag}: {file} is a directory, name a file")
            _make_folder(flag, file.parent)
    return Options(
        policies=policies,
        requests=given.requests,
        learn=given.learn,
        load=given.load,
        seed=given.seed,
        json=given.json,
        plot=given.plot,
        keep=given.keep,
        model_path=given.model_path,
        server_args=_split(given.server_args),
        max_running=given.max_running,
        step_ms=given.step_ms,
        conversations=_conversations(given.workload),
    )


def _split(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise ValueError(f"--server-args {text!r}: {error}") from None


def _conversations(workload: Sequence[str]) -> Path | None:
    """The file of ``sharegpt FILE``; None for ``builtin``."""
    if list(workload) == ["builtin"]:
        return None
    if workload[0] != "sharegpt" or len(workload) != 2:
        raise ValueError(f"--workload {' '.join(workload)}: expected 'builtin' or 'sharegpt FILE'")
    file = Path(workload[1])
    if not file.is_file():
        raise ValueError(f"--workload sharegpt: there is no file {file}")
    return file


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


if __name__ == "__main__":  # scripts/demo has the flags checked before it sets anything up
    parse(sys.argv[1:])
