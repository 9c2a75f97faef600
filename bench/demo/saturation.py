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
    """The rate in the middle of a run in which all requests were there from the start.

    Output tokens are counted, not requests: how many requests finish in a few seconds depends
    on which lengths happened to be among them. A request's tokens count evenly over the time
    from its first to its last token.

    Args:
        outcomes: of the saturation run.
        mean_output_tokens: mean true length of the requests to be timed.

    Raises:
        ValueError: nothing, or too little, was finished.
    """
    good = [o for o in outcomes if o.error is None and o.first is not None]
    ends = sorted(o.done for o in good)
    if len(ends) < 5:
        raise ValueError(
            f"saturation: {len(good)} of {len(outcomes)} requests were finished, 5 are needed"
        )
    start, stop = (ends[int(share * (len(ends) - 1))] for share in MIDDLE)
    produced = sum(o.tokens * _overlap(o, start, stop) for o in good)
    if stop <= start or produced <= 0:
        raise ValueError("saturation: all requests finished at the same moment; use more of them")
    rate = produced / (stop - start)
    return Saturation(rate, rate / mean_output_tokens)


def _overlap(outcome: Outcome, start: float, stop: float) -> float:
    """Share of a request's decoding time that lies between ``start`` and ``stop``."""
    first = outcome.done if outcome.first is None else outcome.first
    if outcome.done <= first:
        return float(start <= first <= stop)
    return max(0.0, min(outcome.done, stop) - max(first, start)) / (outcome.done - first)
