"""The steps of each set-up."""

from __future__ import annotations

import runpy
import shutil
import sys
from pathlib import Path

from environment.machine import UserSglang, check_disk
from environment.steps import Step
from environment.tools import Environment

TORCH = "torch==2.13.0"
BUILD_TOOLS = ["scikit-build-core", "pybind11", "cmake", "ninja"]
SMG_SERVER = {"0.5.20": "smg-grpc-servicer==0.13.0", "0.5.23": "smg-grpc-servicer==0.14.1"}
"""What serves a release under ``--smg-grpc-mode``."""
SGLANG_MODULES = "sglang, sglang.launch_server, sglang.srt.managers.scheduler"


def releases(repository: Path) -> tuple[str, ...]:
    """The SGLang releases that sagesched is tested on, the preferred one last."""
    versions = runpy.run_path(str(repository / "python/sagesched/plugin/versions.py"))
    return tuple(versions["SUPPORTED"])


def plan_cpu(environment: Environment, repository: Path, release: str) -> list[Step]:
    """The CPU engine: a release of SGLang, shims, sagesched, the tiny model."""
    engine = repository / "scripts" / "cpu_engine"
    pins = [engine / "requirements.txt", repository / "scripts/environment/constraints.txt"]
    no_deps = engine / "requirements-no-deps.txt"
    shims = sorted(p for p in (engine / "shims").rglob("*") if p.suffix in (".py", ".pth"))

    def install_torch() -> None:
        cuda = environment.needs_cuda_packages(TORCH)
        if cuda:
            print(
                "      pip finds torch's CUDA build: about 3 GB to download, be patient", flush=True
            )
        check_disk(environment.folder, 10 if cuda else 4)
        environment.pip(TORCH, "-c", pins[0])

    def copy_shims() -> None:
        for shim in shims:
            target = _site_packages(environment) / shim.relative_to(engine / "shims")
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(shim, target)

    def install_sglang() -> None:
        environment.pip("--no-deps", f"sglang=={release}", SMG_SERVER[release], "-r", no_deps)
        copy_shims()

    def check_sglang() -> None:
        environment.run(
            *(environment.python, "-W", "ignore", "-c", f"import {SGLANG_MODULES}"),
            env={"SGLANG_USE_CPU_ENGINE": "1", "CUDA_VISIBLE_DEVICES": ""},
            advice="SGLang cannot be imported; scripts/setup --force makes the environment anew.",
        )

    def make_model() -> None:
        environment.run(
            *(environment.python, engine / "make_model.py"),
            advice="The tiny model could not be made.",
        )

    return [
        _make_venv(environment),
        Step(f"torch ({TORCH}; half a minute for the CPU build)", [pins[0]], install_torch),
        Step(
            "what SGLang needs to serve on a CPU (about a minute)",
            [pins[0]],
            lambda: environment.pip("-r", pins[0]),
        ),
        Step(
            f"SGLang {release} itself (half a minute)",
            [release, SMG_SERVER[release], no_deps, *shims],
            install_sglang,
        ),
        Step("check that SGLang can be imported (15 seconds)", [], check_sglang),
        *_install_sagesched(environment, repository, pins),
        Step(
            "the tiny model (10 seconds)",
            [engine / "make_model.py", engine / "corpus.py"],
            make_model,
        ),
    ]


def plan_gpu(environment: Environment, repository: Path, sglang: UserSglang) -> list[Step]:
    """sagesched on top of the SGLang that the user has."""
    others = sorted((n, v) for n, v in sglang.packages.items() if _normal(n) != "sagesched")
    theirs = "".join(f"{name}=={version}\n" for name, version in others)
    ours = (repository / "scripts/environment/constraints.txt").read_text().splitlines()
    taken = {_normal(name) for name in sglang.packages}
    free = [line for line in ours if "==" in line and _normal(line.split("==")[0]) not in taken]
    pins = environment.folder / "sagesched-constraints.txt"

    def link() -> None:
        # addsitedir, unlike a plain path, honours the .pth files there: editable installations.
        lines = [f"import site; site.addsitedir({folder!r})" for folder in sglang.folders]
        (_site_packages(environment) / "sglang-environment.pth").write_text("\n".join(lines) + "\n")
        pins.write_text(theirs + "\n".join(free) + "\n")

    return [
        _make_venv(environment, sglang.python),
        Step(f"see the packages beside SGLang {sglang.version}", [theirs, *sglang.folders], link),
        *_install_sagesched(environment, repository, [pins]),
    ]


def _make_venv(environment: Environment, python: str = sys.executable) -> Step:
    def run() -> None:
        environment.run(
            *(python, "-m", "venv", environment.folder),
            advice="The virtual environment could not be made.",
        )

    # The folder is an input because scripts in an environment name it: a moved one is made anew.
    return Step(
        "the virtual environment (10 seconds)",
        [python, sys.version, str(environment.folder)],
        run,
    )


def _install_sagesched(environment: Environment, repository: Path, pins: list[Path]) -> list[Step]:
    constraints = [part for pin in pins for part in ("-c", str(pin))]
    package = repository / "python" / "sagesched"
    sources = [repository / "pyproject.toml", repository / "CMakeLists.txt"]
    sources += sorted(p for p in (repository / "csrc").rglob("*") if p.is_file())
    sources += [package / "_version.py"]
    # An editable installation knows its modules by name.
    names = "\n".join(sorted(str(p.relative_to(package)) for p in package.rglob("*.py")))

    def build() -> None:
        environment.pip(
            *("--no-build-isolation", *constraints, "-e", f"{repository}[predict,serve,dev]")
        )
        environment.run(
            *(environment.folder / "bin" / "sagesched", "--version"),
            advice="sagesched is installed but does not run.",
        )

    return [
        Step(
            "build tools: CMake, Ninja, pybind11 (10 seconds)",
            [repository / "scripts/environment/constraints.txt"],
            lambda: environment.pip(*BUILD_TOOLS, *constraints),
        ),
        Step("sagesched with its C++ core, editable (half a minute)", [*sources, names], build),
    ]


def _site_packages(environment: Environment) -> Path:
    return next((environment.folder / "lib").glob("python3.*/site-packages"))


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")
