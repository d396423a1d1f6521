"""The test split is that which the ledger says was opened."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autockd.data import HeldOut, Task
from autockd.errors import StudyError
from autockd.judging import _require_same
from autockd.records import TestOpened


def test_models_are_not_scored_on_two_test_splits(digits: tuple[Task, HeldOut]) -> None:
    """A study that stopped between two evaluations goes on with the same data, or not at all."""
    _, held_out = digits
    opened = TestOpened(time=0.0, subjects=("teacher",), test_fingerprint=held_out.fingerprint)
    _require_same(None, held_out, "s")
    _require_same(opened, held_out, "s")
    _require_same(opened.model_copy(update={"test_fingerprint": ""}), held_out, "s")
    with pytest.raises(
        StudyError, match=r"s cannot go on: its test split has changed since it was opened.*put the data back"
    ):
        _require_same(opened, replace(held_out, fingerprint="another"), "s")
