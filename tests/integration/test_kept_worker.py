"""The worker that makes a study's teacher ready is still there, with all that it has imported, when trials are over."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch

from autockd.config.schema import ResourceConfig
from autockd.search.cluster import cluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

STOPPED_AFTER = 3.0
"""Seconds after which Ray has stopped the idle workers that it does not keep; it takes one."""


@pytest.mark.skipif(torch.cuda.is_available(), reason="an idle worker would keep a GPU's memory")
def test_a_worker_is_kept_while_trials_run_on_every_core(tmp_path: Path) -> None:
    with cluster(ResourceConfig(), tmp_path) as machine:
        import ray

        class Trial:
            def process(self) -> int:
                return os.getpid()

        def process() -> int:
            return os.getpid()

        before = machine.call(process)
        trials = [ray.remote(num_cpus=1)(Trial).remote() for _ in range(machine.whole_cpus)]
        theirs = ray.get([trial.process.remote() for trial in trials])
        time.sleep(STOPPED_AFTER)
        for trial in trials:
            ray.kill(trial)
        assert before not in theirs
        assert machine.call(process) == before
