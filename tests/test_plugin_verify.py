"""A policy that cannot be in force stops the server with a message that helps."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from sagesched.plugin.errors import NotInForceError
from sagesched.plugin.hook import Hook
from sagesched.plugin.modes import HEADLESS, require_supported_mode
from sagesched.plugin.settings import Settings
from sagesched.plugin.table import HOOKS

from .serving import engine_environment

pytest.importorskip("sglang", reason="SGLang is not installed")

CHECK = """
import sys
from sglang.srt.plugins import load_plugins
import sglang.srt.managers.scheduler as scheduler
{prelude}
load_plugins()
from sagesched.plugin.verify import require_in_force
from sagesched.plugin.settings import read_settings
{after}
require_in_force(read_settings())
print("in force")
"""

# Each in a process of its own, forked from one that has imported SGLang, which takes ten seconds.
CHECK_ALL = """
import json, os, pathlib, sys, traceback
from sglang.srt.plugins import load_plugins
import sglang.srt.managers.scheduler as scheduler

for name, (code, env) in json.loads(sys.argv[2]).items():
    pid = os.fork()
    if pid == 0:
        for number, stream in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(f"{sys.argv[1]}/{name}.{stream}", os.O_WRONLY | os.O_CREAT), number)
        os.environ.update(env)
        status = 1
        try:
            exec(code, {"__name__": "__main__"})
            status = 0
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    pathlib.Path(f"{sys.argv[1]}/{name}.status").write_text(str(status))
"""

TARGET = "scheduler.Scheduler._add_request_to_queue"
FAKE = "import sagesched.plugin.verify as v; v.sglang_version = lambda: '9.9.9'"


def code(prelude: str = "", after: str = "") -> str:
    return CHECK.format(prelude=prelude, after=after)


CASES: dict[str, tuple[str, dict[str, str]]] = {
    "intact": (code(), {}),
    "renamed": (code(f"del {TARGET}"), {}),
    "other-signature": (code(f"{TARGET} = lambda self, item: None"), {}),
    "removed": (code(after=f"from inspect import unwrap; {TARGET} = unwrap({TARGET})"), {}),
    "not-loaded": (code(), {"SGLANG_PLUGINS": "something-else"}),
    "untested": (code(after=FAKE), {}),
    "untested-allowed": (code(after=FAKE), {"SAGESCHED_ALLOW_UNTESTED_SGLANG": "1"}),
}


class Result(NamedTuple):
    """What became of a case."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    folder = tmp_path_factory.mktemp("checks")
    subprocess.run(
        [sys.executable, "-c", CHECK_ALL, str(folder), json.dumps(CASES)],
        env=engine_environment(),
        timeout=600,
        check=True,
    )

    def read(name: str) -> str:
        return Path(folder, name).read_text()

    return {
        name: Result(int(read(f"{name}.status")), read(f"{name}.stdout"), read(f"{name}.stderr"))
        for name in CASES
    }


def test_all_hooks_are_in_force_on_the_installed_sglang(results: dict[str, Result]) -> None:
    result = results["intact"]
    assert result.returncode == 0
    assert "in force" in result.stdout, result.stderr[-3000:]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("renamed", "the target does not exist"),
        ("other-signature", "expected parameters ('self', 'req')"),
    ],
)
def test_a_broken_target_is_named_with_versions_and_advice(
    results: dict[str, Result], name: str, expected: str
) -> None:
    result = results[name]
    assert result.returncode != 0
    assert "Scheduler._add_request_to_queue" in result.stderr
    assert expected in result.stderr
    for part in ("sagesched 0.", "SGLang 0.", "--schedule-policy", "sagesched doctor"):
        assert part in result.stderr


def test_a_hook_that_another_plugin_removed_is_noticed(results: dict[str, Result]) -> None:
    assert "our function is not bound" in results["removed"].stderr


def test_a_plugin_that_did_not_load_is_noticed(results: dict[str, Result]) -> None:
    result = results["not-loaded"]
    assert result.stderr.count("our function is not bound") == len(HOOKS)


def test_an_untested_release_is_refused_with_the_list_of_tested_ones(
    results: dict[str, Result],
) -> None:
    refused, allowed = results["untested"], results["untested-allowed"]
    assert "SGLang 9.9.9 is not tested" in refused.stderr
    assert "0.5.23" in refused.stderr
    assert "in force" in allowed.stdout, allowed.stderr[-2000:]


def test_every_hook_says_what_it_relies_on() -> None:
    assert len({hook.target for hook in HOOKS}) == len(HOOKS)
    for hook in HOOKS:
        assert hook.reason
        assert hook.parameters


def test_the_kind_of_function_is_part_of_the_contract() -> None:
    async def target(self: Any, item: Any) -> None: ...

    hook = Hook("x.y", lambda original, self, item: None, "test", ("self", "item"))
    assert "plain" in str(hook.mismatch(target))
    assert dataclasses.replace(hook, is_async=True).mismatch(target) is None


SUPPORTED_ARGS = {
    "disaggregation_mode": "null",
    "pp_size": 1,
    "grpc_mode": False,
    "smg_grpc_mode": False,
    "schedule_policy": "gittins",
}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"use_ray": True}, "--use-ray"),
        ({"dllm_algorithm": "LowConfidence"}, "--dllm-algorithm"),
    ],
)
def test_a_mode_we_cannot_serve_is_refused_by_name(change: dict[str, Any], named: str) -> None:
    require_supported_mode(SimpleNamespace(**SUPPORTED_ARGS))
    with pytest.raises(NotInForceError, match=named):
        require_supported_mode(SimpleNamespace(**{**SUPPORTED_ARGS, **change}))


def test_smgs_headless_ranks_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HEADLESS, "ipc:///somewhere")
    with pytest.raises(NotInForceError, match=HEADLESS):
        require_supported_mode(SimpleNamespace(**SUPPORTED_ARGS))


def test_default_settings_do_not_allow_an_untested_release() -> None:
    assert not Settings().allow_untested_sglang
