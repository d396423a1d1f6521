"""Networks that only answer: convolutions do what stands behind them, normalisation, sum with a shortcut, ReLU."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import fx, nn

from autockd.facts import Precision
from autockd.models.folded_convolution import FoldedConvolution

_Part = TypeVar("_Part", bound=nn.Module)

_RELU = (F.relu, torch.relu, "relu", "relu_")
_SUM = (operator.add, operator.iadd, torch.add, "add", "add_")
_IN_PLACE = (operator.iadd, operator.isub, operator.imul, operator.itruediv, operator.setitem)
"""Beside what a name that ends in `_` says."""


def folded(network: nn.Module, precision: Precision = "fp32") -> nn.Module:
    """A network that answers as another does in eval mode, up to rounding, and shares with it all that is not folded.

    Args:
        network: takes images. It stays as it is; where its weights change, `refold` takes them over.
        precision: the arithmetic in which it will be asked.

    Returns:
        It; or the network itself where torch cannot follow what that computes, as it may depend on its input, or where
        there is no batch normalisation to fold.
    """
    if not any(isinstance(part, nn.BatchNorm2d) for part in network.modules()):
        return network
    was_training = network.training
    try:
        graph = fx.Tracer().trace(network.eval())
    except Exception:  # whatever a network of somebody else does that cannot be traced
        return network
    finally:
        network.train(was_training)
    made: dict[str, nn.Module] = {}
    for chain in list(_Chains(network, graph)):
        name = f"folded_{chain.nodes[0].name}"
        made[name] = FoldedConvolution(chain.convolution, chain.normalisation, relu=chain.relu, precision=precision)
        _replace(graph, chain, name)
    if not made:
        return network
    named = {str(node.target) for node in graph.nodes if node.op in ("call_module", "get_attr")} - set(made)
    shared = {name: operator.attrgetter(name)(network) for name in named}
    return fx.GraphModule({**shared, **made}, graph, type(network).__name__).train(was_training)


def refold(network: nn.Module) -> None:
    """Have a network that `folded` made answer as the other does now."""
    for part in network.modules():
        if isinstance(part, FoldedConvolution):
            part.fold()


@dataclass(frozen=True)
class _Chain:
    """Nodes of a graph, each of which has the next as its only user, and one convolution can do what all of them do.

    Attributes:
        nodes: the first is the convolution.
        convolution, normalisation: what the first two stand for.
        relu: whether a ReLU is the last.
    """

    nodes: tuple[fx.Node, ...]
    convolution: nn.Conv2d
    normalisation: nn.BatchNorm2d | None
    relu: bool


class _Chains:
    """Those of a network's graph, in order, none of which has a node of another."""

    def __init__(self, network: nn.Module, graph: fx.Graph) -> None:
        self._nodes: list[fx.Node] = list(graph.nodes)
        self._place = {node: place for place, node in enumerate(self._nodes)}
        self._parts = dict(network.named_modules(remove_duplicate=False))
        self._calls = Counter(node.target for node in self._nodes if node.op == "call_module")
        self._taken: set[fx.Node] = set()

    def __iter__(self) -> Iterator[_Chain]:
        for node in self._nodes:
            chain = self._beginning_with(node)
            if chain is not None and len(chain.nodes) > 1:
                self._taken.update(chain.nodes)
                yield chain

    def _beginning_with(self, first: fx.Node) -> _Chain | None:
        """As many nodes as there are."""
        convolution = self._own(first, nn.Conv2d)
        if convolution is None or convolution.padding_mode != "zeros" or isinstance(convolution.padding, str):
            return None
        nodes, normalisation, has_sum, relu = [first], None, False, False
        while len(nodes[-1].users) == 1 and not relu:
            (node,) = nodes[-1].users
            if node in self._taken or not self._may_wait(nodes, node):
                break
            found = self._own(node, nn.BatchNorm2d) if len(nodes) == 1 else None
            if found is not None and found.running_mean is not None:
                normalisation = found
            elif not has_sum and _summand(node, nodes[-1]) is not None:
                has_sum = True
            elif self._is_relu(node):
                relu = True
            else:
                break
            nodes.append(node)
        return _Chain(tuple(nodes), convolution, normalisation, relu)

    def _own(self, node: fx.Node, kind: type[_Part]) -> _Part | None:
        """What a node stands for, if it is of exactly that kind and stands nowhere else: its weights would differ."""
        if node.op != "call_module" or self._calls[node.target] > 1 or len(node.args) != 1 or node.kwargs:
            return None
        found = self._parts[str(node.target)]
        return found if type(found) is kind else None

    def _is_relu(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            return type(self._parts[str(node.target)]) is nn.ReLU
        return node.op in ("call_function", "call_method") and node.target in _RELU

    def _may_wait(self, chain: list[fx.Node], last: fx.Node) -> bool:
        """Whether the first may be computed where the last is: nothing between them changes in place what it reads."""
        between = self._nodes[self._place[chain[0]] : self._place[last]]
        return not any(self._is_in_place(node) for node in between if node not in chain)

    def _is_in_place(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            return bool(getattr(self._parts[str(node.target)], "inplace", False))
        name = str(getattr(node.target, "__name__", node.target))
        is_so_named = name.endswith("_") and not name.endswith("__")
        is_told_so = bool(node.kwargs.get("inplace")) or node.kwargs.get("out") is not None
        return is_so_named or is_told_so or node.target in _IN_PLACE


def _summand(node: fx.Node, first: fx.Node) -> fx.Node | None:
    """What a node adds to another's result, if that is what it does."""
    if node.op not in ("call_function", "call_method") or node.target not in _SUM or node.kwargs or len(node.args) != 2:
        return None
    one, two = node.args
    if one is two:
        return None
    if one is first:
        return two if isinstance(two, fx.Node) else None
    writes_over_it = node.target in (operator.iadd, "add_")
    return one if two is first and isinstance(one, fx.Node) and not writes_over_it else None


def _replace(graph: fx.Graph, chain: _Chain, name: str) -> None:
    """Have a module of that name do what a chain did, where the last of it was done."""
    last = chain.nodes[-1]
    summands = (_summand(node, before) for before, node in pairwise(chain.nodes))
    others = [summand for summand in summands if summand is not None]
    with graph.inserting_before(last):
        node = graph.call_module(name, (chain.nodes[0].args[0], *others))
    last.replace_all_uses_with(node)
    for old in reversed(chain.nodes):
        graph.erase_node(old)
