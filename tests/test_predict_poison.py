"""One tenant sends absurd requests, many more than all others: the others' predictions stand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from bench.demo.workload import built_in
from sagesched.evaluate.scoring import crps
from sagesched.lengths import LengthGrid
from sagesched.predict import LengthPredictor, make_embedder
from sagesched.predict.base import Vectors

GRID = LengthGrid(8192)
LEARNED, ASKED, FLOOD = 700, 300, 4

Outcome = tuple[Vectors, int, bool]


class Traffic:
    """Two ordinary tenants, and what a third one sends."""

    def __init__(self) -> None:
        pytest.importorskip("wordllama", reason="wordllama is not installed")
        self.random = np.random.default_rng(0)
        load = built_in(seed=5, learn=LEARNED, requests=ASKED)
        self.embedder = make_embedder("wordllama")
        predictor = self.predictor(10)
        self.learned = predictor.embed([r.text for r in load.learning])
        self.lengths = [r.output_tokens for r in load.learning]
        self.asked = predictor.embed([r.text for r in load.timed])
        self.truth = np.array([r.output_tokens for r in load.timed])
        words = ["alpha", "buy", "what", "why", "code", "essay", "now", "write", "list"]
        texts = [" ".join(self.random.choice(words, 12)) for _ in range(300)]
        self.own = predictor.embed(texts)
        self.base = {capacity: self.score(capacity) for capacity in (1400, 20_000)}

    def predictor(self, capacity: int) -> LengthPredictor:
        return LengthPredictor(self.embedder, GRID, capacity=capacity)

    def score(
        self,
        capacity: int,
        flood: Callable[[int], Outcome] | None = None,
        names: tuple[str, str] = ("tenant", "other"),
        group: Callable[[int], str] = lambda n: "",
        running: bool = False,
    ) -> float:
        predictor = self.predictor(capacity)
        for n, (vector, tokens) in enumerate(zip(self.learned, self.lengths, strict=True)):
            predictor.record(vector, tokens, True, tenant=names[n % 2])
            for k in range(FLOOD * n, FLOOD * n + FLOOD):
                if flood is None:
                    break
                flooding, length, finished = flood(k)
                if running:
                    predictor.note_running(str(k), flooding, length, group(k), "flood")
                else:
                    predictor.record(flooding, length, finished, group(k), "flood")
        tenants = [names[n % 2] for n in range(ASKED)]
        laws = predictor.predict_from(self.asked, tenants=tenants)
        return float(crps(GRID, np.stack([law.pmf for law in laws]), self.truth).mean())

    def copy(self, n: int) -> Vectors:
        vector: Vectors = self.learned[n % LEARNED]
        return vector


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    return Traffic()


FLOODS: dict[str, Callable[[Traffic, int], Outcome]] = {
    "endless answers": lambda t, n: (t.own[n % 300], GRID.max_tokens, True),
    "one token": lambda t, n: (t.own[n % 300], 1, True),
    "any length": lambda t, n: (t.own[n % 300], int(np.exp(t.random.uniform(0, 9))), True),
    "others' prompts, any length": lambda t, n: (
        t.copy(n),
        int(np.exp(t.random.uniform(0, 9))),
        True,
    ),
    "others' prompts, long for short": lambda t, n: (
        t.copy(n),
        max(1, 40_000 // t.lengths[n % LEARNED]),
        True,
    ),
    "others' prompts, never finished": lambda t, n: (t.copy(n), GRID.max_tokens - 1, False),
    "vectors of NaN": lambda t, n: (np.full_like(t.own[0], np.nan), 10**9, True),
    "vectors of infinity": lambda t, n: (np.full_like(t.own[0], -np.inf), 0, True),
}


@pytest.mark.parametrize("capacity", [1400, 20_000])
@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_changes_the_others_predictions_by_less_than_2_percent(
    traffic: Traffic, flood: str, capacity: int
) -> None:
    flooded = traffic.score(capacity, lambda n: FLOODS[flood](traffic, n))
    assert flooded == pytest.approx(traffic.base[capacity], rel=0.02)


def endless(traffic: Traffic) -> Callable[[int], Outcome]:
    return lambda n: (traffic.copy(n), GRID.max_tokens, True)


def test_so_does_a_flood_under_invented_groups_or_of_running_requests(traffic: Traffic) -> None:
    base = traffic.base[20_000]
    invented = traffic.score(20_000, endless(traffic), group=lambda n: f"group {n}")
    running = traffic.score(20_000, endless(traffic), running=True)
    assert invented == pytest.approx(base, rel=0.02)
    assert running == pytest.approx(base, rel=0.02)


def test_those_who_name_no_tenant_are_one_beside_others(traffic: Traffic) -> None:
    base = traffic.score(20_000, names=("", ""))
    flooded = traffic.score(20_000, endless(traffic), names=("", ""))
    assert flooded == pytest.approx(base, rel=0.02)


def test_the_flood_itself_is_predicted(traffic: Traffic) -> None:
    predictor = traffic.predictor(1000)
    for n in range(2000):
        predictor.record(traffic.own[n % 300], 5, True, tenant="flood")
    (law,) = predictor.predict_from(traffic.own[:1], tenants=["flood"])
    assert law.survival(8) < 0.1
