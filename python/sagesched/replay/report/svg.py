"""Scalable drawings as text: scales, axes and marks. Colours come from the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 520.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 14.0, 14.0, 44.0


@dataclass(frozen=True)
class Scale:
    """From values to positions, in drawing units.

    Attributes:
        low: value at ``start``.
        high: value at ``end``; above ``low``.
        start: position.
        end: position.
        log: whether equal ratios have equal distances; then ``low`` is above 0.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The position of a value; what lies outside goes to the edge."""
        value = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values within the scale, about four to eight."""
        return _log_ticks(self.low, self.high) if self.log else _ticks(self.low, self.high)


def across(low: float, high: float, *, log: bool = False) -> Scale:
    """A horizontal scale over the drawing's width."""
    return Scale(*_apart(low, high, log), LEFT, WIDTH - RIGHT, log)


def upwards(low: float, high: float, *, log: bool = False, height: float = HEIGHT) -> Scale:
    """A vertical scale over the drawing's height, low values at the bottom."""
    return Scale(*_apart(low, high, log), height - BOTTOM, TOP, log)


def axes(
    x: Scale,
    y: Scale,
    *,
    x_label: str,
    y_label: str,
    x_ticks: Sequence[tuple[float, str]] | None = None,
    y_ticks: Sequence[tuple[float, str]] | None = None,
) -> str:
    """Grid lines, numbers and names of both axes."""
    parts = []
    for value, text in x_ticks or [(tick, number(tick)) for tick in x.ticks()]:
        at = x(value)
        parts.append(
            f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{y.start}" y2="{y.end}"/>'
            f'<text class="tick" x="{at:.1f}" y="{y.start + 16}">{escape(text)}</text>'
        )
    for value, text in y_ticks or [(tick, number(tick)) for tick in y.ticks()]:
        at = y(value)
        parts.append(
            f'<line class="grid" x1="{x.start}" x2="{x.end}" y1="{at:.1f}" y2="{at:.1f}"/>'
            f'<text class="tick left" x="{x.start - 7}" y="{at + 4:.1f}">{escape(text)}</text>'
        )
    middle_x, middle_y = (x.start + x.end) / 2, (y.start + y.end) / 2
    parts.append(
        f'<text class="axis" x="{middle_x:.1f}" y="{y.start + 36}">{escape(x_label)}</text>'
        f'<text class="axis" transform="translate(14 {middle_y:.1f}) rotate(-90)">'
        f"{escape(y_label)}</text>"
    )
    return "".join(parts)


def line(points: Iterable[tuple[float, float]], *, policy: str, style: str, title: str) -> str:
    """A policy's line, with a wide invisible one above it that shows the title on hover."""
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return (
        f'<g class="mark" data-policy="{escape(policy)}"><path class="line {style}" d="{path}"/>'
        f'<path class="hover" d="{path}"><title>{escape(title)}</title></path></g>'
    )


def drawing(content: str, *, label: str, height: float = HEIGHT) -> str:
    """The whole drawing; the label is for those who do not see it."""
    return (
        f'<svg viewBox="0 0 {WIDTH:g} {height:g}" role="img" aria-label="{escape(label)}">'
        f"{content}</svg>"
    )


def number(value: float) -> str:
    """A tick's number, short."""
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:g}"


def _apart(low: float, high: float, log: bool) -> tuple[float, float]:
    """The same limits, or wider ones if there is nothing between them."""
    if high > low:
        return low, high
    return (low / 2, low * 2 or 1.0) if log else (low - 0.5, low + 0.5)


def _ticks(low: float, high: float) -> list[float]:
    raw = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * unit for unit in (1, 2, 5, 10) if power * unit >= raw)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    choices = (
        (1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2.0, 2.5, 3, 4, 5, 6, 7, 8, 9),
        (1.0, 1.2, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0),
        (1.0, 2.0, 5.0),
        (1.0,),
    )
    ticks: list[float] = []
    for units in choices:
        values = [float(f"{unit * 10.0**power:.6g}") for power in decades for unit in units]
        ticks = [value for value in values if low * 0.999 <= value <= high * 1.001]
        if len(ticks) <= 8:
            break
    return ticks if len(ticks) > 2 else _ticks(low, high)
