"""``sagesched doctor``: can this environment serve with our policy, and if not, why not?"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from sagesched._version import __version__


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        subject: what was looked at.
        state: what was found.
        advice: what to do about it; empty when all is well.
        fatal: whether the policy cannot be in force with this.
    """

    subject: str
    state: str
    advice: str = ""
    fatal: bool = False


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
        _settings,
        _embedder,
        _neighbour_index,
        _history,
        _sglang,
        _hooks,
        _admission,
    ]
    settings_are_bad = False
    for check in checks:
        try:
            yield from check()
        except Exception as error:
            if check is not _settings and isinstance(error, ValueError) and settings_are_bad:
                continue  # said once is enough
            settings_are_bad = settings_are_bad or check is _settings
            name = check.__name__.strip("_").replace("_", " ")
            reason = f"{type(error).__name__}: {error}"
            yield Finding(name, "broken", f"this check failed: {reason}", fatal=True)


def _package() -> Iterator[Finding]:
    yield Finding("sagesched", __version__)


def _kernel() -> Iterator[Finding]:
    from sagesched.cost import CostModel
    from sagesched.gittins import gittins_index, simd_level

    per_token = CostModel(token=1.0, memory=0.0)
    two_point = float(gittins_index([[1.0, 1.0, 1.0]], [50, 55, 200], 0, 0, cost=per_token)[0])
    right = abs(two_point - 80.0) < 1e-9
    yield Finding(
        "index kernel",
        f"{simd_level()}, " + ("verified" if right else f"WRONG: {two_point} in place of 80"),
        "" if right else "the compiled core is damaged; reinstall sagesched",
        fatal=not right,
    )


def _settings() -> Iterator[Finding]:
    from sagesched.plugin.settings import VARIABLES, read_settings

    settings = read_settings()
    cost = settings.cost or "from the engine's pool and slots"
    deadline = f"{settings.deadline_s * 1000:g} ms"
    shadow = "; a shadow, for --schedule-policy fcfs only" if settings.shadow else ""
    yield Finding("settings", f"dial {settings.dial:g}; cost {cost}; deadline {deadline}{shadow}")
    for name, meaning in VARIABLES.items():
        yield Finding(f"  {name}", meaning)


def _embedder() -> Iterator[Finding]:
    from sagesched.plugin.settings import read_settings
    from sagesched.predict import make_embedder
    from sagesched.predict.registry import SERVED_MODEL

    wanted = read_settings().embedder
    if wanted == SERVED_MODEL:
        yield Finding("embedder", "the served model's input embeddings, read when it is served")
        return
    embedder = make_embedder(wanted)
    fell_back = wanted == "auto" and embedder.name != "wordllama"
    yield Finding(
        "embedder",
        f"{embedder.name}, {embedder.dim} dimensions",
        "predictions are better with WordLlama: pip install 'sagesched[predict]'"
        if fell_back
        else "",
    )


def _neighbour_index() -> Iterator[Finding]:
    from importlib.util import find_spec

    from sagesched.plugin.settings import read_settings
    from sagesched.predict.history import EXACT_UP_TO

    if read_settings().history_records <= EXACT_UP_TO:
        yield Finding("neighbour index", "exact")
        return
    found = find_spec("faiss") is not None
    yield Finding(
        "neighbour index",
        "by sketches, with FAISS" if found else "exact",
        "" if found else "with FAISS it is faster: pip install 'sagesched[predict]'",
    )


def _history() -> Iterator[Finding]:
    from sagesched.plugin.settings import read_settings

    settings = read_settings()
    records, file = settings.history_records, settings.history_file
    if file is None:
        yield Finding("history", f"in the server's memory, up to {records} requests; starts empty")
        return
    text = "with" if settings.store_prompts else "without"
    state = f"{file}, {text} prompts; up to {records} requests of it are learned at the start"
    ready = file.parent.is_dir() and os.access(file.parent, os.W_OK)
    what = f"make the folder {file.parent}, writable for who runs the server"
    yield Finding("history", state, "" if ready else what)


def _sglang() -> Iterator[Finding]:
    from sagesched.plugin.settings import read_settings
    from sagesched.plugin.versions import SUPPORTED, advice, sglang_version

    version = sglang_version()
    if version is None:
        what = f"install it as SGLang's documentation says; tested: {', '.join(SUPPORTED)}"
        yield Finding("SGLang", "not installed", what, fatal=True)
    elif version in SUPPORTED:
        yield Finding("SGLang", f"{version}, supported")
    else:
        allowed = read_settings().allow_untested_sglang
        yield Finding("SGLang", f"{version}, not tested", advice(version), fatal=not allowed)


def _hooks() -> Iterator[Finding]:
    from sagesched.plugin.versions import sglang_version

    if sglang_version() is None:
        return
    from sglang.srt.plugins import load_plugins

    from sagesched.plugin.verify import hook_states

    load_plugins()
    states = hook_states()
    if all(state.problem is not None for state in states):
        what = "SGLANG_PLUGINS, if set, must name sagesched; otherwise reinstall sagesched"
        yield Finding("hooks", f"NOT in force, none of {len(states)}", what, fatal=True)
        return
    for state in states:
        name = state.hook.target.removeprefix("sglang.srt.")
        if state.problem is None:
            yield Finding(f"hook {name}", f"in force: {state.hook.reason}")
        else:
            what = "install a tested SGLang"
            yield Finding(f"hook {name}", f"NOT in force: {state.problem}", what, fatal=True)
    yield _balance()


def _balance() -> Finding:
    """Of ``--load-balance-method``; without it ``--schedule-policy`` is still served."""
    from sagesched.plugin.balance_method import METHODS
    from sagesched.plugin.releases import controller_loads_plugins
    from sagesched.plugin.table import BALANCE_HOOKS
    from sagesched.plugin.verify import hook_states

    what = f"--load-balance-method {', '.join(METHODS)}"
    broken = [state for state in hook_states(BALANCE_HOOKS) if state.problem is not None]
    if broken:
        first = broken[0]
        state = f"would be refused: {first.hook.target}: {first.problem}"
    elif not controller_loads_plugins():
        state = "would be refused: this SGLang's data-parallel controller loads no plug-ins"
    else:
        return Finding(what, f"can be in force, {len(BALANCE_HOOKS)} hooks")
    return Finding(what, state, "install SGLang 0.5.23, or use `sagesched route`")


def _admission() -> Iterator[Finding]:
    from sagesched.plugin.settings import FORECAST, STOCK_RESERVE, read_settings
    from sagesched.plugin.versions import sglang_version

    if sglang_version() is None:
        return
    from sglang.srt.managers.schedule_policy import PrefillAdder
    from sglang.srt.managers.scheduler import Scheduler

    from sagesched.plugin.adder import can_reserve

    wanted = read_settings().admission
    seam = hasattr(Scheduler, "get_prefill_adder_class") and can_reserve(lambda: PrefillAdder)
    if wanted == STOCK_RESERVE:
        yield Finding("admission", "SGLang's own reserve, as set")
    elif seam:
        where = (
            "where the server has one plain pool of KV memory, no priority scheduling, no "
            "speculative decoding, no --disaggregation-mode, and --pp-size 1"
        )
        yield Finding("admission", f"memory reserved by forecast under gittins, {where}")
    else:
        what = "this release has no place for a forecast; all else works. 0.5.23 has one"
        yield Finding("admission", "SGLang's own reserve", what, fatal=wanted == FORECAST)


def _as_text(findings: list[Finding]) -> str:
    lines = []
    for finding in findings:
        mark = "FAIL" if finding.fatal else "note" if finding.advice else " ok "
        lines.append(f"[{mark}] {finding.subject}: {finding.state}")
        if finding.advice:
            lines.append(f"       -> {finding.advice}")
    bad = sum(finding.fatal for finding in findings)
    lines.append(
        f"{bad} problem(s): --schedule-policy gittins would be refused."
        if bad
        else "All well: sglang serve ... --schedule-policy gittins"
    )
    return "\n".join(lines)


def _as_json(findings: list[Finding]) -> str:
    ok = not any(finding.fatal for finding in findings)
    return json.dumps({"ok": ok, "findings": [asdict(finding) for finding in findings]}, indent=2)
