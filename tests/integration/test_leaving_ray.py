"""Leaving Ray while other threads run, as the one that writes to MLflow does when a search ends."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

LEAVING = """
import gc, threading
from typing import Any
from autockd.search.connection import connection

gc.disable()  # so that the garbage lasts until Ray is left
with connection("local"):
    import ray
    from ray._private.worker import _global_node, global_worker

    print("beside it:", *sorted(_global_node.all_processes))

    cycle: list[Any] = []
    cycle.extend([cycle, ray.put(1)])
    del cycle
    real = global_worker.core_worker

    class Late:
        def __getattr__(self, name):
            return getattr(real, name)

        def shutdown_driver(self):
            real.shutdown_driver()
            print("collects by itself:", gc.isenabled())
            collector = threading.Thread(target=gc.collect)
            collector.start()
            collector.join()

    global_worker.core_worker = Late()
    gc.enable()
print("alive, collects by itself:", gc.isenabled())
"""


def test_rays_garbage_that_is_collected_late_does_not_end_the_process_nor_is_more_of_ray_started_than_needed() -> None:
    done = subprocess.run([sys.executable, "-c", LEAVING], capture_output=True, text=True, check=False)
    beside, *told = done.stdout.splitlines()
    assert beside == "beside it: gcs_server raylet", "and no dashboard, monitor or log_monitor, which Ray adds"
    assert told == ["collects by itself: False", "alive, collects by itself: True"], done.stderr
    assert done.returncode == 0
