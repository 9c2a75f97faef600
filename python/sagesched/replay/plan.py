"""The command's flags, checked and completed, before anything starts."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sagesched.replay import flags
from sagesched.replay.backend import Backend, StepTimeSpec, WorkloadSpec
from sagesched.replay.cluster.plan import cluster_of, predictor_of
from sagesched.replay.engine import EngineConfig
from sagesched.replay.result import label
from sagesched.replay.steptime import StepTime
from sagesched.replay.tasks import Scenario
from sagesched.replay.trace import Workload, checked

if TYPE_CHECKING:
    from sagesched.replay.policies.base import Policy

GENERATED = {
    "load": "0.8,1.0,1.1", "seeds": 3, "seed_base": 100, "warmup": 0.0,
    "policies": "fcfs,lpm,hrrn,gittins", "predictor": "shipped", "max_running": 256,
    "context": 16_384, "chunk": 8_192, "page_size": 1, "conservativeness": 1.0,
}  # fmt: skip
RECORDED = {**GENERATED, "load": "", "seeds": 1, "seed_base": 0}
DEMO = {
    **GENERATED, "workload": "hetero", "n": 1000, "load": "0.8,1.1", "seeds": 1,
    "policies": "fcfs,hrrn,gittins", "pool": 60_000, "max_running": 64, "mixed": True,
    "report": "sagesched-replay.html",
}  # fmt: skip

PREDICTORS = ("shipped", "law", "prior", "oracle")


@dataclass(frozen=True)
class Plan:
    """What is to be replayed.

    Attributes:
        scenario: what all runs share.
        policies: names, in the order of the tables.
        balances: how requests are sent to replicas; one empty name where there is one engine.
        predictors: of each line of the tables, what it knows of output lengths.
        yardsticks: policies that know the true lengths, which no server can.
        policy_settings: of each policy, what ``--set`` said for it.
        loads: fractions of the saturation; empty: the trace as it was recorded.
        seeds: of the samples.
        workload_name: for people.
        recorded_rate_rps: of the trace.
        workload_notes: what a reader must know of the trace.
        step_time_name: for people.
        jobs: parallel processes.
        report_file: where the report goes.
        json_file: where the rows go.
        versions: of the packages that decide the result.
    """

    scenario: Scenario
    policies: tuple[str, ...]
    balances: tuple[str, ...]
    predictors: Mapping[str, str]
    yardsticks: frozenset[str]
    policy_settings: Mapping[str, tuple[tuple[str, float], ...]]
    loads: tuple[float, ...]
    seeds: tuple[int, ...]
    workload_name: str
    recorded_rate_rps: float | None
    workload_notes: tuple[str, ...]
    step_time_name: str
    jobs: int
    report_file: Path | None
    json_file: Path | None
    versions: Mapping[str, str]

    @property
    def baseline(self) -> str:
        """What ratios refer to: fcfs if it takes part, else the first one; the first balance."""
        policy = "fcfs" if "fcfs" in self.policies else self.policies[0]
        return label(policy, self.balances[0])

    @property
    def lines(self) -> tuple[str, ...]:
        """The labels of the tables' lines, in their order."""
        return tuple(label(name, one) for name in self.policies for one in self.balances)

    @property
    def run_count(self) -> int:
        """How many runs there will be, the one for the saturation not counted."""
        return max(1, len(self.loads)) * len(self.seeds) * len(self.lines)


def make_plan(options: argparse.Namespace, backend: Backend) -> Plan:
    """Check and complete the flags.

    Raises:
        ValueError: a flag or the beginning of the trace is wrong; the message says what is valid.
        RuntimeError: SGLang is missing.
        OSError: a file cannot be read, or its folder not be written.
    """
    step_spec = _step_time_spec(vars(options))
    step_time = backend.step_time(step_spec)
    given = _completed(options, measured_engine(step_time))
    _gap_cv(given)
    spec = _workload_spec(given)
    policies = _policies(flags.names("--policies", given["policies"]), backend.policies())
    predictor = flags.one_of("--predictor", given["predictor"], PREDICTORS)
    if predictor == "law" and (spec.is_file or spec.content):
        raise ValueError("--predictor law: only generated workloads have a known law")
    loads = flags.loads(given["load"])
    first_seed = flags.at_least(0, given, "seed_base")
    seed_count = flags.at_least(1, given, "seeds")
    if not 0 <= given["warmup"] < 1:
        raise ValueError("--warmup must be a share of at least 0 and below 1")
    if given["pool"] is None:
        given["pool"] = backend.default_pool_tokens(step_spec)
    engine = _engine(given)
    cluster, balances = cluster_of(given)
    job_count = flags.jobs(given)
    files = {name: flags.writable(name, given[name]) for name in ("report", "json")}
    if files["report"] and files["json"] and files["report"].resolve() == files["json"].resolve():
        raise ValueError("--report and --json name the same file")
    versions = backend.versions()
    workload = backend.workload(spec)
    _look_at(workload, first_seed)
    if not loads and not workload.recorded_rate_rps:
        raise ValueError(
            f"{workload.name} has no recorded arrival rate: give --load "
            "(with --arrivals at-once everybody is there from the start, whatever the load)"
        )
    return Plan(
        scenario=Scenario(spec, step_spec, engine, given["warmup"], cluster),
        balances=balances,
        policies=tuple(policies),
        predictors={
            label(name, balance): predictor_of(policies[name].knows(predictor), predictor, balance)
            for name in policies
            for balance in balances
        },
        yardsticks=frozenset(
            label(name, balance)
            for name in policies
            for balance in balances
            if policies[name].uses == "truth" or balance.startswith("oracle")
        ),
        policy_settings=flags.policy_settings(given["set"] or [], policies),
        loads=loads,
        seeds=tuple(range(first_seed, first_seed + seed_count)),
        workload_name=workload.name,
        recorded_rate_rps=workload.recorded_rate_rps,
        workload_notes=tuple(getattr(workload, "notes", ())),
        step_time_name=step_time.name,
        jobs=job_count,
        report_file=files["report"],
        json_file=files["json"],
        versions=versions,
    )


def _gap_cv(given: dict[str, Any]) -> None:
    if given.get("gap_cv") is None:
        return
    if given.get("arrivals"):
        raise ValueError("give either --arrivals or --gap-cv")
    given["arrivals"] = f"gamma:{given['gap_cv']}"


def measured_engine(step_time: StepTime) -> dict[str, Any]:
    """Flags that a calibrated server's own settings stand for; empty for a preset."""
    engine: Mapping[str, Any] = getattr(step_time, "engine", {})
    flag = {field.name: field.name for field in fields(EngineConfig)} | {"pool_tokens": "pool"}
    return {flag[name]: value for name, value in engine.items() if name in flag}


def _completed(options: argparse.Namespace, measured: Mapping[str, Any]) -> dict[str, Any]:
    """All flags; one that was left out is as measured, or has the default of the kind of trace."""
    everything = vars(options)
    given = {k: v for k, v in everything.items() if v is not None}
    if not (given.get("trace") or given.get("workload") or given.get("demo")):
        raise ValueError("give one of --trace FILE, --workload NAME, --demo")
    defaults = DEMO if given.get("demo") else RECORDED if given.get("trace") else GENERATED
    if given.get("demo") and given.get("trace"):
        raise ValueError("--demo makes its own trace: leave out --trace")
    nothing = dict.fromkeys(everything)
    return {**nothing, **defaults, **measured, **given}


def _workload_spec(given: Mapping[str, Any]) -> WorkloadSpec:
    if given["n"] is not None:
        flags.at_least(1, given, "n")
    if given["content"] and given["workload"] != "chat":
        raise ValueError("--content is for --workload chat")
    shared = {name: given[name] for name in ("n", "arrivals", "content")}
    if not given["trace"]:
        if given["format"]:
            raise ValueError("--format is for --trace")
        return WorkloadSpec(given["workload"], False, **shared)
    if not os.path.isfile(given["trace"]):
        raise ValueError(f"--trace: there is no file {given['trace']}")
    return WorkloadSpec(given["trace"], True, fmt=given["format"], **shared)


def _step_time_spec(given: Mapping[str, Any]) -> StepTimeSpec:
    if not given["step_time"]:
        return StepTimeSpec(given["model"] or "llama-3.1-8b", given["gpu"] or "h100")
    if given["model"] or given["gpu"]:
        raise ValueError("give either --step-time FILE, or --model and --gpu")
    if not os.path.isfile(given["step_time"]):
        raise ValueError(f"--step-time: there is no file {given['step_time']}")
    return StepTimeSpec(file=given["step_time"])


def _engine(given: Mapping[str, Any]) -> EngineConfig:
    for name in ("pool", "max_running", "context", "chunk", "page_size"):
        flags.at_least(1, given, name)
    if not 0 < given["conservativeness"] < math.inf:
        raise ValueError("--conservativeness must be a number above 0")
    other = {f.name: given[f.name] for f in fields(EngineConfig) if f.name != "pool_tokens"}
    switches = {name: bool(other[name]) for name in ("mixed", "overlap")}
    return EngineConfig(pool_tokens=given["pool"], **{**other, **switches})


def _policies(names: Sequence[str], known: Mapping[str, type[Policy]]) -> dict[str, type[Policy]]:
    return {name: known[flags.one_of("--policies", name, list(known))] for name in names}


def _look_at(workload: Workload, seed: int) -> None:
    """The first request shows a wrong format; the rest is checked as it is read."""
    for _ in islice(checked(workload.requests(seed=seed, rate_rps=None), workload.name), 1):
        return
