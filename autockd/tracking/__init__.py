"""What a study writes down: its ledger, and MLflow as a projection of it."""

from autockd.tracking.figures import plan_figure
from autockd.tracking.ledger import Ledger, events, in_use, read_events
from autockd.tracking.mlflow_sink import MlflowSink, SinkSummary
from autockd.tracking.mlflow_store import default_uri
from autockd.tracking.mlflow_sync import sync
from autockd.tracking.redaction import redact

__all__ = [
    "Ledger",
    "MlflowSink",
    "SinkSummary",
    "default_uri",
    "events",
    "in_use",
    "plan_figure",
    "read_events",
    "redact",
    "sync",
]
