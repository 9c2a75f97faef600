"""A workload by its name, or from a file."""

from __future__ import annotations

from pathlib import Path

from sagesched.replay.arrivals import Poisson, make_arrivals
from sagesched.replay.generators import GeneratedWorkload
from sagesched.replay.laws import KINDS, LONGEST_OUTPUT
from sagesched.replay.recorded import RecordedWorkload

CHAT = "chat"
GENERATED_REQUESTS = 2000


def workload_names() -> list[str]:
    """The names that `make_workload` knows; everything else is a file."""
    return [*KINDS, CHAT]


def make_workload(
    spec: str | Path,
    *,
    n: int | None = None,
    fmt: str | None = None,
    arrivals: str | None = None,
    content: str | Path | None = None,
    max_output_tokens: int | None = None,
) -> GeneratedWorkload | RecordedWorkload:
    """The workload of that name, or of that file.

    Args:
        spec: ``lognormal``, ``cluster``, ``hetero``; ``chat`` (turns of ``content`` at the times
            of ``arrivals="file:TRACE"``); or the path of a trace. A `Path` is always a file.
        n: number of requests; None: 2,000 generated ones, or all of the file.
        fmt: the file's format; None: told from its content.
        arrivals: ``poisson``, ``gamma:CV``, ``bursts:ON_S,OFF_S,RATIO``, ``at-once`` or
            ``file:TRACE``; None: as recorded, or Poisson where there is no record.
        content: the file of turns for ``chat``.
        max_output_tokens: longer outputs of a file are cut to it; ``chat`` to 2,048 unless told.

    Raises:
        ValueError: an unknown name or a bad value (a TraceError for a bad file).
    """
    name = "" if isinstance(spec, Path) else spec
    process = make_arrivals(arrivals) if arrivals is not None else None
    if name in KINDS:
        requests = GENERATED_REQUESTS if n is None else n
        return GeneratedWorkload(name, requests, process or Poisson())
    if name == CHAT:
        if content is None or not (arrivals or "").startswith("file:"):
            raise ValueError(
                "workload chat needs two files: content (conversations, such as ShareGPT's) and "
                "arrivals file:TRACE (such as Azure's)"
            )
        limit = LONGEST_OUTPUT if max_output_tokens is None else max_output_tokens
        return RecordedWorkload(CHAT, Path(content), fmt, n, process, limit)
    file = Path(spec)
    if not file.is_file():
        known = ", ".join(workload_names())
        raise ValueError(f"no workload and no file is called {str(spec)!r}; workloads: {known}")
    return RecordedWorkload(file.name, file, fmt, n, process, max_output_tokens)
