"""How long a pass of Llama-3.1-8B's shape takes on a GPU, and what the step-time models say of it.

    PYTHONPATH=. python -m bench.gpu_step_time --measure FILE.json [--seconds 150] [--quick]
    PYTHONPATH=. python -m bench.gpu_step_time --report FILE.json [FILE.json] --markdown FILE.md

Measuring needs a GPU with 48 GB or more, torch and Triton, but not SGLang: a plain decoder with
random weights in bf16 runs the model's matrix products, fused operations in between, attention from
torch on a contiguous KV cache, and an argmax, as CUDA graphs. What a server adds on its host is not
in it. The report fits the forms of ``sagesched.replay`` to the times, on any machine.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

HEAD = """# How long a pass takes on a GPU

`python -m bench.gpu_step_time`: a plain decoder of Llama-3.1-8B's shape in bf16, random weights,
contiguous KV, as CUDA graphs, by CUDA events; no SGLang and no host work is in it. Attention is the
faster of torch's FlashAttention 2 and cuDNN; behind a cached prefix only FlashAttention 2 can mask
what is asked for, and cuDNN over all pairs is timed beside it. A serving
engine's FlashAttention 3 was not measured.
"""


def about(commit: str) -> dict[str, str]:
    """Device, driver and versions."""
    import torch

    query = "name,driver_version,clocks.max.sm,clocks.max.mem,power.limit"
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return {
        "device": torch.cuda.get_device_name(),
        "nvidia-smi": done.stdout.strip(),
        "torch": torch.__version__,
        "commit": commit,
    }


def main() -> int:
    """Measure, or report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--measure", type=Path, metavar="FILE", help="time on this GPU")
    parser.add_argument("--seconds", type=float, default=150.0, help="stop after (150)")
    parser.add_argument("--quick", action="store_true", help="every seventh case")
    parser.add_argument("--commit", default="", help="to be noted in the result")
    parser.add_argument(
        "--report", type=Path, nargs="+", metavar="FILE", help="fit what was measured"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the report there")
    options = parser.parse_args()
    if options.measure:
        from bench.gpu_step.measure import measure

        found: dict[str, Any] = {"about": about(options.commit)}
        found |= measure(options.quick, options.seconds)
        options.measure.write_text(json.dumps(found, indent=1) + "\n")
    if options.report:
        from bench.gpu_step.report import markdown

        parts = [markdown(json.loads(file.read_text())) for file in options.report]
        text = "\n".join([HEAD, *parts])
        print(text)
        if options.markdown:
            options.markdown.write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
