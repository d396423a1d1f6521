"""Which MLflow a study was written to, as its ledger tells: another one has nothing of it, or not all."""

from __future__ import annotations

from collections.abc import Iterable

from autockd.records import Event, StudyResumed, StudyStarted
from autockd.tracking.mlflow_store import sqlite_path
from autockd.tracking.redaction import redact, without_user


def store_name(uri: str) -> str:
    """A tracking URI as it is written down and compared: without credentials, and alike from whatever folder."""
    database = sqlite_path(uri)
    return redact(f"sqlite:///{database}" if database else without_user(uri).rstrip("/"))


def last_store(events: Iterable[Event]) -> str:
    """The store that a study's last session wrote to; empty where none did, or an older version did not note it."""
    begun = [event.tracking_uri for event in events if isinstance(event, StudyStarted | StudyResumed)]
    return next(filter(None, reversed(begun)), "")


def former_store(events: Iterable[Event], uri: str) -> str:
    """The store that a study was written to before, if that is another than the one at `uri`; empty otherwise.

    A database that is not where it was is none: it has moved with the studies, or is gone.
    """
    last = last_store(events)
    database = sqlite_path(last)
    is_away = database is not None and not database.exists()
    return "" if is_away or last == store_name(uri) else last
