"""Continuation KD: both presets of the paper, its loss, its ablations, its margin and the dead zone."""

from __future__ import annotations

import itertools
import re
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from autockd.config.methods import ContinuationKD
from autockd.distillation import LossParts, Method, Plan, Run, make_method

CIFAR = ContinuationKD(smoothing_start=20, hard_loss_ramp=0.75, hard_loss_peak=1.0)
GLUE = ContinuationKD(smoothing_start=10, hard_loss_ramp=2 / 3, hard_loss_peak=0.5)

PRESETS = {
    "cifar": (CIFAR, 200, 20, Fraction(3, 4), Fraction(1)),
    "glue": (GLUE, 30, 10, Fraction(2, 3), Fraction(1, 2)),
}
"""Configuration, and the paper's n, T_max, s and psi_max as exact fractions."""

ABLATIONS = ("anneal_teacher", "anneal_margin", "anneal_hard_loss")

presets = pytest.mark.parametrize(("config", "n", "t_max", "s", "psi_max"), PRESETS.values(), ids=PRESETS)


def paper_phi(i: int, n: int, t_max: int) -> Fraction:
    """1 - (T_i - 1) / T_max with Algorithm 1's T_i as printed: it exceeds 1 where T_i falls to 0."""
    return 1 - Fraction(t_max - i // (n // t_max) - 1, t_max)


def paper_psi(i: int, n: int, s: Fraction, psi_max: Fraction) -> Fraction:
    return psi_max * i / (s * n) if i <= s * n else Fraction(1)


def plan_of(config: ContinuationKD, epochs: int, steps_per_epoch: int = 1, second_moment: float = 1.0) -> Plan:
    return make_method(config).plan(Run(epochs, steps_per_epoch), second_moment)


def loss_of(config: ContinuationKD, student: Tensor, teacher: Tensor, **row: float) -> LossParts:
    targets = torch.zeros(len(student), dtype=torch.int64)
    row = {"hard_weight": 0.0, "soft_weight": 1.0, "smoothing": 1.0, "margin": 0.0} | row
    return make_method(config).loss({"logits": student}, {"logits": teacher}, targets, row)


@presets
def test_a_preset_equals_the_paper_at_every_epoch(
    config: ContinuationKD, n: int, t_max: int, s: Fraction, psi_max: Fraction
) -> None:
    plan = plan_of(config, n, steps_per_epoch=2)
    phi, psi = plan.column("smoothing"), plan.column("hard_weight")
    for epoch in range(1, n + 1):
        steps = slice(2 * (epoch - 1), 2 * epoch)
        assert phi[steps] == pytest.approx([float(min(Fraction(1), paper_phi(epoch, n, t_max)))] * 2, abs=1e-12)
        assert psi[steps] == pytest.approx([float(paper_psi(epoch, n, s, psi_max))] * 2, abs=1e-12)


@presets
def test_the_paper_overshoots_once_and_we_do_not(
    config: ContinuationKD, n: int, t_max: int, s: Fraction, psi_max: Fraction
) -> None:
    assert [i for i in range(1, n + 1) if paper_phi(i, n, t_max) > 1] == [n]
    assert max(plan_of(config, n).column("smoothing")) == 1.0


@pytest.mark.parametrize(("config", "n", "reached"), [(CIFAR, 200, 0.75), (GLUE, 30, 0.70)], ids=PRESETS)
def test_the_soft_loss_of_a_preset_never_sees_the_whole_teacher(config: ContinuationKD, n: int, reached: float) -> None:
    plan = plan_of(config, n)
    pairs = zip(plan.column("smoothing"), plan.column("hard_weight"), strict=True)
    assert max(phi for phi, psi in pairs if psi < 1) == pytest.approx(reached)


def test_psi_of_glue_jumps_after_epoch_20() -> None:
    psi = plan_of(GLUE, 30).column("hard_weight")
    assert psi[18:21] == pytest.approx([0.475, 0.5, 1.0])


def test_psi_starts_as_the_equations_say() -> None:
    assert plan_of(CIFAR, 200).column("hard_weight")[0] == pytest.approx(1 / 150)
    assert plan_of(GLUE, 30).column("hard_weight")[0] == pytest.approx(1 / 40)


def test_the_margin_is_annealed_with_phi() -> None:
    plan = plan_of(CIFAR.model_copy(update={"margin": 0.02}), 200, second_moment=5.0)
    assert plan.column("margin") == pytest.approx([0.1 * phi for phi in plan.column("smoothing")])


def test_the_loss_is_the_equation_summed_by_hand() -> None:
    """Sample distances 4 and 0.5 (mean over two classes), margin 1: hinges 3 and 0."""
    student = torch.tensor([[3.0, 1.0], [0.0, 2.0]], dtype=torch.float64)
    teacher = torch.tensor([[2.0, -2.0], [2.0, 4.0]], dtype=torch.float64)
    parts = loss_of(CIFAR, student, teacher, hard_weight=0.25, soft_weight=2.0, smoothing=0.5, margin=1.0)
    hard = torch.nn.functional.cross_entropy(student, torch.tensor([0, 0])).item()
    assert parts.soft is not None
    assert parts.soft.item() == pytest.approx(1.5)
    assert parts.hard.item() == pytest.approx(hard)
    assert parts.total.item() == pytest.approx(0.25 * hard + 0.75 * 2.0 * 1.5)
    assert parts.active is not None
    assert parts.active.item() == 0.5


def test_a_hinge_per_sample_and_one_on_the_batch_differ() -> None:
    """Distances 0 and 2 around a margin of 1: one active sample, or a batch mean that is not above the margin."""
    student, teacher = torch.tensor([[0.0, 0.0], [2.0, 0.0]]), torch.zeros(2, 2)
    sample = loss_of(CIFAR, student, teacher, margin=1.0)
    batch = loss_of(CIFAR.model_copy(update={"hinge": "batch"}), student, teacher, margin=1.0)
    assert sample.soft is not None
    assert sample.active is not None
    assert batch.soft is not None
    assert batch.active is not None
    assert (sample.soft.item(), sample.active.item()) == (0.5, 0.5)
    assert (batch.soft.item(), batch.active.item()) == (0.0, 0.0)


def test_without_a_margin_both_hinges_agree() -> None:
    student, teacher = torch.tensor([[0.0, 1.0], [2.0, 0.0]]), torch.zeros(2, 2)
    sample, batch = (loss_of(CIFAR.model_copy(update={"hinge": how}), student, teacher) for how in ("sample", "batch"))
    torch.testing.assert_close(sample.total, batch.total)


@pytest.mark.parametrize("hinge", ["sample", "batch"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_inside_the_margin_loss_and_gradient_are_exactly_zero(hinge: str, reduction: str) -> None:
    config = ContinuationKD(hinge=hinge, reduction=reduction)
    teacher = torch.randn(8, 10, generator=torch.Generator().manual_seed(0))
    student = (0.5 * teacher + 0.01).requires_grad_()
    parts = loss_of(config, student, teacher, smoothing=0.5, margin=0.1)
    parts.total.backward()
    assert parts.total.item() == 0.0
    assert parts.active is not None
    assert parts.active.item() == 0.0
    assert student.grad is not None
    assert torch.count_nonzero(student.grad) == 0


def test_a_sum_over_classes_is_c_times_the_mean() -> None:
    generator = torch.Generator().manual_seed(1)
    student, teacher = torch.randn(2, 4, 10, generator=generator, dtype=torch.float64)
    mean, total = (loss_of(ContinuationKD(reduction=how), student, teacher, smoothing=0.3) for how in ("mean", "sum"))
    torch.testing.assert_close(total.total, 10 * mean.total)


@pytest.mark.parametrize(
    ("teacher", "margin", "hard"), list(itertools.product([True, False], repeat=3)), ids=lambda flag: str(flag)[0]
)
def test_each_ablation_freezes_its_own_column_alone(teacher: bool, margin: bool, hard: bool) -> None:
    config = ContinuationKD(
        smoothing_start=5,
        margin=0.1,
        anneal_teacher=teacher,
        anneal_margin=margin,
        anneal_hard_loss=hard,
        frozen_hard_loss=0.3,
    )
    whole = plan_of(config.model_copy(update=dict.fromkeys(ABLATIONS, True)), 20, second_moment=2.0)
    plan = plan_of(config, 20, second_moment=2.0)
    assert plan.column("smoothing") == (whole.column("smoothing") if teacher else [1.0] * 20)
    assert plan.column("margin") == pytest.approx(whole.column("margin") if margin else [0.2] * 20)
    assert plan.column("hard_weight") == (whole.column("hard_weight") if hard else [0.3] * 20)
    assert plan.column("soft_weight") == [1.0] * 20


def test_schedules_advance_by_epoch_or_by_step() -> None:
    run = {"epochs": 4, "steps_per_epoch": 5}
    by_epoch = plan_of(ContinuationKD(smoothing_start=4, granularity="epoch"), **run)
    by_step = plan_of(ContinuationKD(smoothing_start=4, granularity="step"), **run)
    for name in ("smoothing", "hard_weight"):
        column = by_epoch.column(name)
        assert all(len(set(column[start : start + 5])) == 1 for start in range(0, 20, 5)), "constant within an epoch"
    assert by_step.column("smoothing") == pytest.approx([0.25] * 4 + [0.5] * 5 + [0.75] * 5 + [1.0] * 6)
    assert by_step.column("hard_weight") == pytest.approx([i / 15 for i in range(1, 16)] + [1.0] * 5)


def test_the_power_of_the_ramp_reaches_the_plan() -> None:
    config = ContinuationKD(smoothing_start=1, hard_loss_ramp=1.0, ramp_shape="power", ramp_power=3.0)
    assert plan_of(config, 4).column("hard_weight") == pytest.approx([1 / 64, 8 / 64, 27 / 64, 1.0])


@pytest.mark.parametrize(("hinge", "is_mean"), [("sample", True), ("batch", False)])
def test_a_hinge_on_the_batch_mean_has_no_parts(hinge: str, is_mean: bool) -> None:
    """A trial whose memory ran out would compute the parts of a batch one by one, and another loss with them."""
    config = ContinuationKD(hinge=hinge)
    student, teacher = torch.tensor([[0.0, 0.0], [2.0, 0.0]]), torch.zeros(2, 2)
    whole = loss_of(config, student, teacher, margin=1.0).total
    parts = sum(loss_of(config, student[[row]], teacher[[row]], margin=1.0).total for row in range(2)) / 2
    assert make_method(config).is_mean_over_samples == is_mean == (whole.item() == parts.item())


def test_soft_loss_weight_is_in_every_row() -> None:
    assert plan_of(ContinuationKD(soft_loss_weight=2.5), 20).column("soft_weight") == [2.5] * 20


@pytest.mark.parametrize(("mode", "margin", "absolute"), [("relative", 0.1, 0.4), ("dead_zone", 0.5, 0.2)])
def test_margin_modes_reach_the_plan(mode: str, margin: float, absolute: float) -> None:
    """E[z_T^2] = 4 and T_max = 10: the dead zone's bound is 0.4."""
    config = ContinuationKD(smoothing_start=10, margin=margin, margin_mode=mode)
    assert plan_of(config, 20, second_moment=4.0).column("margin")[-1] == pytest.approx(absolute)


def warning_of(config: ContinuationKD, run: Run, second_moment: float) -> str:
    return "\n".join(make_method(config).warnings(run, second_moment))


@settings(deadline=None, max_examples=100)
@given(st.integers(2, 40), st.floats(0.1, 100.0), st.floats(0.01, 3.0), st.integers(2, 5))
def test_the_dead_zone_is_warned_about_exactly_from_its_bound_on(
    start: int, second_moment: float, share: float, pace: int
) -> None:
    bound = second_moment / start
    margin = bound * (share if abs(share - 1) > 1e-6 else 1.001)
    config = ContinuationKD(smoothing_start=start, margin=margin, margin_mode="absolute")
    assert bool(warning_of(config, Run(start * pace, 1), second_moment)) == (margin >= bound)


@pytest.mark.parametrize("start", [2, 7, 10, 20, 40])
def test_a_margin_at_the_bound_is_warned_about(start: int) -> None:
    """At z_S = 0 the first distance equals the margin, so the hinge gives exactly nothing."""
    config = ContinuationKD(smoothing_start=start, margin=1.0, margin_mode="dead_zone")
    assert warning_of(config, Run(2 * start, 1), 4.0)


def test_the_warning_names_its_numbers() -> None:
    """E[z_T^2] = 8 and T_max = 10 bound m by 0.8; m = 0.35 * 8 is dead while phi <= 0.35, for 29 of 100 epochs."""
    text = warning_of(ContinuationKD(smoothing_start=10, margin=0.35), Run(100, 3), 8.0)
    assert "2.8" in text
    assert "0.8" in text
    assert "29%" in text
    assert "dead_zone" in text, "a remedy"


def test_a_dead_zone_is_dead_for_a_student_that_knows_nothing() -> None:
    """What the warning promises: with z_S = 0 the soft loss is 0 for that share of the run, and not after it."""
    config, second_moment = ContinuationKD(smoothing_start=10, margin=0.35), 8.0
    plan = plan_of(config, 100, second_moment=second_moment)
    teacher = torch.full((4, 3), second_moment**0.5, dtype=torch.float64)
    soft = [loss_of(config, torch.zeros(4, 3), teacher, **plan.row(step)).soft for step in range(100)]
    alive = [step for step, value in enumerate(soft) if value is not None and value.item() > 0]
    assert alive == list(range(29, 100))


def test_a_teacher_that_says_nothing_has_no_dead_zone() -> None:
    assert warning_of(ContinuationKD(margin=0.3), Run(40, 2), 0.0) == ""


@pytest.mark.parametrize("config", [ContinuationKD(), ContinuationKD(margin_mode="none"), CIFAR, GLUE])
def test_no_margin_no_warning(config: ContinuationKD) -> None:
    assert warning_of(config, Run(40, 2), 1e-6) == ""


def test_of_a_sum_over_classes_nothing_is_said() -> None:
    """E[z_T^2] is a mean over them, so the distance of a new student is some multiple of it."""
    config = ContinuationKD(smoothing_start=10, margin=0.35)
    assert warning_of(config, Run(100, 1), 8.0)
    assert warning_of(config.model_copy(update={"reduction": "sum"}), Run(100, 1), 8.0) == ""


def test_a_teacher_that_is_not_annealed_has_no_dead_zone_at_the_start() -> None:
    config = ContinuationKD(smoothing_start=10, margin=0.5, anneal_teacher=False)
    assert warning_of(config, Run(100, 1), 8.0) == ""


def test_the_bound_in_the_warning_is_one_that_the_margin_breaks() -> None:
    """A margin that is not annealed is dead from E[z_T^2] / T_max^2 on: 0.08 here, not 0.8."""
    config = ContinuationKD(smoothing_start=10, margin=0.05, anneal_margin=False)
    text = warning_of(config, Run(100, 1), 8.0)
    assert text
    margin, bound = re.search(r"margin \(([\d.e-]+)\) is not below ([\d.e-]+),", text).groups()
    assert float(margin) == pytest.approx(0.4)
    assert float(bound) <= float(margin)


def test_where_phi_starts_higher_the_warning_says_that_bound_and_no_remedy_that_is_taken() -> None:
    """With 10 epochs for 10 values phi starts at 2/10, so that 2 * E[z_T^2]/10 is the bound."""
    config = ContinuationKD(smoothing_start=10, margin=2.5, margin_mode="dead_zone")
    text = warning_of(config, Run(10, 1), 1.0)
    assert "the margin (0.25) is not below 0.2," in text
    assert "margin_mode" not in text
    assert warning_of(config.model_copy(update={"margin": 1.9}), Run(10, 1), 1.0) == ""


def test_conventions_tell_what_an_ablation_holds_still() -> None:
    whole = make_method(ContinuationKD()).conventions
    assert "max(0, d - m * phi); d = mean over classes of (z_S - phi * z_T)^2;" in whole
    ablations = dict.fromkeys(ABLATIONS, False)
    frozen = make_method(ContinuationKD(**ablations, frozen_hard_loss=0.3)).conventions
    assert "max(0, d - m); psi: 0.3 throughout; d = mean over classes of (z_S - z_T)^2;" in frozen


@pytest.mark.parametrize("hinge", ["sample", "batch"])
def test_conventions_tell_what_the_configuration_chose(hinge: str) -> None:
    config = ContinuationKD(hinge=hinge, reduction="sum", margin=0.1, margin_mode="absolute")
    method: Method = make_method(config)
    assert "sum over classes" in method.conventions
    assert "absolute" in method.conventions
    assert ("each sample" in method.conventions) == (hinge == "sample")
