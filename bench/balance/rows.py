"""Workloads and replicas, and the methods that are compared on each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sagesched.replay.backend import StepTimeSpec, WorkloadSpec
from sagesched.replay.cluster.config import ClusterConfig
from sagesched.replay.engine import EngineConfig
from sagesched.replay.tasks import Scenario

STOCK = ("round_robin", "total_requests", "total_tokens")
METHODS = (
    *STOCK, "random", "power_of_two", "cache_aware", "shortest_predicted", "sal-prompt", "sal",
    "sal:answers=0", "sal-prompt:answers=0", "oracle", "oracle_start",
)  # fmt: skip
TRACES = {
    "chat": "sharegpt_turns_aibrix.jsonl.gz",
    "mooncake": "mooncake_conversation.jsonl.gz",
}


@dataclass(frozen=True)
class Cell:
    """A workload and the replicas.

    Attributes:
        name: for ``--only``.
        workload: of a generator, or one of ``TRACES``.
        delays_s: how old reports are.
        n: requests, over all replicas.
        pools: of the replicas, tokens.
        speeds: of the replicas.
        slots: most requests that run at once.
        context: longest prompt and output.
        load: as a fraction of the sum of the saturations.
        ends_late: whether ends of requests are heard as late as reports.
        about: for the heading.
    """

    name: str
    workload: str
    delays_s: tuple[float, ...]
    n: int = 4000
    pools: tuple[int, ...] = (30_000,) * 8
    speeds: tuple[float, ...] = (1.0,) * 8
    slots: int = 128
    context: int = 16_384
    load: float = 0.95
    ends_late: bool = False
    about: str = "8 replicas of 30k/128"

    @property
    def title(self) -> str:
        """For the heading."""
        return f"{self.workload}, {self.about}, {self.n:,} requests"

    def is_there(self, data: Path) -> bool:
        """Whether its trace is."""
        return self.workload not in TRACES or (data / TRACES[self.workload]).is_file()

    def scenario(self, delay_s: float, data: Path) -> Scenario:
        """What its runs have in common."""
        is_file = self.workload in TRACES
        source = str(data / TRACES[self.workload]) if is_file else self.workload
        engine = EngineConfig(self.pools[0], self.slots, self.context, mixed=True)
        return Scenario(
            WorkloadSpec(source, is_file, n=self.n, arrivals="gamma:4"),
            StepTimeSpec("llama-3.1-8b", "h100"),
            engine,
            warmup=0.1,
            cluster=ClusterConfig(
                self.pools, self.speeds, delay_s, delay_s if self.ends_late else 0.0
            ),
        )


CELLS = (
    Cell("hetero", "hetero", (0.0, 1.0)),
    Cell("cluster", "cluster", (0.0, 1.0)),
    Cell("chat", "chat", (0.0, 0.25, 1.0), n=2024),
    Cell(
        "chat-late", "chat", (1.0,), n=2024, ends_late=True,
        about="8 replicas of 30k/128, ends as late as reports",
    ),
    Cell(
        "mooncake", "mooncake", (0.0, 1.0), n=3000, pools=(400_000,) * 8, slots=256,
        context=131_072, about="8 replicas of 400k/256",
    ),
    Cell(
        "slow", "hetero", (1.0,), n=2000, speeds=(*(1.0,) * 7, 0.4),
        about="8 replicas of 30k/128, one at 0.4 of the speed",
    ),
    Cell(
        "uneven", "hetero", (1.0,), n=2000, pools=(*(15_000,) * 4, *(45_000,) * 4),
        about="4 replicas of 15k, 4 of 45k",
    ),
    Cell("stale", "hetero", (0.1, 5.0), n=2000),
)  # fmt: skip
