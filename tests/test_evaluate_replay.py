"""Strict replay: nothing is learned before it ended, and the scores are what they claim to be."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from sagesched.evaluate.methods import METHODS, Method, Request
from sagesched.evaluate.replay import replay
from sagesched.evaluate.scoring import Columns
from sagesched.evaluate.stream import NO_LIMIT, Stream, due_after, due_by_time, learned_before
from sagesched.lengths import Floats, LengthGrid
from sagesched.predict import LengthPredictor, make_embedder

GRID = LengthGrid(1024)
EMBEDDER = make_embedder("hashed")
TEXTS = [
    "Write a long essay about the sea.",
    "Capital of France?",
    "Translate 'good morning' into Spanish.",
    "List five tips for a good night's sleep.",
]


def traffic(n: int = 240) -> Stream:
    rng = np.random.default_rng(0)
    which = rng.integers(0, len(TEXTS), n)
    vectors = LengthPredictor(EMBEDDER, GRID).embed([f"{TEXTS[i]} {n % 7}" for i in which])
    lengths = np.maximum(1, rng.lognormal(3 + which, 0.5).astype(np.int64))
    return Stream.plain(vectors, lengths, [("a", "b")[i % 2] for i in which])


def timed(arrival_s: list[float], finish_s: list[float]) -> Stream:
    n = len(arrival_s)
    plain = Stream.plain(np.zeros((n, 2), np.float32), np.arange(1, n + 1))
    return Stream(plain.vectors, plain.lengths, plain.groups, plain.tenants, plain.finished,
                  plain.limits, np.array(arrival_s), np.array(finish_s))  # fmt: skip


class Spy:
    """Notes what it is asked and taught; its vectors name the requests."""

    def __init__(self) -> None:
        self.events: list[tuple[str, int]] = []
        self.finished: list[bool] = []

    def predict(self, requests: Sequence[Request]) -> Floats:
        self.events += [("predict", int(request.vector[0])) for request in requests]
        return np.full((len(requests), len(GRID)), 1.0 / len(GRID))

    def learn(self, request: Request, tokens: int, finished: bool = True) -> None:
        assert tokens == request.vector[0] + 1
        self.events.append(("learn", int(request.vector[0])))
        self.finished.append(finished)


def numbered(stream: Stream) -> Stream:
    n = len(stream)
    vectors = np.repeat(np.arange(n, dtype=np.float32)[:, np.newaxis], 2, axis=1)
    return Stream(vectors, np.arange(1, n + 1), stream.groups, stream.tenants, stream.finished,
                  stream.limits, stream.arrival_s, stream.finish_s)  # fmt: skip


def test_without_times_each_is_learned_before_the_next() -> None:
    spy = Spy()
    replay(numbered(Stream.plain(np.zeros((3, 2), np.float32), np.ones(3, np.int64))), spy, GRID)
    wanted = [("predict", 0), ("learn", 0), ("predict", 1), ("learn", 1), ("predict", 2)]
    assert spy.events == wanted


def test_with_times_each_is_learned_after_those_that_came_while_it_ran() -> None:
    spy = Spy()
    # 0 runs past 1 and 2; 1 ends as 2 arrives, which is not before it; 2 ends before 3.
    stream = timed([0.0, 1.0, 2.0, 5.0, 9.0], [6.0, 2.0, 4.0, 5.5, 9.5])
    replay(numbered(stream), spy, GRID)
    assert spy.events == [
        ("predict", 0), ("predict", 1), ("predict", 2), ("learn", 1), ("learn", 2), ("predict", 3),
        ("learn", 3), ("learn", 0), ("predict", 4),
    ]  # fmt: skip


def test_an_unknown_end_is_learned_before_the_next() -> None:
    assert due_by_time(timed([0.0, 1.0, 2.0], [np.nan, 7.0, np.nan])).tolist() == [1, 3, 3]


def test_a_lag_in_requests() -> None:
    stream = numbered(Stream.plain(np.zeros((4, 2), np.float32), np.ones(4, np.int64)))
    due = due_after(stream, 1)
    assert due.tolist() == [2, 3, 4, 4]
    assert list(learned_before(stream, due)) == [[], [], [0], [1]]


def test_nothing_may_be_learned_before_itself() -> None:
    stream = Stream.plain(np.zeros((2, 2), np.float32), np.ones(2, np.int64))
    with pytest.raises(ValueError, match="later one"):
        replay(stream, Spy(), GRID, due=np.array([0, 2]))


def predictions(make: Callable[[Stream], Method], stream: Stream) -> Floats:
    """All predictions of a replay, [n, m]."""
    method, seen = make(stream), []
    ask = method.predict

    def noted(requests: Sequence[Request]) -> Floats:
        found = ask(requests)
        seen.append(found[0].copy())
        return found

    method.predict = noted  # type: ignore[method-assign]
    replay(stream, method, GRID)
    return np.stack(seen)


def sees_the_future(make: Callable[[Stream], Method]) -> bool:
    """Whether other lengths from the middle on change what is predicted before them."""
    stream = traffic()
    middle = len(stream) // 2
    later = np.random.default_rng(1).permutation(stream.lengths[middle:]) * 3
    other = Stream.plain(
        stream.vectors, np.concatenate([stream.lengths[:middle], later]), stream.groups
    )
    # The request in the middle is still predicted without its own length.
    before, after = (predictions(make, each)[: middle + 1] for each in (stream, other))
    return not np.array_equal(before, after)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_no_method_sees_the_future(name: str) -> None:
    if name == "gbm":
        pytest.importorskip("sklearn")
    assert not sees_the_future(lambda stream: METHODS[name](EMBEDDER, GRID))


def test_a_planted_leak_is_caught() -> None:
    class Leak:
        """Knows the next length from behind the replay's back."""

        def __init__(self, stream: Stream) -> None:
            self._ours, self._stream, self._at = METHODS["global"](EMBEDDER, GRID), stream, 0

        def predict(self, requests: Sequence[Request]) -> Floats:
            self._at += 1
            coming = self._stream.lengths[min(self._at, len(self._stream) - 1)]
            self._ours.learn(requests[0], int(coming))
            return self._ours.predict(requests)

        def learn(self, request: Request, tokens: int, finished: bool = True) -> None:
            pass

    assert sees_the_future(Leak)


def test_the_same_twice() -> None:
    stream = traffic()
    first, second = (replay(stream, METHODS["sagesched"](EMBEDDER, GRID), GRID) for _ in range(2))
    assert first.score() == second.score()
    assert np.array_equal(first.crps, second.crps)


def test_what_was_cut_off_is_learned_as_such_and_limits_cut_predictions() -> None:
    n = 3
    stream = Stream(
        np.repeat(np.arange(n, dtype=np.float32)[:, np.newaxis], 2, axis=1),
        np.array([1, 2, 3]),
        [""] * n,
        [""] * n,
        np.array([True, False, False]),
        np.array([NO_LIMIT, 2, NO_LIMIT]),
    )
    assert stream.scored.tolist() == [True, True, False]
    spy = Spy()
    columns = replay(stream, spy, GRID)
    assert spy.finished == [True, False]
    assert columns.mean[1] == pytest.approx((1 + 2 * (len(GRID) - 1)) / len(GRID))
    assert columns.mean[0] == pytest.approx(GRID.edges.mean())


def certain(tokens: int) -> Floats:
    pmf = np.zeros(len(GRID))
    pmf[GRID.bin_of(tokens)] = 1.0
    return pmf


def test_scores_by_hand() -> None:
    halves = 0.5 * certain(4) + 0.5 * certain(8)
    columns = Columns.of(GRID, np.stack([halves, certain(10)]), np.array([6, 7]))
    # Half of the mass lies 2 below and half 2 above: 0.25 * 2 + 0.25 * 2. A point costs its error.
    assert columns.crps.tolist() == pytest.approx([1.0, 3.0])
    # The median of the first is 4, its 0.9 quantile 8.
    assert columns.pinball50.tolist() == pytest.approx([0.5 * 2, 0.5 * 3])
    assert columns.pinball90.tolist() == pytest.approx([0.1 * 2, 0.1 * 3])
    assert columns.mean.tolist() == pytest.approx([6.0, 10.0])
    assert columns.below.tolist() == columns.upto.tolist() == pytest.approx([0.5, 0.0])
    score = columns.score()
    assert (score.crps, score.tau, score.coverage90, score.n) == (2.0, 1.0, 0.5, 2)


def test_pit_by_hand() -> None:
    # Of four equally likely lengths the second: it takes the levels 0.25 to 0.5.
    quarters = np.mean([certain(tokens) for tokens in (1, 2, 3, 4)], axis=0)
    columns = Columns.of(GRID, quarters[np.newaxis], np.array([2]))
    assert columns.pit(4).tolist() == pytest.approx([0.0, 4.0, 0.0, 0.0])
    assert columns.pit(2).tolist() == pytest.approx([2.0, 0.0])
    assert columns.reached(np.array([0.1, 0.375, 0.9])).tolist() == pytest.approx([0.0, 0.5, 1.0])


def test_lengths_from_the_predictions_have_a_flat_pit() -> None:
    pmf = np.random.default_rng(0).dirichlet(np.ones(6))
    laws = np.zeros((1000, len(GRID)))
    laws[:, :6] = pmf
    lengths = np.random.default_rng(1).choice(np.arange(1, 7), 1000, p=pmf)
    assert Columns.of(GRID, laws, lengths).pit(10) == pytest.approx(np.ones(10), abs=0.2)


def test_impossible_lengths_are_in_the_histogram() -> None:
    laws = np.stack([certain(5), certain(5)])
    histogram = Columns.of(GRID, laws, np.array([1, 9])).pit(4)
    assert histogram.tolist() == pytest.approx([2.0, 0.0, 0.0, 2.0])
