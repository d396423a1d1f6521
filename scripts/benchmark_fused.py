"""What it gives to train K students of one shape as a single network, beside one student after the other.

.venv/bin/python scripts/benchmark_fused.py --students 1 2 4 8 16

Students are ResNet-8s that learn by kd from logits that are known already, each with hyperparameters of its own. Times
are of an epoch, the least of some, after one that does not count. On a GPU steps are captured as CUDA graphs, but for
the row that says otherwise. It needs torch alone, and no data: images are noise, which costs what others do.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from autockd.config.methods import HintonKD
from autockd.config.models import CifarResNet
from autockd.config.training import TrainingConfig
from autockd.config.trial import TrialConfig
from autockd.data import ImageTask, Split
from autockd.data.order import EpochOrder
from autockd.data.views import Views
from autockd.records import EpochRecord, PrecisionChoice
from autockd.training.bank import BankIdentity, TeacherBank
from autockd.training.fused import FusedTrainer
from autockd.training.live_teacher import LiveTeacher
from autockd.training.networks import build_network
from autockd.training.trainer import Trainer

CLASSES = 10


def noise(samples: int) -> ImageTask:
    """A task of CIFAR-10's shape."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (samples, 3, 32, 32), dtype=torch.uint8, generator=generator)
    split = Split(images, torch.randint(CLASSES, (samples,), generator=generator))
    names = tuple(map(str, range(CLASSES)))
    few = split.take(torch.arange(min(samples, 64)))
    moments = {"mean": (0.5,) * 3, "std": (0.3,) * 3}
    return ImageTask(name="noise", train=split, validation=few, classes=names, seed=0, views=Views(4, True), **moments)


def trials_of(count: int, epochs: int, batch_size: int) -> list[TrialConfig]:
    """Students of one shape that differ in all that may differ."""
    return [
        TrialConfig(
            method=HintonKD(alpha=0.5 + 0.4 * place / count, temperature=2.0 + place),
            training=TrainingConfig(epochs=epochs, batch_size=batch_size, learning_rate=0.05 + 0.01 * place),
            student=CifarResNet(depth=8),
            seed=place,
        )
        for place in range(count)
    ]


def seconds(epochs: Iterator[Sequence[EpochRecord]]) -> float:
    """Of one epoch of all students, without their evaluation."""
    _, *later = [sum(record.train_seconds for record in records) for records in epochs]
    return min(later)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", type=int, nargs="+", default=[1, 2, 4, 8, 16], metavar="K")
    parser.add_argument("--samples", type=int, default=None, help="training images (default: 2,000, on a GPU 20,000)")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=4, help="at least 2, of which the first does not count")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default=None, help="default: bf16 on a GPU, else fp32")
    options = parser.parse_args(arguments)
    if options.epochs < 2:
        parser.error(f"--epochs must be at least 2, not {options.epochs}: the first does not count")
    on_gpu = options.device == "cuda"
    task = noise(options.samples or (20_000 if on_gpu else 2_000))
    precision = options.precision or ("bf16" if on_gpu else "fp32")
    choice = PrecisionChoice(precision=precision, channels_last=True, threads=1, device=options.device, reason="asked")
    torch.set_num_threads(1)
    network = build_network(CifarResNet(depth=8), task, seed=0)
    teacher = LiveTeacher(CifarResNet(depth=8), network, task, torch.device(options.device), precision)
    print(f"{precision} on {options.device}, batches of {options.batch_size}, {len(task.train):,} images an epoch")
    print(f"{'':34}{'seconds of an epoch':>22}{'images/s, all':>16}{'x single':>10}")
    with tempfile.TemporaryDirectory() as folder:
        bank = TeacherBank(Path(folder), BankIdentity.of("noise", task, precision), lambda: teacher)
        for epoch in range(1, options.epochs + 1):  # or the first to be timed would wait for the teacher
            order = EpochOrder.of(task, epoch)
            bank.fill(order.indices, order.views)
        reference: float | None = None

        def row(name: str, count: int, took: float) -> None:
            nonlocal reference
            reference = reference or len(task.train) / took
            rate = count * len(task.train) / took
            print(f"{name:34}{took:20.3f} s{rate:16,.0f}{rate / reference:10.2f}", flush=True)

        (alone,) = trials_of(1, options.epochs, options.batch_size)
        for cuda_graphs in [True, False] if on_gpu else [False]:
            trainer = Trainer(alone, task, choice, bank=bank, cuda_graphs=cuda_graphs)
            what = ", captured" if cuda_graphs else ", step by step" if on_gpu else ""
            row(f"one student{what}", 1, seconds([record] for record in trainer.fit()))
        for count in options.students:
            trials = trials_of(count, options.epochs, options.batch_size)
            row(f"{count} fused", count, seconds(FusedTrainer(trials, task, choice, bank=bank).fit()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
