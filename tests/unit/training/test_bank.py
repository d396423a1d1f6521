from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from autockd.config.tasks import Augmentation, Digits
from autockd.data import Task, load_task
from autockd.data.views import Views
from autockd.errors import EnvironmentProblem, StudyError
from autockd.training.bank import BankIdentity, TeacherBank
from autockd.training.live_teacher import LiveTeacher

Pairs = tuple[torch.Tensor, torch.Tensor]
Open = Callable[..., TeacherBank]


def absent() -> LiveTeacher:
    raise AssertionError("a bank that has every entry must not ask for its teacher")


@pytest.fixture
def identity(task: Task) -> BankIdentity:
    return BankIdentity.of("some teacher", task)


@pytest.fixture
def open_bank(tmp_path: Path, identity: BankIdentity, live: LiveTeacher) -> Open:
    def make(teacher: Callable[[], LiveTeacher] = lambda: live, folder: str = "banks") -> TeacherBank:
        return TeacherBank(tmp_path / folder, identity, teacher)

    return make


@pytest.fixture
def pairs(task: Task) -> Pairs:
    return every_pair(task)


def every_pair(task: Task) -> Pairs:
    numbers = torch.arange(len(task.train) * task.views.count)
    return numbers // task.views.count, numbers % task.views.count


def ask_the_network(live: LiveTeacher, indices: torch.Tensor, views: torch.Tensor) -> torch.Tensor:
    """The network's logits of views that are cut out one by one, by the definition, in batches of 100."""
    task = live.task
    padding = task.views.crop_padding
    images = []
    for index, view in zip(indices.tolist(), views.tolist(), strict=True):
        crop, flip = divmod(view, 2)
        dy, dx = divmod(crop, 2 * padding + 1)
        height, width = task.image_size
        image = F.pad(task.train.inputs[index], [padding] * 4)[:, dy : dy + height, dx : dx + width]
        images.append(image.flip(2) if flip else image)
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (task.mean, task.std))
    inputs = (torch.stack(images) / 255 - mean) / std
    with torch.no_grad():
        return torch.cat([live.model.eval()(chunk) for chunk in inputs.split(100)])


def test_every_view_is_what_the_network_says(open_bank: Open, live: LiveTeacher, pairs: Pairs) -> None:
    bank = open_bank()
    found = bank.logits(*pairs)
    assert torch.equal(found, live.logits(*pairs))
    torch.testing.assert_close(found, ask_the_network(live, *pairs), rtol=1e-4, atol=1e-4)
    assert bank.filled == len(pairs[0])


def test_views_of_a_sample_differ(open_bank: Open, task: Task) -> None:
    views = torch.arange(task.views.count)
    logits = open_bank().logits(torch.zeros_like(views), views)
    assert len({tuple(row) for row in logits.tolist()}) > 1


def test_what_was_asked_once_is_not_computed_again(open_bank: Open) -> None:
    bank = open_bank()
    indices, views = torch.tensor([5, 0, 5, 5]), torch.tensor([1, 2, 1, 3])
    first = bank.logits(indices, views)
    assert (bank.hits, bank.misses, bank.filled) == (1, 3, 3)
    assert torch.equal(bank.logits(indices, views), first)
    assert (bank.hits, bank.misses, bank.filled) == (5, 3, 3)
    assert torch.equal(first[0], first[2])


def test_another_bank_of_the_same_finds_all_filled(open_bank: Open, pairs: Pairs) -> None:
    first = open_bank().logits(*pairs)
    bank = open_bank(absent)
    assert torch.equal(bank.logits(*pairs), first)
    assert (bank.hits, bank.misses) == (len(first), 0)


def test_entries_do_not_depend_on_the_order_of_filling(open_bank: Open, task: Task, pairs: Pairs) -> None:
    together, apart = open_bank(folder="a"), open_bank(folder="b")
    together.fill(*pairs)
    order = torch.randperm(len(pairs[0]), generator=torch.Generator().manual_seed(3))
    for chunk in torch.split(order, 7)[:100] + torch.split(order, 501):
        apart.fill(pairs[0][chunk], pairs[1][chunk])
    for name in ("logits.f32", "filled.u8"):
        assert (together.folder / name).read_bytes() == (apart.folder / name).read_bytes()


def test_filling_beforehand_counts_what_was_missing(open_bank: Open, pairs: Pairs) -> None:
    bank = open_bank()
    some = (pairs[0][:10], pairs[1][:10])
    assert [bank.fill(*some), bank.fill(*some), bank.fill(*pairs)] == [10, 0, len(pairs[0]) - 10]
    bank.logits(*pairs)
    assert (bank.hits, bank.misses) == (len(pairs[0]), 0)


def test_an_entry_without_its_mark_is_computed_again(open_bank: Open, live: LiveTeacher, pairs: Pairs) -> None:
    """A kill between the two writes leaves logits on disk, perhaps torn, and no mark."""
    bank = open_bank()
    bank.fill(*pairs)
    torn = np.memmap(bank.folder / "logits.f32", np.float32, "r+", shape=(*bank._filled.shape, 10))
    marks = np.memmap(bank.folder / "filled.u8", np.uint8, "r+", shape=bank._filled.shape)
    torn[3:9], marks[3:9] = np.nan, 0
    torn.flush()
    marks.flush()
    again = open_bank()
    found = again.logits(*pairs)
    assert torch.equal(found, live.logits(*pairs))
    assert again.misses == 6 * live.task.views.count


def test_a_bank_of_something_else_has_another_name(task: Task) -> None:
    keys = {
        BankIdentity.of("some teacher", task).key,
        BankIdentity.of("another teacher", task).key,
        BankIdentity.of("some teacher", replace(task, fingerprint="another task")).key,
        BankIdentity.of("some teacher", replace(task, views=Views(1, flip=False))).key,
        replace(BankIdentity.of("some teacher", task), dtype="float16").key,
        BankIdentity.of("some teacher", task, "bf16").key,
    }
    assert len(keys) == 6
    assert BankIdentity.of("some teacher", task).key in keys


@pytest.mark.parametrize("changed", [{"augmentation": Augmentation(crop_padding=2, flip=True)}, {"seed": 1}])
def test_the_name_follows_the_task_that_was_loaded(changed: dict[str, object], task: Task) -> None:
    base = Digits(limit_train=160, validation_fraction=0.25, augmentation=Augmentation(crop_padding=1, flip=True))
    other, _ = load_task(base.model_copy(update=changed))
    assert BankIdentity.of("some teacher", other).key != BankIdentity.of("some teacher", task).key


@pytest.mark.parametrize("text", ['{"samples": 1}', "{}", "", "not JSON", "[]"])
def test_a_description_of_something_else_is_refused(open_bank: Open, text: str) -> None:
    described = open_bank().folder / "bank.json"
    described.write_text(text)
    with pytest.raises(StudyError, match=r"bank\.json: .* delete the folder"):
        open_bank()


def test_a_changed_description_is_refused(open_bank: Open) -> None:
    described = open_bank().folder / "bank.json"
    described.write_text(json.dumps(json.loads(described.read_text()) | {"teacher": "another teacher"}))
    with pytest.raises(StudyError, match="a teacher bank of something else; delete the folder"):
        open_bank()


@pytest.mark.parametrize("name", ["logits.f32", "filled.u8"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_bank_that_lost_data_is_refused(open_bank: Open, pairs: Pairs, name: str, damage: str) -> None:
    bank = open_bank()
    bank.fill(*pairs)
    path = bank.folder / name
    whole = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(whole[:-8])
    with pytest.raises(StudyError, match="delete the folder"):
        open_bank()


@pytest.mark.parametrize("value", [0.5, float("nan"), float("inf")])
def test_a_changed_entry_is_found_by_the_check(open_bank: Open, pairs: Pairs, value: float) -> None:
    bank = open_bank()
    bank.fill(*pairs)
    count, difference = bank.check(entries=10_000)
    assert (count, difference) == (len(pairs[0]), 0.0)
    changed = np.memmap(bank.folder / "logits.f32", np.float32, "r+", shape=(*bank._filled.shape, 10))
    changed[17, 4, 2] += value
    changed.flush()
    with pytest.raises(StudyError, match=r"differs from its teacher by .* delete the folder"):
        open_bank().check(entries=10_000)


def test_the_check_looks_at_as_many_entries_as_asked_and_at_filled_ones_alone(open_bank: Open, pairs: Pairs) -> None:
    bank = open_bank()
    assert bank.check(5) == (0, 0.0)
    bank.fill(pairs[0][:3], pairs[1][:3])
    assert bank.check(5) == (3, 0.0)
    bank.fill(*pairs)
    assert bank.check(5) == (5, 0.0)
    assert bank.filled == len(pairs[0])


def test_a_cache_that_cannot_be_written_is_the_machines_problem(
    tmp_path: Path, identity: BankIdentity, live: LiveTeacher
) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(EnvironmentProblem, match=r"cannot write .*set AUTOCKD_CACHE to another folder"):
        TeacherBank(tmp_path / "file" / "banks", identity, lambda: live)


def test_the_answer_belongs_to_the_caller(open_bank: Open, pairs: Pairs) -> None:
    bank = open_bank()
    first = bank.logits(*pairs)
    kept = first.clone()
    first.zero_()
    assert torch.equal(bank.logits(*pairs), kept)


def test_whoever_waits_is_told_before_the_teacher_answers(
    tmp_path: Path, identity: BankIdentity, live: LiveTeacher, pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autockd.training.bank._FLUSH_EVERY", 32)
    told: list[int] = []
    bank = TeacherBank(tmp_path, identity, lambda: live, before_answers=lambda: told.append(bank.filled))
    wanted = tuple(part[:70] for part in pairs)
    bank.logits(*wanted)
    assert told == [0, 32, 64]
    bank.logits(*wanted)
    assert len(told) == 3, "nothing was missing"


def test_a_disk_without_space_is_told_of_and_ends_no_process(
    open_bank: Open, pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = open_bank()
    usage = shutil.disk_usage(bank.folder)._replace(free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(EnvironmentProblem, match=r"bank: cannot write .* free space there, or set AUTOCKD_CACHE"):
        bank.logits(*pairs)
    assert bank.filled == 0
