"""The report's charts. Every mark names its policy, so that the page can hide and show it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from sagesched.replay.details import LEVELS
from sagesched.replay.report import labels, svg
from sagesched.replay.report.view import LoadView, PolicyView
from sagesched.replay.table import seconds

OURS = "gittins"
OTHER_COLOURS = 8
SHORTEST_S = 1e-4
TIMELINE_HEIGHT = 210.0

NAMES = {"ttlt": "time to last token", "ttft": "time to first token"}
OVER_TIME = {
    "waiting": "requests waiting",
    "running": "requests running",
    "kv_use": "KV pool in use, %",
}


def colour(view: PolicyView, baseline: str) -> str:
    """Class names of a policy's marks.

    The baseline is grey, ours has a colour of its own; yardsticks are dashed, and so is who shares
    a colour with another.
    """
    if view.name == baseline:
        return "base"
    if view.name == OURS:
        return "c0"
    dashed = " dashed" if view.yardstick or view.position >= OTHER_COLOURS else ""
    return f"c{1 + view.position % OTHER_COLOURS}{dashed}"


def distribution(load: LoadView, quantity: str) -> str:
    """Share of the requests that are done within a time; ``ttlt`` or ``ttft``."""
    x = _time_scale(load, quantity, 0.001)
    y = svg.upwards(0, 100)
    lines = [
        svg.line(
            [
                (x(value), y(100 * level))
                for value, level in zip(_of(view, quantity), LEVELS, strict=True)
            ],
            policy=view.name,
            style=colour(view, load.baseline),
            title=_quantiles_in_words(view, quantity),
        )
        for view in load.policies
    ]
    name = NAMES[quantity]
    frame = svg.axes(x, y, x_label=f"{name}, seconds (log)", y_label="% of requests within it")
    return svg.drawing(frame + "".join(lines), label=f"Distribution of the {name}")


def tail(load: LoadView, quantity: str) -> str:
    """The slowest requests: share that takes longer than a time."""
    x = _time_scale(load, quantity, 0.5)
    served = min(min(view.summary.values["n"].values) for view in load.policies)
    least = min(max(100 / served, 0.05), 1.0)  # per cent: finer than a single request says nothing
    y = svg.upwards(least, 50, log=True)
    lines = []
    for view in load.policies:
        points = [
            (x(value), y(100 * (1 - level)))
            for value, level in zip(_of(view, quantity), LEVELS, strict=True)
            if level >= 0.5 and 100 * (1 - level) >= least
        ]
        style, title = colour(view, load.baseline), _quantiles_in_words(view, quantity)
        lines.append(svg.line(points, policy=view.name, style=style, title=title))
    ticks = [
        (share, f"{share:g}%") for share in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if share >= least
    ]
    frame = svg.axes(
        x, y, x_label=f"{NAMES[quantity]}, seconds (log)", y_label="slower than that", y_ticks=ticks
    )
    return svg.drawing(frame + "".join(lines), label=f"The slowest requests by {NAMES[quantity]}")


def front(load: LoadView) -> str:
    """Mean against P99 time to last token, both as ratios to the baseline."""
    dots = [
        (view, view.summary.ratios["mean_ttlt_s"], view.summary.ratios["p99_ttlt_s"])
        for view in load.policies
        if view.summary.ratios
    ]
    if not dots:
        return f"<p>No run of {escape(load.baseline)} to compare with.</p>"
    x = _ratio_scale(svg.across, [value for _, mean, _ in dots for value in mean.values])
    y = _ratio_scale(svg.upwards, [value for _, _, p99 in dots for value in p99.values])
    parts = [
        svg.axes(
            x,
            y,
            x_label=f"mean time to last token, times {load.baseline}'s",
            y_label=f"P99, times {load.baseline}'s",
        ),
        f'<line class="one" x1="{x(1):.1f}" x2="{x(1):.1f}" y1="{y.start}" y2="{y.end}"/>',
        f'<line class="one" x1="{x.start}" x2="{x.end}" y1="{y(1):.1f}" y2="{y(1):.1f}"/>',
        _corner(x, y),
    ]
    centres = [(x(mean.mean), y(p99.mean), view.name) for view, mean, p99 in dots]
    places = labels.place(centres, left=x.start, right=x.end, top=y.end, bottom=y.start)
    for (view, mean, p99), (at_x, at_y, _), (text_x, text_y) in zip(
        dots, centres, places, strict=True
    ):
        style = colour(view, load.baseline)
        seeds = "".join(
            f'<circle class="seed {style}" cx="{x(a):.1f}" cy="{y(b):.1f}" r="2.2"/>'
            for a, b in zip(mean.values, p99.values, strict=True)
            if len(mean.values) > 1
        )
        title = f"{view.name}: mean x {mean.mean:.2f}, P99 x {p99.mean:.2f}"
        parts.append(
            f'<g class="mark" data-policy="{escape(view.name)}">{seeds}'
            f'<circle class="dot {style}" cx="{at_x:.1f}" cy="{at_y:.1f}" r="5.5">'
            f"<title>{escape(title)}</title></circle>"
            f'<text class="name" x="{text_x:.1f}" y="{text_y:.1f}">{escape(view.name)}</text></g>'
        )
    return svg.drawing("".join(parts), label="Mean against P99 time to last token")


def _corner(x: svg.Scale, y: svg.Scale) -> str:
    """Names the corner where nobody pays, if it is wide enough."""
    if x(1) - x.start < 110 or y.start - y(1) < 24:
        return ""
    return f'<text class="corner" x="{x.start + 6}" y="{y.start - 6}">mean and tail better</text>'


def timeline(load: LoadView, quantity: str, height: float = TIMELINE_HEIGHT) -> str:
    """Requests ``waiting`` or ``running``, or ``kv_use``, over time, of one seed."""
    factor = 100.0 if quantity == "kv_use" else 1.0
    end = max((float(view.timeline.at_s.max(initial=0.0)) for view in load.policies), default=1.0)
    values = [factor * getattr(view.timeline, quantity) for view in load.policies]
    top = 100.0 if quantity == "kv_use" else max(float(v.max(initial=1.0)) for v in values)
    x, y = svg.across(0, end or 1.0), svg.upwards(0, max(top, 1.0), height=height)
    lines = [
        svg.line(
            [(x(at), y(value)) for at, value in zip(view.timeline.at_s, series, strict=True)],
            policy=view.name,
            style=f"thin {colour(view, load.baseline)}",
            title=f"{view.name}: {series.mean():.3g} on average, at most {series.max():.3g}",
        )
        for view, series in zip(load.policies, values, strict=True)
        if len(series)
    ]
    name = OVER_TIME[quantity]
    frame = svg.axes(x, y, x_label="seconds since the start", y_label=name)
    return svg.drawing(frame + "".join(lines), label=f"{name} over time", height=height)


def _of(view: PolicyView, quantity: str) -> list[float]:
    values: list[float] = (view.ttlt_s if quantity == "ttlt" else view.ttft_s).tolist()
    return values


def _time_scale(load: LoadView, quantity: str, from_level: float) -> svg.Scale:
    """From the given quantile of the fastest policy to the longest time of all."""
    first = next(k for k, level in enumerate(LEVELS) if level >= from_level)
    low = min(_of(view, quantity)[first] for view in load.policies)
    high = max(_of(view, quantity)[-1] for view in load.policies)
    return svg.across(max(low, SHORTEST_S), max(high, SHORTEST_S), log=True)


def _ratio_scale(make: Callable[..., svg.Scale], ratios: Sequence[float]) -> svg.Scale:
    """Wide enough for all ratios and 1, with some air."""
    low, high = min(*ratios, 1.0), max(*ratios, 1.0)
    air = max((high / low) ** 0.12, 1.06)
    return make(low / air, high * air, log=True)


def _quantiles_in_words(view: PolicyView, quantity: str) -> str:
    half = _of(view, quantity)[LEVELS.tolist().index(0.5)]
    p99 = view.summary.values[f"p99_{quantity}_s"].mean
    return f"{view.name}: half within {seconds(half)} s, 99% within {seconds(p99)} s"
