"""The requests of a run, drawn once from a seed and the same for every policy."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from .families import FAMILIES, Family, Phrasing
from .law import MAX_OUTPUT_TOKENS


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        family: name of its task family, for the report only.
        text: the prompt.
        output_tokens: the true output length that will be replayed, 1..max_new_tokens.
        seen: whether its phrasing occurs in the learning part.
    """

    family: str
    text: str
    output_tokens: int
    seen: bool


@dataclass(frozen=True)
class Workload:
    """What is learned from before the clock starts, and what is timed.

    Attributes:
        name: for the report.
        learning: finished before the timed part starts.
        timed: in the order of their arrival.
        max_new_tokens: the same limit for every request.
    """

    name: str
    learning: tuple[Request, ...]
    timed: tuple[Request, ...]
    max_new_tokens: int = MAX_OUTPUT_TOKENS

    @property
    def mean_output_tokens(self) -> float:
        """Mean true length of the timed part."""
        return sum(r.output_tokens for r in self.timed) / len(self.timed)


def built_in(*, seed: int, learn: int, requests: int) -> Workload:
    """The workload that ships with the project.

    The learning part uses learnable phrasings only. In the timed part half of the requests
    repeat phrasings of the learning part, with a new document and a new true length; the other
    half takes phrasings of which neither the template nor the topic was ever learned from.
    """
    # A stream of its own for each part: more requests do not change the learning part.
    learning_rng = random.Random(f"{seed}:learning")
    phrasings = [_draw(learning_rng, f, held_out=False) for f in _families(learning_rng, learn)]
    learning = [_request(learning_rng, p, seen=True) for p in phrasings]
    timed_rng = random.Random(f"{seed}:timed")
    known: dict[str, list[Phrasing]] = {}
    for phrasing in phrasings:
        known.setdefault(phrasing.family, []).append(phrasing)
    timed = [
        _timed_request(timed_rng, family, known.get(family.name, []) if repeat else [])
        for family, repeat in zip(
            _families(timed_rng, requests), _halves(timed_rng, requests), strict=True
        )
    ]
    return Workload("built-in", tuple(learning), tuple(timed))


def _families(rng: random.Random, count: int) -> list[Family]:
    return rng.choices(FAMILIES, weights=[f.weight for f in FAMILIES], k=count)


def _halves(rng: random.Random, count: int) -> list[bool]:
    """``count`` booleans in random order; half of them, rounded down, are true."""
    return rng.sample([i < count // 2 for i in range(count)], count)


def _timed_request(rng: random.Random, family: Family, known: Sequence[Phrasing]) -> Request:
    if known:
        return _request(rng, rng.choice(known), seen=True)
    return _request(rng, _draw(rng, family, held_out=True), seen=False)


def _draw(rng: random.Random, family: Family, *, held_out: bool) -> Phrasing:
    return rng.choice(family.phrasings(held_out=held_out))


def _request(rng: random.Random, phrasing: Phrasing, *, seen: bool) -> Request:
    family = next(f for f in FAMILIES if f.name == phrasing.family)
    return Request(family.name, family.render(phrasing, rng), family.law.sample(rng), seen)
