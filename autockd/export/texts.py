"""Text encoders as students: folders that transformers loads alone, and how texts become logits."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from autockd.config.models import Encoder
from autockd.data.feeds import in_order
from autockd.data.texts import Texts
from autockd.errors import ExportError, ModelError
from autockd.export.description import TextBundleConfig
from autockd.export.manifest import AGAIN, JSON_LIMIT, SUFFIXES
from autockd.export.onnx import OnnxModel, export_onnx
from autockd.export.quantize import quantize_dynamic
from autockd.export.student import WEIGHTS, Inputs, Runtime
from autockd.export.weights import tensor_shapes
from autockd.models import TextEncoder, Tokens, build_encoder, encoder_shapes, load_tokenizer, save_encoder
from autockd.models.tokens import EVALUATION_BATCH

SHAPE = "config.json"
"""The encoder's configuration, as transformers has it."""

TOKENIZER = "tokenizer.json"
"""Its vocabulary; without the file, transformers may make a tokenizer that knows no word."""

_CLASSES = ("id2label", "label2id")
"""What a configuration says of classes, each of which may have any name, that of a setting too."""

_LARGEST = 1 << 17
"""Whatever a configuration counts (positions, words) may be this large without a tensor that is."""


@dataclass(frozen=True, eq=False)
class TextStudent:
    """An encoder with a head, and its tokenizer; see `Student`.

    Attributes:
        tokenizer: as `load_tokenizer` gives it.
    """

    config: TextBundleConfig
    model: TextEncoder
    tokenizer: Any
    batch_size: int = EVALUATION_BATCH
    parity_examples: int = 128

    @classmethod
    def read(cls, config: TextBundleConfig, folder: Path) -> Self:
        """The student of a bundle, after a check that its files belong together.

        Raises:
            ExportError: a file is missing or cannot be read, or the weights are not those of the configuration.
        """
        for name in (SHAPE, TOKENIZER):
            if not (folder / name).is_file():
                raise ExportError(f"{folder}: {name} is missing, a bundle of a text encoder must have it -> {AGAIN}")
        _refuse_too_large(folder)
        architecture = Encoder(path=str(folder.absolute()), initial="random", weights=folder / WEIGHTS)
        try:
            _refuse_other_shapes(architecture, config, folder)
            model = build_encoder(architecture, outputs=config.outputs, seed=0, labels=config.classes)
            tokenizer = load_tokenizer(architecture)
        except ModelError as error:
            raise ExportError(f"{folder}: {error} -> {AGAIN}") from error
        return cls(config, model.eval(), tokenizer)

    def check(self, inputs: Inputs) -> None:
        """Refuse what is not texts, single or in pairs as the bundle takes them."""
        if isinstance(inputs, Texts) and len(inputs) and (inputs.second is not None) == self.config.pairs:
            return
        form = "Texts of pairs" if self.config.pairs else "Texts of single sentences"
        given = repr(inputs) if isinstance(inputs, Texts) else f"a {type(inputs).__name__}"
        raise ExportError(f"texts: this bundle takes {form}, at least one, not {given} -> give it such texts")

    def copied(self) -> Self:
        """As `Student` says."""
        hf = copy.deepcopy(self.model.hf).cpu().float()
        return replace(self, model=TextEncoder(hf).eval())

    def in_torch(self) -> Runtime:
        """As `Student` says."""
        device = next(self.model.parameters()).device

        @torch.inference_mode()
        def run(inputs: Inputs, batch_size: int) -> Tensor:
            batches = self._batches(inputs, batch_size, device)
            return in_order((rows, self.model(batch).float().cpu()) for rows, batch in batches)

        return run

    def in_onnx(self, path: Path) -> Runtime:
        """As `Student` says."""
        onnx = OnnxModel(path, self.input_names)

        def run(inputs: Inputs, batch_size: int) -> Tensor:
            batches = self._batches(inputs, batch_size, torch.device("cpu"))
            return in_order((rows, onnx.run(batch)) for rows, batch in batches)

        return run

    def save(self, folder: Path) -> None:
        """As `Student` says; what a tokenizer saves beside its own plain files (templates of chats) is left out."""
        save_encoder(self.model, folder, self.tokenizer)
        for path in folder.iterdir():
            if path.suffix not in SUFFIXES:
                path.unlink()

    def save_onnx(self, path: Path, examples: Inputs) -> None:
        """As `Student` says."""
        _, batch = next(self._batches(examples, len(examples), torch.device("cpu")))
        longest = {name: part[-2:] for name, part in batch.items()}
        export_onnx(_TokenModel(self.model).eval(), path, longest, {0: "batch", 1: "length"})

    def save_int8(self, source: Path, path: Path, training: Inputs) -> None:
        """As `Student` says; dynamic, so the training texts are not looked at."""
        quantize_dynamic(source, path)

    def feed(self, inputs: Inputs) -> dict[str, np.ndarray]:
        """As `Student` says; padded to the longest."""
        assert isinstance(inputs, Texts), "checked before"
        tokens = Tokens.of(self.tokenizer, inputs.columns, self.config.max_length)
        return {name: part.numpy() for name, part in tokens.batch(torch.arange(len(inputs))).items()}

    def example(self) -> dict[str, np.ndarray]:
        """As `Student` says."""
        return self.feed(Texts(("A text.",), ("Another text.",) if self.config.pairs else None))

    @property
    def input_names(self) -> tuple[str, ...]:
        """What the encoder takes, each int64 [batch, length]."""
        typed = "token_type_ids" in self.tokenizer.model_input_names
        return ("input_ids", "attention_mask", *(("token_type_ids",) if typed else ()))

    def _batches(
        self, inputs: Inputs, batch_size: int, device: torch.device
    ) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        assert isinstance(inputs, Texts), "checked before"
        tokens = Tokens.of(self.tokenizer, inputs.columns, self.config.max_length)
        return tokens.to(device).by_length(batch_size)


class _TokenModel(nn.Module):
    """An encoder with its inputs by name, as exporters want them."""

    def __init__(self, model: TextEncoder) -> None:
        super().__init__()
        self.hf = model.hf

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        tokens = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            tokens["token_type_ids"] = token_type_ids
        logits: Tensor = self.hf(**tokens).logits
        return logits


def _refuse_too_large(folder: Path) -> None:
    """Bound the encoder by its weights before any of it is built: its counts are free, and could exhaust memory."""
    path = folder / SHAPE
    shapes = tensor_shapes(folder / WEIGHTS)
    if path.stat().st_size > JSON_LIMIT:
        raise ExportError(f"{path}: is larger than {JSON_LIMIT} bytes -> {AGAIN}")
    try:
        settings = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ExportError(f"{path}: cannot be read: {error} -> {AGAIN}") from error
    sides = (side for shape in shapes.values() for side in shape)
    bound = max(_LARGEST, *sides, 0)
    for name, number in _integers(settings):
        if name.endswith("theta"):  # a base of angles: nothing has that size
            continue
        limit = len(shapes) if "layer" in name or "group" in name else bound
        if abs(number) > limit:
            raise ExportError(
                f"{path}: {name} is {number}, too much for the {len(shapes)} tensors of {WEIGHTS} -> {AGAIN}"
            )


def _integers(settings: Any, name: str = "") -> Iterator[tuple[str, int]]:
    """Every whole number in JSON but those of classes, with the name of the field that it belongs to."""
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            if key not in _CLASSES:
                yield from _integers(value, key)
    elif isinstance(settings, list):
        for value in settings:
            yield from _integers(value, name)
    elif isinstance(settings, int) and not isinstance(settings, bool):
        yield name, settings
    elif isinstance(settings, float) and settings.is_integer():
        yield name, int(settings)


def _refuse_other_shapes(architecture: Encoder, config: TextBundleConfig, folder: Path) -> None:
    expected = encoder_shapes(architecture, outputs=config.outputs, labels=config.classes)
    found = tensor_shapes(folder / WEIGHTS)
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        name = wrong[0]
        raise ExportError(
            f"{folder / WEIGHTS}: is not of the encoder in {SHAPE}: {len(wrong)} tensors differ, such as {name}, "
            f"{_form(found.get(name))} and not {_form(expected.get(name))} -> {AGAIN}"
        )


def _form(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else str(list(shape))
