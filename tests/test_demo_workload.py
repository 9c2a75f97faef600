"""The demo's requests: their laws, their phrasings, the split, and the arrivals."""

from __future__ import annotations

import random
import statistics

import pytest

from bench.demo.arrivals import poisson_arrivals
from bench.demo.families import FAMILIES, Family
from bench.demo.law import MAX_OUTPUT_TOKENS, LengthLaw, Mode, mixture_cv, mixture_mean
from bench.demo.workload import built_in

families = pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
MIX = [(f.weight, f.law) for f in FAMILIES]


def test_there_are_at_least_six_families_and_their_shares_sum_to_one() -> None:
    assert len({f.name for f in FAMILIES}) >= 6
    assert sum(f.weight for f in FAMILIES) == pytest.approx(1.0)


def test_lengths_are_as_variable_as_in_real_traffic_and_short_enough_for_a_cpu() -> None:
    assert 80 <= mixture_mean(MIX) <= 150
    assert 0.8 <= mixture_cv(MIX) <= 1.5


def test_drawn_lengths_follow_the_stated_laws() -> None:
    lengths = [r.output_tokens for r in built_in(seed=3, learn=0, requests=8000).timed]
    mean = statistics.fmean(lengths)
    assert mean == pytest.approx(mixture_mean(MIX), rel=0.06)  # 4 standard errors
    assert statistics.pstdev(lengths) / mean == pytest.approx(mixture_cv(MIX), rel=0.08)
    assert min(lengths) >= 1
    assert max(lengths) <= MAX_OUTPUT_TOKENS


@families
def test_a_family_s_law_gives_its_stated_mean(family: Family) -> None:
    rng = random.Random(f"law of {family.name}")
    drawn = [family.law.sample(rng) for _ in range(4000)]
    assert statistics.fmean(drawn) == pytest.approx(family.law.moment(1), rel=0.08)


def test_reasoning_lengths_are_bimodal() -> None:
    law = next(f.law for f in FAMILIES if f.name == "reasoning")
    rng = random.Random(1)
    drawn = [law.sample(rng) for _ in range(4000)]
    valley = sum(130 < n < 200 for n in drawn)
    assert sum(40 < n < 110 for n in drawn) > 5 * valley
    assert sum(300 < n < 600 for n in drawn) > 5 * valley


def test_a_law_whose_weights_do_not_sum_to_one_is_refused() -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        LengthLaw((Mode(0.5, 10, 1), Mode(0.4, 20, 1)))


@families
def test_each_side_of_the_split_has_many_distinct_phrasings(family: Family) -> None:
    for held_out in (False, True):
        phrasings = family.phrasings(held_out=held_out)
        texts = {family.render(p, random.Random(0)) for p in phrasings}
        assert len(texts) == len(phrasings) >= 60


@families
def test_phrasings_differ_in_words_not_merely_in_numbers(family: Family) -> None:
    for variants in (family.templates, family.topics):
        without_digits = {"".join(c for c in text if not c.isdigit()) for text in variants}
        assert len(without_digits) == len(variants) >= 16


@families
def test_held_out_phrasings_share_neither_template_nor_topic_with_learned_ones(
    family: Family,
) -> None:
    learned = family.phrasings(held_out=False)
    held_out = family.phrasings(held_out=True)
    assert not {p.template for p in learned} & {p.template for p in held_out}
    assert not {p.topic for p in learned} & {p.topic for p in held_out}


def test_half_of_the_timed_requests_have_phrasings_that_were_never_learned() -> None:
    workload = built_in(seed=0, learn=200, requests=400)
    assert sum(not r.seen for r in workload.timed) == 200
    learned = {r.text for r in workload.learning}
    assert not any(r.text in learned for r in workload.timed if not r.seen)
    # A summary comes with a new document; every other repeated phrasing is the same text.
    repeated = [r for r in workload.timed if r.seen and r.family != "summaries"]
    assert all(r.text in learned for r in repeated)


def test_without_a_learning_part_nothing_counts_as_seen() -> None:
    workload = built_in(seed=0, learn=0, requests=50)
    assert workload.learning == ()
    assert not any(r.seen for r in workload.timed)


def test_some_summaries_carry_a_long_text() -> None:
    timed = built_in(seed=0, learn=0, requests=400).timed
    words = [len(r.text.split()) for r in timed if r.family == "summaries"]
    assert sum(300 <= n <= 950 for n in words) >= len(words) / 4
    assert sum(n < 300 for n in words) >= len(words) / 4


def test_a_seed_names_one_workload() -> None:
    assert built_in(seed=7, learn=30, requests=60) == built_in(seed=7, learn=30, requests=60)
    assert built_in(seed=7, learn=30, requests=60) != built_in(seed=8, learn=30, requests=60)


def test_the_learning_part_does_not_depend_on_the_number_of_timed_requests() -> None:
    few, many = built_in(seed=1, learn=40, requests=10), built_in(seed=1, learn=40, requests=90)
    assert few.learning == many.learning


def test_arrivals_are_poisson_at_the_asked_rate() -> None:
    times = poisson_arrivals(seed=0, requests=20_000, rate_rps=8.0)
    gaps = [b - a for a, b in zip([0.0, *times], times, strict=False)]
    assert min(gaps) >= 0
    assert statistics.fmean(gaps) == pytest.approx(1 / 8, rel=0.03)
    assert statistics.pstdev(gaps) / statistics.fmean(gaps) == pytest.approx(1, rel=0.04)


def test_the_rate_only_scales_the_arrival_pattern() -> None:
    slow = poisson_arrivals(seed=5, requests=100, rate_rps=1.0)
    fast = poisson_arrivals(seed=5, requests=100, rate_rps=4.0)
    assert fast == pytest.approx([t / 4 for t in slow])
    assert poisson_arrivals(seed=6, requests=100, rate_rps=1.0) != slow


def test_a_rate_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        poisson_arrivals(seed=0, requests=3, rate_rps=0.0)
