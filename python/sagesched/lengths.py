"""Output lengths as discrete distributions: the grid of length bins, and a distribution on it.

A grid is log-linear: relative precision is the same everywhere, and the index kernel's work per
request depends on the logarithm of the longest length only. The mass of a bin sits on the bin's
*right edge* (Gast, Gaujal, Obrecht, arXiv 2606.24703, section on empirical distributions): with
mass on the samples themselves a request of almost the same age would look as good as finished.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sagesched._core import exact_sum, plain_numbers

BINS_PER_OCTAVE = 8
"""Bins between n and 2n tokens; from 16 tokens on a bin is 6 to 12.5 % wide."""

Floats = NDArray[np.float64]

_SUM_TOLERANCE = 1e-6


def _log_linear_edges(max_tokens: int) -> list[int]:
    """Right edges 1, 2, ..., 16, 18, ..., 32, 36, ... below `max_tokens`, then `max_tokens`."""
    edges: list[int] = []
    edge, step, octave_end = 1, 1, 2 * BINS_PER_OCTAVE
    while edge < max_tokens:
        edges.append(edge)
        edge += step
        if edge > octave_end:
            step, octave_end = 2 * step, 2 * octave_end
            edge = octave_end // 2 + step
    return [*edges, max_tokens]


class LengthGrid:
    """Bins `(edges[k-1], edges[k]]` of output lengths in tokens; the first one is `(0, 1]`.

    Args:
        max_tokens: the longest output possible, at least 1; it is the last edge. Usually the
            model's context length.

    Raises:
        ValueError: `max_tokens` is not a whole number of at least 1.
    """

    def __init__(self, max_tokens: int) -> None:
        if isinstance(max_tokens, bool) or not isinstance(max_tokens, (int, np.integer)):
            raise ValueError(f"LengthGrid: max_tokens must be an int, got {max_tokens!r}")
        if max_tokens < 1:
            raise ValueError(f"LengthGrid: max_tokens must be at least 1, got {max_tokens}")
        self._edges = _log_linear_edges(int(max_tokens))
        self.edges: Floats = np.array(self._edges, dtype=np.float64)  # [m], ascending
        self.edges.setflags(write=False)

    @property
    def max_tokens(self) -> int:
        """The last edge, in tokens."""
        return self._edges[-1]

    def bin_of(self, tokens: float) -> int:
        """Index of the bin that holds `tokens`; the first or last bin for what lies outside."""
        return min(bisect_left(self._edges, tokens), len(self._edges) - 1)

    def __len__(self) -> int:
        return len(self._edges)

    def __eq__(self, other: object) -> bool:
        # The edges follow from the last one.
        return isinstance(other, LengthGrid) and self.max_tokens == other.max_tokens

    def __hash__(self) -> int:
        return hash(("LengthGrid", self.max_tokens))

    def __repr__(self) -> str:
        return f"LengthGrid(max_tokens={self.max_tokens})"


@dataclass(frozen=True, eq=False)
class LengthDistribution:
    """Probability of each bin of a grid; `pmf[k]` sits on `grid.edges[k]` tokens.

    The array is copied, checked, normalised and made read-only.

    Raises:
        ValueError: wrong size, NaN, infinite or negative values, or a sum off 1 by over 1e-6.
    """

    grid: LengthGrid
    pmf: Floats  # [m]

    def __post_init__(self) -> None:
        pmf = np.array(self.pmf, dtype=np.float64)
        if pmf.shape != (len(self.grid),):
            raise ValueError(
                f"LengthDistribution: pmf has shape {pmf.shape}, the grid needs ({len(self.grid)},)"
            )
        total = exact_sum(pmf)  # the same on every processor
        if not (np.minimum.reduce(pmf) >= 0.0) or (total == math.inf and np.isinf(pmf).any()):
            raise ValueError("LengthDistribution: pmf must be finite and not negative")
        if abs(total - 1.0) > _SUM_TOLERANCE:
            raise ValueError(f"LengthDistribution: pmf sums to {total!r}, not 1; normalise it")
        self._keep(pmf, total)

    def _keep(self, pmf: Floats, total: float) -> None:
        pmf /= total
        pmf.setflags(write=False)
        object.__setattr__(self, "pmf", pmf)

    @classmethod
    def of_distributions(cls, grid: LengthGrid, pmf: Floats) -> LengthDistribution:
        """Of masses, float64, made from distributions over `grid`: normalised, but not checked."""
        made = object.__new__(cls)
        object.__setattr__(made, "grid", grid)
        made._keep(pmf.copy(), exact_sum(pmf))
        return made

    def mean(self) -> float:
        """Mean length in tokens, of the right edges: up to a bin's width above the samples'."""
        return float(self.pmf @ self.grid.edges)

    def quantile(self, q: float) -> float:
        """Smallest edge, in tokens, that is not exceeded with probability of at least `q`.

        Raises:
            ValueError: `q` lies outside 0..1.
        """
        if not 0.0 <= q <= 1.0:
            raise ValueError(f"LengthDistribution.quantile: q must be in 0..1, got {q!r}")
        # Up to rounding: for q = 1 the last bin that has any mass, not the first sum near 1.
        k = int(np.searchsorted(np.cumsum(self.pmf), q, side="left"))
        last = int(np.flatnonzero(self.pmf)[-1])
        return float(self.grid.edges[min(k, last)])

    def survival(self, age: float) -> float:
        """Probability that the output is longer than `age` tokens."""
        return float(self.pmf[self.grid.edges > age].sum())

    def capped(self, max_new_tokens: float) -> LengthDistribution:
        """The same, where generation stops at `max_new_tokens`: mass above it moves to its bin."""
        cap = self.grid.bin_of(max_new_tokens)
        pmf = self.pmf.copy()
        pmf[cap] += pmf[cap + 1 :].sum()
        pmf[cap + 1 :] = 0.0
        return LengthDistribution.of_distributions(self.grid, pmf)

    def to_wire(self) -> list[float]:
        """The pmf as plain floats, to travel inside a request; `from_wire` reads it."""
        values: list[float] = self.pmf.tolist()
        return values

    @classmethod
    def from_wire(cls, values: object, grid: LengthGrid) -> LengthDistribution:
        """Read what `to_wire` wrote. The values may come from anyone: everything is checked.

        Raises:
            ValueError: not a list, wrong length, anything but finite non-negative numbers, or a
                sum that is not 1.
        """
        if not isinstance(values, (list, tuple)):
            raise ValueError(f"length pmf: expected a list of floats, got {type(values).__name__}")
        if len(values) != len(grid):  # before anything that costs time per element
            raise ValueError(f"length pmf: {len(values)} values, the grid needs {len(grid)}")
        try:
            pmf = plain_numbers(values)
        except OverflowError:
            raise ValueError("length pmf: a value is far above 1") from None
        if pmf is None:
            names = ", ".join(sorted({type(value).__name__ for value in values} - {"float", "int"}))
            raise ValueError(f"length pmf: expected a list of floats, found {names} in it")
        return cls(grid, pmf)
