"""Standard scores of output lengths: ln(tokens) against what is usual in a request's group.

A group is a model, a LoRA adapter, a route: whatever shifts all lengths. What one group has taught
then serves the others, whose answers are longer or shorter as a whole.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

USUAL = math.log(200.0)
USUAL_SPREAD = 1.0
"""Of ln(tokens), before anything has finished: ordinary chat traffic."""
BELIEF = 4.0
"""Weight of the above, and of everybody's scale in that of a group, in requests."""
SPREAD_BELIEF = 12.0
LEAST_SPREAD = 0.4
MOST_GROUPS = 1024
"""Beyond that the group that has been silent longest is forgotten."""

RECENT = 150
"""Requests after which a change of all lengths of a group is followed."""
SURE = 9.0
"""Squared standard errors that a recent mean must be off before it is believed to be a change."""


@dataclass(frozen=True)
class Scale:
    """ln(tokens) = centre + spread * score."""

    centre: float = USUAL
    spread: float = USUAL_SPREAD

    def score(self, log_tokens: float) -> float:
        """The standard score."""
        return (log_tokens - self.centre) / self.spread


class Moments:
    """Count, mean and variance of values, older ones fading."""

    def __init__(self, window: float) -> None:
        self._fade = math.exp(-1.0 / window)
        self.count = self._sum = self._squares = 0.0

    def add(self, value: float) -> None:
        """One more."""
        self.count = self._fade * self.count + 1.0
        self._sum = self._fade * self._sum + value
        self._squares = self._fade * self._squares + value * value

    def scale(self, belief: Scale) -> Scale:
        """Shrunk towards what is believed without them."""
        count = self.count + BELIEF
        centre = (self._sum + BELIEF * belief.centre) / count
        squares = self._squares - 2.0 * centre * self._sum + self.count * centre**2
        variance = (max(squares, 0.0) + SPREAD_BELIEF * belief.spread**2) / (
            self.count + SPREAD_BELIEF
        )
        return Scale(centre, max(math.sqrt(variance), LEAST_SPREAD))

    def shift(self) -> float:
        """The mean, as far as it cannot be chance; of values whose spread is about 1."""
        if self.count == 0.0:
            return 0.0
        mean = self._sum / self.count
        certainty = mean * mean * self.count
        return mean * max(0.0, 1.0 - SURE / certainty) if certainty > 0.0 else 0.0


class Scales:
    """The scale of every group, and whether its lengths have changed of late.

    Args:
        window: a request's weight falls to 1/e over this many later ones of its group.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._all = Moments(window)
        self._groups: OrderedDict[str, tuple[Moments, Moments]] = OrderedDict()

    def learn(self, group: str, log_tokens: float, surprise: float) -> None:
        """A finished request, and by how many standard scores it missed what was predicted."""
        self._all.add(log_tokens)
        if group not in self._groups:
            self._groups[group] = Moments(self._window), Moments(RECENT)
        self._groups.move_to_end(group)
        if len(self._groups) > MOST_GROUPS:
            self._groups.popitem(last=False)
        moments, recent = self._groups[group]
        moments.add(log_tokens)
        recent.add(surprise)

    def of(self, group: str) -> Scale:
        """Of a group; of all together where it is not known."""
        everybody = self._all.scale(Scale())
        known = self._groups.get(group)
        return everybody if known is None else known[0].scale(everybody)

    def shift(self, group: str) -> float:
        """By how many standard scores the group's requests miss their predictions of late."""
        known = self._groups.get(group)
        return 0.0 if known is None else known[1].shift()
