"""Standard scores of output lengths: ln(tokens) against what is usual where a request comes from.

That is a group (a model, a LoRA adapter, a route: whatever shifts all lengths) and a tenant. What
one group has taught then serves the others, whose answers are longer or shorter as a whole; and a
tenant whose lengths are absurd shifts nobody's but its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

USUAL = math.log(200.0)
USUAL_SPREAD = 1.0
"""Of ln(tokens), before anything has finished: ordinary chat traffic."""
BELIEF = 4.0
"""Weight of the above, and of everybody's scale in that of a group, in requests."""
SPREAD_BELIEF = 12.0
LEAST_SPREAD = 0.4
FOLLOWS = 16.0
"""Requests of a tenant from which on most of what its scale moves by is no answer to surprises."""


class Origin(NamedTuple):
    """Where a request comes from; "" where unknown."""

    group: str = ""
    tenant: str = ""


RECENT = 150
"""Requests after which a change of all lengths of a group is followed."""
MOST_SURPRISE = 2.5
"""In standard scores: some absurd lengths are no change of all lengths."""
SURE = 5.0
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

    def add(self, value: float, weight: float = 1.0) -> None:
        """One more."""
        self.count = self._fade * self.count + weight
        self._sum = self._fade * self._sum + weight * value
        self._squares = self._fade * self._squares + weight * value * value

    def scale(self, belief: Scale) -> Scale:
        """Shrunk towards what is believed without them."""
        count = self.count + BELIEF
        centre = (self._sum + BELIEF * belief.centre) / count
        squares = self._squares - 2.0 * centre * self._sum + self.count * centre**2
        variance = (max(squares, 0.0) + SPREAD_BELIEF * belief.spread**2) / (
            self.count + SPREAD_BELIEF
        )
        return Scale(centre, max(math.sqrt(variance), LEAST_SPREAD))

    def move(self, by: float) -> None:
        """What they are measured from has moved up."""
        self._sum -= by * self.count

    def shift(self) -> float:
        """The mean, as far as it cannot be chance; of values whose spread is about 1."""
        if self.count == 0.0:
            return 0.0
        mean = self._sum / self.count
        certainty = mean * mean * self.count
        return mean * max(0.0, 1.0 - SURE / certainty) if certainty > 0.0 else 0.0


class Scales:
    """The scale of every group and tenant, and whether its lengths have changed of late.

    Who has records in the history is not forgotten, so that nobody can push others out.

    Args:
        window: a request's weight falls to 1/e over this many later ones of its group.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._all = Moments(window)
        self._groups: dict[str, Moments] = {}
        self._origins: dict[Origin, tuple[Moments, Moments]] = {}

    def learn(self, origin: Origin, log_tokens: float, surprise: float, say: float = 1.0) -> None:
        """A finished request, and by how many standard scores it missed what was predicted.

        `say` is its weight in what tenants share.
        """
        self._all.add(log_tokens, say)
        if origin.group not in self._groups:
            self._groups[origin.group] = Moments(self._window)
        self._groups[origin.group].add(log_tokens, say)
        if origin not in self._origins:
            self._origins[origin] = Moments(self._window), Moments(RECENT)
        lengths, surprises = self._origins[origin]
        lengths.add(log_tokens)
        surprises.add(min(max(surprise, -MOST_SURPRISE), MOST_SURPRISE))

    def of(self, origin: Origin, has_tenants: bool = True) -> Scale:
        """Of a tenant in a group, as far as known; else of the group; else of all together."""
        scale = self._all.scale(Scale())
        group, own = self._groups.get(origin.group), self._origins.get(origin)
        if group is not None:
            scale = group.scale(scale)
        return own[0].scale(scale) if own is not None and has_tenants else scale

    def moved(self, origin: Origin, by: float) -> None:
        """Its scale has followed its lengths, by so many standard scores.

        While it rests on few requests, what it follows is what has surprised: that must not be
        believed a second time, to be a change of late.
        """
        own = self._origins.get(origin)
        if own is not None:
            lengths, surprises = own
            surprises.move(by * FOLLOWS / (lengths.count + FOLLOWS))

    def shift(self, origin: Origin) -> float:
        """By how many standard scores its requests miss their predictions of late."""
        own = self._origins.get(origin)
        return 0.0 if own is None else own[1].shift()

    @property
    def certainty(self) -> float:
        """The part of everybody's scale that rests on requests that have finished, 0 to 1."""
        return self._all.count / (self._all.count + BELIEF)

    def forget(self, origin: Origin) -> None:
        """It has no records left."""
        self._origins.pop(origin, None)

    def forget_group(self, group: str) -> None:
        """It has no records left."""
        self._groups.pop(group, None)
