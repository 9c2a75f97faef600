"""Arrival times: one Poisson pattern, stretched to the load."""

from __future__ import annotations

import itertools
import random


def poisson_arrivals(*, seed: int, requests: int, rate_rps: float) -> list[float]:
    """Seconds from the start at which each request is sent, ascending.

    The pattern depends on the seed alone, so that every policy and every load sees the same
    one; ``rate_rps`` (requests per second) only scales it.

    Raises:
        ValueError: the rate is not above 0.
    """
    if not rate_rps > 0:
        raise ValueError(f"the arrival rate must be above 0 requests/s, got {rate_rps}")
    rng = random.Random(f"{seed}:arrivals")
    return list(itertools.accumulate(rng.expovariate(1.0) / rate_rps for _ in range(requests)))
