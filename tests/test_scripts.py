"""The scripts a newcomer types, and what the tiny model is made of."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cpu_engine import eos_at, make_model
from cpu_engine.server import EngineServer, free_port
from environment.machine import SetupError, check_compiler, check_disk, find_user_sglang
from environment.steps import Stamp, Step, keys_of, run_steps

ROOT = Path(__file__).resolve().parent.parent
SHELL = [p for p in (*(ROOT / "scripts").iterdir(), ROOT / ".ci" / "run") if p.is_file()]


def run(*command: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | env,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("script", SHELL, ids=lambda path: path.name)
def test_shell_scripts_are_sound(script: Path) -> None:
    assert os.access(script, os.X_OK)
    text = script.read_text()
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "\nset -euo pipefail\n" in text
    assert run("bash", "-n", script).stderr == ""


def test_setup_explains_itself() -> None:
    done = run(ROOT / "scripts" / "setup", "--help")
    assert done.returncode == 0
    assert "--force" in done.stdout
    assert "SAGESCHED_VENV" in done.stdout


def test_a_second_setup_has_nothing_to_do() -> None:
    if not Path(sys.prefix, "sagesched-setup.json").exists():
        pytest.skip("this environment was not made by scripts/setup")
    if run(ROOT / "scripts" / "setup", "--check", SAGESCHED_VENV=sys.prefix).returncode:
        pytest.skip("this environment is out of date; run scripts/setup")
    done = run(ROOT / "scripts" / "setup", SAGESCHED_VENV=sys.prefix)
    assert done.returncode == 0, done.stderr
    assert "is up to date" in done.stdout
    assert "done in" not in done.stdout


def test_setup_tells_what_is_out_of_date(tmp_path: Path) -> None:
    done = run(ROOT / "scripts" / "setup", "--check", SAGESCHED_VENV=str(tmp_path / "none yet"))
    assert done.returncode == 1
    assert "the virtual environment" in done.stderr
    assert list(tmp_path.iterdir()) == [], "--check changes nothing"


def test_setup_installs_tested_releases_only(tmp_path: Path) -> None:
    setup, folder = ROOT / "scripts" / "setup", str(tmp_path / "none yet")
    for done in (
        run(setup, "--check", "--sglang", "0.4.0", SAGESCHED_VENV=folder),
        run(setup, "--check", SAGESCHED_SGLANG="0.4.0", SAGESCHED_VENV=folder),
    ):
        assert done.returncode == 2
        assert "0.5.20" in done.stderr
        assert "0.5.23" in done.stderr
    known = run(setup, "--check", SAGESCHED_SGLANG="0.5.20", SAGESCHED_VENV=folder)
    assert (known.returncode, "out of date" in known.stderr) == (1, True)


def test_setup_leaves_a_folder_alone_that_is_no_environment(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("draft")
    done = run(ROOT / "scripts" / "setup", "--force", SAGESCHED_VENV=str(tmp_path))
    assert done.returncode == 1
    assert "is not a virtual environment" in done.stderr
    assert (tmp_path / "thesis.txt").read_text() == "draft"


def test_setup_without_a_suitable_python_says_which(tmp_path: Path) -> None:
    for tool in ("bash", "dirname", "env"):
        found = shutil.which(tool)
        assert found
        (tmp_path / tool).symlink_to(found)
    done = run(ROOT / "scripts" / "setup", PATH=str(tmp_path))
    assert done.returncode == 1
    assert "3.11" in done.stderr
    assert "apt install" in done.stderr


def test_no_compiler_and_no_room_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(SetupError, match="apt install g\\+\\+"):
        check_compiler()
    with pytest.raises(SetupError, match="SAGESCHED_VENV"):
        check_disk(tmp_path / "not" / "there", needed_gib=1e9)


def make_executable(path: Path, text: str) -> None:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)


@pytest.mark.parametrize(("gpu", "sglang"), [(True, True), (True, False), (False, True)])
def test_the_users_sglang_is_used_only_with_a_gpu(
    gpu: bool, sglang: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_executable(tmp_path / "nvidia-smi", "echo 'GPU 0: A big one'" if gpu else "exit 9")
    described = json.dumps(["9.9", "/theirs", {"sglang": "9.9"}, ["/theirs/site-packages"]])
    make_executable(tmp_path / "python3", f"echo '{described}'" if sglang else "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    found = find_user_sglang(tmp_path / "venv")
    if gpu and sglang:
        assert found is not None
        assert (found.version, found.folders) == ("9.9", ["/theirs/site-packages"])
        assert find_user_sglang(Path("/theirs")) is None, "our own environment is not the user's"
    else:
        assert found is None


def test_steps_run_again_from_the_first_that_changed(tmp_path: Path) -> None:
    ran: list[str] = []
    source = tmp_path / "source"
    source.write_text("1")

    def steps(second: str) -> list[Step]:
        inputs: list[list[str | Path]] = [["a"], [second], [source]]
        return [Step(n, i, lambda n=n: ran.append(n)) for n, i in zip("abc", inputs, strict=True)]

    stamp = Stamp(tmp_path / "stamp.json")
    assert run_steps(steps("b"), stamp) == 3
    assert run_steps(steps("b"), stamp) == 0
    assert run_steps(steps("B"), stamp) == 2
    source.write_text("2")
    assert run_steps(steps("B"), stamp) == 1
    assert "".join(ran) == "abcbcc"
    stamp.path.write_text("[not json")
    assert run_steps(steps("B"), stamp) == 3


def test_a_failed_step_is_where_the_next_run_goes_on(tmp_path: Path) -> None:
    def fail() -> None:
        raise SetupError("no network")

    stamp = Stamp(tmp_path / "stamp.json")
    good = Step("good", ["1"], lambda: None)
    with pytest.raises(SetupError):
        run_steps([good, Step("bad", ["2"], fail)], stamp)
    assert stamp.done() == keys_of([good])
    assert run_steps([good, Step("bad", ["2"], lambda: None)], stamp) == 1


def test_the_tree_names_no_machine() -> None:
    listed = run("git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    places = "|".join(
        ["/" + "work/", "/" + "root/", "/" + "home/", r"\.py" + "env", "/opt/" + "(py|wh)"]
    )
    hosts = "|".join([r"pypi\." + "org", r"pythonhosted\." + "org", r"download\." + "pytorch"])
    pattern = re.compile(f"{places}|{hosts}")
    found = []
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.is_file():
            lines = path.read_text(errors="ignore").splitlines()
            found += [f"{name}:{n}" for n, line in enumerate(lines, 1) if pattern.search(line)]
    assert found == []


def test_the_tiny_model_is_the_same_each_time(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers", reason="the CPU engine is not installed")
    digests = []
    for name in ("one", "two"):
        done = run(sys.executable, make_model.__file__, tmp_path / name)
        assert done.returncode == 0, done.stderr
        files = sorted((tmp_path / name).iterdir())
        digests.append([(f.name, hashlib.sha256(f.read_bytes()).hexdigest()) for f in files])
    assert digests[0] == digests[1]
    assert {"model.safetensors", "tokenizer.json"} <= {name for name, _ in digests[0]}


def test_a_model_does_not_replace_other_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make_model, "_write_tokenizer", lambda folder: None)
    monkeypatch.setattr(make_model, "_write_weights", lambda folder: (folder / "x").touch())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(FileExistsError, match="name another directory"):
        make_model.make_model(tmp_path / "mine")
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_special_tokens_have_the_ids_that_requests_name() -> None:
    assert make_model.SPECIAL_TOKENS[make_model.EOS_ID] == "</s>"
    with pytest.raises(ValueError, match="at least 1"):
        eos_at.eos_at_params(0, eos=2)


def test_the_replay_processor_travels_by_name() -> None:
    by_name = bytes.fromhex(json.loads(eos_at.EosAt.to_str())["callable"])
    assert pickle.loads(by_name) is eos_at.EosAt


def test_a_servers_command_and_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SGLANG_CPU_OMP_THREADS_BIND", raising=False)
    monkeypatch.setenv("UNWANTED", "1")
    server = EngineServer(tmp_path, ["--dp", "2"], {"UNWANTED": None, "WANTED": "2"}, port=4000)
    command, env = server.command(), server.environment()
    assert command[-2:] == ["--dp", "2"], "the caller's arguments come last and win"
    assert command[command.index("--device") + 1] == "cpu"
    assert "UNWANTED" not in env
    assert env["WANTED"] == "2"
    assert env["SGLANG_CPU_OMP_THREADS_BIND"].count("|") == 1
    on_gpu = EngineServer(tmp_path, cpu=False)
    assert "--device" not in on_gpu.command()
    assert "SGLANG_USE_CPU_ENGINE" not in on_gpu.environment()
    assert not server.running
    server.stop()
    assert 20_000 <= free_port() < 30_000
