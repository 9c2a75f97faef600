"""RankEngine: what it refuses, in which words, and that a refusal changes nothing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from sagesched import CostModel, IndexCurve, RankEngine, _core
from tests.test_rank_engine import EDGES, INF, LONG, SHORT, engine_of

GOOD: dict[str, Any] = {"pmf": SHORT, "prompt_len": 10, "arrival": 0.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pmf": [1, math.nan, 0, 0]}, "column 1 is nan"),
        ({"pmf": [1, 0, -1, 0]}, "column 2 is -1"),
        ({"pmf": [1, 0, 0]}, r"pmf has shape \(3,\).*\(4,\)"),
        ({"pmf": [SHORT]}, r"pmf has shape \(1, 4\)"),
        ({"prompt_len": -1}, "prompt_len is -1"),
        ({"prompt_len": math.nan}, "prompt_len is nan"),
        ({"age": INF}, "age is inf"),
        ({"cached_len": -2}, "cached_len is -2"),
        ({"arrival": -0.5}, "arrival is -0.5"),
        ({"arrival": math.nan}, "arrival is nan"),
        ({"arrival": INF}, "arrival is inf"),
        ({"arrival": 1e301}, r"arrival is 1.*e\+301"),
        ({"pmf": [1, 0, 2.0**130, 0]}, "column 2 is 1.*more than a float32 holds"),
    ],
)
def test_bad_requests_are_refused(change: dict[str, Any], message: str) -> None:
    engine = RankEngine(EDGES)
    with pytest.raises(ValueError, match=message):
        engine.add(**{**GOOD, **change})
    assert (len(engine), engine.slots) == (0, 0)


@pytest.mark.parametrize(
    "change", [{"pmf": "abcd"}, {"pmf": ["1"] * 4}, {"prompt_len": "9"}, {"priority": 0.5}]
)
def test_wrong_types_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        RankEngine(EDGES).add(**{**GOOD, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pmf": [SHORT, [0, 0, 0, -1]]}, "pmf row 1, column 3 is -1"),
        ({"pmf": [SHORT, [2.0**130, 0, 0, 0]]}, "pmf row 1, column 0 is 1.*more than a float32"),
        ({"pmf": SHORT}, r"pmf has shape \(4,\); expected \(N, 4\)"),
        ({"prompt_len": [1, -1]}, "prompt_len row 1 is -1"),
        ({"prompt_len": [1, 2, 3]}, r"prompt_len has shape \(3,\); expected a scalar or \(2,\)"),
        ({"arrival": [math.nan, 0]}, "arrival row 0 is nan"),
        ({"age": [0, INF]}, "age row 1 is inf"),
        ({"cached_len": -1}, "cached_len row 0 is -1"),
        ({"lead": [0, -1]}, "lead row 1 is -1; it must lie between 0 and 256"),
        ({"lead": math.nan}, "lead row 0 is nan"),
        ({"lead": [0, 1, 2]}, r"lead has shape \(3,\)"),
        ({"priority": [0, 1, 2]}, r"priority has shape \(3,\)"),
    ],
)
def test_one_bad_row_refuses_its_batch(change: dict[str, Any], message: str) -> None:
    engine = RankEngine(EDGES)
    good: dict[str, Any] = {"pmf": [SHORT, LONG], "prompt_len": 10, "arrival": [0.0, 1.0]}
    with pytest.raises(ValueError, match=message):
        engine.add_batch(**{**good, **change})
    with pytest.raises(TypeError, match="priority has dtype float64; expected integers"):
        engine.add_batch(**good, priority=[0.5, 1])
    assert (len(engine), engine.slots, engine.kernel_calls) == (0, 0, 0)


def test_bad_updates_change_nothing() -> None:
    engine, (long, short) = engine_of(LONG, SHORT)
    index = engine.index(long)
    with pytest.raises(ValueError, match="age row 1 is -1"):
        engine.update_age([long, short], [5, -1])
    with pytest.raises(ValueError, match="cached_len row 0 is nan"):
        engine.set_cached_prefix([long], [math.nan])
    with pytest.raises(ValueError, match=r"has shape \(1,\); expected \(2,\)"):
        engine.update_age([long, short], [5])
    with pytest.raises(TypeError, match="handles has dtype float64; expected integers"):
        engine.update_age([1.0], [5])
    for bad in (math.nan, INF, -1e301):
        with pytest.raises(ValueError, match="boost row 1 is "):
            engine.update([long, short], age=[1, 1], boost=[0, bad])
    with pytest.raises(KeyError, match=f"handle {short} occurs more than once"):
        engine.update([long], age=[1], remove=[short, short])
    with pytest.raises(KeyError, match="handle 77 is unknown"):
        engine.update([long], age=[1], remove=[short, 77])
    with pytest.raises(ValueError, match=r"handles has shape \(1, 1\)"):
        engine.remove([[long]])
    assert engine.index(long) == index
    assert engine.top(2).tolist() == [short, long]


def test_a_cost_beyond_float32_is_refused_at_the_door() -> None:
    with pytest.raises(ValueError, match="more than a float32 holds"):
        RankEngine(EDGES, CostModel(memory=1e20))
    engine = RankEngine(EDGES)
    with pytest.raises(ValueError, match="more than a float32 holds"):
        engine.set_cost(CostModel(token=1e30))
    assert engine.cost == CostModel()
    assert engine.pending == 0


def test_bad_engines_and_arguments() -> None:
    with pytest.raises(ValueError, match="support is empty"):
        RankEngine([])
    with pytest.raises(ValueError, match="support column 1"):
        RankEngine([4, 4])
    with pytest.raises(ValueError, match=r"support column 1 is .* as a float32 the same"):
        RankEngine([2.0**30, 2.0**30 + 1])
    engine = RankEngine(EDGES)
    with pytest.raises(ValueError, match="slice is 0"):
        RankEngine(EDGES, slice=0)
    for bad in (-1.0, math.nan, -INF, 1e301):
        with pytest.raises(ValueError, match="index_weight"):
            engine.set_index_weight(bad)
        with pytest.raises(ValueError, match="index_weight"):
            RankEngine(EDGES, index_weight=bad)
    for low, high in ((1.0, 0.0), (math.nan, 0.0), (0.0, math.nan), (INF, INF), (-INF, -INF)):
        with pytest.raises(ValueError, match="index band"):
            engine.set_index_band(low, high)
    for scale in (-1.0, math.nan, INF, 257.0):
        with pytest.raises(ValueError, match="lead scale"):
            engine.set_lead_scale(scale)
    with pytest.raises(ValueError, match="k is -1"):
        engine.top(-1)


@pytest.mark.parametrize("handle", [0, 1, -1, 2**32, 2**62])
def test_unknown_handles_are_named(handle: int) -> None:
    engine = RankEngine(EDGES)
    for call in (
        engine.remove,
        engine.index,
        engine.log_index,
        engine.key,
        lambda h: engine.compare(h, h),
    ):
        with pytest.raises(KeyError, match=f"handle {handle} is unknown"):
            call(handle)


def test_integers_beyond_int64_do_not_wrap_round() -> None:
    engine = RankEngine(EDGES)
    with pytest.raises(ValueError, match="priority row 0 is 9223372036854775808"):
        engine.add_batch([SHORT], 10, 0.0, priority=np.array([2**63], np.uint64))
    with pytest.raises(ValueError, match="handles row 0 is 18446744073709551611"):
        engine.remove(np.array([2**64 - 5], np.uint64))
    assert len(engine) == 0


@pytest.mark.parametrize("scale", [1e-30, 1e-44, 1e-46, 1e-300])
def test_faint_masses_keep_their_proportions(scale: float) -> None:
    engine = RankEngine([10, 20, 1000], CostModel(token=1.0, memory=0.0))
    row = np.array([0.9, 0.1, 1e-3])
    expected, found = (engine.index(engine.add(row * by, 0, 0)) for by in (1.0, scale))
    assert found == pytest.approx(expected, rel=1e-6)


def test_a_support_that_float32_cannot_hold_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="support column 0 is 1e-300, as a float32 zero"):
        RankEngine([1e-300, 1.0])


@pytest.mark.parametrize(
    "use",
    [
        lambda engine: engine.top(1),
        lambda engine: engine.compare(0, 1),
        lambda engine: engine.slots,
        len,
        lambda engine: _core.look_up([IndexCurve.__new__(IndexCurve)], [0], [0]),
        lambda engine: IndexCurve.__new__(IndexCurve).index([0]),
    ],
)
def test_an_object_without_init_is_refused(use: Any) -> None:
    with pytest.raises(TypeError, match="__init__ of this object was not called"):
        use(RankEngine.__new__(RankEngine))


def test_an_object_whose_init_failed_is_refused() -> None:
    engine = RankEngine.__new__(RankEngine)
    with pytest.raises(ValueError, match="support"):
        engine.__init__([2, 1])  # type: ignore[misc]
    with pytest.raises(TypeError, match="__init__ of this object was not called"):
        engine.top(1)
