"""The law of standard scores of a tenant, shrunk towards its group's, that towards everybody's, and
that towards a default.

What is left of a score when half of its place on the trend is taken off: so the prior of a prompt
is this law, moved to where the prompt stands.
"""

from __future__ import annotations

import math

import numpy as np

from sagesched.lengths import Floats
from sagesched.predict import scores
from sagesched.predict.scale import Origin
from sagesched.predict.survival import posterior

COLD_START_STRENGTH = 8.0
"""Weight of the default law in everybody's, in requests."""
SHARED_STRENGTH = 30.0
"""Weight of everybody's law in a group's, and of that in a tenant's, in requests of their own."""
LAW_RECORDS = 16
"""Groups and tenants with fewer records have no law of their own: it would say little, in 24 kB."""


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
        self._groups: dict[str, _Counts] = {}
        self._tenants: dict[Origin, _Counts] = {}
        self._known: dict[tuple[str | None, Origin | None], Floats] = {}

    def learn(
        self, origin: Origin, score: float, finished: bool, say: float, held: int, in_group: int
    ) -> None:
        """A request's score, less its share of the trend.

        Args:
            origin: where it comes from.
            score: see above.
            finished: whether it ended by itself.
            say: its weight in what is shared.
            held: how many records its origin has.
            in_group: how many its group has.
        """
        place = int(scores.bins_of(np.array([score]))[0])
        self._all.add(place, finished, say)
        if in_group >= LAW_RECORDS:
            self._groups.setdefault(origin.group, _Counts(self._window)).add(place, finished, say)
        if held >= LAW_RECORDS:
            self._tenants.setdefault(origin, _Counts(self._window)).add(place, finished, 1.0)
        self._known.clear()

    def forget(self, origin: Origin) -> None:
        """It has no records left."""
        self._tenants.pop(origin, None)

    def forget_group(self, group: str) -> None:
        """It has no records left."""
        self._groups.pop(group, None)

    def running(self, origin: Origin, score: float, change: float, has_tenants: bool) -> None:
        """A request that runs has come so far, less its share of the trend, if `change` is 1; it no
        longer stands there, if -1. What one of several tenants runs counts for itself alone."""
        place = int(scores.bins_of(np.array([score]))[0])
        concerned: list[_Counts | None]
        if has_tenants:
            concerned = [self._tenants.get(origin)]
        else:
            concerned = [self._all, self._groups.get(origin.group)]
        for counts in concerned:
            if counts is not None:
                held = counts.running[place] + change
                counts.running[place] = max(0.0, held)  # where none was counted when it began
        self._known.clear()

    def of(self, origin: Origin, has_tenants: bool = True) -> Floats:
        """float64[scores.BINS], positive, sums to 1."""
        group = self._groups.get(origin.group) if len(self._groups) > 1 else None
        tenant = self._tenants.get(origin) if has_tenants else None
        # Of unknown names none is kept: anybody can make them up.
        name = origin.group if group else None, origin if tenant else None
        if name not in self._known:
            law = self._all.posterior(self._cold_start, COLD_START_STRENGTH)
            for own in (group, tenant):
                law = law if own is None else own.posterior(law, SHARED_STRENGTH)
            self._known[name] = law
        return self._known[name]
