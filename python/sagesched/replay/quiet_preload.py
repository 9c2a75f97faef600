"""SGLang for the fork server of ``runner``, without the warnings it prints when it is imported."""

from __future__ import annotations

import contextlib
import io
import warnings

with (
    warnings.catch_warnings(),
    contextlib.redirect_stdout(io.StringIO()),
    contextlib.redirect_stderr(io.StringIO()),
):
    warnings.simplefilter("ignore")
    import sagesched.replay.preload  # noqa: F401
