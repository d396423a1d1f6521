from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
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
from autockd.records import Precision
from autockd.training.bank import BankIdentity, TeacherBank
from autockd.training.live_teacher import LiveTeacher

Pairs = tuple[torch.Tensor, torch.Tensor]
Open = Callable[..., TeacherBank]


def absent() -> LiveTeacher:
    raise AssertionError("a bank that has every entry must not ask for its teacher")


@pytest.fixture(scope="module")
def identity(task: Task) -> BankIdentity:
    return BankIdentity.of("some teacher", task)


@pytest.fixture
def open_bank(tmp_path: Path, identity: BankIdentity, shared_live: LiveTeacher) -> Open:
    def make(teacher: Callable[[], LiveTeacher] = lambda: shared_live) -> TeacherBank:
        return TeacherBank(tmp_path / "banks", identity, teacher)

    return make


@pytest.fixture(scope="module")
def pairs(task: Task) -> Pairs:
    """Every view of every sample."""
    numbers = torch.arange(len(task.train) * task.views.count)
    return numbers // task.views.count, numbers % task.views.count


@pytest.fixture(scope="module")
def answers(shared_live: LiveTeacher, pairs: Pairs) -> torch.Tensor:
    """Of the teacher, to every pair."""
    return shared_live.logits(*pairs)


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, identity: BankIdentity, shared_live: LiveTeacher, pairs: Pairs
) -> Path:
    """A folder with a bank that is filled: to be copied."""
    folder = tmp_path_factory.mktemp("banks")
    TeacherBank(folder, identity, lambda: shared_live).fill(*pairs)
    return folder


@pytest.fixture
def open_filled(open_bank: Open, whole: Path, tmp_path: Path) -> Open:
    """Opens a copy of it."""
    shutil.copytree(whole, tmp_path / "banks")
    return open_bank


class Loud:
    """A teacher with logits in the hundreds, as an ensemble's sum."""

    def __init__(self, live: LiveTeacher) -> None:
        self.live = live

    def logits(self, indices: torch.Tensor, views: torch.Tensor) -> torch.Tensor:
        return 100 * self.live.logits(indices, views)


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


def test_every_view_is_what_the_network_says(
    open_bank: Open, shared_live: LiveTeacher, pairs: Pairs, answers: torch.Tensor
) -> None:
    bank = open_bank()
    found = bank.logits(*pairs)
    assert torch.equal(found, answers)
    torch.testing.assert_close(found, ask_the_network(shared_live, *pairs), rtol=1e-4, atol=1e-4)
    assert bank.filled == len(pairs[0])


def test_views_of_a_sample_differ(open_bank: Open, task: Task) -> None:
    views = torch.arange(task.views.count)
    logits = open_bank().logits(torch.zeros_like(views), views)
    assert len({tuple(row) for row in logits.tolist()}) > 1


def test_what_was_asked_once_is_not_computed_again(open_bank: Open, task: Task, answers: torch.Tensor) -> None:
    bank = open_bank()
    indices, views = torch.tensor([5, 0, 5, 5]), torch.tensor([1, 2, 1, 3])
    first = bank.logits(indices, views)
    assert torch.equal(first, answers[indices * task.views.count + views])
    assert (bank.hits, bank.misses, bank.filled) == (1, 3, 3)
    assert torch.equal(bank.logits(indices, views), first)
    assert (bank.hits, bank.misses, bank.filled) == (5, 3, 3)
    assert torch.equal(first[0], first[2])


def test_another_bank_of_the_same_finds_all_filled(open_filled: Open, pairs: Pairs, answers: torch.Tensor) -> None:
    bank = open_filled(absent)
    assert torch.equal(bank.logits(*pairs), answers)
    assert (bank.hits, bank.misses) == (len(answers), 0)


def test_entries_do_not_depend_on_the_order_of_filling(open_bank: Open, whole: Path, pairs: Pairs) -> None:
    apart = open_bank()
    order = torch.randperm(len(pairs[0]), generator=torch.Generator().manual_seed(3))
    for chunk in torch.split(order, 7)[:20] + torch.split(order, 501):
        apart.fill(pairs[0][chunk], pairs[1][chunk])
    for name in ("logits.f32", "filled.u8"):
        assert (apart.folder / name).read_bytes() == (whole / apart.folder.name / name).read_bytes()


def test_filling_beforehand_counts_what_was_missing(open_bank: Open, pairs: Pairs) -> None:
    bank = open_bank()
    some, more = (tuple(part[:count] for part in pairs) for count in (10, 100))
    assert [bank.fill(*some), bank.fill(*some), bank.fill(*more)] == [10, 0, 90]
    bank.logits(*more)
    assert (bank.hits, bank.misses) == (100, 0)


def test_an_entry_without_its_mark_is_computed_again(
    open_filled: Open, task: Task, pairs: Pairs, answers: torch.Tensor
) -> None:
    """A kill between the two writes leaves logits on disk, perhaps torn, and no mark."""
    bank = open_filled()
    torn = np.memmap(bank.folder / "logits.f32", np.float32, "r+", shape=(*bank._filled.shape, 10))
    marks = np.memmap(bank.folder / "filled.u8", np.uint8, "r+", shape=bank._filled.shape)
    torn[3:9], marks[3:9] = np.nan, 0
    torn.flush()
    marks.flush()
    again = open_filled()
    assert torch.equal(again.logits(*pairs), answers)
    assert again.misses == 6 * task.views.count


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
@pytest.mark.parametrize("damage", ["cut", "gone", "longer"])
def test_a_bank_that_lost_data_is_refused(open_filled: Open, name: str, damage: str) -> None:
    path = open_filled().folder / name
    whole = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(whole[:-8])
    if damage == "longer":
        path.write_bytes(whole + bytes(8))
    with pytest.raises(StudyError, match="delete the folder"):
        open_filled()


def test_what_the_teacher_answers_passes_the_check(open_filled: Open, pairs: Pairs) -> None:
    assert open_filled().check(entries=10_000) == (len(pairs[0]), 0.0)


@pytest.mark.parametrize(
    ("precision", "share", "is_found"), [("fp32", 1e-4, False), ("fp32", 1e-2, True), ("bf16", 1e-2, False)]
)
def test_what_rounding_explains_is_relative_to_the_largest_logit_and_depends_on_the_arithmetic(
    tmp_path: Path,
    task: Task,
    shared_live: LiveTeacher,
    pairs: Pairs,
    precision: Precision,
    share: float,
    is_found: bool,
) -> None:
    bank = TeacherBank(tmp_path, BankIdentity.of("teacher", task, precision), lambda: Loud(shared_live))
    bank.fill(pairs[0][:100], pairs[1][:100])
    stored = np.memmap(bank.folder / "logits.f32", np.float32, "r+", shape=(*bank._filled.shape, 10))
    stored[0, 0, 0] += share * float(np.abs(stored).max())
    stored.flush()
    with pytest.raises(StudyError, match="differs from its teacher") if is_found else nullcontext():
        bank.check(entries=100)


@pytest.mark.parametrize("value", [0.5, float("nan"), float("inf")])
def test_a_changed_entry_is_found_by_the_check(open_filled: Open, value: float) -> None:
    bank = open_filled()
    changed = np.memmap(bank.folder / "logits.f32", np.float32, "r+", shape=(*bank._filled.shape, 10))
    changed[17, 4, 2] += value
    changed.flush()
    with pytest.raises(StudyError, match=r"differs from its teacher by .* delete the folder"):
        open_filled().check(entries=10_000)


def test_the_check_looks_at_as_many_entries_as_asked_and_at_filled_ones_alone(open_bank: Open, pairs: Pairs) -> None:
    bank = open_bank()
    assert bank.check(5) == (0, 0.0)
    bank.fill(pairs[0][:3], pairs[1][:3])
    assert bank.check(5) == (3, 0.0)
    bank.fill(pairs[0][:100], pairs[1][:100])
    assert bank.check(5) == (5, 0.0)
    assert bank.filled == 100


def test_a_cache_that_cannot_be_written_is_the_machines_problem(
    tmp_path: Path, identity: BankIdentity, shared_live: LiveTeacher
) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(EnvironmentProblem, match=r"cannot write .*set AUTOCKD_CACHE to another folder"):
        TeacherBank(tmp_path / "file" / "banks", identity, lambda: shared_live)


def test_the_answer_belongs_to_the_caller(open_filled: Open, pairs: Pairs) -> None:
    bank = open_filled()
    first = bank.logits(*pairs)
    kept = first.clone()
    first.zero_()
    assert torch.equal(bank.logits(*pairs), kept)


def test_whoever_waits_is_told_before_the_teacher_answers(
    tmp_path: Path, identity: BankIdentity, shared_live: LiveTeacher, pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autockd.training.bank._FLUSH_EVERY", 32)
    told: list[int] = []
    bank = TeacherBank(tmp_path, identity, lambda: shared_live, before_answers=lambda: told.append(bank.filled))
    wanted = tuple(part[:70] for part in pairs)
    bank.logits(*wanted)
    assert told == [0, 32, 64]
    bank.logits(*wanted)
    assert len(told) == 3, "nothing was missing"


def test_logits_are_on_disk_before_they_are_marked(
    open_bank: Open, pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written when, with the entries that have logits by then, and those that are marked."""
    monkeypatch.setattr("autockd.training.bank._FLUSH_EVERY", 32)
    bank, flush = open_bank(), np.memmap.flush
    written: list[tuple[str, int, int]] = []

    def watched(mapped: np.memmap) -> None:
        written.append((Path(mapped.filename).name, int(bank._logits.any(axis=2).sum()), bank.filled))
        flush(mapped)

    monkeypatch.setattr(np.memmap, "flush", watched)
    bank.fill(pairs[0][:70], pairs[1][:70])
    logits = [("logits.f32", 32, 0), ("logits.f32", 64, 32), ("logits.f32", 70, 64)]
    assert written == [*logits, ("filled.u8", 70, 70)]


def test_a_disk_without_space_is_told_of_and_ends_no_process(
    open_bank: Open, pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = open_bank()
    usage = shutil.disk_usage(bank.folder)._replace(free=1 << 10)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(EnvironmentProblem, match=r"bank: cannot write .* free space there, or set AUTOCKD_CACHE"):
        bank.logits(*pairs)
    assert bank.filled == 0


def free_space(monkeypatch: pytest.MonkeyPatch, *bytes_left: int) -> None:
    """What a disk has, each time that somebody looks; the last of them from then on."""
    told = list(bytes_left)
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(
        shutil, "disk_usage", lambda path: usage._replace(free=told.pop(0) if len(told) > 1 else told[0])
    )


def test_a_disk_with_space_for_a_part_is_told_of_before_the_teacher_answers(
    open_bank: Open, pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry takes a page at the most, for the file is sparse."""
    bank = open_bank(absent)
    free_space(monkeypatch, 15 * 4096)
    with pytest.raises(EnvironmentProblem, match="cannot write"):
        bank.fill(pairs[0][:16], pairs[1][:16])


def test_a_disk_that_others_fill_meanwhile_is_told_of_with_what_is_done(
    open_bank: Open, pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autockd.training.bank._FLUSH_EVERY", 4)
    bank = open_bank()
    free_space(monkeypatch, 1 << 30, 1 << 30, 0)
    with pytest.raises(EnvironmentProblem, match="cannot write"):
        bank.fill(pairs[0][:8], pairs[1][:8])
    assert bank.filled == 4


def test_what_has_its_space_already_needs_none(
    open_filled: Open, pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = open_filled()
    bank._filled[3:5] = 0
    free_space(monkeypatch, 0)
    assert bank.fill(*pairs) == 2 * bank.identity.views


def test_other_shares_of_a_bank_are_filled_meanwhile(open_bank: Open) -> None:
    bank, other = open_bank(), open_bank()
    with bank.alone(0, 2):
        assert not other._locked(".0-of-2").acquire()
        assert other._locked(".1-of-2").acquire()


def test_a_bank_that_was_not_made_to_its_end_is_made_again(open_bank: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its description is written last."""
    with monkeypatch.context() as patch:

        def interrupt(path: Path, size: int) -> None:
            raise KeyboardInterrupt

        patch.setattr("autockd.training.bank._make_sparse", interrupt)
        with pytest.raises(KeyboardInterrupt):
            open_bank()
    assert open_bank().filled == 0


def test_the_work_of_entries_is_that_of_as_many_samples(open_bank: Open, shared_live: LiveTeacher, task: Task) -> None:
    once, found = shared_live.work(), open_bank().work(3 * len(task.train))
    assert once is not None
    assert found == once.times(3)
