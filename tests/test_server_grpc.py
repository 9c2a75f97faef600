"""gRPC front ends on real servers: smg's own server, and SGLang's beside HTTP."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from cpu_engine.server import HOST, EngineServer, free_port
from sagesched.plugin.wire import PRIVATE_KEY

from .serving import model_directory, start_server
from .test_server_modes import check_ranks_agree, ending_when_they_may
from .test_server_order import kinds, known_jobs, learn, waiting_jobs
from .traffic import Job, completion_order, our_metrics

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(
        importlib.util.find_spec("smg_grpc_servicer") is None,
        reason="not installed: pip install smg-grpc-servicer",
    ),
]

WITHOUT_WARM_UP = {"SMG_SGLANG_SERVICER_WARMUP": "off"}
"""It sends ids that a vocabulary as small as the tiny model's does not have."""


class SmgServer(EngineServer):
    """Ready when its gRPC health service says so; there is no HTTP server."""

    def healthy(self) -> bool:
        import grpc
        from grpc_health.v1 import health_pb2, health_pb2_grpc

        with grpc.insecure_channel(f"{HOST}:{self.port}") as channel:
            try:
                answer = health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(), timeout=5
                )
            except grpc.RpcError:
                return False
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def smg_server(*args: str, env: Mapping[str, str] | None = None) -> SmgServer:
    arguments = ["--smg-grpc-mode", "--random-seed", "1", *args]
    more = {**WITHOUT_WARM_UP, "SAGESCHED_DEADLINE_MS": "20000", **(env or {})}
    return SmgServer(model_directory(), arguments, more)


def request_of(job: Job) -> Any:
    """A job's body as smg's router sends it: ids, and every parameter."""
    from smg_grpc_proto import sglang_scheduler_pb2 as pb
    from tokenizers import Tokenizer

    body = job.body()
    tokenizer = Tokenizer.from_file(str(Path(model_directory()) / "tokenizer.json"))
    neutral = {"temperature": 1.0, "top_p": 1.0, "top_k": -1, "repetition_penalty": 1.0, "n": 1}
    params = pb.SamplingParams(**neutral, **body["sampling_params"])
    for key, value in (job.extra or {}).items():
        params.custom_params[key] = value
    ids = tokenizer.encode(job.prompt).ids
    return pb.GenerateRequest(
        request_id=job.name, tokenized=pb.TokenizedInput(input_ids=ids), sampling_params=params
    )


async def run_spaced(url: str, jobs: Sequence[Job], gap_s: float) -> list[Job]:
    """Send all jobs in this order, a moment apart, and wait for all of them."""
    import grpc
    from smg_grpc_proto import sglang_scheduler_pb2_grpc

    async with grpc.aio.insecure_channel(url.removeprefix("http://")) as channel:
        stub = sglang_scheduler_pb2_grpc.SglangSchedulerStub(channel)
        clock = asyncio.get_running_loop().time

        async def run(job: Job) -> Job:
            async for answer in stub.Generate(request_of(job), timeout=300):
                if answer.HasField("complete"):
                    job.completion_tokens = answer.complete.completion_tokens
            job.done = clock()
            return job

        tasks = []
        for job in jobs:
            tasks.append(asyncio.create_task(run(job)))
            await asyncio.sleep(gap_s)
        return list(await asyncio.gather(*tasks))


def test_smg_serves_the_short_kind_first() -> None:
    """The rank that receives its requests predicts, and learns, before the other gets them; what
    one of them carries in the place of our prediction is nothing to us."""
    env = {"SAGESCHED_DIAL": "inf", "SAGESCHED_DEBUG_ORDER": "1"}
    args = ("--schedule-policy", "gittins", "--max-running-requests", "1", "--tp-size", "2")
    with smg_server(*args, env=env) as server:
        asyncio.run(run_spaced(server.url, ending_when_they_may(known_jobs()), gap_s=0.0))
        jobs = [Job("blocker", "Count on and on.", 2000), *waiting_jobs()]
        jobs[1].extra = {PRIVATE_KEY: [1.0]}  # a long one
        done = asyncio.run(run_spaced(server.url, ending_when_they_may(jobs), gap_s=0.1))
        assert [job.completion_tokens for job in done] == [job.tokens for job in jobs]
        order = kinds(completion_order([job for job in done if job.name != "blocker"]))
        assert order[:5] == "SSSSS", order
        check_ranks_agree(server, {"TP0", "TP1"}, least_passes=32)
        assert "is served in stock order" not in server.log_path.read_text(errors="replace")


def encoded(tag: int, value: bytes) -> bytes:
    """A field of bytes in protobuf's encoding."""
    size, head = len(value), bytes([tag << 3 | 2])
    while size > 127:
        head += bytes([size & 127 | 128])
        size >>= 7
    return head + bytes([size]) + value


def test_sglangs_own_beside_http_is_served_by_its_tokenizer_manager() -> None:
    """``Complete`` takes the body of the OpenAI route, and is predicted as that is."""
    import grpc

    port = free_port()
    args = ("--schedule-policy", "gittins", "--enable-metrics", "--grpc-port", str(port))
    with start_server(*args, env={"SAGESCHED_DEADLINE_MS": "5000"}) as server:
        learn(server.url)
        before = asyncio.run(our_metrics(server.url))
        body = {"model": "m", "prompt": "Who are you?", "max_tokens": 5, "ignore_eos": True}
        with grpc.insecure_channel(f"{HOST}:{port}") as channel:
            complete = channel.unary_stream("/sglang.runtime.v1.SglangService/Complete")
            (answer,) = complete(encoded(1, json.dumps(body).encode()), timeout=60)
        assert b'"completion_tokens": 5' in answer
        after = asyncio.run(our_metrics(server.url))
        predicted = 'sagesched_ranked_requests_total{source="predicted"}'
        assert after[predicted] == before[predicted] + 1
        assert not [name for name in after if "fallbacks" in name and after[name]]
