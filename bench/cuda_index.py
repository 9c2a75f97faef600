"""The index kernel on a CUDA device: its own time, the call's, and the CPU's on the same requests.

    PYTHONPATH=. python -m bench.cuda_index [--json FILE] [--markdown FILE]

Needs a build with CUDA (docs/cuda.md) and torch. Every shape is compared bit for bit with the CPU
before it is timed, where both compute all rows in one unit of cost; else row for row to 1e-6.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.bench_index import commit
from sagesched.bench.machine import hardware
from sagesched.bench.report import table
from sagesched.bench.requests import Requests, make_requests
from sagesched.gittins import gittins_index, simd_level

SHAPES = [
    *((n, 128, "float32") for n in (64, 256, 1024, 4096, 16_384, 65_536, 262_144)),
    (16_384, 32, "float32"),
    (16_384, 512, "float32"),
    (1024, 128, "float64"),
    (65_536, 128, "float64"),
]
ROTATED_BYTES = 3e8
"""Inputs taken in turn hold this much together, so that none is found in the L2 cache."""
MOST_COPIES = 64
THREADS = (1, 8)


def on_device(requests: Requests) -> dict[str, Any]:
    """Tensors of a call."""
    import torch

    columns = torch.from_numpy(np.ascontiguousarray(requests.pmf.T)).cuda()
    names = ("age", "prompt_len", "cached_len")
    return {
        "pmf": columns.t(),
        "support": torch.from_numpy(requests.support.astype(requests.pmf.dtype)).cuda(),
        **{name: torch.from_numpy(getattr(requests, name)).cuda() for name in names},
        "cost": requests.cost,
        "out": torch.full((len(requests.pmf),), float("nan"), dtype=columns.dtype, device="cuda"),
    }


def check(requests: Requests, tensors: dict[str, Any]) -> int:
    """Rows whose bits differ from the CPU's; the CPU's unit of cost is the batch's.

    Raises:
        RuntimeError: a row is wrong.
    """
    from sagesched.gittins_cuda import gittins_index_cuda

    found = gittins_index_cuda(**tensors).cpu().numpy()
    expected = gittins_index(*requests.arguments("column-major"))
    if not np.allclose(found, expected, rtol=1e-6, atol=0.0):
        raise RuntimeError(f"the device is wrong at {requests.pmf.shape}")
    return int((found != expected).sum())


def kernel_s(copies: list[dict[str, Any]]) -> float:
    """Seconds of a launch alone: a graph of one on each copy, over their number."""
    import torch

    from sagesched.gittins_cuda import gittins_index_cuda

    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for tensors in copies:
            gittins_index_cuda(**tensors)
    times: list[float] = []
    for _ in range(12):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / 1e3 / len(copies))
    return statistics.median(times[2:])


def call_s(call: Callable[[], Any], seconds: float = 0.2) -> float:
    """Median of calls from Python."""
    call()
    times: list[float] = []
    while sum(times) < seconds or len(times) < 5:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def time_shape(n: int, m: int, dtype: str) -> dict[str, Any]:
    """All times of a shape, in seconds."""
    import torch

    from sagesched.gittins_cuda import gittins_index_cuda

    requests = make_requests(n, m, dtype)
    tensors = on_device(requests)
    different = check(requests, tensors)
    size = requests.pmf.nbytes
    copies = [tensors]
    while len(copies) < min(MOST_COPIES, ROTATED_BYTES / size + 1):
        # The same columns elsewhere; `clone` keeps the strides.
        copies.append({**tensors, "pmf": tensors["pmf"].clone()})

    def call() -> None:
        gittins_index_cuda(**tensors)
        torch.cuda.synchronize()

    def launch() -> None:
        for _ in range(100):
            gittins_index_cuda(**tensors)

    def on_cpu(threads: int) -> float:
        return call_s(lambda: gittins_index(*arguments, threads=threads))

    arguments = requests.arguments("column-major")
    kernel = kernel_s(copies)
    launches = call_s(launch, 0.05) / 100
    torch.cuda.synchronize()
    return {
        "n": n, "m": m, "dtype": dtype, "rows_with_other_bits": different,
        "bytes": size, "copies": len(copies),
        "kernel_s": kernel,
        "kernel_in_cache_s": kernel_s([tensors] * 20),
        "call_s": call_s(call),
        "launch_s": launches,
        "cpu_s": {threads: on_cpu(threads) for threads in THREADS},
    }  # fmt: skip


def markdown(result: dict[str, Any]) -> str:
    """The table."""
    rows = [
        (
            f"{row['n']} x {row['m']}", row["dtype"],
            f"{1e6 * row['kernel_s']:.1f}", f"{1e6 * row['kernel_in_cache_s']:.1f}",
            f"{row['bytes'] / row['kernel_s'] / 1e9:.0f}",
            f"{row['bytes'] / row['kernel_s'] / result['read_bytes_per_s']:.0%}",
            f"{1e6 * row['call_s']:.1f}",
            *(f"{1e6 * seconds:.0f}" for seconds in row["cpu_s"].values()),
        )
        for row in result["shapes"]
    ]  # fmt: skip
    read = f"{result['read_bytes_per_s'] / 1e12:.2f} TB/s"
    head = ["N x m", "dtype", "kernel, us", "in L2, us", "GB/s", "of a read", "call, us",
            *(f"CPU {t} thread{'s' if int(t) > 1 else ''}, us" for t in THREADS)]  # fmt: skip
    about = "; ".join(f"{key} {value}" for key, value in result["about"].items())
    launch = statistics.median(row["launch_s"] for row in result["shapes"][:4])
    different = sum(row["rows_with_other_bits"] for row in result["shapes"])
    return (
        f"# The index kernel on a CUDA device\n\n`python -m bench.cuda_index`: {about}.\n\n"
        f"{table(head, rows)}\n\n"
        "Kernel: a launch in a CUDA graph over copies of the masses, more than L2 holds as far as "
        f"{MOST_COPIES} copies go; in L2: the same masses each time. GB/s: the masses, once, over "
        f"the kernel's time; of a read: over the {read} of a sum "
        "over 4 GiB. Call: from Python, until the device is done, and "
        f"{1e6 * launch:.1f} us of it until the call returns. CPU: `gittins_index` by column.\n\n"
        f"Compared with the CPU before each timing: {different} rows with other bits.\n"
    )


def main() -> int:
    """Time all shapes."""
    import torch

    from bench.gpu_step.measure import ceilings

    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    parser.add_argument("--commit", default="", help="to be noted in the result")
    options = parser.parse_args()
    on = f"{torch.cuda.get_device_name()} beside {hardware()} ({simd_level()})"
    result: dict[str, Any] = {
        "about": {"commit": options.commit or commit(), "on": on, "torch": torch.__version__},
        **ceilings(),
        "shapes": [time_shape(*shape) for shape in SHAPES],
    }
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(markdown(result))
    print(markdown(result))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
