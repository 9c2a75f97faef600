"""Which replicas there are, and how much is known of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sagesched.replay.engine import EngineConfig
from sagesched.replay.steptime import Scaled, StepTime

SPEEDS = (0.001, 1000.0)
"""Least and most: far beyond them virtual time overflows, or stands still."""


@dataclass(frozen=True)
class ClusterConfig:
    """The replicas; all have the scenario's engine but for what is said here.

    Attributes:
        pools: KV pool of each replica, tokens.
        speeds: of each replica: its steps take 1 / speed of the step-time model.
        load_delay_s: the loads that replicas report are so old.
        end_delay_s: so late the chooser hears of ends: at once where it carries the answers.
        seed: of choosers that draw at random.

    Raises:
        ValueError: no replica, a pool that is not above 0, a speed that is not in `SPEEDS`.
    """

    pools: tuple[int, ...]
    speeds: tuple[float, ...]
    load_delay_s: float = 0.0
    end_delay_s: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.pools or len(self.pools) != len(self.speeds):
            raise ValueError("ClusterConfig: needs a pool and a speed for each replica")
        if min(self.pools) < 1:
            raise ValueError("ClusterConfig: pools must be above 0")
        if not all(SPEEDS[0] <= speed <= SPEEDS[1] for speed in self.speeds):
            raise ValueError("ClusterConfig: speeds must be from {:g} to {:g}".format(*SPEEDS))
        for name in ("load_delay_s", "end_delay_s"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"ClusterConfig: {name} must be at least 0")

    @property
    def replicas(self) -> int:
        """How many."""
        return len(self.pools)

    def shares(self) -> dict[int, float]:
        """For each pool size the summed speeds of the replicas that have it."""
        found: dict[int, float] = {}
        for pool, speed in zip(self.pools, self.speeds, strict=True):
            found[pool] = found.get(pool, 0.0) + speed
        return found

    def engines(self, engine: EngineConfig) -> list[EngineConfig]:
        """[replicas] theirs."""
        return [replace(engine, pool_tokens=pool) for pool in self.pools]

    def step_times(self, model: StepTime) -> list[StepTime]:
        """[replicas] theirs."""
        return [model if speed == 1 else Scaled(model, speed) for speed in self.speeds]

    def as_one(self, engine: EngineConfig, model: StepTime) -> tuple[EngineConfig, StepTime]:
        """One engine, as fast as the fastest, that does in a second what all together can.

        No schedule of the replicas beats the lower bound of this one.
        """
        fastest = max(self.speeds)
        shares = [speed / fastest for speed in self.speeds]
        pool = sum(pool * share for pool, share in zip(self.pools, shares, strict=True))
        slots = engine.max_running * sum(shares)
        one = replace(engine, pool_tokens=-int(-pool // 1), max_running=-int(-slots // 1))
        return one, model if fastest == 1 else Scaled(model, fastest)


@dataclass(frozen=True)
class Balance:
    """How requests are sent to replicas.

    Attributes:
        name: of a chooser.
        constants: its own, see `sagesched.balance.make_chooser`.
    """

    name: str
    constants: Mapping[str, Any] = field(default_factory=dict)
