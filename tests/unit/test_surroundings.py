"""What a study meets in its process, and leaves there."""

from __future__ import annotations

import os

import matplotlib
import pytest
import torch

from autockd.surroundings import plain_tensors, restoring
from autockd.tracking.figures import plain_style
from autockd.tracking.mlflow_store import unhurried


def test_variables_are_put_back_whether_they_were_there_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOCKD_THERE", "before")
    monkeypatch.delenv("AUTOCKD_ABSENT", raising=False)

    @restoring(["AUTOCKD_THERE", "AUTOCKD_ABSENT"])
    def change() -> None:
        os.environ.update({"AUTOCKD_THERE": "x", "AUTOCKD_ABSENT": "x"})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        change()
    assert os.environ["AUTOCKD_THERE"] == "before"
    assert "AUTOCKD_ABSENT" not in os.environ


@pytest.mark.parametrize(("before", "within"), [(None, "600"), ("10", "600"), ("45", "45")])
def test_an_upload_may_take_long_unless_somebody_has_said_how_long(
    before: str | None, within: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "MLFLOW_HTTP_REQUEST_TIMEOUT"
    monkeypatch.delenv(name, raising=False)
    if before is not None:
        monkeypatch.setenv(name, before)
    with unhurried():
        assert os.environ[name] == within
    assert os.environ.get(name) == before


def test_tensors_are_those_of_a_process_that_has_set_nothing() -> None:
    @plain_tensors()
    def made() -> torch.Tensor:
        return torch.zeros(1) + torch.tensor([0.5])

    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        found = made()
        assert (torch.get_default_dtype(), torch.zeros(1).device.type) == (torch.float64, "meta")
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert (found.dtype, found.device.type, found.item()) == (torch.float32, "cpu", 0.5)


def test_pictures_are_drawn_as_where_nobody_has_changed_settings() -> None:
    with matplotlib.rc_context({"text.usetex": True}):
        with plain_style():
            assert not matplotlib.rcParams["text.usetex"]
        assert matplotlib.rcParams["text.usetex"]
