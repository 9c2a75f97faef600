"""Runs a command and ends all its processes when whoever started it is gone.

    python guard.py COMMAND [ARGUMENTS]

The command gets a process group of its own. The group is ended (SIGTERM, and SIGKILL after a
grace period) when standard input closes, which the kernel does even when the parent was killed;
when this process gets SIGTERM or SIGINT; and when the command itself has exited but left
children. One byte on standard input means: the parent leaves, the command stays.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from types import FrameType

GRACE_SECONDS = 3.0


def signal_group(group: int, number: int) -> None:
    """Send a signal to a process group that may be gone already."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        pass


def end_group(child: subprocess.Popen[bytes]) -> None:
    """Ask the group to end, and see to it."""
    signal_group(child.pid, signal.SIGTERM)
    try:
        child.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    signal_group(child.pid, signal.SIGKILL)


def watch_parent(child: subprocess.Popen[bytes]) -> None:
    """End the group when standard input closes without the byte that means "stay"."""
    if not os.read(0, 1):
        end_group(child)


def main(command: list[str]) -> int:
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)

    def on_signal(number: int, frame: FrameType | None) -> None:
        threading.Thread(target=end_group, args=(child,)).start()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    threading.Thread(target=watch_parent, args=(child,), daemon=True).start()
    status = child.wait()
    signal_group(child.pid, signal.SIGKILL)
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
