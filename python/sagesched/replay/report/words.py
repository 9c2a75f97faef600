"""The report in words: what would change."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from sagesched.replay.report.charts import OURS
from sagesched.replay.report.view import LoadView, PolicyView
from sagesched.replay.table import seconds

SAME = 0.03
"""Changes of the mean below this share are called none."""

SAME_S = 0.02
"""So are changes below this many seconds: nobody sees them, whatever their share."""


def focus(views: Sequence[LoadView], baseline: str, yardsticks: frozenset[str]) -> str:
    """The policy that the words are about: ours if it takes part, else the best at the top load."""
    last = views[-1]
    candidates = [
        view
        for view in last.policies
        if view.name != baseline and view.name not in yardsticks and view.summary.ratios
    ]
    if not candidates:
        return baseline
    names = [view.name for view in candidates]
    return OURS if OURS in names else min(candidates, key=_mean_ratio).name


def headline(views: Sequence[LoadView], name: str) -> str:
    """One line, about the load at which the policy changes most."""
    found = [(view, load) for load in views if (view := load.find(name)) and view.summary.ratios]
    baseline = views[0].baseline
    if name == baseline or not found:
        return f"What {baseline} does to this traffic"
    view, load = max(found, key=lambda pair: (not _is_same(*pair), abs(1 - _mean_ratio(pair[0]))))
    change = _mean_ratio(view) - 1
    if _is_same(view, load):
        return f"{name} instead of {baseline} would change little on this traffic"
    return (
        f"{name} instead of {baseline}: answers complete {abs(change):.0%} "
        f"{'sooner' if change < 0 else 'later'} on average at load {load.load:g}"
    )


def load_sentences(load: LoadView, name: str) -> list[str]:
    """What the policy would change at this load; HTML."""
    view, base = load.find(name), load.find(load.baseline)
    if view is None or base is None or view is base or not view.summary.ratios:
        return [f"There is nothing to compare {escape(load.baseline)} with at this load."]
    sentences = [
        _compared("The mean time to last token", view, base, "mean_ttlt_s"),
        _compared("The P99 (one request in a hundred takes longer)", view, base, "p99_ttlt_s"),
        _compared("The mean time to first token", view, base, "mean_ttft_s"),
        _compared("Its P99", view, base, "p99_ttft_s"),
    ]
    if view.sooner is not None and view.later is not None:
        sentences.append(
            f"<b>{view.sooner:.0%}</b> of the requests would be complete at least 5% sooner, "
            f"<b>{view.later:.0%}</b> at least 5% later."
        )
    if load.load < 1 and _is_same(view, load):
        sentences.append(
            "Below saturation hardly anything waits, so the order of the queue matters little."
        )
    return [*sentences, *_rivals(load, view)]


def _compared(what: str, view: PolicyView, base: PolicyView, quantity: str) -> str:
    before, after = base.summary.values[quantity].mean, view.summary.values[quantity].mean
    ratio = view.summary.ratios[quantity]
    change = f"{after / before - 1:+.0%}".replace("-", "&minus;") if before else "from nothing"
    uncertain = len(ratio.values) > 1 and ratio.std >= abs(1 - ratio.mean)
    doubt = "; within the spread of the seeds" if uncertain else ""
    return f"{what} goes from {seconds(before)} s to <b>{seconds(after)} s</b> ({change}{doubt})."


def _rivals(load: LoadView, view: PolicyView) -> list[str]:
    """The best of the others, where it is better."""
    others = [
        other
        for other in load.policies
        if other.summary.ratios
        and not other.yardstick
        and other.name not in (view.name, load.baseline)
    ]
    sentences = []
    for quantity, words in (("mean_ttlt_s", "mean"), ("p99_ttlt_s", "P99")):
        mine = view.summary.ratios[quantity].mean
        best = min(others, key=lambda other: other.summary.ratios[quantity].mean, default=None)
        if best is not None and best.summary.ratios[quantity].mean < mine * (1 - SAME):
            value = best.summary.values[quantity].mean
            sentences.append(
                f"The lowest {words} of a policy that is not told the true lengths is "
                f"<b>{escape(best.name)}</b>'s: {seconds(value)} s."
            )
    return sentences


def _is_same(view: PolicyView, load: LoadView) -> bool:
    base = load.find(load.baseline)
    if base is None:
        return abs(1 - _mean_ratio(view)) < SAME
    before = base.summary.values["mean_ttlt_s"].mean
    change_s = view.summary.values["mean_ttlt_s"].mean - before
    return abs(change_s) < SAME_S or abs(1 - _mean_ratio(view)) < SAME


def _mean_ratio(view: PolicyView) -> float:
    return view.summary.ratios["mean_ttlt_s"].mean
