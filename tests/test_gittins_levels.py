"""The batched kernel: the same bits on every SIMD level, layout and number of threads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sagesched import CostModel, gittins_index, reference
from sagesched.gittins import set_simd_level, simd_level, simd_levels

LEVELS = simd_levels()
# Around the widths of vectors and tiles: 4, 8, 16, 32.
ROWS = [1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100]
COST = CostModel(token=2, memory=0.5, prefill=3)
TOKENS = CostModel(token=1, memory=0)
NAN, INF = float("nan"), float("inf")

untimed = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(autouse=True)
def keep_level() -> Iterator[None]:
    before = simd_level()
    yield
    set_simd_level(before)


def on_every_level(*args: Any, **options: Any) -> np.ndarray:
    """Index and stop ``[2, N]`` after a check that all levels give the same bits."""
    results = []
    for level in LEVELS:
        set_simd_level(level)
        results.append(np.stack(gittins_index(*args, **options, return_stop=True)))
    for level, result in zip(LEVELS, results, strict=True):
        assert result.tobytes() == results[0].tobytes(), level
    return results[0]


def batch(seed: int, rows: int, bins: int, dtype: type, kind: str) -> dict[str, Any]:
    """Random requests; half of the ages are 0, at an edge or beyond the last."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(1, 30, bins)
    if kind == "wide":  # 1 to about 10^6 tokens
        steps = np.ceil(10 ** rng.uniform(0, 6, bins) / bins)
    support = np.cumsum(steps).astype(float)
    pmf = rng.random((rows, bins)) * (rng.random((rows, bins)) < rng.choice([0.1, 0.6, 1.0]))
    if kind == "tiny":  # masses down to denormal numbers, and rows of nothing else
        pmf *= 10.0 ** -rng.integers(0, 45 if dtype is np.float32 else 320, (rows, bins))
        pmf[::5] = np.finfo(dtype).smallest_subnormal
    if kind == "counts":
        pmf = np.floor(pmf * 1e6)
    age = np.floor(rng.random(rows) * support[-1] * 0.9)
    age[::4], age[1::8], age[5::16] = 0, rng.choice(support), 1.5 * support[-1]
    return {
        "pmf": pmf.astype(dtype),
        "support": support,
        "age": age,
        "prompt_len": rng.integers(0, 4000, rows),
        "cached_len": rng.integers(0, 4000, rows),
        "cost": COST,
    }


batches = st.builds(
    batch,
    st.integers(0, 10**6),
    st.sampled_from(ROWS),
    st.sampled_from([1, 2, 3, 7, 15, 16, 17, 40, 128]),
    st.sampled_from([np.float32, np.float64]),
    st.sampled_from(["plain", "wide", "tiny", "counts"]),
)


@untimed
@given(batches, st.sampled_from([1, 2, 3, 50]))
def test_neither_level_nor_layout_nor_threads_change_a_bit(
    requests: dict[str, Any], threads: int
) -> None:
    expected = on_every_level(**requests)
    assert expected.dtype == requests["pmf"].dtype
    assert np.all(np.isfinite(expected) & (expected > 0))
    pmf = requests.pop("pmf")
    wide = np.zeros((2 * pmf.shape[0], 3 * pmf.shape[1]), pmf.dtype)
    strided = wide[::2, 1::3]
    strided[:] = pmf
    frozen = pmf.copy()
    frozen.flags.writeable = False
    for same in (np.asfortranarray(pmf), strided, frozen):
        result = on_every_level(pmf=same, **requests, threads=threads)
        assert result.tobytes() == expected.tobytes()
    requests["support"] = np.tile(requests["support"], (len(pmf), 1))
    for same in (pmf, np.asfortranarray(pmf)):
        result = on_every_level(pmf=same, **requests, threads=threads)
        assert result.tobytes() == expected.tobytes()


@untimed
@given(st.integers(0, 10**6), st.sampled_from(ROWS), st.sampled_from([1, 2, 15, 33, 70]))
def test_float32_is_near_the_reference(seed: int, rows: int, bins: int) -> None:
    """Derivation of the tolerance, with u = 2**-24 and m bins.

    Costs, masses and their sums have terms >= 0 only: each is off by at most (m + 4) u. The one
    difference, S = total - F, is off by up to d = 2 m u total, hence W_k by d C_k, with C_k the
    cost from the first live edge to edge k. At the best k serving on pays: halving S costs at most
    2 G, so C_k <= 2 G (1 + log2(total / S_{k-1})). Masses here are 0 or above 1e-3, at most 1:
    the logarithm is at most 17, and W/F is off by 2 d C_k / (G total) <= 4 * 2 m u * 18 < 9e-6 m.
    """
    requests = batch(seed, rows, bins, np.float32, "plain")
    requests["pmf"] = np.where(requests["pmf"] < 1e-3, 0, requests["pmf"])
    index, _ = on_every_level(**requests)
    expected = reference.gittins_index(**requests)
    np.testing.assert_allclose(index, expected, rtol=9e-6 * (bins + 4))


def test_float32_in_practice() -> None:
    """Rounding errors do not conspire: far below the bound above."""
    requests = batch(1, 1000, 128, np.float32, "plain")
    index, _ = on_every_level(**requests)
    np.testing.assert_allclose(index, reference.gittins_index(**requests), rtol=4e-6)


@untimed
@given(st.integers(0, 10**6), st.sampled_from([3, 17, 40]))
def test_the_stop_attains_the_index(seed: int, bins: int) -> None:
    requests = batch(seed, 20, bins, np.float64, "plain")
    index, stop = gittins_index(**requests, return_stop=True)
    for i, (row, age) in enumerate(zip(requests["pmf"], requests["age"], strict=True)):
        lengths, p = reference.remaining_lengths(row, requests["support"], age)
        prompt, cached = requests["prompt_len"][i], requests["cached_len"][i]
        r = np.array([COST.remaining(x, age, prompt, cached) for x in lengths])
        served = lengths <= stop[i]
        ratio = (p * np.minimum(r, r[served][-1])).sum() / p[served].sum()
        assert stop[i] in lengths
        assert ratio == pytest.approx(index[i], rel=1e-9)


def test_a_support_per_row() -> None:
    support = np.array([[50.0, 55, 200], [5, 10, 20]])
    index = on_every_level([[1.0, 1, 1], [0, 1, 0]], support, 0, 0, cost=TOKENS)
    assert index.tolist() == [[80, 10], [55, 10]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("level", LEVELS)
def test_bad_masses_are_named_wherever_they_are(level: str, order: Any, dtype: type) -> None:
    set_simd_level(level)
    rng = np.random.default_rng(7)
    for rows in (1, 33, 70):
        for bad in (NAN, INF, -INF, -1.0, -np.finfo(dtype).smallest_subnormal):
            pmf = np.asarray(rng.random((rows, 5)), dtype, order=order)
            row, column = rng.integers(rows), rng.integers(5)
            pmf[row, column] = bad
            age = rng.integers(0, 60, rows)  # the bad mass may lie before the age
            with pytest.raises(ValueError, match=f"pmf row {row}, column {column} is "):
                gittins_index(pmf, [10, 20, 30, 40, 50], age, 5)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_first_bad_row_is_named(threads: int) -> None:
    pmf = np.ones((500, 2))
    pmf[[499, 77, 300], 1] = NAN
    with pytest.raises(ValueError, match="pmf row 77, column 1 is nan"):
        gittins_index(pmf, [1, 2], 0, 0, threads=threads)


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        ([4, 4, 5], r"support row 40, column 1 is 4, not above column 0 \(4\)"),
        ([4, 5, 3], r"support row 40, column 2 is 3, not above column 1 \(5\)"),
        ([0, 4, 5], r"support row 40, column 0 is 0"),
        ([-1, 4, 5], r"support row 40, column 0 is -1"),
        ([4, NAN, 5], r"support row 40, column 1 is nan"),
        ([4, 5, INF], r"support row 40, column 2 is inf"),
        ([4, 5, 2.0**41], r"support row 40, column 2 .*2\^40"),
    ],
)
@pytest.mark.parametrize("level", LEVELS)
def test_bad_own_supports_are_named(level: str, edges: list[float], message: str) -> None:
    set_simd_level(level)
    support = np.tile([1.0, 2, 3], (50, 1))
    support[40] = edges
    for same in (support, np.asfortranarray(support)):
        with pytest.raises(ValueError, match=message):
            gittins_index(np.ones((50, 3)), same, 0, 0)


@pytest.mark.parametrize("shape", [(3,), (2, 2), (4, 3), (4, 2, 1), ()])
def test_shape_of_an_own_support(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="has shape"):
        gittins_index(np.ones((4, 2)), np.ones(shape), 0, 0)


def test_edges_that_float32_cannot_tell_apart() -> None:
    edges = [2.0**24, 2.0**24 + 1]
    assert gittins_index([[1.0, 1.0]], edges, 0, 0, cost=TOKENS)[0] > 2.0**24
    with pytest.raises(ValueError, match=r"support column 1 .*float32"):
        gittins_index(np.ones((1, 2), np.float32), edges, 0, 0)


def test_float32_rounds_age_and_support_first() -> None:
    """An age that becomes an edge by rounding is at the edge."""
    pmf = np.ones((1, 2), np.float32)
    index = on_every_level(pmf, [10, 30], 10 - 1e-9, 0, cost=TOKENS)[0]
    assert index[0] == 20


def test_an_index_too_large_for_float32() -> None:
    pmf = np.ones((3, 1), np.float32)
    dear = CostModel(token=1e30, memory=0)
    np.testing.assert_allclose(gittins_index(pmf, [1e6], 0, 0, cost=dear), 1e36, rtol=1e-6)
    with pytest.raises(ValueError, match=r"index of row 1 .*float32"):
        gittins_index(pmf, [1e10], [9.9999e9, 0, 0], 0, cost=dear)
    wide = gittins_index(pmf.astype(float), [1e10], 0, 0, cost=dear)
    np.testing.assert_allclose(wide, 1e40, rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_cost_at_all_counts_as_the_smallest_number(dtype: type) -> None:
    cached = CostModel(token=0, memory=0, prefill=1)
    index = on_every_level(np.ones((1, 2), dtype), [5, 10], 0, 7, 7, cost=cached)[0]
    assert index[0] == np.finfo(dtype).tiny


@pytest.mark.parametrize("scale", [1e-38, 1e-20, 1e-9, 1e9, 1e20, 1e38])
@pytest.mark.parametrize("coefficient", [1e-30, 1.0, 1e10])
def test_scales_far_from_one(scale: float, coefficient: float) -> None:
    rng = np.random.default_rng(3)
    pmf = (rng.uniform(0.1, 1, (40, 9)) * scale).astype(np.float32)
    cost = CostModel(token=coefficient, memory=coefficient)
    index, _ = on_every_level(pmf, np.arange(1, 10), 0, 3, cost=cost)
    wide = pmf.astype(np.float64)  # exact: what follows is the same problem
    np.testing.assert_allclose(index, gittins_index(wide, range(1, 10), 0, 3, cost=cost), rtol=2e-6)


def test_no_rows_and_no_threads() -> None:
    for order in "CF":
        empty = np.empty((0, 3), np.float32, order=order)
        assert on_every_level(empty, [1, 2, 3], [], []).shape == (2, 0)
    for threads in (0, -1):
        with pytest.raises(ValueError, match=f"threads is {threads}"):
            gittins_index(np.ones((1, 1)), [1], 0, 0, threads=threads)


def test_levels_are_named() -> None:
    assert LEVELS[0] == "scalar"
    assert set(LEVELS) <= {"scalar", "avx2", "avx512", "neon"}
    for level in LEVELS:
        set_simd_level(level)
        assert simd_level() == level
    with pytest.raises(ValueError, match=rf'"sse9"; this machine can run: {", ".join(LEVELS)}'):
        set_simd_level("sse9")
    assert simd_level() == LEVELS[-1]


def level_in_a_process(value: str) -> subprocess.CompletedProcess[str]:
    program = "from sagesched.gittins import simd_level; print(simd_level())"
    environment = {**os.environ, "SAGESCHED_SIMD": value}
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize("level", LEVELS)
def test_the_environment_picks_the_level(level: str) -> None:
    assert level_in_a_process(level).stdout.strip() == level


@pytest.mark.parametrize("value", ["fast", "AVX2", "scalar,avx2"])
def test_an_unknown_level_in_the_environment_is_an_error(value: str) -> None:
    result = level_in_a_process(value)
    assert result.returncode != 0
    assert f'SAGESCHED_SIMD is "{value}"; this machine can run: scalar' in result.stderr


def test_no_level_means_the_best() -> None:
    assert level_in_a_process("").stdout.strip() == LEVELS[-1]
