"""Shared by the tests of the data-parallel dispatch: stand-ins for what SGLang has around it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from sagesched.balance import Chooser, make_chooser
from sagesched.plugin.dispatch import Dispatch, Unreachable
from sagesched.plugin.ledger import Ledger


def request(rid: str, tokens: int = 100, **more: Any) -> Any:
    fields = {"rid": rid, "input_ids": list(range(tokens)), "routed_dp_rank": None}
    return SimpleNamespace(**{**fields, **more})


class Load:
    """What a scheduler reports."""

    queues = None

    def __init__(self, rank: int, timestamp: float, **core: float) -> None:
        self.dp_rank, self.timestamp = rank, timestamp
        self.core = {
            "num_running_reqs": 0,
            "num_waiting_reqs": 0,
            "num_waiting_uncached_tokens": 0,
            "num_used_tokens": 0,
            "max_total_num_tokens": 10_000,
            "max_running_requests": 8,
            "timestamp": timestamp,
            **core,
        }
        self.num_running_reqs = self.core["num_running_reqs"]
        self.num_waiting_reqs = self.core["num_waiting_reqs"]
        self.num_waiting_uncached_tokens = self.core["num_waiting_uncached_tokens"]
        self.num_used_tokens = self.core["num_used_tokens"]

    def to_dict(self, include: set[str]) -> dict[str, float]:
        assert include == {"core"}
        return self.core


class Stage:
    """A dispatch of three replicas with all that stands around it; ``sent`` is what they got."""

    def __init__(self, chooser: Chooser | None = None, replicas: int = 3) -> None:
        self.now_s = 1000.0
        self.loads: list[Load] = []
        self.sent: list[tuple[int, str]] = []
        self.failed: list[str] = []
        self.unreachable: set[int] = set()
        self.breaks_on_send: set[int] = set()
        self.controller = SimpleNamespace(
            workers=list(range(replicas)),
            status=[True] * replicas,
            dp_active=[True] * replicas,
            dp_budget=SimpleNamespace(
                total_requests=[0] * replicas,
                total_tokens=[0] * replicas,
                update_budget=lambda loads: None,
            ),
            load_snapshot_reader=SimpleNamespace(read_all=lambda: self.loads, read=self.read),
            _refresh_active_workers=lambda: None,
            dispatching_with_trace=lambda request: self.dispatch(request),
        )
        self.ledger = Ledger(replicas, lambda rid, worker: self.failed.append(rid))
        self.dispatch = Dispatch(
            self.controller,
            chooser or make_chooser("sal-prompt", replicas, answers=False),
            self.ledger,
            self._send,
            lambda worker: worker not in self.unreachable,
            reads_predictions=True,
            clock=lambda: self.now_s,
        )
        self.dispatch.check()

    def read(self, rank: int) -> Load | None:
        """The last report of one."""
        return next((load for load in self.loads if load.dp_rank == rank), None)

    def _send(self, worker: int, request: Any) -> None:
        if worker in self.unreachable | self.breaks_on_send:
            raise Unreachable
        self.sent.append((worker, request.rid))

    def report(self, *loads: Load, after_s: float = 1.0) -> None:
        """Time passes, and these loads are read."""
        self.now_s += after_s
        self.loads = list(loads)
        self.dispatch.turn()
