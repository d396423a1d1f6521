"""Models: the CIFAR ResNets, torchvision's classifiers, the encoders of transformers, and their weights."""

from __future__ import annotations

from autockd.models.encoder import (
    ENCODER_WEIGHTS,
    TextEncoder,
    build_encoder,
    encoder_shapes,
    reading_hash,
    save_encoder,
)
from autockd.models.factory import build_model
from autockd.models.resnet import PaddedShortcut, ResNet6n2
from autockd.models.tokens import Tokens, load_tokenizer
from autockd.models.vision import build_torchvision
from autockd.models.weights import count_parameters, load_weights, read_state, save_weights, weights_hash

__all__ = [
    "ENCODER_WEIGHTS",
    "PaddedShortcut",
    "ResNet6n2",
    "TextEncoder",
    "Tokens",
    "build_encoder",
    "build_model",
    "build_torchvision",
    "count_parameters",
    "encoder_shapes",
    "load_tokenizer",
    "load_weights",
    "read_state",
    "reading_hash",
    "save_encoder",
    "save_weights",
    "weights_hash",
]
