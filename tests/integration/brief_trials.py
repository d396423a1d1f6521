"""A trial that is over after its first step, for tests of how Ray and Tune treat workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def brief_trainable(look: Callable[[int], None]) -> Any:
    """A trainable that needs nothing of torch; workers cannot import this module, so it travels whole.

    Args:
        look: is called in the worker with the trial's number.
    """
    from ray import tune

    from autockd.records import TrialOutcome, TrialReport

    class Brief(tune.Trainable):  # type: ignore[misc]
        def setup(self, config: dict[str, Any]) -> None:
            self._number = config["number"]

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self._number = new_config["number"]
            return True

        def step(self) -> dict[str, Any]:
            look(self._number)
            cost = {"seconds": 0.0, "gpu_seconds": 0.0}
            outcome = TrialOutcome(state="failed", reason="it only looked", epochs=0, **cost)
            return {"report": TrialReport(trial=self._number, outcome=outcome, **cost).model_dump_json(), "done": True}

        def save_checkpoint(self, checkpoint_dir: str) -> None: ...

        def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None: ...

    return Brief
