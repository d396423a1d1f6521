from __future__ import annotations

import contextlib
import math
import re
import time
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from autockd.config.models import CifarResNet
from autockd.config.training import TrainingConfig
from autockd.models import build_model
from autockd.records import Precision, PrecisionChoice
from autockd.training import precision as precision_module
from autockd.training.precision import WORTH_IT, Variant, autocast, choose_precision, fixed_precision, memory_format

CPU = torch.device("cpu")
TRAINING = TrainingConfig(batch_size=8)
SLOW = 1.0


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Some tests time a step by itself, which sets the number of threads."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def network() -> nn.Module:
    return build_model(CifarResNet(width=2), classes=10, channels=1, image_size=(8, 8), seed=0)


def choose(threads: int = 1) -> PrecisionChoice:
    return probed(threads)[0]


def probed(threads: int = 1) -> tuple[PrecisionChoice, bool]:
    return choose_precision(network, torch.randn(TRAINING.batch_size, 1, 8, 8), TRAINING, threads=threads, device=CPU)


def decide(patch: pytest.MonkeyPatch, seconds: dict[tuple[str, bool, int], float], threads: int = 1) -> PrecisionChoice:
    """The decision from given timings; what is not given is slow."""

    def look_up(
        model: nn.Module, shape: object, training: object, variant: Variant, device: object, least: float, **_: object
    ) -> float:
        return seconds.get((variant.precision, variant.channels_last, variant.threads), SLOW)

    patch.setattr(precision_module, "_time_step", look_up)
    patch.setattr(precision_module, "_onednn_has_bf16", lambda: True)
    return choose(threads)


def fields(choice: PrecisionChoice) -> tuple[str, bool, int]:
    return choice.precision, choice.channels_last, choice.threads


Probe = tuple[PrecisionChoice, list[nn.Module]]


@pytest.fixture(scope="module")
def probe() -> Probe:
    """What a real probe chose, and the networks that it timed."""
    built: list[nn.Module] = []

    def make() -> nn.Module:
        built.append(network())
        return built[-1]

    inputs = torch.randn(TRAINING.batch_size, 1, 8, 8)
    choice, _ = choose_precision(make, inputs, TRAINING, threads=1, device=CPU)
    return choice, built


VARIANT = r"(fp32|bf16)(, channels_last)?, 1 thread"


def test_the_probe_chooses_and_says_why(probe: Probe) -> None:
    choice, _ = probe
    assert (choice.threads, choice.device) == (1, "cpu")
    layout = ", channels_last" if choice.channels_last else ""
    assert choice.reason.startswith(f"{choice.precision}{layout}, 1 thread: ")
    faster = r"\d+\.\dx faster than fp32, 1 thread"
    slower = rf"the best alternative \({VARIANT}\) takes \d+\.\d ms"
    assert re.fullmatch(rf"{VARIANT}: \d+\.\d ms a step(, {faster}|; {slower})", choice.reason)


class Busy(nn.Module):
    """A network whose step takes ten milliseconds of the processor, and hardly anything else."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        began = time.process_time()
        while time.process_time() - began < 0.01:
            pass
        return inputs.flatten(1)[:, :2] * self.scale


def test_the_probe_tells_what_a_step_takes() -> None:
    choice, lasts = choose_precision(Busy, torch.randn(8, 1, 2, 2), TRAINING, threads=1, device=CPU)
    assert (fields(choice), lasts) == (("fp32", False, 1), True), "no variant is worth it"
    times = [float(found) for found in re.findall(r"(\d+\.\d) ms", choice.reason)]
    assert len(times) == 2
    assert all(10 <= each < 20 for each in times)


def test_of_several_threads_it_keeps_what_one_would_take(monkeypatch: pytest.MonkeyPatch) -> None:
    timed = {("bf16", True, 1): 0.4, ("bf16", True, 2): 0.25}
    choice = decide(monkeypatch, timed, threads=2)
    assert (fields(choice), choice.alone) == (("bf16", True, 2), 0.4)
    assert fixed_precision("bf16", 2, CPU).alone is None


def test_a_precision_that_is_insisted_on_is_used() -> None:
    assert fields(fixed_precision("fp32", 2, CPU)) == ("fp32", False, 2)
    assert fields(fixed_precision("bf16", 1, CPU)) == ("bf16", True, 1)
    assert fixed_precision("fp32", 2, CPU).reason == "fp32, 2 threads: asked for"


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


@pytest.mark.parametrize("has_bf16", [True, False])
def test_of_those_worth_it_the_fastest_is_chosen(monkeypatch: pytest.MonkeyPatch, has_bf16: bool) -> None:
    monkeypatch.setattr(precision_module, "cpu_has_bf16", lambda: has_bf16)
    seconds = {("bf16", False, 1): 0.8, ("fp32", True, 1): 0.6, ("bf16", True, 1): 0.7}
    assert fields(decide(monkeypatch, seconds)) == ("fp32", True, 1)


def test_more_threads_are_tried_and_must_be_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fields(decide(monkeypatch, {("fp32", False, 2): 0.95}, threads=2)) == ("fp32", False, 1)
    assert fields(decide(monkeypatch, {("fp32", False, 2): 0.55}, threads=2)) == ("fp32", False, 2)
    assert decide(monkeypatch, {("fp32", False, 2): 0.55}, threads=1).threads == 1


@pytest.mark.parametrize(
    ("fitting", "expected", "reason"),
    [
        ({"fp32", "bf16"}, "bf16", "bf16, channels_last, 1 thread: 500.0 ms a step, 2.0x faster than fp32, 1 thread"),
        ({"fp32"}, "fp32", "fp32, 1 thread: 1000.0 ms a step; the best alternative (fp32, channels_last, 1 thread)"),
        ({"bf16"}, "bf16", "bf16, channels_last, 1 thread: 500.0 ms a step; fp32, 1 thread, does not fit into memory"),
        (set(), "fp32", "fp32, 1 thread: a whole batch fits into memory in no precision"),
    ],
)
def test_what_does_not_fit_into_memory_is_not_chosen(
    monkeypatch: pytest.MonkeyPatch, fitting: set[str], expected: str, reason: str
) -> None:
    """Trials try halves of batches where no whole one fits."""

    def look_up(
        model: nn.Module, shape: object, training: object, variant: Variant, device: object, least: float, **_: object
    ) -> float:
        if variant.precision not in fitting:
            raise torch.OutOfMemoryError("of a GPU")
        return {"fp32": 1.0, "bf16": 0.5}[variant.precision]

    monkeypatch.setattr(precision_module, "_time_step", look_up)
    monkeypatch.setattr(precision_module, "cpu_has_bf16", lambda: True)
    found, lasts = probed()
    assert (found.precision, lasts) == (expected, len(fitting) == 2)
    assert found.reason.startswith(reason)
    assert "inf" not in found.reason


def test_an_error_of_another_kind_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(*_: object, **__: object) -> float:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(precision_module, "_time_step", break_down)
    with pytest.raises(RuntimeError, match="shapes"):
        choose()


def test_the_number_of_threads_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision_module, "_ENOUGH", 0.0)  # a step or two of each will do
    monkeypatch.setattr(precision_module, "_HOPELESS", math.inf)
    used: set[int] = set()

    def make() -> nn.Module:
        made = network()
        made.register_forward_hook(lambda *_: used.add(torch.get_num_threads()))
        return made

    before = torch.get_num_threads()
    choose_precision(make, torch.randn(TRAINING.batch_size, 1, 8, 8), TRAINING, threads=2, device=CPU)
    assert used == {1, 2}
    assert torch.get_num_threads() == before


def timed_variants(
    patch: pytest.MonkeyPatch,
    seconds: dict[Precision, float],
    *,
    has_bf16: bool,
    has_kernels: bool = True,
    threads: int = 2,
) -> list[str]:
    """What is timed on a processor, from the time that a step takes in each precision."""
    timed: list[Variant] = []

    def look_up(
        model: nn.Module, shape: object, training: object, variant: Variant, device: object, least: float, **_: object
    ) -> float:
        timed.append(variant)
        return seconds[variant.precision]

    patch.setattr(precision_module, "_time_step", look_up)
    patch.setattr(precision_module, "cpu_has_bf16", lambda: has_bf16)
    patch.setattr(precision_module, "_onednn_has_bf16", lambda: has_kernels)
    choose(threads=threads)
    return [str(variant) for variant in timed]


@pytest.mark.parametrize("has_bf16", [True, False])
def test_a_probe_that_takes_long_times_the_main_candidates(monkeypatch: pytest.MonkeyPatch, has_bf16: bool) -> None:
    """On a big network not every variant is timed, but bf16 is where the processor computes in it, and all threads."""
    monkeypatch.setattr(precision_module, "_BUDGET", 0.0)
    timed = timed_variants(monkeypatch, {"fp32": 1.0, "bf16": 0.5}, has_bf16=has_bf16)
    best = "bf16, channels_last" if has_bf16 else "fp32"
    other = "fp32" if has_bf16 else "fp32, channels_last"
    assert sorted(timed) == sorted([f"{best}, 1 thread", f"{other}, 1 thread", f"{best}, 2 threads"])


def test_as_many_threads_as_physical_cores_are_tried_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two threads that share a core, one mostly waits for the other."""
    monkeypatch.setattr(precision_module, "physical_cores", lambda: 8)
    monkeypatch.setattr(precision_module, "_BUDGET", 0.0)
    slow = {"fp32": 1.0, "bf16": 10.0}
    for threads, expected in ((16, [1, 1, 8, 16]), (8, [1, 1, 8]), (4, [1, 1, 4]), (1, [1, 1])):
        timed = timed_variants(monkeypatch, slow, has_bf16=True, threads=threads)  # type: ignore[arg-type]
        assert [int(re.findall(r"(\d+) thread", text)[0]) for text in timed] == expected


def test_without_kernels_for_bf16_it_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One step of a small encoder took nine seconds so, and kept more threads from being tried."""
    timed = timed_variants(monkeypatch, {"fp32": 1.0, "bf16": 1.0}, has_bf16=False, has_kernels=False)
    assert [text for text in timed if text.startswith("bf16")] == []
    assert len(timed) == 4


@pytest.mark.parametrize("slow", ["fp32", "bf16"])
def test_of_a_hopeless_precision_one_variant_is_timed(monkeypatch: pytest.MonkeyPatch, slow: Precision) -> None:
    seconds: dict[Precision, float] = {"fp32": 1.0, "bf16": 1.0} | {slow: 10.0}
    timed = timed_variants(monkeypatch, seconds, has_bf16=slow == "fp32")
    assert sum(text.startswith(slow) for text in timed) == 1
    assert sum(not text.startswith(slow) for text in timed) == 4


def steps_timed(least: float, *, pause: float = 0.0) -> int:
    """Steps that it takes to time a variant that has to be as good as `least`; each is made longer by a pause."""
    steps: list[int] = []

    def pass_by(*_: object) -> None:
        steps.append(1)
        time.sleep(pause)

    model = network()
    model.register_forward_hook(pass_by)
    variant = Variant("fp32", channels_last=False, threads=1)
    precision_module._time_step(model, torch.randn(4, 1, 8, 8), TRAINING, variant, CPU, least)
    return len(steps)


def test_a_hopeless_variant_is_timed_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    assert steps_timed(least=1e-9) == 3
    assert steps_timed(least=1e9) > 3
    monkeypatch.setattr(precision_module, "_ONCE", 0.0)
    assert steps_timed(least=1e-9) == 1, "more than a first step's own costs"


def test_of_long_steps_few_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision_module, "_ENOUGH", 0.1)
    assert steps_timed(least=1e9, pause=0.05) <= 3


def test_the_network_of_the_study_is_what_is_timed(probe: Probe) -> None:
    _, built = probe
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


def test_a_slow_beginning_is_not_timed() -> None:
    """The first variant in a process waits for code and memory that the others find there: it was taken for slow."""
    durations = iter([0.6, 0.15])

    class BeginsSlowly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(2))

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            end = time.process_time() + next(durations, 0.0)
            while time.process_time() < end:
                pass
            return inputs.flatten(1)[:, :2] * self.scale

    plain, inputs = Variant("fp32", False, 1), torch.randn(8, 1, 2, 2)
    seconds = precision_module._time_step(BeginsSlowly(), inputs, TRAINING, plain, CPU, math.inf)
    assert 0 < seconds < 0.1


def test_what_else_the_machine_does_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of one thread that spends most of its time waiting is as fast as its work."""
    monkeypatch.setattr(precision_module, "_ENOUGH", 0.0)  # a round would wait a hundred times for so little work

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
