"""The thread that builds the predictor and works through the queue."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from sagesched.predict.errors import ErrorLog, describe
from sagesched.predict.handler import OperationHandler
from sagesched.predict.operation_queue import OperationQueue
from sagesched.predict.operations import Learn, Operation, Prompt, answer_all
from sagesched.predict.predictor import LengthPredictor
from sagesched.predict.stats import Counters
from sagesched.predict.store.options import HistoryOptions
from sagesched.predict.store.record import Space

if TYPE_CHECKING:
    from sagesched.predict.store.keeper import HistoryKeeper

_logger = logging.getLogger(__name__)

MAX_BATCH = 64
"""Operations taken from the queue at a time."""
BUSY_FROM = 64
"""With more operations waiting, nothing is learned from other processes."""


class Worker:
    """A daemon thread that owns a predictor.

    The plain attributes are written by the thread and may be read by anyone.
    """

    def __init__(
        self,
        make_predictor: Callable[[], LengthPredictor],
        counters: Counters,
        history: HistoryOptions | None = None,
    ) -> None:
        self.started = threading.Event()  # built, or failed to
        self.ready = threading.Event()  # built, and not stopped
        self.embedder = ""
        self.failure = ""
        self.history_size = 0
        self.remembered_keys = 0
        self.queue = OperationQueue()
        self._history = history
        self._keeper: HistoryKeeper | None = None
        self._make_predictor = make_predictor
        self._counters = counters
        self._errors = ErrorLog(counters)
        self._thread = threading.Thread(target=self._run, name="sagesched-predict", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """Operations waiting."""
        return len(self.queue)

    @property
    def busy(self) -> bool:
        """Whether there are operations that have not been carried out."""
        return self.queue.busy()

    @property
    def history_waiting(self) -> int:
        """Records that are not in the history file yet."""
        return self._keeper.waiting if self._keeper is not None else 0

    @property
    def history_failure(self) -> str:
        """Why the history file cannot be used, else ""."""
        return self._keeper.failure if self._keeper is not None else ""

    def stop(self, timeout: float) -> None:
        """Drop what waits, answer its prompts with None, and end the thread."""
        self._refuse()
        self._thread.join(timeout)
        if self._keeper is not None:
            self._keeper.close(timeout)

    def _refuse(self) -> None:
        waiting = self.queue.close()
        self.ready.clear()
        answer_all([(op, None) for op in waiting if isinstance(op, Prompt)])

    def _run(self) -> None:
        handler = self._build()
        if handler is None:
            self._refuse()
        else:
            self.ready.set()
        self.started.set()
        while handler is not None and (operations := self.queue.take(MAX_BATCH)):
            self._survive(handler, operations)
            self.history_size = handler.history_size
            self.remembered_keys = handler.remembered_keys
        self.ready.clear()

    def _survive(self, handler: OperationHandler, operations: list[Operation]) -> None:
        try:
            handler.handle(operations)
        except BaseException as error:  # a Rust panic, too; who waits is answered by the deadline
            self._errors.note("handling requests", error)

    def _build(self) -> OperationHandler | None:
        try:
            predictor = self._make_predictor()
            self.embedder = predictor.embedder.name
        except Exception as error:
            self._errors.note("building the predictor", error)
            self.failure = f"{describe(error)}: {error}"  # no prompt has been seen yet
            return None
        keeper = self._make_keeper(predictor)
        handler = OperationHandler(predictor, self._counters, self._errors, archive=keeper)
        if keeper is not None:
            keeper.restore(handler.learn_stored)
            self.history_size = handler.history_size
            keeper.start(self._offer)
            self._keeper = keeper
        return handler

    def _make_keeper(self, predictor: LengthPredictor) -> HistoryKeeper | None:
        if self._history is None:
            return None
        try:
            from sagesched.predict.store.keeper import HistoryKeeper
        except ImportError:
            _logger.warning(
                "sagesched: this Python has no sqlite3, so there is no history file and the "
                "history lives in memory only. Install a Python that was built with SQLite."
            )
            return None
        space = Space(predictor.embedder.name, predictor.dim)
        return HistoryKeeper(self._history, space, self._counters)

    def _offer(self, learn: Learn) -> bool:
        return self.queue.put(learn, BUSY_FROM)
