"""Baselines of our own and yardsticks: orders and victims worked out by hand."""

from __future__ import annotations

import pytest

from sagesched.reference import gittins_index as reference_index
from sagesched.replay.policies.preempt import give_way
from sagesched.replay.policies.registry import all_policies, policy_class

from .replay_bench import GRID, OURS, Bench, grow, law


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


@pytest.mark.parametrize(
    ("policy", "setting", "value", "message"),
    [
        ("tie", "level", 1.0, r"level is 1; it must lie in 0\.\.0\.999"),
        ("fastserve", "levels", 2.5, "levels is 2.5; it must be whole"),
        ("fastserve", "ratio", 0.5, r"ratio is 0\.5; it must lie in 1\.01"),
        ("sagesched-paper", "margin", 0.0, "margin is 0; it must lie in 1"),
        ("ssjf", "quantile", 2.0, r"quantile is 2; it must lie in 0\.\.1"),
        ("uniboost", "scale_tokens", 0.0, "scale_tokens is 0"),
        ("trail", "prompt_error", 1e9, "prompt_error"),
        ("trail", "most_victims", float("inf"), "most_victims is inf"),
        ("gittins", "dial", float("nan"), "dial is nan"),
        ("gittins", "forecast", 0.5, "forecast is 0.5; it must be whole"),
        ("gittins", "kv_cost", 2.0, r"kv_cost is 2; it must lie in 0\.\.1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    policy: str, setting: str, value: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        all_policies()[policy].check_settings({setting: value})


def test_all_defaults_are_within_their_limits() -> None:
    for policy in all_policies().values():
        own = {k: v for k, v in policy.settings.items() if k not in policy.variables}
        policy.check_settings(own)  # the others' -1 stands for the plug-in's default
    all_policies()["gittins"].check_settings({"dial": float("inf")})
