"""The requests of a replay, whoever made them: a reader, a generator or a caller."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from sagesched.lengths import LengthDistribution, LengthGrid

VOCABULARY = 128_256
"""Size of the replayed model's vocabulary: large, so that unrelated prompts do not collide."""

FIRST_PROMPT_TOKEN, LAST_PROMPT_TOKEN = 1_000, 100_000
"""Prompt token ids lie in this range (the last one excluded); outputs use ids above it."""


class TraceError(ValueError):
    """A trace that cannot be replayed; the message names the file, the line and the reason."""


class BadLineError(TraceError):
    """One line of it makes no sense; the others may."""


@dataclass(frozen=True, slots=True)
class TraceRequest:
    """One request.

    Attributes:
        arrival_s: seconds from the start of the trace, at least 0, never decreasing.
        prompt: token ids, ``array('q')``, at least one. Equal prefixes are shared in the cache.
        output_tokens: its true output length, at least 1.
        text: the prompt as the length predictor sees it; empty if the trace has none.
        cluster: name of its class, for the breakdown by class and for the predictor ``law``.
        tenant: who sent it; empty if unknown.
        priority: SGLang's priority class.
    """

    arrival_s: float
    prompt: array[int]
    output_tokens: int
    text: str = ""
    cluster: str = ""
    tenant: str = ""
    priority: int = 0


class Workload(Protocol):
    """A source of requests that can be asked for as often as needed.

    Attributes:
        name: for tables and files.
        max_output_tokens: no output is longer; the ``max_new_tokens`` of every request.
    """

    name: str
    max_output_tokens: int

    def requests(self, *, seed: int, rate_rps: float | None) -> Iterator[TraceRequest]:
        """All requests, in order of arrival, the same for the same arguments.

        Args:
            seed: chooses the sample; for a file, which arrival meets which request.
            rate_rps: mean arrival rate, requests per second; None: all arrive at time 0.
        """
        ...

    @property
    def recorded_rate_rps(self) -> float | None:
        """The rate at which the trace was recorded; None for a generator."""
        ...

    def law(self, cluster: str, grid: LengthGrid) -> LengthDistribution | None:
        """The true law of a cluster's output lengths; None if it is not known."""
        ...


def checked(requests: Iterable[TraceRequest], name: str) -> Iterator[TraceRequest]:
    """The same requests, each looked at before it is passed on.

    Raises:
        TraceError: no requests, a time that runs backwards or is not finite, an empty prompt, a
            token id outside the vocabulary, an output of less than one token.
    """
    last = 0.0
    number = 0
    for number, request in enumerate(requests, 1):
        if not last <= request.arrival_s < float("inf"):
            raise TraceError(
                f"{name}: request {number} arrives at {request.arrival_s} s, the one before it "
                f"at {last} s; arrivals must be finite and not run backwards"
            )
        if not request.prompt:
            raise TraceError(f"{name}: request {number} has an empty prompt")
        if not (min(request.prompt) >= 0 and max(request.prompt) < VOCABULARY):
            raise TraceError(f"{name}: request {number} has a token id outside 0..{VOCABULARY - 1}")
        if request.output_tokens < 1:
            raise TraceError(
                f"{name}: request {number} has {request.output_tokens} output tokens, at least 1 "
                "is needed"
            )
        last = request.arrival_s
        yield request
    if number == 0:
        raise TraceError(f"{name}: no requests")
