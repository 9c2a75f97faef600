"""``python -m bench.loop_probe.launch``: ``sglang.launch_server`` with the probe inside.

Only the process that speaks HTTP is probed; those it starts import nothing from here. Two routes
are added: ``POST /probe/start`` and ``POST /probe/stop``, which answers what was seen.
"""

from __future__ import annotations

import contextlib
import runpy
import sys
from dataclasses import replace
from typing import Any

from bench.loop_probe.stretches import note_collections, seconds, timed, timed_hook
from bench.loop_probe.ticker import Ticker, real_time

OUTSIDE_HOOKS = (
    ("sagesched.plugin.hooks.predict_request", "follow"),  # a task for each request
    ("sagesched.predict.operations", "_resolve"),
    ("sagesched.plugin.metrics", "_export"),
)
"""What else of ours the loop runs: module and function."""

_ticker: Ticker | None = None
_closing = contextlib.ExitStack()


async def start(real_time: bool = False, switch_interval_s: float = 0.0) -> str:
    """Forget what was seen, and look; with another switch interval if one is given."""
    global _ticker
    seconds.clear()
    if real_time:
        _closing.enter_context(_real_time())
    if switch_interval_s:
        sys.setswitchinterval(switch_interval_s)
    _ticker = Ticker()
    return "started"


async def stop() -> dict[str, Any]:
    """Look no more."""
    assert _ticker is not None
    ticks = await _ticker.stop()
    _closing.close()
    return {
        "switch_interval_s": sys.getswitchinterval(),
        "ticks": ticks,
        "stretches": dict(seconds),
    }


_real_time = real_time


def put_in_place() -> None:
    """Our hooks timed, before SGLang binds them, and the routes."""
    from sagesched.plugin import table

    note_collections()

    table.HOOKS = tuple(
        replace(hook, fn=timed_hook(hook.target.rpartition(".")[2], hook.fn))
        for hook in table.HOOKS
    )
    for name, function in OUTSIDE_HOOKS:
        module = __import__(name, fromlist=[function])
        setattr(module, function, timed(function, getattr(module, function)))
    from sglang.srt.entrypoints.http_server import app

    app.add_api_route("/probe/start", start, methods=["POST"])
    app.add_api_route("/probe/stop", stop, methods=["POST"])


if __name__ == "__main__":
    put_in_place()
    runpy.run_module("sglang.launch_server", run_name="__main__", alter_sys=True)
