"""``python -m bench.soak.launch``: ``sglang.launch_server``, which also tells what it still holds.

``GET /soak/tables`` answers how many requests each table of the tokenizer process holds: SGLang's
own and ours. All are empty once everybody has been served.
"""

from __future__ import annotations

import runpy

from sagesched.plugin.state import TokenizerState, state_of


async def tables() -> dict[str, int]:
    """Entries by table."""
    from sglang.srt.entrypoints.http_server import get_global_state

    manager = get_global_state().tokenizer_manager
    state: TokenizerState = state_of(manager)
    worker = state.service.snapshot()
    return {
        "SGLang's requests": len(manager.rid_to_state),
        "departures": len(state.departures._aborted),
        "predictions that follow": len(state.tasks),
        "progress": len(state.progress._reported),
        "calibration": len(state.calibration._expected),
        "prompts without an outcome": worker.remembered_keys,
        "operations of the predictor": worker.pending,
    }


if __name__ == "__main__":
    from sglang.srt.entrypoints.http_server import app

    app.add_api_route("/soak/tables", tables, methods=["GET"])
    runpy.run_module("sglang.launch_server", run_name="__main__", alter_sys=True)
