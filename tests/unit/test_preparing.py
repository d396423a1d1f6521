"""A teacher that does not answer in the arithmetic that it was to answer in, or is another than it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from sample_records import teacher_record

from autockd.config import parse_study
from autockd.config.models import Encoder
from autockd.errors import StudyError
from autockd.models import build_model, read_state, save_weights, weights_hash
from autockd.preparing import _check_same, _on_cores, _own_copy, _warn_of_answers
from autockd.records import Event, Noted, Precision, PrecisionChoice, TeacherRecord
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


def test_a_study_whose_teacher_has_changed_does_not_go_on(tmp_path: Path) -> None:
    study = parse_study(STUDY.format(wanted="auto"), "study.yaml", tmp_path)
    own = tmp_path / "model.safetensors"
    assert not isinstance(study.teacher.model, Encoder)
    save_weights(build_model(study.teacher.model, classes=10, channels=1, image_size=(8, 8), seed=1), own)
    right, other = teacher_record(weights_hash=weights_hash(read_state(own))), teacher_record()
    with open_session(study, tmp_path, lambda event: None, None, "digits", resume=False) as session:
        copy = _own_copy(study.teacher, own, right, base=None)
        assert copy is not None
        _check_same(session, "teacher", copy, right)
        changed = _own_copy(study.teacher, own, other, base=None)
        assert changed is not None
        with pytest.raises(StudyError, match="s cannot go on: its teacher has changed"):
            _check_same(session, "teacher", changed, other)


@pytest.mark.parametrize(("threads", "cores", "expected"), [(8, 2, 2), (1, 4, 1), (2, 2, 2)])
def test_a_study_that_goes_on_with_fewer_cores_computes_on_no_more_threads(
    threads: int, cores: int, expected: int
) -> None:
    choice = PrecisionChoice(precision="bf16", channels_last=True, threads=threads, device="cpu", reason="probed")
    found = _on_cores(choice, cores)
    assert found.threads == expected
    assert (found == choice) is (threads <= cores)
