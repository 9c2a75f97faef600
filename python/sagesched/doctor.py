"""``sagesched doctor``: can this environment serve with our policy, and if not, why not?"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from sagesched._version import __version__

if TYPE_CHECKING:
    from sagesched.plugin.hook import Hook
    from sagesched.plugin.settings import Settings

PATCH = "serve-help-loads-plugins"
"""The one seam in ``patches/``, for each supported release."""


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
        _patches,
        _hooks,
        _admission,
        _larry,
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

    if "SAGESCHED_SIMD" in _environment()[1]:  # the kernel reads it, too, and computes nothing
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


def _settings() -> Iterator[Finding]:
    from sagesched.plugin.settings import VARIABLES

    settings, bad = _environment()
    cost = settings.cost or "from the engine's pool and slots"
    deadline = f"{settings.deadline_s * 1000:g} ms"
    shadow = "; a shadow, for --schedule-policy fcfs only" if settings.shadow else ""
    wrong = "; what is malformed is taken as not set" if bad else ""
    what = f"dial {settings.dial:g}; cost {cost}; deadline {deadline}{shadow}{wrong}"
    yield Finding("settings", what)
    for name, described in VARIABLES.items():
        meaning, default = _without_default(described)
        value = os.environ.get(name, "").strip()
        shown = f"{name}={value if value.isprintable() else repr(value)}" if value else name
        subject = f"  {shown} ({default})"
        if name in bad:
            wrong = bad[name].removeprefix(f"{name}={value!r}").removeprefix(name).lstrip(": ")
            yield Finding(subject, wrong, "set it right, or unset it", fatal=True)
        else:
            yield Finding(subject, meaning)
    for name in sorted(bad.keys() - VARIABLES.keys()):
        yield Finding(f"  {name}", "unknown", "known are those above: is it misspelt?", fatal=True)


def _environment() -> tuple[Settings, Mapping[str, str]]:
    """The settings, and of each variable that is malformed or unknown what is wrong with it.

    One of them counts as not set, so that the other checks have something to look at.
    """
    from sagesched.plugin.settings import read_settings

    good: dict[str, str] = {}
    bad: dict[str, str] = {}
    for name in sorted(os.environ):
        if name.startswith("SAGESCHED_"):
            one = {name: os.environ[name]}
            try:
                read_settings(one)
                good |= one
            except ValueError as error:
                bad[name] = str(error)
    return read_settings(good), bad


def _without_default(described: str) -> tuple[str, str]:
    """A variable's meaning, and the remark on its default that ends it."""
    meaning, found, default = described.rpartition(" (default")
    if not found or not default.endswith(")"):
        return described, "not set by default"
    return meaning, f"default{default[:-1]}"


def _embedder() -> Iterator[Finding]:
    from sagesched.predict import make_embedder
    from sagesched.predict.registry import SERVED_MODEL

    wanted = _environment()[0].embedder
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
    from sagesched.predict.history import EXACT_UP_TO

    if _environment()[0].history_records <= EXACT_UP_TO:
        yield Finding("neighbour index", "exact")
        return
    found = find_spec("faiss") is not None
    yield Finding(
        "neighbour index",
        "by sketches, with FAISS" if found else "exact",
        "" if found else "with FAISS it is faster: pip install 'sagesched[predict]'",
    )


def _history() -> Iterator[Finding]:
    settings, _ = _environment()
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
    from sagesched.plugin.versions import SUPPORTED, advice, sglang_version

    version = sglang_version()
    if version is None:
        what = f"install it as SGLang's documentation says; tested: {', '.join(SUPPORTED)}"
        yield Finding("SGLang", "not installed", what, fatal=True)
    elif version in SUPPORTED:
        yield Finding("SGLang", f"{version}, supported")
    else:
        allowed = _environment()[0].allow_untested_sglang
        yield Finding("SGLang", f"{version}, not tested", advice(version), fatal=not allowed)


def _patches() -> Iterator[Finding]:
    from sagesched.plugin.versions import SUPPORTED, sglang_version

    version = sglang_version()
    spec = find_spec("sglang")
    if version is None or spec is None or spec.origin is None:
        return
    serve = Path(spec.origin).parent / "cli" / "serve.py"
    subject = f"patch {PATCH}"
    if help_loads_plugins(serve.read_text() if serve.exists() else ""):
        yield Finding(subject, "applied, or not needed: `sglang serve --help` lists our policies")
        return
    state = "not applied" if version in SUPPORTED else f"there is none for SGLang {version}"
    without = "`sglang serve --help` does not list our policies, all else works"
    yield Finding(subject, f"{state}, optional: without it {without} (patches/README.md)")


def help_loads_plugins(serve: str) -> bool:
    """Whether this text of ``sglang/cli/serve.py`` loads plug-ins before it prints its help."""
    body = serve.partition("\ndef serve(")[2]
    return 0 <= body.find("load_plugins()") < body.find('"--help"')


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
    predicting = _of_gittins_alone()
    for state in states:
        name = state.hook.target.removeprefix("sglang.srt.")
        if state.problem is None:
            whose = ", for gittins alone" if state.hook in predicting else ""
            yield Finding(f"hook {name}", f"in force{whose}: {state.hook.reason}")
        else:
            what = "install a tested SGLang"
            yield Finding(f"hook {name}", f"NOT in force: {state.problem}", what, fatal=True)
    yield _balance()


def _of_gittins_alone() -> tuple[Hook, ...]:
    """The hooks that do nothing where nothing is predicted."""
    from sagesched.plugin.hooks import abort, front_end, outcome, predict_request, retraction

    learning = outcome.OUTPUT, outcome.ABORT, front_end.OUTPUT
    starting = front_end.START, front_end.RECEIVED
    predicting = predict_request.ONE, predict_request.BATCH, abort.HOOK
    return (*predicting, retraction.HOOK, *learning, *starting)


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
    from sagesched.plugin.settings import FORECAST, STOCK_RESERVE
    from sagesched.plugin.versions import sglang_version

    if sglang_version() is None:
        return
    from sglang.srt.managers.schedule_policy import PrefillAdder
    from sglang.srt.managers.scheduler import Scheduler

    from sagesched.plugin.adder import can_reserve

    wanted = _environment()[0].admission
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


def _larry() -> Iterator[Finding]:
    """Whether it can be served, too; it fails with gittins, or by a setting that is for gittins."""
    from sagesched.plugin.errors import NotInForceError
    from sagesched.plugin.settings import FORECAST, LARRY, SHADOW
    from sagesched.plugin.table import HOOKS
    from sagesched.plugin.verify import require_in_force
    from sagesched.plugin.versions import sglang_version

    if sglang_version() is None:
        return
    settings, bad = _environment()
    what = f"--schedule-policy {LARRY}"
    if settings.shadow:
        yield Finding(what, f"would be refused: there is no shadow for it; unset {SHADOW}")
        return
    if settings.admission == FORECAST:
        yield Finding(what, "would be refused: SAGESCHED_ADMISSION=forecast is for gittins")
        return
    try:
        if bad:
            raise NotInForceError(", ".join(bad))
        require_in_force(settings, LARRY)
    except NotInForceError:
        yield Finding(what, "would be refused, too, for what is said above")
        return
    dial = f"SAGESCHED_DIAL is {settings.dial:g}: 0 is first come first served, inf the order of "
    hooks = len(HOOKS) - len(_of_gittins_alone())
    how = f"in force, by the {hooks} hooks that are not for gittins alone; nothing is predicted. "
    yield Finding(what, f"{how}{dial}memory demand alone (docs/larry.md)")


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

    settings, _ = _environment()
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
