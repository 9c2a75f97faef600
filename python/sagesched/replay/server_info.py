"""What a running SGLang server says of itself, as far as a replay needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class CalibrationError(RuntimeError):
    """The server cannot be calibrated on; the message says why and what to do."""


@dataclass(frozen=True)
class ServerInfo:
    """What a replay must know of the server.

    Attributes:
        model: its path or name.
        version: of SGLang.
        pool_tokens, max_running, context, chunk, page_size, mixed, overlap, conservativeness:
            as in ``EngineConfig``; ``chunk`` is the pool's size where chunking is off.
        replicas: data-parallel size.
    """

    model: str
    version: str
    pool_tokens: int
    max_running: int
    context: int
    chunk: int
    page_size: int
    mixed: bool
    overlap: bool
    conservativeness: float
    replicas: int


def read_server_info(values: Mapping[str, Any]) -> ServerInfo:
    """From the answer to ``GET /server_info``.

    Raises:
        KeyError, TypeError, ValueError, AttributeError, IndexError: it is not SGLang's.
    """
    state = (values.get("internal_states") or [{}])[0]
    pool = int(values["max_total_num_tokens"])
    chunk = int(values.get("chunked_prefill_size") or -1)
    running = state.get("effective_max_running_requests_per_dp") or values["max_running_requests"]
    return ServerInfo(
        model=str(values["model_path"]),
        version=str(values.get("version", "unknown")),
        pool_tokens=pool,
        max_running=int(running),
        context=int(values.get("context_length") or int(values["max_req_input_len"]) + 6),
        chunk=chunk if chunk > 0 else pool,
        page_size=int(values.get("page_size") or 1),
        mixed=bool(values.get("enable_mixed_chunk")),
        overlap=not values.get("disable_overlap_schedule"),
        conservativeness=float(values.get("schedule_conservativeness") or 1.0),
        replicas=int(values.get("dp_size") or 1),
    )
