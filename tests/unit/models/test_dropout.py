from __future__ import annotations

import pytest
import torch
from torch import nn

from autockd.models.dropout import Dropout, dropped, use_quick_dropout


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_elements_are_zeroed_with_the_probability_and_the_rest_makes_up_for_it(
    probability: float, dtype: torch.dtype
) -> None:
    inputs = torch.full((100_003,), 2.0, dtype=dtype)
    torch.manual_seed(0)
    found = dropped(inputs, probability)
    share = float((found == 0).double().mean())
    error = (probability * (1 - probability) / len(inputs)) ** 0.5
    assert abs(share - probability) < 4 * error
    kept = found[found != 0]
    assert kept.dtype == dtype
    torch.testing.assert_close(kept, torch.full_like(kept, 2 / (1 - probability)), rtol=1e-2, atol=0)
    if dtype != torch.bfloat16:
        torch.testing.assert_close(kept, torch.full_like(kept, 2 / (1 - probability)), rtol=1e-4, atol=0)


def test_each_element_has_a_coin_of_its_own() -> None:
    """Four come out of one word of the generator: each place in it is as likely, and independent of the others."""
    torch.manual_seed(0)
    zeros = (dropped(torch.ones(50_000, 4), 0.25) == 0).double()
    error = (0.25 * 0.75 / len(zeros)) ** 0.5
    assert ((zeros.mean(dim=0) - 0.25).abs() < 4 * error).all()
    away_from_diagonal = torch.corrcoef(zeros.T) - torch.eye(4, dtype=torch.float64)
    assert away_from_diagonal.abs().max() < 4 / len(zeros) ** 0.5
    torch.manual_seed(1)
    assert not torch.equal((dropped(torch.ones(50_000, 4), 0.25) == 0).double(), zeros)


def test_the_gradient_passes_what_was_kept() -> None:
    inputs = torch.randn(7, 33, requires_grad=True)
    found = dropped(inputs, 0.4)
    found.backward(torch.ones_like(found))  # type: ignore[no-untyped-call]
    assert inputs.grad is not None
    torch.testing.assert_close(inputs.grad * inputs, found)


@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (0, 4)])
def test_any_shape_will_do(shape: tuple[int, ...]) -> None:
    assert dropped(torch.ones(shape), 0.3).shape == shape


def test_nothing_and_everything() -> None:
    inputs = torch.randn(50)
    assert torch.equal(dropped(inputs, 0.0), inputs)
    assert torch.equal(dropped(inputs, 1e-6), inputs), "rounded to a multiple of 2**-16"
    assert torch.equal(dropped(inputs, 1.0), torch.zeros(50))


def test_the_default_generator_decides() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(5)
        states.append(dropped(torch.ones(1000), 0.5))
    assert torch.equal(*states)


def test_a_network_drops_while_it_trains_alone() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Dropout(0.5), nn.AlphaDropout(0.5)))
    names = list(network.state_dict())
    use_quick_dropout(network)
    inner = network[1]
    assert isinstance(inner, nn.Sequential)
    assert type(inner[0]) is Dropout
    assert inner[0].p == 0.5
    assert type(inner[1]) is nn.AlphaDropout, "of another kind: left alone"
    assert list(network.state_dict()) == names
    assert (inner[0](torch.ones(200)) == 0).any()
    assert torch.equal(network.eval()[1](torch.ones(200)), torch.ones(200))
