"""What the report shows of a session: per load and policy, over the seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sagesched.replay.details import Group
from sagesched.replay.result import Floats, Timeline
from sagesched.replay.session import Session
from sagesched.replay.summary import Summary, summaries
from sagesched.replay.tasks import Run

KINDS = ("outputs", "prompts", "classes", "tenants")
"""Of groups of requests."""
NOTICEABLE = 0.05
"""A request counts as sooner or later if its time changes by more than this share."""


@dataclass(frozen=True)
class PolicyView:
    """A policy at a load.

    Attributes:
        name: the policy.
        position: among the command's policies; gives it its colour.
        yardstick: it knows the true lengths, which no server can.
        summary: its numbers.
        ttlt_s: [q] quantiles at ``LEVELS``, averaged over the seeds.
        ttft_s: [q] likewise.
        timeline: of the first seed.
        groups: by kind (``KINDS``) and name, weighted over the seeds.
        sooner: share of requests that end noticeably sooner than under the baseline; None without.
        later: noticeably later.
    """

    name: str
    position: int
    yardstick: bool
    summary: Summary
    ttlt_s: Floats
    ttft_s: Floats
    timeline: Timeline
    groups: dict[str, dict[str, Group]]
    sooner: float | None
    later: float | None

    def ratio(self, quantity: str) -> float | None:
        """To the baseline, mean over seeds."""
        ratio = self.summary.ratios.get(quantity)
        return ratio.mean if ratio else None


@dataclass(frozen=True)
class LoadView:
    """All policies at a load, in the command's order."""

    load: float
    rate_rps: float
    baseline: str
    policies: tuple[PolicyView, ...]

    def find(self, name: str) -> PolicyView | None:
        """A policy, if any of its runs ended well."""
        return next((view for view in self.policies if view.name == name), None)


def load_views(session: Session) -> list[LoadView]:
    """By load, ascending."""
    plan = session.plan
    views = []
    for load, rows in sorted(summaries(session.rows, plan.baseline).items()):
        runs = [run for run in session.runs if run.row.load == load]
        base = [run for run in runs if run.row.label == plan.baseline]
        policies = tuple(
            _policy_view(
                row,
                [run for run in runs if run.row.label == row.policy],
                base,
                position=plan.lines.index(row.policy),
                yardstick=row.policy in plan.yardsticks,
            )
            for row in rows
        )
        views.append(LoadView(load, load * session.saturation_rps, plan.baseline, policies))
    return views


def _policy_view(
    summary: Summary, runs: Sequence[Run], base: Sequence[Run], *, position: int, yardstick: bool
) -> PolicyView:
    details = [run.details for run in runs]
    sooner, later = _changed(runs, base)
    return PolicyView(
        name=summary.policy,
        position=position,
        yardstick=yardstick,
        summary=summary,
        ttlt_s=np.mean([one.ttlt_s for one in details], axis=0),
        ttft_s=np.mean([one.ttft_s for one in details], axis=0),
        timeline=details[0].timeline,
        groups={kind: _merged([getattr(one, kind) for one in details]) for kind in KINDS},
        sooner=sooner,
        later=later,
    )


def _merged(seeds: Sequence[Sequence[Group]]) -> dict[str, Group]:
    """Groups of the same name over seeds, means weighted by their requests."""
    names = dict.fromkeys(group.name for groups in seeds for group in groups)
    merged = {}
    for name in names:
        parts = [group for groups in seeds for group in groups if group.name == name]
        weights = [part.n for part in parts]
        mean = {
            field: float(np.average([getattr(part, field) for part in parts], weights=weights))
            for field in ("mean_ttlt_s", "p99_ttlt_s", "mean_ttft_s")
        }
        merged[name] = Group(name=name, n=sum(weights), **mean)
    return merged


def _changed(runs: Sequence[Run], base: Sequence[Run]) -> tuple[float | None, float | None]:
    """Shares of the same requests that end sooner and later than under the baseline."""
    by_seed = {run.row.seed: run.details.sample_ttlt_s for run in base}
    ratios = []
    for run in runs:
        other = by_seed.get(run.row.seed)
        mine = run.details.sample_ttlt_s
        if other is not None and len(other) == len(mine):
            ratios.append(mine / np.maximum(other, 1e-9))
    if not ratios:
        return None, None
    joined = np.concatenate(ratios)
    return float((joined < 1 - NOTICEABLE).mean()), float((joined > 1 + NOTICEABLE).mean())
