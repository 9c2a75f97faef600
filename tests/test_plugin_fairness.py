"""Opting out, and what a client can and cannot gain."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sagesched.lengths import LengthDistribution
from sagesched.plugin.order import QueueOrder
from sagesched.plugin.parking import Limits, Parking
from sagesched.plugin.state import TokenizerState

from .operating import names
from .test_queue_order import GRID, Request, fill, make_order, no_prefix, point


def enter_all(order: QueueOrder, *requests: tuple[str, int, bool]) -> list[Any]:
    """Queue of (name, true and predicted length, opted out), all in step 0."""
    queue: list[Any] = []
    for name, tokens, opted_out in requests:
        request = Request(name)
        order.enter(request, 0, point(tokens), None, opted_out)
        queue.append(request)
    return queue


@pytest.mark.parametrize("dial", [0.7, 1.0, 3.0, 7.3, math.inf])
def test_who_opted_out_is_ranked_as_the_average_whatever_is_predicted(dial: float) -> None:
    order = make_order(dial)
    traffic = fill(order, [5, 4000] * 300)  # what is seen: average in between
    order.settle([])
    assert traffic
    queue = enter_all(
        order,
        ("long", 4000, False),
        ("off, long", 4000, True),
        ("off, short", 1, True),
        ("short", 5, False),
    )
    order.rank(queue, 4, no_prefix)
    assert names(queue) == ["short", "off, long", "off, short", "long"]


def test_among_those_who_opted_out_arrival_decides() -> None:
    order = make_order(3.0)
    fill(order, [5, 4000] * 50)
    order.settle([])
    queue: list[Any] = []
    rng = np.random.default_rng(1)
    for step in range(60):
        request = Request(f"r{step}", prompt=int(rng.integers(1, 3000)))
        order.enter(request, step, point(int(rng.integers(1, 4000))), None, True)
        queue.append(request)
        order.rank(queue, 60, no_prefix)
    assert names(queue) == [f"r{i}" for i in range(60)]


@pytest.mark.parametrize("dial", [0.0, 1.0, 6.0])
def test_the_average_follows_the_dial_and_the_traffic(dial: float) -> None:
    order = make_order(2.0)
    queue = enter_all(order, ("off", 4000, True))
    for step in range(200):
        request = Request(f"r{step}")
        order.enter(request, step, point(50 + step), None)
        queue.append(request)
    order.set_dial(dial)
    order.rank(queue, 50, no_prefix)
    keys, handle = order.keys, queue[names(queue).index("off")]._sagesched_place.handle
    centre = order._anchor.centre
    expected = keys.weight * min(max(centre, keys.low), keys.high) if keys.weight else 0.0
    assert order._engine.key(handle) == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_who_opted_out_is_never_parked() -> None:
    order = make_order(3.0)
    fill(order, [5, 4000] * 50)
    order.settle([])
    queue = enter_all(order, ("off", 4000, True), ("long", 4000, False), ("short", 1, False))
    running = queue[:2]
    del queue[:2]
    order.rank(queue, 1, no_prefix)
    for request in running:
        request.output_ids = [1] * 3
        request.finished = lambda: False
        request.to_finish = request.beam_group = None
        request.return_logprob = request.skip_radix_cache_insert = False
    victims = Parking(Limits(most_kv_tokens=1000)).victims(running, order)
    assert names(victims) == ["long"]


def keys_with_limits(limits: list[int | None]) -> list[float]:
    """Keys of equal prompts, as predicted alike and with limits of their own."""
    pmf = np.zeros(len(GRID))
    pmf[[GRID.bin_of(n) for n in (400, 600, 900)]] = 1 / 3
    tokenizer = TokenizerState(None, 4096)
    order = make_order(3.0)
    fill(order, [100, 400, 900] * 40)
    order.settle([])
    queue: list[Any] = []
    for limit in limits:
        params = SimpleNamespace(max_new_tokens=limit)
        fitted = tokenizer.fitted(LengthDistribution(GRID, pmf), params, 100)
        request = Request("r")
        order.enter(request, 0, fitted, limit)
        queue.append(request)
    sent = list(queue)
    order.rank(queue, len(queue), no_prefix)
    while order._engine.pending:
        order.rank(queue, len(queue), no_prefix)
    return [order._engine.key(request._sagesched_place.handle) for request in sent]


def test_a_limit_above_what_is_predicted_changes_nothing_however_large() -> None:
    without, *others = keys_with_limits([None, 1000, 3996, 10**6, 2**40])
    assert others == [without] * len(others)


def test_a_limit_below_is_a_true_one_and_gains_no_more_than_the_band() -> None:
    """It will be stopped there; below the band's lower end a still smaller limit gains nothing."""
    keys = keys_with_limits([None, 900, 100, 20, 1])
    assert keys[0] == keys[1] > keys[2] >= keys[3] >= keys[4]
    assert keys_with_limits([2, 1])[0] == keys_with_limits([2, 1])[1]


def test_splitting_a_prompt_gains_no_more_than_the_reach() -> None:
    """Ten pieces of a long request, each as short as can be, do not overtake who came a reach
    before, and among short ones they keep their turn."""
    order = make_order(1.0)
    traffic = fill(order, [20, 200, 2000] * 50)
    order.settle([])
    assert traffic
    order.rank([], 1, no_prefix)
    reach = math.ceil(order.keys.reach)
    queue: list[Any] = [Request("old and long")]
    order.enter(queue[0], 0, point(4000))
    for i in range(10):
        piece = Request(f"piece{i}")
        order.enter(piece, 4 * reach, point(1))
        queue.append(piece)
    order.rank(queue, 11, no_prefix)
    assert 4 * reach > order.keys.reach
    assert names(queue)[0] == "old and long"
    assert names(queue)[1:] == [f"piece{i}" for i in range(10)]
    honest = Request("honest and short")
    order.enter(honest, 4 * reach - 1, point(15))
    queue.append(honest)
    order.rank(queue, 12, no_prefix)
    assert names(queue)[1] == "honest and short"
