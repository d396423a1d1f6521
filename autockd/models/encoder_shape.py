"""The configuration of an encoder, as transformers has it: outputs, layers, sizes and dropout as a study wants them."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Any

from autockd.config.models import Encoder
from autockd.errors import ModelError

Layers = int | tuple[int, ...]


def encoder_shape(config: Encoder, shape: Any, outputs: int, labels: Sequence[str]) -> Any:
    """`shape`, the base's own, changed to what is to be built or, where layers are cut, to be read before the cut.

    Args:
        config: what a study says about the encoder.
        shape: a transformers configuration, changed in place.
        outputs: number of logits; 1 is regression.
        labels: names of the classes; empty keeps those of a base with as many outputs.

    Raises:
        ModelError: it is no encoder, or sizes or layers are asked for that it cannot have.
    """
    _require_encoder(shape)
    shape.problem_type = "regression" if outputs == 1 else "single_label_classification"
    shape.num_labels = outputs
    if labels:
        shape.id2label = dict(enumerate(labels))
        shape.label2id = {label: index for index, label in enumerate(labels)}
    if config.dropout is not None:
        _set_dropout(shape, config.dropout)
    if config.initial == "random":
        _set_sizes(config, shape)
    return shape


def kept_layers(layers: Layers, total: int) -> tuple[int, ...]:
    """The indices of the layers to keep out of `total`, rising.

    n layers stand at i * (total - 1) / (n - 1), halves rounded down: of 12, six are 0, 2, 4, 7, 9, 11, those of
    DistilBERT's published initialisation (Sanh et al., 2019). One is the first.

    Raises:
        ModelError: there are not so many.
    """
    if isinstance(layers, tuple):
        if layers[-1] >= total:
            raise ModelError(f"layers: the encoder has layers 0 to {total - 1}, and none {layers[-1]} -> leave it out")
        return layers
    if layers > total:
        raise ModelError(f"layers: the encoder has {total} layers, {layers} cannot be kept -> ask for fewer")
    gaps = max(1, layers - 1)
    return tuple((2 * place * (total - 1) + gaps - 1) // (2 * gaps) for place in range(layers))


_BY_LAYER = ("layer_types", "attention_window")
"""What configurations say layer by layer; the second is Longformer's."""


def resize_stack(shape: Any, kept: Sequence[int]) -> None:
    """Set the number of layers, and what the configuration says layer by layer, to that of `kept`."""
    for name in _BY_LAYER:
        values = getattr(shape, name, None)
        if isinstance(values, list):
            setattr(shape, name, [values[index % len(values)] for index in kept])
    shape.num_hidden_layers = len(kept)


def label_order(shape: Any, labels: Sequence[str]) -> tuple[int, ...] | None:
    """Where the base has its outputs for `labels`; None unless it has the same names, and in another order."""
    theirs = [str(shape.id2label[index]).lower() for index in sorted(shape.id2label)]
    ours = [label.lower() for label in labels]
    if ours == theirs or sorted(ours) != sorted(theirs) or len(set(ours)) < len(ours):
        return None
    return tuple(theirs.index(label) for label in ours)


def _require_encoder(shape: Any) -> None:
    from transformers import MODEL_FOR_MASKED_LM_MAPPING, MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

    known = type(shape) in MODEL_FOR_MASKED_LM_MAPPING and type(shape) in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    if not known or shape.is_encoder_decoder or getattr(shape, "is_decoder", False) or not _takes_masks(shape):
        raise ModelError(
            f"path: {shape.model_type} is no encoder that transformers has a classifier for -> name one such as BERT, "
            "RoBERTa, DistilBERT, ELECTRA, MiniLM or DeBERTa"
        )
    if shape.model_type in _PADDING_COUNTS:
        raise ModelError(
            f"path: what {shape.model_type} answers to a text depends on how far it is padded -> name an encoder whose "
            "answers do not, such as BERT, RoBERTa, DistilBERT, ELECTRA, MiniLM or DeBERTa"
        )


_PADDING_COUNTS = ("convbert", "nystromformer", "yoso")
"""Kinds that take a mask, and whose answers depend on padding for all that: a text's would be those of its batch."""


def _takes_masks(shape: Any) -> bool:
    """Or padding would change its answers."""
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

    return "attention_mask" in signature(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[type(shape)].forward).parameters


def _set_dropout(shape: Any, probability: float) -> None:
    """Every probability of dropout has that word in its name; those that are None follow another one."""
    for name, value in shape.to_dict().items():
        if "dropout" in name and isinstance(value, int | float) and not isinstance(value, bool):
            setattr(shape, name, probability)


def _set_sizes(config: Encoder, shape: Any) -> None:
    """Sizes of a fresh encoder; what is None stays the base's."""
    if config.hidden_size is not None:
        shape.hidden_size = config.hidden_size
        if hasattr(shape, "pooler_hidden_size"):
            shape.pooler_hidden_size = config.hidden_size
    if config.heads is not None:
        shape.num_attention_heads = config.heads
    if config.intermediate_size is not None:
        name = "intermediate_size" if hasattr(shape, "intermediate_size") else "hidden_dim"  # DistilBERT's word
        setattr(shape, name, config.intermediate_size)
    if isinstance(config.layers, int):
        resize_stack(shape, range(config.layers))
    if shape.hidden_size % shape.num_attention_heads:
        raise ModelError(
            f"heads: {shape.num_attention_heads} heads do not divide the hidden size {shape.hidden_size} -> choose "
            "hidden_size as a multiple of heads"
        )
