"""Times passes with CUDA events: as graphs, and launch by launch."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from bench.gpu_step.cases import Case, all_cases, step_of
from bench.gpu_step.decoder import ATTENTION, DIM, QUERIES, VOCABULARY, Decoder, Segment

WEIGHT_BYTES, TOKEN_BYTES = 16.1e9, 131_072
LEFT_FREE = 7e9
"""Bytes for activations and graphs."""


def event_times(call: Callable[[], Any], seconds: float = 0.25) -> list[float]:
    """Seconds of each of 5 to 50 calls, some ``seconds`` together, after one that is not timed."""
    call()
    torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    torch.cuda.synchronize()
    count = max(5, min(50, int(seconds / (time.perf_counter() - start))))
    pairs = []
    for _ in range(count):
        pair = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
        pair[0].record()
        call()
        pair[1].record()
        pairs.append(pair)
    torch.cuda.synchronize()
    return [begin.elapsed_time(end) / 1e3 for begin, end in pairs]


def graph_of(call: Callable[[], Any]) -> Any:
    """A CUDA graph of the call."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph


def ceilings() -> dict[str, float]:
    """What the device reaches: bytes per second of a copy (read and written) and of a sum."""
    copy, read = _memory_rates(2**31)
    a, b = (torch.randn(8192, 8192, dtype=torch.bfloat16, device="cuda") for _ in range(2))
    product = statistics.median(event_times(lambda: a @ b))
    return {
        "copy_bytes_per_s": copy,
        "read_bytes_per_s": read,
        "matmul_8192_flops": 2 * 8192**3 / product,
    }


def _memory_rates(numbers: int) -> tuple[float, float]:
    big = torch.empty(numbers, dtype=torch.bfloat16, device="cuda").normal_()
    other = torch.empty_like(big)
    copy = statistics.median(event_times(lambda: other.copy_(big)))
    read = statistics.median(event_times(lambda: torch.sum(big)))
    return 4 * numbers / copy, 2 * numbers / read


def check(model: Decoder) -> float:
    """Cosine of a token's logits by a pass over 65 tokens, and by one over 64 and a decode."""
    tokens = torch.randint(0, VOCABULARY, (65,), device="cuda")

    def logits(some: Any, segment: Segment) -> Any:
        return model.forward(some, model.batch([segment]), [segment])[0].float()

    at_once = logits(tokens, Segment(1, 65, 65))
    # The pool is one sequence after the other: at 65 tokens a sequence both begin at 0.
    logits(tokens[:64], Segment(1, 64, 64))
    in_two = logits(tokens[64:], Segment(1, 1, 65))
    cosine = float(torch.nn.functional.cosine_similarity(at_once, in_two, dim=0))
    if not cosine > 0.99:
        raise RuntimeError(f"decoding does not continue a prefill: cosine {cosine}")
    return cosine


def attention_times(model: Decoder, segment: Segment) -> dict[str, float]:
    """Seconds of one layer's attention by each of torch's backends, each layer's pool in turn."""
    rows = (segment.sequences, segment.rows, QUERIES, DIM)
    query = torch.randn(rows, dtype=torch.bfloat16, device="cuda")
    decodes, prefix = segment.rows == 1, segment.length > segment.rows
    kind = "decode" if decodes else "prefill"
    found: dict[str, float] = {}
    pools = [
        (model.cached(key, segment), model.cached(value, segment))
        for key, value in zip(model.keys, model.values, strict=True)
    ]
    for name, attend in ATTENTION.items():
        # cuDNN's causal mask would be at the upper left; without one it computes all pairs.
        masked = not (prefix and name == "cudnn")
        model.backends[kind] = name

        def call(attend: Any = attend, masked: bool = masked) -> None:
            for key, value in pools:
                if decodes:
                    model.attend_one(query, key, value)
                else:
                    attend(query, key, value, masked)

        try:
            times = event_times(graph_of(call).replay, 0.03)
        except RuntimeError as error:
            print(f"{name} {segment}: {str(error)[:200]}", flush=True)
            torch.cuda.synchronize()
            continue
        label = f"{kind}_{name}" + ("" if masked or decodes else "_all_pairs")
        found[label] = statistics.median(times) / len(pools)
    return found


def time_case(
    model: Decoder, case: Case, known: dict[tuple[int, int, int], dict[str, float]]
) -> dict[str, Any]:
    """One pass, as a graph and, where prompts are computed, launch by launch, too.

    ``known`` keeps the attention times of shapes that were met.
    """
    kind, segments = case
    attention: dict[str, float] = {}
    for segment in segments:
        shape = (segment.sequences, segment.rows, segment.length)
        if shape not in known:
            known[shape] = attention_times(model, segment)
        right = [name for name in known[shape] if not name.endswith("_all_pairs")]
        part, backend = min(right, key=known[shape].__getitem__).split("_")
        model.backends[part] = backend
        attention |= known[shape]
    rows = sum(s.sequences * s.rows for s in segments)
    tokens = torch.randint(0, VOCABULARY, (rows,), device="cuda")
    batch = model.batch(segments)

    def call() -> Any:
        return model.forward(tokens, batch, segments).argmax(-1)

    graph = graph_of(call)
    times = sorted(event_times(graph.replay))
    eager = statistics.median(event_times(call, 0.1)) if kind == "prefill" else None
    return {
        "kind": kind,
        "segments": [vars(s) for s in segments],
        "step": {name: getattr(step_of(segments), name) for name in step_of(segments).__slots__},
        "seconds": statistics.median(times),
        "low": times[len(times) // 4],
        "high": times[3 * len(times) // 4],
        "eager_s": eager,
        "backends": dict(model.backends),
        "attention_s": attention,
        "count": len(times),
    }


def measure(quick: bool, seconds: float, layers: int = 32) -> dict[str, Any]:
    """All cases until the time is over; a case that fails is noted and left out."""
    began = time.perf_counter()
    found: dict[str, Any] = {"ceilings": ceilings()}
    print(found, flush=True)
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    pool = int((free - WEIGHT_BYTES - LEFT_FREE) / TOKEN_BYTES)
    with torch.inference_mode():
        model = Decoder(layers, pool)
        found |= {"pool_tokens": pool, "memory_bytes": total, "check_cosine": check(model)}
        found |= {"cases": [], "failed": []}
        known: dict[tuple[int, int, int], dict[str, float]] = {}
        cases = all_cases(pool, quick)
        # Spread over all kinds, should time run out.
        for case in [case for start in range(4) for case in cases[start::4]]:
            if time.perf_counter() - began > seconds:
                found["failed"].append({"kind": case[0], "why": "no time left"})
                continue
            try:
                row = time_case(model, case, known)
            except (RuntimeError, ValueError) as error:
                found["failed"].append({"kind": case[0], "why": f"{case[1]}: {str(error)[:300]}"})
                continue
            found["cases"].append(row)
            print(f"{row['kind']} {case[1]}: {1e3 * row['seconds']:.3f} ms", flush=True)
    return found
