from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from autockd.config.models import CifarResNet
from autockd.config.training import TrainingConfig
from autockd.models import build_model
from autockd.records import PrecisionChoice
from autockd.training import precision as precision_module
from autockd.training.precision import WORTH_IT, Variant, Wanted, autocast, choose_precision, memory_format

CPU = torch.device("cpu")
TRAINING = TrainingConfig(batch_size=8)
SLOW = 1.0


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """The probe leaves the number of threads as its last variant had it."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def network() -> nn.Module:
    return build_model(CifarResNet(width=2), classes=10, channels=1, image_size=(8, 8), seed=0)


def choose(wanted: Wanted = "auto", threads: int = 1) -> PrecisionChoice:
    return choose_precision(
        network, torch.randn(TRAINING.batch_size, 1, 8, 8), TRAINING, wanted=wanted, threads=threads, device=CPU
    )


def decide(
    patch: pytest.MonkeyPatch, seconds: dict[tuple[str, bool, int], float], wanted: Wanted = "auto", threads: int = 1
) -> PrecisionChoice:
    """The decision from given timings; what is not given is slow."""

    def look_up(
        model: nn.Module, shape: object, training: object, variant: Variant, device: object, least: float
    ) -> float:
        return seconds.get((variant.precision, variant.channels_last, variant.threads), SLOW)

    patch.setattr(precision_module, "_time_step", look_up)
    return choose(wanted, threads)


def fields(choice: PrecisionChoice) -> tuple[str, bool, int]:
    return choice.precision, choice.channels_last, choice.threads


def test_the_probe_chooses_and_says_why() -> None:
    choice = choose()
    assert choice.precision in ("fp32", "bf16")
    assert (choice.threads, choice.device) == (1, "cpu")
    assert choice.reason.startswith(choice.precision)
    assert " ms a step" in choice.reason
    assert "faster than fp32, 1 thread" in choice.reason or "the best alternative" in choice.reason


@pytest.mark.parametrize("wanted", ["fp32", "bf16"])
def test_a_precision_that_is_insisted_on_is_used(wanted: Wanted) -> None:
    assert choose(wanted).precision == wanted


@pytest.mark.parametrize("wanted", ["fp32", "bf16"])
def test_it_is_used_where_the_other_would_be_faster(wanted: Wanted, monkeypatch: pytest.MonkeyPatch) -> None:
    other = "bf16" if wanted == "fp32" else "fp32"
    assert decide(monkeypatch, {(other, False, 1): 1e-6, (other, True, 1): 1e-6}, wanted).precision == wanted


def test_a_variant_must_be_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    barely = {("bf16", True, 1): SLOW / (WORTH_IT * 0.99)}
    choice = decide(monkeypatch, barely)
    assert fields(choice) == ("fp32", False, 1)
    assert (
        choice.reason
        == "fp32, 1 thread: 1000.0 ms a step; the best alternative (bf16, channels_last, 1 thread) "
        + (f"takes {1e3 * barely['bf16', True, 1]:.1f} ms")
    )
    clearly = {("bf16", True, 1): SLOW / (WORTH_IT * 1.01)}
    choice = decide(monkeypatch, clearly)
    assert fields(choice) == ("bf16", True, 1)
    assert choice.reason.endswith("1.2x faster than fp32, 1 thread")


def test_of_those_worth_it_the_fastest_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {("bf16", False, 1): 0.4, ("fp32", True, 1): 0.3, ("bf16", True, 1): 0.35}
    assert fields(decide(monkeypatch, seconds)) == ("fp32", True, 1)


def test_more_threads_are_tried_and_must_be_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fields(decide(monkeypatch, {("fp32", False, 2): 0.95}, threads=2)) == ("fp32", False, 1)
    assert fields(decide(monkeypatch, {("fp32", False, 2): 0.55}, threads=2)) == ("fp32", False, 2)
    assert decide(monkeypatch, {("fp32", False, 2): 0.55}, threads=1).threads == 1


def test_a_probe_that_takes_long_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a big network not every variant is timed, but bf16 is."""
    timed: list[Variant] = []
    monkeypatch.setattr(precision_module, "_BUDGET", 0.0)

    def look_up(
        model: nn.Module, shape: object, training: object, variant: Variant, device: object, least: float
    ) -> float:
        timed.append(variant)
        return SLOW

    monkeypatch.setattr(precision_module, "_time_step", look_up)
    choose(threads=2)
    assert len(timed) == 2
    assert {variant.precision for variant in timed} == {"fp32", "bf16"}


def test_a_hopeless_variant_is_timed_no_further() -> None:
    steps: list[int] = []

    def time_with(least: float) -> int:
        model = network()
        model.register_forward_hook(lambda *_: steps.append(1))
        before = len(steps)
        variant = Variant("fp32", channels_last=False, threads=1)
        precision_module._time_step(model, torch.randn(4, 1, 8, 8), TRAINING, variant, CPU, least)
        return len(steps) - before

    assert time_with(least=1e-9) == 3
    assert time_with(least=1e9) > 3


def test_the_network_of_the_study_is_what_is_timed() -> None:
    built: list[nn.Module] = []

    def make() -> nn.Module:
        built.append(network())
        return built[-1]

    choose_precision(make, torch.randn(TRAINING.batch_size, 1, 8, 8), TRAINING, wanted="auto", threads=1, device=CPU)
    assert len(built) >= 2, "every variant has a network of its own"
    fresh = network().state_dict()
    for model in built:
        assert any(not torch.equal(fresh[name], tensor) for name, tensor in model.state_dict().items())


def test_a_choice_says_how_to_run() -> None:
    fp32 = PrecisionChoice(precision="fp32", channels_last=False, threads=1, device="cpu", reason="")
    bf16 = fp32.model_copy(update={"precision": "bf16", "channels_last": True})
    assert isinstance(autocast("fp32", CPU), contextlib.nullcontext)
    assert (memory_format(fp32), memory_format(bf16)) == (torch.contiguous_format, torch.channels_last)
    linear = nn.Linear(3, 2)
    with autocast("fp32", CPU):
        assert linear(torch.ones(1, 3)).dtype == torch.float32
    with autocast("bf16", CPU):
        assert linear(torch.ones(1, 3)).dtype == torch.bfloat16


def test_what_else_the_machine_does_is_not_timed() -> None:
    """A step of one thread that spends most of its time waiting is as fast as its work."""

    class Waits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(2))

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            time.sleep(0.02)
            return inputs.flatten(1)[:, :2] * self.scale

    plain, inputs = Variant("fp32", False, 1), torch.randn(8, 1, 2, 2)
    seconds = precision_module._time_step(Waits(), inputs, TRAINING, plain, CPU, math.inf)
    assert 0 < seconds < 0.02
