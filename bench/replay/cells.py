"""What is compared: workloads on engines, and in which order, the most informative first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sagesched.replay.backend import StepTimeSpec, WorkloadSpec
from sagesched.replay.engine import EngineConfig
from sagesched.replay.tasks import Scenario

STEP_TIME = StepTimeSpec("llama-3.1-8b", "h100")
WARM_UP = 0.1
"""Share of the first arrivals that does not count."""

POLICIES = (
    "fcfs", "lpm", "hrrn", "prompt-only", "mean", "ssjf", "sagesched-paper", "gittins",
    "gittins-soft", "oracle-sjf", "oracle-srpt-soft",
)  # fmt: skip
MORE_POLICIES = ("ltr", "trail", "tie", "uniboost", "larry", "fastserve")
LATER = 1.0
"""Seeds by which the runs of ``MORE_POLICIES`` are put off."""

LOADS = {1.1: 0.0, 1.0: 1.0, 0.95: 1.0, 0.8: 1.0}
"""Loads, with the seeds by which each is put off: where more waits, policies differ more."""

CHAT, MOONCAKE = "chat", "mooncake"
CHAT_FILE = "sharegpt_turns_aibrix.jsonl.gz"
BURSTS_FILE = "azure_llm_2023_code.csv.gz"
MOONCAKE_FILE = "mooncake_conversation.jsonl.gz"
NEEDED = {CHAT: (CHAT_FILE, BURSTS_FILE), MOONCAKE: (MOONCAKE_FILE,)}


@dataclass(frozen=True)
class Cell:
    """A workload on an engine.

    Attributes:
        workload: its name.
        pool_tokens, slots, context: of the engine.
        mixed: prefill in chunks that share a step with decoding; else steps of its own.
        delay: with a budget its first seed comes with the seed of that number of cells without a
            delay.
    """

    workload: str
    pool_tokens: int
    slots: int
    mixed: bool = True
    context: int = 16_384
    delay: float = 0.0

    def __str__(self) -> str:
        prefill = "mixed" if self.mixed else "separate"
        return f"{self.workload}, {self.pool_tokens // 1000}k/{self.slots}, {prefill} prefill"

    def missing_files(self, data: Path) -> list[str]:
        """Those of its files that are not in the folder."""
        return [name for name in NEEDED.get(self.workload, ()) if not (data / name).is_file()]

    def scenario(self, n: int, data: Path) -> Scenario:
        """What its runs have in common.

        Args:
            n: number of requests; of a recorded trace the first so many, if it has them.
            data: the folder with recorded traces.
        """
        engine = EngineConfig(
            pool_tokens=self.pool_tokens,
            max_running=self.slots,
            context=self.context,
            mixed=self.mixed,
        )
        return Scenario(self._workload(n, data), STEP_TIME, engine, WARM_UP)

    def _workload(self, n: int, data: Path) -> WorkloadSpec:
        if self.workload == CHAT:
            turns, times = (str(data / name) for name in NEEDED[CHAT])
            return WorkloadSpec(CHAT, False, n, arrivals=f"file:{times}", content=turns)
        if self.workload == MOONCAKE:
            return WorkloadSpec(str(data / MOONCAKE_FILE), True, n)
        return WorkloadSpec(self.workload, False, n)


CELLS = (
    Cell("hetero", 60_000, 64),
    Cell("cluster", 60_000, 64),
    Cell("chat", 60_000, 64),
    Cell("hetero", 30_000, 128),
    Cell("hetero", 60_000, 64, mixed=False, delay=0.5),
    Cell("lognormal", 60_000, 64, delay=0.5),
    Cell("hetero", 400_000, 256, delay=0.5),
    Cell("mooncake", 400_000, 256, context=131_072, delay=0.5),
    Cell("cluster", 30_000, 128, delay=1.0),
    Cell("chat", 30_000, 128, delay=1.0),
    Cell("lognormal", 30_000, 128, delay=1.5),
    Cell("cluster", 400_000, 256, delay=1.5),
    Cell("lognormal", 400_000, 256, delay=1.5),
    Cell("chat", 400_000, 256, delay=1.5),
)


@dataclass(frozen=True)
class Planned:
    """A run to be done.

    Attributes:
        cell: where.
        policy: its name.
        load: arrival rate as a fraction of the cell's saturation.
        seed: of the sample.
        rank: small ones are done first.
    """

    cell: Cell
    policy: str
    load: float
    seed: int
    rank: float


def plan(
    cells: tuple[Cell, ...], policies: tuple[str, ...], seeds: tuple[int, ...]
) -> list[Planned]:
    """All runs, the most informative first; of equal ones those of an engine together."""
    runs = list(_runs(cells, policies, seeds))
    engines = {(cell.mixed, cell.pool_tokens, cell.slots, cell.context): None for cell in cells}
    order = {engine: number for number, engine in enumerate(engines)}

    def key(run: Planned) -> tuple[float, int]:
        cell = run.cell
        return run.rank, order[(cell.mixed, cell.pool_tokens, cell.slots, cell.context)]

    return sorted(runs, key=key)


def _runs(
    cells: tuple[Cell, ...], policies: tuple[str, ...], seeds: tuple[int, ...]
) -> Iterator[Planned]:
    for number, seed in enumerate(seeds):
        for cell in cells:
            for load, put_off in LOADS.items():
                for policy in policies:
                    later = LATER if policy in MORE_POLICIES else 0.0
                    rank = number + cell.delay + put_off + later
                    yield Planned(cell, policy, load, seed, rank)
