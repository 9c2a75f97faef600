"""The request router for Ray Serve over stand-ins of its types: its slots and its guards."""

from __future__ import annotations

import asyncio
import importlib
import sys
from concurrent.futures import Future
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


class StubRouter:
    """Of ``ray.serve.request_router.RequestRouter`` what ours calls."""

    def update_replicas(self, replicas: list[Any]) -> None:
        """Nothing."""

    def on_replica_actor_died(self, replica_id: str) -> None:
        """Nothing."""


@pytest.fixture
def router(monkeypatch: pytest.MonkeyPatch) -> Any:
    """With SAL, and no replica yet."""
    stub = ModuleType("ray.serve.request_router")
    for name in ("PendingRequest", "ReplicaID", "RunningReplica"):
        setattr(stub, name, type(name, (), {}))
    stub.RequestRouter = StubRouter  # type: ignore[attr-defined]
    for name in ("ray", "ray.serve"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, stub.__name__, stub)
    monkeypatch.delitem(sys.modules, "sagesched.balance.ray", raising=False)
    module = importlib.import_module("sagesched.balance.ray")
    made = module.SalRequestRouter()
    made.initialize_state("sal")
    yield made
    del sys.modules["sagesched.balance.ray"]


def replica(name: str) -> Any:
    return SimpleNamespace(replica_id=name, routing_stats=None)


def stats(running: int, waiting: int, used: int, timestamp: int) -> dict[str, Any]:
    return {
        "timestamp": float(timestamp),
        "num_running_reqs": running,
        "num_waiting_reqs": waiting,
        "num_waiting_uncached_tokens": 100 * waiting,
        "num_used_tokens": used,
        "max_total_num_tokens": 100_000,
        "max_running_requests": 64,
    }


def request(number: int, body: Any = None) -> Any:
    return SimpleNamespace(
        args=(body or {"text": f"{number} " * 100},),
        kwargs={},
        metadata=SimpleNamespace(internal_request_id=str(number)),
        future=Future(),
        routing_context=SimpleNamespace(should_backoff=False),
    )


def choose(router: Any, one: Any) -> Any:
    """The replica that is chosen."""
    return router._slots[router._choose(one)].replica


def test_a_new_replica_in_an_old_slot_is_seen_as_it_reports(router: Any) -> None:
    """The old one died full, after many reports; the new one is idle and has made a few."""
    a, b, c = replica("a"), replica("b"), replica("c")
    router.update_replicas([a, b])
    for time in range(1, 101):
        a.routing_stats = stats(60, 50, 95_000 + time % 7, time)
        b.routing_stats = stats(30, 0, 50_000 + time % 5, time)
        router._observe([a, b])
    router.on_replica_actor_died("a")
    router.update_replicas([b, c])
    for time in range(101, 104):
        c.routing_stats = stats(0, 0, 0, time)
        b.routing_stats = stats(30, 0, 50_000, time)
        router._observe([b, c])
    chosen = [choose(router, request(number)) for number in range(8)]
    assert chosen == ["c"] * 8


def test_a_replica_that_comes_back_under_its_old_place_has_nothing_open(router: Any) -> None:
    router.update_replicas([replica("a")])
    for number in range(5):
        assert choose(router, request(number)) == "a"
    router.on_replica_actor_died("a")
    router.update_replicas([replica("b")])
    assert len(router._chooser._books) == 0
    for number in range(5):  # Ray says so of the old ones in the end
        router.on_request_completed("a", str(number))
    assert router._open == {}
    assert choose(router, request(9)) == "b"


def test_ray_gets_a_choice_whatever_the_body_is(router: Any) -> None:
    replicas = [replica("a"), replica("b")]
    router.update_replicas(replicas)
    for number, body in enumerate(({"input_ids": [1, "a"]}, {"input_ids": [1, 2**70]}, object())):
        one = request(number, body)
        groups = asyncio.run(router.choose_replicas(replicas, one))
        assert sorted(each.replica_id for group in groups for each in group) == ["a", "b"]
        router.on_request_routed(one, "b", None)
        router.on_request_completed("b", str(number))
    assert router._open == {}


def test_a_request_that_a_replica_took_which_has_just_gone_leaves_nothing(router: Any) -> None:
    """Chosen for one, it was taken by the other, of whose death the router has heard by then."""
    replicas = [replica("a"), replica("b")]
    router.update_replicas(replicas)
    one, other = request(1), request(2)
    first, second = asyncio.run(router.choose_replicas(replicas, one))
    chosen, gone = first[0].replica_id, second[0].replica_id
    router._enter(other, chosen)
    router.on_replica_actor_died(gone)
    router.on_request_routed(one, gone, None)
    router.on_request_completed(gone, "1")
    assert router._open.keys() == {"2"}
    assert router._open["2"][other.sagesched_query.key].replica == chosen
    assert len(router._chooser._books) == 1
    router.on_request_completed(chosen, "2")
    assert router._open == {}
    assert len(router._chooser._books) == 0
    assert choose(router, one) == chosen  # Ray tries again


@pytest.mark.parametrize("constants", [{"replicas": 3}, {"spec": "sal"}, {"colour": 1}])
def test_constants_that_are_none_are_refused(router: Any, constants: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="unknown constant"):
        router.initialize_state("sal", **constants)


def test_errors_of_ours_do_not_fail_a_request(router: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    replicas = [replica("a"), replica("b")]
    router.update_replicas(replicas)

    def broken(*_: Any) -> None:
        raise RuntimeError("books")

    monkeypatch.setattr(router._chooser, "sent", broken)
    one = request(1)
    assert asyncio.run(router.choose_replicas(replicas, one)) == [replicas]
    router.on_request_routed(one, "b", None)
    monkeypatch.setattr(router._chooser, "finished", broken)
    router.on_request_completed("b", "1")
    assert "a choice failed, the request goes anywhere" in router._warned


def test_where_all_are_full_ray_is_to_wait_before_it_asks_again(router: Any) -> None:
    replicas = [replica("a"), replica("b")]
    router.update_replicas(replicas)
    one = request(1)
    asyncio.run(router.choose_replicas(replicas, one))
    assert one.routing_context.should_backoff


def test_one_that_is_given_up_on_its_way_to_another_replica_leaves_nothing(router: Any) -> None:
    replicas = [replica("a"), replica("b")]
    router.update_replicas(replicas)
    for number in range(20):
        one = request(number)
        _, others = asyncio.run(router.choose_replicas(replicas, one))
        router.on_request_completed(others[0].replica_id, str(number))
    assert router._open == {}
    assert len(router._chooser._books) == 0


def test_one_that_is_given_up_while_it_waits_again_leaves_nothing(router: Any) -> None:
    replicas = [replica("a"), replica("b")]
    router.update_replicas(replicas)
    for number in range(20):
        one = request(number)
        first, _ = asyncio.run(router.choose_replicas(replicas, one))
        router.on_request_completed(first[0].replica_id, str(number))  # not accepted
        one.future = Future()
        asyncio.run(router.choose_replicas(replicas, one))
        one.future.cancel()
    assert router._open == {}
    assert len(router._chooser._books) == 0


def test_another_call_of_the_same_request_stays_where_it_is(router: Any) -> None:
    replicas = [replica("a"), replica("b")]
    router.update_replicas(replicas)
    one, other = request(1), request(1)
    for each in (one, other):
        first, _ = asyncio.run(router.choose_replicas(replicas, each))
        router.on_request_routed(each, first[0].replica_id, None)
    router.on_request_completed("c", "1")
    assert len(router._chooser._books) == 2
