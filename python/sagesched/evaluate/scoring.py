"""Scores of length distributions against what the lengths turned out to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from sagesched.lengths import Floats, LengthGrid

Lengths = NDArray[np.int64]
Some = NDArray[np.int64] | NDArray[np.bool_] | slice

MOST_PAIRED = 2000
"""Members that Kendall's tau is taken over: all pairs are looked at."""


@dataclass(frozen=True)
class Score:
    """Of one method on one set of requests.

    Attributes:
        crps: mean continuous ranked probability score, tokens; of a point forecast, the mean error.
        pinball50: mean pinball loss of the median, tokens: half of its mean error.
        pinball90: mean pinball loss of the 0.9 quantile, tokens.
        tau: Kendall's tau-b of the predicted mean and the real length.
        coverage90: share of lengths within the central 90 % interval.
        n: lengths scored.
    """

    crps: float
    pinball50: float
    pinball90: float
    tau: float
    coverage90: float
    n: int


@dataclass(frozen=True)
class Columns:
    """What is kept of each prediction, [n] each; scores of any part follow from it.

    Attributes:
        tokens: the real length.
        mean: the predicted one.
        crps, pinball50, pinball90: as in `Score`.
        below, upto: the predicted probability of a bin below the real length's, and of one up to
            it.
    """

    tokens: Floats
    mean: Floats
    crps: Floats
    pinball50: Floats
    pinball90: Floats
    below: Floats
    upto: Floats

    @classmethod
    def of(cls, grid: LengthGrid, pmfs: Floats, lengths: Lengths) -> Columns:
        """Of predictions pmfs[n, m] for lengths[n]."""
        cdf = np.minimum(np.cumsum(pmfs, axis=1), 1.0)
        rows, bins = np.arange(len(pmfs)), _bins(grid, lengths)
        upto = cdf[rows, bins]
        return cls(
            lengths.astype(np.float64),
            pmfs @ grid.edges,
            crps(grid, pmfs, lengths),
            pinball(grid, pmfs, lengths, 0.5),
            pinball(grid, pmfs, lengths, 0.9),
            np.maximum(upto - pmfs[rows, bins], 0.0),
            upto,
        )

    @classmethod
    def joined(cls, parts: Sequence[Columns]) -> Columns:
        """One after the other."""
        names = [field.name for field in fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def __getitem__(self, some: Some) -> Columns:
        return Columns(*(getattr(self, field.name)[some] for field in fields(self)))

    def __len__(self) -> int:
        return len(self.tokens)

    def score(self) -> Score:
        """The scores of all of them, at least one."""
        place = 0.5 * (self.below + self.upto)
        return Score(
            float(self.crps.mean()),
            float(self.pinball50.mean()),
            float(self.pinball90.mean()),
            kendall_tau(self.mean, self.tokens),
            float(((place > 0.05) & (place < 0.95)).mean()),
            len(self),
        )

    def reached(self, levels: Floats) -> Floats:
        """[levels] share of the lengths up to each predicted quantile; the levels, if all is well.

        A length takes its bin's whole range of levels in equal parts, so that lengths drawn from
        the predictions give the levels themselves (Czado, Gneiting and Held, Biometrics 65, 2009).
        """
        width = np.maximum(self.upto - self.below, 1e-12)
        parts = (levels[:, np.newaxis] - self.below) / width
        shares: Floats = np.clip(parts, 0.0, 1.0).mean(axis=1)
        shares[levels <= 0.0], shares[levels >= 1.0] = 0.0, 1.0
        return shares

    def pit(self, bins: int) -> Floats:
        """[bins] histogram of where lengths stand in their predictions; 1 everywhere, if all is
        well; high at the ends where predictions are too narrow."""
        return np.diff(self.reached(np.linspace(0.0, 1.0, bins + 1))) * bins


def _bins(grid: LengthGrid, lengths: Lengths) -> Lengths:
    return np.minimum(np.searchsorted(grid.edges, lengths), len(grid) - 1)


def crps(grid: LengthGrid, pmfs: Floats, lengths: Lengths) -> Floats:
    """[n] of pmfs[n, m], each on the right edges of the bins, for lengths[n]; in tokens.

    The integral over x of (P(O <= x) - 1{length <= x})^2 (Gneiting and Raftery, JASA 102, 2007).
    """
    left = np.concatenate(([0.0], grid.edges[:-1]))
    below = np.concatenate((np.zeros((len(pmfs), 1)), np.cumsum(pmfs, axis=1)[:, :-1]), axis=1)
    split = np.clip(lengths[:, np.newaxis], left, grid.edges)
    result: Floats = (below**2 * (split - left) + (1 - below) ** 2 * (grid.edges - split)).sum(1)
    return result


def kendall_tau(first: Floats, second: Floats) -> float:
    """Tau-b over at most 2,000 members, evenly taken; 0 where one side is constant."""
    some = np.unique(np.linspace(0, len(first) - 1, min(len(first), MOST_PAIRED)).astype(int))
    # Differences far below a token order nothing.
    a, b = (np.sign(x[some, np.newaxis] - x[some]) for x in (first.round(3), second))
    pairs = np.sqrt(np.count_nonzero(a) * np.count_nonzero(b))
    return float((a * b).sum() / pairs) if pairs else 0.0


def pinball(grid: LengthGrid, pmfs: Floats, lengths: Lengths, level: float) -> Floats:
    """[n] loss of the quantile at a level: what over- and underestimates cost, tokens."""
    at = np.minimum((np.cumsum(pmfs, axis=1) < level).sum(axis=1), len(grid) - 1)
    error = lengths - grid.edges[at]
    result: Floats = np.maximum(level * error, (level - 1.0) * error)
    return result


def score(grid: LengthGrid, pmfs: Floats, lengths: Lengths) -> Score:
    """All scores of pmfs[n, m] for lengths[n]."""
    return Columns.of(grid, pmfs, lengths).score()
