"""One chooser and one policy on one trace, over several replicas in this process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sagesched.balance import Chooser, make_chooser
from sagesched.balance.registry import reads_predictions
from sagesched.replay.cluster.config import Balance, ClusterConfig
from sagesched.replay.cluster.oracle import start_s, work_left
from sagesched.replay.cluster.replica import ReplicaRun
from sagesched.replay.cluster.run import ClusterRun
from sagesched.replay.control import environment
from sagesched.replay.harness import Harness
from sagesched.replay.policies.registry import policy_class
from sagesched.replay.predictors import Predictions
from sagesched.replay.recorder import Recorder
from sagesched.replay.result import RunResult
from sagesched.replay.steptime import StepTime
from sagesched.replay.trace import TraceRequest, checked

TRUTHS = {"oracle": work_left, "oracle_start": start_s}
"""What the choosers are told that only a replay has."""


def replay_replicas(
    harness: Harness,
    requests: Iterable[TraceRequest],
    *,
    cluster: ClusterConfig,
    balance: Balance,
    policy: str,
    step_time: StepTime,
    predictions: Predictions | None = None,
    settings: Mapping[str, float] | None = None,
    max_output_tokens: int = 2048,
) -> RunResult:
    """Replay a trace; see `Harness.run`, which one replica comes to.

    Args:
        harness: makes the schedulers and keeps them.
        cluster: the replicas.
        balance: how requests are sent to them.

    Raises:
        ValueError: an unknown policy, setting or chooser, no predictions where they are needed.
        TraceError: a request that cannot be replayed.
        RuntimeError: a scheduler does not go on, or its own checks at the end fail.
    """
    made = policy_class(policy)
    made.check_settings(settings or {})
    needed = made.uses == "distribution" or reads_predictions(balance.name)
    if needed and predictions is None:
        raise ValueError(f"{policy} with {balance.name} needs predictions, none were given")
    recorder = Recorder()
    parts = harness.parts(cluster.engines(harness.config))
    replicas = [
        ReplicaRun(
            part,
            made,
            dict(settings or {}),
            model,
            predictions if needed else None,
            max_output_tokens,
            recorder=recorder,
        )
        for part, model in zip(parts, cluster.step_times(step_time), strict=True)
    ]
    run = ClusterRun(replicas, recorder, cluster)
    with environment(made, settings or {}):
        return run.go(checked(requests, "trace"), _chooser(run, cluster, balance))


def _chooser(run: ClusterRun, cluster: ClusterConfig, balance: Balance) -> Chooser:
    constants = dict(balance.constants)
    if balance.name in TRUTHS:
        truth = TRUTHS[balance.name]

        def asked(index: int, uncached: float) -> float:
            assert run.coming is not None  # it is being sent
            return truth(run.replicas[index], run.coming, uncached)

        constants["truth"] = asked
    return make_chooser(balance.name, cluster.replicas, seed=cluster.seed, **constants)
