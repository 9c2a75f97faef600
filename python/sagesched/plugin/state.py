"""What the plug-in keeps on the objects it hooks: set where the policy is ours, absent elsewhere.

Every hook starts with one look for its state, so without ``--schedule-policy gittins`` the
plug-in is one attribute test per call and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sagesched.lengths import LengthDistribution
from sagesched.plugin import metrics
from sagesched.plugin.checksum import OrderChecksum
from sagesched.plugin.departures import Departures
from sagesched.plugin.order import QueueOrder, stock_order
from sagesched.plugin.parking import Parking
from sagesched.plugin.progress import Progress

STATE = "_sagesched"
GIVE_UP_AFTER = 3


@dataclass
class SchedulerState:
    """On SGLang's ``SchedulePolicy``, in each scheduler process.

    Attributes:
        make_order: builds an empty order; also used to start again after an error.
        order: the order in force, None while the policy is off.
        max_running: most requests the engine runs at once.
        parking: None where running requests never give way.
        preempts: whether SGLang itself preempts running requests, for others of a better class.
        checksum: of what was decided; None unless asked for.
        failures: errors so far; at ``GIVE_UP_AFTER`` the order stays off until a restart.
    """

    make_order: Callable[[], QueueOrder]
    max_running: int
    parking: Parking | None = None
    preempts: bool = False
    checksum: OrderChecksum | None = None
    order: QueueOrder | None = field(init=False)
    failures: int = 0

    def __post_init__(self) -> None:
        self.order = self.make_order()

    def failed(self, queue: list[Any]) -> None:
        """After an error of ours: arrival order now, a fresh start or off next."""
        self.failures += 1
        stock_order(queue)
        self.order = self.make_order() if self.failures < GIVE_UP_AFTER else None
        metrics.set_slots(0)


@dataclass(frozen=True)
class TokenizerState:
    """On SGLang's ``TokenizerManager``: what predicts, the context length, where a request's tenant
    is taken from (``about.TENANT_SOURCES``), who is leaving,
    and how far the others have come."""

    service: Any
    max_tokens: int
    tenant_source: str = ""
    departures: Departures = field(default_factory=Departures)
    progress: Progress = field(default_factory=Progress)

    def fitted(
        self, predicted: LengthDistribution | None, params: Any, prompt_tokens: int
    ) -> LengthDistribution | None:
        """A prediction cut to what the request may generate, by its own limit and the context.

        A request that ignores the end token (``ignore_eos``) generates exactly its limit.
        """
        if predicted is None:
            return None
        room = max(1, self.max_tokens - prompt_tokens)
        limit = room if params.max_new_tokens is None else min(params.max_new_tokens, room)
        if getattr(params, "ignore_eos", False):
            pmf = np.zeros(len(predicted.grid))
            pmf[predicted.grid.bin_of(limit)] = 1.0
            return LengthDistribution(predicted.grid, pmf)
        return predicted.capped(max(1, limit))


def state_of(holder: Any) -> Any:
    """The state kept on ``holder``, or None when our policy is not in force there."""
    return holder.__dict__.get(STATE)
