"""Models: the CIFAR ResNets, torchvision's classifiers, and their weights."""

from __future__ import annotations

from autockd.models.factory import build_model
from autockd.models.resnet import BasicBlock, PaddedShortcut, ResNet6n2
from autockd.models.vision import build_torchvision
from autockd.models.weights import count_parameters, load_weights, read_state, save_weights, weights_hash

__all__ = [
    "BasicBlock",
    "PaddedShortcut",
    "ResNet6n2",
    "build_model",
    "build_torchvision",
    "count_parameters",
    "load_weights",
    "read_state",
    "save_weights",
    "weights_hash",
]
