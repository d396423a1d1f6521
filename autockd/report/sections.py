"""The parts of a report in their order: headings, sentences, tables, charts; page and pictures are made of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from autockd.records import Provenance
from autockd.report.charts import Chart
from autockd.report.content import ReportContent
from autockd.report.model_charts import (
    agreement_chart,
    cost_chart,
    curves_chart,
    methods_chart,
    plan_chart,
    reliability_chart,
)
from autockd.report.page_tables import (
    Table,
    arms_table,
    calibration_table,
    comparison_table,
    cost_table,
    front_table,
    plans_table,
    rungs_table,
    space_table,
    trials_table,
)
from autockd.report.parallel_chart import parallel_chart
from autockd.report.search_charts import front_chart, history_chart, importance_chart, rungs_chart, slices_chart
from autockd.report.words import moment
from autockd.text import plural


@dataclass(frozen=True)
class Section:
    """One part of a report.

    Attributes:
        anchor: its name in links.
        title: its heading.
        sentences: what to know of it.
        warnings: what to beware of.
        tables, charts: what it shows.
        facts: names with values.
        commands: lines for a shell.
        folded: a heading and lines, a table or both, to be opened by those who want to.
    """

    anchor: str
    title: str
    sentences: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    charts: tuple[Chart, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    commands: tuple[str, ...] = ()
    folded: tuple[tuple[str, tuple[str, ...], Table | None], ...] = ()


def sections_of(content: ReportContent) -> tuple[Section, ...]:
    """The parts that have something to say of this study, after its summary."""
    parts = (_comparison, _front, _history, _dimensions, _plan, _curves, _rungs, _calibration, _cost, _origin, _repeat)
    return tuple(section for part in parts for section in part(content))


def charts_of(sections: Sequence[Section]) -> list[Chart]:
    """Every chart, in order."""
    return [chart for section in sections for chart in section.charts]


def _some(*charts: Chart | None) -> tuple[Chart, ...]:
    return tuple(chart for chart in charts if chart is not None)


def _comparison(content: ReportContent) -> Iterator[Section]:
    if not content.standings:
        return
    has_seeds = content.has_seeds
    sentences = ["Searched validation is the value under the search's own seed, by which trials were chosen."]
    if has_seeds:
        sentences.append(
            "Fresh values are means over seeds that the search never saw, with their standard deviation; verdicts are "
            "of paired t-tests at 95 % over the seeds that both models have."
        )
    tables = [comparison_table(content)]
    if len(content.arms) > 1:
        tables.append(arms_table(content))
    yield Section(
        "comparison",
        "Comparison",
        tuple(sentences),
        tables=tuple(tables),
        charts=_some(methods_chart(content)),
    )


def _front(content: ReportContent) -> Iterator[Section]:
    charts = _some(front_chart(content))
    if charts:
        text = (
            "Trials that no other beats in the metric and in every cost together, baselines aside. Costs are to be low."
        )
        yield Section("front", "Pareto front", (text,), tables=(front_table(content),), charts=charts)


def _history(content: ReportContent) -> Iterator[Section]:
    charts = _some(history_chart(content))
    folded = (("All trials", (), trials_table(content)),) if content.trials else ()
    if charts or folded:
        text = "Every trial of the search by its number; baselines are lines. The best so far counts complete trials."
        yield Section("search", "Search history", (text,), charts=charts, folded=folded)


def _dimensions(content: ReportContent) -> Iterator[Section]:
    if not content.space:
        return
    found = content.importance
    warnings = []
    if found.problem:
        warnings.append(f"Importance cannot be judged: {found.problem}.")
    elif found.few:
        warnings.append(f"Only {plural(found.trials, 'complete trial')}: the order of importance may be chance.")
    if found.left_out:
        warnings.append(f"Importance leaves out {', '.join(found.left_out)}: some trials are without.")
    charts = _some(parallel_chart(content), slices_chart(content), importance_chart(content))
    presets = "presets have the colours of their methods" if content.arms else "the preset the violet diamond"
    sentences = (
        "Parallel coordinates: a line for each trial, the better the darker; a line below an axis is a trial without "
        f"that dimension. Slices: the winner is the blue star, {presets}. Importance: fANOVA.",
    )
    folded = (("The search space", (), space_table(content)),)
    yield Section("dimensions", "Dimensions", sentences, tuple(warnings), charts=charts, folded=folded)


def _plan(content: ReportContent) -> Iterator[Section]:
    if not content.plans:
        return
    roles = {row.trial: row.role for row in content.trials}
    winner, preset = content.of_kind("winner"), content.preset
    text = "Coefficients at the last step of each epoch, as the trials recorded them; the margin is absolute."
    if preset is None and winner is not None and roles.get(winner.trial or 0) == "default":
        other = "The winner is the preset itself: no other trial did better."
    elif preset is None and "default" in roles.values():
        other = "The study's own values have come to no student that could be compared."
    elif preset is None and not (content.space or content.arms):
        other = "The winner has the study's own values: there was nothing to search."
    elif preset is None:
        other = "The study's own values were not among the trials, so there is no preset to compare with."
    else:
        other = "The preset is the study's own configuration, the first trial in the space."
    active = any(value is not None for plan in content.plans for value in plan.active_fraction)
    last = ("Active fraction: the share of samples whose hinge was active, measured in training.",) if active else ()
    tables = (plans_table(content),)
    yield Section("plan", "The winning plan", (text, other, *last), tables=tables, charts=_some(plan_chart(content)))


def _curves(content: ReportContent) -> Iterator[Section]:
    if charts := _some(curves_chart(content)):
        text = "Of the search's own runs, under its seed; the best epoch is what counts."
        yield Section("curves", "Learning curves", (text,), charts=charts)


def _rungs(content: ReportContent) -> Iterator[Section]:
    if charts := _some(rungs_chart(content)):
        text = "At each rung a trial is compared with those before it, and is stopped unless it is among the best."
        yield Section("rungs", "Rung survival", (text,), tables=(rungs_table(content),), charts=charts)


def _calibration(content: ReportContent) -> Iterator[Section]:
    if not content.diagnoses:
        return
    text = (
        "On the test split. ECE, the expected calibration error, is the mean gap of confidence and accuracy over bins; "
        "of several seeds, bins are added up."
    )
    charts = _some(reliability_chart(content), agreement_chart(content))
    yield Section(
        "calibration", "Calibration and agreement", (text,), tables=(calibration_table(content),), charts=charts
    )


def _cost(content: ReportContent) -> Iterator[Section]:
    if not (content.trials or content.cost.stages):
        return
    text = (
        "Wall seconds of runs are added up, though some ran at the same time; GPU seconds are these multiplied by a "
        "trial's share of a GPU; CPU seconds add up all threads."
    )
    if content.cost.sessions > 1:
        text += f" The study ran in {content.cost.sessions} sessions; stages are those of the last."
    yield Section("cost", "Cost", (text,), tables=(cost_table(content),), charts=_some(cost_chart(content)))


def _origin(content: ReportContent) -> Iterator[Section]:
    origin = content.provenance
    opened = ", ".join(moment(when) for when in content.test_opened) or "not opened"
    facts = [
        ("study", content.study),
        ("data", content.task),
        ("data fingerprint", content.task_fingerprint),
        ("configuration hash", content.config_hash),
        ("seed of the search", str(content.seed)),
        ("fresh seeds", _seeds(content)),
        ("began", moment(content.started)),
        ("last event", moment(content.ended)),
        ("test split opened", opened),
        ("bundle", content.exported),
        ("autockd", origin.autockd),
        ("Python", origin.python),
        ("packages", ", ".join(f"{name} {version}" for name, version in origin.versions.items())),
        ("commit", origin.git_commit or ""),
        ("machine", f"{origin.host}, {_cores(origin)}, {', '.join(origin.gpus) or 'no GPU'}"),
        ("platform", origin.platform),
        ("device", content.device),
        ("precision", f"{content.precision}: {content.precision_reason}" if content.precision else ""),
        *((f"loss of {method}", text) for method, text in content.conventions.items()),
    ]
    folded = (("Choices and warnings of the run", content.notes, None),) if content.notes else ()
    known = tuple((name, value) for name, value in facts if value)
    yield Section("origin", "Provenance", facts=known, folded=folded)


def _cores(origin: Provenance) -> str:
    cores = plural(origin.cpus, "CPU core")
    return f"{cores} ({origin.cpu})" if origin.cpu else cores


def _seeds(content: ReportContent) -> str:
    seeds = sorted({seed for row in content.standings for seed in row.seeds})
    return ", ".join(map(str, seeds))


def _repeat(content: ReportContent) -> Iterator[Section]:
    text = (
        "In the study's folder, study.yaml has every setting written out, and ledger.jsonl every event. The same seed "
        "makes the same trials where as many run at a time; on another machine arithmetic may round otherwise."
    )
    at_a_time = f" resources.parallel_trials={content.parallel}" if content.parallel else ""
    again = f"{content.study}-again"
    commands = (f"autockd run study.yaml name={again}{at_a_time}", f"autockd report {again}")
    yield Section("repeat", "How to repeat it", (text,), commands=commands)
