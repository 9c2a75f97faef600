"""What the plug-in keeps on the objects it hooks: set where the policy is ours, absent elsewhere.

Every hook starts with one look for its state, so without a ``--schedule-policy`` of ours the
plug-in is one attribute test per call and changes nothing.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sagesched.lengths import LengthDistribution
from sagesched.plugin import fallback, metrics
from sagesched.plugin.calibration import Calibration
from sagesched.plugin.checksum import OrderChecksum
from sagesched.plugin.departures import Departures
from sagesched.plugin.disaggregation import PREFILL
from sagesched.plugin.following import Following
from sagesched.plugin.memory import Memory
from sagesched.plugin.order import QueueOrder, stock_order
from sagesched.plugin.parking import Parking
from sagesched.plugin.progress import Progress
from sagesched.plugin.settings import POLICY, STOCK, predicts
from sagesched.plugin.shared_clock import SharedClock
from sagesched.plugin.turns import Turns
from sagesched.plugin.watch import Watch
from sagesched.plugin.whatif import WhatIf

STATE = "_sagesched"
GIVE_UP_AFTER = 3


@dataclass
class SchedulerState:
    """On SGLang's ``SchedulePolicy``, in each scheduler process.

    Attributes:
        make_order: builds an empty order for a dial; also used to start again after an error.
        make_parking: builds what decides who gives way at a dial; None where nobody ever does.
        why_no_parking: why nobody ever gives way, in a few words; empty where somebody may.
        max_running: most requests the engine runs at once.
        dial: how far the index may move a request.
        policy: whose order it is.
        in_force: whether the order is applied. Otherwise it is kept up, and nothing is changed: a
            shadow, or stock order that was switched to at run time.
        preempts: whether SGLang itself preempts running requests, for others of a better class.
        checksum: of what was decided; None unless asked for.
        role: of ``--disaggregation-mode``, on whose queue the order is; empty without.
        bootstrap: of a prefill server, the order in which requests get what a transfer needs before
            they wait to be computed; None elsewhere, and after an error.
        clock: seconds on which all ranks agree.
        make_memory: builds ``memory`` anew.
        memory: what is kept free for the running batch; None where SGLang's own reserve is.
        watch: what is counted of it.
        following: whose predictions are still to come.
        order: the order, None while the policy is off after errors.
        parking: None where running requests do not give way.
        whatif: while looking on, what the order would do; None when in force.
        taken_tokens: prompt tokens that were given KV memory by a decode server.
        prefilled_tokens: prompt tokens computed so far.
        passed_over: whether the last pass of admission went past somebody for want of memory.
        failures: errors so far; at ``GIVE_UP_AFTER`` the order stays off until a restart, or until
            it is switched on again.
    """

    make_order: Callable[[float], QueueOrder]
    make_parking: Callable[[float], Parking | None]
    max_running: int
    dial: float
    policy: str = POLICY
    in_force: bool = True
    preempts: bool = False
    checksum: OrderChecksum | None = None
    role: str = ""
    clock: SharedClock = field(default_factory=SharedClock)
    why_no_parking: Callable[[], str] = lambda: ""
    make_memory: Callable[[], Memory | None] = lambda: None
    memory: Memory | None = None
    watch: Watch = field(default_factory=Watch)
    following: Following = field(default_factory=Following)
    order: QueueOrder | None = field(init=False)
    bootstrap: QueueOrder | None = field(init=False, default=None)
    parking: Parking | None = field(init=False)
    whatif: WhatIf | None = field(init=False, default=None)
    passed_over: bool = False
    failures: int = 0
    taken_tokens: int = 0
    prefilled_tokens: int = 0

    def __post_init__(self) -> None:
        self.take_role(self.role)
        self._equip()

    @property
    def predicts(self) -> bool:
        """Whether predicted lengths have a say, and a model of the engine can be played."""
        return predicts(self.policy)

    def now_s(self, step: int) -> float:
        """Seconds on the clock that all ranks share."""
        return self.clock.at(step, self.prefilled_tokens)

    def take_role(self, role: str) -> None:
        """Order the queue of that role of a disaggregated server, idle now."""
        self.role = role
        self.order = self.make_order(self.dial)
        self.bootstrap = self.make_order(self.dial) if role == PREFILL else None

    def failed(self, queue: list[Any]) -> None:
        """After an error of ours: arrival order now, a fresh start or off next."""
        self.failures += 1
        self.order = None
        try:
            if self.in_force:
                stock_order(queue)
            if self.failures < GIVE_UP_AFTER:
                self.order = self.make_order(self.dial)
        except Exception as error:
            fallback.report("restart", error)
        metrics.set_slots(0)

    def switch(
        self, queue: list[Any], *, in_force: bool | None = None, dial: float | None = None
    ) -> None:
        """Change what holds from the next pass on; None leaves it as it is.

        Every rank gets the request for it between the same two steps. Keys of a long queue follow
        in slices. Switched on, whatever had been given up after errors starts again: the order,
        parking, the forecast.
        """
        parking = self.parking
        if dial is not None:
            self.dial = dial
            for order in (self.order, self.bootstrap):
                if order is not None:
                    order.set_dial(dial)
            if self.parking is not None and (fresh := self.make_parking(dial)) is not None:
                self.parking.limits = fresh.limits
        before, self.in_force = self.in_force, self.in_force if in_force is None else in_force
        if in_force and self.order is None:
            self.failures = 0
            self.order = self.make_order(self.dial)
        if in_force and self.memory is None:
            self.memory = self.make_memory()
        if in_force and self.parking is None:
            self.parking = self.make_parking(self.dial)
        if before and not self.in_force and self.order is not None:
            self.order.rest(queue)
        if before != self.in_force or (dial is not None and not self.in_force):
            self._equip()
        if self.parking is not None and self.parking is not parking:
            self.parking.recall(queue)

    def _equip(self) -> None:
        """Parking is for an order in force, the models for one that looks on."""
        self.parking = self.make_parking(self.dial) if self.in_force else None
        self.whatif = None
        if not self.in_force and self.predicts:
            self.whatif = WhatIf(self.make_order(self.dial), self.max_running)

    def what_if(self, tell: Callable[[WhatIf], None]) -> None:
        """Tell the models; what they do wrong ends them, and nothing else."""
        if self.whatif is None:
            return
        try:
            tell(self.whatif)
        except Exception as error:
            fallback.report("shadow", error)
            self.whatif = None

    def describe(self) -> dict[str, Any]:
        """What is in force here, as plain JSON."""
        return {
            "policy": self.policy if self.in_force else STOCK,
            "started_with": self.policy,
            "dial": self.dial if math.isfinite(self.dial) else "inf",
            "order": "kept up" if self.order is not None else f"off after {self.failures} errors",
            "parking": self._parking_told(),
            "admission": "by forecast" if self.in_force and self.memory else "SGLang's",
            "waiting": 0 if self.order is None else len(self.order),
        }

    def _parking_told(self) -> str:
        if not self.in_force:
            return "off"
        if self.parking is not None and self.parking.limits.most_parks:
            return "on"
        return f"off ({self.why_no_parking() or 'after an error'})"


@dataclass(frozen=True)
class TokenizerState:
    """On SGLang's ``TokenizerManager``.

    Attributes:
        service: what predicts.
        max_tokens: the context length.
        tenant_source: where a request's tenant is taken from (``about.TENANT_SOURCES``).
        ahead: a request waits here for its prediction: it is read on the way to the scheduler, or
            there is more than one scheduler to tell. Otherwise the prediction follows.
        departures: who waits here.
        progress: how far the others have come.
        calibration: how right the predictions were.
        turns: whose turn it is.
        tasks: predictions that are being made for requests that have left.
    """

    service: Any
    max_tokens: int
    tenant_source: str = ""
    ahead: bool = True
    departures: Departures = field(default_factory=Departures)
    progress: Progress = field(default_factory=Progress)
    calibration: Calibration = field(default_factory=Calibration)
    turns: Turns = field(default_factory=Turns)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

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
