"""What policies are told in a replay: the published predictor, and what a limit says."""

from __future__ import annotations

from array import array

import numpy as np
import pytest

from sagesched.lengths import LengthGrid
from sagesched.replay.policies.registry import policy_class
from sagesched.replay.predictors import Published, Shipped
from sagesched.replay.trace import TraceRequest

GRID = LengthGrid(4096)


def asked(text: str) -> TraceRequest:
    return TraceRequest(0.0, array("q", [1, 2, 3]), 1, text=text)


def test_the_published_predictor_counts_similar_prompts_each_once() -> None:
    predictor = Published(GRID)
    first = predictor.predict(0, asked("Write a poem about the sea."))
    edges = GRID.edges[np.flatnonzero(first.pmf)]
    assert len(edges) == 10
    assert np.all(np.abs(edges / (200 * np.arange(1, 11)) - 1) < 0.13)  # to a bin of the grid
    for number, tokens in enumerate((150, 150, 3000)):
        predictor.predict(number, asked("Write a poem about the sea."))
        predictor.finished(number, tokens, by_itself=True)
    predictor.predict(3, asked("def quicksort(values): return"))
    predictor.finished(3, 500, by_itself=True)
    poem = predictor.predict(4, asked("Write a poem about the sea!"))
    assert poem.pmf[GRID.bin_of(200)] == pytest.approx(2 / 3)
    assert poem.pmf[GRID.bin_of(2000)] == pytest.approx(1 / 3)  # the last bucket is open
    other = predictor.predict(5, asked("Quarterly tax rules for farms in Peru"))
    assert other.pmf[GRID.bin_of(600)] == pytest.approx(1 / 4)  # nothing alike: everything counts
    predictor.refused(4)
    predictor.refused(5)
    assert not predictor._vectors


def test_a_policy_is_told_what_it_was_published_with_unless_another_is_asked_for() -> None:
    paper = policy_class("sagesched-paper")
    assert paper.knows("shipped") == "published"
    assert paper.knows("law") == "law"
    assert policy_class("gittins").knows("shipped") == "shipped"
    assert policy_class("fcfs").knows("shipped") == "none"
    assert policy_class("oracle-sjf").knows("prior") == "oracle"


def test_an_output_that_ends_at_the_limit_is_taken_for_longer() -> None:
    """As in a server, where the model did not end by itself."""
    natural, cut = Shipped(GRID), Shipped(GRID)
    for predictor, by_itself in ((natural, True), (cut, False)):
        for number in range(40):
            predictor.predict(number, asked("Tell me a story."))
            predictor.finished(number, 100, by_itself)
    means = [p.predict(99, asked("Tell me a story.")).mean() for p in (natural, cut)]
    assert means[1] > 1.5 * means[0]


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("trail", {"c": 5.0}, r"c is 5; it must lie in 0\.\.1"),
        ("trail", {"most_victims": 0.5}, "most_victims is 0.5"),
        ("gittins", {"dial": -1.0}, "dial is -1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    name: str, settings: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        policy_class(name).check_settings(settings)
