"""The policy under replay, in its places in the scheduler. It may fail; the run goes on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sagesched.replay.policies.base import Policy
from sagesched.replay.recorder import Live

MOST_FAILURES = 3
"""After as many errors a policy is asked no more: stock order for the rest of the run."""


class Control:
    """One policy in one run.

    Args:
        scheduler: an idle one.
        policy: fresh.
        live: the run's requests by id, kept by the run.
    """

    def __init__(self, scheduler: Any, policy: Policy, live: Mapping[str, Live]) -> None:
        self._scheduler = scheduler
        self._policy = policy
        self._live = live
        self._orders = type(policy).order is not Policy.order or (
            type(policy).key is not Policy.key
        )
        self._preempts = type(policy).victims is not Policy.victims
        self.failures = 0
        self._put_right = 0
        self.first_failure = ""
        policy.situation.cached_prefix = self._cached_prefix

    def install(self) -> None:
        """Make the scheduler's policy object anew, as at its start, and stand in front of it."""
        scheduler = self._scheduler
        scheduler.schedule_policy = self._policy.flag
        scheduler.init_schedule_policy()
        if not self._orders:
            return
        stock = scheduler.policy.calc_priority

        def calc_priority(waiting_queue: list[Any], *args: Any, **kwargs: Any) -> Any:
            result = stock(waiting_queue, *args, **kwargs)
            if self.failures < MOST_FAILURES:
                self._guarded(lambda: self._policy.order(waiting_queue), None)
            if self.failures > self._put_right:
                self._put_right = self.failures
                self._by_arrival(waiting_queue)
            return result

        scheduler.policy.calc_priority = calc_priority

    def _by_arrival(self, waiting_queue: list[Any]) -> None:
        """Stock order in place of the policy's: a failed one may have got half-way."""
        waiting_queue.sort(key=lambda request: self._policy.situation.known(request).number)

    def entered(self, request: Any) -> None:
        """A request is in the waiting queue."""
        if self.failures < MOST_FAILURES:
            self._guarded(lambda: self._policy.entered(request), None)

    def before_admission(self, running_batch: Any) -> list[Any]:
        """Release the policy's victims; the scheduler puts them back in its queue afterwards."""
        waiting = self._scheduler.waiting_queue
        if not (self._preempts and waiting and running_batch.reqs):
            return []
        if self.failures >= MOST_FAILURES or not self._full(running_batch):
            return []
        candidates = [request for request in running_batch.reqs if not request.finished()]
        victims: list[Any] = self._guarded(lambda: self._policy.victims(candidates, waiting), [])
        if victims:
            self._release(running_batch, victims)
        return victims

    def _full(self, running_batch: Any) -> bool:
        free = self._scheduler.get_num_allocatable_reqs(
            len(running_batch.reqs), running_batch=running_batch
        )
        return bool(free <= 0 or running_batch.batch_is_full)

    def _release(self, batch: Any, victims: list[Any]) -> None:
        from sglang.srt.mem_cache.common import release_kv_cache

        chosen = {id(request) for request in victims}
        dropped = [i for i, request in enumerate(batch.reqs) if id(request) in chosen]
        for position, index in enumerate(dropped):
            request = batch.reqs[index]
            self._policy.situation.known(request).preemptions += 1
            if self._policy.release == "swap":
                self._live[request.rid].swapped_tokens = int(request.kv.kv_allocated_len)
            if self._policy.release == "recompute":
                batch.release_req(index, len(batch.reqs) - position - 1)
            else:
                release_kv_cache(request, batch.tree_cache, checkpoint=True)
                request.reset_for_retract()
        gone = set(dropped)
        batch.filter_batch(keep_indices=[i for i in range(len(batch.reqs)) if i not in gone])
        batch.batch_is_full = False

    def _cached_prefix(self, request: Any) -> int:
        from sglang.srt.mem_cache.common import match_kv_cache

        match_kv_cache(request, self._scheduler.tree_cache)
        return int(request.num_matched_prefix_tokens)

    def _guarded(self, call: Callable[[], Any], otherwise: Any) -> Any:
        try:
            return call()
        except Exception as error:
            self.failures += 1
            self.first_failure = self.first_failure or f"{type(error).__name__}: {error}"
            return otherwise


@contextmanager
def environment(policy: type[Policy], settings: Mapping[str, float]) -> Iterator[None]:
    """The plug-in's settings, where it reads them: in environment variables."""
    names, choices = policy.variables, policy.choices
    stock = {name: os.environ.get(name) for name in names.values()}
    try:
        for key, name in names.items():
            if key in settings:
                number = settings[key]
                os.environ[name] = choices[key][int(number)] if key in choices else str(number)
        yield
    finally:
        for name, value in stock.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
