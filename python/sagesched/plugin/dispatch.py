"""Which replica of ``--dp-size N`` gets the next request: a chooser fed by SGLang's load reports.

It stands in the data-parallel controller's process in the place of SGLang's own method, and is
called by the one thread that runs there. The controller is not told what ends, so the chooser does
without (``answers=False``).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from sagesched.balance import Chooser, NoReplica, Query
from sagesched.balance.reported import LoadReader
from sagesched.plugin import dispatch_metrics, fallback, wire
from sagesched.plugin.ledger import Ledger
from sagesched.plugin.pulse import Pulse
from sagesched.plugin.state import GIVE_UP_AFTER

LOOK_S = 0.02
"""Between two looks at the reports, as SGLang's own methods have it."""
logger = logging.getLogger("sagesched")


class Dispatch:
    """Sends each request to the replica of its choice; `__call__` is ``controller.dispatching``.

    Where a choice of ours fails SGLang's ``total_tokens`` chooses; after ``GIVE_UP_AFTER`` failures
    it always does. A replica that is gone gets nothing either way.

    Args:
        controller: SGLang's ``DataParallelController``.
        chooser: made for its replicas.
        ledger: of what is sent.
        send: ``send(socket, request)``; raises `Unreachable` instead of waiting for a peer.
        is_reachable: whether a worker's socket has its scheduler at the other end.
        reads_predictions: whether requests carry predicted lengths.
        clock: seconds, steady.
    """

    def __init__(
        self,
        controller: Any,
        chooser: Chooser,
        ledger: Ledger,
        send: Callable[[Any, Any], None],
        is_reachable: Callable[[Any], bool],
        *,
        reads_predictions: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._controller = controller
        self._chooser = chooser
        self._ledger = ledger
        self._send = send
        self._is_reachable = is_reachable
        self._reads_predictions = reads_predictions
        self._clock = clock
        replicas = range(chooser.replicas)
        self._readers = [LoadReader() for _ in replicas]
        self._fit = [True for _ in replicas]
        self._connected = [False for _ in replicas]
        self._looked_s = -math.inf
        self.pulse = Pulse(chooser.replicas, clock())
        self.failures = 0

    def __call__(self, request: Any) -> None:
        """Choose and send; a request that nobody can take is answered with 503."""
        self.look()
        wanted = request.routed_dp_rank
        if wanted is not None:
            if not (0 <= wanted < len(self._fit) and self._sent(wanted, request)):
                self._ledger.refuse(request)
            return
        for _ in self._fit:  # each time round another one turns out to be gone
            if all(self.pulse.gone):
                break
            index, query = self._choose(request)
            if self._sent(index, request, query):
                return
        self._ledger.refuse(request)

    def turn(self) -> None:
        """Once in every turn of the controller's loop, requests or not."""
        if self._clock() - self._looked_s >= LOOK_S:
            self.look()

    def look(self) -> None:
        """Read the reports, and find out who is gone or stalled."""
        self.check()
        now_s = self._clock()
        if now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        try:
            loads = self._controller.load_snapshot_reader.read_all()
            self._controller.dp_budget.update_budget(loads)
            for load in loads:
                self._read(load, now_s)
        except Exception as error:
            self._failed("balance-reports", error)
        self._set_fit(self.pulse.fit(now_s))

    def check(self) -> None:
        """Find out whose process is gone, before anything is sent that would wait for it."""
        for index, socket in enumerate(self._controller.workers[: len(self._fit)]):
            if self.pulse.gone[index]:
                continue
            if self._is_reachable(socket):
                self._connected[index] = True
            elif self._connected[index]:
                self._lost(index)

    def _choose(self, request: Any) -> tuple[int, Query | None]:
        if self.failures < GIVE_UP_AFTER:
            try:
                query = self._query(request)
                return self._chooser.choose(query), query
            except NoReplica:
                pass
            except Exception as error:
                self._failed("balance", error)
        return self._stock_choice(), None

    def _stock_choice(self) -> int:
        """What SGLang's ``total_tokens`` would say, of the replicas that are fit."""
        budget = self._controller.dp_budget
        fit = self.pulse.fit(self._clock())
        return min(
            (index for index, ok in enumerate(fit) if ok),
            key=lambda index: (budget.total_tokens[index], budget.total_requests[index]),
        )

    def _sent(self, index: int, request: Any, query: Query | None = None) -> bool:
        """Send it there; False where the replica turns out to be gone."""
        if self.pulse.gone[index]:
            return False
        try:
            self._send(self._controller.workers[index], request)
        except Unreachable:
            self._lost(index)
            return False
        self._ledger.sent(index, request, time.time())
        budget = self._controller.dp_budget
        budget.total_requests[index] += 1
        budget.total_tokens[index] += _prompt_tokens(request)
        how = "ours" if query is not None else "stock"
        if request.routed_dp_rank is not None:
            how = "asked"
        dispatch_metrics.count_sent(index, how)
        if self.failures < GIVE_UP_AFTER:
            try:
                self._chooser.sent(index, query or self._query(request))
            except Exception as error:
                self._failed("balance", error)
        return True

    def _query(self, request: Any) -> Query:
        expected, high = None, None
        if self._reads_predictions:
            try:
                predicted = wire.peek(getattr(request, "sampling_params", None))
            except Exception as error:
                fallback.report("balance-prediction", error)
                predicted = None
            if predicted is not None:
                expected, high = predicted.mean(), predicted.quantile(0.9)
        ids: Sequence[int] = request.input_ids if request.input_ids is not None else ()
        return Query(str(request.rid), _prompt_tokens(request), ids, expected, high)

    def _read(self, load: Any, now_s: float) -> None:
        index = load.dp_rank
        if not load.timestamp or not self.pulse.heard(index, load.timestamp, now_s):
            return
        is_idle = not (load.num_running_reqs or load.num_waiting_reqs or _elsewhere(load))
        self._ledger.reported(index, is_idle, load.timestamp)
        if self.failures < GIVE_UP_AFTER:
            report = self._readers[index].read([load.to_dict({"core"})])
            self._chooser.observe(index, report)

    def _set_fit(self, fit: list[bool]) -> None:
        for index, ok in enumerate(fit):
            if ok == self._fit[index]:
                continue
            self._fit[index] = ok
            try:
                self._chooser.set_health(index, ok)
            except Exception as error:
                self._failed("balance", error)
            dispatch_metrics.set_healthy(index, ok)
            if not self.pulse.gone[index]:
                says = "reports again" if ok else "has not reported for some seconds"
                logger.warning(
                    "sagesched: replica %d %s and gets %s requests",
                    *(index, says, "new" if ok else "no more"),
                )

    def _lost(self, index: int) -> None:
        """Its scheduler process is gone: nothing more is sent there, not even control messages."""
        controller = self._controller
        self.pulse.lost(index)
        controller.dp_active[index] = controller.status[index] = False
        controller._refresh_active_workers()
        failed = self._ledger.fail_all(index)
        dispatch_metrics.count_lost(failed)
        self._set_fit(self.pulse.fit(self._clock()))
        logger.error(
            "sagesched: the scheduler process of replica %d is gone. It gets no more requests; up "
            "to %d that it had are answered with status 503. Start the server anew to have it back",
            *(index, failed),
        )

    def _failed(self, cause: str, error: BaseException) -> None:
        fallback.report(cause, error)
        self.failures += 1
        if self.failures == GIVE_UP_AFTER:
            logger.error(
                "sagesched: after %d errors SGLang's total_tokens chooses the replica until the "
                "server is started anew",
                self.failures,
            )


class Unreachable(Exception):  # noqa: N818  # it is the state that it names
    """No scheduler is at the other end of the socket."""


def _prompt_tokens(request: Any) -> int:
    for prompt in (request.input_ids, getattr(request, "input_embeds", None)):
        if prompt is not None:
            return len(prompt)
    return 0


def _elsewhere(load: Any) -> int:
    """Requests that are neither in the batch nor in the queue."""
    queues = load.queues
    return 0 if queues is None else int(queues.grammar + queues.paused + queues.retracted)
