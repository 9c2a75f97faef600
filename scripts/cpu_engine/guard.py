"""Runs a command and ends all its processes when whoever started it is gone.

    python guard.py COMMAND [ARGUMENTS]

The command gets a process group of its own. It is interrupted, and after a grace period its
whole group killed, when standard input closes, which the kernel does even when the parent was
killed, and when this process gets SIGTERM or SIGINT. Children that the command leaves behind are
killed too. One byte on standard input means: the parent leaves, the command stays.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from types import FrameType

GRACE_SECONDS = 3.0


def kill_group(group: int, grace: float) -> None:
    """SIGKILL to a process group that does not become empty by itself in ``grace`` seconds."""
    deadline = time.monotonic() + grace
    with contextlib.suppress(ProcessLookupError):  # it is empty
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            time.sleep(0.05)
        os.killpg(group, signal.SIGKILL)


def end_command(child: subprocess.Popen[bytes]) -> None:
    """Interrupt the command (its children would take a SIGINT of their own for a crash)."""
    child.send_signal(signal.SIGINT)
    try:
        child.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        kill_group(child.pid, grace=0)


def watch_parent(child: subprocess.Popen[bytes]) -> None:
    """End the command when standard input closes without the byte that means "stay"."""
    if not os.read(0, 1):
        end_command(child)


def main(command: list[str]) -> int:
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)

    def on_signal(number: int, frame: FrameType | None) -> None:
        threading.Thread(target=end_command, args=(child,)).start()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    threading.Thread(target=watch_parent, args=(child,), daemon=True).start()
    status = child.wait()
    kill_group(child.pid, grace=1.0)  # time for Python's resource tracker to tidy up
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
