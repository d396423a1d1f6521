"""An ONNX model that is made in no time: for tests of where models are kept, and not of what they compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper


def save_small_graph(path: Path, *pixels: int) -> Path:
    """Write a model from float32 `pixels`, [batch, *pixels], to two `logits`, [batch, 2]: their weighted sums."""
    count = int(np.prod(pixels))
    weights = helper.make_tensor("w", TensorProto.FLOAT, [count, 2], np.arange(2 * count, dtype=np.float32))
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *sides])
        for name, sides in (("pixels", pixels), ("logits", (2,)))
    ]
    nodes = [helper.make_node("Flatten", ["pixels"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["logits"])]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path
