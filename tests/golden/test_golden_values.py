"""Golden values in float64: two samples, three classes, numbers on which independent packages agree."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from autockd.config.methods import (
    AnnealingKD,
    AssistantKD,
    ContinuationKD,
    DecoupledKD,
    Dist,
    HintonKD,
    MethodConfig,
    NoDistillation,
)
from autockd.distillation import LossParts, Run, make_method
from autockd.distillation.losses import decoupled_kl, hard_loss, softened_kl, squared_distance

STUDENT = torch.tensor([[1.0, 2.0, 0.0], [0.0, 1.0, 3.0]], dtype=torch.float64)
TEACHER = torch.tensor([[2.0, 0.0, 1.0], [1.0, 1.0, 4.0]], dtype=torch.float64)
TARGETS = torch.tensor([1, 2])

CE = 0.28872599200033305
KL = 0.47752335475382984
DECOUPLED = 0.5821550731916897
STANDARDISED = 0.3714323196693381
LOGIT_MSE = 1.3333333333333333
ANNEALING = 0.9583333333333334
CONTINUATION_MEAN = 0.6784314980000834
CONTINUATION_SUM = 2.115931498000083


def loss_of(config: MethodConfig, **row: float) -> LossParts:
    return make_method(config).loss({"logits": STUDENT}, {"logits": TEACHER}, TARGETS, row)


def exactly(value: float) -> object:
    return pytest.approx(value, rel=0, abs=1e-9)


def test_cross_entropy() -> None:
    assert hard_loss(STUDENT, TARGETS).item() == exactly(CE)
    assert loss_of(NoDistillation()).total.item() == exactly(CE)


def test_softened_kl() -> None:
    assert softened_kl(STUDENT, TEACHER, 2.0).item() == exactly(KL)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_hinton(alpha: float) -> None:
    parts = loss_of(HintonKD(), hard_weight=1 - alpha, soft_weight=alpha, temperature=2.0)
    assert parts.total.item() == exactly((1 - alpha) * CE + alpha * KL)


def test_hinton_on_standardised_logits() -> None:
    config = HintonKD(standardise_logits=True)
    assert loss_of(config, hard_weight=0.5, soft_weight=0.5, temperature=2.0).total.item() == exactly(STANDARDISED)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_assistant(alpha: float) -> None:
    """The logits of the assistant stand where the teacher's do."""
    parts = loss_of(AssistantKD(), hard_weight=1 - alpha, soft_weight=alpha, temperature=2.0)
    assert parts.total.item() == exactly((1 - alpha) * CE + alpha * KL)
    config = AssistantKD(standardise_logits=True)
    assert loss_of(config, hard_weight=0.5, soft_weight=0.5, temperature=2.0).total.item() == exactly(STANDARDISED)


def test_decoupled() -> None:
    config = DecoupledKD(target_weight=1.0, other_weight=2.0)
    parts = loss_of(config, hard_weight=1.0, soft_weight=1.0, temperature=2.0)
    assert parts.soft is not None
    assert parts.soft.item() == exactly(DECOUPLED)
    assert parts.total.item() == exactly(CE + DECOUPLED)


def test_decoupled_on_standardised_logits() -> None:
    """Both networks' are, in the soft loss alone; by hand that of logits that are so already."""
    student, teacher = (
        (logits - logits.mean(dim=1, keepdim=True)) / (logits.std(dim=1, keepdim=True) + 1e-7)
        for logits in (STUDENT, TEACHER)
    )
    target, others = decoupled_kl(student, teacher, TARGETS, 2.0)
    config = DecoupledKD(target_weight=1.0, other_weight=2.0, standardise_logits=True)
    parts = loss_of(config, hard_weight=1.0, soft_weight=1.0, temperature=2.0)
    assert parts.soft is not None
    assert parts.soft.item() == exactly((target + 2 * others).item())
    assert parts.total.item() == exactly(CE + parts.soft.item())


def test_decoupled_parts_make_up_the_whole() -> None:
    """KL = TCKD + (1 - p_T of the right class) * NCKD (Zhao et al., equation 5), for a single sample."""
    for row in range(2):
        sample = slice(row, row + 1)
        student, teacher, targets = STUDENT[sample], TEACHER[sample], TARGETS[sample]
        target, others = decoupled_kl(student, teacher, targets, 2.0)
        rest = 1 - torch.softmax(teacher / 2, dim=1)[0, targets[0]].item()
        assert target.item() + rest * others.item() == exactly(softened_kl(student, teacher, 2.0).item())


def test_dist_of_equal_outputs_is_nothing() -> None:
    parts = make_method(Dist()).loss(
        {"logits": TEACHER}, {"logits": TEACHER}, TARGETS, {"hard_weight": 0.0, "soft_weight": 1.0, "temperature": 2.0}
    )
    assert parts.total.item() == exactly(0.0)


@pytest.mark.parametrize("tau", [1.0, 2.0])
def test_dist(tau: float) -> None:
    """By hand: over classes with numpy's corrcoef of the two rows; two samples correlate as 1 or -1 in every class."""
    student, teacher = (torch.softmax(logits / tau, dim=1).numpy() for logits in (STUDENT, TEACHER))
    by_sample = 1 - np.mean([np.corrcoef(mine, theirs)[0, 1] for mine, theirs in zip(student, teacher, strict=True)])
    signs = np.sign(np.diff(student, axis=0) * np.diff(teacher, axis=0))
    by_class = 1 - signs.mean()
    parts = loss_of(Dist(sample_weight=2.0, class_weight=3.0), hard_weight=0.0, soft_weight=1.0, temperature=tau)
    assert parts.total.item() == exactly(tau**2 * (2 * by_sample + 3 * by_class))


def test_logit_mse() -> None:
    assert squared_distance(STUDENT, TEACHER, 1.0, "mean").mean().item() == exactly(LOGIT_MSE)


def test_annealing_stage_one_and_two() -> None:
    assert loss_of(AnnealingKD(), hard_weight=0.0, smoothing=0.5).total.item() == exactly(ANNEALING)
    assert loss_of(AnnealingKD(), hard_weight=1.0, smoothing=1.0).total.item() == exactly(CE)


@pytest.mark.parametrize(("reduction", "value"), [("mean", CONTINUATION_MEAN), ("sum", CONTINUATION_SUM)])
def test_continuation(reduction: str, value: float) -> None:
    """With phi = 0.5, psi = 0.25 and m = 0.3, so that the annealed margin is 0.15."""
    config = ContinuationKD(reduction=reduction)
    parts = loss_of(config, hard_weight=0.25, soft_weight=1.0, smoothing=0.5, margin=0.15)
    assert parts.total.item() == exactly(value)


def test_continuation_by_its_plan() -> None:
    """The same value from a whole configuration: T_max = 2 gives phi = 0.5 in the first of four epochs, psi = 0.25."""
    config = ContinuationKD(smoothing_start=2, hard_loss_ramp=1.0, margin=0.3, margin_mode="absolute")
    row = make_method(config).plan(Run(epochs=4, steps_per_epoch=1), 1.0).row(0)
    assert loss_of(config, **row).total.item() == exactly(CONTINUATION_MEAN)


def test_continuation_on_the_batch_mean_where_every_hinge_is_active() -> None:
    """Both distances, 0.9167 and 1.0, lie above the margin, so the hinge on their mean gives the same."""
    config = ContinuationKD(hinge="batch")
    parts = loss_of(config, hard_weight=0.25, soft_weight=1.0, smoothing=0.5, margin=0.15)
    assert parts.total.item() == exactly(CONTINUATION_MEAN)


def test_the_golden_values_themselves_by_hand() -> None:
    """From the definitions in plain Python, so that the table above is not taken on trust."""
    z_s, z_t, y = STUDENT.tolist(), TEACHER.tolist(), TARGETS.tolist()

    def softmax(row: list[float]) -> list[float]:
        return [math.exp(z) / sum(map(math.exp, row)) for z in row]

    def distances(phi: float) -> list[float]:
        return [sum((a - phi * b) ** 2 for a, b in zip(s, t, strict=True)) for s, t in zip(z_s, z_t, strict=True)]

    soft = [([z / 2 for z in s], [z / 2 for z in t]) for s, t in zip(z_s, z_t, strict=True)]
    kl = sum(p * math.log(p / q) for s, t in soft for p, q in zip(softmax(t), softmax(s), strict=True))
    assert -sum(math.log(softmax(s)[label]) for s, label in zip(z_s, y, strict=True)) / 2 == exactly(CE)
    assert 4 * kl / 2 == exactly(KL)
    assert sum(distances(1.0)) / 6 == exactly(LOGIT_MSE)
    assert sum(distances(0.5)) / 6 == exactly(ANNEALING)
    assert 0.25 * CE + 0.75 * sum(max(0, d / 3 - 0.15) for d in distances(0.5)) / 2 == exactly(CONTINUATION_MEAN)
    assert 0.25 * CE + 0.75 * sum(max(0, d - 0.15) for d in distances(0.5)) / 2 == exactly(CONTINUATION_SUM)
