"""Weights on disk and by name: read without running code, written in one move, hashed by content.

A state is a mapping from a tensor's name to the tensor, as `nn.Module.state_dict` gives it.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from autockd.errors import ModelError, cannot_write, reason_of
from autockd.folders import whole_file
from autockd.hashing import bytes_hash

_WRAPPERS = ("state_dict", "model_state_dict", "model")
_COUNTER = "n_averaged"  # what AveragedModel of torch has beside the averages
_PREFIXES = ("module.", "_orig_mod.")  # put on every name by DataParallel and by torch.compile
_OUTDATED = ".embeddings.position_ids"  # the numbers from 0 on, which transformers wrote until 4.31
_RENAMED = {".LayerNorm.gamma": ".LayerNorm.weight", ".LayerNorm.beta": ".LayerNorm.bias"}  # of BERT's first weights
_LISTED = 5


def load_weights(model: nn.Module, path: Path) -> None:
    """Copy the tensors of a file into `model`: all of them, or none where they do not fit.

    Raises:
        ModelError: the file cannot be read (see `read_state`), its names, shapes or kinds of numbers are not the
            model's, or a value in it is no number.
    """
    wanted = model.state_dict()
    state = _as_named_now(read_state(path), wanted)
    misfits = _misfits(wanted, state)
    if misfits:
        raise ModelError(
            f"weights: {path} does not fit {type(model).__name__}: {'; '.join(misfits)} -> give weights of the same "
            "architecture, widths, channels and classes, or leave `weights` out to start from fresh ones"
        )
    if broken := [name for name, tensor in state.items() if not tensor.isfinite().all()]:
        raise ModelError(
            f"weights: {path} holds NaN or infinity in {_listing(broken)}: its training has diverged, or it is damaged "
            "-> give weights that are numbers"
        )
    model.load_state_dict(state)


def save_weights(model_or_state: nn.Module | Mapping[str, torch.Tensor], path: Path) -> None:
    """Write tensors as safetensors; a reader sees the old file or the whole new one, even after a crash.

    Raises:
        EnvironmentProblem: the file cannot be written.
    """
    state = model_or_state.state_dict() if isinstance(model_or_state, nn.Module) else model_or_state
    # Copies: safetensors refuses tensors that share memory, and their order in memory must not matter.
    tensors = {name: _plain(tensor).clone() for name, tensor in state.items()}
    try:
        with whole_file(path) as draft:
            save_file(tensors, draft)
    except (OSError, SafetensorError) as error:
        raise cannot_write("weights", path, error) from error


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file, on the CPU: safetensors by its suffix, else a PyTorch state dict without code in it.

    A state wrapped as {"state_dict": ...} or {"model": ...} is taken out, and prefixes that DataParallel
    ("module.") or torch.compile ("_orig_mod.") put on every name are taken off.

    Raises:
        ModelError: no such file, a damaged one, a pickle that needs code, or something that is not a state.
    """
    if not path.is_file():
        raise ModelError(f"weights: {path} is not a file -> give the path of a safetensors file or a state dict")
    state = _read_safetensors(path) if path.suffix.lower() == ".safetensors" else _read_pickle(path)
    return _without_prefixes(_unwrapped(state, path))


def weights_hash(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 (hex) over names, dtypes, shapes and values, whatever the device, memory format or order of names."""
    parts: list[bytes | memoryview] = []
    for name in sorted(state):
        tensor = _plain(state[name])
        parts += [name.encode(), str(tensor.dtype).encode(), str(tuple(tensor.shape)).encode()]
        parts.append(tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return bytes_hash(*parts)


def count_parameters(model: nn.Module) -> int:
    """Number of learnable values; a shared tensor counts once, buffers do not count."""
    return sum(parameter.numel() for parameter in model.parameters())


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().cpu().contiguous()


def _read_safetensors(path: Path) -> Any:
    try:
        return load_file(path, device="cpu")
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error


def _read_pickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"weights: {path} is damaged or holds more than tensors; what would run code is never loaded -> save the "
            "weights alone, as safetensors or with torch.save(model.state_dict(), path)"
        ) from error
    except Exception as error:  # whatever an arbitrary file makes the reader stumble over is the file's fault
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ModelError:
    return ModelError(
        f"weights: {path} cannot be read ({reason_of(error)}) -> it may be cut short; copy or save it again"
    )


def _unwrapped(state: Any, path: Path) -> dict[str, torch.Tensor]:
    for wrapper in _WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not state:
        raise ModelError(f"weights: {path} holds no tensors by name -> save model.state_dict()")
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise ModelError(
                f"weights: {path} is no state: {name!r} is of type {type(tensor).__name__}, all must be tensors "
                "-> save model.state_dict()"
            )
    return {name: tensor for name, tensor in state.items() if name != _COUNTER}


def _without_prefixes(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    while state and (prefix := next((one for one in _PREFIXES if all(name.startswith(one) for name in state)), None)):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _as_named_now(state: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors by the names that today's transformers gives them, but for what the model knows by its old name.

    None takes the place of another.
    """
    kept = {name: tensor for name, tensor in state.items() if name in wanted or not name.endswith(_OUTDATED)}
    return {
        name if name in wanted or _renamed(name) in kept else _renamed(name): tensor for name, tensor in kept.items()
    }


def _renamed(name: str) -> str:
    old = next((old for old in _RENAMED if name.endswith(old)), None)
    return name if old is None else name.removesuffix(old) + _RENAMED[old]


def _misfits(wanted: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]) -> list[str]:
    """Why `given` cannot be copied into `wanted`; empty where it can."""
    # Batch norms written before PyTorch 0.4.1 count no batches; load_state_dict fills that in.
    missing = [name for name in wanted if name not in given and not name.endswith(".num_batches_tracked")]
    unexpected = [name for name in given if name not in wanted]
    reshaped = [
        f"{name} ({list(given[name].shape)} in the file, {list(tensor.shape)} in the model)"
        for name, tensor in wanted.items()
        if name in given and given[name].shape != tensor.shape
    ]
    retyped = [
        f"{name} ({given[name].dtype} in the file, {tensor.dtype} in the model)"
        for name, tensor in wanted.items()
        if name in given and given[name].is_floating_point() != tensor.is_floating_point()
    ]
    found = {
        "missing": missing,
        "unexpected": unexpected,
        "of another shape": reshaped,
        "of another kind of number": retyped,
    }
    return [f"{len(names)} {problem}: {_listing(names)}" for problem, names in found.items() if names]


def _listing(names: list[str]) -> str:
    return ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
