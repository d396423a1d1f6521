"""What an ONNX file of a bundle may hold: standard operators and their weights, and nothing that leads elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from autockd.errors import ExportError
from autockd.export.manifest import AGAIN

_STANDARD = ("", "ai.onnx")
"""Domains of operators that ONNX itself defines; others may be code of somebody's."""
_DEEPEST = 8
"""Graphs inside of graphs; exported students have none."""


def check_graph(path: Path) -> None:
    """Refuse a file that names operators of its own, functions, or weights outside of it; reads it as data alone.

    Raises:
        ExportError: it does, or it is no ONNX model.
    """
    import onnx

    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's and onnx's exceptions have no common base
        raise ExportError(f"{path}: is not a sound ONNX file: {type(error).__name__} -> {AGAIN}") from error
    for found in _objections(model):
        raise ExportError(f"{path}: {found}, a bundle's model has none -> {AGAIN}")


def _objections(model: Any) -> Iterator[str]:
    domains: set[str] = set()
    if model.functions:
        yield f"defines the function {model.functions[0].name!r}"
    if model.training_info:
        yield "has a graph for training"
    for graph in _graphs(model.graph):
        if graph is None:
            yield f"nests graphs deeper than {_DEEPEST}"
            return
        domains |= {node.domain for node in graph.node}
        if any(_is_external(tensor) for tensor in _tensors(graph)):
            yield "keeps weights in another file"
    if foreign := sorted(domains - set(_STANDARD)):
        yield f"uses operators of the domain {foreign[0]!r}"


def _graphs(graph: Any, depth: int = 0) -> Iterator[Any]:
    """A graph and all inside of it; None where they lie too deep."""
    if depth > _DEEPEST:
        yield None
        return
    yield graph
    for attribute in _attributes(graph):
        for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
            yield from _graphs(inner, depth + 1)


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    yield from _parts(graph.sparse_initializer)
    for attribute in _attributes(graph):
        yield from (*([attribute.t] if attribute.HasField("t") else ()), *attribute.tensors)
        yield from _parts(attribute.sparse_tensors)
        if attribute.HasField("sparse_tensor"):
            yield from _parts([attribute.sparse_tensor])


def _attributes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield from node.attribute


def _parts(sparse: Iterable[Any]) -> Iterator[Any]:
    for tensor in sparse:
        yield from (tensor.values, tensor.indices)


def _is_external(tensor: Any) -> bool:
    return bool(tensor.external_data) or tensor.data_location == type(tensor).EXTERNAL
