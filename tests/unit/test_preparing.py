"""What is said where a teacher does not answer in the arithmetic that it was to answer in."""

from __future__ import annotations

from pathlib import Path

import pytest
from sample_records import teacher_record

from autockd.config import parse_study
from autockd.preparing import _warn_of_answers
from autockd.records import Event, Noted, Precision, TeacherRecord
from autockd.session import open_session

STUDY = """\
name: s
task: {{source: digits}}
teacher: {{model: {{family: cifar_resnet}}}}
student: {{model: {{family: cifar_resnet}}}}
resources: {{teacher_precision: {wanted}}}
"""


def answering(precision: Precision) -> TeacherRecord:
    return teacher_record(answers=precision, answers_difference=0.071)


OFF = "its answers in bf16 are 7.1 % off those in fp32 on this machine"
FROM_HERE = "the teacher answers in fp32 from here on, and trials so far learned from bf16"


@pytest.mark.parametrize(
    ("wanted", "before", "now", "said"),
    [
        ("bf16", None, "fp32", f"{OFF}: the teacher answers in fp32, though resources.teacher_precision is bf16"),
        ("bf16", None, "bf16", None),
        ("auto", None, "fp32", None),
        ("fp32", None, "fp32", None),
        ("auto", "bf16", "fp32", f"{OFF}: {FROM_HERE}"),
        ("bf16", "fp32", "fp32", None),
        ("auto", "bf16", "bf16", None),
    ],
)
def test_a_teacher_that_answers_otherwise_is_warned_about(
    wanted: str, before: Precision | None, now: Precision, said: str | None, tmp_path: Path
) -> None:
    study = parse_study(STUDY.format(wanted=wanted), "study.yaml", tmp_path)
    told: list[Event] = []
    with open_session(study, tmp_path, told.append, None, "digits", resume=False) as session:
        _warn_of_answers(session, "teacher", answering(now), answering(before) if before else None)
    assert [event.text for event in told if isinstance(event, Noted)] == ([said] if said else [])
