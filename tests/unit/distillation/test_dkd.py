from __future__ import annotations

from autockd.config.methods import DecoupledKD
from autockd.distillation import Run, make_method


def test_the_soft_loss_warms_up_by_steps() -> None:
    def weights(warmup: float) -> list[float]:
        return make_method(DecoupledKD(warmup=warmup)).plan(Run(4, 2), 1.0).column("soft_weight")

    assert weights(0.5) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert weights(0.0) == [1.0] * 8
