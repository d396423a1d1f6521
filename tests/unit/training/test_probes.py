"""A probe's choice is kept for the same thing on such a machine, and for nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from autockd.records import Precision, PrecisionChoice
from autockd.training import probes
from autockd.training.probes import AGAIN, remembered

CPU = torch.device("cpu")
WHAT = ["a student", {"batch_size": 8}]


Probe = Callable[[], tuple[PrecisionChoice, bool]]


def probe(precision: Precision = "fp32", layout: bool = False, lasts: bool = True) -> Probe:
    choice = PrecisionChoice(
        precision=precision, channels_last=layout, threads=1, device="cpu", reason="faster at the time"
    )
    return lambda: (choice, lasts)


def not_again() -> tuple[PrecisionChoice, bool]:
    raise AssertionError("this was probed before")


def test_the_same_is_probed_once(tmp_path: Path) -> None:
    first = remembered(probe(layout=True), WHAT, 1, CPU, tmp_path / "new")
    assert first == probe(layout=True)()[0]
    again = remembered(not_again, WHAT, 1, CPU, tmp_path / "new")
    assert again == first.model_copy(update={"reason": first.reason + AGAIN})


def test_something_else_is_probed_anew(tmp_path: Path) -> None:
    remembered(probe(), WHAT, 1, CPU, tmp_path)
    for of, threads in (([*WHAT, "more"], 1), (WHAT, 2)):
        assert remembered(probe("bf16"), of, threads, CPU, tmp_path).precision == "bf16"


def test_another_machine_or_torch_probes_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remembered(probe(), WHAT, 1, CPU, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(probes, "cpu_kind", lambda: "another processor")
        assert remembered(probe("bf16"), WHAT, 1, CPU, tmp_path).precision == "bf16"
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "0.0")
        assert remembered(probe("bf16"), WHAT, 1, CPU, tmp_path).precision == "bf16"
    assert remembered(not_again, WHAT, 1, CPU, tmp_path).precision == "fp32"


def test_a_broken_entry_is_probed_anew(tmp_path: Path) -> None:
    remembered(probe(), WHAT, 1, CPU, tmp_path)
    (kept,) = tmp_path.iterdir()
    kept.write_text("{", encoding="utf-8")
    assert remembered(probe("bf16"), WHAT, 1, CPU, tmp_path).precision == "bf16"
    assert remembered(not_again, WHAT, 1, CPU, tmp_path).precision == "bf16"


def test_a_cache_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert remembered(probe(), WHAT, 1, CPU, tmp_path / "file" / "cache") == probe()()[0]


def test_what_is_of_the_moment_is_not_kept(tmp_path: Path) -> None:
    """Such as a choice for which memory was short."""
    assert remembered(probe("fp32", lasts=False), WHAT, 1, CPU, tmp_path).precision == "fp32"
    assert remembered(probe("bf16"), WHAT, 1, CPU, tmp_path).precision == "bf16"
