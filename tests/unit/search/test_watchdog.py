from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from autockd.search import watchdog as watchdog_module
from autockd.search.watchdog import FIRST_PATIENCE, PATIENCE, TRACE, Watchdog

HANG = """
import sys, time
from pathlib import Path
from autockd.search import watchdog
watchdog.PATIENCE = 2.5
dog = watchdog.Watchdog(Path(sys.argv[1]), 2.0, 0.1)
for _ in range(5):
    dog.expect()
    time.sleep(0.6)
print("alive", flush=True)
def stuck():
    time.sleep(60)
stuck()
"""


def test_a_process_that_hangs_ends_and_says_where(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HANG, str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert done.stdout == "alive\n", "signs of life keep it going"
    assert done.returncode == 1
    assert "in stuck" in (tmp_path / TRACE).read_text()


def test_nothing_is_due_while_it_rests(tmp_path: Path) -> None:
    dog = Watchdog(tmp_path, 2.0, 0.1)
    dog.expect()
    assert (tmp_path / TRACE).exists()
    dog.rest()
    dog.rest()
    assert list(tmp_path.iterdir()) == []


def test_the_limit_grows_with_the_longest_epoch(tmp_path: Path) -> None:
    assert Watchdog(tmp_path, 10.0, None).limit == FIRST_PATIENCE
    dog = Watchdog(tmp_path, 10.0, 20.0)
    assert dog.limit == 200.0
    dog.learn(5.0)
    assert dog.limit == 200.0
    dog.learn(50.0)
    assert dog.limit == 500.0
    assert Watchdog(tmp_path, 10.0, 0.1).limit == PATIENCE == watchdog_module.PATIENCE


def test_where_an_earlier_attempt_hung_is_kept(tmp_path: Path) -> None:
    (tmp_path / TRACE).write_text("in stuck")
    dog = Watchdog(tmp_path, 2.0, 0.1)
    dog.expect()
    dog.rest()
    assert (tmp_path / TRACE).read_text() == "in stuck"


def test_another_worker_of_the_trial_may_have_cleaned_up(tmp_path: Path) -> None:
    dog = Watchdog(tmp_path, 2.0, 0.1)
    dog.expect()
    (tmp_path / TRACE).unlink()
    dog.rest()
    assert list(tmp_path.iterdir()) == []
