"""The baselines: orders and victims worked out by hand, and a small run of each."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from sagesched.lengths import LengthDistribution, LengthGrid
from sagesched.reference import gittins_index as reference_index
from sagesched.replay.policies.base import Known, Policy, Situation
from sagesched.replay.policies.preempt import give_way
from sagesched.replay.policies.registry import all_policies, policy_class
from sagesched.replay.policies.tie import tail_mean

GRID = LengthGrid(2048)
OURS = [
    "prompt-only",
    "mean",
    "ssjf",
    "ltr",
    "trail",
    "trail-c0",
    "fastserve",
    "sagesched-paper",
    "sagesched-paper-25GB",
    "tie",
    "uniboost",
    "larry",
    "oracle-sjf",
    "oracle-srpt",
    "oracle-srpt-soft",
    "svf",
    "gittins-age0",
    "gittins-soft",
]


def law(chances: dict[int, float]) -> LengthDistribution:
    """Mass on edges of the grid."""
    pmf = np.zeros(len(GRID))
    for tokens, mass in chances.items():
        assert tokens in GRID.edges
        pmf[GRID.bin_of(tokens)] = mass
    return LengthDistribution(GRID, pmf)


class Bench:
    """A policy and hand-made requests, in order of arrival."""

    def __init__(self, name: str, slots: int = 4, pool: int = 1000, **values: float) -> None:
        self.situation = Situation(slots, pool, step_s=0.01)
        self.policy: Policy = policy_class(name)(self.situation, values)
        self.arrived = 0

    def request(self, name, *, prompt=10, age=0, cached=0, at=0.0, truth=0, chances=None):
        predicted = law(chances) if chances else None
        known = Known(self.arrived, at, predicted, truth, cluster="")
        self.situation.enter(name, known)
        self.arrived += 1
        made = SimpleNamespace(
            rid=name,
            origin_input_ids=[1] * prompt,
            output_ids=[2] * age,
            num_matched_prefix_tokens=cached,
        )
        self.situation.cached_prefix = lambda request: request.num_matched_prefix_tokens
        self.policy.entered(made)
        return made

    def order(self, *waiting) -> str:
        queue = list(waiting)
        self.policy.order(queue)
        return " ".join(request.rid for request in queue)

    def victims(self, running, waiting) -> str:
        return " ".join(request.rid for request in self.policy.victims(running, waiting))


def grow(request, tokens: int) -> None:
    request.output_ids = [2] * tokens


def test_all_of_the_field_is_there_with_its_source():
    assert set(OURS) <= set(all_policies())
    for name in OURS:
        made = policy_class(name)
        assert len(made.source) > 20, name
        assert made.flag == "fcfs", name
        if made.uses != "truth" and name not in ("prompt-only", "mean", "gittins-age0"):
            assert "arXiv" in made.source, name


def test_only_yardsticks_and_trail_know_the_truth():
    knowing = {name for name in OURS if policy_class(name).uses == "truth"}
    yardsticks = {"oracle-sjf", "oracle-srpt", "oracle-srpt-soft", "svf"}
    assert knowing == yardsticks | {"trail", "trail-c0"}


def test_give_way_pairs_the_worst_with_the_best():
    def better(newcomer: int, victim: int) -> bool:
        return newcomer < victim

    def victims(running, waiting, most=9):
        return give_way(running, waiting, lambda value: value, better, most)

    assert victims([5, 9, 1], [4, 8, 2]) == [9, 5]  # 2 < 9, 4 < 5, not 8 < 1
    assert victims([5, 9, 1], [4, 8, 2], most=1) == [9]
    assert victims([5, 9], [0]) == [9]
    assert victims([1, 2], [2, 3]) == []
    assert victims([], [1]) == []
    assert victims([1], [], most=3) == []
    assert victims([9], [1], most=0) == []


def test_prompt_only_counts_what_is_not_cached():
    bench = Bench("prompt-only")
    long = bench.request("long", prompt=500, cached=480)
    short = bench.request("short", prompt=30)
    same = bench.request("same", prompt=20)
    assert bench.order(same, short, long) == "long same short"
    # The cache has dropped it: seen once the look-up is 32 steps old.
    long.num_matched_prefix_tokens = 0
    assert bench.order(short, long, same) == "long same short"
    bench.situation.step += 32
    assert bench.order(long, short, same) == "same short long"


def test_prompt_only_never_counts_below_zero():
    bench = Bench("prompt-only")
    # After a soft preemption the output is in the cache, too.
    back = bench.request("back", prompt=100, age=50, cached=150)
    tiny = bench.request("tiny", prompt=1)
    assert bench.policy.key(back)[0] == 0
    assert bench.order(tiny, back) == "back tiny"


def test_mean_cost_by_hand():
    bench = Bench("mean")
    # E[O^2/2 + I*O]: 50 + 100*10 = 1050; 0.5 * (8 + 4*10) + 0.5 * (2048 + 64*10) = 1368.
    sure = bench.request("sure", prompt=100, chances={10: 1.0})
    risky = bench.request("risky", prompt=10, chances={4: 0.5, 64: 0.5})
    assert bench.policy.key(sure) == pytest.approx(1050)
    assert bench.policy.key(risky) == pytest.approx(1368)
    assert bench.order(risky, sure) == "sure risky"


def test_gittins_prefers_the_gamble_that_mean_cost_does_not():
    chances = {4: 0.5, 64: 0.5}
    for name, expected in (("mean", "sure risky"), ("gittins-age0", "risky sure")):
        bench = Bench(name)
        sure = bench.request("sure", prompt=10, chances={24: 1.0})  # cost 288 + 240 = 528
        risky = bench.request("risky", prompt=10, chances=chances)  # stop at 4: 48 / 0.5 = 96
        assert bench.order(sure, risky) == expected


def test_gittins_soft_follows_the_age_in_steps_of_16():
    bench = Bench("gittins-soft")
    request = bench.request("r", prompt=10, chances={4: 0.5, 64: 0.5})
    for age in (0, 15, 16, 31, 32):
        grow(request, age)
        rounded = age // 16 * 16
        expected = reference_index(law({4: 0.5, 64: 0.5}).pmf[None], GRID.edges, rounded, 10)[0]
        assert bench.policy.key(request) == pytest.approx(expected)


def test_gittins_soft_preempts_by_margin_at_most_eight():
    bench = Bench("gittins-soft")
    # Cost at age 0: O^2/2 + 10 * O. 20: 400; 40: 1200; 48: 1632.
    waiting = [bench.request(f"w{i}", chances={20: 1.0}) for i in range(12)]
    three_times = bench.request("three", chances={40: 1.0})
    four_times = [bench.request(f"r{i}", chances={48: 1.0}) for i in range(10)]
    assert bench.victims([three_times], waiting) == ""
    assert bench.victims([three_times, *four_times], waiting) == " ".join(f"r{i}" for i in range(8))
    assert bench.victims(four_times, waiting[:1]) == "r0"
    assert bench.policy.release == "soft"


def test_a_margin_can_be_set():
    bench = Bench("gittins-soft", margin=2.0)
    waiting = bench.request("w", chances={20: 1.0})
    running = bench.request("r", chances={40: 1.0})
    assert bench.victims([running], [waiting]) == "r"


def test_sagesched_paper_refreshes_every_200_tokens_and_has_no_margin():
    bench = Bench("sagesched-paper")
    running = bench.request("r", prompt=10, chances={24: 0.5, 2048: 0.5})
    waiting = bench.request("w", prompt=10, chances={128: 1.0})
    # It may end at 24: index (288 + 240) / 0.5 = 1056, below 8192 + 1280.
    assert bench.victims([running], [waiting]) == ""
    grow(running, 199)
    assert bench.victims([running], [waiting]) == ""
    grow(running, 200)  # now it will be long
    assert bench.victims([running], [waiting]) == "r"
    assert bench.policy.release == "swap"
    assert policy_class("sagesched-paper").swap_is_free
    assert not policy_class("sagesched-paper-25GB").swap_is_free


def test_ssjf_orders_by_mean_or_quantile():
    chances = {4: 0.9, 640: 0.1}  # mean 67.6, median 4
    for values, expected in (({}, "sure risky"), ({"quantile": 0.5}, "risky sure")):
        bench = Bench("ssjf", **values)
        sure = bench.request("sure", chances={24: 1.0})
        risky = bench.request("risky", chances=chances)
        assert bench.order(risky, sure) == expected


def test_ltr_promotes_after_its_wait_for_a_quantum():
    bench = Bench("ltr", starvation_steps=5, quantum_tokens=3)
    long = bench.request("long", chances={640: 1.0})
    short = bench.request("short", chances={4: 1.0})
    bench.situation.step = 4
    assert bench.order(long, short) == "short long"
    bench.situation.step = 5
    other = bench.request("other", chances={4: 1.0})
    # Both have waited five steps, the third has not.
    assert bench.order(other, long, short) == "short long other"
    # Promoted, it runs: nobody takes its place until it has had three tokens.
    for tokens, expected in ((0, ""), (2, ""), (3, "long")):
        grow(long, tokens)
        assert bench.victims([long], [other]) == expected
    # Back in the queue its wait starts anew.
    bench.policy.entered(long)
    bench.situation.step = 9
    assert bench.order(long, other) == "other long"
    bench.situation.step = 10
    newest = bench.request("newest", chances={4: 1.0})
    assert bench.order(newest, long) == "long newest"


def test_trail_without_error_is_srpt_until_a_share_of_the_length():
    bench = Bench("trail", prompt_error=0.0, refined_error=0.0)
    running = bench.request("r", truth=100)
    waiting = bench.request("w", truth=15)
    tie = bench.request("t", truth=20)
    for age, expected in ((0, "r"), (79, "r"), (80, "")):  # 0.8 * 100
        grow(running, age)
        assert bench.victims([running], [waiting]) == expected
    assert bench.order(tie, waiting) == "w t"
    grow(running, 79)
    waiting.output_ids = []
    assert bench.victims([running], [bench.request("longer", truth=22)]) == ""  # 21 remain
    assert bench.policy.release == "recompute"


def test_trail_c0_never_preempts():
    bench = Bench("trail-c0", prompt_error=0.0, refined_error=0.0)
    running = bench.request("r", truth=100)
    assert bench.victims([running], [bench.request("w", truth=1)]) == ""


def test_trail_states_its_error():
    bench = Bench("trail")
    first, later = [], []
    for i in range(4000):
        request = bench.request(f"r{i}", truth=101)
        first.append(math.log(bench.policy.key(request) / 101))
        grow(request, 1)
        later.append(math.log(bench.policy.key(request) / 100))
    assert np.mean(first) == pytest.approx(0.0, abs=0.05)
    assert np.std(first) == pytest.approx(0.8, rel=0.05)
    assert np.std(later) == pytest.approx(0.3, rel=0.05)
    assert abs(np.corrcoef(first, later)[0, 1]) < 0.06


def test_trail_draws_the_same_error_in_every_run():
    keys = []
    for _ in range(2):
        bench = Bench("trail")
        keys.append([bench.policy.key(bench.request(f"r{i}", truth=50)) for i in range(5)])
    assert keys[0] == keys[1]
    assert len(set(keys[0])) == 5


def test_fastserve_skips_levels_for_long_prompts_and_demotes():
    bench = Bench("fastserve")
    request = bench.request("r", prompt=10)
    # Quanta 1, 2, 4, ...: token 1 ends level 0, token 3 level 1, token 7 level 2.
    levels = []
    for age in range(8):
        grow(request, age)
        levels.append(bench.policy.key(request)[0])
    assert levels == [0, 1, 1, 2, 2, 2, 2, 3]
    # A prefill of 450 / 150 = 3 steps joins the level of quantum 4 and has 1 step left there.
    long = bench.request("long", prompt=450)
    levels = []
    for age in range(4):
        grow(long, age)
        levels.append(bench.policy.key(long)[0])
    assert levels == [2, 2, 3, 3]
    assert bench.order(long, request) == "request long".replace("request", "r")


def test_fastserve_preempts_only_for_a_higher_level():
    bench = Bench("fastserve")
    running = bench.request("r", age=3)  # level 2
    second = bench.request("same", age=3)
    fresh = bench.request("fresh")
    assert bench.victims([running], [second]) == ""
    assert bench.victims([running], [second, fresh]) == "r"
    assert bench.policy.release == "swap"


def test_fastserve_promotes_the_starving():
    bench = Bench("fastserve")
    old = bench.request("old", age=100)
    bench.situation.now_s = 2.9
    fresh = bench.request("fresh")
    assert bench.order(old, fresh) == "fresh old"
    bench.situation.now_s = 3.0
    assert bench.order(fresh, old) == "old fresh"  # same level, and it came first
    grow(old, 101)
    assert bench.policy.key(old)[0] == 1  # its quantum is over


def test_tail_mean_by_hand():
    # The longest tenth: 5 % at 64 and half of the 10 % at 32.
    assert tail_mean(law({8: 0.85, 32: 0.10, 64: 0.05}), 0.9) == pytest.approx(48)
    assert tail_mean(law({8: 1.0}), 0.9) == pytest.approx(8)


def test_tie_fears_the_tail_more_the_longer_the_queue():
    def bench_of(slots: int) -> tuple[Bench, list[SimpleNamespace]]:
        bench = Bench("tie", slots=slots)
        heavy = bench.request("heavy", chances={8: 0.9, 512: 0.1})  # mean 58.4, tail 512
        sure = bench.request("sure", chances={96: 1.0})  # mean and tail 96
        return bench, [heavy, sure]

    # beta 0.1: 109.6 against 105.6; at beta 0.5: 314.4 against 144.
    bench, queue = bench_of(slots=4)
    assert bench.order(*queue) == "sure heavy"
    assert bench.policy.key(queue[0]) == pytest.approx(58.4 + 51.2)
    bench, queue = bench_of(slots=1)
    others = [bench.request(f"r{i}", chances={4: 1.0}) for i in range(3)]
    bench.order(*queue, *others)
    assert bench.policy.key(queue[0]) == pytest.approx(58.4 + 0.5 * 512)
    # It keeps the score of its arrival.
    bench.order(*queue)
    assert bench.policy.key(queue[0]) == pytest.approx(58.4 + 0.5 * 512)


def test_uniboost_is_arrival_order_for_equals_and_forgets_long_runners():
    bench = Bench("uniboost")  # steps of 10 ms
    early = bench.request("early", at=0.0)
    late = bench.request("late", at=1.0)
    assert bench.order(late, early) == "early late"
    grow(early, 100)
    assert bench.order(early, late) == "late early"
    # A boost is bounded: a minute later nobody overtakes it any more.
    later = bench.request("later", at=60.0)
    assert bench.order(later, early) == "early later"


def test_uniboost_preempts_if_computing_the_kv_again_pays():
    bench = Bench("uniboost")
    running = bench.request("r", prompt=10, age=300, at=0.0)
    waiting = bench.request("w", prompt=10, at=1.0)
    assert bench.victims([running], [waiting]) == "r"
    heavy = bench.request("h", prompt=150_000, age=300, at=0.0)  # 1,000 steps to compute again
    assert bench.victims([heavy], [bench.request("w2", prompt=10, at=9.0)]) == ""


def test_larry_turns_from_arrival_to_size_with_load():
    def order(pool: int) -> str:
        bench = Bench("larry", pool=pool)
        big = bench.request("big", prompt=90)
        small = bench.request("small", prompt=10)
        middle = bench.request("middle", prompt=50)
        return bench.order(middle, small, big)

    assert order(pool=1_000_000) == "big small middle"
    assert order(pool=150) == "small middle big"  # a full load: by size alone


def test_oracles_by_hand():
    bench = Bench("oracle-sjf")
    # 50 + 100*10 = 1050 against 200 + 10*20 = 400.
    wide = bench.request("wide", prompt=100, truth=10)
    tall = bench.request("tall", prompt=10, truth=20)
    assert bench.policy.key(wide) == pytest.approx(1050)
    assert bench.order(wide, tall) == "tall wide"
    grow(wide, 9)
    assert bench.policy.key(wide) == pytest.approx(1050)
    bench = Bench("oracle-srpt")
    wide = bench.request("wide", prompt=100, truth=10, age=9)
    tall = bench.request("tall", prompt=10, truth=20)
    # (100 - 81) / 2 + 100 = 109.5 remain.
    assert bench.policy.key(wide) == pytest.approx(109.5)
    assert bench.order(tall, wide) == "wide tall"
    assert bench.victims([tall], [wide]) == ""


def test_oracle_srpt_soft_preempts_by_margin():
    bench = Bench("oracle-srpt-soft")
    short = bench.request("short", prompt=10, truth=20)  # 400
    three = bench.request("three", prompt=10, truth=40)  # 1200
    five = bench.request("five", prompt=10, truth=54)  # 1998
    assert bench.victims([three], [short]) == ""
    assert bench.victims([three, five], [short]) == "five"
    grow(five, 50)  # 248 remain
    assert bench.victims([three, five], [short]) == ""


def test_smallest_volume_first_leaves_out_the_cached_prefix():
    bench = Bench("svf")
    # 10 * 20 + 45 = 245 with, 10 * 100 + 45 = 1045 without the cache; 20 * 10 + 190 = 390.
    cached = bench.request("cached", prompt=100, cached=80, truth=10)
    tall = bench.request("tall", prompt=10, truth=20)
    assert bench.policy.key(cached) == pytest.approx(245)
    assert bench.policy.key(tall) == pytest.approx(390)
    assert bench.order(tall, cached) == "cached tall"


def test_a_missing_prediction_is_named():
    bench = Bench("mean")
    with pytest.raises(ValueError, match="has no prediction"):
        bench.order(bench.request("r"))


@pytest.mark.parametrize("name", OURS)
def test_orders_are_permutations_and_change_no_request(name):
    bench = Bench(name)
    requests = [
        bench.request(f"r{i}", prompt=5 + 37 * i % 90, truth=1 + 31 * i % 60, age=0,
                      chances={4: 0.5, 64: 0.5}, at=0.1 * i)
        for i in range(20)
    ]  # fmt: skip
    before = [(r.rid, list(r.origin_input_ids), list(r.output_ids)) for r in requests]
    queue = requests[8:]
    bench.policy.order(queue)
    assert sorted(r.rid for r in queue) == sorted(r.rid for r in requests[8:])
    again = list(queue)
    bench.policy.order(again)
    assert [r.rid for r in again] == [r.rid for r in queue]
    victims = bench.policy.victims(requests[:8], queue)
    assert set(map(id, victims)) <= set(map(id, requests[:8]))
    assert [(r.rid, list(r.origin_input_ids), list(r.output_ids)) for r in requests] == before
