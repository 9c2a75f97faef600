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
REFRESH_STEPS = 16
"""Who ran at the last look is looked at anew after as many steps; until then those who have joined
count, and those who have ended still do, with the memory that they were to give back: where one of
them held much, the batch is looked at as soon as somebody has left."""
HEAVY = 0.1
"""Who held as large a part of the peak held much."""
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
        self._looked_at = -REFRESH_STEPS
        self._count = 0  # at the last look
        self._most_held = 0
        self._asked: tuple[Any, float] | None = None  # the last of this pass; nobody joined since

    def start(self, running: Sequence[Any], step: int) -> float | None:
        """Tokens to reserve for the requests that run, O(1) in most steps and O(n m) else.

        None if they are not all known.

        Args:
            running: who runs.
            step: the engine's step count, the same on every rank.
        """
        self.margin = max(1.0, self.margin * LESS)
        self._asked = None
        heavy_left = len(running) < self._count and self._most_held > HEAVY * self._peak
        if not running or heavy_left or step - self._looked_at >= REFRESH_STEPS:
            if not self._look(running):
                return None
            self._looked_at = step
        return self._peak * self.margin

    def _look(self, running: Sequence[Any]) -> bool:
        """Returns whether all are known."""
        pmfs, ages, own = [], [], []
        for request in running:  # as `is_known` and `_holder`, without 500 calls
            place = getattr(request, "_sagesched_place", None)
            if place is None or getattr(request, "beam_group", None) is not None:
                return False
            age = len(request.output_ids)
            pmfs.append(place.distribution.pmf)
            ages.append(age)
            own.append(len(request.origin_input_ids) + age - place.shared)
        self._count, self._most_held = len(running), max(own, default=0)
        self._forecast.start(pmfs, ages, own)
        self._peak = self._forecast.peak(self._deviations)
        return True

    def more_for(self, request: Any) -> float:
        """Tokens to reserve beyond that if this one joined."""
        pmf, age, own = _holder(request)
        asked = id(pmf), age, own
        if self._asked is None or self._asked[0] != asked:
            peak = self._forecast.peak_with(pmf, age, own, self._deviations)
            self._asked = asked, max(0.0, peak - self._peak)
        return self._asked[1] * self.margin

    def join(self, request: Any) -> None:
        """It does; one whose need is not known ends what is known of the batch."""
        if not is_known(request):
            self._looked_at = -REFRESH_STEPS
            return
        self._asked = None
        self._forecast.add(*_holder(request))
        self._peak = self._forecast.peak(self._deviations)

    def retracted(self) -> None:
        """Memory ran out."""
        self.margin = min(MOST, self.margin * MORE)


def _holder(request: Any) -> tuple[Any, int, int]:
    place: Place = request._sagesched_place
    age = len(request.output_ids)
    return place.distribution.pmf, age, len(request.origin_input_ids) + age - place.shared


def is_known(request: Any) -> bool:
    """Whether its need is: it has a place, and with it a distribution. A beam group grows by its
    width in each step, and cannot be retracted."""
    return place_of(request) is not None and getattr(request, "beam_group", None) is None
