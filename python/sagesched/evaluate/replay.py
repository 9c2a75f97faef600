"""Strict replay: every request is predicted when it arrives, and learned after it has ended."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sagesched.evaluate.methods import Method
from sagesched.evaluate.scoring import Columns, Lengths
from sagesched.evaluate.stream import NO_LIMIT, Stream, due_by_time, learned_before
from sagesched.lengths import Floats, LengthGrid

CHUNK = 1024
"""Distributions kept at a time; of older ones only their scores are."""


def replay(
    stream: Stream,
    method: Method,
    grid: LengthGrid,
    due: Lengths | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Columns:
    """Predict each request, having learned exactly what had ended before.

    The method sees a request's length only when it learns it.

    Args:
        stream: the requests.
        method: a new one.
        grid: of the method's predictions.
        due: [n] before which request each one is learned, later than itself; None: by the
            stream's times, and where it has none, before the next.
        progress: called from time to time with the number of requests done.
    """
    due = due_by_time(stream) if due is None else due
    if (due <= np.arange(len(stream))).any():
        raise ValueError("replay: a request may only be learned before a later one")
    parts: list[Columns] = []
    laws: list[Floats] = []
    lengths = np.minimum(stream.lengths, grid.max_tokens)
    for i, ended in enumerate(learned_before(stream, due)):
        for j in ended:
            method.learn(stream.request(j), int(stream.lengths[j]), bool(stream.finished[j]))
        laws.append(_cut(method.predict([stream.request(i)])[0], grid, int(stream.limits[i])))
        if len(laws) == CHUNK or i == len(stream) - 1:
            parts.append(Columns.of(grid, np.stack(laws), lengths[i + 1 - len(laws) : i + 1]))
            laws = []
            progress(i + 1)
    return Columns.joined(parts)


def _cut(pmf: Floats, grid: LengthGrid, limit: int) -> Floats:
    """As the request's own limit has it: what would be longer ends there."""
    last = grid.bin_of(limit) if limit != NO_LIMIT else len(grid) - 1
    if last == len(grid) - 1:
        return pmf
    cut: Floats = pmf.copy()
    cut[last] += cut[last + 1 :].sum()
    cut[last + 1 :] = 0.0
    return cut
