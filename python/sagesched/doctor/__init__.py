"""``sagesched doctor``: can this environment serve with our policy, and if not, why not?"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict

from sagesched._version import __version__
from sagesched.doctor import engine, environment
from sagesched.doctor.finding import Finding


def main(*, as_json: bool = False) -> int:
    """Print the report; 1 when a finding is fatal, else 0."""
    logging.getLogger("sglang").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        findings = list(examine())
    print(_as_json(findings) if as_json else _as_text(findings))
    return int(any(finding.fatal for finding in findings))


def examine() -> Iterator[Finding]:
    """All findings, cheap ones first; a check that breaks becomes a finding itself."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        _package,
        _kernel,
        environment.variables,
        environment.embedding,
        environment.neighbour_index,
        environment.history,
        engine.sglang,
        engine.patches,
        engine.hooks,
        engine.admission,
        engine.larry,
    ]
    for check in checks:
        try:
            yield from check()
        except Exception as error:
            name = check.__name__.strip("_").replace("_", " ")
            reason = f"{type(error).__name__}: {error}"
            yield Finding(name, "broken", f"this check failed: {reason}", fatal=True)


def _package() -> Iterator[Finding]:
    yield Finding("sagesched", __version__)


def _kernel() -> Iterator[Finding]:
    from sagesched.cost import CostModel
    from sagesched.gittins import gittins_index, simd_level

    if (
        "SAGESCHED_SIMD" in environment.read_environment()[1]
    ):  # the kernel reads it, too, and computes nothing
        yield Finding("index kernel", "not verified: see SAGESCHED_SIMD")
        return
    per_token = CostModel(token=1.0, memory=0.0)
    two_point = float(gittins_index([[1.0, 1.0, 1.0]], [50, 55, 200], 0, 0, cost=per_token)[0])
    right = abs(two_point - 80.0) < 1e-9
    yield Finding(
        "index kernel",
        f"{simd_level()}, " + ("verified" if right else f"WRONG: {two_point} in place of 80"),
        "" if right else "the compiled core is damaged; reinstall sagesched",
        fatal=not right,
    )


def _as_text(findings: list[Finding]) -> str:
    lines = []
    for finding in findings:
        mark = "FAIL" if finding.fatal else "note" if finding.advice else " ok "
        lines.append(f"[{mark}] {finding.subject}: {finding.state}")
        if finding.advice:
            lines.append(f"       -> {finding.advice}")
    lines.append(_in_short(sum(finding.fatal for finding in findings)))
    return "\n".join(lines)


def _in_short(problems: int) -> str:
    """The last line: what to serve with, or what would be refused."""
    from sagesched.plugin.settings import FORECAST, LARRY, POLICY, SHADOW, STOCK

    settings, _ = environment.read_environment()
    policy = STOCK if settings.shadow else POLICY
    if problems:
        beside = f" beside {SHADOW}=1" if settings.shadow else ""
        return f"{problems} problem(s): --schedule-policy {policy} would be refused{beside}."
    if settings.shadow:
        return f"All well, for a shadow: sglang serve ... --schedule-policy {policy}"
    other = "" if settings.admission == FORECAST else f", or {LARRY}"
    return f"All well: sglang serve ... --schedule-policy {policy}{other}"


def _as_json(findings: list[Finding]) -> str:
    ok = not any(finding.fatal for finding in findings)
    return json.dumps({"ok": ok, "findings": [asdict(finding) for finding in findings]}, indent=2)
