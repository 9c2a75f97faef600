"""Counters of the prediction service."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class ServiceStats:
    """Counts since the start, and the state now."""

    predictions: int
    """Distributions handed out in time."""
    deadline_misses: int
    """Answers that came too late; the prompts were learned."""
    not_ready: int
    """Prompts that came before the predictor was built, after it failed to, or after `close`."""
    overloaded: int
    """Prompts and outcomes dropped because the queue was full; outcomes after `close`."""
    errors: int
    """Exceptions in the predictor, the ones while building it included."""
    recorded: int
    """Outcomes learned, censored ones included."""
    censored: int
    """Of these, outputs that did not end by themselves."""
    unknown: int
    """Outcomes and aliases for a key that is not remembered."""
    dropped_keys: int
    """Keys forgotten because too many were remembered."""
    pending: int
    """Operations waiting for the worker."""
    busy: bool
    """Whether it has any to carry out, these or the ones it took last: the counts will change."""
    remembered_keys: int
    """Prompts that wait for their outcome."""
    history_size: int
    """Outcomes in the history."""
    embedder: str
    """Name of the embedder, "" until it is loaded."""
    failure: str
    """Why the predictor could not be built, else ""."""
    history_restored: int = 0
    """Records learned again from the history file at the start."""
    history_saved: int = 0
    """Outcomes written to the history file."""
    history_shared: int = 0
    """Outcomes learned that other processes wrote to it."""
    history_dropped: int = 0
    """Outcomes learned but not written, because too many waited for the disk or it failed."""
    history_failures: int = 0
    """Attempts to use the history file that failed."""
    history_waiting: int = 0
    """Outcomes not written yet."""
    history_failure: str = ""
    """Why the history lives in memory only for now, else ""."""


class WorkerState(Protocol):
    """What a snapshot reads of the worker."""

    embedder: str
    failure: str
    history_size: int
    remembered_keys: int

    @property
    def pending(self) -> int:
        """Operations waiting."""

    @property
    def busy(self) -> bool:
        """Whether there are operations that have not been carried out."""

    @property
    def history_waiting(self) -> int:
        """Records not in the history file yet."""

    @property
    def history_failure(self) -> str:
        """Why the history file cannot be used, else ""."""


class Counters:
    """Counts that several threads add to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, name: str, n: int = 1) -> None:
        """Add to one of the counts of `ServiceStats`."""
        with self._lock:
            self._counts[name] += n

    def snapshot(self, worker: WorkerState) -> ServiceStats:
        """All counts, and the worker's state.

        What is not done yet is read first: where there is nothing, the counts are complete.
        """
        busy, history_waiting = worker.busy, worker.history_waiting
        with self._lock:
            counts = Counter(self._counts)
        return ServiceStats(
            predictions=counts["predictions"],
            deadline_misses=counts["deadline_misses"],
            not_ready=counts["not_ready"],
            overloaded=counts["overloaded"],
            errors=counts["errors"],
            recorded=counts["recorded"],
            censored=counts["censored"],
            unknown=counts["unknown"],
            dropped_keys=counts["dropped_keys"],
            pending=worker.pending,
            busy=busy,
            remembered_keys=worker.remembered_keys,
            history_size=worker.history_size,
            embedder=worker.embedder,
            failure=worker.failure,
            history_restored=counts["history_restored"],
            history_saved=counts["history_saved"],
            history_shared=counts["history_shared"],
            history_dropped=counts["history_dropped"],
            history_failures=counts["history_failures"],
            history_waiting=history_waiting,
            history_failure=worker.history_failure,
        )
