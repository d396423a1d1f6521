"""What a machine can do at most, what a study asked of it, and how far it fell short: records, as in `records.py`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

_ROUNDING = 1e-9


def trials_on_one_gpu(share: float) -> int:
    """How many trials have room on a GPU, each with a share of it between 0 and 1; three thirds, though they round."""
    return int(1 / share + _ROUNDING)


class Record(BaseModel):
    """Base of all records: frozen, unknown keys refused; a NaN survives the way through JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Peaks(Record):
    """The most that one worker can do, measured: large matrix products, and a large copy."""

    fp32: float
    """FLOP a second."""
    bf16: float
    """FLOP a second."""
    copy_rate: float
    """Bytes a second, read and written together."""
    threads: int
    device: str

    def seconds(self, work: Work) -> float:
        """The least time for some work: at the faster of the two precisions, or at the copy's rate."""
        return max(work.flop / max(self.fp32, self.bf16), work.bytes / self.copy_rate)


class Work(Record):
    """What has to be done at the least, whoever does it.

    Counted from the network's layers: multiplications and additions of matrix products and convolutions, and the bytes
    of layers' outputs. What lies between layers may be fused with them, and does not count; nor do parameters.
    """

    flop: float
    bytes: float

    def times(self, factor: float) -> Work:
        """So much of it."""
        return Work(flop=self.flop * factor, bytes=self.bytes * factor)


class Bound(Record):
    """How close a study came to the least time that its machine needs for it.

    The bound is one pass of the teacher, and the trials' training steps, at the machine's peaks on all workers at once.
    """

    seconds: float
    """The bound."""
    share: float
    """The bound over the wall time of the study."""
    training_share: float
    """Of the training steps alone: their bound over the time they took on their workers."""
    workers: int
    """Trials at a time."""
