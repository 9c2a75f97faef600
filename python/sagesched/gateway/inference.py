"""The life of a request: body, place, prediction, choice, answer; or the client leaves."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import time
from typing import Any

import httpx

from sagesched.balance import NoReplica, Query
from sagesched.balance.request_body import Asked
from sagesched.balance.request_body import read_body as read_request
from sagesched.gateway.admission import Admission, RejectedError
from sagesched.gateway.answers import (
    Message,
    Receive,
    RefusedError,
    Send,
    read_body,
    refuse,
    unless_left,
)
from sagesched.gateway.config import RouteConfig
from sagesched.gateway.descriptors import OUT, are_out
from sagesched.gateway.expected import Expected, Predictor
from sagesched.gateway.fleet import Fleet
from sagesched.gateway.metrics import Metrics
from sagesched.gateway.outcome import Tail
from sagesched.gateway.targets import ROUTED_HEADER, Gateway
from sagesched.gateway.upstream import BAD_URL, Headers, passed_on, path_of, request_headers
from sagesched.gateway.upstream import send as send_upstream

NOT_SENT = ("call_upstream_connection_failed", "no_available_workers")
"""Error codes of SGLang's gateway that mean: no replica has got the request."""
WITHOUT_OUTPUT = ("/v1/embeddings",)
"""Routes whose answers have no length to predict or to learn."""
LONG_BODY = 2**20
"""Bytes; a longer one is read in a thread."""

logger = logging.getLogger("sagesched.route")


class Inference:
    """ASGI application of the routes that are balanced."""

    def __init__(
        self,
        config: RouteConfig,
        fleet: Fleet,
        client: httpx.AsyncClient,
        admission: Admission,
        predictor: Predictor | None,
        metrics: Metrics,
    ) -> None:
        self._config = config
        self._fleet = fleet
        self._client = client
        self._admission = admission
        self._predictor = predictor
        self._metrics = metrics
        self._keys = itertools.count()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request; a client that leaves ends it at once, and at the replica."""
        try:
            config = self._config
            body = await read_body(receive, config.max_body_bytes, config.body_timeout_s)
        except RefusedError as refused:
            self._metrics.ended(refused.result)
            await refuse(send, refused)
            return
        if body is None:
            self._metrics.ended("client_left")
            return
        serving = await unless_left(receive, self._serve(scope, body, send))
        if serving.cancelled():
            self._metrics.ended("client_left")
        elif (error := serving.exception()) is not None:
            self._metrics.ended("failed")
            raise error
        else:
            self._metrics.ended(serving.result())

    async def _serve(self, scope: Message, body: bytes, send: Send) -> str:
        """Returns what became of it, for the metrics."""
        began = time.perf_counter()
        if len(body) <= LONG_BODY:
            asked = _asked(body, self._config.bytes_per_token)
        else:  # others are served meanwhile, where Python lets them
            asked = await asyncio.to_thread(_asked, body, self._config.bytes_per_token)
        try:
            async with self._admission.place():
                generates = scope["path"] not in WITHOUT_OUTPUT
                asking = self._predictor if generates else None
                expected = await asking.ask(asked) if asking else None
                return await self._route(scope, body, asked, expected, send, began)
        except RejectedError as rejected:
            refused = RefusedError(503, str(rejected), "rejected")
        except RefusedError as error:
            refused = error
        await refuse(send, refused)
        return refused.result

    async def _route(
        self,
        scope: Message,
        body: bytes,
        asked: Asked,
        expected: Expected | None,
        send: Send,
        began: float,
    ) -> str:
        known = (None, None) if expected is None else (expected.mean, expected.high)
        query = asked.query(str(next(self._keys)), *known)
        answering = _Answer(send, self._metrics, began)
        for attempt in range(len(self._fleet.replicas) + 1):
            index = self._choose(query)
            if attempt:
                self._metrics.retried()
            try:
                sent = await self._once(index, query, scope, body, answering)
            finally:
                self._fleet.ended(index, query)
            if sent:
                if expected is not None and self._predictor and asked.one_answer:
                    answering.tell(self._predictor, expected)
                return answering.result
        raise RefusedError(503, "no replica takes connections", "no_replica")

    def _choose(self, query: Query) -> int:
        began = time.perf_counter()
        try:
            index = self._fleet.choose(query)
        except NoReplica:
            raise RefusedError(503, "no replica is healthy", "no_replica") from None
        self._metrics.sent(index, time.perf_counter() - began)
        return index

    async def _once(
        self, index: int, query: Query, scope: Message, body: bytes, answering: _Answer
    ) -> bool:
        """Whether the replica got the request. False: not a byte of it, so another one may."""
        try:
            base, more = self._fleet.targets.of(index)
        except KeyError:  # the gateway has just dropped it
            self._fleet.refused(index)
            return False
        headers = request_headers(scope["headers"])
        headers += [(name.encode(), value.encode()) for name, value in more]
        url = base + path_of(scope)
        through_gateway = isinstance(self._fleet.targets, Gateway)
        try:
            async with send_upstream(self._client, "POST", url, headers, body) as answer:
                if through_gateway and answer.headers.get("x-smg-error-code") in NOT_SENT:
                    self._fleet.refused(index)
                    return False
                self._note_worker(index, query, answer)
                await answering.pass_on(answer, index)
        except httpx.InvalidURL:
            raise RefusedError(400, BAD_URL, "bad_url") from None
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            if are_out(error):
                self._fleet.out_of_descriptors()
                raise RefusedError(503, OUT, "no_descriptors") from None
            if through_gateway:
                raise RefusedError(503, "the gateway takes no connections", "failed") from None
            self._fleet.refused(index)
            return False
        except httpx.HTTPError as error:
            logger.warning("replica %d: %s", index, type(error).__name__)
            if not answering.begun:
                reason = "the replica broke off before it answered; the request may have run"
                raise RefusedError(502, reason, "failed") from None
            answering.result = "broken"
        return True

    def _note_worker(self, index: int, query: Query, answer: httpx.Response) -> None:
        worker = answer.headers.get(ROUTED_HEADER)
        if worker is None or not isinstance(self._fleet.targets, Gateway):
            return
        actual = self._fleet.targets.index_of(worker)
        if actual != index:
            self._metrics.misrouted()
            if actual is not None:
                self._fleet.moved(actual, query)  # the books say where it is


class _Answer:
    """Passes the replica's answer on, and keeps its end."""

    def __init__(self, send: Send, metrics: Metrics, began: float) -> None:
        self._send = send
        self._metrics = metrics
        self._began = began
        self._tail = Tail()
        self.begun = False
        self.result = "answered"

    async def pass_on(self, answer: httpx.Response, index: int) -> None:
        """Each piece as it comes: `send` waits while the client does not read."""
        headers: Headers = [p for p in passed_on(answer.headers.raw) if p[0] != b"date"]
        headers.append((b"x-sagesched-replica", b"%d" % index))
        self._metrics.first_byte(time.perf_counter() - self._began)
        start = {"type": "http.response.start", "status": answer.status_code, "headers": headers}
        await self._send(start)
        self.begun = True
        async for chunk in answer.aiter_raw():
            self._tail.add(chunk)
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def tell(self, predictor: Predictor, expected: Expected) -> None:
        """The predictor learns how long it was, where the answer says so."""
        if self.result == "answered" and (outcome := self._tail.outcome()) is not None:
            predictor.tell(expected.key, *outcome)


def _asked(body: bytes, bytes_per_token: float) -> Asked:
    return read_request(_json(body), bytes_per_token)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None  # the engine says what is wrong with it
