"""The work of training, counted, and the peaks that it is held against."""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from autockd.config.models import CifarResNet
from autockd.config.trial import TrialConfig
from autockd.data import Task
from autockd.data.image_feed import ImageFeed, Normalisation
from autockd.data.views import Views
from autockd.limits import Peaks, Work
from autockd.models import build_model
from autockd.records import PrecisionChoice
from autockd.training import peaks as peaks_module
from autockd.training.peaks import measure_peaks
from autockd.training.trainer import Trainer
from autockd.training.work import epoch_work

CPU = torch.device("cpu")


def feed_of(images: int, size: int, channels: int = 3) -> ImageFeed:
    one = torch.ones(1, channels, 1, 1)
    return ImageFeed(torch.zeros(images, channels, size, size, dtype=torch.uint8), Views(), Normalisation(one, one))


def test_a_linear_layer_costs_what_it_costs() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Identity(), nn.Linear(12, 5), nn.ReLU(), nn.Dropout())
    answer = epoch_work(network, feed_of(10, 2), training=False)
    train = epoch_work(network, feed_of(10, 2), training=True)
    assert answer is not None
    assert train is not None
    assert answer.flop == 10 * 2 * 12 * 5
    assert train.flop == 2 * answer.flop  # its input is data, and needs no gradient
    assert answer.bytes == 10 * 2 * 2 * 5  # bf16, written and read; what has no parameters may be fused with it


@pytest.mark.parametrize(("depth", "known"), [(8, 73e6), (20, 243e6)])
def test_the_papers_networks_cost_what_is_known(depth: int, known: float) -> None:
    network = build_model(CifarResNet(depth=depth), classes=10, channels=3, image_size=(32, 32), seed=0)
    work = epoch_work(network, feed_of(1, 32), training=True)
    assert work is not None
    assert work.flop == pytest.approx(known, rel=0.03)


def grouped() -> nn.Module:
    return torchvision.models.mobilenet_v3_small(num_classes=3)


def attentive() -> nn.Module:
    return torchvision.models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=24, num_classes=3
    )


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("build", [grouped, attentive])
def test_operations_are_those_that_torchs_counter_counts(build: Callable[[], nn.Module], training: bool) -> None:
    network, feed = build(), feed_of(2, 32)
    with FlopCounterMode(display=False) as counter, contextlib.nullcontext() if training else torch.no_grad():
        answers = network.eval()(feed.read(torch.arange(2), torch.zeros(2, dtype=torch.int64)))
        if training:
            answers.sum().backward()
    work = epoch_work(network, feed, training=training)
    assert work is not None
    assert work.flop == counter.get_total_flops() > 0


def test_counting_changes_nothing_of_a_run(
    task: Task, fp32: PrecisionChoice, make_trial: Callable[..., TrialConfig]
) -> None:
    plain = Trainer(make_trial("none"), task, fp32)
    counted = Trainer(make_trial("none"), task, fp32)
    assert counted.work() is not None
    losses = [[record.loss for record in trainer.fit()] for trainer in (plain, counted)]
    assert losses[0] == losses[1]
    assert counted.model.training


def test_what_cannot_be_counted_is_no_error() -> None:
    class Odd(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise RuntimeError

    assert epoch_work(Odd(), feed_of(2, 2), training=True) is None


def least_seconds(run: Callable[[], object]) -> float:
    """Of some runs, after one that does not count."""
    run()
    found = []
    for _ in range(10):
        began = time.perf_counter()
        run()
        found.append(time.perf_counter() - began)
    return min(found)


def test_peaks_are_those_of_a_real_machine() -> None:
    """Of the order of magnitude that is found here: a product of two squares takes 2 n^3, a copy reads and writes."""
    before = torch.get_num_threads()
    peaks = measure_peaks(1, "cpu", size=128)
    assert torch.get_num_threads() == before
    large, small = torch.rand(128, 128), torch.rand(16, 16).bfloat16()
    source = torch.zeros(1 << 24)
    target = torch.empty_like(source)
    product = 2 * 128**3 / least_seconds(lambda: large @ large)
    small_product = 2 * 16**3 / least_seconds(lambda: small @ small)
    copied = 2 * source.nbytes / least_seconds(lambda: target.copy_(source))
    assert product / 10 < peaks.fp32 < 10 * product
    assert small_product / 10 < peaks.bf16 < 10 * max(small_product, 16 * product)  # or has no hardware for large ones
    assert copied / 10 < peaks.copy_rate < 10 * copied


@pytest.mark.parametrize(("hopeless", "side"), [(math.inf, 128), (0.0, 16)])
def test_in_a_hopeless_precision_no_large_product_is_measured(
    hopeless: float, side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bf16 without hardware for it, that takes seconds. The clock of this test says that all take a millisecond."""
    multiplied: set[int] = set()
    product = peaks_module._product

    def watched(side: int, kind: torch.dtype, device: torch.device) -> Callable[[], object]:
        multiplied.add(side)
        return product(side, kind, device)

    readings = itertools.count()
    monkeypatch.setattr(peaks_module, "time", SimpleNamespace(process_time=lambda: next(readings) / 1000))
    monkeypatch.setattr(peaks_module, "_product", watched)
    monkeypatch.setattr(peaks_module, "_COPIED", 4000)
    monkeypatch.setattr(peaks_module, "_HOPELESS", hopeless)
    peaks = measure_peaks(1, "cpu", size=128)
    assert multiplied == {16, side}
    assert (peaks.fp32, peaks.bf16) == pytest.approx((2000 * side**3, 2000 * side**3))
    assert peaks.copy_rate == pytest.approx(2 * 4000 * 1000)


def test_the_least_time_is_set_by_arithmetic_or_by_memory() -> None:
    peaks = Peaks(fp32=1e9, bf16=4e9, copy_rate=1e9, threads=1, device="cpu")
    assert peaks.seconds(Work(flop=8e9, bytes=1e9)) == 2
    assert peaks.seconds(Work(flop=8e9, bytes=3e9)) == 3
