"""What a fork server imports once, so that each of its processes starts with SGLang in memory.

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["sagesched.replay.preload"])
"""

from __future__ import annotations

import contextlib
import io
import warnings

from sagesched.replay.engine import require_sglang

with (
    # A failure shows again, as an error with its reason, in the process that needs SGLang.
    contextlib.suppress(RuntimeError),
    warnings.catch_warnings(),  # SGLang warns at its import of hardware that is not here
    contextlib.redirect_stdout(io.StringIO()),
    contextlib.redirect_stderr(io.StringIO()),
):
    warnings.simplefilter("ignore")
    require_sglang()
