"""The law of standard scores of a tenant, shrunk towards its group's, that towards everybody's, and
that towards a default.

What is left of a score when half of its place on the trend is taken off: so the prior of a prompt
is this law, moved to where the prompt stands.
"""

from __future__ import annotations

import math
from collections import OrderedDict

import numpy as np

from sagesched.lengths import Floats
from sagesched.predict import scores
from sagesched.predict.scale import Origin, latest
from sagesched.predict.survival import posterior

COLD_START_STRENGTH = 8.0
"""Weight of the default law in everybody's, in requests."""
SHARED_STRENGTH = 30.0
"""Weight of everybody's law in a group's, and of that in a tenant's, in requests of their own."""


class _Counts:
    """Finished and censored requests by score, older ones fading."""

    def __init__(self, window: int) -> None:
        self._fade = math.exp(-1.0 / window)
        self.by_score = np.zeros((2, scores.BINS))
        self.running = np.zeros(scores.BINS)

    def add(self, place: int, finished: bool, weight: float) -> None:
        self.by_score *= self._fade
        self.by_score[0 if finished else 1, place] += weight

    def posterior(self, prior: Floats, strength: float) -> Floats:
        return posterior(self.by_score[0], self.by_score[1] + self.running, prior, strength)


class Priors:
    """Laws of all groups and tenants.

    Args:
        window: a request's weight falls to 1/e over this many later ones.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._cold_start = scores.cold_start()
        self._all = _Counts(window)
        self._groups: OrderedDict[str, _Counts] = OrderedDict()
        self._tenants: OrderedDict[Origin, _Counts] = OrderedDict()
        self._known: dict[Origin, Floats] = {}

    def learn(self, origin: Origin, score: float, finished: bool, say: float = 1.0) -> None:
        """A request's score, less its share of the trend; `say` is its weight in what is shared."""
        place = int(scores.bins_of(np.array([score]))[0])
        self._all.add(place, finished, say)
        latest(self._groups, origin.group, self._new).add(place, finished, say)
        if origin.tenant:
            latest(self._tenants, origin, self._new).add(place, finished, 1.0)
        self._known.clear()

    def running(self, origin: Origin, score: float, change: float) -> None:
        """A request that runs has come so far, less its share of the trend, if `change` is its
        weight; that it no longer stands there, if `change` is minus its weight."""
        place = int(scores.bins_of(np.array([score]))[0])
        tenant = self._tenants.get(origin) if origin.tenant else None
        for counts in (self._all, self._groups.get(origin.group), tenant):
            if counts is not None:
                held = counts.running[place] + change
                counts.running[place] = max(0.0, held)  # where none was counted when it began
        self._known.clear()

    def of(self, origin: Origin) -> Floats:
        """float64[scores.BINS], positive, sums to 1."""
        if origin not in self._known:
            law = self._all.posterior(self._cold_start, COLD_START_STRENGTH)
            group, tenant = self._groups.get(origin.group), self._tenants.get(origin)
            if group is not None and len(self._groups) > 1:
                law = group.posterior(law, SHARED_STRENGTH)
            if tenant is not None and len(self._tenants) > 1:
                law = tenant.posterior(law, SHARED_STRENGTH)
            self._known[origin] = law
        return self._known[origin]

    def _new(self) -> _Counts:
        return _Counts(self._window)
