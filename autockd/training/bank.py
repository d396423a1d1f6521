"""TeacherBank: the teacher's logits of every view of every training sample, computed once, shared by all trials.

One entry is one (sample, view) pair, so a bank is exact: a trial gets what a live teacher would have answered. Entries
are filled on first use or beforehand; either way they are the same. A bank's folder is named by its content: teacher
weights, preprocessing, training split and views; a bank of anything else is never read.

    <cache>/<key>/logits.f32    float32 [samples, views, outputs], sparse until filled
    <cache>/<key>/filled.u8     uint8   [samples, views], 1 once the entry is on disk
    <cache>/<key>/bank.json     what it is a bank of
"""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from autockd.data.task import Task
from autockd.errors import StudyError, cannot_write
from autockd.folders import ANOTHER_CACHE, write_whole
from autockd.hashing import content_hash
from autockd.limits import Work
from autockd.records import Precision
from autockd.tracking.locks import FileLock
from autockd.training.live_teacher import ANSWERS, LiveTeacher

_FLUSH_EVERY, _PAGE = 8192, 4096
"""Entries between two writes to disk; bytes of a page of memory, the least that an entry of a sparse file takes."""

TOLERANCE: dict[Precision, float] = {"fp32": 1e-3, "bf16": 5e-2}
"""Largest difference to the live teacher, relative to its largest logit, that rounding on other hardware explains."""


@dataclass(frozen=True)
class BankIdentity:
    """What a bank holds, and all that its entries depend on."""

    teacher: str
    """Hash of the teacher: of its architecture, its weights, and how it reads texts."""
    task: str
    """Fingerprint of the task: training images, preprocessing, views."""
    samples: int
    views: int
    outputs: int
    precision: Precision = "fp32"
    """Arithmetic in which the teacher answers."""
    dtype: str = "float32"
    format: int = ANSWERS

    @classmethod
    def of(cls, teacher: str, task: Task, precision: Precision = "fp32") -> BankIdentity:
        """The identity of a teacher's bank for a task."""
        return cls(teacher, task.fingerprint, len(task.train), task.views.count, task.outputs, precision)

    @property
    def key(self) -> str:
        """Name of the bank's folder."""
        return content_hash(asdict(self))[:32]


class TeacherBank:
    """Memoised teacher logits, in one file a node that all of its processes map."""

    def __init__(
        self,
        cache: Path,
        identity: BankIdentity,
        teacher: Callable[[], LiveTeacher],
        *,
        before_answers: Callable[[], None] | None = None,
    ) -> None:
        """Open a bank, or make an empty one.

        Args:
            cache: local folder of this node that holds the banks.
            identity: what the bank holds.
            teacher: gives the live teacher; called only when an entry is missing, or to check.
            before_answers: called each time before entries are computed, which may take long.

        Raises:
            StudyError: the folder holds something else under this name.
            EnvironmentProblem: the folder cannot be written.
        """
        self.identity = identity
        self.folder = cache / identity.key
        self.hits = 0
        self.misses = 0
        self._teacher_factory = teacher
        self._before_answers = before_answers
        self._teacher: LiveTeacher | None = None
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with self._locked():
                self._create_or_verify()
        except OSError as error:
            raise cannot_write("teacher bank", self.folder, error, instead=ANOTHER_CACHE) from error
        shape = (identity.samples, identity.views)
        self._filled = np.memmap(self.folder / "filled.u8", np.uint8, "r+", shape=shape)
        self._logits = np.memmap(self.folder / "logits.f32", np.float32, "r+", shape=(*shape, identity.outputs))

    @property
    def filled(self) -> int:
        """Entries that are on disk."""
        return int(np.count_nonzero(self._filled))

    def logits(self, indices: Tensor, views: Tensor) -> Tensor:
        """Logits of each (sample, view) pair: int64 [B] each to float32 [B, K] on the CPU; fills what is missing."""
        missing = self.fill(indices, views)
        self.misses += missing
        self.hits += len(indices) - missing
        return torch.from_numpy(self._logits[indices.numpy(), views.numpy()])

    def fill(self, indices: Tensor, views: Tensor) -> int:
        """Compute those entries of the given pairs that are missing.

        Returns:
            How many it computed.
        """
        pairs = indices.numpy() * self.identity.views + views.numpy()
        absent = np.unique(pairs[self._filled.reshape(-1)[pairs] == 0])
        if len(absent) == 0:
            return 0
        self._require_space(len(absent))  # or hours of answers would end where the disk is full
        for start in range(0, len(absent), _FLUSH_EVERY):
            if self._before_answers is not None:
                self._before_answers()
            rows, columns = np.divmod(absent[start : start + _FLUSH_EVERY], self.identity.views)
            self._require_space(len(rows))
            self._logits[rows, columns] = self._live.logits(torch.from_numpy(rows), torch.from_numpy(columns)).numpy()
            self._logits.flush()  # the logits must be on disk before their marks are
            self._filled[rows, columns] = 1
        self._filled.flush()
        return len(absent)

    @contextmanager
    def alone(self, shard: int, shards: int) -> Iterator[None]:
        """Wait while another study fills the same share of this bank, which both would compute.

        Raises:
            EnvironmentProblem: the folder cannot be written.
        """
        with ExitStack() as held:
            try:
                held.enter_context(self._locked(f".{shard}-of-{shards}"))
            except OSError as error:
                raise cannot_write("teacher bank", self.folder, error, instead=ANOTHER_CACHE) from error
            yield

    def _locked(self, share: str = "") -> FileLock:
        """What one process of this node holds while it makes this bank, or fills a share of it."""
        return FileLock(self.folder.with_name(f".{self.identity.key}{share}.lock"), patience=math.inf)

    def _require_space(self, entries: int) -> None:
        """A mapped file ends the process where its disk is full, so what is there is looked at before.

        Raises:
            EnvironmentProblem: there is not as much as so many entries may take, each of them a page.
        """
        there = (self.folder / "logits.f32").stat().st_blocks * 512  # of a sparse file
        needed = min(entries * max(_PAGE, 4 * self.identity.outputs), max(0, self._logits.nbytes - there))
        if shutil.disk_usage(self.folder).free < needed:
            full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise cannot_write("teacher bank", self.folder, full, instead=ANOTHER_CACHE)

    def work(self, entries: int) -> Work | None:
        """What computing so many entries takes at the least; None where that cannot be counted."""
        whole = self._live.work()
        return whole.times(entries / self.identity.samples) if whole else None

    def check(self, entries: int, seed: int = 0) -> tuple[int, float]:
        """Compare some filled entries with the live teacher.

        Returns:
            How many were compared, and the largest absolute difference.

        Raises:
            StudyError: an entry is not what the teacher answers.
        """
        candidates = np.flatnonzero(self._filled.reshape(-1))
        chosen = np.random.default_rng(seed).permutation(candidates)[:entries]
        if len(chosen) == 0:
            return 0, 0.0
        rows, columns = np.divmod(chosen, self.identity.views)
        live = self._live.logits(torch.from_numpy(rows), torch.from_numpy(columns))
        stored = torch.from_numpy(self._logits[rows, columns])
        difference = (live - stored).abs().max().item()
        if not difference <= TOLERANCE[self.identity.precision] * max(1.0, live.abs().max().item()):
            raise StudyError(
                f"{self.folder}: the teacher bank differs from its teacher by {difference:.3g}; delete the folder"
            )
        return len(chosen), difference

    @property
    def _live(self) -> LiveTeacher:
        if self._teacher is None:
            self._teacher = self._teacher_factory()
        return self._teacher

    def _create_or_verify(self) -> None:
        described = self.folder / "bank.json"
        wanted = json.dumps(asdict(self.identity), indent=2)
        entries = self.identity.samples * self.identity.views
        sizes = {"filled.u8": entries, "logits.f32": 4 * entries * self.identity.outputs}
        if described.exists():
            if described.read_bytes() != wanted.encode():
                raise StudyError(f"{described}: a teacher bank of something else; delete the folder {self.folder}")
            for name, size in sizes.items():
                if _size(self.folder / name) != size:
                    raise StudyError(f"{self.folder / name}: is not whole; delete the folder {self.folder}")
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, size in sizes.items():
            _make_sparse(self.folder / name, size)
        write_whole(described, wanted)  # last: a bank with a description is whole


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _make_sparse(path: Path, size: int) -> None:
    """A file of zeros that takes no space on disk yet."""
    with path.open("wb") as stream:
        stream.truncate(size)
