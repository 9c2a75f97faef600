"""A local Ray cluster with deployments behind our router; a process of its own.

    python -m tests.ray_cluster PORT REPLICAS

``/`` has replicas that report loads like SGLang's and sleep instead of decoding; a line "URL ..."
on the input starts ``/engines``, whose replicas stand for the SGLang servers at these addresses.
Each is said to be "ready". It ends when its input does.

A request is ``POST {"text": ..., "tokens": N}``, and its answer names the replica. With
``"die": true`` it kills the replica that it reaches, with ``"report": {...}`` makes it report that
as its load for a while.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from typing import Any

import httpx
import ray
from ray import serve
from ray.serve.config import RequestRouterConfig
from starlette.requests import Request
from starlette.responses import JSONResponse

POOL = 100_000
TOKEN_S = 0.005
REPORTED_S = 4.0


@serve.deployment
class StandIn:
    """Reports what an SGLang engine would, and takes as long as it has tokens."""

    def __init__(self) -> None:
        self.name = serve.get_replica_context().replica_id.unique_id
        self.running: dict[int, int] = {}
        self.served = 0
        self.reported: dict[str, Any] = {}
        self.reported_until = 0.0

    async def __call__(self, body: dict[str, Any]) -> dict[str, Any]:
        if body.get("die"):
            os.kill(os.getpid(), signal.SIGKILL)
        if "report" in body:
            self.reported = body["report"]
            self.reported_until = time.monotonic() + REPORTED_S
        self.served += 1
        number, tokens = self.served, int(body.get("tokens", 1))
        self.running[number] = tokens
        try:
            await asyncio.sleep(TOKEN_S * tokens)
        finally:
            del self.running[number]
        return {"replica": self.name}

    async def record_routing_stats(self) -> dict[str, Any]:
        """SGLang's fields."""
        load = {
            "num_running_reqs": len(self.running),
            "num_waiting_reqs": 0,
            "num_waiting_uncached_tokens": 0,
            "num_used_tokens": sum(self.running.values()),
            "max_total_num_tokens": POOL,
            "max_running_requests": 64,
        }
        return {**load, **(self.reported if time.monotonic() < self.reported_until else {})}


@serve.deployment
class Engine:
    """In front of the SGLang server whose place in the list is the replica's rank."""

    def __init__(self, urls: list[str]) -> None:
        self.rank = serve.get_replica_context().rank.rank
        self.client = httpx.AsyncClient(base_url=urls[self.rank], trust_env=False, timeout=60)

    async def __call__(self, body: dict[str, Any]) -> dict[str, Any]:
        answer = await self.client.post("/generate", json=body)
        return {"replica": self.rank, "answer": answer.json()}

    async def record_routing_stats(self) -> dict[str, Any]:
        """The server's own."""
        loads: dict[str, Any] = (await self.client.get("/v1/loads?include=core")).json()
        return loads


@serve.deployment(max_ongoing_requests=1000)
class Ingress:
    """Calls the deployment with the body, so that the router sees it."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle

    async def __call__(self, request: Request) -> JSONResponse:
        try:
            return JSONResponse(await self.handle.remote(await request.json()))
        except Exception as error:
            return JSONResponse({"failed": type(error).__name__}, 502)


def run(name: str, deployment: Any, *arguments: Any, replicas: int) -> None:
    """Deploy at ``/NAME``."""
    small = {"num_cpus": 0.1}
    routed = deployment.options(
        num_replicas=replicas,
        max_ongoing_requests=64,
        ray_actor_options=small,
        health_check_period_s=1,
        request_router_config=RequestRouterConfig(
            request_router_class="sagesched.balance.ray.SalRequestRouter",
            request_router_kwargs={"balance": "sal"},
            request_routing_stats_period_s=0.2,
        ),
    )
    ingress = Ingress.options(ray_actor_options=small)
    app = ingress.bind(routed.bind(*arguments))
    serve.run(app, name=name or "stand-ins", route_prefix=f"/{name}")
    print("ready", flush=True)


def main(port: int, replicas: int) -> None:
    """Until the input ends."""
    ray.init(num_cpus=16, include_dashboard=False, log_to_driver=False, configure_logging=False)
    serve.start(http_options={"port": port, "host": "127.0.0.1"})
    run("", StandIn, replicas=replicas)
    for line in sys.stdin:
        urls = line.split()
        run("engines", Engine, urls, replicas=len(urls))
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
