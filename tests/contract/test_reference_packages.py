"""Our losses beside those of published packages, on random logits. Test-only: skipped where a package is missing.

What differs is stated where it differs: torchdistill's alpha weights the hard loss (ours the soft one), and
TextBrewer gives the cross-entropy of softened distributions, without tau^2 and without the teacher's entropy.
MMRazor's package needs much to be imported whole, so its one file is, with a stand-in for the registry that it joins.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import warnings
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from autockd.config.methods import AssistantKD, DecoupledKD, Dist, HintonKD
from autockd.distillation import LossParts, Run, make_method
from autockd.distillation.losses import softened_kl, squared_distance


def reference(module: str, package: str) -> ModuleType:
    """A reference package's module; the warnings that it gives when imported are its own affair."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if os.environ.get("AUTOCKD_TEST_REFERENCES"):  # whoever sets it has installed them
            return importlib.import_module(module)
        return pytest.importorskip(
            module,
            reason=f"to compare with {package}: pip install --no-deps {package}",
            exc_type=ImportError,
        )


@pytest.fixture
def mmrazor_dkd(monkeypatch: pytest.MonkeyPatch) -> Any:
    """MMRazor's DKDLoss."""
    found = importlib.util.find_spec("mmrazor")
    if found is None or found.origin is None:
        pytest.skip("to compare with mmrazor==1.0.0: pip install --no-deps mmrazor==1.0.0")
    registry = ModuleType("mmrazor.registry")
    registry.MODELS = SimpleNamespace(register_module=lambda: lambda kind: kind)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mmrazor", ModuleType("mmrazor"))
    monkeypatch.setitem(sys.modules, "mmrazor.registry", registry)
    file = Path(found.origin).parent / "models" / "losses" / "decoupled_kd.py"
    spec = importlib.util.spec_from_file_location("mmrazor_decoupled_kd", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.DKDLoss


def batch(classes: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = 4 * torch.randn(2, 16, classes, generator=generator, dtype=torch.float64)
    return student.requires_grad_(), teacher, torch.randint(classes, (16,), generator=generator)


def hinton(
    student: Tensor, teacher: Tensor, targets: Tensor, alpha: float, tau: float, kind: type = HintonKD
) -> LossParts:
    method = make_method(kind(alpha=alpha, temperature=tau))
    row = method.plan(Run(1, 1), 1.0).row(0)
    return method.loss({"logits": student}, {"logits": teacher}, targets, row)


def gradient(loss: Tensor, student: Tensor) -> Tensor:
    return torch.autograd.grad(loss, student)[0]


@pytest.mark.parametrize("classes", [2, 10, 100])
@pytest.mark.parametrize(("alpha", "tau"), [(0.9, 4.0), (0.5, 1.0), (0.1, 20.0)])
@pytest.mark.parametrize("kind", [HintonKD, AssistantKD])
def test_kd_equals_torchdistill(classes: int, alpha: float, tau: float, kind: type) -> None:
    """KDLoss(alpha=1 - ours): alpha * CE + (1 - alpha) * tau^2 * KL, with batchmean; takd has another teacher."""
    losses = reference("torchdistill.losses.mid_level", "torchdistill==1.1.5")
    student, teacher, targets = batch(classes)
    theirs = losses.KDLoss("logits", "output", "logits", "output", temperature=tau, alpha=1 - alpha)(
        {"logits": {"output": student}}, {"logits": {"output": teacher}}, targets
    )
    ours = hinton(student, teacher, targets, alpha, tau, kind).total
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gradient(ours, student), gradient(theirs, student), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("classes", [2, 10, 100])
@pytest.mark.parametrize(("alpha", "tau"), [(0.9, 2.0), (0.5, 4.0)])
def test_kd_on_standardised_logits_equals_torchdistill(classes: int, alpha: float, tau: float) -> None:
    losses = reference("torchdistill.losses.mid_level", "torchdistill==1.1.5")
    student, teacher, targets = batch(classes)
    theirs = losses.LogitStdKDLoss("logits", "output", "logits", "output", temperature=tau, alpha=1 - alpha)(
        {"logits": {"output": student}}, {"logits": {"output": teacher}}, targets
    )
    method = make_method(HintonKD(alpha=alpha, temperature=tau, standardise_logits=True))
    ours = method.loss({"logits": student}, {"logits": teacher}, targets, method.plan(Run(1, 1), 1.0).row(0)).total
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gradient(ours, student), gradient(theirs, student), rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings("ignore:size_average and reduce args:UserWarning")
@pytest.mark.parametrize("classes", [3, 10, 100])
@pytest.mark.parametrize("tau", [1.0, 4.0])
def test_dkd_equals_mmrazor(mmrazor_dkd: Any, classes: int, tau: float) -> None:
    student, teacher, targets = batch(classes)
    theirs = mmrazor_dkd(tau=tau, alpha=1.5, beta=6.0)(student, teacher, targets)
    method = make_method(DecoupledKD(target_weight=1.5, other_weight=6.0, temperature=tau, warmup=0.0))
    ours = method.loss({"logits": student}, {"logits": teacher}, targets, method.plan(Run(1, 1), 1.0).row(0)).soft
    assert ours is not None
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(gradient(ours, student), gradient(theirs, student), rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("classes", [2, 10, 100])
@pytest.mark.parametrize("tau", [1.0, 4.0])
def test_dist_equals_torchdistill(classes: int, tau: float) -> None:
    losses = reference("torchdistill.losses.mid_level", "torchdistill==1.1.5")
    student, teacher, targets = batch(classes)
    theirs = losses.DISTLoss("logits", "output", "logits", "output", beta=2.0, gamma=3.0, tau=tau)(
        {"logits": {"output": student}}, {"logits": {"output": teacher}}
    )
    method = make_method(Dist(sample_weight=2.0, class_weight=3.0, temperature=tau))
    row = method.plan(Run(1, 1), 1.0).row(0)
    ours = method.loss({"logits": student}, {"logits": teacher}, targets, row).soft
    assert ours is not None
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gradient(ours, student), gradient(theirs, student), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("classes", [2, 10, 100])
@pytest.mark.parametrize("tau", [1.0, 4.0, 20.0])
def test_softened_kl_is_textbrewers_cross_entropy_but_for_tau_squared_and_entropy(classes: int, tau: float) -> None:
    losses = reference("textbrewer.losses", "textbrewer==0.2.1.post1")
    student, teacher, _ = batch(classes)
    p = F.softmax(teacher / tau, dim=1)
    entropy = -(p * p.log()).sum(dim=1).mean()
    theirs = losses.kd_ce_loss(student, teacher, temperature=tau)
    ours = softened_kl(student, teacher, tau)
    torch.testing.assert_close(ours, tau**2 * (theirs - entropy), rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(gradient(ours, student), tau**2 * gradient(theirs, student), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("classes", [1, 10, 100])
def test_logit_mse_equals_textbrewer(classes: int) -> None:
    losses = reference("textbrewer.losses", "textbrewer==0.2.1.post1")
    student, teacher, _ = batch(classes)
    ours = squared_distance(student, teacher, 1.0, "mean").mean()
    theirs = losses.kd_mse_loss(student, teacher)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient(ours, student), gradient(theirs, student), rtol=1e-12, atol=1e-14)
