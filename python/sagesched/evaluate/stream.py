"""Requests in order of time, and when the outcome of each may be learned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sagesched.evaluate.methods import Request
from sagesched.evaluate.scoring import Lengths
from sagesched.lengths import Floats
from sagesched.predict.base import Vectors

NO_LIMIT = 2**62


@dataclass(frozen=True)
class Stream:
    """Requests in order of arrival, [n] each.

    Attributes:
        vectors: float32[n, dim], from ``LengthPredictor.embed``.
        lengths: output tokens.
        groups: model, adapter, route; "" where unknown.
        tenants: who sent it; "" where unknown.
        finished: whether the output ended by itself.
        limits: what each request may generate at most, `NO_LIMIT` where it has no limit.
        arrival_s: None where no times are known.
        finish_s: when each ended; None where unknown, NaN for single ones.
    """

    vectors: Vectors
    lengths: Lengths
    groups: list[str]
    tenants: list[str]
    finished: NDArray[np.bool_]
    limits: Lengths
    arrival_s: Floats | None = None
    finish_s: Floats | None = None

    @classmethod
    def plain(cls, vectors: Vectors, lengths: Lengths, groups: list[str] | None = None) -> Stream:
        """Of requests that all ended by themselves, and have neither times nor limits."""
        n = len(lengths)
        return cls(
            vectors,
            lengths,
            groups or [""] * n,
            [""] * n,
            np.ones(n, dtype=np.bool_),
            np.full(n, NO_LIMIT),
        )

    def request(self, i: int) -> Request:
        """What is known of a request when it arrives."""
        return Request(self.vectors[i], self.groups[i], self.tenants[i])

    @property
    def scored(self) -> NDArray[np.bool_]:
        """[n] whose length is known: of what ended by itself, or at the request's own limit."""
        return self.finished | (self.lengths >= self.limits)

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, some: slice) -> Stream:
        columns = {each.name: getattr(self, each.name) for each in fields(self)}
        cut: dict[str, Any] = {
            name: None if column is None else column[some] for name, column in columns.items()
        }
        return replace(self, **cut)


def due_by_time(stream: Stream) -> Lengths:
    """[n] the first later request that arrives after each one's end, n for none.

    Where an end is unknown, the next request.
    """
    after = np.arange(1, len(stream) + 1)
    if stream.arrival_s is None or stream.finish_s is None:
        return after
    finish_s = np.where(np.isnan(stream.finish_s), -np.inf, stream.finish_s)
    return np.maximum(after, np.searchsorted(stream.arrival_s, finish_s, side="right"))


def due_after(stream: Stream, lag: int) -> Lengths:
    """[n] the request that comes `lag` requests later than the next one."""
    return np.minimum(np.arange(1, len(stream) + 1) + lag, len(stream))


def learned_before(stream: Stream, due: Lengths) -> Iterator[list[int]]:
    """For each request in turn, the earlier ones that are learned before it is predicted.

    In order of their ends where these are known.
    """
    index = np.arange(len(stream))
    ends = index if stream.finish_s is None else np.nan_to_num(stream.finish_s, nan=-np.inf)
    order = np.lexsort((index, ends, due))
    bounds = np.searchsorted(due[order], index, side="right")
    start = 0
    for end in bounds.tolist():
        yield order[start:end].tolist()
        start = end
