"""Baselines from papers: orders and victims worked out by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from sagesched.replay.policies.registry import policy_class
from sagesched.replay.policies.tie import tail_mean

from .replay_bench import Bench, grow, law


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
