"""The routes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sagesched.balance import make_chooser
from sagesched.gateway.admission import Admission
from sagesched.gateway.answers import RETRY_AFTER_S, CutOff, unless_left
from sagesched.gateway.config import RouteConfig
from sagesched.gateway.descriptors import OUT, are_out
from sagesched.gateway.expected import Predictor
from sagesched.gateway.fleet import Fleet
from sagesched.gateway.inference import Inference
from sagesched.gateway.metrics import Metrics
from sagesched.gateway.upstream import (
    BAD_URL,
    Headers,
    make_client,
    passed_on,
    path_of,
    request_headers,
    send,
)

BALANCED = (
    "/generate",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/messages",
    "/v1/responses",
)
ANYWHERE = ("/v1/models", "/get_model_info", "/model_info", "/server_info", "/get_server_info")


def create_app(config: RouteConfig) -> Starlette:
    """The router as an ASGI application.

    Raises:
        ValueError: unknown chooser.
    """
    client, polling = make_client(config), make_client(config)
    chooser = make_chooser(config.balance, len(config.replicas), seed=config.seed)
    fleet = Fleet(config, chooser, polling)
    admission = Admission(config.max_inflight, config.max_queue, config.queue_timeout_s)
    predictor = _predictor(config, polling)
    metrics = Metrics(fleet, admission, predictor)
    inference = Inference(config, fleet, client, admission, predictor, metrics)
    service = _Service(config, fleet, client, metrics)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with client, polling, fleet:
            yield
            if predictor is not None:
                await predictor.close()

    return Starlette(
        lifespan=lifespan,
        middleware=[Middleware(CutOff)],
        routes=[
            *(Route(path, inference, methods=["POST"]) for path in BALANCED),
            *(Route(path, service.anywhere) for path in ANYWHERE),
            Route("/health", service.health),
            Route("/replicas", service.replicas),
            Route("/metrics", service.metrics),
        ],
        exception_handlers={404: _unknown},
    )


def _predictor(config: RouteConfig, client: httpx.AsyncClient) -> Predictor | None:
    if config.predictor is None:
        return None
    deadline_s, token = config.predictor_deadline_s, config.predictor_token
    return Predictor(config.predictor, client, deadline_s, config.learn, token)


class _Service:
    """What is not balanced."""

    def __init__(
        self, config: RouteConfig, fleet: Fleet, client: httpx.AsyncClient, metrics: Metrics
    ) -> None:
        self._timeout_s = config.inform_timeout_s
        self._fleet = fleet
        self._client = client
        self._metrics = metrics

    async def anywhere(self, request: Request) -> Response:
        """The answer of the first healthy replica that gives one; all serve the same model."""
        answering = await unless_left(request.receive, self._ask_each(request))
        return Response(status_code=499) if answering.cancelled() else answering.result()

    async def _ask_each(self, request: Request) -> Response:
        headers, path = request_headers(request.headers.raw), path_of(request.scope)
        for replica in self._fleet.replicas:
            if not replica.healthy:
                continue
            try:
                return await self._ask(replica.url + path, headers)
            except httpx.InvalidURL:
                return _error(400, BAD_URL)
            except (httpx.HTTPError, TimeoutError) as error:
                if are_out(error):
                    self._fleet.out_of_descriptors()
                    return _error(503, OUT)
        return _error(503, "no replica answers")

    async def _ask(self, url: str, headers: Headers) -> Response:
        with anyio.fail_after(self._timeout_s):
            async with send(self._client, "GET", url, headers, b"") as answer:
                return _copied(answer, await answer.aread())

    async def health(self, _: Request) -> Response:
        """200 while at least one replica gets requests."""
        healthy = self._fleet.healthy
        status = 200 if healthy else 503
        return JSONResponse({"healthy": healthy, "replicas": len(self._fleet.replicas)}, status)

    async def replicas(self, _: Request) -> Response:
        """What is known of each."""
        return JSONResponse([_described(replica) for replica in self._fleet.replicas])

    async def metrics(self, _: Request) -> Response:
        """For Prometheus."""
        return Response(self._metrics.page(), media_type=CONTENT_TYPE_LATEST)


def _error(status: int, message: str) -> Response:
    headers = {"retry-after": str(RETRY_AFTER_S)} if status == 503 else {}
    return JSONResponse({"error": {"message": message}}, status, headers=headers)


def _copied(answer: httpx.Response, content: bytes) -> Response:
    copy = Response(content, answer.status_code)
    dropped = (b"content-encoding", b"content-length")  # `aread` has decoded it
    copy.raw_headers += [pair for pair in passed_on(answer.headers.raw) if pair[0] not in dropped]
    return copy


def _described(replica: Any) -> dict[str, Any]:
    load = replica.load
    names = () if load is None else load.__slots__
    return {
        "index": replica.index,
        "url": replica.url,
        "healthy": replica.healthy,
        "in_flight": replica.in_flight,
        "error": replica.error or None,
        "load": {name: getattr(load, name) for name in names} or None,
    }


async def _unknown(request: Request, _: Exception) -> Response:
    message = (
        "this router forwards requests for answers only; ask a server itself for anything else"
    )
    return JSONResponse({"error": {"message": message, "type": "router_error"}}, 404)
