"""The result of bench_predict as Markdown."""

from __future__ import annotations

from typing import Any

from sagesched.bench.report import table

TRANSFER = (
    "Nothing of the traffic asked about has been learned, not even how long its answers are: other "
    "models gave them. Of alpaca_eval each model by itself, and the mean over models."
)


def markdown(document: dict[str, Any]) -> str:
    """All tables."""
    about = document["about"]
    parts = [
        "# Length prediction",
        (
            f"`python -m bench.bench_predict` at commit {about['commit']}, {about['on']}, embedder "
            f"{about['embedder']}. CRPS and pinball loss in tokens, lower is better; tau is "
            "Kendall's, of the mean; coverage of the central 90 % interval. Every method learns "
            "request by request and is asked about requests it has not learned."
        ),
        "## What it must show\n\n" + _bars(document),
    ]
    for name, methods in document["datasets"].items():
        parts.append(f"## {name}\n\n" + _methods(methods))
    parts.append("## Learned from one, asked about the other\n\n" + TRANSFER)
    for name, methods in document["transfer"].items():
        parts.append(f"### {name}\n\n" + _methods(methods))
    parts.append("## Head and tail of a prompt, or all of it\n\n" + _sampling(document["sampling"]))
    parts.append("## Draws of a known prompt (CodeT)\n\n" + _draws(document["codet_draws"]))
    parts.append("## Cost of a prediction, 500-token prompts\n\n" + _scaling(document["scaling"]))
    return "\n\n".join(parts) + "\n"


def alpaca_ratio(document: dict[str, Any], other: str) -> float:
    """Mean over models of our CRPS over another method's."""
    data = document["datasets"]["alpaca_eval_lengths"]
    ours, theirs = (data[name]["by_group"] for name in ("sagesched", other))
    ratios = [ours[model]["crps"] / theirs[model]["crps"] for model in ours]
    return float(sum(ratios) / len(ratios))


def _bars(document: dict[str, Any]) -> str:
    data, draws = document["datasets"], document["codet_draws"]
    game = data["game24_gpt4_100samples"]
    latency = document["latency_us"]
    rows: list[tuple[str, str, str, bool]] = []

    def bar(what: str, least: str, value: float, met: bool, form: str = ".3f") -> None:
        rows.append((what, least, format(value, form), met))

    for other, most in (("global", 0.88), ("published", 0.90)):
        value = alpaca_ratio(document, other)
        bar(f"alpaca_eval: CRPS / {other}", f"<= {most}", value, value <= most)
    tau = data["alpaca_eval_lengths"]["sagesched"]["tau"]
    bar("alpaca_eval: tau", ">= 0.38", tau, tau >= 0.38)
    for n, most in (("10", 1.08), ("40", 1.03)):
        value = draws[n]["sagesched"]
        bar(f"CodeT, {n} draws: CRPS / full law", f"<= {most}", value, value <= most)
    value = game["sagesched"]["crps"] / game["global"]["crps"]
    bar("game24: CRPS / global", "<= 1.01", value, value <= 1.01)
    for name, methods in data.items():
        found = methods["sagesched"]
        whole = found["coverage90"]
        bar(f"{name}: coverage", "0.87 to 0.93", whole, 0.87 <= whole <= 0.93)
        for part in ("first_500_after_drift", "next_500"):
            if part in found:
                value = found[part]["coverage90"]
                what = f"{name}, {part.replace('_', ' ')}: coverage"
                bar(what, "0.87 to 0.93", value, 0.87 <= value <= 0.93)
    bar("10,000 records: p50, us", "< 500", latency["p50"], latency["p50"] < 500, ".0f")
    bar("10,000 records: p99, us", "< 2000", latency["p99"], latency["p99"] < 2000, ".0f")
    return table(
        ["", "bar", "measured", "met"],
        [(what, least, value, "yes" if met else "**no**") for what, least, value, met in rows],
    )


def _methods(methods: dict[str, Any]) -> str:
    rows = [
        (name, f"{s['crps']:.1f}", f"{s['pinball90']:.1f}", f"{s['tau']:.3f}",
         f"{s['coverage90']:.3f}", int(s["n"]))
        for name, s in methods.items()
    ]  # fmt: skip
    return table(["method", "CRPS", "pinball 0.9", "tau", "coverage 90 %", "n"], rows)


def _sampling(found: dict[str, Any]) -> str:
    rows = [
        (name, f"{s['crps']:.2f}", f"{s['crps_of_cut']:.2f}", f"{s['tau']:.3f}",
         f"{s['coverage90']:.3f}", f"{s['embed_us']:.0f}", f"{s['embed_us_2200_chars']:.0f}")
        for name, s in found.items()
    ]  # fmt: skip
    one = next(iter(found.values()))
    head = ["sharegpt_turns_aibrix", "CRPS", f"CRPS of the {one['n_cut']} longer prompts", "tau",
            "coverage 90 %", "embedding, us", "of 2,200 characters"]  # fmt: skip
    return table(head, rows)


def _draws(draws: dict[str, Any]) -> str:
    rows = [(n, f"{row['sagesched']:.3f}", f"{row['plain']:.3f}") for n, row in draws.items()]
    return table(["draws", "sagesched / full law", "their plain law / full law"], rows)


def _scaling(scaling: dict[str, Any]) -> str:
    keys = ("p50", "p99", "embed", "search", "record")
    rows = [
        (size, *(f"{row['latency_us'][key]:.0f}" for key in keys), f"{row['rss_mb']:.0f}")
        for size, row in scaling.items()
    ]
    head = ["records", "p50, us", "p99, us", "embedding", "search", "learning", "resident MB"]
    return table(head, rows)
