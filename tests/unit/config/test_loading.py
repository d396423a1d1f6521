"""Reading a study file: plain data only, every mistake at once, each with its line, its value and a remedy."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from autockd.config import StudyConfig, load_study, parse_study
from autockd.config.loading import parse_task
from autockd.config.methods import HintonKD
from autockd.config.saving import save_study
from autockd.config.space import FloatRange
from autockd.config.tasks import Text
from autockd.errors import ConfigError, Problem

BASE = """\
name: tiny
task: {source: digits}
teacher: {model: {family: cifar_resnet, depth: 20}}
student: {model: {family: cifar_resnet, depth: 8}}
"""
"""Four lines, so that what a test adds starts on line 5."""


def parse(extra: str = "", *overrides: str, smoke: bool = False, base: str = BASE) -> StudyConfig:
    return parse_study(base + extra, "study.yaml", Path("/studies"), overrides, smoke=smoke)


def problems(
    extra: str = "", *, overrides: Sequence[str] = (), smoke: bool = False, base: str = BASE
) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        parse(extra, *overrides, smoke=smoke, base=base)
    assert caught.value.exit_code == 2
    return caught.value.problems


def problem(extra: str = "", *, overrides: Sequence[str] = (), smoke: bool = False, base: str = BASE) -> Problem:
    found = problems(extra, overrides=overrides, smoke=smoke, base=base)
    assert len(found) == 1, found
    return found[0]


def test_the_smallest_study_has_the_defaults_of_the_paper() -> None:
    study = parse()
    assert study.method.name == "continuation"
    assert study.training.epochs == 200
    assert [baseline.name for baseline in study.search.baselines] == ["none"]


def test_every_mistake_is_reported_at_once_with_its_line() -> None:
    text = """\
name: bad name!
task: {source: digit}
teacher: {model: {family: cifar_resnet, depth: 21}}
student: {modle: {family: cifar_resnet}}
training:
  epohcs: 3
  learning_rate: fast
  batch_size: 0
search:
  space:
    learning_rate: {type: float, low: 1, high: 0.1}
    margin: {type: flot, low: 0, high: 1}
"""
    found = {(p.field, p.source) for p in problems(base=text)}
    assert found == {
        ("name", "study.yaml:1"),
        ("task", "study.yaml:2"),
        ("teacher.model.depth", "study.yaml:3"),
        ("student.modle", "study.yaml:4"),
        ("student.model", "study.yaml:4"),
        ("training.epohcs", "study.yaml:6"),
        ("training.learning_rate", "study.yaml:7"),
        ("training.batch_size", "study.yaml:8"),
        ("search.space.learning_rate", "study.yaml:11"),
        ("search.space.margin", "study.yaml:12"),
    }


@pytest.mark.parametrize(
    ("extra", "field", "message", "remedy"),
    [
        ("traning: {epochs: 3}", "traning", "unknown key 'traning'", "did you mean 'training'?"),
        ("training: {epohcs: 3}", "training.epohcs", "unknown key 'epohcs'", "did you mean 'epochs'?"),
        ("training: {lr_schedule: {shpe: cosine}}", "training.lr_schedule.shpe", "unknown key", "did you mean 'shape'"),
        ("method: {name: kd, temprature: 4}", "method.temprature", "unknown key", "did you mean 'temperature'?"),
        ("method: {name: kd, tau: 4}", "method.tau", "unknown key", "the keys here are name, alpha, temperature"),
        ("method: {name: kd, margin: 0.1}", "method.margin", "unknown key", "the keys here are name, alpha"),
        ("method: {name: continuatoin}", "method", "name is 'continuatoin'", "did you mean 'continuation'?"),
        ("export: {licence: MIT}", "export.licence", "must be small letters and digits", ""),
        ("method: kd", "method", "must be a section of keys, not 'kd'", "write {key: value"),
        ("finalists: 3", "finalists", "must be a section of keys, not 3", "write {key: value"),
        ("search: {objectives: latency_ms}", "search.objectives", "must be a list, not 'latency_ms'", "write [...]"),
        ("search: {space: {margin: [0, 1]}}", "search.space.margin", "must be a section of keys, not [0, 1]", "write"),
        ("space: {margin: 1}", "space", "unknown key 'space'", "did you mean 'search.space'?"),
        ("layers: 3", "layers", "unknown key 'layers'", "the keys here are name"),
        ("model: {}", "model", "unknown key 'model'", "'teacher.model' or 'student.model'"),
        ("method: {alpha: 0.2}", "method", "needs the key 'name'", "add name"),
        ("search: {sampler: grid}", "search.sampler", "'tpe', 'nsga2' or 'random', not 'grid'", ""),
        ("search: {trials: many}", "search.trials", "valid integer", ""),
        ("training: {epochs: 2.5}", "training.epochs", "not 2.5", ""),
        ("training: {learning_rate: .nan}", "training.learning_rate", "finite number, not nan", ""),
        ("training: {weight_decay: -1e-4}", "training.weight_decay", "greater than or equal to 0, not -0.0001", ""),
        ("search: {baselines: [{name: none}, {name: kd, alpa: 1}]}", "search.baselines.1.alpa", "unknown", "'alpha'"),
        ("training: {lr_schedule: {milestones: [0.7, 0.5]}}", "training.lr_schedule.milestones", "[0.7, 0.5]", ""),
    ],
)
def test_a_mistake_names_field_rule_value_and_remedy(extra: str, field: str, message: str, remedy: str) -> None:
    found = problem(extra)
    assert found.field == field
    assert message in found.message
    assert remedy in found.remedy
    assert found.source == "study.yaml:5"


def test_data_may_be_named_without_a_study_around_them(tmp_path: Path) -> None:
    text = "task: {source: text, path: new.csv, test_file: new.csv}\nstudent: {}\n"
    task = parse_task(text, "new.yaml", tmp_path)
    assert isinstance(task, Text)
    assert (task.path, task.test_file) == (str(tmp_path / "new.csv"), tmp_path / "new.csv")
    with pytest.raises(ConfigError, match=r"new\.yaml:1: task\.pth: unknown key 'pth' -> did you mean 'path'\?"):
        parse_task("task: {source: text, path: new.csv, pth: x}\n", "new.yaml", tmp_path)
    with pytest.raises(ConfigError, match=r"new\.yaml: task: is required"):
        parse_task("name: x\n", "new.yaml", tmp_path)


def test_a_name_that_is_no_name_of_a_folder_is_refused_in_words() -> None:
    found = problem(base=BASE.replace("name: tiny", "name: my study/x"))
    assert (found.field, found.message) == (
        "name",
        "must be up to 100 letters and digits with ._- between them, not 'my study/x'",
    )


def test_a_missing_key_is_named() -> None:
    found = problem(base=BASE.replace("name: tiny\n", ""))
    assert (found.field, found.message) == ("name", "is required")


def test_messages_speak_of_the_file_and_not_of_the_classes_behind_it() -> None:
    found = problem("search:\n  space:\n    margin: {type: float, low: a, high: 1}\n")
    assert found.field == "search.space.margin.low", "without the union's tag"
    assert found.source == "study.yaml:7"


def test_a_margin_beside_mode_none_is_refused() -> None:
    found = problem("method: {name: continuation, margin: 0.1, margin_mode: none}")
    assert found.field == "method"
    assert "set margin to 0" in found.message


def test_a_smoothing_start_beyond_the_run_is_refused_with_its_numbers() -> None:
    found = problem("training: {epochs: 10}")
    assert found.field == "method"
    assert "smoothing_start is 20, beyond the schedule of 10 epochs" in found.message
    assert "lower smoothing_start to at most 10" in found.message


def test_a_choice_that_no_dimension_can_take_is_one_mistake() -> None:
    found = problem("search:\n  space:\n    batch_size: {type: choice, choices: [null, 32]}\n")
    assert found.field == "search.space.batch_size.choices.0"


# -- plain data only


@pytest.mark.parametrize(
    "tagged",
    ["!!python/object/apply:pathlib.Path.touch [!!python/object/apply:pathlib.Path ['{}']]", "!touch '{}'"],
)
def test_tags_are_refused_and_not_executed(tmp_path: Path, tagged: str) -> None:
    victim = tmp_path / "touched"
    found = problem(f"note: {tagged.format(victim)}\n")
    assert not victim.exists()
    assert "tag" in found.message
    assert "remove the tag" in found.remedy
    assert found.source == "study.yaml:5"


def test_tags_in_overrides_are_refused_and_not_executed(tmp_path: Path) -> None:
    victim = tmp_path / "touched"
    found = problem(overrides=[f"note=!!python/object/apply:os.mkdir ['{victim}']"])
    assert not victim.exists()
    assert (found.field, found.source) == ("note", "command line")


@pytest.mark.parametrize(
    ("extra", "source"),
    [("name: again\n", "study.yaml:5"), ("training:\n  epochs: 30\n  batch_size: 8\n  epochs: 40\n", "study.yaml:8")],
)
def test_a_repeated_key_is_refused(extra: str, source: str) -> None:
    found = problem(extra)
    assert "appears twice" in found.message
    assert found.source == source


@pytest.mark.parametrize("number", ["1e-3", "1E-3", "+1e-3", "1.0e-3", ".1e-2", "0.001", "1.e-3"])
def test_a_number_in_scientific_notation_is_a_float(number: str) -> None:
    study = parse(f"note: x\nsearch:\n  space:\n    learning_rate: {{type: choice, choices: [{number}, 0.2]}}\n")
    assert study.search.space["learning_rate"].corners[0] == pytest.approx(1e-3)
    assert isinstance(study.search.space["learning_rate"].corners[0], float)


@pytest.mark.parametrize("text", ["e3", "1e", "0x1e3z", "v1e3", "1e-3x"])
def test_words_that_look_like_numbers_stay_words(text: str) -> None:
    assert parse(f"note: {text}\n").note == text


@pytest.mark.parametrize(
    "text", ["1:30", "190:20:30.15", "2026-02-03", "2026-02-30", "2026-02-03 10:00:00", "0b11", "="]
)
def test_words_that_an_older_yaml_takes_for_something_else_stay_words(text: str) -> None:
    assert parse(f"note: {text}\n").note == text
    assert parse("", f"note={text}").note == text


@pytest.mark.parametrize(
    ("text", "number"), [("010", 10), ("08", 8), ("0o17", 15), ("0x1F", 31), ("1_000", 1000), ("+7", 7)]
)
def test_a_whole_number_is_what_people_read(text: str, number: int) -> None:
    assert parse(f"training: {{batch_size: {text}}}\n").training.batch_size == number
    assert parse("", f"training.batch_size={text}").training.batch_size == number
    space = parse(f"search:\n  space:\n    batch_size: {{type: choice, choices: [{text}, 32]}}\n").search.space
    assert space["batch_size"].corners == (number, 32)


def test_a_number_in_sixties_is_no_duration() -> None:
    assert "text such as 90s, 30m, 1.5h or 1h30m, not '1:30'" in problem("search: {time_budget: 1:30}\n").message
    assert "'1:30'" in problem("search: {trials: 1:30}\n").message


@pytest.mark.parametrize("value", ["!!int many", "!!float much", "9" * 5000])
def test_a_number_that_python_cannot_read_is_a_mistake_of_the_file(value: str) -> None:
    assert problem(f"seed: {value}\n").field == "YAML"
    assert problem(overrides=[f"seed={value}"]).field == "seed"


@pytest.mark.parametrize("word", ["1e-3", "08", "0o17", "-.5", "1:30", "2026-02-03", "yes", "null", "010"])
def test_a_saved_study_keeps_words_that_look_like_something_else(word: str, tmp_path: Path) -> None:
    study = parse(f"note: '{word}'\n")
    save_study(study, tmp_path / "study.yaml")
    assert load_study(tmp_path / "study.yaml") == study


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words\n", "# a comment\n"])
def test_a_file_that_is_no_mapping_is_refused(text: str) -> None:
    assert "must be a mapping" in problem(base=text).message


@pytest.mark.parametrize(
    ("extra", "line"),
    [("search: {trials: 3\n", 6), ("search:\n\ttrials: 3\n", 6), ("---\na: 1\n", 5), ("a: b: c\n", 5)],
)
def test_broken_yaml_is_refused_with_its_line(extra: str, line: int) -> None:
    found = problem(extra)
    assert (found.field, found.source) == ("YAML", f"study.yaml:{line}")


@pytest.mark.parametrize("extra", ["? [a, b]\n: 3\n", "smoke: {{a: 1}: 2}\n", "1: 2\n"])
def test_a_key_that_is_no_word_is_a_mistake_of_the_file(extra: str) -> None:
    assert problem(extra).source == "study.yaml:5"


def test_a_value_that_contains_itself_is_a_mistake_of_the_file() -> None:
    assert problem("smoke: &loop {a: *loop}\n").source == "study.yaml:5"


def test_merge_keys_share_a_recipe() -> None:
    base = BASE.replace("teacher: {", "teacher: {training: &recipe {epochs: 40, batch_size: 8}, ")
    study = parse("training:\n  <<: *recipe\n  batch_size: 16\n", base=base)
    assert (study.training.epochs, study.training.batch_size) == (40, 16)


@pytest.mark.parametrize("shared", ["*recipe", "{<<: *recipe, batch_size: 16}"])
def test_an_override_of_one_section_leaves_the_other_that_shares_it(shared: str) -> None:
    recipe = "training: &recipe {epochs: 40, lr_schedule: {shape: cosine}}"
    base = BASE.replace("teacher: {", f"teacher: {{{recipe}, ")
    changes = ("training.epochs=5", "training.lr_schedule.warmup=0.5", "method={name: kd}")
    study = parse(f"training: {shared}\n", *changes, base=base)
    assert (study.training.epochs, study.training.lr_schedule.warmup) == (5, 0.5)
    assert (study.teacher.training.epochs, study.teacher.training.lr_schedule.warmup) == (40, 0.0)


def test_yaml_aliases_repeat_a_section() -> None:
    study = parse(
        base="name: tiny\ntask: {source: digits}\nteacher: {model: &net {family: cifar_resnet, depth: 14}}\n"
        "student: {model: *net}\n"
    )
    assert study.student.model == study.teacher.model


def test_aliases_that_multiply_beyond_measure_are_refused_before_they_are_walked() -> None:
    levels = [f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * 9)}]\n" for level in range(1, 12)]
    assert "no more than 100,000 values" in problem("l0: &l0 [x]\n" + "".join(levels)).message


def test_values_too_deep_for_a_reader_are_refused() -> None:
    assert problem(f"note: {'[' * 5000}{']' * 5000}\n").field == "YAML"


# -- files and paths


@pytest.mark.parametrize("kind", ["missing", "folder", "binary"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, kind: str) -> None:
    path = {"missing": tmp_path / "no.yaml", "folder": tmp_path, "binary": tmp_path / "b.yaml"}[kind]
    if kind == "binary":
        path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        load_study(path)
    assert str(path) in str(caught.value)
    assert "autockd ls" in str(caught.value)


def test_relative_paths_count_from_the_files_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "searches"
    folder.mkdir()
    file = folder / "study.yaml"
    file.write_text(
        BASE.replace("{source: digits}", "{source: npz, path: ../data/x.npz}").replace(
            "depth: 20}", "depth: 20, weights: teacher.safetensors}"
        )
    )
    monkeypatch.chdir(tmp_path)
    for path in (file, Path("searches/study.yaml")):
        study = load_study(path)
        assert study.task.path == tmp_path / "data" / "x.npz"
        assert study.teacher.model.weights == folder / "teacher.safetensors"


def test_absolute_and_home_paths_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    base = BASE.replace("{source: digits}", "{source: torchvision, dataset: CIFAR10, root: PLACE}")
    assert parse(base=base.replace("PLACE", "/data")).task.root == Path("/data")
    assert parse(base=base.replace("PLACE", "~/data")).task.root == Path("/home/someone/data")
    nobody = parse(base=base.replace("PLACE", "~nobody-of-that-name/data")).task.root
    assert nobody.name == "data", "what is not there is told of where data are looked for"


TEXTS = """\
name: texts
task: {source: text, path: TASK}
teacher: {model: {family: encoder, path: TEACHER}}
student: {model: {family: encoder, layers: 2}}
"""


@pytest.mark.parametrize(
    ("task", "teacher"),
    [("reviews.csv", "./bert"), ("data/reviews.JSONL", "../models/bert"), ("./reviews", ".bert"), ("~/r", "~/bert")],
)
def test_what_can_only_be_local_counts_from_the_files_folder_though_nothing_is_there(
    task: str, teacher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left as it is, it would be looked for in the current folder later."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    folder = tmp_path / "searches"
    study = parse_study(TEXTS.replace("TASK", task).replace("TEACHER", teacher), "study.yaml", folder)
    found = (getattr(study.task, "path"), getattr(study.teacher.model, "path"))  # noqa: B009 - unions
    assert found == tuple(str((folder / Path(path).expanduser()).resolve()) for path in (task, teacher))


@pytest.mark.parametrize(("task", "teacher"), [("owner/reviews", "distilbert/distilroberta-base"), ("imdb", "bert")])
def test_hub_ids_stay_where_nothing_of_that_name_is(task: str, teacher: str, tmp_path: Path) -> None:
    text = TEXTS.replace("TASK", task).replace("TEACHER", teacher)
    study = parse_study(text, "study.yaml", tmp_path)
    assert (getattr(study.task, "path"), getattr(study.teacher.model, "path")) == (task, teacher)  # noqa: B009 - unions
    (tmp_path / task).mkdir(parents=True)
    assert getattr(parse_study(text, "study.yaml", tmp_path).task, "path") == str(tmp_path / task)  # noqa: B009


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("sqlite:///mlflow.db", "sqlite:///{folder}/mlflow.db"),
        ("sqlite:///../all/mlflow.db", "sqlite:///{parent}/all/mlflow.db"),
        ("sqlite:////srv/mlflow.db", "sqlite:////srv/mlflow.db"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
    ],
)
def test_a_database_counts_from_the_study_file(uri: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(BASE + f"tracking: {{uri: '{uri}'}}\n")
    found = load_study(tmp_path / "study.yaml").tracking.uri
    assert found == expected.format(folder=tmp_path, parent=tmp_path.parent)


# -- overrides


def test_overrides_set_nested_values_in_their_order() -> None:
    study = parse("", "training.epochs=40", "training.epochs=50", "note=a=b", "search.enqueue_defaults=false")
    assert (study.training.epochs, study.note, study.search.enqueue_defaults) == (50, "a=b", False)


def test_an_overrides_value_is_yaml() -> None:
    study = parse(
        "",
        "training.learning_rate=1e-2",
        "search.space.learning_rate={type: float, low: 1e-3, high: 0.3, log: true}",
        "method={name: kd, alpha: 0.5}",
        "resources.parallel_trials=null",
    )
    assert study.training.learning_rate == 0.01
    assert study.search.space["learning_rate"] == FloatRange(type="float", low=1e-3, high=0.3, log=True)
    assert study.method == HintonKD(alpha=0.5)
    assert study.resources.parallel_trials is None


def test_overrides_win_over_the_file_and_leave_the_rest_of_a_section() -> None:
    study = parse("training:\n  epochs: 40\n  batch_size: 8\n", "training.epochs=50")
    assert (study.training.epochs, study.training.batch_size) == (50, 8)


def test_a_mistake_in_an_override_names_the_command_line() -> None:
    found = problem("training:\n  batch_size: 8\n", overrides=["training.batch_size=0"])
    assert (found.field, found.source) == ("training.batch_size", "command line")


@pytest.mark.parametrize("override", ["training.epohcs=3", "traning.epochs=3", "traning=3"])
def test_an_unknown_key_in_an_override_names_the_command_line(override: str) -> None:
    found = problem(overrides=[override])
    assert "unknown key" in found.message
    assert "did you mean" in found.remedy
    assert found.source == "command line"


def test_a_value_inside_an_overridden_section_comes_from_the_command_line() -> None:
    found = problem("method:\n  name: kd\n  alpha: 0.5\n", overrides=["method={name: kd, alpha: 7}"])
    assert (found.field, found.source) == ("method.alpha", "command line")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epochs", "reads key=value"),
        ("=3", "reads key=value"),
        ("name.inner=3", "leads through a value that has no keys"),
        ("training.epochs={", "is not a YAML value"),
    ],
)
def test_an_override_that_cannot_be_applied(override: str, message: str) -> None:
    found = problem(overrides=[override])
    assert message in found.message
    assert found.source == "command line"


@pytest.mark.parametrize("gpus", [1.5, 2])
def test_a_trial_asks_for_one_gpu_at_most(gpus: float) -> None:
    text = f"resources: {{gpus_per_trial: {gpus}}}\n"
    assert problem(text).field == "resources.gpus_per_trial"
    assert f"is {gpus:g}, and a trial runs on one GPU" in problem(text).message
    begun = parse_study(BASE + text, "study.yaml", Path("/s"), is_begun=True)
    assert begun.resources.gpus_per_trial == gpus, "what has begun can be read whatever rules came later"


@pytest.mark.parametrize("gpus", [0, 0.25, 1])
def test_a_trial_may_have_a_whole_gpu_or_a_part(gpus: float) -> None:
    assert parse(f"resources: {{gpus_per_trial: {gpus}}}\n").resources.gpus_per_trial == gpus


# -- smoke

SMOKE = "training: {epochs: 100, batch_size: 64}\nsmoke: {training.epochs: 25, search.trials: 2}\n"


def test_smoke_overrides_apply_only_when_asked_for() -> None:
    plain, smoke = parse(SMOKE), parse(SMOKE, smoke=True)
    assert (plain.training.epochs, plain.search.trials) == (100, 50)
    assert (smoke.training.epochs, smoke.search.trials, smoke.training.batch_size) == (25, 2, 64)


def test_the_command_line_wins_over_smoke() -> None:
    assert parse(SMOKE, "training.epochs=30", smoke=True).training.epochs == 30


def test_a_mistake_in_smoke_says_so() -> None:
    found = problem("smoke: {training.batch_size: 0}\n", smoke=True)
    assert found.field == "training.batch_size"
    assert "smoke" in found.source


def test_an_unknown_section_in_smoke_says_so() -> None:
    found = problem("smoke: {traning.epochs: 30}\n", smoke=True)
    assert "did you mean 'training'?" in found.remedy
    assert "smoke" in found.source


def test_mistakes_of_the_file_and_of_its_smoke_section_are_told_together() -> None:
    found = problems("training: {epochs: 5}\nsmoke: {training.epochs: 1, training.batch_size: 0}\n")
    assert [each.field for each in found] == ["method", "training.batch_size"]
    once = problems("training: {epochs: 5}\nsmoke: {search.trials: 2}\n")
    assert [each.field for each in once] == ["method"], "what is wrong in both is told once"


def test_what_has_begun_can_be_read_whatever_rules_came_later() -> None:
    """Its own smoke section, and its space, were checked by others; what changes now is checked by these."""
    text = f"{BASE}training: {{epochs: 5}}\nsmoke: {{training.epochs: 1}}\n"
    assert parse_study(text, "study.yaml", Path("/s"), is_begun=True).training.epochs == 5
    for overrides, is_begun in (((), False), (("training.batch_size=8",), True)):
        with pytest.raises(ConfigError, match="smoothing_start is 20, beyond the schedule of 5 epochs"):
            parse_study(text, "study.yaml", Path("/s"), overrides, is_begun=is_begun)


@pytest.mark.parametrize("extra", ["", "smoke: {}\n"])
def test_a_file_without_a_smoke_section_is_not_run_as_it_is(extra: str) -> None:
    """Nobody who asks for a minute wants the whole study, under its own name."""
    found = problem(extra, smoke=True)
    assert found.field == "smoke"
    assert found.remedy.startswith("add one, such as `smoke: {name: smoke")


def test_smoke_must_be_a_mapping() -> None:
    assert problem("smoke: 3\n", smoke=True).field == "smoke"


# -- what reading costs


def test_reading_a_study_imports_no_heavy_package() -> None:
    heavy = {"torch", "ray", "optuna", "mlflow", "numpy", "torchvision", "transformers"}
    code = "import sys, autockd.config; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "autockd.config.loading" in done.stdout.split()
    assert not heavy & set(done.stdout.split())


def test_a_password_in_the_tracking_uri_is_refused_and_not_repeated() -> None:
    found = problem("tracking: {uri: 'https://me:hunter2-hunter2@mlflow.example'}\n")
    assert found.field == "tracking.uri"
    assert "MLFLOW_TRACKING_PASSWORD" in found.message
    assert "hunter2" not in str(found)


def test_true_is_no_number() -> None:
    found = problem("training: {batch_size: true}\n")
    assert (found.field, found.message, found.source) == (
        "training.batch_size",
        "must be a number, not true",
        "study.yaml:5",
    )
    assert parse("export: {onnx: false}\n").export.onnx is False


@pytest.mark.parametrize(
    ("extra", "base", "field", "line"),
    [
        ("", BASE.replace("depth: 8}", "depth: 8, widths: [true, 2, 4]}"), "student.model.widths.0", 4),
        ("compare:\n- name: none\n- name: kd\n  alpha: true\n", BASE, "compare.1.alpha", 8),
    ],
)
def test_nor_is_it_one_inside_of_a_list(extra: str, base: str, field: str, line: int) -> None:
    found = problem(extra, base=base)
    assert (found.field, found.message) == (field, "must be a number, not true")
    assert found.source == f"study.yaml:{line}"


def test_true_is_a_value_among_others_in_a_list() -> None:
    space = "anneal_margin: {type: choice, choices: [true, false]}"
    study = parse(f"search: {{space: {{{space}}}, enqueue: [{{anneal_margin: true}}]}}\n")
    assert study.search.enqueue == ({"anneal_margin": True},)


def test_int8_needs_onnx() -> None:
    found = problem("export: {onnx: false, int8: true}\n")
    assert (found.field, "int8 is made from the ONNX model" in found.message) == ("export", True)
    assert parse("export: {int8: true, licence: cc-by-4.0}\n").export.licence == "cc-by-4.0"
    assert problem("export: {licence: 'My own: licence'}\n").field == "export.licence"


def test_every_mistake_of_the_command_line_is_reported_too() -> None:
    found = problems("training: {epochs: 0}\n", overrides=["seed", "name.x=1", "note=[", "training.momentum=2"])
    assert [each.field for each in found] == ["seed", "note", "name.x", "training.epochs", "training.momentum"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("1.5h", 5400), ("2d", 172800), ("45", 45)]
)
def test_a_duration_is_seconds_or_text(text: str, seconds: float) -> None:
    assert parse("", f"search.time_budget={text}").search.time_budget == seconds


@pytest.mark.parametrize("text", ["soon", "5 minutes", "h", "''", "-3s", "0"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    assert problem(overrides=[f"search.time_budget={text}"]).field == "search.time_budget"
