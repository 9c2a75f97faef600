"""scripts/setup: one virtual environment with SGLang, sagesched and the tools of development."""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import sys
import time
from pathlib import Path

from environment.machine import (
    SetupError,
    UserSglang,
    check_compiler,
    check_python,
    find_user_sglang,
)
from environment.plan import plan_cpu, plan_gpu, releases
from environment.steps import Stamp, Step, keys_of, run_steps, up_to_date
from environment.tools import Environment

REPOSITORY = Path(__file__).resolve().parents[2]

DESCRIPTION = """\
Makes a virtual environment in .venv (or $SAGESCHED_VENV) with everything that the
demo, the tests and the checks need. Where nothing changed it says so and returns at once;
otherwise it goes on with the first step that is out of date.

Where nvidia-smi finds a GPU and the active Python has SGLang, that SGLang is used: .venv
sees its packages, and what sagesched needs besides is installed into .venv alone, held to the
versions the SGLang environment has. That environment itself is not changed.

Otherwise the CPU engine is installed: a tested release of SGLang and what it needs to serve a tiny
model without a GPU, in pinned versions. That takes about a minute with a fast network, and 3 GiB on
disk. Where pip finds only torch's CUDA build it is a download of some 3 GB, and 9 GiB on disk;
pip's own settings (PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS) can point it at a CPU build.
"""


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/setup",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--force", action="store_true", help="make the environment anew")
    parser.add_argument("--check", action="store_true", help="only say whether it is up to date")
    parser.add_argument(
        "--engine",
        choices=["auto", "cpu", "gpu"],
        default="auto",
        help="gpu: insist on the active Python's SGLang; cpu: install the CPU engine even so",
    )
    tested = releases(REPOSITORY)
    parser.add_argument(
        "--sglang",
        choices=tested,
        default=os.environ.get("SAGESCHED_SGLANG") or tested[-1],
        help="SGLang release of the CPU engine (default: $SAGESCHED_SGLANG, or the latest tested); "
        f"any but {tested[-1]} goes to .venv-RELEASE",
    )
    options = parser.parse_args(arguments)
    if options.sglang not in tested:  # argparse does not look at what the environment says
        parser.error(f"SAGESCHED_SGLANG={options.sglang}: tested are {', '.join(tested)}")
    return options


def folder_of(release: str) -> Path:
    """Where the environment lies: each release has its own."""
    name = ".venv" if release == releases(REPOSITORY)[-1] else f".venv-{release}"
    return Path(os.environ.get("SAGESCHED_VENV") or REPOSITORY / name).absolute()


def choose_engine(wanted: str, venv: Path) -> UserSglang | None:
    """The user's SGLang to build on; None for the CPU engine."""
    found = None if wanted == "cpu" else find_user_sglang(venv)
    if wanted == "gpu" and found is None:
        raise SetupError(
            "--engine gpu: either nvidia-smi finds no GPU or the active Python has no SGLang; "
            "activate the environment in which SGLang is installed, or leave the option out"
        )
    return found


def check_folder(venv: Path) -> None:
    """Refuse to take a folder of the user's for an environment."""
    if venv.is_dir() and any(venv.iterdir()) and not (venv / "pyvenv.cfg").exists():
        raise SetupError(
            f"{venv} exists and is not a virtual environment; remove it or set SAGESCHED_VENV "
            "to another folder"
        )


def set_up(options: argparse.Namespace) -> None:
    """Do what the options ask for.

    Raises:
        SetupError: it cannot be done, or with ``--check`` is not done; the message says more.
    """
    venv = folder_of(options.sglang)
    check_folder(venv)
    user = choose_engine(options.engine, venv)
    environment = Environment(venv, REPOSITORY / "build" / "setup.log")
    if user:
        steps = plan_gpu(environment, REPOSITORY, user)
        label = f"SGLang {user.version} of {user.python}"
    else:
        steps = plan_cpu(environment, REPOSITORY, options.sglang)
        label = f"the CPU engine, SGLang {options.sglang}"
    stamp = Stamp(venv / "sagesched-setup.json")
    current = 0 if options.force else up_to_date(keys_of(steps), stamp.done())
    if current == len(steps):
        print(f"scripts/setup: {venv} is up to date ({label})")
    elif options.check:
        raise SetupError(f"{venv} is out of date; the next step is: {steps[current].title}")
    else:
        if options.force and venv.exists():
            shutil.rmtree(venv)
        print(f"scripts/setup: {venv} for {label}; the log is {environment.log}", flush=True)
        install(steps, stamp)


def install(steps: list[Step], stamp: Stamp) -> None:
    """Run what is out of date."""
    check_python()
    check_compiler()
    started = time.monotonic()
    run_steps(steps, stamp)
    print(f"scripts/setup: ready after {time.monotonic() - started:.0f} s", flush=True)


def main() -> int:
    options = parse(sys.argv[1:])
    lock = REPOSITORY / "build" / "setup.lock"
    lock.parent.mkdir(exist_ok=True)
    try:
        with lock.open("w") as held:  # a second set-up waits, and then finds everything done
            fcntl.flock(held, fcntl.LOCK_EX)
            set_up(options)
    except SetupError as error:
        print(f"scripts/setup: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
