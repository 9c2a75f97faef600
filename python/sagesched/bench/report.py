"""The result as Markdown, and as a plot of cost against the number of requests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

from sagesched.bench.cases import MAIN
from sagesched.bench.result import Result
from sagesched.bench.verify import ROWS

HOW = (
    "Times of whole calls from Python, medians of calls that were taken in turn in one run, "
    "one thread unless said. Every row of everything was verified before it was timed: up to "
    f"{ROWS} rows of a batch against the float64 reference, and the others against NumPy in "
    "float64, which had to agree with the reference on those; curves, at every age, against the "
    "naive loop. Requests are made up: log-logistic lengths with a heavy tail, half of them at age "
    "0 and the others at any age, prompts of up to 4,000 tokens. Ratios are to the fastest of "
    "several NumPy formulations with buffers made beforehand, on the same layout."
)


NO_DEVICE = "cuda: no device, or built without CUDA."


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; numbers to the right."""
    found = [[str(cell) for cell in row] for row in rows]
    numeric = [
        bool(found) and all(row[i][:1].isdigit() or row[i] == "-" for row in found)
        for i in range(len(head))
    ]
    lines = [head, ["---:" if right else "---" for right in numeric], *found]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def markdown(result: Result) -> str:
    """Everything that was timed."""
    about = "; ".join(f"{key} {value}" for key, value in result.about.items())
    parts = [
        "# The index kernel, the curve and the rank engine",
        f"`sagesched bench index`: {about}.",
        HOW,
        "## What it must show\n\n" + _bars(result),
        _cases(result),
        _others(result),
        _floors(result),
        _curve(result),
        _rank(result),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _bars(result: Result) -> str:
    words = {True: "yes", False: "**no**", None: "-"}
    rows = [(bar.what, bar.bar, bar.measured, words[bar.met]) for bar in result.bars()]
    return table(["", "bar", "measured", "met"], rows)


def _cases(result: Result) -> str:
    rows = []
    for row in result.cases:
        share = row.fraction_of_read_bandwidth
        rows.append(
            (
                f"{row.n} x {row.m}", row.dtype, row.layout, row.level, row.threads,
                f"{row.ns_per_request:.1f}",
                f"{row.sample.low / row.n:.1f} to {row.sample.high / row.n:.1f}",
                f"{row.numpy_ns / row.n:.0f}", f"{row.speedup_vs_numpy:.1f}",
                "-" if share is None else f"{share:.0%}",
            )
        )  # fmt: skip
    head = ["N x m", "dtype", "layout", "level", "threads", "ns a request", "quartiles", "NumPy",
            "NumPy / ours", "of the floor"]  # fmt: skip
    note = (
        "support-per-row: columns of masses and of edges, edges of their own for each request; "
        "NumPy is given one support for all. Of the floor: what a sum over the same bytes (masses, "
        "and edges where each request has its own) takes on that level with one thread, timed in "
        "turn with the call, over what the call takes. "
        + ("" if any(row.level == "cuda" for row in result.cases) else NO_DEVICE)
    )
    return "## The batched kernel\n\n" + table(head, rows) + "\n\n" + note if rows else ""


def _others(result: Result) -> str:
    if not result.others:
        return ""
    rows = [
        (row.name, f"{row.n} x {row.m}", row.dtype, f"{row.ns / row.n:.0f}")
        for row in result.others
    ]
    missing = "" if any(row.name == "Numba" for row in result.others) else (
        "\n\nNumba is not installed."
    )  # fmt: skip
    text = table(["", "N x m", "dtype", "ns a request"], rows)
    note = "\n\nOne thread; plain Python on lists by row, in its own float64, Numba on columns."
    return "## Other ways\n\n" + text + note + missing


def _floors(result: Result) -> str:
    if not result.floors:
        return ""
    rows = [(f.level, f.dtype, f"{f.cached:.1f}", f"{f.memory:.1f}") for f in result.floors]
    head = ["level", "dtype", "GB/s at 4 MB", "GB/s at 256 MB"]
    return "## The floor in cache and in memory: a plain sum\n\n" + table(head, rows)


def _curve(result: Result) -> str:
    if not result.curve:
        return ""
    rows = [
        (
            row.m, f"{row.us:.1f}", f"{row.us_in_batch:.2f}", f"{row.naive_us:.0f}",
            f"{row.speedup:.0f}",
        )
        for row in result.curve
    ]  # fmt: skip
    head = ["m", "us, one row a call", "us a row of 64", "naive loop, us", "naive / ours"]
    text = "## All ages of a request\n\n" + table(head, rows)
    if result.solver is None:
        return text + "\n\n`markovianbandit-pkg` is not installed."
    solved = [
        (row.m, f"{row.us:.1f}", f"{row.solver_us:.0f}", f"{row.solver_us / row.us:.0f}")
        for row in result.solver
    ]
    head = ["m", "ours, us", "markovianbandit, us", "ratio"]
    return text + "\n\nA general solver, equal steps and cost:\n\n" + table(head, solved)


def _rank(result: Result) -> str:
    if not result.rank:
        return ""
    rows = [
        (
            row.waiting, row.changed, row.k, f"{row.us_per_step:.0f}", f"{row.sort_us:.0f}",
            f"{row.speedup:.1f}", f"{row.sort_by_key_us:.0f}",
            f"{row.sort_by_key_us / row.us_per_step:.1f}",
        )
        for row in result.rank
    ]  # fmt: skip
    head = ["waiting", "changed", "k", "us a step", "list.sort, us", "ratio",
            "list.sort by key alone, us", "ratio"]  # fmt: skip
    text = "## The rank engine: update and top(k)\n\n" + table(head, rows) + (
        "\n\nThe list is sorted by (priority, key, arrival), the engine's order. By key alone is "
        "cheaper, and the same order where there is one priority and no two keys are equal, as "
        "here. The lists are given the new keys for nothing."
    )  # fmt: skip
    refreshed = [
        (row.changed, f"{row.kernel_us:.1f}", f"{row.look_up_us:.1f}") for row in result.refresh
    ]
    head = ["changed", "batched kernel, us", "look-up in kept curves, us"]
    return text + "\n\nNew indices of the changed requests:\n\n" + table(head, refreshed)


def require_matplotlib() -> None:
    """Raises a ``RuntimeError`` that says what to do."""
    if find_spec("matplotlib") is None:
        raise RuntimeError("--plot needs Matplotlib: pip install matplotlib")


def plot(result: Result, file: Path) -> None:
    """Cost of a request against N, for each level, NumPy, Numba, plain Python and the floor.

    Raises:
        RuntimeError: Matplotlib is not installed.
    """
    require_matplotlib()
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    bins = MAIN[1]
    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    for name, (style, points) in lines_of_plot(result, bins).items():
        axes.plot(*zip(*sorted(points), strict=True), style, label=name)
    axes.set(xscale="log", yscale="log", xlabel="requests in a call", ylabel="ns a request")
    axes.set_title(f"Gittins index, {bins} bins, float32, one thread")
    axes.grid(alpha=0.3)
    if axes.has_data():
        figure.legend(frameon=False, loc="outside right upper")
    figure.savefig(file, dpi=150)
    pyplot.close(figure)


def lines_of_plot(result: Result, bins: int) -> dict[str, tuple[str, set[tuple[int, float]]]]:
    """By name, how to draw it and the points (N, ns a request)."""
    lines: dict[str, tuple[str, set[tuple[int, float]]]] = {}
    wanted = (bins, "float32", "column-major", 1)

    def add(name: str, style: str, n: int, ns: float) -> None:
        lines.setdefault(name, (style, set()))[1].add((n, ns / n))

    for row in result.others:
        if (row.m, row.dtype) == wanted[:2]:
            add(row.name, "^--", row.n, row.ns)
    chosen = [r for r in result.cases if (r.m, r.dtype, r.layout, r.threads) == wanted]
    for case in chosen:
        add("NumPy, fastest way", "s--", case.n, case.numpy_ns)
    for case in chosen:
        add(case.level, "o-", case.n, case.sample.median)
    with_sum = [case for case in chosen if case.floor_ns is not None]
    for case in with_sum:
        if case.level == with_sum[-1].level and case.floor_ns is not None:
            add(f"sum of the masses, {case.level}", "k:", case.n, case.floor_ns)
    return lines
