"""The flags of several replicas, checked and completed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import cycle, islice
from typing import Any

from sagesched.balance import chooser_names
from sagesched.balance.registry import read_spec, reads_predictions
from sagesched.replay import flags
from sagesched.replay.cluster.config import SPEEDS, ClusterConfig

MOST_REPLICAS = 64

ONLY_WITH = ("balance", "load_delay", "end_delay", "speeds", "pools")
"""Flags that say nothing without ``--replicas``."""


def cluster_of(given: Mapping[str, Any]) -> tuple[ClusterConfig | None, tuple[str, ...]]:
    """The replicas, and the names of ``--balance``; (None, one empty name) for one engine.

    Raises:
        ValueError: a flag is wrong; the message says what is valid.
    """
    if given["replicas"] is None:
        for name in ONLY_WITH:
            if given[name] is not None:
                raise ValueError(f"--{name.replace('_', '-')} is for --replicas")
        return None, ("",)
    count = flags.at_least(1, given, "replicas")
    if count > MOST_REPLICAS:
        raise ValueError(
            f"--replicas must be at most {MOST_REPLICAS}, got {count}: each has a scheduler of "
            "SGLang's, which takes seconds to start and a thread"
        )
    names = flags.names("--balance", given["balance"] or "round_robin")
    balances = tuple(_balance(name) for name in names)
    load_delay, end_delay = _delay("load_delay", given), _delay("end_delay", given)
    pools = _each("pools", given["pools"], count, given["pool"])
    speeds = _each("speeds", given["speeds"], count, 1.0)
    for speed in speeds:
        if not SPEEDS[0] <= speed <= SPEEDS[1]:
            least, most = SPEEDS
            raise ValueError(f"--speeds: each must be from {least:g} to {most:g}, got {speed:g}")
    if any(pool < 1 for pool in pools):
        raise ValueError("--pools: each must be at least 1 token")
    whole = tuple(int(pool) for pool in pools)
    return ClusterConfig(whole, speeds, load_delay, end_delay), balances


def _delay(name: str, given: Mapping[str, Any]) -> float:
    delay = given[name] or 0.0
    if not 0 <= delay < math.inf:
        flag = name.replace("_", "-")
        raise ValueError(f"--{flag} must be at least 0 seconds, got {delay:g}")
    return delay


def _balance(spec: str) -> str:
    flags.one_of("--balance", spec.partition(":")[0], chooser_names())
    try:
        read_spec(spec)
    except ValueError as error:
        raise ValueError(f"--balance: {error}") from None
    return spec


def predictor_of(policy_knows: str, predictor: str, balance: str) -> str:
    """What a run's predictor is: that of the policy, or of the balance if only that needs one."""
    if policy_knows == "none" and balance and reads_predictions(balance):
        return predictor
    return policy_knows


def _each(name: str, text: str | None, count: int, default: float) -> tuple[float, ...]:
    """Values of the replicas, those given repeated in turn."""
    if text is None:
        return (default,) * count
    values = []
    for part in text.split(","):
        try:
            value = float(part)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise ValueError(f"--{name}: {part.strip()!r} is not a number above 0")
        values.append(value)
    if len(values) > count:
        raise ValueError(f"--{name}: {len(values)} values for {count} replicas")
    return tuple(islice(cycle(values), count))
