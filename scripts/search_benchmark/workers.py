"""How many loader workers serve the tuned arm best: tried, with as many trials side by side as the search has.

python -m search_benchmark.workers FOLDER WORKERS     seconds of one epoch of one trial of the tuned arm
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from autockd.processor import usable_cores
from search_benchmark.setting import WORKERS, Setting

SCRIPTS = Path(__file__).parents[1]


def best_workers(setting: Setting) -> Setting:
    """The setting with the number of workers that is fastest; kept in its folder."""
    kept = setting.path / WORKERS
    if not kept.exists():
        tried = sorted({0, 1, max(1, usable_cores() // setting.parallel)})
        seconds = {workers: _side_by_side(setting, workers) for workers in tried}
        kept.write_text(str(min(seconds, key=lambda workers: seconds[workers])))
        print(f"seconds of an epoch by loader workers: {seconds}", file=sys.stderr)
    setting = replace(setting, workers=int(kept.read_text()))
    setting.save()
    return setting


def _side_by_side(setting: Setting, workers: int) -> float:
    """The slowest of as many processes as there are trials at a time."""
    environment = {**os.environ, "PYTHONPATH": f"{SCRIPTS}{os.pathsep}{SCRIPTS.parent}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "search_benchmark.workers", setting.folder, str(workers)]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(setting.parallel)
    ]
    said = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise SystemExit(f"the tuned arm fails with {workers} loader workers; run {' '.join(command)}")
    return max(float(lines.splitlines()[-1]) for lines in said)


def main() -> None:
    from search_benchmark.arms import images, texts

    setting = replace(Setting.load(sys.argv[1]), workers=int(sys.argv[2]), epochs=1)
    task = images if setting.kind == "image" else texts
    began = time.perf_counter()
    for _ in task.train(setting.points[0], setting, tuned=True):
        pass
    print(time.perf_counter() - began)


if __name__ == "__main__":
    main()
