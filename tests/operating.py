"""A scheduler's state without SGLang, for the tests of how it is operated."""

from __future__ import annotations

import math
from typing import Any

from sagesched.plugin.order import QueueOrder
from sagesched.plugin.parking import Limits, Parking
from sagesched.plugin.state import SchedulerState

from .test_queue_order import KV_VOLUME, PRIOR

SLOTS = 4


def make_state(*, in_force: bool = True, dial: float = math.inf) -> SchedulerState:
    return SchedulerState(
        lambda dial: QueueOrder(PRIOR, KV_VOLUME, dial, SLOTS),
        lambda dial: Parking(Limits.of_dial(dial, 1000.0)),
        SLOTS,
        dial,
        in_force=in_force,
    )


def order_of(state: SchedulerState) -> QueueOrder:
    assert state.order is not None
    return state.order


def names(queue: list[Any]) -> list[str]:
    return [request.name for request in queue]
