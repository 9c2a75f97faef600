"""``--json``: the settings, and a row per run."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sagesched.replay.cluster.config import ClusterConfig
from sagesched.replay.result import Row
from sagesched.replay.session import Session


def settings_of(session: Session) -> dict[str, Any]:
    """Everything that decides the rows, and what went wrong."""
    plan = session.plan
    return {
        "workload": plan.workload_name,
        **{f"workload_{k}": v for k, v in asdict(plan.scenario.workload).items()},
        "step_time": plan.step_time_name,
        **asdict(plan.scenario.engine),
        "warmup": plan.scenario.warmup,
        **(_cluster(plan.scenario.cluster, plan.balances) if plan.scenario.cluster else {}),
        "policies": list(plan.policies),
        "predictors": dict(plan.predictors),
        "policy_settings": {name: dict(of) for name, of in plan.policy_settings.items() if of},
        "baseline": plan.baseline,
        "loads": sorted({row.load for row in session.rows}),
        "seeds": list(plan.seeds),
        "saturation_rps": session.saturation_rps,
        "saturation_rps_by_seed": {
            str(seed): found.offered_rps for seed, found in session.saturations.items()
        },
        "recorded_rate_rps": plan.recorded_rate_rps,
        **{f"{package}_version": version for package, version in plan.versions.items()},
        "failed": session.failures,
        "interrupted": session.interrupted,
    }


def _cluster(cluster: ClusterConfig, balances: Sequence[str]) -> dict[str, Any]:
    return {"replicas": cluster.replicas, **asdict(cluster), "balances": list(balances)}


def row_json(row: Row) -> dict[str, Any]:
    """The contract's keys in its order, then the extra ones."""
    fields = asdict(row)
    extra = fields.pop("extra")
    return {**fields, **extra}


def session_json(session: Session) -> str:
    """``{"settings": {...}, "rows": [...]}``."""
    report = {"settings": settings_of(session), "rows": [row_json(row) for row in session.rows]}
    return json.dumps(_finite(report), indent=1, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    """JSON has no infinity: a setting that is infinite becomes the text "inf"."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
