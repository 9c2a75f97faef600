"""The requests that are timed: predicted lengths as a server has them, made up from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from sagesched.cost import CostModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

COST = CostModel(token=1.0, memory=0.01, prefill=0.5)
LONGEST_OUTPUT = 32_768.0
TAIL = 0.1
"""Share of every distribution that is spread evenly over the bins: no mass is next to nothing, so
that the tolerance of ``verify.py`` holds, and no column can be skipped early."""

LAYOUTS = ("column-major", "row-major", "support-per-row")
"""How the masses lie: as columns or as rows with a support for all, or as columns with a support
for each request."""

AGES = ("mixed", "zero")
"""Half of the requests are at age 0 and the others at any age, or all are at age 0."""


@dataclass(frozen=True)
class Requests:
    """One batch; everything but ``pmf`` is float64, as :func:`sagesched.gittins_index` takes it."""

    pmf: NDArray[Any]  # [N, m] by row, of the dtype of the case
    support: NDArray[np.float64]  # [m], whole numbers that float32 holds
    age: NDArray[np.float64]  # [N]
    prompt_len: NDArray[np.float64]  # [N]
    cached_len: NDArray[np.float64]  # [N]
    cost: CostModel

    @cached_property
    def pmf_by_column(self) -> NDArray[Any]:
        return np.asfortranarray(self.pmf)

    @cached_property
    def support_by_row(self) -> NDArray[Any]:
        """``[N, m]`` by column, in the dtype of ``pmf``; all rows alike, so that the index is."""
        return np.asfortranarray(np.tile(self.support.astype(self.pmf.dtype), (len(self.pmf), 1)))

    def arguments(self, layout: str) -> tuple[Any, ...]:
        """Of ``gittins_index``, with the matrices in that layout."""
        pmf = self.pmf if layout == "row-major" else self.pmf_by_column
        support = self.support_by_row if layout == "support-per-row" else self.support
        return (pmf, support, self.age, self.prompt_len, self.cached_len, self.cost)

    def rows(self, which: NDArray[np.intp]) -> Requests:
        """Some of the requests."""
        return Requests(
            self.pmf[which], self.support, self.age[which], self.prompt_len[which],
            self.cached_len[which], self.cost,
        )  # fmt: skip


def edges(bins: int) -> NDArray[np.float64]:
    """``[m]`` whole numbers, evenly spaced on a logarithmic scale where there is room."""
    wanted = np.geomspace(4, LONGEST_OUTPUT, bins)
    result: NDArray[np.float64] = np.maximum(np.ceil(wanted), 4.0 + np.arange(bins))
    return result


def make_requests(
    count: int, bins: int, dtype: str = "float32", ages: str = "mixed", seed: int = 1
) -> Requests:
    """Log-logistic lengths with a tail, prompts up to 4,000 tokens, a third of them cached."""
    random = np.random.default_rng([seed, count, bins])
    support = edges(bins)
    middle = random.normal(5.5, 1.0, (count, 1))
    width = random.uniform(0.2, 0.8, (count, 1))
    below = 1.0 / (1.0 + np.exp((middle - np.log(support)) / width))
    pmf = (1 - TAIL) * np.diff(below, axis=1, prepend=0.0) + TAIL / bins
    later = np.floor(support[-1] * 0.9 * random.random(count) ** 3)
    age = np.where(random.random(count) < 0.5, 0.0, later) if ages == "mixed" else np.zeros(count)
    prompt = random.integers(1, 4001, count).astype(float)
    cached = np.where(random.random(count) < 1 / 3, np.floor(prompt * random.random(count)), 0.0)
    return Requests(pmf.astype(dtype), support, age, prompt, cached, COST)
