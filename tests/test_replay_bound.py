"""The lower bound: tight where it can be worked out, never above any schedule."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field, replace
from itertools import combinations, product
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sagesched.replay import bound as bound_module
from sagesched.replay.bound import lower_bound_mean_ttlt_s, shared_prefix_tokens, srpt_mean_flow_s
from sagesched.replay.presets import preset
from sagesched.replay.steptime import Step, as_scheduled


@dataclass
class Affine:
    """A step-time model with a term for everything."""

    base: float = 1.0
    request: float = 0.0
    kv_token: float = 0.0
    prefill_token: float = 0.0
    pair: float = 0.0
    name: str = field(default="affine")

    def seconds(self, step: Step) -> float:
        return (
            self.base
            + self.request * (step.decode_requests + step.prefill_requests)
            + self.kv_token * step.decode_kv_tokens
            + self.prefill_token * step.prefill_tokens
            + self.pair * step.prefill_attention
        )


def bound(arrival, prompt, output, *, pool=10**9, slots=10**6, model=None, shared=None):
    return lower_bound_mean_ttlt_s(
        arrival,
        prompt,
        output,
        pool_tokens=pool,
        slots=slots,
        step_time=model or Affine(),
        shared_prefix_tokens=shared,
    )


def test_the_host_share_that_overlap_hides_is_not_in_the_bound() -> None:
    """An engine that is idle between requests: each takes no more than its own steps."""
    model = replace(preset("llama-3.1-8b", "h100"), overhead_s=1e-3)
    hidden = as_scheduled(model, overlap=True)
    step = Step(decode_requests=1, decode_kv_tokens=10)
    assert hidden.seconds(step) == pytest.approx(model.seconds(step) - model.overhead_s)
    assert as_scheduled(model, overlap=False) is model
    bounds = [
        lower_bound_mean_ttlt_s([0.0], [10], [100], pool_tokens=1000, slots=4, step_time=each)
        for each in (hidden, model)
    ]
    assert bounds[1] - bounds[0] == pytest.approx(100 * model.overhead_s)


def test_one_request_alone_takes_its_passes():
    # One prefill pass and four decode passes of one second each.
    assert bound([3.0], [100], [5]) == pytest.approx(5.0)


def test_one_request_alone_reads_its_kv():
    model = Affine(base=1.0, kv_token=0.001)
    # Contexts of 640 (rounded down to whole cells of 64, so exact here) in four decode passes.
    assert bound([0.0], [640], [5], model=model) == pytest.approx(1.0 + 4 * 1.640)


def test_coming_back_is_never_dearer_than_two_shortest_steps():
    model = Affine(base=1.0, kv_token=0.01)
    # A decode pass over 640 tokens takes 7.4 s; sitting one out and coming back may take 2 s.
    assert bound([0.0], [640], [5], model=model) == pytest.approx(1.0 + 4 * 2.0)


def test_slots_make_a_queue():
    # One slot, steps of 1 s, all there at once: shortest first ends at 1, 3 and 6 s.
    assert bound([0, 0, 0], [1, 1, 1], [3, 1, 2], slots=1) == pytest.approx(10 / 3)


def test_memory_makes_a_queue():
    # Each holds 10 tokens for one step, the pool 10: they end at 1, 2 and 3 s.
    assert bound([0, 0, 0], [10, 10, 10], [1, 1, 1], pool=10, shared=[0, 0, 0]) == pytest.approx(2)


def test_release_times_are_kept():
    # The long one is interrupted by the short one: 4 + 1 seconds, and 1 second.
    assert bound([0, 2], [1, 1], [4, 1], slots=1) == pytest.approx((5 + 1) / 2)


def test_a_prefix_that_may_be_shared_is_not_counted():
    alone = bound([0, 0], [10, 10], [1, 1], pool=10, shared=[0, 0])
    half = bound([0, 0], [10, 10], [1, 1], pool=10, shared=[5, 5])
    unknown = bound([0, 0], [10, 10], [1, 1], pool=10)
    assert alone == pytest.approx(1.5)
    assert unknown <= half < alone


def test_a_part_of_the_requests_has_no_higher_bound_than_they_had_among_all():
    generator = np.random.default_rng(5)
    arrival = np.sort(generator.uniform(0, 10, 50))
    output = generator.integers(1, 20, 50)
    # One at a time, in order of arrival: a schedule of all of them.
    now, flow = 0.0, []
    for at, tokens in zip(arrival, output, strict=True):
        now = max(now, at) + tokens
        flow.append(now - at)
    late = slice(25, None)
    part = bound(arrival[late], np.ones(25, int), output[late], slots=1)
    assert part <= np.mean(flow[late])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], [], []), "at least 1"),
        (([0.0, 1.0], [1], [1]), "one length"),
        (([0.0], [0], [1]), "at least 1 token"),
        (([0.0], [1], [0]), "at least 1 token"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        bound(*arguments)


def test_bad_engine_and_prefix_are_named():
    with pytest.raises(ValueError, match="pool_tokens and slots"):
        bound([0.0], [1], [1], slots=0)
    with pytest.raises(ValueError, match="shared prefix"):
        bound([0.0], [3], [1], shared=[4])


def test_shared_prefixes_by_hand():
    prompts = [array("q", ids) for ids in ([1, 2, 3, 4], [9], [1, 2, 5], [1, 2, 3], [7, 8])]
    assert shared_prefix_tokens(prompts).tolist() == [3, 0, 2, 3, 0]
    assert shared_prefix_tokens([]).tolist() == []


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=5), min_size=1, max_size=7))
def test_shared_prefixes_like_every_pair(prompts):
    def common(one, other):
        size = min(len(one), len(other))
        return next((i for i in range(size) if one[i] != other[i]), size)

    expected = [
        max((common(one, other) for j, other in enumerate(prompts) if j != i), default=0)
        for i, one in enumerate(prompts)
    ]
    arrays = [array("q", prompt) for prompt in prompts]
    assert shared_prefix_tokens(arrays).tolist() == expected


def test_srpt_by_hand():
    # 0..1 first, 1..2 second, 2..5 the rest of the first; the third is done as it comes.
    assert srpt_mean_flow_s([0.0, 1.0, 9.0], [4.0, 1.0, 0.0]) == pytest.approx((5 + 1 + 0) / 3)
    # The order of the arguments does not matter.
    assert srpt_mean_flow_s([1.0, 9.0, 0.0], [1.0, 0.0, 4.0]) == pytest.approx(2.0)


@dataclass(frozen=True)
class Case:
    """An engine and a few requests; ``prefix`` prompt tokens are the same in all of them."""

    arrival: tuple[float, ...]
    prompt: tuple[int, ...]
    output: tuple[int, ...]
    prefix: int
    pool: int
    slots: int
    model: Affine


@st.composite
def cases(draw):
    """Half of them short of memory only: all there at once, a slot for each."""
    n = draw(st.integers(1, 4))
    scarce = draw(st.booleans())
    longest = (6, 2) if scarce else (4, 4 if n < 4 else 2)
    prompt, output = (draw(st.tuples(*[st.integers(1, top)] * n)) for top in longest)
    arrival = (0.0,) * n
    if not scarce:
        arrival = draw(st.tuples(*[st.sampled_from([0.0, 0.7, 1.5, 4.0])] * n))
    prefix = draw(st.integers(0, min(prompt))) if n > 1 else 0
    need = max(i + o - 1 for i, o in zip(prompt, output, strict=True))
    pool = draw(st.integers(need, need + 2 if scarce else 2 * need))
    slots = n if scarce else draw(st.integers(1, n))
    price = st.sampled_from([0.0, 0.05, 0.5])
    model = Affine(1.0, *[0.0 if scarce else draw(price) for _ in range(4)])
    return Case(arrival, prompt, output, prefix, pool, slots, model)


def passes(case, made, now):
    """Every pass that could run now: who has a token more after it, and how long it takes.

    Generous on purpose: whoever has arrived may run or not in every pass, and its KV is there in
    no time; a prefill computes one token; a shared prefix is held once.
    """
    ready = [i for i in range(len(made)) if case.arrival[i] <= now and made[i] < case.output[i]]
    for size in range(1, min(len(ready), case.slots) + 1):
        for chosen in combinations(ready, size):
            held = case.prefix + sum(case.prompt[i] - case.prefix + made[i] for i in chosen)
            if held > case.pool:
                continue
            fresh = [i for i in chosen if made[i] == 0]
            old = [i for i in chosen if made[i] > 0]
            step = Step(
                decode_requests=len(old),
                decode_kv_tokens=sum(case.prompt[i] + made[i] for i in old),
                prefill_tokens=len(fresh),
                prefill_attention=sum(case.prompt[i] - 0.5 for i in fresh),
                prefill_requests=len(fresh),
            )
            yield chosen, case.model.seconds(step)


def best_mean(case):
    """The least mean latency of any schedule, by going through all of them.

    For every state (tokens made) it keeps the (time, latency summed) that no other one beats.
    """
    fronts = {(0,) * len(case.output): [(0.0, 0.0)]}
    for state in sorted(product(*[range(o + 1) for o in case.output]), key=sum):
        kept = []
        for now, total in sorted(fronts.get(state, [])):
            if not kept or total < kept[-1][1]:
                kept.append((now, total))
        fronts[state] = kept
        for now, total in kept:
            # Idling may pay only until somebody arrives.
            for start in {now, *(at for at in case.arrival if at > now)}:
                for chosen, seconds in passes(case, state, start):
                    after = list(state)
                    end, flow = start + seconds, total
                    for i in chosen:
                        after[i] += 1
                        if after[i] == case.output[i]:
                            flow += end - case.arrival[i]
                    fronts.setdefault(tuple(after), []).append((end, flow))
    return min(total for _, total in fronts[case.output]) / len(case.output)


@settings(max_examples=400, deadline=None)
@given(cases())
def test_no_schedule_beats_the_bound(case):
    with mock.patch.object(bound_module, "CELL_TOKENS", 1):  # no rounding to hide behind
        limit = bound(
            case.arrival,
            case.prompt,
            case.output,
            pool=case.pool,
            slots=case.slots,
            model=case.model,
            shared=[case.prefix] * len(case.output),
        )
    assert limit <= best_mean(case) * (1 + 1e-12)


def test_the_search_finds_what_is_worked_out_by_hand():
    """Else the property above could not fail."""
    three = Case((0.0,) * 3, (1,) * 3, (3, 1, 2), 0, 100, 1, Affine())
    assert best_mean(three) == pytest.approx(10 / 3)
    # Room for one prompt of 4 at a time, if its prefix is not shared, for both if it is.
    apart = Case((0.0, 0.0), (4, 4), (1, 1), 0, 5, 2, Affine())
    assert best_mean(apart) == pytest.approx(1.5)
    together = Case((0.0, 0.0), (4, 4), (1, 1), 4, 5, 2, Affine())
    assert best_mean(together) == pytest.approx(1.0)
