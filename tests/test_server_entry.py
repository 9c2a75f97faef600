"""Every way to start SGLang takes our policy, or says clearly why it cannot be in force."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

from cpu_engine.server import CPU_ARGS, EngineError

from .serving import engine_environment, has_gpu_kernels, model_directory, start_server

pytestmark = pytest.mark.server

ENGINE = """
import sglang

if __name__ == "__main__":
    engine = sglang.Engine(
        model_path={model!r}, schedule_policy="gittins", max_running_requests=2, log_level="error",
        enable_metrics=False, {cpu}
    )
    manager = engine.tokenizer_manager
    answers = engine.generate(["one", "two"], {{"max_new_tokens": 4, "ignore_eos": True}})
    print("tokens", [answer["meta_info"]["completion_tokens"] for answer in answers])
    service = manager._sagesched.service
    for _ in range(100):
        if service.snapshot().recorded == 2:
            break
        __import__("time").sleep(0.1)
    print("predictions", service.snapshot().predictions, "recorded", service.snapshot().recorded)
    engine.shutdown()
"""

SERVE = "import sys; from sglang.cli.main import main; sys.argv[0] = 'sglang'; main()"
SERVE_PATCHED = "import sglang.cli; sglang.cli.__path__.insert(0, {folder!r}); " + SERVE
PATCHES = Path(__file__).parent.parent / "patches"

CPU_KEYWORDS = (
    'device="cpu", attention_backend="torch_native", sampling_backend="pytorch", '
    'grammar_backend="none", max_total_tokens=65536'  # else the pool takes most of the memory
)


def run(command: list[str], **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        env=engine_environment(**env),
        timeout=300,
        check=False,
    )


def test_the_offline_engine_predicts_and_learns(tmp_path: Path) -> None:
    script = tmp_path / "engine.py"
    cpu = "" if has_gpu_kernels() else CPU_KEYWORDS
    script.write_text(ENGINE.format(model=str(model_directory()), cpu=cpu))
    result = run([str(script)], SAGESCHED_DEADLINE_MS="30000")  # a busy machine must not matter
    assert "tokens [4, 4]" in result.stdout, result.stderr[-3000:]
    assert "predictions 2 recorded 2" in result.stdout


def choices_in_help(command: list[str], **env: str) -> str:
    """The choices of ``--schedule-policy`` in what ``--help`` prints."""
    result = run([*command, "--help"], **env)
    choices = result.stdout.partition("--schedule-policy")[2].partition("}")[0]
    assert "fcfs" in choices, result.stdout[-2000:] + result.stderr[-2000:]
    return choices


def test_help_lists_the_policy() -> None:
    assert "gittins" in choices_in_help(["-m", "sglang.launch_server"])


def test_help_of_serve_lists_the_policy_once_patched(tmp_path: Path) -> None:
    """``sglang serve --help`` loads no plug-ins: the one thing here that needs a patch."""
    (patch,) = PATCHES.glob(f"sglang-{version('sglang')}-serve-help-*.patch")
    spec = find_spec("sglang")
    assert spec is not None
    assert spec.origin is not None
    released = Path(spec.origin).parent / "cli"
    patched = tmp_path / "sglang" / "cli"
    shutil.copytree(released, patched)
    applied = ["git", "apply", "--verbose", str(patch)]  # exact: git allows no fuzz
    done = subprocess.run(applied, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "offset" not in done.stderr
    serve = SERVE_PATCHED.format(folder=str(patched))
    assert "gittins" in choices_in_help(["-c", serve, "serve"])


def test_sglang_serve_accepts_the_policy() -> None:
    """``sglang serve`` parses its arguments elsewhere than ``launch_server``; stop after that."""
    cpu = [] if has_gpu_kernels() else list(CPU_ARGS)
    model = ["--model-path", str(model_directory())]
    stop = ["--tokenizer-worker-num", "0"]
    result = run(["-c", SERVE, "serve", *model, *cpu, "--schedule-policy", "gittins", *stop])
    assert "Tokenizer worker num must >= 1" in result.stderr, result.stderr[-2000:]
    assert "invalid choice" not in result.stderr


def test_a_broken_hook_stops_the_server(tmp_path: Path) -> None:
    """Another plug-in replaces a function that we hook by one with other parameters."""
    dist = tmp_path / "breaker-1.0.dist-info"
    dist.mkdir()
    (dist / "METADATA").write_text("Metadata-Version: 2.1\nName: breaker\nVersion: 1.0\n")
    (dist / "entry_points.txt").write_text("[sglang.srt.plugins]\nbreaker = breaker:register\n")
    (tmp_path / "breaker.py").write_text(
        "def register():\n"
        "    from sglang.srt.managers.scheduler import Scheduler\n"
        "    Scheduler.get_new_batch_prefill = lambda self, somebody_elses: None\n"
    )
    server = start_server("--schedule-policy", "gittins", env={"PYTHONPATH": str(tmp_path)})
    with pytest.raises(EngineError):
        server.start()
    log = server.log_path.read_text(errors="replace")
    server.stop()
    for part in ("Scheduler.get_new_batch_prefill: expected parameters", "sagesched doctor"):
        assert part in log


@pytest.mark.parametrize(
    ("args", "env", "said"),
    [
        ([], {"SAGESCHED_DIAL": "fast"}, "SAGESCHED_DIAL='fast'"),
        ([], {"SAGESCHED_EMBEDDER": "oracle"}, "oracle"),
        (
            ["--schedule-policy", "lpm"],
            {"SAGESCHED_SHADOW": "1"},
            "SAGESCHED_SHADOW=1 compares gittins with fcfs, not with lpm",
        ),
    ],
    ids=["setting", "embedder", "shadow"],
)
def test_what_cannot_be_in_force_stops_the_server(
    args: list[str], env: dict[str, str | None], said: str
) -> None:
    server = start_server("--schedule-policy", "gittins", *args, env=env)
    with pytest.raises(EngineError):
        server.start()
    assert said in server.log_path.read_text(errors="replace")
    server.stop()
