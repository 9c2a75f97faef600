"""Generated workloads: clusters of template prompts, each with a law of output lengths."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sagesched.lengths import LengthDistribution, LengthGrid
from sagesched.replay import laws
from sagesched.replay.arrivals import Arrivals, Poisson
from sagesched.replay.templates import cluster_name, prompt_text
from sagesched.replay.trace import FIRST_PROMPT_TOKEN, LAST_PROMPT_TOKEN, TraceRequest

_SYSTEM_PROMPTS = 20
_SYSTEM_SHARE = 0.5
_SYSTEM_TOKENS = (200, 801)  # the last one excluded
_PROMPT_MEDIAN = 120
_PROMPT_TOKENS = (8, 4000)
_LOWEST_DRAWN_ID = 10

Ints = NDArray[np.int64]

CLUSTER_NAMES = tuple(map(cluster_name, range(laws.CLUSTERS)))


@dataclass
class GeneratedWorkload:
    """Requests drawn from laws: made one by one, however many.

    Own prompts are log-normal (median 120 tokens, sigma 1, 8 to 4,000); half of the requests have
    one of 20 shared system prompts of 200 to 800 tokens before them.

    Attributes:
        name: the kind: one of `laws.KINDS`.
        n: number of requests.
        arrivals: when they arrive.
        max_output_tokens: outputs are cut to it; fixed, as the laws are stated with it.
        notes: none.

    Raises:
        ValueError: an unknown kind, or fewer than one request.
    """

    name: str
    n: int
    arrivals: Arrivals = field(default_factory=Poisson)
    max_output_tokens: int = field(init=False, default=laws.LONGEST_OUTPUT)
    notes: tuple[str, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        if self.name not in laws.KINDS:
            raise ValueError(f"unknown workload {self.name!r}; choose {', '.join(laws.KINDS)}")
        if self.n < 1:
            raise ValueError(f"a workload needs at least 1 request, got n = {self.n}")

    @property
    def recorded_rate_rps(self) -> float | None:
        """None: it has whatever rate is asked for."""
        return None

    def law(self, cluster: str, grid: LengthGrid) -> LengthDistribution | None:
        """The exact law of a cluster; None for a name that is not in `CLUSTER_NAMES`."""
        if cluster not in CLUSTER_NAMES:
            return None
        return laws.law(self.name, CLUSTER_NAMES.index(cluster), grid)

    def requests(self, *, seed: int, rate_rps: float | None) -> Iterator[TraceRequest]:
        """The requests of a seed; see `Workload.requests`.

        Raises:
            ValueError: a rate that is not above 0.
        """
        check_rate(rate_rps)
        return self._draw(np.random.default_rng(seed), seed, rate_rps)

    def _draw(
        self, generator: np.random.Generator, seed: int, rate_rps: float | None
    ) -> Iterator[TraceRequest]:
        # The order of the draws is a contract: a seed stands for the same workload for good.
        system = [_ids(generator, int(generator.integers(*_SYSTEM_TOKENS))) for _ in range(20)]
        lengths = np.exp(np.log(_PROMPT_MEDIAN) + generator.standard_normal(self.n))
        own_tokens = np.clip(lengths, *_PROMPT_TOKENS).astype(np.int64)
        clusters = generator.integers(0, laws.CLUSTERS, self.n)
        outputs = laws.draw(self.name, clusters, generator)
        behind_system = generator.random(self.n) < _SYSTEM_SHARE
        which = generator.integers(0, _SYSTEM_PROMPTS, self.n)
        times = np.zeros(self.n)
        if rate_rps is not None:
            times = self.arrivals.times(generator, self.n, rate_rps, seed)
        # Texts have draws of their own, so that a new template leaves the numbers alone.
        texts = random.Random(f"{seed}:texts")
        for i in range(self.n):
            ids = _ids(generator, int(own_tokens[i]))
            if behind_system[i]:
                ids = np.concatenate([system[which[i]], ids])
            prompt = array("q")
            prompt.frombytes(ids.tobytes())
            cluster = int(clusters[i])
            yield TraceRequest(
                arrival_s=float(times[i]),
                prompt=prompt,
                output_tokens=int(outputs[i]),
                text=prompt_text(cluster, texts),
                cluster=CLUSTER_NAMES[cluster],
            )


def check_rate(rate_rps: float | None) -> None:
    """Refuse a rate that is none.

    Raises:
        ValueError: not above 0, or not finite.
    """
    if rate_rps is not None and not 0.0 < rate_rps < float("inf"):
        raise ValueError(f"rate_rps must be above 0 and finite, got {rate_rps}")


def _ids(generator: np.random.Generator, count: int) -> Ints:
    """Random prompt tokens; the few below our range are moved into it."""
    ids = generator.integers(_LOWEST_DRAWN_ID, LAST_PROMPT_TOKEN, count)
    return np.where(ids < FIRST_PROMPT_TOKEN, ids + FIRST_PROMPT_TOKEN, ids)
