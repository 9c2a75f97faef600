"""Our dispatch in SGLang's own data-parallel controller, between real sockets without engines."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .serving import engine_environment, model_directory

pytest.importorskip("sglang", reason="SGLang is not installed")
PROGRAM = Path(__file__).with_name("dp_controller.py")


@functools.cache
def played(method: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(model_directory()), method],
        env=engine_environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("facts:")]
    assert lines, done.stderr[-4000:]
    facts: dict[str, Any] = json.loads(lines[0].removeprefix("facts:"))
    return facts


def test_ours_is_in_the_place_of_sglangs_method() -> None:
    facts = played("sal-prompt")
    assert (facts["method"], facts["dispatching"]) == ("TOTAL_TOKENS", "Dispatch")
    assert facts["watchdog"] == "EveryTurn"
    assert not facts["reads_for_stock"]


@pytest.mark.parametrize(
    ("method", "reads"), [("round_robin", False), ("total_requests", True), ("total_tokens", True)]
)
def test_sglangs_methods_are_left_as_they_are(method: str, reads: bool) -> None:
    facts = played(method)
    assert (facts["method"], facts["dispatching"]) == (method.upper(), "method")
    assert facts["watchdog"] != "EveryTurn"
    assert facts["reads_for_stock"] == reads


def test_its_reports_are_read_from_shared_memory() -> None:
    """One replica has a long queue: all go to the other one, where round robin takes turns."""
    assert list(map(len, played("sal-prompt")["loaded"])) == [0, 6]
    assert list(map(len, played("round_robin")["loaded"])) == [3, 3]


def test_batches_named_replicas_and_control_messages_arrive() -> None:
    facts = played("sal-prompt")
    assert sorted(facts["batch"][0] + facts["batch"][1]) == [f"batch{i}" for i in range(4)]
    assert facts["named"] == [["named"], []]
    assert facts["control"] == [["x"], ["x"]]


def test_a_replica_that_is_gone_is_noticed_without_a_request_and_holds_nobody_up() -> None:
    facts = played("sal-prompt")
    there = [*facts["loaded"][1], *facts["batch"][1], *facts["named"][1]]
    assert facts["failed"] == sorted(there)
    assert facts["reasons"] == {"503": len(there)}
    assert facts["late"][1]  # after its last report: it cannot have begun
    assert facts["again"] == [facts["late"][1], []]
    requests = ["TokenizedGenerateReqInput"] * 4
    assert facts["after"] == ["AbortReq", "BlockReqInput", *requests]
    assert facts["dead"] == "dead"
