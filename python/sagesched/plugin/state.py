"""What the plug-in keeps on the objects it hooks: set where the policy is ours, absent elsewhere.

Every hook starts with one look for its state, so without ``--schedule-policy gittins`` the
plug-in is one attribute test per call and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sagesched.lengths import LengthDistribution
from sagesched.plugin.order import QueueOrder

STATE = "_sagesched"
GIVE_UP_AFTER = 3


@dataclass
class SchedulerState:
    """On SGLang's ``SchedulePolicy``, in each scheduler process.

    Attributes:
        make_order: builds an empty order; also used to start again after an error.
        order: the order in force, None while the policy is off.
        max_running: most requests the engine runs at once.
        failures: errors in a row; at ``GIVE_UP_AFTER`` the order stays off until a restart.
    """

    make_order: Callable[[], QueueOrder]
    max_running: int
    order: QueueOrder | None = field(init=False)
    failures: int = 0

    def __post_init__(self) -> None:
        self.order = self.make_order()

    def failed(self, queue: list[Any]) -> None:
        """After an error of ours: arrival order now, a fresh start or off next."""
        self.failures += 1
        if self.order is not None:
            self.order.stock_order(queue)
        self.order = self.make_order() if self.failures < GIVE_UP_AFTER else None


@dataclass(frozen=True)
class TokenizerState:
    """On SGLang's ``TokenizerManager``: the prediction service and the limits of a request."""

    service: Any
    max_tokens: int

    def capped(
        self, distribution: LengthDistribution | None, max_new_tokens: int | None
    ) -> LengthDistribution | None:
        """A prediction cut to what the request may generate."""
        if distribution is None or max_new_tokens is None:
            return distribution
        return distribution.capped(max(1, min(max_new_tokens, self.max_tokens)))


def state_of(holder: Any) -> Any:
    """The state kept on ``holder``, or None when our policy is not in force there."""
    return holder.__dict__.get(STATE)
