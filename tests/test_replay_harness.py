"""SGLang's scheduler in virtual time: schedules worked out by hand, exact lengths, repeats."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sagesched.replay.engine import EngineConfig
from sagesched.replay.result import RunResult
from sagesched.replay.trace import TraceRequest

from .replaying import Job, MovedTokens, replaying, request

pytestmark = pytest.mark.server

SMALL = EngineConfig(pool_tokens=1_000, max_running=1, context=512, chunk=64)
SIZED = ((60, 1), (30, 2), (4, 3))
"""Prompt and output tokens."""
THREE = [
    request(0.0, 4, 3, number=0),
    request(0.0, 4, 2, number=1),
    request(0.0, 4, 1, number=2),
]


@pytest.fixture(scope="module")
def one_slot() -> Iterator[Any]:
    with replaying(SMALL) as run:
        yield run


def times(result: RunResult) -> list[tuple[float, float]]:
    """When the first and the last token of each request were out."""
    return list(zip(result.first_s.tolist(), result.last_s.tolist(), strict=True))


def test_one_slot_by_hand(one_slot: Any) -> None:
    """A prefill gives the first token, every decode step one more."""
    fcfs = one_slot(Job(THREE))
    assert times(fcfs) == [(1.0, 3.0), (4.0, 5.0), (6.0, 6.0)]
    assert fcfs.steps == 6
    assert (fcfs.prefill_tokens, fcfs.cached_tokens, fcfs.recomputed_tokens) == (12, 0, 0)
    shortest = one_slot(Job(THREE, policy="gittins"))
    assert times(shortest) == [(4.0, 6.0), (2.0, 3.0), (1.0, 1.0)]
    assert shortest.fallbacks == 0


def test_larry_is_the_plug_in_and_knows_no_lengths(one_slot: Any) -> None:
    """By the prompts alone: the outputs would say the opposite."""
    sized = [request(0.0, prompt, out, number=i) for i, (prompt, out) in enumerate(SIZED)]
    served = one_slot(Job(sized, policy="larry", settings={"dial": float("inf")}))
    assert np.argsort(served.first_s).tolist() == [2, 1, 0]
    assert served.fallbacks == 0
    by_arrival = one_slot(Job(sized, policy="larry", settings={"dial": 0.0}))
    assert np.argsort(by_arrival.first_s).tolist() == [0, 1, 2]


def test_an_idle_engine_waits_for_the_next_arrival(one_slot: Any) -> None:
    late = [request(2.5, 4, 2), request(10.0, 4, 1, number=1)]
    assert times(one_slot(Job(late))) == [(3.5, 4.5), (11.0, 11.0)]


def test_a_long_prompt_is_computed_in_chunks(one_slot: Any) -> None:
    result = one_slot(Job([request(0.0, 150, 2)]))
    assert times(result) == [(3.0, 4.0)]  # 64 + 64 + 22 tokens
    assert result.prefill_tokens == 150


def test_equal_prefixes_come_from_the_cache(one_slot: Any) -> None:
    result = one_slot(Job([request(0.0, 40, 1), request(5.0, 40, 1)]))
    assert result.cached_tokens == 39  # of 40, the last one gives the first output token
    assert result.prefill_tokens == 41
    assert result.prefix_hit == pytest.approx(39 / 80)
    again = one_slot(Job([request(0.0, 40, 1)]))
    assert again.cached_tokens == 0  # every run starts with an empty cache


def test_a_request_that_does_not_fit_is_refused_and_counted(one_slot: Any) -> None:
    result = one_slot(Job([request(0.0, 600, 3), request(0.0, 4, 2, number=1)]))
    assert result.refused == 1
    assert result.output_tokens.tolist() == [2]


def test_the_limit_cuts_an_output_short(one_slot: Any) -> None:
    result = one_slot(Job([request(0.0, 4, 30)], max_output_tokens=7))
    assert result.output_tokens.tolist() == [7]
    assert result.true_tokens.tolist() == [30]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([], "no requests"),
        ([request(1.0, 4, 1), request(0.5, 4, 1)], "request 2 arrives at 0.5 s"),
        ([request(float("nan"), 4, 1)], "request 1 arrives at nan"),
        ([request(0.0, 0, 1)], "request 1 has an empty prompt"),
        ([request(0.0, 4, 0)], "request 1 has 0 output tokens"),
    ],
)
def test_a_bad_trace_is_refused(one_slot: Any, bad: list[TraceRequest], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        one_slot(Job(bad))
    assert times(one_slot(Job(THREE))) == [(1.0, 3.0), (4.0, 5.0), (6.0, 6.0)]  # none the worse


def test_unknown_policies_and_settings_are_named(one_slot: Any) -> None:
    with pytest.raises(ValueError, match=r"there is no sjf; known are .*fcfs, gittins"):
        one_slot(Job(THREE, policy="sjf"))
    with pytest.raises(ValueError, match="gittins has no setting dail; it has: dial"):
        one_slot(Job(THREE, policy="gittins", settings={"dail": 1.0}))
    with pytest.raises(ValueError, match=r"gittins: dial is -3; it must lie in 0\.\.inf"):
        one_slot(Job(THREE, policy="gittins", settings={"dial": -3.0}))


def test_the_dial_of_the_shipped_policy_is_in_force(one_slot: Any) -> None:
    first_come = one_slot(Job(THREE, policy="gittins", settings={"dial": 0.0}))
    assert times(first_come) == times(one_slot(Job(THREE)))


def test_two_slots_by_hand() -> None:
    with replaying(replace(SMALL, max_running=2)) as run:
        result = run(Job(THREE, max_output_tokens=8))  # so that SGLang expects both to fit
        # Both prompts in one step; the third prompt has a step of its own, in which the first
        # request waits.
        assert times(result) == [(1.0, 4.0), (1.0, 2.0), (3.0, 3.0)]
        assert result.max_gap_s.tolist() == [2.0, 1.0, 0.0]


def test_mixed_steps_by_hand() -> None:
    with replaying(replace(SMALL, max_running=2, mixed=True)) as run:
        result = run(Job(THREE, max_output_tokens=8))
        assert times(result) == [(1.0, 3.0), (1.0, 2.0), (3.0, 3.0)]


def random_trace(seed: int, count: int = 120, spread_s: float = 40.0) -> list[TraceRequest]:
    """Short and long prompts and outputs, some of them behind a shared prefix."""
    rng = random.Random(seed)
    arrivals = sorted(rng.uniform(0.0, spread_s) for _ in range(count))
    return [
        request(at, rng.randint(1, 200), rng.choice([1, 2, 9, 60, 150]), number=rng.randrange(90))
        for at in arrivals
    ]


@pytest.mark.parametrize("overlap", [False, True], ids=["normal", "overlap"])
@pytest.mark.parametrize("mixed", [False, True], ids=["separate", "mixed"])
def test_every_length_is_exact(overlap: bool, mixed: bool) -> None:
    """Under chunks, retractions, and preemption: every request ends with exactly its tokens.

    And whether uneventful decode steps take the short cut or SGLang's own loop makes no difference.
    """
    config = EngineConfig(
        pool_tokens=1_500,
        max_running=16,
        context=512,
        chunk=64,
        overlap=overlap,
        mixed=mixed,
        conservativeness=0.05,
    )
    crowded, spread = random_trace(5), random_trace(5, spread_s=600.0)
    with replaying(config) as run:
        for policy in ("fcfs", "gittins", "fastserve"):
            job = Job(crowded, policy=policy, max_output_tokens=200)
            result = run(job)
            assert_served(result, crowded)
            assert_equal(run(replace(job, short_cut=False)), result)
            # Else this proves less.
            assert policy == "fastserve" or result.retractions.sum() > 0
        job = Job(spread, policy="gittins-soft", max_output_tokens=200)
        result = run(job)
        assert_served(result, spread)
        assert_equal(run(replace(job, short_cut=False)), result)
        assert result.preemptions.sum() > 0


def assert_served(result: RunResult, trace: list[TraceRequest]) -> None:
    assert result.output_tokens.tolist() == [r.output_tokens for r in trace]
    assert result.fallbacks == 0, result.notes
    assert np.all(result.first_s > result.arrival_s)
    assert np.all(result.last_s >= result.first_s)


def assert_equal(one: RunResult, other: RunResult) -> None:
    assert one.digest == other.digest
    assert one.steps == other.steps


def test_a_stall_is_the_whole_silence(one_slot: Any) -> None:
    """Chunks of a prompt that is computed again give no tokens: the gap does not end with them."""
    jobs = [request(0.0, 150, 100, number=0), request(70.5, 4, 3, number=1)]
    exact = {"prompt_error": 0.0, "refined_error": 0.0}
    job = Job(jobs, "trail", settings=exact, max_output_tokens=200)
    result = one_slot(job)
    assert result.preemptions.tolist() == [1, 0]
    chunks = -(-result.recomputed_tokens // 64)
    assert chunks > 1
    assert result.max_gap_s[0] == 3 + chunks  # three steps of the other one, then its own
    assert_equal(one_slot(replace(job, short_cut=False)), result)


def test_swapped_kv_is_moved_once_and_computed_never() -> None:
    """Its way back takes several chunks, since another one's prefill has evicted it."""
    jobs = [request(0.0, 200, 30), request(6.5, 4, 3, number=1), request(6.6, 250, 1, number=2)]
    with replaying(EngineConfig(pool_tokens=400, max_running=1, context=512, chunk=64)) as run:
        found = {}
        for name in ("sagesched-paper", "sagesched-paper-25GB"):
            found[name] = run(Job(jobs, name, step_time=MovedTokens(), max_output_tokens=200))
            assert found[name].recomputed_tokens == 0
            assert found[name].preemptions[0] > 0
    free, charged = (result.last_s.max() for result in found.values())
    assert charged - free > 2 * 200  # a second per token, out and in, of at least its prompt


def test_after_a_policys_error_the_order_is_stocks(one_slot: Any) -> None:
    """Also where it had turned the queue round before."""
    five = [request(0.0, 4, 2, number=number) for number in range(5)]
    assert times(one_slot(Job(five, "raises-later-for-tests"))) == times(one_slot(Job(five)))


def test_the_context_cuts_an_output_short(one_slot: Any) -> None:
    job = Job([request(0.0, 500, 30), request(0.0, 4, 2, number=1)])
    result = one_slot(job)
    assert result.output_tokens[0] < 30
    assert result.cut == 1
    assert result.output_tokens[1] == 2
    assert_equal(one_slot(replace(job, short_cut=False)), result)


def test_equal_runs_are_equal(one_slot: Any) -> None:
    """In one process, and across processes with other hash seeds."""
    trace = random_trace(7, 60)
    job = Job(trace, policy="gittins", predictor="shipped")
    digest = one_slot(job).digest
    assert one_slot(job).digest == digest
    assert one_slot(replace(job, requests=random_trace(8, 60))).digest != digest
    with replaying(SMALL, hash_seed=3) as other:
        assert other(job).digest == digest


def test_a_policy_that_raises_is_counted_and_stock_order_serves(one_slot: Any) -> None:
    result = one_slot(Job(THREE, policy="raises-for-tests"))
    assert times(result) == [(1.0, 3.0), (4.0, 5.0), (6.0, 6.0)]
    assert result.fallbacks > 0
    assert "raises-for-tests raised ZeroDivisionError" in result.notes[0]
