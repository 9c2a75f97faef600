"""Modes of SGLang that need CUDA to start, in a replay: its own classes, but for what moves data.

Each function here runs in the replay's process before the scheduler is built.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def server_args(**more: Any) -> None:
    """Build the scheduler with further arguments."""
    from sagesched.replay import engine

    stock: Callable[..., Any] = engine._server_args

    def with_more(*args: Any) -> Any:
        made = stock(*args)
        for name, value in more.items():
            assert hasattr(made, name), name
            setattr(made, name, value)
        return made

    engine._server_args = with_more


def host_tier() -> None:
    """``--enable-hierarchical-cache``; no KV is copied, in a replay there is none."""
    from sagesched.replay.engine import require_sglang

    require_sglang()
    from sglang.srt.mem_cache.l2_transfer import L2TransferEngine, TransferCompletion
    from sglang.srt.mem_cache.pool_host import common

    def moved(self: Any, transfers: Any, *args: Any, on_layer_done: Any = None, **more: Any) -> Any:
        for layer in range(more.get("transfer_layer_id_max", 0)):
            if on_layer_done is not None:
                on_layer_done(layer)
        return TransferCompletion(Done(), Done(), False)

    L2TransferEngine.submit_device_to_host = moved
    L2TransferEngine.submit_host_to_device = moved
    common._cuda_host_register = lambda *args: None
    server_args(
        enable_hierarchical_cache=True,
        hicache_ratio=4.0,
        hicache_io_backend="direct",
        hicache_mem_layout="layer_first",
        hicache_write_policy="write_through",
    )


class Done:
    """An event of a device that is never behind."""

    def __init__(self, *args: Any, **more: Any) -> None:
        pass

    def query(self) -> bool:
        return True

    def record(self, *args: Any) -> None:
        pass

    def wait(self, *args: Any) -> None:
        pass

    def synchronize(self) -> None:
        pass
