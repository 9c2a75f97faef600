"""The replicas: their loads, their health, and the chooser that knows both."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import anyio
import httpx

from sagesched.balance import Chooser, NoReplica, Query, ReplicaLoad
from sagesched.balance.reported import LoadReader
from sagesched.gateway.config import RouteConfig
from sagesched.gateway.descriptors import OUT, are_out
from sagesched.gateway.targets import Direct, Gateway

MOST_SAID = 200
"""Characters of an error: a server may answer anything."""

logger = logging.getLogger("sagesched.route")


@dataclass
class Replica:
    """One server.

    Attributes:
        moved: when its load's time stamp last changed, monotonic seconds.
        error: why the last look failed or it gets no requests; "" nothing is wrong.
        told: kinds of errors that were logged since it was last healthy.
    """

    index: int
    url: str
    reader: LoadReader = field(default_factory=LoadReader)
    load: ReplicaLoad | None = None
    healthy: bool = False
    failures: int = 0
    in_flight: int = 0
    moved: float = 0.0
    error: str = ""
    told: frozenset[str] = frozenset()


class Fleet:
    """Polls every replica and tells the chooser; an async context manager.

    Args:
        client: for the polls.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        config: RouteConfig,
        chooser: Chooser,
        client: httpx.AsyncClient,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.chooser = chooser
        self.replicas = [Replica(i, url.rstrip("/")) for i, url in enumerate(config.replicas)]
        self.targets: Direct | Gateway = (
            Direct([replica.url for replica in self.replicas])
            if config.gateway is None
            else Gateway(config.gateway.rstrip("/"), config.replicas)
        )
        self._config = config
        self._client = client
        self._clock = clock
        self._gateway_failures = 0
        self._warned = False
        self._was_out = False
        self._tasks: list[asyncio.Task[None]] = []
        for replica in self.replicas:
            chooser.set_health(replica.index, False)

    @property
    def healthy(self) -> int:
        """Replicas that get requests."""
        return sum(replica.healthy for replica in self.replicas)

    async def __aenter__(self) -> Fleet:
        if isinstance(self.targets, Gateway):
            await self._look_at_gateway(self.targets)
            self._start(self._forever(self._look_at_gateway, self.targets))
        await asyncio.gather(*(self.look(replica) for replica in self.replicas))
        for replica in self.replicas:
            self._start(self._forever(self.look, replica))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def choose(self, query: Query) -> int:
        """Where the request goes, noted as sent; if the chooser fails, where we have the fewest.

        Raises:
            NoReplica: none is healthy.
        """
        try:
            index = self.chooser.choose(query)
            self.chooser.sent(index, query)
        except NoReplica:
            raise
        except Exception:
            self._chooser_failed()
            healthy = [replica for replica in self.replicas if replica.healthy]
            if not healthy:
                raise NoReplica("none is healthy") from None
            index = min(healthy, key=lambda replica: replica.in_flight).index
        self.replicas[index].in_flight += 1
        return index

    def moved(self, index: int, query: Query) -> None:
        """It turned out to be at that replica."""
        try:
            self.chooser.sent(index, query)
        except Exception:
            self._chooser_failed()

    def ended(self, index: int, query: Query) -> None:
        """A request that was chosen for is over."""
        self.replicas[index].in_flight -= 1
        try:
            self.chooser.finished(query.key)
        except Exception:
            self._chooser_failed()

    def _chooser_failed(self) -> None:
        """Not a reason to fail a request; logged once."""
        if not self._warned:
            self._warned = True
            logger.exception("the chooser fails; where it does the least used server is taken")

    async def look(self, replica: Replica) -> None:
        """Read one load."""
        try:
            answer = await self._get(f"{replica.url}/v1/loads?include=core")
            load = replica.reader.read(answer["loads"])
        except Exception as error:  # whatever it answers
            self._failed(replica, error)
            return
        now = self._clock()
        if replica.load is None or load.sequence != replica.load.sequence:
            replica.load, replica.moved = load, now
            self.chooser.observe(replica.index, load)
        replica.failures = 0
        # Of one that gets nothing any more we wait for a new report, also when our requests have
        # left: an idle engine makes one in each turn of its loop, with --sleep-on-idle once a
        # second (`Scheduler.on_idle`). None comes from one that hangs, or is paused.
        if replica.in_flight == 0 and replica.healthy:
            replica.moved = now  # nobody waits for it
        stalled = now - replica.moved > self._config.stall_s
        reachable = self.targets.reachable(replica.index)
        reason = "its load stands still" if stalled else "" if reachable else "not at the gateway"
        self._set_health(replica, not reason, reason, keeps_cache=True)

    def refused(self, index: int) -> None:
        """A connection was refused: no further request until a look succeeds."""
        replica = self.replicas[index]
        replica.failures = self._config.failures
        self._set_health(replica, False, "connection refused")

    def out_of_descriptors(self) -> None:
        """The router has none left, which says nothing of a replica; logged once."""
        if not self._was_out:
            self._was_out = True
            logger.warning(OUT)

    def _failed(self, replica: Replica, error: Exception) -> None:
        replica.moved = self._clock()
        if are_out(error):
            replica.error = OUT
            self.out_of_descriptors()
            return
        replica.failures += 1
        replica.error = _what(error)
        refused = isinstance(error, httpx.ConnectError)
        if refused or replica.failures >= self._config.failures:
            self._set_health(replica, False, replica.error)

    def _set_health(
        self, replica: Replica, healthy: bool, reason: str, *, keeps_cache: bool = False
    ) -> None:
        """Each change is logged, and of one that is not healthy each kind of reason once."""
        kind = " ".join(reason.split(" ")[:2])
        if healthy != replica.healthy or kind not in replica.told:
            more = "more " if replica.healthy else ""
            state = "gets requests" if healthy else f"gets no {more}requests: {reason}"
            logger.warning("replica %d (%s) %s", replica.index, replica.url, state)
        replica.told = frozenset({""}) if healthy else replica.told | {kind}
        replica.healthy, replica.error = healthy, reason
        self.chooser.set_health(replica.index, healthy, keeps_cache=keeps_cache)

    async def _look_at_gateway(self, gateway: Gateway) -> None:
        try:
            gateway.learn(await self._get(f"{self._config.gateway}/workers"))
        except Exception as error:
            if are_out(error):
                self.out_of_descriptors()
                return
            self._gateway_failures += 1
            if self._gateway_failures == 1:
                said = "the gateway's list of workers cannot be read, the last one holds: %s"
                logger.warning(said, _what(error))
            if self._gateway_failures == self._config.failures:
                gateway.forget()
                logger.warning("the gateway's list of workers is gone: %s", _what(error))
        else:
            if self._gateway_failures:
                logger.warning("the gateway's list of workers can be read again")
            self._gateway_failures = 0

    async def _get(self, url: str) -> Any:
        key = self._config.api_key
        headers = {"authorization": f"Bearer {key}"} if key else {}
        within_s = self._config.poll_timeout_s
        try:
            with anyio.fail_after(within_s):  # httpx's own is of each read, not of all
                answer = await self._client.get(url, headers=headers)
        except TimeoutError:
            raise TimeoutError(f"no whole answer within {within_s:g} s") from None
        return answer.raise_for_status().json()

    async def _forever(self, look: Callable[[Any], Any], at: Any) -> None:
        while True:
            await asyncio.sleep(self._config.poll_s)
            try:
                await look(at)
            except Exception:  # a poll must go on
                logger.exception("a poll failed")

    def _start(self, work: Any) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work))


def _what(error: Exception) -> str:
    """For the log and `/replicas`: no key, so nothing of a header of ours that h11 refuses."""
    if isinstance(error, httpx.LocalProtocolError):
        return type(error).__name__
    if isinstance(error, httpx.HTTPStatusError):
        return f"status {error.response.status_code} from {error.request.url.path}"
    return f"{type(error).__name__} {error}".strip()[:MOST_SAID]
