"""All ages at once: ``gittins_curve`` against a loop over the ages, and a general solver."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sagesched import reference
from sagesched.bench.requests import COST, Requests, make_requests
from sagesched.bench.timing import interleave, say
from sagesched.bench.verify import WrongResultError
from sagesched.cost import CostModel
from sagesched.gittins import gittins_curve

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS = (32, 64, 128, 256, 512, 1024)
SOLVER_BINS = (16, 64)
BATCH = 64
"""Rows of a call that shows how the cost grows; the comparison is of one row a call."""

TOLERANCE = 1e-9
"""Relative; all is float64, and the sums have at most a thousand terms >= 0."""

DISCOUNT = 1 - 1e-6
SOLVER_TOLERANCE = 1e-3
"""The solver discounts by time and is to be asked with a discount next to 1, where it loses digits:
nearer to 1 than this it fails."""


@dataclass(frozen=True)
class CurveRow:
    """Microseconds for the index at every age of one request of ``m`` bins."""

    m: int
    us: float
    us_in_batch: float
    naive_us: float

    @property
    def speedup(self) -> float:
        return self.naive_us / self.us


@dataclass(frozen=True)
class SolverRow:
    """Microseconds for the same from ``markovianbandit-pkg``, at equal steps and cost 1 a token."""

    m: int
    us: float
    solver_us: float


def naive_curve(
    pmf: NDArray[np.float64], support: NDArray[np.float64], cost: CostModel, prompt_len: float
) -> NDArray[np.float64]:
    """One vectorised O(m) index per age, O(m^2) in all: what a page of NumPy does."""
    starts = np.concatenate(([0.0], support))
    result = np.empty(len(pmf))
    slope, half = cost.token + cost.memory * prompt_len, 0.5 * cost.memory
    for j in range(len(pmf)):
        mass, age = pmf[j:], starts[j]
        rest = (support[j:] - age) * (slope + half * (support[j:] + age))
        finished = np.cumsum(mass)
        cost_so_far = np.cumsum(rest * mass) + rest * (finished[-1] - finished)
        result[j] = (cost_so_far / finished).min()
    return result


def bench_curve(bins: tuple[int, ...], seconds: float) -> list[CurveRow]:
    """Verified, then timed in one run each."""
    return [_curve_row(m, seconds) for m in bins]


def _curve_row(m: int, seconds: float) -> CurveRow:
    say(f"curve: {m} bins")
    requests = make_requests(BATCH, m, "float64")
    pmf, support, prompt = requests.pmf, requests.support, float(requests.prompt_len[0])
    cost = CostModel(COST.token, COST.memory, 0.0)
    contenders: dict[str, Callable[[], Any]] = {
        "ours": lambda: gittins_curve(pmf[0], support, prompt, 0, cost),
        "naive": lambda: naive_curve(pmf[0], support, cost, prompt),
        "batch": lambda: gittins_curve(pmf, support, requests.prompt_len, 0, cost),
    }
    expected = _at_all_ages(requests, cost)
    _same(f"gittins_curve, m={m}", contenders["ours"](), expected[0])
    _same(f"naive loop, m={m}", contenders["naive"](), expected[0, :m])
    for row, found in enumerate(contenders["batch"]()):
        _same(f"gittins_curve, m={m}, row {row}", found, expected[row])
    us = {name: sample.median / 1e3 for name, sample in interleave(contenders, seconds).items()}
    return CurveRow(m, us["ours"], us["batch"] / BATCH, us["naive"])


def _at_all_ages(requests: Requests, cost: CostModel) -> NDArray[np.float64]:
    """``[N, m + 1]``: the naive loop, and the reference for who has outlived the last edge."""
    pmf, support, prompt = requests.pmf, requests.support, requests.prompt_len
    rows = zip(pmf, prompt.tolist(), strict=True)
    before = [naive_curve(row, support, cost, prompt_len) for row, prompt_len in rows]
    beyond = reference.gittins_index(pmf, support, support[-1], prompt, 0, cost)
    return np.column_stack((before, beyond))


def bench_solver(bins: tuple[int, ...], seconds: float) -> list[SolverRow] | None:
    """None where ``markovianbandit-pkg`` is not installed.

    A request is a chain of ages and an end. A step takes one unit of time and earns the chance to
    end in it, so that the solver's index is the largest P(X <= D) / E[min(X, D)]: 1 over ours.
    """
    floating_point = np.geterr()
    try:
        from markovianbandit import markovianbandit as solver
    except ImportError:
        return None
    finally:
        np.seterr(**floating_point)  # the package makes errors of them for the whole process
    return [_solver_row(solver, m, seconds) for m in bins]


def _solver_row(solver: Any, m: int, seconds: float) -> SolverRow:
    say(f"markovianbandit: {m} bins")
    pmf = make_requests(1, m, "float64").pmf[0]
    support, cost = np.arange(1.0, m + 1), CostModel(1.0, 0.0, 0.0)
    hazard = pmf / np.cumsum(pmf[::-1])[::-1]
    moves = np.zeros((m + 1, m + 1))
    moves[np.arange(m - 1), np.arange(1, m)] = 1 - hazard[:-1]
    moves[:m, m] = 1 - moves[:m].sum(axis=1)
    moves[m, m] = 1.0
    earned = np.append(hazard, 0.0)
    contenders: dict[str, Callable[[], Any]] = {
        "ours": lambda: gittins_curve(pmf, support, 0, 0, cost),
        "solver": lambda: solver.rested_bandit_from_P1_R1(moves, earned).gittins_indices(
            discount=DISCOUNT
        ),
    }
    index = 1 / np.asarray(contenders["solver"]())[:m]
    _same(f"markovianbandit, m={m}", contenders["ours"]()[:m], index, SOLVER_TOLERANCE)
    us = {name: sample.median / 1e3 for name, sample in interleave(contenders, seconds).items()}
    return SolverRow(m, us["ours"], us["solver"])


def _same(name: str, one: NDArray[Any], other: NDArray[Any], tolerance: float = TOLERANCE) -> None:
    error = np.abs(one / other - 1)
    if not error.max() <= tolerance:
        age = int(np.argmax(error))
        raise WrongResultError(
            f"{name}: {float(one[age])!r} at age {age}, the other way {float(other[age])!r}"
        )
