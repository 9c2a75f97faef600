"""How far its index may move a request from its place by arrival.

A request's key is ``arrival + weight * clamp(ln(index), low, high)``, smallest first. The weight
is ``dial`` units; a unit is made of the mean predicted service ``S`` and of the time ``B`` in which
the engine would work off everything that waits, at the batch it runs, both in steps. With ``S``
alone the order fades to first come, first served as a backlog grows; with ``B`` alone few in a
short queue are moved.

How much of that the tail can bear depends on the traffic: a unit is smaller where those who may be
the longest (``tail.py``) are those whom the order delays, and larger where it does not know them.

The band lies around the mean ``ln(index)`` of the traffic. Below it all are equally urgent, above
it all equally patient, so those that would wait longest share the delay and the tail stays short;
and nobody is overtaken by a request that arrives more than ``reach`` steps after it. Where the
longest are known they are spared one by one (``tail.py``), and the band may be wider.

In a deep queue, where all wait for many mean services, the tail is made of waiting. Then nobody is
spared, and the band ends little above the mean: who is short goes at once, all others keep the
order they came in, and each waits longer by no more than what is let past (decision 73).

Everything here is a function of the requests in the order of their arrival: ranks agree. Steps are
of a quarter octave, so that keys are rebuilt rarely.
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

from sagesched.plugin.octaves import PARTS, log2, power2

SERVICES, BACKLOGS = 3.5, 0.45
"""How much of either a unit is, at an ease of 1 in a queue that is not deep."""
BELOW, ABOVE = 0.6, 1.65
"""The band around the mean logarithm of the index, at dials up to 1."""
ABOVE_UNKNOWN = 1.2
"""In place of ``ABOVE`` where nothing is taken from the longest, since they are not known."""
ABOVE_DEEP = 0.6
"""In place of both in a deep queue; the unit grows as the band shrinks."""
SHALLOW_UNTIL, DEEP_FROM = 2.5, 6.0
"""Waiting times, in mean services, between which a queue becomes a deep one."""
SPARED_STRICT, MOST_SPARED = 4.0, 3.0
"""At a dial below 1 leads are ``1 + SPARED_STRICT * (1 - dial)`` times as large, at most so many:
more would bring long requests before short ones."""
BELOW_MORE, ABOVE_MORE = 0.6, 0.8
"""What a dial above 1 adds to it, each 1: who wants the mean lets the index tell more apart."""
BEARABLE_LOSS, FREE_LOSS = 0.35, 0.25
"""What the longest lose in traffic whose unit is as it is, and what is not counted beside it."""
LEAST_EASE, MOST_EASE = 0.5, 2.4
"""How many times smaller or larger a unit is made for other traffic."""
STEPS_PER_OCTAVE = 4
STRAIN_STEPS = DEPTH_STEPS = 4
SLACK = 0.75
"""Of those steps: less than 1, so that both ends are reached."""
MOST_UNIT = 2.0**40
FOLLOWED_PASSES = 64


class Keys(NamedTuple):
    """What keys are made with.

    Attributes:
        weight: engine steps that a unit of ``ln(index)`` is worth; ``inf`` for the index alone.
        low, high: the band of ``ln(index)``.
        spared: how many times its lead (``tail.py``) is taken off a request's ``ln(index)``.
    """

    weight: float
    low: float
    high: float
    spared: float = 0.0

    @property
    def reach(self) -> float:
        """Nobody is overtaken by who arrives as many engine steps later, or more."""
        return 0.0 if self.weight == 0 else self.weight * (self.high - self.low)


class KeyMaker(Protocol):
    """What an order asks for its keys; told of all that arrives and runs."""

    def set_dial(self, dial: float) -> None:
        """Another dial from the next keys on."""

    @property
    def centre(self) -> float:
        """Mean ``ln(index)`` of the traffic."""

    def saw(self, mean_length: float, log_index: float, tail_share: float) -> None:
        """A request arrived."""

    def runs(self, requests: int) -> None:
        """As many requests run."""

    def keys(self, backlog_tokens: int) -> Keys:
        """For a queue of as many tokens to come."""


class Anchor:
    """Follows the traffic.

    Args:
        dial: 0 is first come, first served, ``inf`` the order of the index alone.
        slots: requests that run at once.
        mean_length: mean output length before anything was predicted, tokens.
        deepens: whether its queue can become a deep one: not where waiting in it is a small part of
            a request's latency.
    """

    def __init__(self, dial: float, slots: int, mean_length: float, deepens: bool = True) -> None:
        self.set_dial(dial)
        self._deepens = deepens
        self._slots = max(1, slots)
        self._batch = float(self._slots)
        self._service = mean_length
        self._centre = 0.0
        self._seen = 0
        self._work_moved = Share(mean_length)
        self._tail_moved = Share(1.0, BEARABLE_LOSS)
        self._unit_step = self._centre_step = self._strain_step = math.nan
        self._depth_step = 0.0

    def set_dial(self, dial: float) -> None:
        """Another dial from the next keys on."""
        self.dial = dial
        self._more = max(0.0, dial - 1.0)
        self._less = max(0.0, 1.0 - dial)

    @property
    def centre(self) -> float:
        """Mean ``ln(index)`` of the traffic, to a quarter octave."""
        return round(STEPS_PER_OCTAVE * self._centre) / STEPS_PER_OCTAVE

    @property
    def ease(self) -> float:
        """How many times a usual unit this traffic's is."""
        return _ease_of(self.loss)

    @property
    def loss(self) -> float:
        """How much further the order moves those who may be the longest than the average work,
        in units of ``ln(index)``, in the widest band and without leads: what they lose, where much
        waits."""
        return self._tail_moved.mean - self._work_moved.mean

    @property
    def strain(self) -> float:
        """How much of what they can bear the order takes from the longest, 0..1."""
        return _strain_of(self.loss)

    def saw(self, mean_length: float, log_index: float, tail_share: float = 1.0) -> None:
        """A request arrived.

        Args:
            mean_length: its predicted mean length, tokens.
            log_index: its ``ln(index)``.
            tail_share: how many times likelier than others it is to be among the longest.
        """
        self._seen += 1
        follow = 1.0 / min(self._seen + 1, 1024)
        self._service += follow * (mean_length - self._service)
        self._centre += (1.0 / min(self._seen, 1024)) * (log_index - self._centre)
        moved = min(max(log_index - self._centre, -BELOW), ABOVE)
        self._work_moved.saw(follow, mean_length, moved)
        self._tail_moved.saw(follow, tail_share, moved)

    def runs(self, requests: int) -> None:
        """As many requests run while others wait: memory may allow fewer than there are slots."""
        self._batch += (min(max(requests, 1), self._slots) - self._batch) / FOLLOWED_PASSES

    def keys(self, backlog_tokens: int) -> Keys:
        """For a queue whose requests are predicted to need as many output tokens."""
        if math.isinf(self.dial):
            return Keys(math.inf, -math.inf, math.inf)
        backlog, loss = backlog_tokens / self._batch, self.loss
        unit = _ease_of(loss) * (SERVICES * self._service + BACKLOGS * backlog)
        above, narrowed, spared = self._band_for(backlog, loss)
        unit = min(max(narrowed * unit, 1.0), MOST_UNIT)
        self._unit_step = follow(self._unit_step, STEPS_PER_OCTAVE * log2(unit))
        self._centre_step = follow(self._centre_step, STEPS_PER_OCTAVE * self._centre)
        centre = self._centre_step / STEPS_PER_OCTAVE
        weight = self.dial * unit_of(self._unit_step)
        below = BELOW + BELOW_MORE * self._more
        return Keys(weight, centre - below, centre + above + ABOVE_MORE * self._more, spared)

    def _band_for(self, backlog: float, loss: float) -> tuple[float, float, float]:
        """Where the band ends at a dial of 1, how many times narrower it is than in a queue that is
        not deep, and what is spared.

        Args:
            backlog: steps of work that waits.
            loss: of now.
        """
        depth = (backlog / max(self._service, 1.0) - SHALLOW_UNTIL) / (DEEP_FROM - SHALLOW_UNTIL)
        depth = min(max(depth, 0.0), 1.0) if self._deepens else 0.0
        self._depth_step = follow(self._depth_step, DEPTH_STEPS * depth, SLACK)
        depth = self._depth_step / DEPTH_STEPS
        strain = STRAIN_STEPS * _strain_of(loss) * (1.0 - depth)  # nobody is spared in a deep queue
        self._strain_step = follow(self._strain_step, strain, SLACK)
        strain = self._strain_step / STRAIN_STEPS
        usual = ABOVE_UNKNOWN + (ABOVE - ABOVE_UNKNOWN) * strain
        above = usual + (ABOVE_DEEP - usual) * depth
        rest = BELOW + (BELOW_MORE + ABOVE_MORE) * self._more
        spared = strain * min(1.0 + SPARED_STRICT * self._less, MOST_SPARED)
        return above, (rest + usual) / (rest + above), spared


def _ease_of(loss: float) -> float:
    eased = (BEARABLE_LOSS + FREE_LOSS) / max(loss + FREE_LOSS, 0.01)
    return min(max(eased, LEAST_EASE), MOST_EASE)


def _strain_of(loss: float) -> float:
    return min(max(loss / BEARABLE_LOSS, 0.0), 1.0)


class Share:
    """A running mean whose samples weigh unequally."""

    def __init__(self, weight: float, value: float = 0.0) -> None:
        self._weight, self._sum = weight, weight * value

    @property
    def mean(self) -> float:
        return self._sum / self._weight if self._weight > 0 else 0.0

    def saw(self, follow: float, weight: float, value: float) -> None:
        """Another sample, of which the share ``follow`` is taken."""
        self._weight += follow * (weight - self._weight)
        self._sum += follow * (weight * value - self._sum)


def unit_of(step: float) -> float:
    """What is as many quarter octaves above 1; a whole number, of ``follow``."""
    return power2(PARTS // STEPS_PER_OCTAVE * int(step))


def follow(step: float, value: float, slack: float = 1.0) -> float:
    """The whole number near ``value``; it moves only when that is more than ``slack`` away."""
    return step if abs(value - step) <= slack else float(round(value))
