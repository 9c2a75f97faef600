"""What of SGLang is there, and which of our hooks are in force in it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from sagesched.doctor.environment import read_environment
from sagesched.doctor.finding import Finding

if TYPE_CHECKING:
    from sagesched.plugin.hook import Hook

PATCH = "serve-help-loads-plugins"
"""The one seam in ``patches/``, for each supported release."""


def sglang() -> Iterator[Finding]:
    from sagesched.plugin.versions import SUPPORTED, advice, sglang_version

    version = sglang_version()
    if version is None:
        what = f"install it as SGLang's documentation says; tested: {', '.join(SUPPORTED)}"
        yield Finding("SGLang", "not installed", what, fatal=True)
    elif version in SUPPORTED:
        yield Finding("SGLang", f"{version}, supported")
    else:
        allowed = read_environment()[0].allow_untested_sglang
        yield Finding("SGLang", f"{version}, not tested", advice(version), fatal=not allowed)


def patches() -> Iterator[Finding]:
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


def hooks() -> Iterator[Finding]:
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


def admission() -> Iterator[Finding]:
    from sagesched.plugin.settings import FORECAST, STOCK_RESERVE
    from sagesched.plugin.versions import sglang_version

    if sglang_version() is None:
        return
    from sglang.srt.managers.schedule_policy import PrefillAdder
    from sglang.srt.managers.scheduler import Scheduler

    from sagesched.plugin.adder import can_reserve

    wanted = read_environment()[0].admission
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


def larry() -> Iterator[Finding]:
    """Whether it can be served, too; it fails with gittins, or by a setting that is for gittins."""
    from sagesched.plugin.errors import NotInForceError
    from sagesched.plugin.settings import FORECAST, LARRY, SHADOW
    from sagesched.plugin.table import HOOKS
    from sagesched.plugin.verify import require_in_force
    from sagesched.plugin.versions import sglang_version

    if sglang_version() is None:
        return
    settings, bad = read_environment()
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
    count = len(HOOKS) - len(_of_gittins_alone())
    how = f"in force, by the {count} hooks that are not for gittins alone; nothing is predicted. "
    yield Finding(what, f"{how}{dial}memory demand alone (docs/larry.md)")
