"""What a fork server imports once, so that each of its processes starts with SGLang in memory.

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["sagesched.replay.preload"])
"""

from __future__ import annotations

import contextlib

from sagesched.replay.engine import require_sglang

# A failure shows again, as an error with its reason, in the process that needs SGLang.
with contextlib.suppress(RuntimeError):
    require_sglang()
