"""SGLang's own ``DataParallelController`` between real sockets, without scheduler processes.

A program: ``python dp_controller.py MODEL METHOD`` plays both sides and prints what each got.
Its replicas are sockets that a scheduler would read from, and its shared memory of load reports.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from array import array
from collections import Counter
from typing import Any

PATIENT_S = 30.0


class Stage:
    """The controller, the ends of its sockets, and its replicas' reports."""

    def __init__(self, model: str, method: str) -> None:
        import zmq
        from sglang.srt.managers import data_parallel_controller
        from sglang.srt.managers.load_snapshot import ShmLoadSnapshotWriter, shm_path_for
        from sglang.srt.plugins import load_plugins
        from sglang.srt.runtime_context import publish
        from sglang.srt.server_args import PortArgs, ServerArgs

        load_plugins()
        args = ServerArgs(
            model_path=model, device="cpu", dp_size=2, load_balance_method=method,
            attention_backend="torch_native", sampling_backend="pytorch", grammar_backend="none",
        )  # fmt: skip
        args.resolve_once()
        args.check_server_args()
        publish(args, role="dp_controller")
        ports = PortArgs.init_new(args)
        context = zmq.Context()
        self.folder = tempfile.TemporaryDirectory()
        addresses = [f"ipc://{self.folder.name}/{index}" for index in range(2)]

        def launch(controller: Any, *_: Any) -> None:
            for index, address in enumerate(addresses):
                controller.workers[index] = data_parallel_controller.get_zmq_socket(
                    controller.context, zmq.PUSH, address, True
                )

        data_parallel_controller.DataParallelController.launch_dp_schedulers = launch
        self.to_tokenizer = context.socket(zmq.PULL)
        self.to_tokenizer.bind(ports.tokenizer_ipc_name)
        self.replicas = [context.socket(zmq.PULL) for _ in addresses]
        for socket, address in zip(self.replicas, addresses, strict=True):
            socket.connect(address)
        path = shm_path_for(ports.instance_id)
        self.writers = [ShmLoadSnapshotWriter(path, 2, rank) for rank in range(2)]
        self.controller = data_parallel_controller.DataParallelController(args, ports, None)
        while not all(w.getsockopt(zmq.EVENTS) & zmq.POLLOUT for w in self.controller.workers):
            time.sleep(0.01)

    def report(self, rank: int, **fields: Any) -> None:
        from sglang.srt.managers.load_snapshot import LoadSnapshot

        common = {"max_total_num_tokens": 65536, "max_running_requests": 8}
        snapshot = LoadSnapshot(dp_rank=rank, timestamp=time.time(), **common, **fields)
        self.writers[rank].write(snapshot)

    def got(self, count: int) -> list[list[Any]]:
        """What the two replicas receive until it is ``count`` together."""
        from sglang.srt.managers.io_struct import sock_recv

        found: list[list[Any]] = [[], []]
        give_up = time.monotonic() + PATIENT_S
        while sum(map(len, found)) < count and time.monotonic() < give_up:
            for rank, socket in enumerate(self.replicas):
                if not socket.closed and socket.poll(10):
                    found[rank].append(sock_recv(socket))
        return found

    def give(self, message: Any) -> None:
        """As the controller's loop does."""
        self.controller.soft_watchdog.feed()
        self.controller._request_dispatcher(message)


def request(rid: str, tokens: int = 50, **more: Any) -> Any:
    from sglang.srt.managers.io_struct import TokenizedGenerateReqInput, wrap_as_pickle
    from sglang.srt.observability.req_time_stats import APIServerReqTimeStats
    from sglang.srt.sampling.sampling_params import SamplingParams

    first = 1000 * len(rid) + sum(map(ord, rid))
    return TokenizedGenerateReqInput(
        rid=rid, input_text="", input_ids=array("q", range(first, first + tokens)),
        input_embeds=None, mm_inputs=None, token_type_ids=None, sampling_params=SamplingParams(),
        return_logprob=False, logprob_start_len=-1, top_logprobs_num=0, token_ids_logprob=None,
        stream=False, time_stats=wrap_as_pickle(APIServerReqTimeStats()), **more,
    )  # fmt: skip


def rids(found: list[list[Any]]) -> list[list[str]]:
    return [[each.rid for each in messages] for messages in found]


def main(model: str, method: str) -> dict[str, Any]:
    from sglang.srt.managers.io_struct import (
        AbortReq,
        BatchTokenizedGenerateReqInput,
        BlockReqInput,
        BlockReqType,
        sock_recv,
    )

    stage = Stage(model, method)
    controller = stage.controller
    facts: dict[str, Any] = {
        "method": controller.load_balance_method.name,
        "dispatching": type(controller.dispatching).__name__,
        "watchdog": type(controller.soft_watchdog).__name__,
        "reads_for_stock": controller.refresh_load_budget_on_dispatch,
    }
    stage.report(0, num_running_reqs=8, num_waiting_reqs=3, num_waiting_uncached_tokens=60000)
    stage.report(1)
    for i in range(6):
        stage.give(request(f"one{i}"))
    facts["loaded"] = rids(stage.got(6))
    stage.give(BatchTokenizedGenerateReqInput(batch=[request(f"batch{i}") for i in range(4)]))
    facts["batch"] = rids(stage.got(4))
    stage.give(request("named", routed_dp_rank=0))
    facts["named"] = rids(stage.got(1))
    stage.give(AbortReq(rid="x"))
    facts["control"] = rids(stage.got(2))
    if method.startswith("sal"):
        stage.report(1, num_running_reqs=8)
        stage.report(0, num_running_reqs=8, num_waiting_reqs=9, num_waiting_uncached_tokens=65000)
        time.sleep(0.05)
        for i in range(2):
            stage.give(request(f"late{i}"))
        facts["late"] = rids(stage.got(2))
        stage.replicas[1].close(linger=0)
        give_up = time.monotonic() + PATIENT_S
        while controller.status[1] and time.monotonic() < give_up:
            controller.soft_watchdog.feed()
            time.sleep(0.005)
        failed = []
        while stage.to_tokenizer.poll(500):
            failed.append(sock_recv(stage.to_tokenizer))
        facts["failed"] = sorted(each.rid for each in failed)
        facts["reasons"] = Counter(str(each.finished_reason["status_code"]) for each in failed)
        facts["again"] = rids(stage.got(len(facts["late"][1])))
        stage.give(AbortReq(rid="x"))
        stage.give(BlockReqInput(req_type=BlockReqType.UNBLOCK))
        for i in range(4):
            stage.give(request(f"after{i}"))
        facts["after"] = [type(each).__name__ for each in stage.got(6)[0]]
        stage.give(request("dead", routed_dp_rank=1))
        facts["dead"] = sock_recv(stage.to_tokenizer).rid
    return facts


if __name__ == "__main__":
    print("facts:" + json.dumps(main(*sys.argv[1:])), flush=True)
    import os

    os._exit(0)  # its sockets wait for peers that are not there
