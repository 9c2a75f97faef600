"""No process of a server outlives whoever started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cpu_engine.server import GUARD

# A command with a child that ignores polite signals; both ids go to a file.
STUBBORN = """
import os, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c",
    "import signal, time; [signal.signal(s, signal.SIG_IGN) for s in (1, 2, 15)]; "
    "print('deaf', flush=True); time.sleep(600)"], stdout=subprocess.PIPE)
child.stdout.readline()
open(sys.argv[1] + ".part", "w").write(f"{os.getpid()} {child.pid}")
os.rename(sys.argv[1] + ".part", sys.argv[1])
if sys.argv[2] == "stay":
    time.sleep(600)
"""


@pytest.fixture
def ids(tmp_path: Path) -> Iterator[Path]:
    """The file of the process ids; whatever a failed test leaves is ended."""
    path = tmp_path / "ids"
    yield path
    for pid in map(int, path.read_text().split()):
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


def start_guarded(ids: Path, mode: str = "stay") -> subprocess.Popen[bytes]:
    command = [sys.executable, str(GUARD), sys.executable, "-c", STUBBORN, str(ids), mode]
    guard = subprocess.Popen(command, stdin=subprocess.PIPE)
    wait_for(ids.exists)
    return guard


def wait_for(condition: object, seconds: float = 60.0) -> None:
    """Poll; the generous limit only ends a test that fails."""
    deadline = time.monotonic() + seconds
    assert callable(condition)
    while not condition():
        assert time.monotonic() < deadline, f"{condition} did not become true"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Whether a process exists and is more than an entry that nobody has collected yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def all_gone(ids: Path) -> bool:
    return not any(map(alive, map(int, ids.read_text().split())))


def close(guard: subprocess.Popen[bytes]) -> None:
    assert guard.stdin is not None
    guard.stdin.close()


def test_closing_the_input_ends_everything(ids: Path) -> None:
    guard = start_guarded(ids)
    assert not all_gone(ids)
    close(guard)
    guard.wait()
    wait_for(lambda: all_gone(ids))


def test_a_killed_parent_takes_everything_along(ids: Path) -> None:
    guard = [str(GUARD), sys.executable, "-c", STUBBORN, str(ids), "stay"]
    code = (
        "import subprocess, sys, time; "
        "guard = subprocess.Popen([sys.executable, *sys.argv[1:]], stdin=subprocess.PIPE); "
        "time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, *guard])
    wait_for(ids.exists)
    parent.kill()
    parent.wait()
    wait_for(lambda: all_gone(ids))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_guard_ends_everything(ids: Path, number: signal.Signals) -> None:
    guard = start_guarded(ids)
    guard.send_signal(number)
    guard.wait()
    wait_for(lambda: all_gone(ids))
    close(guard)


def test_children_of_a_command_that_exits_are_ended(ids: Path) -> None:
    guard = start_guarded(ids, "leave")
    assert guard.wait() == 0
    wait_for(lambda: all_gone(ids))
    close(guard)


def test_a_detached_command_stays_until_the_guard_gets_a_signal(ids: Path) -> None:
    guard = start_guarded(ids)
    assert guard.stdin is not None
    guard.stdin.write(b"k")
    close(guard)
    with pytest.raises(subprocess.TimeoutExpired):
        guard.wait(0.5)
    assert not all_gone(ids)
    guard.terminate()
    guard.wait()
    wait_for(lambda: all_gone(ids))


def test_the_exit_status_is_the_commands() -> None:
    command = [sys.executable, str(GUARD), sys.executable, "-c", "raise SystemExit(7)"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as guard:
        assert guard.wait() == 7
