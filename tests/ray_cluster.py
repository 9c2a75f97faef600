"""A local Ray cluster with replicas of a stand-in deployment behind our router; a process of its own.

    python -m tests.ray_cluster PORT REPLICAS [URL ...]

With URLs each replica stands for the SGLang server at one of them, else it sleeps instead of
decoding. It says "ready", and ends when its input does. A request is ``POST / {"text": ...,
"tokens": N}``, and its answer names the replica. ``{"die": true}`` kills the replica that it reaches,
``{"report": {...}}`` makes it report that as its load.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Any

import ray
from ray import serve
from ray.serve.config import RequestRouterConfig
from starlette.requests import Request
from starlette.responses import JSONResponse

POOL = 100_000
TOKEN_S = 0.005


@serve.deployment
class StandIn:
    """Reports what an SGLang engine would, and takes as long as it has tokens."""

    def __init__(self, urls: list[str]) -> None:
        self.name = serve.get_replica_context().replica_id.unique_id
        self.running: dict[int, int] = {}
        self.served = 0
        self.reported: dict[str, Any] = {}
        self.url = urls[serve.get_replica_context().rank.rank] if urls else None

    async def __call__(self, body: dict[str, Any]) -> dict[str, Any]:
        if body.get("die"):
            os.kill(os.getpid(), signal.SIGKILL)
        if body.get("report") is not None:
            self.reported = body["report"]
        self.served += 1
        number, tokens = self.served, int(body.get("tokens", 1))
        self.running[number] = tokens
        try:
            if self.url:
                return {"replica": self.name, "answer": await self._generate(body["generate"])}
            await asyncio.sleep(TOKEN_S * tokens)
        finally:
            del self.running[number]
        return {"replica": self.name}

    async def record_routing_stats(self) -> dict[str, Any]:
        """SGLang's fields."""
        if self.url:
            return dict(await self._get("/v1/loads?include=core"))
        load = {
            "num_running_reqs": len(self.running),
            "num_waiting_reqs": 0,
            "num_waiting_uncached_tokens": 0,
            "num_used_tokens": sum(self.running.values()),
            "max_total_num_tokens": POOL,
            "max_running_requests": 64,
        }
        return {"name": self.name, **load, **self.reported}

    async def _get(self, path: str) -> Any:
        import httpx

        async with httpx.AsyncClient(trust_env=False) as client:
            return (await client.get(f"{self.url}{path}")).json()

    async def _generate(self, body: dict[str, Any]) -> Any:
        import httpx

        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            return (await client.post(f"{self.url}/generate", json=body)).json()


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


def main(port: int, replicas: int, urls: list[str]) -> None:
    """Until the input ends."""
    ray.init(num_cpus=16, include_dashboard=False, log_to_driver=False, configure_logging=False)
    serve.start(http_options={"port": port, "host": "127.0.0.1"})
    router = RequestRouterConfig(
        request_router_class="sagesched.balance.ray.SalRequestRouter",
        request_router_kwargs={"balance": "sal"},
        request_routing_stats_period_s=0.2,
    )
    deployment = StandIn.options(
        num_replicas=replicas,
        max_ongoing_requests=64,
        request_router_config=router,
        ray_actor_options={"num_cpus": 0.1},
        health_check_period_s=1,
        health_check_timeout_s=2,
    )
    serve.run(Ingress.options(ray_actor_options={"num_cpus": 0.1}).bind(deployment.bind(urls)))
    print("ready", flush=True)
    sys.stdin.read()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
