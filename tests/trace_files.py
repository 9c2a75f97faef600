"""Trace files for the tests of the replay's readers."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sagesched.replay.trace import TraceRequest, checked
from sagesched.replay.workloads import make_workload

OWN = {"arrival_s": 0.5, "prompt": "Hello there", "output_tokens": 3}
MOONCAKE = {"timestamp": 0, "input_length": 1500, "output_length": 5, "hash_ids": [1, 2, 3]}


def write(folder: Path, content: str | bytes | Sequence[object], name: str = "t.jsonl") -> Path:
    """A file of text, bytes, or JSON lines."""
    file = folder / name
    if not isinstance(content, (str, bytes)):
        content = "".join(json.dumps(line) + "\n" for line in content)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def load(file: Path, rate_rps: float | None = None, **options: Any) -> list[TraceRequest]:
    """Seed 0, as recorded unless told."""
    workload = make_workload(file, **options)
    rate = workload.recorded_rate_rps if rate_rps is None else rate_rps
    return list(checked(workload.requests(seed=0, rate_rps=rate), "test"))


def shared_prefix(one: Iterable[int], other: Iterable[int]) -> int:
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def conversation(*messages: str, keys: tuple[str, str, str] = ("conversations", "from", "value")
                 ) -> dict[str, Any]:  # fmt: skip
    field, who, what = keys
    speakers = itertools.cycle(("human", "gpt") if who == "from" else ("user", "assistant"))
    said = [{who: speaker, what: text} for speaker, text in zip(speakers, messages, strict=False)]
    return {"id": "x", field: said}


TALK = conversation("Why is the sky blue?", "Rayleigh scattering, mostly.", "And red?", "Dust!")
