"""The index in NumPy as an expert writes it: whole-array operations, every buffer made beforehand.

With ``F`` the finished mass, ``r`` the remaining cost at an edge and ``W`` the cost of a request
that is served up to the edge, the index is the least ``W / F``: 1 over the largest ``F / W``,
which needs no care where nothing has finished. Four ways, of which ``bench index`` takes the
fastest for each case:

    masked   blocks of rows, edges before the age masked; any ages
    stepped  blocks of rows, W summed up step by step, as the C++ does; ages below the first edge
    columns  one column of many rows at a time, edges beyond all ages without a mask
    turned   blocks of rows with a bin to a line: whole blocks at once but for the two running sums,
             which go line by line, since NumPy's own add.accumulate takes one number at a time
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sagesched.bench.requests import Requests

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCKS = (256, 512, 1024)
"""Rows at a time, but of ``columns``: buffers fit a cache, or calls are few."""

COLUMN_BLOCK = 8192
NEVER_ZERO = 1e-30


class Prepared:
    """The arrays of a batch in the dtype of its masses, and the buffers."""

    def __init__(self, requests: Requests, pmf: NDArray[Any], block: int, buffers: int) -> None:
        self.pmf = pmf
        kind = self.kind = pmf.dtype.type
        self.edge = requests.support.astype(kind)
        self.age, self.prompt, self.cached = (
            x.astype(kind) for x in (requests.age, requests.prompt_len, requests.cached_len)
        )
        cost = requests.cost
        self.token, self.memory, self.half = (
            kind(x) for x in (cost.token, cost.memory, 0.5 * cost.memory)
        )
        self.prefill = kind(cost.prefill)
        rows, bins = pmf.shape
        self.block = min(block, rows)
        order: Any = "C" if pmf.flags.c_contiguous else "F"
        shape = (self.block, bins) if buffers else (0, 0)
        self.buffers = [np.empty(shape, kind, order=order) for _ in range(buffers)]
        self.mask = np.empty(shape, bool, order=order)
        self.best = np.empty(rows, kind)

    def slices(self) -> list[slice]:
        rows = len(self.pmf)
        return [slice(i, min(i + self.block, rows)) for i in range(0, rows, self.block)]

    def offset(self) -> NDArray[Any]:
        uncached = self.prompt - np.minimum(self.cached, self.prompt)
        result: NDArray[Any] = self.prefill * uncached + self.kind(NEVER_ZERO)
        return result


class Masked(Prepared):
    def __init__(self, requests: Requests, pmf: NDArray[Any], block: int) -> None:
        super().__init__(requests, pmf, block, buffers=4)

    def __call__(self) -> NDArray[Any]:
        slope = self.token + self.memory * self.prompt + self.half * self.age
        offset = self.offset()
        bend = self.half * self.edge
        for rows in self.slices():
            count = rows.stop - rows.start
            mass, finished, rest, work = (buffer[:count] for buffer in self.buffers)
            age = self.age[rows, None]
            np.greater(self.edge, age, out=self.mask[:count])
            np.multiply(self.pmf[rows], self.mask[:count], out=mass)
            np.add.accumulate(mass, axis=1, out=finished)
            np.subtract(self.edge, age, out=rest)
            np.add(bend, slope[rows, None], out=work)
            np.multiply(rest, work, out=rest)
            np.add(rest, offset[rows, None], out=rest)
            np.multiply(rest, mass, out=work)
            np.add.accumulate(work, axis=1, out=work)
            np.subtract(finished[:, -1:], finished, out=mass)
            np.multiply(mass, rest, out=mass)
            np.add(mass, work, out=mass)
            _divide(finished, mass, out=work)
            np.fmax.reduce(work, axis=1, out=self.best[rows])
        return 1 / self.best


class Stepped(Prepared):
    def __init__(self, requests: Requests, pmf: NDArray[Any], block: int) -> None:
        super().__init__(requests, pmf, block, buffers=3)

    def __call__(self) -> NDArray[Any]:
        edge = self.edge
        slope = self.token + self.memory * self.prompt
        first = (edge[0] - self.age) * (slope + self.half * (edge[0] + self.age)) + self.offset()
        step, bend = np.diff(edge), self.half * (edge[1:] + edge[:-1])
        for rows in self.slices():
            count = rows.stop - rows.start
            finished, cost, left = (buffer[:count] for buffer in self.buffers)
            later = cost[:, 1:]
            np.add.accumulate(self.pmf[rows], axis=1, out=finished)
            np.add(bend, slope[rows, None], out=later)
            np.multiply(later, step, out=later)
            np.subtract(finished[:, -1:], finished[:, :-1], out=left[:, 1:])
            np.multiply(later, left[:, 1:], out=later)
            np.multiply(first[rows], finished[:, -1], out=cost[:, 0])
            np.add.accumulate(cost, axis=1, out=cost)
            np.divide(finished, cost, out=cost)
            np.maximum.reduce(cost, axis=1, out=self.best[rows])
        return 1 / self.best


class Turned(Prepared):
    def __init__(self, requests: Requests, pmf: NDArray[Any], block: int) -> None:
        super().__init__(requests, pmf, block, buffers=0)
        self.work = np.empty((4, pmf.shape[1], self.block), self.kind)
        self.beyond = np.empty((pmf.shape[1], self.block), bool)

    def __call__(self) -> NDArray[Any]:
        slope = self.token + self.memory * self.prompt + self.half * self.age
        offset = self.offset()
        edge, bend = self.edge[:, None], (self.half * self.edge)[:, None]
        for rows in self.slices():
            count = rows.stop - rows.start
            mass, finished, rest, cost = self.work[:, :, :count]
            beyond, age = self.beyond[:, :count], self.age[rows]
            np.greater(edge, age, out=beyond)
            np.multiply(self.pmf[rows].T, beyond, out=mass)
            np.copyto(finished, mass)
            _running_sum(finished)
            np.subtract(edge, age, out=rest)
            np.add(bend, slope[rows], out=cost)
            np.multiply(rest, cost, out=rest)
            np.add(rest, offset[rows], out=rest)
            np.multiply(rest, mass, out=cost)
            _running_sum(cost)
            np.subtract(finished[-1], finished, out=mass)
            np.multiply(mass, rest, out=mass)
            np.add(mass, cost, out=cost)
            _divide(finished, cost, out=cost)
            np.fmax.reduce(cost, axis=0, out=self.best[rows])
        return 1 / self.best


@np.errstate(invalid="ignore")
def _divide(finished: NDArray[Any], cost: NDArray[Any], out: NDArray[Any]) -> None:
    """Before the age nothing has finished and the cost means nothing: 0/0 there is passed over."""
    np.divide(finished, cost, out=out)


def _running_sum(lines: NDArray[Any]) -> None:
    before = lines[0]
    for line in lines[1:]:
        np.add(before, line, out=line)
        before = line


class ByColumn(Prepared):
    def __init__(self, requests: Requests, pmf: NDArray[Any], copies: bool) -> None:
        super().__init__(requests, pmf, COLUMN_BLOCK, buffers=0)
        self.copy = np.empty(pmf.shape, pmf.dtype, order="F") if copies else None
        self.vectors = np.empty((7, self.block), self.kind)
        self.beyond = np.empty(self.block, bool)

    def __call__(self) -> NDArray[Any]:
        pmf = self.pmf
        if self.copy is not None:
            np.copyto(self.copy, pmf)
            pmf = self.copy
        slope, offset = self.token + self.memory * self.prompt, self.offset()
        for rows in self.slices():
            self._block(pmf.T[:, rows], self.age[rows], slope[rows], offset[rows], self.best[rows])
        return 1 / self.best

    def _block(
        self,
        pmf: NDArray[Any],
        age: NDArray[Any],
        slope: NDArray[Any],
        offset: NDArray[Any],
        best: NDArray[Any],
    ) -> None:
        total, cost, done, left, before, work, spare = self.vectors[:, : len(age)]
        beyond, edge = self.beyond[: len(age)], self.edge
        first, all_live = (
            int(np.searchsorted(edge, x, side="right")) for x in (age.min(), age.max())
        )
        np.add.reduce(pmf[all_live:], axis=0, out=total)
        for k in range(first, all_live):
            np.greater(edge[k], age, out=beyond)
            np.multiply(pmf[k], beyond, out=work)
            np.add(total, work, out=total)
        np.multiply(offset, total, out=cost)
        np.copyto(left, total)
        np.copyto(before, age)
        done.fill(0)
        best.fill(0)
        for k in range(first, len(edge)):
            if k <= all_live:
                np.maximum(edge[k], age, out=spare)  # an edge before the age is no step
                np.add(spare, before, out=work)
                np.multiply(work, self.half, out=work)
                np.add(work, slope, out=work)
                np.subtract(spare, before, out=before)
                np.multiply(work, before, out=work)
                np.copyto(before, spare)
            else:
                np.add(slope, self.half * (edge[k] + edge[k - 1]), out=work)
                np.multiply(work, edge[k] - edge[k - 1], out=work)
            np.multiply(work, left, out=work)
            np.add(cost, work, out=cost)
            if k < all_live:
                np.greater(edge[k], age, out=beyond)
                np.multiply(pmf[k], beyond, out=work)
                np.add(done, work, out=done)
            else:
                np.add(done, pmf[k], out=done)
            np.subtract(total, done, out=left)
            np.divide(done, cost, out=work)
            np.maximum(best, work, out=best)


def numpy_ways(requests: Requests, layout: str) -> dict[str, Any]:
    """By name, callables that give the index ``[N]`` from masses in that layout.

    A support per row is asked of nobody here: all rows have the same one, and NumPy may know it.
    """
    pmf = requests.pmf if layout == "row-major" else requests.pmf_by_column
    by_row = layout == "row-major"
    ways: dict[str, Any] = {}
    for block in sorted({min(block, len(pmf)) for block in BLOCKS}):
        ways[f"masked, {block} rows"] = Masked(requests, pmf, block)
        ways[f"turned, {block} rows"] = Turned(requests, pmf, block)
        if float(requests.age.max(initial=0)) < requests.support[0]:
            ways[f"stepped, {block} rows"] = Stepped(requests, pmf, block)
    ways["columns, copied" if by_row else "columns"] = ByColumn(requests, pmf, copies=by_row)
    return ways
