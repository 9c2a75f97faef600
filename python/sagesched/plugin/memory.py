"""How much KV memory the running batch will still need, from the predicted lengths.

SGLang reserves a share of ``max_new_tokens`` for each running request and up to 4,096 tokens for
one that is to join: too much where answers are short, so that slots stay empty, and too little
where they are long, so that requests are retracted. Here the need is the peak over time of what all
of them together will hold, a quantile of that sum (``csrc/include/sagesched/memory_forecast.h``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sagesched._core import MemoryForecast
from sagesched.lengths import LengthGrid
from sagesched.plugin.place import Place, place_of

DEVIATIONS = 1.0
"""Standard deviations of the sum that are kept free."""
MORE, LESS, MOST = 1.5, 0.999, 4.0
"""A retraction shows that too little was reserved: from then on the need is taken as so many times
larger, fading pass by pass."""


class Memory:
    """One scheduler's reserve. Every rank computes the same.

    Args:
        grid: of all predictions.
        deviations: of the sum, that are kept free.
    """

    def __init__(self, grid: LengthGrid, deviations: float = DEVIATIONS) -> None:
        self._forecast = MemoryForecast(grid.edges)
        self._deviations = deviations
        self.margin = 1.0
        self._peak = 0.0

    def start(self, running: Sequence[Any]) -> float:
        """Tokens to reserve for the requests that run, all of which have places; O(n m)."""
        self.margin = max(1.0, self.margin * LESS)
        places = [request._sagesched_place for request in running]
        ages = [len(request.output_ids) for request in running]
        prompts = [len(request.origin_input_ids) for request in running]
        own = [
            prompt + age - place.shared
            for place, age, prompt in zip(places, ages, prompts, strict=True)
        ]
        self._forecast.start([place.distribution.pmf for place in places], ages, own)
        self._peak = self._forecast.peak(self._deviations)
        return self._peak * self.margin

    def more_for(self, request: Any) -> float:
        """Tokens to reserve beyond that if this one joined."""
        peak = self._forecast.peak_with(*_holder(request), self._deviations)
        return max(0.0, peak - self._peak) * self.margin

    def join(self, request: Any) -> None:
        """It does."""
        self._forecast.add(*_holder(request))
        self._peak = self._forecast.peak(self._deviations)

    def retracted(self) -> None:
        """Memory ran out."""
        self.margin = min(MOST, self.margin * MORE)


def _holder(request: Any) -> tuple[Any, int, int]:
    place: Place = request._sagesched_place
    age = len(request.output_ids)
    return place.distribution.pmf, age, len(request.origin_input_ids) + age - place.shared


def all_known(requests: Sequence[Any]) -> bool:
    """Whether every one of them has a place, and with it a distribution."""
    return all(place_of(request) is not None for request in requests)
