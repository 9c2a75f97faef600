"""What LARRY's keys are made with: the clock, the KV pressure, the band and the weight.

The memory demand of a request, all that is known of it from its prompt, in tokens::

    demand = uncached prefill + pressure * (prompt + ANSWER)

The prompt and an answer are what it will pin, and count as far as KV memory is under pressure:
``pressure`` is the share of the pool that is in use, in quarters. A request's key is
``arrival + weight * clamp(ln(demand), low, high)``, smallest first, where the arrival is counted in
prefill tokens the engine has processed, and the weight is ``dial * QUEUE_SHARE`` of the prefill
tokens that wait. So

- with an empty queue the order is arrival's, and the longer the queue, the more demand says;
- the scarcer memory is, the further a large request is pushed back (``high`` grows with pressure);
- nobody is overtaken by a request that arrives ``weight * (high - low)`` tokens of prefill later:
  nothing starves.

The band is around the mean of the requests as they arrived, whole prompts: what turns out to be
cached lowers a request's demand but not the mean. The tokens that wait contain the request's own.

This is a reconstruction. Of LARRY (arXiv 2410.17840) only the abstract and summaries were at hand,
which state these properties and no formula; the constants were chosen by replay
(``docs/larry.md``).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from sagesched.cost import CostModel
from sagesched.plugin.anchor import MOST_UNIT, STEPS_PER_OCTAVE, Keys, follow, unit_of
from sagesched.plugin.octaves import log2

ANSWER = 256.0
"""Tokens that a request is taken to pin beside its prompt: an answer of ordinary length."""
BELOW = 2.5
"""How far below the mean ``ln(demand)`` small ones are told apart."""
ABOVE = 1.0
"""How far above it large ones are pushed back while memory is free."""
ABOVE_UNDER_PRESSURE = 1.0
"""What full memory adds to that."""
QUEUE_SHARE = 1.0
"""Weight at a dial of 1, in what waits."""
PRESSURE_STEPS = 4
SLACK = 0.75
"""Of a step, by which a value may be off before keys are made anew."""


class Demand:
    """Follows load and memory; stands in for the ``Anchor`` of the Gittins order.

    Args:
        dial: 0 is first come, first served, ``inf`` the order of demand alone.
        kv_use: share of the KV pool that cannot be freed now, 0..1; the same on every rank.
    """

    def __init__(self, dial: float, kv_use: Callable[[], float]) -> None:
        self.dial = dial
        self._kv_use = kv_use
        self._centre = 0.0
        self._seen = 0
        self._unit_step = self._centre_step = self._pressure_step = math.nan

    def set_dial(self, dial: float) -> None:
        """Another dial from the next keys on."""
        self.dial = dial

    @property
    def centre(self) -> float:
        """Mean ``ln(demand)`` of the traffic, nothing taken for cached, to a quarter octave."""
        return round(STEPS_PER_OCTAVE * self._centre) / STEPS_PER_OCTAVE

    @property
    def pressure(self) -> float:
        """Share of the KV pool in use, in quarters, as of the last keys."""
        return 0.0 if math.isnan(self._pressure_step) else self._pressure_step / PRESSURE_STEPS

    @property
    def cost(self) -> CostModel:
        """Demand as a cost of a request whose output is one token."""
        return CostModel(ANSWER * self.pressure, self.pressure, 1.0)

    def saw(self, mean_length: float, log_demand: float, tail_share: float = 1.0) -> None:
        """A request arrived; its length is not known."""
        self._seen += 1
        self._centre += (log_demand - self._centre) / min(self._seen, 1024)

    def runs(self, requests: int) -> None:
        """How many requests run says nothing of the tokens that wait."""

    def keys(self, waiting_tokens: int) -> Keys:
        """For a queue of as many tokens to prefill."""
        use = PRESSURE_STEPS * min(max(self._kv_use(), 0.0), 1.0)
        self._pressure_step = follow(self._pressure_step, use, SLACK)
        if math.isinf(self.dial):
            return Keys(math.inf, -math.inf, math.inf)
        unit = min(max(QUEUE_SHARE * waiting_tokens, 1.0), MOST_UNIT)
        self._unit_step = follow(self._unit_step, STEPS_PER_OCTAVE * log2(unit), SLACK)
        self._centre_step = follow(self._centre_step, STEPS_PER_OCTAVE * self._centre, SLACK)
        centre = self._centre_step / STEPS_PER_OCTAVE
        weight = self.dial * unit_of(self._unit_step)
        above = ABOVE + ABOVE_UNDER_PRESSURE * self.pressure
        return Keys(weight, centre - BELOW, centre + above)
