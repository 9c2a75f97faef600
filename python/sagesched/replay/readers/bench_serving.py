"""What ``python -m sglang.bench_serving --output-file F --output-details`` appends to F.

One JSON object per benchmark (SGLang 0.5.23, ``sglang/benchmark/serving.py``), with lists of
``input_lens`` and ``output_lens`` (0 for a request that failed). It has neither the prompts nor
the times at which they were sent: arrivals are drawn at the benchmark's ``request_rate``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sagesched.replay.prompts import Prompt
from sagesched.replay.readers.base import Format, Head, Record, Tally, parsed
from sagesched.replay.readers.fields import Object, kind, sequence, whole


def _recognises(head: Head) -> bool:
    return "input_lens" in head.first or {"request_rate", "backend"} <= head.first.keys()


def _result(line: str) -> dict[str, Any]:
    # Unlike elsewhere Infinity is fine: it is how the tool writes "all at once".
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, got {kind(value)}")
    if "input_lens" not in value or "output_lens" not in value:
        raise ValueError(
            'no "input_lens" and "output_lens": run bench_serving with --output-details'
        )
    return value


def _lengths(result: Object) -> list[tuple[object, object]]:
    prompts, outputs = sequence(result, "input_lens"), sequence(result, "output_lens")
    if len(prompts) != len(outputs):
        raise ValueError(f"{len(prompts)} input_lens, {len(outputs)} output_lens")
    return list(zip(prompts, outputs, strict=True))


def _say_what_is_missing(result: Object, tally: Tally) -> None:
    tally.remark("bench_serving writes no prompts: prefixes are not shared, predictors see no text")
    rate = result.get("request_rate")
    tally.remark(
        f"bench_serving writes no arrival times: they are drawn; the benchmark ran at request_rate "
        f"{rate}, {_rate(result.get('request_throughput'))} requests/s were served"
    )
    if result.get("max_concurrency"):
        tally.remark(
            f"the benchmark kept at most {result['max_concurrency']} requests under way "
            "(max_concurrency); the replay sends them all the same"
        )


def _rate(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, (int, float)) else "an unknown number of"


def read(file: Path, tally: Tally) -> Iterator[Record]:
    """The requests of the one benchmark in the file.

    Raises:
        TraceError: several benchmarks, no details, or malformed ones.
    """
    seen: list[int] = []

    def parse(number: int, line: str) -> Iterator[Record]:
        if seen:
            raise ValueError(
                f"a second benchmark, after that of line {seen[0]}; replay one at a time: put "
                "each line into a file of its own"
            )
        seen.append(number)
        result = _result(line)
        _say_what_is_missing(result, tally)
        for index, (prompt, output) in enumerate(_lengths(result), 1):
            if output == 0:
                tally.count("requests that failed in the benchmark, left out")
                continue
            tokens = whole({"input_lens": prompt}, "input_lens")
            length = whole({"output_lens": output}, "output_lens")
            key = f"{file.name}:{index}"
            yield Record(f"line {number} (request {index})", Prompt(key, tokens), length)

    return parsed(file, parse, tally)


FORMAT = Format(
    "bench-serving",
    "output of sglang.bench_serving with --output-details",
    _recognises,
    read,
)
