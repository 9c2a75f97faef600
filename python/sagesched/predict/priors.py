"""The law of standard scores of a group, shrunk towards everybody's, and that towards a default.

What is left of a score when half of its place on the trend is taken off: so the prior of a prompt
is this law, moved to where the prompt stands.
"""

from __future__ import annotations

import math
from collections import OrderedDict

import numpy as np

from sagesched.lengths import Floats
from sagesched.predict import scores
from sagesched.predict.scale import MOST_GROUPS
from sagesched.predict.survival import posterior

COLD_START_STRENGTH = 8.0
"""Weight of the default law in everybody's, in requests."""
EVERYBODY_STRENGTH = 30.0
"""Weight of everybody's law in a group's, in requests of the group."""


class _Counts:
    """Finished and censored requests by score, older ones fading."""

    def __init__(self, window: int) -> None:
        self._fade = math.exp(-1.0 / window)
        self.by_score = np.zeros((2, scores.BINS))

    def add(self, place: int, finished: bool) -> None:
        self.by_score *= self._fade
        self.by_score[0 if finished else 1, place] += 1.0

    def posterior(self, prior: Floats, strength: float) -> Floats:
        return posterior(self.by_score[0], self.by_score[1], prior, strength)


class Priors:
    """Laws of all groups.

    Args:
        window: a request's weight falls to 1/e over this many later ones.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._cold_start = scores.cold_start()
        self._all = _Counts(window)
        self._groups: OrderedDict[str, _Counts] = OrderedDict()
        self._known: dict[str, Floats] = {}

    def learn(self, group: str, score: float, finished: bool) -> None:
        """A request's score, less its share of the trend."""
        place = int(scores.bins_of(np.array([score]))[0])
        self._all.add(place, finished)
        if group not in self._groups:
            self._groups[group] = _Counts(self._window)
        self._groups.move_to_end(group)
        if len(self._groups) > MOST_GROUPS:
            self._groups.popitem(last=False)
        self._groups[group].add(place, finished)
        self._known.clear()

    def of(self, group: str) -> Floats:
        """float64[scores.BINS], positive, sums to 1."""
        if group not in self._known:
            law = self._all.posterior(self._cold_start, COLD_START_STRENGTH)
            own = self._groups.get(group)
            if own is not None and len(self._groups) > 1:
                law = own.posterior(law, EVERYBODY_STRENGTH)
            self._known[group] = law
        return self._known[group]
