from __future__ import annotations

import platform
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from autockd.training import memory
from autockd.training.memory import bound_memory, is_out_of_memory, memory_share, peak_memory, trim_memory

GIB = 1 << 30


@pytest.mark.parametrize(
    ("gpus", "total", "expected"),
    [(0.25, 80 * GIB, 0.2427), (0.5, 8 * GIB, 0.4268), (0.25, 2 * GIB, 0.125)],
    ids=["large", "small", "too small for contexts"],
)
def test_processes_leave_room_for_what_is_no_tensor(gpus: float, total: int, expected: float) -> None:
    assert memory_share(gpus, total) == pytest.approx(expected, rel=1e-3)


def test_a_gpu_without_a_number_is_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's own checks run, up to the call into the driver: trials know their GPU as `cuda` alone."""
    bounded: list[tuple[float, int]] = []
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(total_memory=80 * GIB))
    monkeypatch.setattr(torch.cuda.memory, "_lazy_init", lambda: None)
    monkeypatch.setattr(torch._C, "_cuda_setMemoryFraction", lambda *asked: bounded.append(asked), raising=False)
    for name in ("cuda", "cuda:1"):
        bound_memory(0.25, torch.device(name))
    assert bounded == [(memory_share(0.25, 80 * GIB), 2), (memory_share(0.25, 80 * GIB), 1)]
    for gpus in (0.0, 1.0, 2.0):
        bound_memory(gpus, torch.device("cuda"))
    bound_memory(0.25, torch.device("cpu"))
    assert len(bounded) == 2, "neither whole GPUs nor a CPU have a bound"


def test_a_cpu_that_has_no_memory_left_is_known_by_what_torch_says() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("shapes do not match"))


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: out of memory\nSearch for `cudaErrorMemoryAllocation'",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ],
)
def test_a_gpu_that_has_none_left_for_itself_or_its_libraries_is_known(text: str) -> None:
    assert is_out_of_memory(torch.AcceleratorError(text))
    assert not is_out_of_memory(torch.AcceleratorError("CUDA error: an illegal memory access was encountered"))


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not say what a process takes")
def test_a_peak_is_what_a_function_holds_at_once() -> None:
    """Whatever was there before, and however much of it is gone at the end."""

    def holding(count: int) -> int:
        found = peak_memory(lambda: [torch.ones(25 << 20, dtype=torch.uint8) for _ in range(count)])
        assert found is not None
        return found

    holding(8)
    assert holding(4) - holding(0) == pytest.approx(100 << 20, rel=0.2)


def test_what_the_system_does_not_say_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_CLEAR", tmp_path / "away" / "clear_refs")
    assert peak_memory(lambda: None) is None
    monkeypatch.setattr(memory, "_CLEAR", tmp_path / "clear_refs")
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "status")
    (tmp_path / "status").write_text("Name:\tpython\nVmHWM:\t  1000 kB\n")
    assert peak_memory(lambda: None) is None
    (tmp_path / "status").write_text("VmHWM:\t  1000 kB\nRssFile:\t  300 kB\nRssShmem:\t  50 kB\n")
    assert peak_memory(lambda: None) == 650 * 1024


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what is freed is kept by glibc")
def test_what_was_freed_between_pieces_in_use_is_given_back() -> None:
    pieces = [bytearray(b"x") * 50_000 for _ in range(2000)]
    last = pieces[-1]
    del pieces  # 100 MB, below a piece that is in use
    before = resident()
    trim_memory()
    assert before - resident() > 80e6
    assert len(last) == 50_000


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
