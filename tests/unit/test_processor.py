"""The processor as Linux describes it, and as little as other systems say."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from autockd import processor

DESCRIBED = """\
processor\t: {core}
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: {model}
model name\t: AMD EPYC
cpu MHz\t\t: {mhz}
flags\t\t: fpu avx2{flags}
"""


def describe(
    patch: pytest.MonkeyPatch, folder: Path, *, model: int = 17, mhz: str = "2445.406", flags: str = " avx512_bf16"
) -> None:
    cores = [DESCRIBED.format(core=core, model=model, mhz=mhz, flags=flags) for core in range(2)]
    path = folder / "cpuinfo"
    path.write_text("\n".join(cores), encoding="utf-8")
    patch.setattr(processor, "_CPUINFO", path)


def test_name_and_abilities_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    describe(monkeypatch, tmp_path)
    assert processor.cpu_model() == "AMD EPYC"
    assert processor.cpu_has_bf16()
    describe(monkeypatch, tmp_path, flags="")
    assert not processor.cpu_has_bf16()


def test_generations_under_one_name_differ_and_clock_rates_do_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    describe(monkeypatch, tmp_path)
    kind = processor.cpu_kind()
    describe(monkeypatch, tmp_path, mhz="3000.000")
    assert processor.cpu_kind() == kind
    describe(monkeypatch, tmp_path, model=1)
    assert processor.cpu_kind() != kind
    describe(monkeypatch, tmp_path, flags="")
    assert processor.cpu_kind() != kind


def test_a_system_that_says_nothing_has_a_name_all_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "missing")
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    assert (processor.cpu_model(), processor.cpu_kind(), processor.cpu_has_bf16()) == ("arm", "arm", False)


def test_memory_is_what_the_system_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "meminfo"
    path.write_text("MemTotal:       24000000 kB\nMemFree: 7 kB\nMemAvailable:   18000000 kB\n", encoding="utf-8")
    monkeypatch.setattr(processor, "_MEMINFO", path)
    monkeypatch.setattr(processor, "_CGROUP", tmp_path / "no container")
    assert processor.memory() == (24_000_000 * 1024, 18_000_000 * 1024)
    path.write_text("MemTotal: 24000000 kB\n", encoding="utf-8")
    assert processor.memory() is None
    monkeypatch.setattr(processor, "_MEMINFO", tmp_path / "missing")
    assert processor.memory() is None


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("max", (16 << 30, 8 << 30)), (4 << 30, (4 << 30, 3 << 30)), (64 << 30, (16 << 30, 8 << 30))],
)
def test_memory_of_a_container_is_what_it_may_have(
    limit: object, expected: tuple[int, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "meminfo").write_text(f"MemTotal: {16 << 20} kB\nMemAvailable: {8 << 20} kB\n", encoding="utf-8")
    (tmp_path / "memory.max").write_text(f"{limit}\n", encoding="utf-8")
    (tmp_path / "memory.current").write_text(f"{2 << 30}\n", encoding="utf-8")
    (tmp_path / "memory.stat").write_text(f"anon 7\ninactive_file {1 << 30}\n", encoding="utf-8")
    monkeypatch.setattr(processor, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(processor, "_CGROUP", tmp_path)
    assert processor.memory() == expected


def test_physical_cores_are_usable_ones(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert 1 <= processor.physical_cores() <= processor.usable_cores()
    monkeypatch.setattr("joblib.externals.loky.backend.context.physical_cores_cache", None)
    monkeypatch.setenv("PATH", "")  # where nobody can say
    assert processor.physical_cores() == processor.usable_cores()
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to cores")
def test_only_cores_that_the_process_may_run_on_are_usable() -> None:
    script = """
import os
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
from autockd.processor import usable_cores
print(usable_cores())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) == 1
    assert 1 <= processor.usable_cores() <= len(os.sched_getaffinity(0))
