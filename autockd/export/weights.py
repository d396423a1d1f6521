"""What a file of weights says of itself, before any of it is loaded."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open

from autockd.errors import ExportError
from autockd.export.manifest import AGAIN


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor in a safetensors file; reads its header alone.

    Raises:
        ExportError: it is no such file, or a damaged one.
    """
    try:
        with safe_open(path, framework="pt") as tensors:
            names = list(tensors.keys())
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in names}
    except (SafetensorError, OSError) as error:
        raise ExportError(f"{path}: is not a sound safetensors file: {error} -> {AGAIN}") from error
