"""The page that MLflow opens a study with: leaderboard, parallel coordinates, scatter, contour and learning curves.

MLflow keeps a saved view as a tag of the experiment, in a format that it does not document: the page's state as
deflated JSON. So views are written for the versions that they were seen to work with, and others get none: their page
is the plain list of runs. A view depends on the study's first event alone, so writing it again changes nothing.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from autockd.records import StudyStarted
from autockd.tracking.chart_axes import Space, axis_param, number_param, slice_param
from autockd.tracking.charted_space import ARM, charted_space
from autockd.tracking.mlflow_fields import PARAMETERS, cost_key, curve_keys, fresh_keys, outcome_keys, study_id
from autockd.tracking.mlflow_lookup import KIND, STUDY_ID
from autockd.tracking.mlflow_runs import milliseconds

VERSIONS = ((3, 17), (3, 18))
"""The first MLflow version that views were seen to work with, and the first that they were not tried with."""

VIEW_TAG = "mlflow.sharedViewState."
"""How the tag of a saved view begins; its key follows."""

_VIEW = "viewStateShareKey"
_LONGEST_TAG = 5000
_MOST_RUNS = 1000
_PAIR = ("smoothing_start", "schedule_fraction")

Chart = dict[str, Any]


def has_views(version: str) -> bool:
    """Whether a version of MLflow, such as `3.17.2`, shows the views written here."""
    try:
        major, minor = (int(part) for part in version.split(".")[:2])
    except ValueError:
        return False
    return VERSIONS[0] <= (major, minor) < VERSIONS[1]


def server_version(uri: str) -> str:
    """Version of the MLflow that shows what is at a tracking URI; empty where a server does not say it."""
    import mlflow

    if not uri.startswith(("http://", "https://")):
        return str(mlflow.__version__)
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    try:
        answer = http_request(get_default_host_creds(uri), "/version", "GET", max_retries=0, timeout=5)
    except Exception:  # a nicer page is all that is lost
        return ""
    return str(answer.text).strip() if answer.status_code == 200 else ""


def view_tags(start: StudyStarted) -> dict[str, str]:
    """Tags of the experiment that make the study's view: one, or none if its space is too large for a tag."""
    created = milliseconds(start.time)
    for charts in (_charts(start), _charts(start, slices=False)):
        state = _deflated(_state(start, charts))
        view = {"name": f"{start.study}: search", "state": state, "createdAt": created, "updatedAt": created}
        if len(value := json.dumps(view)) <= _LONGEST_TAG:
            return {VIEW_TAG + view_key(start): value}
    return {}


def view_key(start: StudyStarted) -> str:
    """Name of the study's view within its experiment."""
    return f"autockd-{start.study}-{study_id(start)}"


def view_path(experiment_id: str, start: StudyStarted) -> str:
    """The study's saved view in MLflow's UI, from the slash after the host on."""
    return _page(experiment_id, {_VIEW: view_key(start)})


def is_page(address: str) -> bool:
    """Whether an address is that of a study in MLflow's UI, and not of the UI alone."""
    return "/#/experiments/" in address


def is_view(address: str) -> bool:
    """Whether a page of MLflow's UI is a saved view."""
    return f"{_VIEW}=" in address


def list_path(experiment_id: str, start: StudyStarted) -> str:
    """The study's trials, the best first, as any version of MLflow shows them; from the slash after the host on."""
    return _page(experiment_id, _search(start))


def _page(experiment_id: str, query: Mapping[str, str]) -> str:
    common = {"compareRunsMode": "CHART", "workflowType": "machine_learning"}
    return f"/#/experiments/{experiment_id}/runs?{urlencode(common | dict(query))}"


def _search(start: StudyStarted) -> dict[str, str]:
    """Which runs are the study's trials, and in what order they stand."""
    conditions = {"autockd.study": start.study, STUDY_ID: study_id(start), KIND: "trial"}
    return {
        "searchFilter": " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in conditions.items()),
        "orderByKey": f"metrics.`{_best(start)}`",
        "orderByAsc": "true" if start.direction == "minimize" else "false",
    }


def _best(start: StudyStarted) -> str:
    return f"best_val_{start.metric}"


def _space(start: StudyStarted) -> Space:
    return charted_space(start.config)


def _objectives(start: StudyStarted) -> tuple[str, ...]:
    return tuple(start.config.get("search", {}).get("objectives", ()))


def _state(start: StudyStarted, charts: list[Chart]) -> dict[str, Any]:
    """The page's state, field by field as MLflow's own pages save it."""
    used = {chart["metricSectionId"] for chart in charts}
    return _search(start) | {
        "orderByAsc": start.direction == "minimize",
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": _columns(start),
        "columnOrder": [],
        "columnWidths": {},
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
        "runsVisibilityMap": {},
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": charts,
        "compareRunSections": [section for section in _SECTIONS if section["uuid"] in used],
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": True,
        "groupBy": None,
        "groupsExpanded": {},
        "useGroupedValuesInCharts": False,
        "hideEmptyCharts": True,
        "autoRefreshEnabled": True,
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
        "chartsSearchFilter": "",
    }


def _section(uuid: str, name: str, columns: int, height: int, *, display: bool = True) -> dict[str, Any]:
    return {
        "uuid": uuid,
        "name": name,
        "display": display,
        "columns": columns,
        "cardHeight": height,
        "isReordered": True,
        "deleted": False,
        "isGenerated": False,
    }


_SECTIONS = (
    _section("space", "Search space", 1, 360),
    _section("metric", "Metric and learning curves", 2, 360),
    _section("slices", "One dimension at a time", 3, 300),
    _section("more", "What else was measured", 3, 300, display=False),
)


def _columns(start: StudyStarted) -> list[str]:
    space = _space(start)
    whose = ARM if ARM in space else "method"  # two compared methods may be one, with other settings
    columns = [f"metrics.`{_best(start)}`", "tags.`autockd.state`", f"params.`{whose}`"]
    if fresh := _fresh(start):
        columns[1:1] = [*(f"metrics.`{key}`" for key in fresh), "tags.`autockd.finalist`"]
    columns += [f"params.`{name}`" for name in space if name != whose]
    costs = dict.fromkeys([*map(cost_key, _objectives(start)), PARAMETERS])
    return [*columns, *(f"metrics.`{key}`" for key in costs), "metrics.`trial_seconds`", "attributes.`Duration`"]


def _charts(start: StudyStarted, *, slices: bool = True) -> list[Chart]:
    """All charts, in the order in which they stand; each has a number of its own."""
    charts = [*_overview(start), *(_slices(start) if slices else ()), *_others(start)]
    return [{"uuid": f"c{number}"} | chart for number, chart in enumerate(charts)]


def _overview(start: StudyStarted) -> Iterator[Chart]:
    space, best = _space(start), _best(start)
    if space:
        params = [axis_param(space, name) for name in space]
        yield _chart("PARALLEL", "space", selectedParams=params, selectedMetrics=[best], showAllRuns=False)
    pair = _pair(space)
    if len(pair) == 2:
        # Draws a point for every trial too. A scatter plot of two params stays empty: MLflow wants a metric in it.
        x, y = (_axis("PARAM", param) for param in pair)
        yield _chart("CONTOUR", "metric", xaxis=x, yaxis=y, zaxis=_metric_axis(start))
    for name in _objectives(start):
        yield _chart("SCATTER", "metric", xaxis=_axis("METRIC", cost_key(name)), yaxis=_metric_axis(start))
    yield _line("metric", f"val_{start.metric}")


def _pair(space: Space) -> list[str]:
    """The two numbers that the space is looked at by: the schedule's, else the first two; fewer if there are fewer."""
    numbers = {name: param for name in space if (param := number_param(space, name))}
    chosen = _PAIR if numbers.keys() >= set(_PAIR) else tuple(numbers)[:2]
    return [numbers[name] for name in chosen]


def _slices(start: StudyStarted) -> Iterator[Chart]:
    space = _space(start)
    for name in space:
        yield _chart("SCATTER", "slices", xaxis=_axis("PARAM", slice_param(space, name)), yaxis=_metric_axis(start))


def _others(start: StudyStarted) -> Iterator[Chart]:
    """In a section that is closed. MLflow would append, and open, a chart of every metric that is in none."""
    yield _chart("SCATTER", "more", xaxis=_axis("METRIC", "trial_seconds"), yaxis=_metric_axis(start))
    for metric in curve_keys(start.metric, _objectives(start))[1:]:
        yield _line("more", metric)
    for metric in (*outcome_keys(start.metric, _objectives(start)), *_fresh(start)):
        yield _chart("BAR", "more", metricKey=metric)


def _fresh(start: StudyStarted) -> tuple[str, ...]:
    """Metric keys that runs of finalists will have, if there are to be any."""
    return fresh_keys(start.metric) if start.config.get("finalists", {}).get("seeds") else ()


def _line(section: str, metric: str) -> Chart:
    return _chart(
        "LINE",
        section,
        metricKey=metric,
        selectedMetricKeys=[metric],
        xAxisKey="step",
        yAxisKey="metric",
        selectedXAxisMetricKey="",
        yAxisExpressions=[],
        xAxisScaleType="linear",
        scaleType="linear",
        range={},
        lineSmoothness=0,
        ignoreOutliers=False,
    )


def _chart(kind: str, section: str, **details: Any) -> Chart:
    common = {"type": kind, "metricSectionId": section, "deleted": False, "isGenerated": False}
    return common | {"runsCountToCompare": _MOST_RUNS} | details


def _metric_axis(start: StudyStarted) -> dict[str, str]:
    return _axis("METRIC", _best(start))


def _axis(kind: str, key: str) -> dict[str, str]:
    return {"key": key, "type": kind}


def _deflated(state: Mapping[str, Any]) -> str:
    return "deflate;" + base64.b64encode(zlib.compress(json.dumps(state).encode(), 9)).decode()
