from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path

import pytest
import torch
from torch import nn

from autockd.errors import EnvironmentProblem, ModelError
from autockd.models import ResNet6n2, count_parameters, load_weights, read_state, save_weights, weights_hash

State = dict[str, torch.Tensor]


@pytest.fixture
def model() -> ResNet6n2:
    torch.manual_seed(0)
    return ResNet6n2(8, (4, 8, 16), "B", classes=10, channels=1)


def other() -> ResNet6n2:
    torch.manual_seed(1)
    return ResNet6n2(8, (4, 8, 16), "B", classes=10, channels=1)


class Hostile:
    """Unpickled as code: leaves a file behind wherever it is loaded without care."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def test_safetensors_round_trip_is_exact(model: ResNet6n2, tmp_path: Path) -> None:
    save_weights(model, tmp_path / "model.safetensors")
    copy = other()
    load_weights(copy, tmp_path / "model.safetensors")
    for name, tensor in model.state_dict().items():
        assert torch.equal(copy.state_dict()[name], tensor), name


def test_dtypes_scalars_shared_and_strided_tensors_survive(tmp_path: Path) -> None:
    shared = torch.arange(24, dtype=torch.bfloat16).reshape(1, 2, 3, 4)
    state = {
        "a": shared,
        "b": shared,
        "last": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "count": torch.tensor(7),
        "empty": torch.empty(0, 3),
        "mask": torch.tensor([True, False]),
    }
    save_weights(state, tmp_path / "state.safetensors")
    loaded = read_state(tmp_path / "state.safetensors")
    assert loaded.keys() == state.keys()
    for name, tensor in state.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)
    assert weights_hash(loaded) == weights_hash(state)


def test_saving_replaces_and_leaves_nothing_else_behind(model: ResNet6n2, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_weights(other(), path)
    save_weights(model, path)
    assert list(tmp_path.iterdir()) == [path]
    assert weights_hash(read_state(path)) == weights_hash(model.state_dict())


def test_saving_where_nothing_can_be_written_is_an_environment_problem(model: ResNet6n2, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in ("missing", "file"):
        with pytest.raises(EnvironmentProblem, match=rf"cannot write .*{folder}"):
            save_weights(model, tmp_path / folder / "model.safetensors")


def test_a_failed_save_keeps_the_old_file(model: ResNet6n2, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.mkdir()  # cannot be replaced by a file
    (path / "old").touch()
    with pytest.raises(EnvironmentProblem):
        save_weights(model, path)
    assert list(tmp_path.iterdir()) == [path]
    assert (path / "old").exists()


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod.", "_orig_mod.module."])
def test_state_dicts_are_unwrapped(model: ResNet6n2, tmp_path: Path, wrapper: str | None, prefix: str) -> None:
    state = {prefix + name: tensor for name, tensor in model.state_dict().items()}
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / "model.pt")
    assert weights_hash(read_state(tmp_path / "model.pt")) == weights_hash(model.state_dict())


def test_layer_norms_may_have_the_names_of_berts_first_weights(tmp_path: Path) -> None:
    model, copy = (nn.ModuleDict({"LayerNorm": nn.LayerNorm(3), "gamma": nn.Linear(2, 2)}) for _ in range(2))
    nn.init.normal_(model["LayerNorm"].weight)  # type: ignore[arg-type]
    state = {f"body.{name}": tensor for name, tensor in model.state_dict().items()}
    state["body.LayerNorm.gamma"], state["body.LayerNorm.beta"] = (
        state.pop(f"body.LayerNorm.{name}") for name in ("weight", "bias")
    )
    save_weights(state, tmp_path / "model.safetensors")
    whole = nn.ModuleDict({"body": copy})
    load_weights(whole, tmp_path / "model.safetensors")
    assert weights_hash(copy.state_dict()) == weights_hash(model.state_dict())


def test_averages_are_weights(model: ResNet6n2, tmp_path: Path) -> None:
    torch.save(torch.optim.swa_utils.AveragedModel(model).state_dict(), tmp_path / "model.pt")
    assert weights_hash(read_state(tmp_path / "model.pt")) == weights_hash(model.state_dict())


def test_a_batch_norm_that_counts_no_batches_still_loads(model: ResNet6n2, tmp_path: Path) -> None:
    state = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "old.pth")
    copy = other()
    load_weights(copy, tmp_path / "old.pth")
    assert torch.equal(copy.linear.weight, model.linear.weight)


@pytest.mark.parametrize("new_format", [True, False])
def test_a_hostile_pickle_is_refused_and_never_run(tmp_path: Path, new_format: bool) -> None:
    mark, path = tmp_path / "mark", tmp_path / "teacher.pt"
    torch.save({"linear.weight": Hostile(mark)}, path, _use_new_zipfile_serialization=new_format)
    with pytest.raises(ModelError, match=r"teacher\.pt is damaged or holds more than tensors; .* -> save the weights"):
        read_state(path)
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists()  # so the file was a real attack


def test_a_pickle_named_safetensors_is_not_unpickled(tmp_path: Path) -> None:
    mark, path = tmp_path / "mark", tmp_path / "teacher.safetensors"
    torch.save({"linear.weight": Hostile(mark)}, path)
    with pytest.raises(ModelError, match=r"teacher\.safetensors cannot be read"):
        read_state(path)
    assert not mark.exists()


def test_a_whole_pickled_module_is_refused(model: ResNet6n2, tmp_path: Path) -> None:
    torch.save(model, tmp_path / "whole.pt")
    with pytest.raises(ModelError, match=r"model\.state_dict\(\)"):
        read_state(tmp_path / "whole.pt")


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("kept", [0, 5, 0.5, 0.99])
def test_a_truncated_file_is_named(model: ResNet6n2, tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f"cut{suffix}"
    if suffix == ".pt":
        torch.save(model.state_dict(), path)
    else:
        save_weights(model, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept if kept > 1 else kept * len(whole))])
    with pytest.raises(ModelError, match=rf"cut{suffix} .* -> "):
        read_state(path)


@pytest.mark.parametrize("path", ["none.pt", "none.safetensors", "."])
def test_what_is_not_a_file_is_named(tmp_path: Path, path: str) -> None:
    with pytest.raises(ModelError, match=r"weights: .* is not a file -> "):
        read_state(tmp_path / path)


@pytest.mark.parametrize(
    "content", [{}, [1, 2], {"epoch": 3}, {7: torch.ones(1)}, {"model": {"w": [1.0]}}, torch.ones(3)]
)
def test_what_is_not_a_state_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(ModelError, match=r"odd\.pt (holds no tensors|is no state)"):
        read_state(tmp_path / "odd.pt")


def test_misfits_are_listed_and_nothing_is_loaded(model: ResNet6n2, tmp_path: Path) -> None:
    state = model.state_dict()
    state["stranger"] = state.pop("linear.bias")
    state["linear.weight"] = torch.zeros(100, 16)
    save_weights(state, tmp_path / "odd.safetensors")
    copy = other()
    before = weights_hash(copy.state_dict())
    with pytest.raises(ModelError) as caught:
        load_weights(copy, tmp_path / "odd.safetensors")
    message = str(caught.value)
    assert "1 missing: linear.bias; 1 unexpected: stranger" in message
    assert "1 of another shape: linear.weight ([100, 16] in the file, [10, 16] in the model)" in message
    assert weights_hash(copy.state_dict()) == before


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused_by_name(model: ResNet6n2, value: float, tmp_path: Path) -> None:
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state["linear.weight"][3, 1] = value
    save_weights(state, tmp_path / "diverged.safetensors")
    untouched = other()
    with pytest.raises(ModelError, match=r"holds NaN or infinity in linear\.weight: its training has diverged"):
        load_weights(untouched, tmp_path / "diverged.safetensors")
    assert weights_hash(untouched.state_dict()) == weights_hash(other().state_dict())


def test_whole_numbers_are_no_weights(model: ResNet6n2, tmp_path: Path) -> None:
    """They would be rounded, of fresh weights nearly all to 0."""
    state = {name: tensor.int() if name == "conv1.weight" else tensor for name, tensor in model.state_dict().items()}
    save_weights(state, tmp_path / "rounded.safetensors")
    told = r"1 of another kind of number: conv1\.weight \(torch\.int32 in the file, torch\.float32 in the model\)"
    with pytest.raises(ModelError, match=told):
        load_weights(other(), tmp_path / "rounded.safetensors")


def test_at_most_five_misfits_are_listed(tmp_path: Path) -> None:
    save_weights(ResNet6n2(8, (5, 9, 17), "A", classes=10), tmp_path / "wide.safetensors")
    with pytest.raises(ModelError) as caught:
        load_weights(ResNet6n2(8, (4, 8, 16), "A", classes=10), tmp_path / "wide.safetensors")
    assert str(caught.value).count("in the model") == 5


def test_the_hash_ignores_memory_format_and_order(model: ResNet6n2) -> None:
    digest = weights_hash(model.state_dict())
    moved = model.to(memory_format=torch.channels_last).state_dict()
    assert weights_hash(dict(reversed(moved.items()))) == digest


def _changed(**changes: torch.Tensor) -> State:
    return {"a": torch.arange(6.0), "b": torch.zeros(2), **changes}


@pytest.mark.parametrize(
    "state",
    [
        _changed(a=torch.arange(6.0).reshape(2, 3)),
        _changed(a=torch.arange(6.0).double()),
        _changed(b=torch.zeros(2).int()),  # the same bytes
        _changed(b=torch.tensor([0.0, 1e-30])),
        _changed(c=torch.empty(0)),
        {"a": torch.arange(6.0), "c": torch.zeros(2)},
        {"a": torch.zeros(2), "b": torch.arange(6.0)},
    ],
)
def test_the_hash_sees_names_shapes_dtypes_and_values(state: State) -> None:
    assert weights_hash(state) != weights_hash(_changed())


def test_the_hash_is_that_of_the_framed_parts() -> None:
    parts = [b"a", b"torch.float32", b"(6,)", struct.pack("<6f", *range(6))]
    parts += [b"b", b"torch.float32", b"(2,)", bytes(8)]
    framed = b"".join(struct.pack("<Q", len(part)) + part for part in parts)
    assert weights_hash(_changed()) == hashlib.sha256(framed).hexdigest()


def test_shared_parameters_count_once_and_buffers_never() -> None:
    tied = nn.Sequential(nn.Linear(3, 3, bias=False), nn.BatchNorm1d(3))
    tied.append(tied[0])
    assert count_parameters(tied) == 9 + 6


def test_positions_that_older_encoders_wrote_down_are_passed_over(tmp_path: Path) -> None:
    """Transformers kept the numbers from 0 on among the weights of BERT and its kin until version 4.31."""

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bert = torch.nn.ModuleDict({"embeddings": torch.nn.Embedding(3, 2)})

    old, new = Encoder(), Encoder()
    torch.save(old.state_dict() | {"bert.embeddings.position_ids": torch.arange(8)}, tmp_path / "model.pt")
    load_weights(new, tmp_path / "model.pt")
    assert weights_hash(new.state_dict()) == weights_hash(old.state_dict())
