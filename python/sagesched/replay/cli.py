"""``sagesched replay``: its flags, and what it does with them, step by step."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sagesched.replay.backend import Backend, RealBackend

if TYPE_CHECKING:
    from sagesched.replay.session import Session

DESCRIPTION = """\
Replay a trace through SGLang's own scheduler in virtual time, without a GPU, under each of several
policies, and compare their latencies. A newcomer starts with: sagesched replay --demo
"""

FAILED, BAD_USAGE, INTERRUPTED = 1, 2, 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags. All default to None: what is left out depends on the others (``plan``)."""
    parser.description = DESCRIPTION
    requests = parser.add_argument_group("requests")
    source = requests.add_mutually_exclusive_group()
    add = source.add_argument
    add("--trace", metavar="FILE", help="recorded requests; formats: docs/traces.md")
    add("--workload", metavar="NAME", help="generated requests: hetero, cluster, lognormal, chat")
    add = requests.add_argument
    add("--demo", action="store_true", help="a small generated trace, a report in a minute")
    add("--n", type=int, help="requests (generated: 2000; of a trace the first so many: all)")
    add("--format", metavar="F", help="format of the trace (found from its content)")
    add("--arrivals", metavar="A", help="poisson, gamma:CV, bursts:ON_S,OFF_S,RATIO, at-once or "
        "file:TRACE "
        "(a trace: as recorded, else poisson)")  # fmt: skip
    add("--content", metavar="FILE", help="the turns of --workload chat, such as ShareGPT's")
    add("--load", help="arrival rates as fractions of what fcfs can finish, such as 0.8,1.0,1.1 "
        "(a trace: as recorded)")  # fmt: skip
    add("--seeds", type=int, help="samples of each load (generated: 3, a trace: 1)")
    add("--seed-base", type=int, help="first seed (generated: 100; a trace: 0, that is, as is)")
    add("--warmup", type=float, help="share of the first requests that does not count (0)")
    policies = parser.add_argument_group("policies")
    add = policies.add_argument
    add("--policies", help="names, such as fcfs,lpm,hrrn,gittins (the default)")
    add("--predictor", help="what policies know of output lengths: shipped (default), law, prior "
        "or oracle")  # fmt: skip
    add("--set", metavar="[POLICY.]KEY=VALUE", action="append", help="a policy's own setting")
    engine = parser.add_argument_group("engine")
    add = engine.add_argument
    add("--model", help="step times of a model (llama-3.1-8b)")
    add("--gpu", help="on a GPU (h100)")
    add("--step-time", metavar="FILE", help="step times from sagesched calibrate instead; the "
        "other engine settings are then by default the calibrated server's")  # fmt: skip
    add("--pool", type=int, metavar="TOKENS", help="KV pool (what fits on the GPU)")
    add("--max-running", type=int, help="most requests at a time (256)")
    add("--context", type=int, metavar="TOKENS", help="longest prompt and output (16384)")
    add("--chunk", type=int, metavar="TOKENS", help="chunked prefill size (8192)")
    yes_no = argparse.BooleanOptionalAction
    add("--mixed", action=yes_no, help="prefill and decode in one pass (no)")
    add("--overlap", action=yes_no, help="SGLang's overlap schedule (no)")
    add("--page-size", type=int, help="KV page size, tokens (1)")
    add("--conservativeness", type=float, help="SGLang's schedule conservativeness (1.0)")
    replicas = parser.add_argument_group("replicas (docs/balance.md)")
    add = replicas.add_argument
    add("--replicas", type=int, help="several of the engine, each with the scheduler of its own, "
        "up to 64")  # fmt: skip
    add("--balance", help="which replica gets a request: names, such as "
        "round_robin,total_requests,total_tokens,sal,oracle (round_robin); constants of a chooser "
        "behind its name: sal:answers=0:output=256")  # fmt: skip
    add("--load-delay", type=float, metavar="SECONDS", help="how old the loads are that replicas "
        "report (0)")  # fmt: skip
    add("--end-delay", type=float, metavar="SECONDS", help="how late the choice hears that a "
        "request has ended (0: it carries the answers)")  # fmt: skip
    add("--gap-cv", type=float, metavar="CV", help="the same as --arrivals gamma:CV")
    add("--speeds", help="of the replicas, such as 1,1,1,0.5; repeated as needed (1)")
    add("--pools", help="KV pools of the replicas, tokens; repeated as needed (--pool)")
    output = parser.add_argument_group("output")
    add = output.add_argument
    add("--report", metavar="FILE.html", help="write a report to look at")
    add("--json", metavar="FILE", help="write settings and rows")
    add("--jobs", type=int, help="parallel processes (one per CPU core)")


def run(options: argparse.Namespace, backend: Backend | None = None) -> int:
    """Check everything, replay, show; returns the exit status.

    0: all runs done; 1: a run failed, or a file could not be written; 2: the arguments are wrong;
    130: interrupted.
    """
    from sagesched.replay.plan import make_plan
    from sagesched.replay.session import SaturationError, replay

    backend = backend or RealBackend()
    try:
        plan = make_plan(options, backend)
    except MemoryError:
        return _refuse(MemoryError("out of memory: use a smaller --n"))
    except (ValueError, RuntimeError, OSError) as error:
        return _refuse(error)
    try:
        session = replay(plan, backend)
    except SaturationError as error:
        print(f"sagesched replay: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("\nsagesched replay: interrupted before the first run ended", file=sys.stderr)
        return INTERRUPTED
    written = _show(session) if session.rows else True
    for failure in session.failures:
        print(f"sagesched replay: failed: {failure}", file=sys.stderr)
    if session.interrupted:
        print("sagesched replay: interrupted", file=sys.stderr)
        return INTERRUPTED
    return FAILED if session.failures or not written else 0


def _refuse(error: Exception) -> int:
    print(f"sagesched replay: error: {error}", file=sys.stderr)
    return BAD_USAGE


def _show(session: Session) -> bool:
    """Print and write everything; False if a file could not be written."""
    from sagesched.replay.output import session_json
    from sagesched.replay.report.html import report_html
    from sagesched.replay.table import session_table

    print(session_table(session))
    plan = session.plan
    good = True
    if plan.json_file:
        good &= _write("JSON", plan.json_file, lambda: session_json(session))
    if plan.report_file:
        hint = " (open it in a browser)"
        good &= _write("Report", plan.report_file, lambda: report_html(session), hint)
    return good


def _write(what: str, file: Path, made: Callable[[], str], hint: str = "") -> bool:
    """A full disk or a bug costs this file only: the runs behind it may have taken hours."""
    try:
        file.write_text(made(), encoding="utf-8")
    except OSError as error:
        print(f"sagesched replay: cannot write {file}: {error.strerror}", file=sys.stderr)
        return False
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        print(f"sagesched replay: cannot make {file}: {reason}", file=sys.stderr)
        return False
    print(f"{what}: {file}{hint}")
    return True
