"""Any text encoder of transformers as a classifier or regressor: whole, cut down to some of its layers, or fresh.

A classifier consists of the encoder and a head. What the base's weights hold is kept, its head included where that
has as many outputs; the rest is drawn from the seed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
from torch import Tensor, nn

from autockd.config.models import Encoder
from autockd.errors import ModelError, cannot_write, reason_of
from autockd.folders import DRAFTS, whole_file
from autockd.hashing import content_hash
from autockd.models.attention import ATTENTION, register_attention, use_quick_attention
from autockd.models.dropout import use_quick_dropout
from autockd.models.encoder_shape import encoder_shape, kept_layers, label_order, resize_stack
from autockd.models.hub import base_folder, quiet_transformers
from autockd.models.weights import load_weights

ENCODER_WEIGHTS = "model.safetensors"
"""The name under which transformers looks for weights in a folder."""


WHOLE_MASKS = ("bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta")
"""Architectures that take a mask for each pair of tokens as it is. One for each token they first look at, to leave it
out where nothing is masked, and that waits for a GPU in every step."""


def whole_mask(mask: Tensor) -> Tensor:
    """Which tokens each token attends to: bool [B, 1, L, L], from an attention mask [B, L]."""
    return mask.bool()[:, None, None, :].expand(-1, -1, mask.shape[1], -1)


class TextEncoder(nn.Module):
    """A sequence classifier of transformers that takes tokens and returns logits.

    It has the classifier's modules as its own, so that parameters and state have the names that transformers gives
    them: what is saved loads there, and the other way round.

    Attributes:
        hf: the `PreTrainedModel`; its modules are those of this one, not copies.
    """

    hf: Any

    def __init__(self, hf: Any) -> None:
        super().__init__()
        self.__dict__["hf"] = hf  # not as a submodule, which would put its name before all others
        self._modules, self._parameters, self._buffers = hf._modules, hf._parameters, hf._buffers

    def __setstate__(self, state: dict[str, Any]) -> None:
        register_attention()  # this may be another process than that it was built in
        super().__setstate__(state)  # type: ignore[no-untyped-call]

    def forward(self, tokens: Mapping[str, Tensor]) -> Tensor:
        """Logits, float32 [B, outputs].

        Args:
            tokens: input_ids and attention_mask, int64 [B, L], and token_type_ids where the tokenizer gives them.
        """
        mask = tokens["attention_mask"]
        if mask.device.type == "cuda" and self._takes_whole_masks:
            tokens = {**tokens, "attention_mask": whole_mask(mask)}
        return cast(Tensor, self.hf(**tokens).logits.float())

    @property
    def _takes_whole_masks(self) -> bool:
        config = self.hf.config
        return config.model_type in WHOLE_MASKS and config._attn_implementation == ATTENTION

    def train(self, mode: bool = True) -> TextEncoder:
        """As `nn.Module.train`."""
        super().train(mode)
        self.hf.training = mode
        return self


def build_encoder(config: Encoder, *, outputs: int, seed: int, labels: tuple[str, ...] = ()) -> TextEncoder:
    """The encoder that `config` describes, on the CPU, in training mode, in float32.

    Args:
        config: its base, and what is changed of it.
        outputs: number of logits; 1 is regression.
        seed: of what is fresh: the same seed gives the same weights, and no global generator is touched.
        labels: name of each class. Where the base, or what lies beside its weights, is a classifier of the same names
            in another order, its outputs are brought into this one.

    Returns:
        A module from tokens to logits [B, outputs].

    Raises:
        ModelError: there is no such base, it is no encoder, its weights are not safetensors or not its own, or the
            configuration asks for layers or sizes that it cannot have.
    """
    assert not labels or len(labels) == outputs, "a name for each class"
    folder = base_folder(config)
    with torch.random.fork_rng(devices=[]), quiet_transformers():
        # Not torch.manual_seed, which would seed the generators of all GPUs as well.
        torch.default_generator.manual_seed(seed)
        shape, order = _shape(config, folder, outputs, labels)
        hf = _fresh(shape, folder) if config.initial == "random" else _pretrained(config, shape, folder, order)
        use_quick_attention(hf)
        use_quick_dropout(hf)
    model = TextEncoder(hf).train()
    if config.weights is not None:
        load_weights(model, config.weights)
        order = _order_beside(config.weights, labels)
        if order is not None:
            _reorder_outputs(hf, order)
    return model


def _order_beside(weights: Path, labels: tuple[str, ...]) -> tuple[int, ...] | None:
    """Where weights have their outputs for `labels`, by the config.json that lies beside them; see `label_order`."""
    if not labels or not (weights.parent / "config.json").is_file():
        return None
    return label_order(_read_shape(weights.parent), labels)


def encoder_shapes(config: Encoder, *, outputs: int, labels: tuple[str, ...] = ()) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor of a fresh encoder by its name, of which none is made.

    Raises:
        ModelError: as `build_encoder`.
    """
    from transformers import AutoModelForSequenceClassification

    folder = base_folder(config)
    with quiet_transformers():
        shape, _ = _shape(config, folder, outputs, labels)
        if config.initial == "pretrained" and config.layers is not None:
            kept_layers(config.layers, shape.num_hidden_layers)
        try:
            with torch.device("meta"):
                hf = AutoModelForSequenceClassification.from_config(shape, trust_remote_code=False)
        except Exception as error:  # each architecture has its own rules for its sizes
            raise _unreadable(folder, error) from error
    return {name: tuple(size) for name, size in _shapes(hf).items()}


def save_encoder(model: TextEncoder, folder: Path, tokenizer: Any) -> None:
    """Write all that `from_pretrained` needs: configuration, tokenizer and, last, the weights; no path of this machine.

    A reader that finds `ENCODER_WEIGHTS` finds the rest as well, all of it whole. The tensors have the names that they
    have in the model, even where the file that it came from has others.

    Raises:
        EnvironmentProblem: the folder cannot be written.
    """
    tokenizer.backend_tokenizer.no_truncation()  # what its last call left there
    tokenizer.backend_tokenizer.no_padding()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix=DRAFTS) as name, quiet_transformers():
            tokenizer.save_pretrained(name)
            model.hf.save_pretrained(name, max_shard_size="1TB", save_original_format=False)
            for file in sorted(Path(name).iterdir(), key=lambda file: (file.name == ENCODER_WEIGHTS, file.name)):
                with whole_file(folder / file.name) as draft:
                    file.replace(draft)
    except OSError as error:
        raise cannot_write("encoder", folder, error) from error


def reading_hash(model: TextEncoder, tokenizer: Any) -> str:
    """Hash of what decides an encoder's answers beside its weights: its configuration and its tokenizer.

    Args:
        model: the encoder.
        tokenizer: as `load_tokenizer` gives it.
    """
    shape = json.loads(model.hf.config.to_json_string(use_diff=False))
    lasting = {name: value for name, value in shape.items() if not name.startswith("_") and name not in _PASSING}
    limits = [tokenizer.model_max_length, tokenizer.truncation_side, list(tokenizer.model_input_names)]
    return content_hash([lasting, limits, tokenizer.backend_tokenizer.to_str()])


_PASSING = ("transformers_version", "dtype", "torch_dtype")
"""What a configuration says of how it was saved, and nothing of what the encoder answers."""


def _read_shape(folder: Path) -> Any:
    """What a config.json says."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # whatever a config.json makes the reader stumble over is the file's fault
        raise _unreadable(folder, error) from error


def _shape(config: Encoder, folder: Path, outputs: int, labels: tuple[str, ...]) -> tuple[Any, tuple[int, ...] | None]:
    shape = _read_shape(folder)
    order = label_order(shape, labels)
    try:
        return encoder_shape(config, shape, outputs, labels), order
    except ModelError:
        raise
    except Exception as error:  # an architecture may not let its sizes be set
        raise _unreadable(folder, error) from error


def _fresh(shape: Any, folder: Path) -> Any:
    from transformers import AutoModelForSequenceClassification

    try:
        hf = AutoModelForSequenceClassification.from_config(shape, dtype=torch.float32, trust_remote_code=False).eval()
        with torch.no_grad():  # sizes that do not fit together may show only here
            hf(input_ids=torch.zeros(1, 8, dtype=torch.int64), attention_mask=torch.ones(1, 8, dtype=torch.int64))
        return hf
    except Exception as error:  # each architecture has its own rules for its sizes
        raise _unreadable(folder, error) from error


def _pretrained(config: Encoder, shape: Any, folder: Path, order: tuple[int, ...] | None) -> Any:
    from transformers import AutoModelForSequenceClassification

    _require_safetensors(folder)
    try:
        hf, loading = AutoModelForSequenceClassification.from_pretrained(
            folder,
            config=shape,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            ignore_mismatched_sizes=True,  # a head of other outputs
            output_loading_info=True,
        )
    except Exception as error:  # whatever an arbitrary file makes the reader stumble over is the file's fault
        raise _unreadable(folder, error) from error
    _require_own_weights(hf, loading, folder)
    if order is not None:
        _reorder_outputs(hf, order)
    if config.layers is not None:
        _cut(hf, kept_layers(config.layers, shape.num_hidden_layers), folder)
    return hf


def _require_safetensors(folder: Path) -> None:
    if (folder / ENCODER_WEIGHTS).is_file() or (folder / f"{ENCODER_WEIGHTS}.index.json").is_file():
        return
    pickled = next(folder.glob("pytorch_model*.bin"), None)
    found = f"; {pickled.name} is a pickle, which may hold code and is never loaded" if pickled else ""
    raise ModelError(
        f"path: {folder} has no {ENCODER_WEIGHTS}{found} -> save the model with save_pretrained, or name a revision "
        "with safetensors"
    )


def _require_own_weights(hf: Any, loading: Mapping[str, Any], folder: Path) -> None:
    """The encoder itself must come from the file; its head and pooler may be fresh."""
    mismatched = [key if isinstance(key, str) else key[0] for key in loading["mismatched_keys"]]
    lacking = [
        name
        for name in sorted([*loading["missing_keys"], *mismatched])
        if name.startswith(f"{hf.base_model_prefix}.") and ".pooler." not in name
    ]
    if lacking:
        listing = ", ".join(lacking[:3]) + (", ..." if len(lacking) > 3 else "")
        raise ModelError(
            f"path: the weights of {folder} are not those of its config.json: {len(lacking)} tensors are missing or "
            f"of another shape ({listing}) -> copy the whole folder again, or name another one"
        )


def _reorder_outputs(hf: Any, order: tuple[int, ...]) -> None:
    """Row i of the head becomes what was row order[i]."""
    head = [part for part in hf.modules() if isinstance(part, nn.Linear) and part.out_features == len(order)][-1]
    with torch.no_grad():
        head.weight.copy_(head.weight[list(order)])
        if head.bias is not None:
            head.bias.copy_(head.bias[list(order)])


def _cut(hf: Any, kept: tuple[int, ...], folder: Path) -> None:
    """Leave only some of the layers; what remains is what transformers builds for the new configuration."""
    total = hf.config.num_hidden_layers
    stacks = [name for name, part in hf.named_modules() if isinstance(part, nn.ModuleList) and len(part) == total]
    if len(stacks) != 1:
        raise ModelError(
            f"layers: {folder} ({hf.config.model_type}) has no stack of {total} layers -> leave layers out"
        )
    stack = hf.get_submodule(stacks[0])
    hf.set_submodule(stacks[0], nn.ModuleList([stack[index] for index in kept]))
    for place, layer in enumerate(hf.get_submodule(stacks[0])):
        for part in layer.modules():
            if hasattr(part, "layer_idx"):
                part.layer_idx = place
    resize_stack(hf.config, kept)
    _require_same_architecture(hf, folder)


def _require_same_architecture(hf: Any, folder: Path) -> None:
    """Some architectures have layers that differ by their place; cut, they would not load again."""
    try:
        with torch.device("meta"):
            again = type(hf)(hf.config)
    except Exception as error:  # whatever a configuration says layer by layer, in words that nobody here knows
        raise ModelError(
            f"layers: {folder} ({hf.config.model_type}) cannot be cut ({reason_of(error)}) -> leave layers out"
        ) from error
    if _shapes(again) != _shapes(hf):
        raise ModelError(f"layers: {folder} ({hf.config.model_type}) has layers that are not alike -> keep the first")


def _shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


def _unreadable(folder: Path, error: Exception) -> ModelError:
    return ModelError(
        f"path: {folder} cannot be read as an encoder ({reason_of(error, with_file=True)}) -> name a transformers model"
    )
