"""What a user gets from ``pip install sagesched``."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import sagesched

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(sagesched.__file__).parent
HEAVY = ("torch", "sglang", "faiss", "wordllama", "numpy", "sagesched._core")


def test_version_is_the_installed_one() -> None:
    assert importlib.metadata.version("sagesched") == sagesched.__version__


def test_needs_numpy_only() -> None:
    requirements = importlib.metadata.requires("sagesched") or []
    assert [r for r in requirements if "extra ==" not in r] == ["numpy>=1.26"]


def test_extras() -> None:
    extras = importlib.metadata.metadata("sagesched").get_all("Provides-Extra") or []
    assert set(extras) >= {"predict", "sglang", "replay", "serve", "gateway", "ray", "dev"}


def test_entry_points() -> None:
    points = {
        (p.group, p.name): p.value
        for p in importlib.metadata.distribution("sagesched").entry_points
    }
    assert points["console_scripts", "sagesched"] == "sagesched.cli:main"
    assert points["sglang.srt.plugins", "sagesched"] == "sagesched.plugin:register"


def test_import_is_cheap() -> None:
    """SGLang imports every plug-in in every process: nothing heavy until it is used."""
    code = f"import sys, sagesched; print([m for m in {HEAVY} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_kernel_needs_numpy_only() -> None:
    code = (
        "import sys, sagesched; sagesched.RankEngine([1, 2]);"
        "print([m for m in ('torch', 'sglang', 'faiss', 'wordllama') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_public_names_resolve() -> None:
    for name in sagesched.__all__:
        assert getattr(sagesched, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = sagesched.no_such_name


def test_stub_lists_what_the_core_has() -> None:
    from sagesched import _core

    stub = (PACKAGE / "_core.pyi").read_text()
    members = [n for n in dir(_core) if not n.startswith("__")]
    members += [n for n in vars(_core.RankEngine) if not n.startswith(("__", "_pybind11"))]
    assert [n for n in members if f"def {n}(" not in stub and f"class {n}" not in stub] == []


def test_wheel_carries_code_and_types_only(tmp_path: Path) -> None:
    pytest.importorskip("scikit_build_core", reason="building a wheel needs scikit-build-core")
    pytest.importorskip("pybind11", reason="building a wheel needs pybind11")
    command = [sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "-q"]
    command += ["--no-build-isolation", "-w", str(tmp_path), "-C", f"build-dir={tmp_path}/build"]
    command += ["-C", "cmake.build-type=Debug"]  # only the contents matter here
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = [n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n]
    assert {Path(n).parts[0] for n in names} == {"sagesched"}
    assert {Path(n).suffix for n in names} <= {".py", ".pyi", ".so", ".typed", ".css", ".js"}
    assert {"sagesched/replay/report/page.css", "sagesched/replay/report/page.js"} <= set(names)
    assert sum(n.endswith(".so") for n in names) == 1
    assert {"sagesched/py.typed", "sagesched/_core.pyi"} <= set(names)


def test_the_cost_of_an_engine_keeps_lengths_apart_and_prefill_in_proportion() -> None:
    from sagesched.cost import CostModel

    for pool, slots in ((65_536, 8), (60_000, 64), (400_000, 2048)):
        cost = CostModel.of_engine(pool, slots)
        short, long = (cost.remaining(tokens, prompt_len=200) for tokens in (20, 800))
        assert long > 3 * short
        output_token = cost.token + cost.memory * 1000
        assert 0.01 < cost.prefill / output_token < 1.0
