"""Laws of output lengths per cluster of the generated workloads, and draws from them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sagesched.lengths import LengthDistribution, LengthGrid

CLUSTERS = 40
LONGEST_OUTPUT = 2048
"""Tokens; longer draws are cut to it."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MEDIANS: Floats = np.exp(np.linspace(np.log(20), np.log(800), CLUSTERS))
"""[cluster] median output length in tokens of ``cluster`` and ``hetero``, from 20 to 800."""

KINDS = ("lognormal", "cluster", "hetero")

_LOGNORMAL_MEDIAN = 150
_CLUSTER_SIGMA = 0.7
_NARROW_SIGMA = 0.3
_BIMODAL_SIGMA = 0.4
_LONG_SHARE, _LONG_FACTOR, _SHORT_FACTOR = 0.3, 4.0, 0.25


@dataclass(frozen=True)
class Piece:
    """A log-normal part of a mixture: its weight, median in tokens, and sigma of the logarithm."""

    weight: float
    median: float
    sigma: float

    def below(self, tokens: float) -> float:
        """Weight times the probability of less than ``tokens``."""
        score = math.log(tokens / self.median) / self.sigma
        return self.weight * 0.5 * math.erfc(-score / math.sqrt(2.0))


def pieces(kind: str, cluster: int) -> tuple[Piece, ...]:
    """The law of a cluster.

    ``lognormal``: one law for all, median 150, sigma 1. ``cluster``: sigma 0.7 around the
    cluster's median. ``hetero``: even clusters sigma 0.3 around it; in odd ones 70 % of the
    answers are around a quarter of it and 30 % around four times it, sigma 0.4.
    """
    median = float(MEDIANS[cluster])
    if kind == "lognormal":
        return (Piece(1.0, _LOGNORMAL_MEDIAN, 1.0),)
    if kind == "cluster":
        return (Piece(1.0, median, _CLUSTER_SIGMA),)
    if cluster % 2 == 0:
        return (Piece(1.0, median, _NARROW_SIGMA),)
    return (
        Piece(1.0 - _LONG_SHARE, median * _SHORT_FACTOR, _BIMODAL_SIGMA),
        Piece(_LONG_SHARE, median * _LONG_FACTOR, _BIMODAL_SIGMA),
    )


def draw(kind: str, clusters: Ints, generator: np.random.Generator) -> Ints:
    """[n] output lengths in tokens, 1 to `LONGEST_OUTPUT`, of requests of these clusters.

    The order of draws is part of the contract: a seed stands for the same workload for good.
    """
    n, medians = len(clusters), MEDIANS[clusters]
    if kind == "lognormal":
        lengths = np.exp(np.log(_LOGNORMAL_MEDIAN) + 1.0 * generator.standard_normal(n))
    elif kind == "cluster":
        lengths = medians * np.exp(_CLUSTER_SIGMA * generator.standard_normal(n))
    else:
        long = generator.random(n) < _LONG_SHARE
        narrow = medians * np.exp(_NARROW_SIGMA * generator.standard_normal(n))
        factors = np.where(long, _LONG_FACTOR, _SHORT_FACTOR)
        bimodal = medians * factors * np.exp(_BIMODAL_SIGMA * generator.standard_normal(n))
        lengths = np.where(clusters % 2 == 0, narrow, bimodal)
    tokens: Ints = np.clip(np.rint(lengths), 1, LONGEST_OUTPUT).astype(np.int64)
    return tokens


def law(kind: str, cluster: int, grid: LengthGrid) -> LengthDistribution:
    """The exact law on a grid, rounding and the cut at `LONGEST_OUTPUT` included."""
    parts = pieces(kind, cluster)
    # A draw of up to edge + 1/2 is rounded down to the edge.
    below = [sum(piece.below(edge + 0.5) for piece in parts) for edge in grid.edges.tolist()]
    below = [
        1.0 if edge >= min(LONGEST_OUTPUT, grid.max_tokens) else share
        for edge, share in zip(grid.edges.tolist(), below, strict=True)
    ]
    return LengthDistribution(grid, np.maximum(np.diff(below, prepend=0.0), 0.0))
