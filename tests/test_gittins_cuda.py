"""The kernel for CUDA devices: what can be said without one, and what only one can show.

That the kernel's source gives the bits of the CPU is shown by tests/cpp/test_cuda_on_host.cpp.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sagesched import CostModel, gittins_cuda, gittins_index
from sagesched.gittins_cuda import available, gittins_index_cuda

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "cuda"
NOT_BUILT = "scripts/test makes build/cuda where nvcc is"
COST = CostModel(token=2, memory=0.5, prefill=3)
NAN = float("nan")


class Fake:
    """As much of a CUDA tensor as is looked at before the launch; by column if a matrix."""

    def __init__(
        self,
        *shape: int,
        strides: tuple[int, ...] | None = None,
        dtype: str = "float32",
        device: str = "cuda:1",
        address: int = 0,
    ) -> None:
        self.shape = shape
        self.strides = strides or tuple(int(np.prod(shape[:i])) for i in range(len(shape)))
        self.dtype = f"torch.{dtype}"
        self.device = SimpleNamespace(index=int(device[-1])) if device == "cuda:1" else device
        self.is_cuda = device.startswith("cuda")
        self.address = address

    def stride(self, axis: int | None = None) -> Any:
        return self.strides if axis is None else self.strides[axis]

    def data_ptr(self) -> int:
        return self.address


def call(**changes: Any) -> Any:
    arguments: dict[str, Any] = {
        "pmf": Fake(5, 3, address=100),
        "support": Fake(3, address=200),
        "age": Fake(5, dtype="int64", address=300),
        "prompt_len": Fake(5, dtype="int32", address=400),
        "out": Fake(5, address=500),
        "cost": COST,
    }
    return gittins_index_cuda(**(arguments | changes))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"pmf": np.ones((5, 3))}, TypeError, "pmf is a ndarray; expected a CUDA tensor"),
        ({"age": "old"}, TypeError, "age is a str; expected a CUDA tensor"),
        ({"age": True}, TypeError, "age is a bool"),
        ({"support": [1, 2, 3]}, TypeError, "support is a list"),
        ({"pmf": Fake(5, 3, device="cpu")}, ValueError, r"pmf is on cpu; .*gittins_index, which"),
        ({"age": Fake(5, device="cpu")}, ValueError, r"age is on cpu; move it with .cuda()"),
        ({"out": Fake(5, device="cuda:0")}, ValueError, "out is on cuda:0, pmf on"),
        ({"pmf": Fake(5, 3, strides=(3, 1))}, ValueError, r"pmf has strides \(3, 1\); it must be "),
        ({"pmf": Fake(5, 3, strides=(3, 1))}, ValueError, r"pmf = pmf\.t\(\)\.contiguous\(\)\.t"),
        ({"pmf": Fake(5, 3, dtype="float16")}, ValueError, "pmf has dtype float16; expected float"),
        ({"pmf": Fake(5)}, ValueError, r"pmf has shape \(5,\); expected \(N, m\)"),
        ({"support": Fake(4)}, ValueError, r"support has shape \(4,\); expected \(3,\), or \(5, 3"),
        ({"support": Fake(3, dtype="float64")}, ValueError, "float64; expected float32"),
        ({"support": Fake(5, 3, strides=(3, 1))}, ValueError, r"support has strides \(3, 1\)"),
        ({"age": Fake(4)}, ValueError, r"age has shape \(4,\); expected \(\) or \(5,\)"),
        ({"cached_len": Fake(5, 1)}, ValueError, r"cached_len has shape \(5, 1\)"),
        ({"prompt_len": Fake(5, dtype="int16")}, ValueError, "prompt_len has dtype int16"),
        ({"out": Fake(4)}, ValueError, r"out has shape \(4,\); expected \(5,\)"),
        ({"out": Fake(5, dtype="float64")}, ValueError, "out has dtype float64; expected float32"),
        ({"stop": Fake(5, strides=(2,))}, ValueError, "stop has stride 2; it must be contiguous"),
    ],
)
def test_what_does_not_fit_is_named(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call(**changes)


def test_a_tensor_in_host_memory() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    with pytest.raises(ValueError, match="pmf is on cpu; move it"):
        gittins_index_cuda(torch.ones(3, 5).t(), torch.ones(3), 0, 0)


def test_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sagesched._cuda", None)
    with pytest.raises(ImportError, match=r"built without CUDA.*SAGESCHED_CUDA=ON"):
        call()


@pytest.mark.skipif(
    importlib.util.find_spec("sagesched._cuda") is not None, reason="built with CUDA"
)
def test_not_built_is_not_available() -> None:
    assert not available()


def test_nothing_is_loaded_before_the_first_call() -> None:
    code = "import sys, sagesched.gittins_cuda; print(sorted(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"'torch'", "'numpy'", "'sagesched._cuda'"} & set(
        run.stdout.strip("[]\n").split(", ")
    )


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What would be launched, in place of a device."""
    calls: list[tuple[Any, ...]] = []
    kernel = SimpleNamespace(gittins_index=lambda *arguments: calls.append(arguments))
    stream = SimpleNamespace(cuda_stream=77)
    torch = SimpleNamespace(
        cuda=SimpleNamespace(current_stream=lambda device: stream),
        empty=lambda rows, dtype, device: Fake(rows, address=600),
    )
    monkeypatch.setitem(sys.modules, "sagesched._cuda", kernel)
    monkeypatch.setitem(sys.modules, "torch", torch)
    return calls


def test_what_is_launched(launches: list[tuple[Any, ...]]) -> None:
    out = Fake(5, address=500)
    assert call(out=out, cached_len=7, stop=Fake(5, address=550)) is out
    age, prompt = ("int64", 0.0, 300, 1), ("int32", 0.0, 400, 1)
    start = ("float32", 5, 3, (100, 5), (200, 1))
    end = (2.0, 0.5, 3.0, 500, 550, 1, 77)
    assert launches == [(*start, False, age, prompt, ("constant", 7.0, 0, 0), *end)]


def test_an_own_support_steps_and_no_results_given(launches: list[tuple[Any, ...]]) -> None:
    padded = Fake(5, 3, strides=(1, 8), address=200)
    every_other = Fake(5, strides=(2,), dtype="float64", address=300)
    assert call(support=padded, age=every_other, prompt_len=Fake(), out=None).address == 600
    (launched,) = launches
    assert launched[4:8] == ((200, 8), True, ("float64", 0.0, 300, 2), ("float32", 0.0, 0, 0))
    assert launched[-4:-2] == (600, 0)


def test_one_request_is_stored_by_column_anyway(launches: list[tuple[Any, ...]]) -> None:
    call(pmf=Fake(1, 3, strides=(3, 1)), age=0, prompt_len=0, out=None)
    assert launches[0][3] == (0, 1)


@pytest.fixture
def built() -> ModuleType:
    """The module of build/cuda; it needs neither a device nor torch."""
    path = BUILD / f"_cuda{importlib.machinery.EXTENSION_SUFFIXES[0]}"
    if not path.exists():
        pytest.skip(NOT_BUILT)
    spec = importlib.util.spec_from_file_location("_cuda", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_stub_is_what_was_built(built: ModuleType) -> None:
    stub = Path(inspect.getfile(gittins_cuda)).with_name("_cuda.pyi").read_text()
    names = re.findall(r"(\w+): ", str(built.gittins_index.__doc__))
    assert [name for name in dir(built) if not name.startswith("__")] == ["gittins_index"]
    assert names == re.findall(r"^    (\w+): ", stub.split(") ->")[0], re.MULTILINE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bins": 0}, "support is empty"),
        ({"dtype": "int32"}, 'dtype is "int32"'),
        ({"age": ("int8", 0.0, 0, 0)}, '"int8" is none of'),
        ({"age": ("constant", NAN, 0, 0)}, "age is nan; it must be finite"),
        ({"memory": -1.0}, "memory is -1"),
    ],
)
def test_what_the_module_refuses(built: ModuleType, changes: dict[str, Any], message: str) -> None:
    tokens = ("constant", 0.0, 0, 0)
    arguments: dict[str, Any] = dict.fromkeys(["age", "prompt_len", "cached_len"], tokens)
    arguments |= {"dtype": "float32", "rows": 0, "bins": 3, "pmf": (0, 1), "support": (0, 1)}
    arguments |= {"own_support": False, "token": 0.0, "memory": 1.0, "prefill": 0.0}
    arguments |= {"out": 0, "stop": 0, "device": 0, "stream": 0}
    built.gittins_index(**arguments)  # no rows, nothing to launch
    with pytest.raises(ValueError, match=message):
        built.gittins_index(**(arguments | changes))


def test_the_device_code_neither_fuses_nor_approximates() -> None:
    found = list(BUILD.glob("csrc/cuda/**/gittins_cuda.ptx"))
    if not found:
        pytest.skip(NOT_BUILT)
    operation = re.compile(
        r"^\s*((?:add|sub|mul|div|rcp|sqrt|fma|mad)\.\S*f(?:32|64))\s", re.MULTILINE
    )
    operations = set(operation.findall(found[0].read_text()))
    numbers = {(name, f"f{bits}") for name in ("add", "sub", "mul", "div") for bits in (32, 64)}
    assert numbers <= {(name.split(".")[0], name.split(".")[-1]) for name in operations}
    # .rn: rounded to nearest, and by PTX's definition not to be fused with another operation
    exact = re.compile(r"(add|sub|mul|div|rcp|sqrt)\.rn\.f(32|64)")
    assert [name for name in operations if not exact.fullmatch(name)] == []


needs_device = pytest.mark.skipif(
    not available(), reason="needs a CUDA device, torch, and a build with SAGESCHED_CUDA=ON"
)


def requests(rows: int, bins: int, dtype: type, own: bool) -> dict[str, Any]:
    rng = np.random.default_rng(rows + bins)
    support = np.cumsum(rng.integers(1, 30, bins)).astype(dtype)
    pmf = rng.random((rows, bins)) * (rng.random((rows, bins)) < 0.6)
    pmf[::5] *= np.finfo(dtype).tiny  # denormal numbers
    pmf[3::7] = 0
    age = np.floor(rng.random(rows) * 1.1 * support[-1])
    age[::4], age[1::8] = 0, support[bins // 2]
    return {
        "pmf": pmf.astype(dtype),
        "support": np.tile(support, (rows, 1)) if own else support,
        "age": age.astype(np.int64),
        "prompt_len": rng.integers(0, 4000, rows),
        "cached_len": rng.integers(0, 4000, rows).astype(np.float32),
    }


def on_device(arrays: dict[str, Any]) -> dict[str, Any]:
    """Matrices by column."""
    torch = pytest.importorskip("torch")
    tensors = {name: torch.from_numpy(array).cuda() for name, array in arrays.items()}
    return {k: v.t().contiguous().t() if v.dim() == 2 else v for k, v in tensors.items()}


@needs_device
@pytest.mark.cuda
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [1, 31, 64, 65, 1000])
@pytest.mark.parametrize("bins", [1, 17, 128])
def test_a_device_gives_the_bits_of_the_cpu(rows: int, bins: int, dtype: type, own: bool) -> None:
    arrays = requests(rows, bins, dtype, own)
    tensors = on_device(arrays)
    stop = tensors["pmf"].new_empty(rows)
    index = gittins_index_cuda(**tensors, cost=COST, stop=stop)
    expected, expected_stop = gittins_index(**arrays, cost=COST, return_stop=True)
    assert index.cpu().numpy().tobytes() == expected.tobytes()
    assert stop.cpu().numpy().tobytes() == expected_stop.tobytes()


@needs_device
@pytest.mark.cuda
def test_a_bad_row_is_nan_on_a_device_and_no_other() -> None:
    arrays = requests(100, 17, np.float32, own=False)
    arrays["pmf"][40, 3], arrays["age"][70] = NAN, -1
    index = gittins_index_cuda(**on_device(arrays), cost=COST).cpu().numpy()
    assert np.flatnonzero(np.isnan(index)).tolist() == [40, 70]


@needs_device
@pytest.mark.cuda
def test_the_current_stream_of_torch_is_used() -> None:
    torch = pytest.importorskip("torch")
    arrays = requests(1000, 128, np.float32, own=False)
    stream = torch.cuda.Stream()
    out = torch.zeros(1000, device="cuda")
    tensors = on_device(arrays)
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(100_000_000)
        assert gittins_index_cuda(**tensors, cost=COST, out=out) is out
        assert not stream.query()  # it was not waited for
    stream.synchronize()
    assert out.cpu().numpy().tobytes() == gittins_index(**arrays, cost=COST).tobytes()
