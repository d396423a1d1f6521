"""Studies on disk, as their ledgers tell them."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

from autockd.errors import StudyError
from autockd.folders import BUNDLE, CONFIG, LEDGER
from autockd.summary import StudySummary, summarise
from autockd.tracking.ledger import read_events


def summary_if_begun(ledger: Path) -> StudySummary | None:
    """What a study's ledger says, now; None where it says nothing yet, or what came before it has failed."""
    summary = summarise(read_events(ledger)) if ledger.exists() else None
    if summary is None:
        return None
    folder, bundle = ledger.parent, summary.bundle
    if bundle and not Path(bundle).is_dir() and (folder / BUNDLE).is_dir():  # the study has moved since
        bundle = str((folder / BUNDLE).absolute())
    return summary.model_copy(update={"folder": folder.name, "bundle": bundle})


def summary_of(ledger: Path) -> StudySummary:
    """What a study's ledger says, now.

    Raises:
        StudyError: the study has not begun.
    """
    summary = summary_if_begun(ledger)
    if summary is None:
        raise StudyError(f"{ledger.parent}: this study has not begun; start one with `autockd run`")
    return summary


def no_such_study(name: str | Path, studies: Path) -> StudyError:
    """The error that a folder of studies has none of that name, with those that it may have meant."""
    names = sorted(path.parent.name for path in studies.glob(f"*/{CONFIG}"))
    near = difflib.get_close_matches(str(name), names, n=3)
    said = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names[:10])}"
    said = said if names else "there is none yet: start one with `autockd run`"
    return StudyError(f"no study {str(name)!r} in {studies}; {said}")


def list_studies(studies: Path, complain: Callable[[str], None] | None = None) -> list[StudySummary]:
    """Every study of a folder that has begun, the latest first.

    Args:
        studies: the folder.
        complain: is told of each study that cannot be read, and the others are listed; None raises that instead.

    Raises:
        StudyError: a ledger is damaged, or another version's.
        OSError: a ledger may not be read.
    """
    found: list[StudySummary] = []
    for path in studies.glob(f"*/{CONFIG}"):
        try:
            summary = summary_if_begun(path.parent / LEDGER)
        except (StudyError, OSError) as error:
            if complain is None:
                raise
            complain(f"{path.parent.name} cannot be read: {error}")
            continue
        if summary is not None:
            found.append(summary)
    return sorted(found, key=lambda summary: -summary.started)
