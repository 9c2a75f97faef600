"""Which replica of ``--dp-size N`` gets the next request: a chooser fed by SGLang's load reports.

It stands in the data-parallel controller's process in the place of SGLang's own method, and is
called by the one thread that runs there. The controller is not told what ends, so the chooser does
without (``answers=False``).
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from typing import Any

from sagesched.balance import Chooser, NoReplica, Query
from sagesched.balance.reported import LoadReader
from sagesched.plugin import dispatch_metrics, fallback
from sagesched.plugin.dispatch_query import is_idle, prompt_tokens, query_of
from sagesched.plugin.ledger import Ledger
from sagesched.plugin.pulse import Pulse
from sagesched.plugin.state import GIVE_UP_AFTER

LOOK_S = 0.02
"""Between two looks at the reports, as SGLang's own methods have it."""
logger = logging.getLogger("sagesched")


class Unreachable(Exception):  # noqa: N818  # it is the state that it names
    """No scheduler is at the other end of the socket."""


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

    @property
    def is_ours(self) -> bool:
        """Whether the chooser is asked; SGLang's own method chooses otherwise."""
        return self.failures < GIVE_UP_AFTER

    def __call__(self, request: Any) -> None:
        """Choose and send; a request that nobody can take is answered with status 503."""
        self.check()
        self._look()
        if request.routed_dp_rank is not None:
            index = request.routed_dp_rank
            if 0 <= index < len(self._fit) and self._sent(index, request, None, "asked"):
                return
        else:
            for _ in self._fit:  # each time round another one turns out to be gone
                if all(self.pulse.gone):
                    break
                index, query = self._choose(request)
                if self._sent(index, request, query, "stock" if query is None else "ours"):
                    return
        self._ledger.refuse(request)

    def turn(self) -> None:
        """Once in every turn of the controller's loop, whether there are requests or not."""
        if self._clock() - self._looked_s >= LOOK_S:
            self.check()
            self._look()
            self._ledger.tell()

    def told(self, message: Any) -> None:
        """A control message passes by: whom it aborts, nobody waits for."""
        if type(message).__name__ != "AbortReq":
            return
        try:
            self._ledger.aborted(str(message.rid), bool(message.abort_all))
        except Exception as error:
            self._failed("balance-abort", error)

    def check(self) -> None:
        """Find out whose process is gone, before anything is sent that would wait for it."""
        try:
            for index, socket in enumerate(self._controller.workers[: len(self._fit)]):
                if self.pulse.gone[index]:
                    continue
                if self._is_reachable(socket):
                    self._connected[index] = True
                elif self._connected[index]:
                    self._lost(index)
        except Exception as error:
            self._failed("balance-check", error)

    def _look(self) -> None:
        """Read the reports, and find out who is stalled."""
        now_s = self._clock()
        if now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        try:
            loads = self._controller.load_snapshot_reader.read_all()
            self._controller.dp_budget.update_budget(loads)
            for load in loads:
                try:
                    self._read(load, now_s)
                except Exception as error:
                    self._failed("balance-report", error)
            self._set_fit(self.pulse.fit(now_s))
        except Exception as error:
            self._failed("balance-reports", error)

    def _read(self, load: Any, now_s: float) -> None:
        index = load.dp_rank
        if not load.timestamp or not self.pulse.heard(index, load.timestamp, now_s):
            return
        self._ledger.reported(index, is_idle(load), load.timestamp)
        if self.is_ours:
            report = self._readers[index].read([load.to_dict({"core"})])
            self._chooser.observe(index, report)

    def _choose(self, request: Any) -> tuple[int, Query | None]:
        """The replica, and what the chooser was asked; None where it had no say."""
        if self.is_ours:
            try:
                query = query_of(request, self._reads_predictions)
                index = self._chooser.choose(query)
                if not self.pulse.gone[index]:
                    return index, query
            except NoReplica:
                pass
            except Exception as error:
                self._failed("balance", error)
        return self._stock_choice(), None

    def _stock_choice(self) -> int:
        """What SGLang's ``total_tokens`` would say, of the replicas that are fit."""
        budget = self._controller.dp_budget
        return min(
            (index for index, ok in enumerate(self.pulse.fit(self._clock())) if ok),
            key=lambda index: (budget.total_tokens[index], budget.total_requests[index]),
        )

    def _sent(self, index: int, request: Any, query: Query | None, by: str) -> bool:
        """Send it there; False where the replica is gone, or turns out to be."""
        if self.pulse.gone[index]:
            return False
        sent_s = time.time()  # before: a report of later than that may know of it
        try:
            self._send(self._controller.workers[index], request)
        except Unreachable:
            if self._connected[index]:
                self._lost(index)
            return False
        try:
            self._ledger.sent(index, request, sent_s)
            dispatch_metrics.count_sent(index, by)
            budget = self._controller.dp_budget
            budget.total_requests[index] += 1
            budget.total_tokens[index] += prompt_tokens(request)
            if self.is_ours:
                self._chooser.sent(index, query or query_of(request, self._reads_predictions))
        except Exception as error:
            self._failed("balance-books", error)
        return True

    def _set_fit(self, fit: list[bool]) -> None:
        for index, ok in enumerate(fit):
            if ok == self._fit[index]:
                continue
            self._fit[index] = ok
            dispatch_metrics.set_healthy(index, ok)
            if not self.pulse.gone[index]:
                says = "reports again" if ok else "has not reported for some seconds"
                logger.warning(
                    "sagesched: replica %d %s and gets %s requests",
                    *(index, says, "new" if ok else "no more"),
                )
            self._chooser.set_health(index, ok, keeps_cache=not self.pulse.gone[index])

    def _lost(self, index: int) -> None:
        """Its scheduler process is gone: nothing more is sent there, not even control messages."""
        controller = self._controller
        self.pulse.lost(index)
        controller.dp_active[index] = controller.status[index] = False
        controller._refresh_active_workers()
        self._hear_last(index)
        failed, again = self._ledger.lost(index)
        dispatch_metrics.count_lost(failed)
        logger.error(
            "sagesched: the scheduler process of replica %d is gone. It gets no more requests; up "
            "to %d that it had are answered with status 503, %d that had not reached it go to "
            "others. Start the server anew to have it back",
            *(index, failed, len(again)),
        )
        try:
            self._set_fit(self.pulse.fit(self._clock()))
        except Exception as error:
            self._failed("balance", error)
        for request in again:
            try:
                controller.dispatching_with_trace(request)
            except Exception as error:
                self._failed("balance-again", error)
                self._ledger.refuse(request)

    def _hear_last(self, index: int) -> None:
        """What it took up by its last report must not run a second time under the same id."""
        try:
            load = self._controller.load_snapshot_reader.read(index)
            self._ledger.reported(index, False, load.timestamp)
        except Exception:  # none was written, or it died while it wrote
            self._ledger.taken_up(index)

    def _failed(self, cause: str, error: BaseException) -> None:
        fallback.report(cause, error)
        self.failures += 1
        if self.failures == GIVE_UP_AFTER:
            logger.error(
                "sagesched: after %d errors SGLang's total_tokens chooses the replica until the "
                "server is started anew",
                self.failures,
            )
