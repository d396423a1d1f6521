"""Latency of ONNX models, and what is said of an int8 model that loses too much."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper

from autockd.errors import ExportError
from autockd.export import figures, latency
from autockd.export.figures import ModelFigures
from autockd.export.latency import CallTime, onnx_timings
from autockd.export.quantize import calibration_rows, quantize_dynamic


def linear(path: Path, side: int, times: int = 1) -> Path:
    """A model of one matrix, `side` x `side`, that its input is multiplied with so many times."""
    weights = helper.make_tensor("w", TensorProto.FLOAT, [side, side], np.ones(side * side, np.float32))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", side]) for name in ("x", "logits")]
    names = ["x", *(f"x{place}" for place in range(1, times)), "logits"]
    products = [helper.make_node("MatMul", [before, "w"], [after]) for before, after in pairwise(names)]
    graph = helper.make_graph(products, "g", ends[:1], ends[1:], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def batches(side: int) -> dict[int, dict[str, np.ndarray[Any, Any]]]:
    return {size: {"x": np.ones((size, side), np.float32)} for size in (1, 64)}


def test_more_work_takes_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "_MOST", 30)
    small, large = linear(tmp_path / "small.onnx", 512), linear(tmp_path / "large.onnx", 512, times=12)
    found = onnx_timings([large, small], batches(512))
    for times in found:
        assert set(times) == {1, 64}
        assert all(0 < each.median <= each.p95 for each in times.values())
        assert times[1].median < times[64].median
    for size in (1, 64):
        assert found[0][size].median > 2 * found[1][size].median, "of twelve products, and of one"


def test_what_cannot_be_timed_is_named(tmp_path: Path) -> None:
    (tmp_path / "no.onnx").write_bytes(b"no graph")
    with pytest.raises(ExportError, match=r"no\.onnx: onnxruntime cannot load it"):
        onnx_timings([tmp_path / "no.onnx"], batches(4))
    with pytest.raises(ExportError, match=r"fails on a batch of \{'x': \[1, 5\]\}"):
        onnx_timings([linear(tmp_path / "a.onnx", 4)], {1: {"x": np.ones((1, 5), np.float32)}})


def test_calibration_samples_are_spread_and_the_same_again() -> None:
    assert calibration_rows(3) == [0, 1, 2]
    rows = calibration_rows(10_000)
    assert (len(rows), rows[0], rows[-1]) == (256, 0, 9_999)
    assert rows == sorted(set(rows)) == calibration_rows(10_000)


def test_dynamic_quantisation_makes_a_file_a_quarter_as_large(tmp_path: Path) -> None:
    source = linear(tmp_path / "fp32.onnx", 256)
    quantize_dynamic(source, tmp_path / "int8.onnx")
    assert 3 < source.stat().st_size / (tmp_path / "int8.onnx").stat().st_size < 4.2
    (tmp_path / "no.onnx").write_bytes(b"no graph")
    with pytest.raises(ExportError, match=r"no\.onnx: cannot be quantised to int8"):
        quantize_dynamic(tmp_path / "no.onnx", tmp_path / "x.onnx")


def model(precision: Any, validation: float, agreement: float | None) -> ModelFigures:
    times = {1: CallTime(median=1, p95=1)}
    return ModelFigures(
        precision=precision, file="f", bytes=1, latency=times, validation=validation, agreement=agreement
    )


@pytest.mark.parametrize(
    ("validation", "agreement", "words"),
    [
        (0.89, 0.96, []),
        (0.881, 0.95, []),
        (0.879, 0.95, ["loses more than 0.02"]),
        (0.89, 0.94, ["agrees with fp32 on 94.0%"]),
        (0.5, 0.5, ["loses more than", "agrees with"]),
        (float("nan"), None, ["loses more than"]),
        (0.95, None, []),
    ],
)
def test_a_loss_is_told(validation: float, agreement: float | None, words: list[str]) -> None:
    models = {"fp32": model("fp32", 0.9, 1.0), "int8": model("int8", validation, agreement)}
    told = list(figures._warnings(models, "accuracy"))
    assert [word in text for word, text in zip(words, told, strict=True)] == [True] * len(words)


def test_a_model_that_gives_nan_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        batch_size = 8

        class config:  # noqa: N801
            metric = "accuracy"

        def in_onnx(self, path: Path) -> Any:
            return lambda inputs, batch_size: torch.full((len(inputs), 2), float("nan"))

    split = figures.Split(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.zeros(4).long())
    with pytest.raises(ExportError, match=r"x\.onnx: gives NaN or infinity for a validation sample"):
        figures._judged(model("int8", 0, 0), Path("x.onnx"), Broken(), torch.zeros(4, 2), split, None)  # type: ignore[arg-type]
