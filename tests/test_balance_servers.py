"""SAL in front of real servers on the CPU engine: our router, SGLang's gateway (smg), Ray Serve."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from cpu_engine.eos_at import EosAt, eos_at_params
from cpu_engine.server import EngineServer

from .balancers import SMG, RayCluster, gateway
from .fake_sglang import FakeSglang
from .routing import PATIENT, Router, in_thread, wait_until
from .serving import start_server

EOS = 2

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="run by scripts/test-ray"
)
needs_smg = pytest.mark.skipif(not SMG.exists(), reason="smg is not installed: pip install smg")


@needs_smg
def test_the_gateway_sends_requests_where_the_router_wants_them() -> None:
    """Also when its list, and so every place in it, has changed."""
    with ExitStack() as stack:
        fakes = [stack.enter_context(FakeSglang(f"w{n}")) for n in range(3)]
        by_name = {fake.name: fake for fake in fakes}
        url = stack.enter_context(gateway(*(fake.url for fake in fakes)))
        urls = [fake.url for fake in fakes]
        options: dict[str, Any] = {"gateway": url, "balance": "round_robin", "poll_s": 0.1}
        router = stack.enter_context(Router(*urls, **options))
        wait_until(lambda: router.client.get("/health").json()["healthy"] == 3)
        for _ in range(2):
            answers = [router.generate() for _ in range(6)]
            assert [answer.json()["text"] for answer in answers] == [
                f"w{answer.headers['x-sagesched-replica']}" for answer in answers
            ]
            assert {answer.json()["text"] for answer in answers} == set(by_name)
        assert router.metric("misrouted_total") == 0

        fakes[0].stop()
        answers = [router.generate() for _ in range(12)]
        assert {answer.status_code for answer in answers} == {200}
        assert {answer.json()["text"] for answer in answers} == {"w1", "w2"}
        # smg has dropped the worker from its list by now, or does so soon: places move.
        wait_until(lambda: not router.replicas()[0]["healthy"])
        answers = [router.generate() for _ in range(12)]
        assert {answer.status_code for answer in answers} == {200}


@pytest.fixture(scope="module")
def engines() -> Iterator[list[EngineServer]]:
    with ExitStack() as stack, ThreadPoolExecutor(2) as pool:
        started = pool.map(lambda _: start_server("--max-running-requests", "4").start(), range(2))
        servers = list(started)
        for server in servers:
            stack.callback(server.stop)
        yield servers


def body(prompt: str, tokens: int, **more: Any) -> dict[str, Any]:
    """A request that produces exactly so many tokens."""
    sampling = {"max_new_tokens": 2000, "custom_params": eos_at_params(tokens, EOS)}
    processor = EosAt.to_str()
    return {
        "text": prompt,
        "sampling_params": sampling,
        "custom_logit_processor": processor,
        **more,
    }


@pytest.mark.server
def test_sal_in_front_of_real_servers(engines: list[EngineServer]) -> None:
    urls = [server.url for server in engines]
    with Router(*urls, poll_s=0.05) as router, ThreadPoolExecutor(8) as pool:
        wait_until(lambda: router.client.get("/health").json()["healthy"] == 2)
        sent = [
            pool.submit(router.client.post, "/generate", json=body(f"number {n}", 20 + n))
            for n in range(8)
        ]
        answers = [answer.result() for answer in sent]
        lengths = [answer.json()["meta_info"]["completion_tokens"] for answer in answers]
        assert lengths == [20 + n for n in range(8)]
        served = [answer.headers["x-sagesched-replica"] for answer in answers]
        assert {served.count("0"), served.count("1")} <= {3, 4, 5}

        # One server is kept busy, its report shows it, and the next ones go to the other.
        def occupy() -> list[httpx.Response]:
            direct = [
                pool.submit(httpx.post, f"{urls[0]}/generate", json=body(f"{n} w " * 400, 600),
                            timeout=PATIENT)
                for n in range(6)
            ]  # fmt: skip
            return [answer.result() for answer in direct]

        with in_thread(occupy) as occupied:
            wait_until(lambda: router.replicas()[0]["load"]["waiting"] >= 1)
            answers = [router.client.post("/generate", json=body("next", 3)) for _ in range(4)]
            assert [answer.headers["x-sagesched-replica"] for answer in answers] == ["1"] * 4
        assert [answer.status_code for answer in occupied[0]] == [200] * 6

        load = router.replicas()[0]["load"]
        assert load["prefill_per_s"] > 0
        wait_until(lambda: router.replicas()[0]["load"]["running"] == 0)

        chat = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}
        chat |= {"stream": True, "ignore_eos": True}
        with router.client.stream("POST", "/v1/chat/completions", json=chat) as answer:
            lines = [line for line in answer.iter_lines() if line]
        assert (answer.status_code, lines[-1]) == (200, "data: [DONE]")
        assert router.client.get("/v1/models").status_code == 200
        refused = router.client.post("/generate", json={"no": "prompt"})
        assert refused.status_code == 400


@pytest.mark.server
def test_a_client_that_leaves_frees_the_engine(engines: list[EngineServer]) -> None:
    with Router(engines[1].url, poll_s=0.05) as router:
        with pytest.raises(httpx.ReadTimeout):
            router.client.post("/generate", json=body("leaves", 1900), timeout=1.0)
        wait_until(lambda: router.replicas()[0]["in_flight"] == 0)
        wait_until(lambda: router.replicas()[0]["load"]["running"] == 0, patience_s=10)
        assert router.client.post("/generate", json=body("after", 2)).status_code == 200


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    with RayCluster(replicas=4) as started:
        yield started


@needs_ray
def test_ray_spreads_a_burst_and_follows_the_reports(cluster: RayCluster) -> None:
    with ThreadPoolExecutor(32) as pool:
        burst = list(pool.map(lambda n: cluster.ask(f"{n} " * 50, 600), range(32)))
    served = Counter(answer.json()["replica"] for answer in burst)
    assert len(served) == 4
    # Reports come in the middle of it; on a busy machine it was seen as uneven as 10, 8, 8, 6.
    assert max(served.values()) - min(served.values()) <= 4
    full = {"num_used_tokens": 100_000, "num_waiting_reqs": 50}
    busy = cluster.ask("x", 1, report=full).json()["replica"]

    def serving(count: int) -> set[str]:
        with ThreadPoolExecutor(count) as pool:
            answers = pool.map(lambda n: cluster.ask(f"{n}", 20), range(count))
            return {answer.json()["replica"] for answer in answers}

    wait_until(lambda: busy not in serving(8))
    wait_until(lambda: busy in serving(8))  # it reports its own load again


@needs_ray
def test_ray_loses_no_request_of_a_replica_that_is_killed(cluster: RayCluster) -> None:
    with ThreadPoolExecutor(64) as pool:
        running = [pool.submit(cluster.ask, f"{n} " * 50, 300) for n in range(32)]
        assert cluster.ask("x", 1).status_code == 200
        killed = cluster.ask("x", 1, die=True)
        later = [pool.submit(cluster.ask, f"{n} " * 50, 20) for n in range(32)]
        ended = [answer.result() for answer in running]
        after = [answer.result() for answer in later]
    assert killed.json() == {"failed": "ActorDiedError"}
    # Those that it had begun failed clearly, and nothing else did.
    assert 1 <= sum(answer.status_code == 502 for answer in ended) <= 16
    assert {answer.json()["failed"] for answer in ended if answer.status_code != 200} == {
        "ActorDiedError"
    }
    assert {answer.status_code for answer in after} == {200}
    alive = {answer.json()["replica"] for answer in ended if answer.status_code == 200}
    assert {answer.json()["replica"] for answer in after} == alive
    assert len(alive) == 3


@needs_ray
@pytest.mark.server
def test_ray_in_front_of_real_servers(cluster: RayCluster, engines: list[EngineServer]) -> None:
    cluster.add_engines(*(server.url for server in engines))
    with ThreadPoolExecutor(8) as pool:
        post = lambda n: cluster.post("/engines", body(f"ray {n}", 40 + n))  # noqa: E731
        answers = [answer.json() for answer in pool.map(post, range(8))]
    lengths = [answer["answer"]["meta_info"]["completion_tokens"] for answer in answers]
    assert lengths == [40 + n for n in range(8)]
    assert {answer["replica"] for answer in answers} == {0, 1}


@needs_smg
@pytest.mark.server
def test_sal_through_the_gateway_and_a_server_that_dies(engines: list[EngineServer]) -> None:
    urls = [server.url for server in engines]
    with gateway(*urls) as url, Router(*urls, gateway=url, poll_s=0.1) as router:
        wait_until(lambda: router.client.get("/health").json()["healthy"] == 2)
        with ThreadPoolExecutor(8) as pool:
            sent = [
                pool.submit(router.client.post, "/generate", json=body(f"through {n}", 10))
                for n in range(8)
            ]
            answers = [answer.result() for answer in sent]
        assert [answer.json()["meta_info"]["completion_tokens"] for answer in answers] == [10] * 8
        workers = {urls.index(answer.headers["x-smg-routed-worker-id"]) for answer in answers}
        assert workers == {0, 1}
        assert router.metric("misrouted_total") == 0
        assert router.metric("sent_total", replica="0") >= 3

        engines[0].stop()
        answers = [router.client.post("/generate", json=body("after", 4)) for _ in range(6)]
        assert {answer.status_code for answer in answers} == {200}
        assert {answer.headers["x-sagesched-replica"] for answer in answers} == {"1"}
