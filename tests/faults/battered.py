"""A study that is killed again and again, and goes on each time."""

from __future__ import annotations

import json
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from crashes import Crash
from invariant import acknowledged
from nursery import PATIENCE, Command, Nursery, wait_until
from tiny import config_of

DONE = 0
_START_SECONDS = 90.0 * PATIENCE


@dataclass
class Figures:
    """What was done to studies, and what became of it."""

    driver_kills: int = 0
    worker_kills: int = 0
    resumes: int = 0
    studies: int = 0
    acknowledged: int = 0
    """Results that were on disk when a driver was killed."""
    lost: int = 0
    repeated: int = 0
    running: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        return (
            f"{self.driver_kills} drivers and {self.worker_kills} workers killed, {self.resumes} resumes of "
            f"{self.studies} studies in {self.seconds:.0f} s; of {self.acknowledged} results that were acknowledged "
            f"before a kill {self.lost} lost, {self.repeated} repeated; {self.running} left RUNNING"
        )


@dataclass(frozen=True)
class AtCall:
    """The driver, or the whole machine, dies when a function is called."""

    crash: Crash
    in_worker: bool = False


@dataclass(frozen=True)
class AtEvent:
    """The driver is killed some seconds after the ledger has so many more events of a kind; with none, after its start.

    A command that ends before is none the worse for it.
    """

    kind: str = ""
    count: int = 1
    delay: float = 0.0


Moment = AtCall | AtEvent
Damage = Callable[[Path], None]


@dataclass
class Battered:
    """One study, driven by the command line.

    Attributes:
        folder: the study's folder.
        seen: its ledger at each moment that it was looked at.
    """

    nursery: Nursery
    figures: Figures
    folder: Path
    file: Path
    seen: list[bytes] = field(default_factory=list)

    @classmethod
    def create(cls, nursery: Nursery, figures: Figures, studies: Path, name: str, *overrides: str) -> Battered:
        """A study that has not begun, with its file beside the folder of studies."""
        config = config_of(f"name={name}", *overrides)
        file = studies.parent / f"{name}.yaml"
        file.write_text(yaml.safe_dump(json.loads(config.model_dump_json())))
        return cls(nursery, figures, studies / name, file)

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def ledger(self) -> bytes:
        path = self.folder / "ledger.jsonl"
        return path.read_bytes() if path.exists() else b""

    def count(self, kind: str) -> int:
        """Events of a kind in the ledger, now."""
        return self.ledger.count(f'"event":"{kind}"'.encode())

    def go(
        self, *overrides: str, crash: Sequence[Crash] = (), worker_crashes: Sequence[Crash] = (), **variables: str
    ) -> Command:
        """Start the study, or go on with it."""
        where = ("--studies", self.folder.parent, "--quiet")
        words = ("resume", self.name) if b"\n" in self.ledger else ("run", self.file)
        self.figures.resumes += words[0] == "resume"
        return self.nursery.start(*words, *overrides, *where, crash=crash, worker_crashes=worker_crashes, **variables)

    def command(self, *words: str) -> Command:
        """Another command of autockd about this study."""
        return self.nursery.start(*words, self.name, "--studies", self.folder.parent)

    def wait_for(self, kind: str, count: int = 1, command: Command | None = None) -> bool:
        """Whether the ledger comes to hold so many events of a kind before a command ends."""

        def is_over() -> bool:
            return self.count(kind) >= count or (command is not None and command.status is not None)

        assert wait_until(is_over, _START_SECONDS), f"no {count} events {kind!r} in {_START_SECONDS:g} s"
        return self.count(kind) >= count

    def die(self, moment: Moment, damage: Sequence[Damage] = (), *, patience: float | None = 0.0) -> bool:
        """Let the study go on until it is killed.

        Args:
            moment: when.
            damage: what else happens to its folder then.
            patience: seconds that what is left of Ray has to end by itself; None lets the next driver live with it.

        Returns:
            Whether it was killed before its end.
        """
        killed = self._killed_at(moment)
        if killed:
            for harm in damage:
                harm(self.folder)
            self.look()
        if patience is not None:
            self.nursery.clear(patience)
        return killed

    def look(self) -> None:
        """Remember what the ledger says."""
        self.seen.append(self.ledger)

    def finish(self, *overrides: str, status: int = DONE) -> Command:
        """Go on to the end."""
        command = self.go(*overrides)
        found = command.wait(240.0)
        assert found == status, f"ended with {found}:\n{command.stderr}"
        self._count_results()
        return command

    def _killed_at(self, moment: Moment) -> bool:
        if isinstance(moment, AtCall):
            where = "worker_crashes" if moment.in_worker else "crash"
            command = self.go(**{where: [moment.crash]})  # type: ignore[arg-type]
            status = command.wait()
            if status != -signal.SIGKILL:
                assert status == DONE, command.stderr
                return False
        else:
            before = self.count(moment.kind) if moment.kind else 0
            command = self.go()
            if moment.kind:
                self.wait_for(moment.kind, before + moment.count, command)
            time.sleep(moment.delay)
            if not command.kill():
                assert command.status == DONE, command.stderr
                return False
        self.figures.driver_kills += 1
        return True

    def _count_results(self) -> None:
        """Add up what became of the results that were acknowledged before a kill."""
        final = Counter(acknowledged(self.ledger))
        numbers = Counter(_number(line) for line in final.elements())
        before = {line for ledger in self.seen for line in acknowledged(ledger)}
        self.figures.studies += 1
        self.figures.acknowledged += len(before)
        self.figures.lost += sum(line not in final for line in before)
        self.figures.repeated += sum(count - 1 for count in numbers.values())


def _number(line: str) -> int:
    return int(json.loads(line)["event"]["trial"])


Begin = Callable[..., Battered]
"""The fixture `begin`: a study by name and overrides."""


def torn(folder: Path) -> None:
    """A line that did not get to the disk as a whole: the last one's beginning, as another event's."""
    path = folder / "ledger.jsonl"
    line = path.read_bytes().splitlines(keepends=True)[-1]
    with path.open("ab") as stream:
        stream.write(line[: random.Random(len(line)).randrange(1, len(line))])


def stale_lock(folder: Path) -> None:
    """The lock of a writer of Optuna's journal who is no more."""
    lock = folder / "optuna.journal.lock"
    lock.touch()


def corrupt_checkpoints(folder: Path) -> None:
    """Every checkpoint loses its second half."""
    for path in folder.glob("trials/*/checkpoint.pt"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
