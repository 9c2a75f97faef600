"""How many requests per second the server can finish at most, under fcfs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .client import Outcome

MIDDLE = (0.2, 0.8)
"""Shares of finished requests between which the rate is taken: full batch, full queue."""


@dataclass(frozen=True)
class Saturation:
    """The server's limit.

    Attributes:
        tokens_per_s: output tokens that it finishes per second.
        requests_per_s: the same in requests of the timed part's mean length.
    """

    tokens_per_s: float
    requests_per_s: float


def saturation(outcomes: Sequence[Outcome], mean_output_tokens: float) -> Saturation:
    """The limit, from a run that kept a queue in the server from start to end.

    Args:
        outcomes: of the saturation run.
        mean_output_tokens: mean true length of the requests to be timed.

    Raises:
        ValueError: too little was finished.
    """
    rate = token_rate(outcomes)
    if rate is None:
        finished = sum(o.error is None for o in outcomes)
        raise ValueError(
            f"saturation: {finished} of {len(outcomes)} requests were finished, too few to tell "
            "the server's limit; look into its log"
        )
    return Saturation(rate, rate / mean_output_tokens)


def token_rate(outcomes: Sequence[Outcome]) -> float | None:
    """Output tokens per second in the middle of a run; None if less than 5 requests finished.

    Tokens are counted, not requests: how many requests finish in a few seconds depends on which
    lengths happened to be among them. A request's tokens count evenly over the time from its
    first to its last one.
    """
    good = [o for o in outcomes if o.error is None and o.first is not None]
    if len(good) < 5:
        return None
    ends = sorted(o.done for o in good)
    start, stop = (ends[int(share * (len(ends) - 1))] for share in MIDDLE)
    produced = sum(o.tokens * _overlap(o, start, stop) for o in good)
    return produced / (stop - start) if produced > 0 and stop > start else None


def _overlap(outcome: Outcome, start: float, stop: float) -> float:
    """Share of a request's decoding time that lies between ``start`` and ``stop``."""
    first = outcome.done if outcome.first is None else outcome.first
    if outcome.done <= first:
        return float(start <= first <= stop)
    return max(0.0, min(outcome.done, stop) - max(first, start)) / (outcome.done - first)
