"""A stand-in for an SGLang server, on a real socket: its routes, its loads, nothing of a model."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

POOL = 10_000
MOST_RUNNING = 16


class FakeSglang:
    """One server in a thread of its own, as a context manager.

    Attributes:
        seen: headers and body of each request to an inference route, in order.
        aborted: requests whose client left before the answer's end.
        gate: inference waits until it is set; set by default.
        loads: if set, the very bytes that ``/v1/loads`` answers.
        load: what ``/v1/loads`` says, beside the requests in progress.
        silent: information routes do not answer; ``informing`` counts those in progress.
        padding: characters in each piece of a stream; ``produced`` counts the pieces.
        status: of inference routes.
    """

    def __init__(self, name: str = "fake", token_s: float = 0.0, api_key: str = "") -> None:
        self.name = name
        self.token_s = token_s
        self.api_key = api_key
        self.seen: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.aborted = 0
        self.running = 0
        self.polled = 0
        self.padding = 0
        self.produced = 0
        self.status = 200
        self.silent = False
        self.informing = 0
        self.load: dict[str, Any] = {}
        self.loads = b""
        self.gate = threading.Event()
        self.gate.set()
        inference = ("/generate", "/v1/completions", "/v1/chat/completions")
        information = ("/health", "/v1/models", "/get_model_info", "/model_info", "/server_info")
        self.app = Starlette(
            routes=[
                Route("/v1/loads", self._loads),
                *(Route(path, self._infer, methods=["POST"]) for path in inference),
                *(Route(path, self._inform) for path in information),
            ]
        )
        config = uvicorn.Config(
            self.app, port=0, log_config=None, access_log=False, lifespan="off", ws="none"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> FakeSglang:
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            time.sleep(0.005)
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """From now on connections are refused; those that are open break off."""
        self.gate.set()
        self.silent = False
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()

    async def _loads(self, request: Request) -> Response:
        self.polled += 1
        if self.api_key and request.headers.get("authorization") != f"Bearer {self.api_key}":
            return JSONResponse({"error": "no"}, 401)
        if self.loads:
            return Response(self.loads, media_type="application/json")
        load = {
            "timestamp": time.time(),
            "dp_rank": 0,
            "num_running_reqs": self.running,
            "num_waiting_reqs": 0,
            "num_waiting_uncached_tokens": 0,
            "num_used_tokens": 0,
            "max_total_num_tokens": POOL,
            "max_running_requests": MOST_RUNNING,
            "total_prefill_uncached_tokens": 0,
            "total_prefill_busy_us": 0,
        }
        return JSONResponse({"loads": [load | self.load]})

    async def _inform(self, request: Request) -> Response:
        self.informing += 1
        try:
            while self.silent and not await request.is_disconnected():
                await asyncio.sleep(0.002)
        finally:
            self.informing -= 1
        url = request.url
        told = {"server": self.name, "path": url.path, "query": url.query, "model_path": "fake"}
        return JSONResponse(told)

    async def _infer(self, request: Request) -> Response:
        body = await request.json()
        self.seen.append((dict(request.headers), body))
        tokens = int(body.get("sampling_params", {}).get("max_new_tokens", 4))
        headers = {"x-served-by": self.name}
        if self.status != 200:
            return JSONResponse({"error": self.name}, self.status, headers)
        if body.get("stream"):
            return StreamingResponse(
                self._stream(tokens), headers=headers, media_type="text/event-stream"
            )
        leaving = asyncio.ensure_future(_left(request))
        self.running += 1
        try:
            for _ in range(tokens):
                await self._step()
                if leaving.done():
                    self.aborted += 1
                    return Response(status_code=499)
        finally:
            self.running -= 1
            leaving.cancel()
        return JSONResponse({"text": self.name, "meta_info": _meta(tokens, True)}, headers=headers)

    async def _stream(self, tokens: int) -> AsyncIterator[str]:
        self.running += 1
        done = False
        try:
            for number in range(1, tokens + 1):
                await self._step()
                self.produced += 1
                chunk = {
                    "text": self.name + " " * self.padding,
                    "meta_info": _meta(number, number == tokens),
                }
                yield f"data: {json.dumps(chunk)}\n\n"
            yield "data: [DONE]\n\n"
            done = True
        finally:
            self.running -= 1
            self.aborted += not done

    async def _step(self) -> None:
        await asyncio.sleep(self.token_s)
        while not self.gate.is_set():
            await asyncio.sleep(0.002)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _meta(tokens: int, last: bool) -> dict[str, Any]:
    return {"completion_tokens": tokens, "finish_reason": {"type": "stop"} if last else None}
