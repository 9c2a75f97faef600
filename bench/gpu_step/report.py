"""What was measured, against the presets and a fit of ``sagesched calibrate``'s form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sagesched.bench.report import table
from sagesched.replay.fitting import fit
from sagesched.replay.presets import GPUS, preset
from sagesched.replay.steptime import Step

Row = dict[str, Any]
MODEL = "llama-3.1-8b"


def markdown(found: dict[str, Any]) -> str:
    """One device: errors of the models, and every case."""
    gpu = next(name for name in reversed(GPUS) if name.upper() in found["about"]["device"])
    model = preset(MODEL, gpu)
    rows = sorted(found["cases"], key=lambda row: (row["kind"], row["seconds"]))
    kinds = {kind: [row for row in rows if row["kind"] == kind] for kind in ("decode", "prefill")}
    fitted = fit("fit", *([(_step(row), row["seconds"]) for row in kinds[k]] for k in kinds))
    ceilings = found["ceilings"]
    about = "; ".join(f"{key} {value}" for key, value in found["about"].items())
    return (
        f"## {found['about']['device']}\n\n{about}.\n\n"
        f"A sum reads {ceilings['read_bytes_per_s'] / 1e12:.2f} TB/s; a product of 8192 cubed runs "
        f"at {ceilings['matmul_8192_flops'] / 1e12:.0f} TFLOP/s.\n\n"
        f"Modelled over measured, less 1:\n\n{_errors(rows, model.seconds, fitted.seconds)}\n\n"
        f"The fit: decode {_line(fitted.decode)} (request, KV token); prefill "
        f"{_line(fitted.prefill)} (token, attended pair, request).\n\n"
        f"{_attention(rows)}\n\n{_cases(rows, model.seconds)}\n"
    )


def _step(row: Row) -> Step:
    return Step(**row["step"])


def _line(line: Any) -> str:
    units = ", ".join(f"{1e6 * cost:.3g}" for cost in line.per_unit_s)
    floor = f", at least {1e3 * line.floor_s:.2f} ms" if line.floor_s else ""
    return f"{1e3 * line.overhead_s:.2f} ms and {units} us{floor}"


def _group(row: Row) -> str:
    behind = any(1 < s["rows"] < s["length"] for s in row["segments"])
    return f"{row['kind']}, cached prefix" if behind else str(row["kind"])


def _errors(rows: Sequence[Row], *models: Callable[[Step], float]) -> str:
    found = []
    for name, seconds in zip(("preset", "calibrated form"), models, strict=True):
        for group in sorted({_group(row) for row in rows}):
            off = np.array(
                [seconds(_step(r)) / r["seconds"] - 1 for r in rows if _group(r) == group]
            )
            found.append(
                (
                    name, group, len(off), f"{np.median(abs(off)):.1%}",
                    f"{np.percentile(abs(off), 95):.1%}",
                    f"{off.min():+.0%} to {off.max():+.0%}",
                )
            )  # fmt: skip
    return table(["model", "passes", "cases", "median error", "P95", "range"], found)


def _attention(rows: Sequence[Row]) -> str:
    """The best rates of each of torch's kernels, one layer's work over its time."""
    best: dict[str, tuple[float, str]] = {}
    for row in rows:
        for segment in row["segments"]:
            kind = "decode" if segment["rows"] == 1 else "prefill"
            count, new, length = segment["sequences"], segment["rows"], segment["length"]
            for name, seconds in row["attention_s"].items():
                if not name.startswith(kind):
                    continue
                pairs = length if name.endswith("_all_pairs") else length - new / 2
                work = 4096 * count * length if kind == "decode" else 16_384 * count * new * pairs
                unit = "TB/s" if kind == "decode" else "TFLOP/s"
                best[name] = max(best.get(name, (0.0, unit)), (work / seconds / 1e12, unit))
    rates = [f"{name} {rate:.{2 if unit == 'TB/s' else 0}f} {unit}" for name, (rate, unit) in
             sorted(best.items())]  # fmt: skip
    return "Attention at its best: " + "; ".join(rates) + "."


def _cases(rows: Sequence[Row], seconds: Callable[[Step], float]) -> str:
    cells = [
        (
            row["kind"],
            " + ".join(f"{s['sequences']} x {s['rows']} at {s['length']}" for s in row["segments"]),
            f"{1e3 * row['seconds']:.2f}",
            f"{(row['high'] - row['low']) / row['seconds']:.1%}",
            f"{1e3 * row['eager_s']:.2f}" if row["eager_s"] else "-",
            f"{1e3 * seconds(_step(row)):.2f}",
        )
        for row in rows
    ]
    head = ["", "sequences x rows at KV", "ms", "quartiles", "no graph", "preset, ms"]
    return table(head, cells)
