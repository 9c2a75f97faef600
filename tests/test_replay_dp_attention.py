"""DP attention in SGLang's own scheduler: four ranks in two attention groups, which meet in every
step; the ranks of a group decide alike, and a group that has nothing to do takes part all the same.

Each rank is a process of its own, as in a server, with another clock and hash seed. Nothing is
computed, so what the ranks would exchange in a layer is left out; what their schedulers exchange
before a step (whether anybody has a batch, and how large) is SGLang's own.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.server

ROOT = Path(__file__).parent.parent
RANKS = 4
PROGRAM = """
import json, sys

rank, port = int(sys.argv[1]), int(sys.argv[2])
import sagesched.replay.clock as clock

clock.START_S = 1000.0 + 777.7 * rank
from sagesched.replay import engine, run

engine.require_sglang()
import sglang.srt.runtime_context as context
import torch

from sagesched.replay.harness import Harness
from sagesched.replay.predictors import make_predictions
from tests.engine_modes import server_args
from tests.replaying import EvenSteps, request

group = rank // 2
server_args(
    tp_size=4, dp_size=2, enable_dp_attention=True, dist_init_addr=f"127.0.0.1:{port}"
)
model, world_rank, ranks = engine._model_config, context.spawn_world_rank, context.SpawnRanks
heads = dict(hidden_size=8, intermediate_size=8, num_attention_heads=4, num_key_value_heads=4)
engine._model_config = lambda config: model(config) | heads
context.spawn_world_rank = lambda args, tp_rank, pp_rank: world_rank(
    args, tp_rank=rank, pp_rank=pp_rank
)
context.SpawnRanks = lambda world_rank, dp_rank, gpu_id: ranks(
    world_rank=world_rank, dp_rank=group, gpu_id=gpu_id
)
harness = Harness(engine.EngineConfig(pool_tokens=2000, max_running=4, context=1024, chunk=256))
TURNS, turns, idle, front = 500, 0, 0, []
receive, forward = run.Run.recv_requests, run.Run.forward


def in_step(self, *args, **more):
    "All ranks end in the same turn of the loop, whoever is done before."
    global turns
    turns += 1
    received = receive(self, *args, **more)
    self.scheduler.gracefully_exit = turns >= TURNS
    return received


def forward_or_idle(self, batch, *args, **more):
    global idle
    front.append([each.rid for each in self.scheduler.waiting_queue[:8]])
    if not batch.forward_mode.is_idle():
        return forward(self, batch, *args, **more)
    idle += 1
    self.clock.now += 1.0
    self.idle_turns = 0
    none = torch.tensor([], dtype=torch.int64)
    result = self.make_result(logits_output=None, next_token_ids=none, can_run_cuda_graph=False)
    result.tokens = []
    return result


run.Run.recv_requests, run.Run.forward = in_step, forward_or_idle
sizes = (24, 6)[group]
requests = [request(float(i // 2), 40 + i, 5 + (i * 37) % 30, number=i) for i in range(sizes)]
result = harness.run(
    iter(requests),
    policy="gittins",
    step_time=EvenSteps(),
    predictions=make_predictions("oracle", None, harness.grid),
    settings={"dial": float("inf")},
)
print(json.dumps({
    "synchronised": harness.scheduler.require_mlp_sync,
    "served": result.output_tokens.tolist() == [each.output_tokens for each in requests],
    "first": result.first_s.tolist(), "last": result.last_s.tolist(), "front": front,
    "fallbacks": result.fallbacks, "idle": idle,
}))
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def start(rank: int, port: int) -> subprocess.Popen[str]:
    cores = "|".join(["0"] * RANKS)
    environment = {"PYTHONHASHSEED": str(rank + 1), "SGLANG_CPU_OMP_THREADS_BIND": cores}
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(rank), str(port)],
        env={**os.environ, **environment, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def ranks() -> Any:
    port = free_port()
    started = [start(rank, port) for rank in range(RANKS)]
    try:
        outputs = [process.communicate(timeout=280)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [0] * RANKS
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def test_every_request_is_served_in_index_order(ranks: Any) -> None:
    for rank in ranks:
        assert rank["synchronised"]
        assert rank["served"]
        assert rank["fallbacks"] == 0
    first = ranks[0]["first"]
    assert sorted(range(len(first)), key=first.__getitem__) != list(range(len(first)))


def test_ranks_of_an_attention_group_decide_alike(ranks: Any) -> None:
    assert ranks[0] == ranks[1]
    assert ranks[2] == ranks[3]
    assert ranks[0] != ranks[2]


def test_a_group_with_nothing_to_do_takes_part(ranks: Any) -> None:
    assert ranks[2]["idle"] > 50
