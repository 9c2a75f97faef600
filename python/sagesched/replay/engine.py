"""SGLang's own scheduler in this process: no sockets, no weights, its seams in our hands.

What runs is SGLang's ``Scheduler`` with its policy, prefill adder, radix cache, allocator and
event loop. Four methods are overridden, each a place where the scheduler meets the outside world;
a fifth, the loop over a decode step's results, is left to requests that end (`Run.decoded`).
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from sagesched.replay.trace import VOCABULARY

EOS_TOKEN = 2
LEAST_POOL_TOKENS = 2
"""SGLang runs at most half as many requests as there are tokens in the pool."""
MOST_POOL_TOKENS = 200_000_000
MOST_PLACES = 1_000_000_000
"""The allocator's tables take real memory: some 20 bytes a token of the pool, and 4 bytes for every
token that every running request could hold."""


@dataclass(frozen=True)
class EngineConfig:
    """The engine that is replayed: SGLang's server arguments of the same meaning.

    Attributes:
        pool_tokens: KV pool, tokens (``--max-total-tokens``).
        max_running: ``--max-running-requests``.
        context: longest prompt and output together, tokens.
        chunk: ``--chunked-prefill-size``.
        mixed: ``--enable-mixed-chunk``.
        overlap: SGLang's overlap schedule; off, a step's result is known when the next is planned.
        page_size: ``--page-size``.
        conservativeness: ``--schedule-conservativeness``.
    """

    pool_tokens: int = 400_000
    max_running: int = 256
    context: int = 16_384
    chunk: int = 8_192
    mixed: bool = False
    overlap: bool = False
    page_size: int = 1
    conservativeness: float = 1.0

    def __post_init__(self) -> None:
        for name in ("pool_tokens", "max_running", "context", "chunk", "page_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"EngineConfig: {name} must be at least 1")
        if self.pool_tokens // self.page_size * self.page_size < LEAST_POOL_TOKENS:
            raise ValueError(
                f"EngineConfig: a KV pool of {self.pool_tokens} tokens (--pool) is too small: "
                f"SGLang needs {LEAST_POOL_TOKENS} for a request, in whole pages of "
                f"{self.page_size} (--page-size)"
            )
        if self.pool_tokens > MOST_POOL_TOKENS:
            raise ValueError(f"EngineConfig: pool_tokens must be at most {MOST_POOL_TOKENS:,}")
        if self.max_running * self.context > MOST_PLACES:
            raise ValueError(
                f"EngineConfig: max_running times context must be at most {MOST_PLACES:,}"
            )
        if not self.conservativeness > 0:
            raise ValueError("EngineConfig: conservativeness must be above 0")


@dataclass
class Seams:
    """What the scheduler calls instead of the outside world; a run puts its own functions here."""

    emit: Callable[[list[Any]], None] = lambda requests: None
    entered: Callable[[Any], None] = lambda request: None
    before_admission: Callable[[Any], list[Any]] = lambda running_batch: []
    result_event: Callable[[Any], Any] = field(default=lambda result: result.virtual_event)
    decoded: Callable[[Any, Any], list[int]] = lambda batch, result: list(range(len(batch.reqs)))


def require_sglang() -> None:
    """Raise a ``RuntimeError`` that says what to do if SGLang cannot be imported."""
    # Before its first import: neither a GPU nor the network may be needed.
    os.environ.setdefault("SGLANG_USE_CPU_ENGINE", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.pop("SAGESCHED_SHADOW", None)  # of a server; a replay compares for real
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    try:
        import sglang.srt.managers.scheduler  # noqa: F401
    except ImportError as error:
        raise RuntimeError(
            f"a replay runs SGLang's own scheduler, which cannot be imported here: {error}. "
            "Install it beside sagesched: pip install 'sagesched[sglang]'; on a machine without "
            "a GPU use the scripts/setup of a checkout."
        ) from error


def build_scheduler(config: EngineConfig, *, another: bool = False) -> tuple[Any, Seams]:
    """A scheduler under fcfs, with the installed plug-ins loaded as in a server.

    Args:
        config: the engine.
        another: there is one in this process already; it shares its process groups, which SGLang
            makes once, and in which nobody else is.

    Raises:
        RuntimeError: SGLang cannot be imported.
    """
    require_sglang()
    import torch
    from sglang.srt.plugins import load_plugins
    from sglang.srt.runtime_context import SpawnRanks, publish, spawn_world_rank
    from sglang.srt.server_args import PortArgs

    torch.set_num_threads(1)
    load_plugins()
    seams = Seams()
    with tempfile.TemporaryDirectory(prefix="sagesched-replay-") as folder:
        args = _server_args(config, Path(folder))
        ranks = SpawnRanks(
            world_rank=spawn_world_rank(args, tp_rank=0, pp_rank=0), dp_rank=None, gpu_id=0
        )
        ports = PortArgs.init_new(args)
        publish(args, role="scheduler", ranks=ranks)
        with _groups_that_are_there() if another else nullcontext():
            scheduler = _scheduler_class(seams)(args, ports)
    scheduler._war_barrier_enabled = False  # as SGLang sets it where there is no CUDA stream
    _spare_what_nobody_reads(scheduler, seams)
    return scheduler, seams


@contextmanager
def _groups_that_are_there() -> Iterator[None]:
    from sglang.srt.distributed import bootstrap

    stock = bootstrap.init_parallel_runtime
    bootstrap.init_parallel_runtime = lambda **_: None
    try:
        yield
    finally:
        bootstrap.init_parallel_runtime = stock


def _spare_what_nobody_reads(scheduler: Any, seams: Seams) -> None:
    """No log lines and queue sums for them; no loop over results that are one more token each.

    Neither takes part in a scheduling decision.
    """
    from sglang.srt.managers.scheduler_components.batch_result_processor import (
        SchedulerBatchResultProcessor,
    )
    from sglang.srt.managers.scheduler_components.load_inquirer import SchedulerLoadInquirer

    class Results(SchedulerBatchResultProcessor):  # type: ignore[misc]
        def process_batch_result_decode(self, batch: Any, result: Any) -> None:
            rest = seams.decoded(batch, result)
            if rest:
                super().process_batch_result_decode(*_part_of(batch, result, rest))

    class Loads(SchedulerLoadInquirer):  # type: ignore[misc]
        def _get_num_pending_tokens(self, chunk_deduct: int = 0) -> int:
            return 0

    def instead_of(stock: Any, kind: type[Any]) -> Any:
        return kind(**{part.name: getattr(stock, part.name) for part in fields(stock)})

    scheduler.batch_result_processor = instead_of(scheduler.batch_result_processor, Results)
    scheduler.load_inquirer = instead_of(scheduler.load_inquirer, Loads)
    scheduler.metrics_reporter.is_stats_logging_rank = False


def _part_of(batch: Any, result: Any, rows: list[int]) -> tuple[Any, Any]:
    """A decode step's batch and result with some of its rows."""
    if len(rows) == len(batch.reqs):
        return batch, result
    batch, result = copy(batch), copy(result)
    batch.reqs = [batch.reqs[row] for row in rows]
    result.next_token_ids = [result.tokens[row] for row in rows]
    return batch, result


def _server_args(config: EngineConfig, folder: Path) -> Any:
    from sglang.srt.server_args import ServerArgs

    (folder / "config.json").write_text(json.dumps(_model_config(config)))
    return ServerArgs(
        model_path=str(folder),
        device="cpu",
        attention_backend="torch_native",
        sampling_backend="pytorch",
        grammar_backend="none",
        load_format="dummy",
        skip_tokenizer_init=True,
        schedule_policy="fcfs",
        max_total_tokens=config.pool_tokens,
        max_running_requests=config.max_running,
        chunked_prefill_size=config.chunk,
        context_length=config.context,
        enable_mixed_chunk=config.mixed,
        disable_overlap_schedule=not config.overlap,
        page_size=config.page_size,
        schedule_conservativeness=config.conservativeness,
        random_seed=0,
        watchdog_timeout=1e9,
        log_level="error",
        decode_log_interval=10**9,
    )


def _model_config(config: EngineConfig) -> dict[str, Any]:
    """The smallest Llama: it is never computed, but its KV pool is allocated (8 bytes a token)."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 2,
        "intermediate_size": 2,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "head_dim": 2,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": config.context,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "eos_token_id": EOS_TOKEN,
        "bos_token_id": 1,
    }


def _scheduler_class(seams: Seams) -> type[Any]:
    from sglang.srt.managers.scheduler import Scheduler
    from sglang.srt.managers.scheduler_components.ipc_channels import SchedulerIpcChannels
    from sglang.srt.managers.scheduler_components.output_sender import SenderWrapper

    class ReplayScheduler(Scheduler):  # type: ignore[misc]
        def init_ipc_channels(self, port_args: Any) -> None:
            self.ipc_channels = SchedulerIpcChannels(
                recv_from_tokenizer=None,
                recv_from_rpc=None,
                send_to_tokenizer=SenderWrapper(None),
                send_to_detokenizer=SenderWrapper(None),
                send_metrics_from_scheduler=None,
            )
            self.load_snapshot_writer = None
            self.recv_from_tokenizer = None

        def get_output_streamer_class(self) -> Any:
            stock: Any = super().get_output_streamer_class()

            class Recorder(stock):  # type: ignore[misc]
                def stream_output(self, reqs: list[Any], *args: Any, **kwargs: Any) -> None:
                    seams.emit(reqs)

            return Recorder

        def _add_request_to_queue(self, req: Any, *args: Any, **kwargs: Any) -> Any:
            result = super()._add_request_to_queue(req, *args, **kwargs)
            seams.entered(req)
            return result

        def _copy_result_to_cpu(self, batch_result: Any, batch: Any) -> None:
            batch_result.copy_done = seams.result_event(batch_result)

        def get_new_batch_prefill(self, running_batch: Any) -> Any:
            victims = seams.before_admission(running_batch)
            plan = super().get_new_batch_prefill(running_batch)
            # Not earlier: a victim readmitted in the pass that released it would take the token
            # that is still in flight for it a second time, under overlap.
            for request in victims:
                self._add_request_to_queue(request, is_retracted=True)
            return plan

    return ReplayScheduler
