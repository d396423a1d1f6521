from __future__ import annotations

import pytest

from autockd.config.schema import ResourceConfig
from autockd.errors import EnvironmentProblem
from autockd.search import resources
from autockd.search.resources import TRIALS_PER_GPU, allocate, memory_for_trials

GB = 10**9


@pytest.mark.parametrize(
    ("asked", "cluster", "parallel", "each"),
    [
        ({}, {"CPU": 2.0}, 2, {"CPU": 1}),
        ({}, {"CPU": 1.0}, 1, {"CPU": 1}),
        ({"parallel_trials": 2}, {"CPU": 8.0}, 2, {"CPU": 1}),
        ({"parallel_trials": 9}, {"CPU": 4.0}, 4, {"CPU": 1}),
        ({"cpus_per_trial": 3}, {"CPU": 8.0}, 2, {"CPU": 3}),
        ({"cpus_per_trial": 8, "parallel_trials": 1}, {"CPU": 8.0}, 1, {"CPU": 8}),
        ({}, {"CPU": 16.0, "GPU": 1.0}, TRIALS_PER_GPU, {"CPU": 1, "GPU": 1 / TRIALS_PER_GPU}),
        ({}, {"CPU": 64.0, "GPU": 8.0}, 8 * TRIALS_PER_GPU, {"CPU": 1, "GPU": 1 / TRIALS_PER_GPU}),
        ({}, {"CPU": 3.0, "GPU": 8.0}, 3, {"CPU": 1, "GPU": 1}),
        ({}, {"CPU": 2.0, "GPU": 1.0}, 2, {"CPU": 1, "GPU": 0.5}),
        ({}, {"CPU": 6.0, "GPU": 2.0}, 6, {"CPU": 1, "GPU": 1 / 3}),
        ({"cpus_per_trial": 8}, {"CPU": 16.0, "GPU": 1.0}, 2, {"CPU": 8, "GPU": 0.5}),
        ({"parallel_trials": 1}, {"CPU": 16.0, "GPU": 1.0}, 1, {"CPU": 1, "GPU": 1}),
        ({"parallel_trials": 4}, {"CPU": 16.0, "GPU": 4.0}, 4, {"CPU": 1, "GPU": 1}),
        ({"parallel_trials": 3}, {"CPU": 16.0, "GPU": 2.0}, 3, {"CPU": 1, "GPU": 0.5}),
        ({"gpus_per_trial": 1}, {"CPU": 16.0, "GPU": 2.0}, 2, {"CPU": 1, "GPU": 1}),
        ({"gpus_per_trial": 2}, {"CPU": 16.0, "GPU": 2.0}, 2, {"CPU": 1, "GPU": 1}),  # as it was allowed once
        ({"gpus_per_trial": 0.1}, {"CPU": 16.0, "GPU": 1.0}, 10, {"CPU": 1, "GPU": 0.1}),
        ({"gpus_per_trial": 0.3}, {"CPU": 16.0, "GPU": 1.0}, 3, {"CPU": 1, "GPU": 0.3}),
        ({"gpus_per_trial": 0}, {"CPU": 4.0, "GPU": 1.0}, 4, {"CPU": 1}),
    ],
)
def test_trials_share_a_cluster(
    asked: dict[str, float], cluster: dict[str, float], parallel: int, each: dict[str, float]
) -> None:
    allocation = allocate(ResourceConfig.model_validate(asked), [cluster])
    assert (allocation.parallel, allocation.ray) == (parallel, each)
    assert allocation.device == ("cuda" if "GPU" in each else "cpu")
    assert all(parallel * share <= cluster[name] + 1e-9 for name, share in each.items())


@pytest.mark.parametrize(
    ("asked", "cluster"),
    [
        ({"cpus_per_trial": 3}, {"CPU": 2.0}),
        ({"gpus_per_trial": 1}, {"CPU": 2.0}),
        ({}, {}),
    ],
)
def test_a_trial_that_does_not_fit_is_refused(asked: dict[str, float], cluster: dict[str, float]) -> None:
    with pytest.raises(EnvironmentProblem, match=r"a trial needs .* but there are .*; lower resources\.cpus_per_trial"):
        allocate(ResourceConfig.model_validate(asked), [cluster])


def test_uneven_nodes_run_as_many_as_were_asked_for() -> None:
    nodes = [{"CPU": 32.0, "GPU": 1.0}, {"CPU": 1.0, "GPU": 1.0}, {"CPU": 64.0}]
    found = [allocate(ResourceConfig(parallel_trials=trials), nodes) for trials in (2, 3, 4, 9)]
    assert [(each.parallel, each.gpus) for each in found] == [(2, 1.0), (3, 0.5), (4, 1 / 3), (5, 0.25)]


def test_it_says_how_it_was_decided() -> None:
    assert allocate(ResourceConfig(), [{"CPU": 2.0}]).reason == (
        "2 trials at a time with 1 core each, of 2 cores and 0 GPUs"
    )
    reason = allocate(ResourceConfig(cpus_per_trial=2, gpus_per_trial=0.5), [{"CPU": 8.0, "GPU": 1.0}]).reason
    assert reason == "2 trials at a time with 2 cores and 0.5 GPU each, of 8 cores and 1 GPUs"


@pytest.mark.parametrize(
    ("asked", "nodes", "parallel"),
    [
        ({}, [{"CPU": 16.0, "memory": 7 * GB}], 3),
        ({}, [{"CPU": 16.0, "memory": 1 * GB}], 1),  # one is tried
        ({}, [{"CPU": 2.0, "memory": 7 * GB}], 2),
        ({}, [{"CPU": 4.0}], 4),  # nobody knows
        ({}, [{"CPU": 4.0, "memory": 5 * GB}, {"CPU": 1.0, "memory": 50 * GB}], 3),
        ({"parallel_trials": 5}, [{"CPU": 16.0, "memory": 7 * GB}], 5),
        ({}, [{"CPU": 16.0, "GPU": 1.0, "memory": 7 * GB}], TRIALS_PER_GPU),
    ],
)
def test_trials_on_cpus_share_the_memory_too(
    asked: dict[str, int], nodes: list[dict[str, float]], parallel: int
) -> None:
    config = ResourceConfig.model_validate(asked)
    assert allocate(config, nodes, 2 * GB).parallel == parallel
    assert allocate(config, nodes).parallel >= parallel


def test_memory_that_is_short_is_asked_of_ray() -> None:
    """So that a node of a cluster is given no more trials than it has room for, though it has the cores."""
    nodes = [{"CPU": 8.0, "memory": 5 * GB}, {"CPU": 2.0, "memory": 50 * GB}]
    found = allocate(ResourceConfig(), nodes, 2 * GB)
    assert found.parallel == 4
    assert [found.slots(node) for node in nodes] == [2, 2]
    assert found.ray["CPU"] == 1
    assert 2 * GB < found.ray["memory"] < 2.5 * GB
    assert found.reason == (
        "4 trials at a time with 1 core each, of 10 cores and 0 GPUs on 2 nodes: each takes 2.1 GB of the 55.0 GB that "
        "trials may have (resources.cpus_per_trial gives them the cores that are left, and resources.parallel_trials "
        "is heard whatever they take)"
    )
    assert "memory" not in allocate(ResourceConfig(), [{"CPU": 8.0, "memory": 1 * GB}], 2 * GB).ray, "none would start"


@pytest.mark.parametrize(("told", "expected"), [((16 << 30, 1 << 30), 10 << 30), ((2 << 30, 1 << 30), 0), (None, None)])
def test_what_trials_may_have_is_the_same_whatever_is_free(
    told: tuple[int, int] | None, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "memory", lambda: told)
    assert memory_for_trials() == expected


@pytest.mark.parametrize(
    ("asked", "nodes", "slots"),
    [
        ({}, [{"CPU": 1.0}, {"CPU": 1.0}], [1, 1]),
        ({"cpus_per_trial": 2}, [{"CPU": 3.0}, {"CPU": 3.0}], [1, 1]),
        ({"cpus_per_trial": 4}, [{"CPU": 2.0}, {"CPU": 8.0}], [0, 2]),
        ({}, [{}, {"CPU": 2.0}], [0, 2]),
        ({"gpus_per_trial": 1}, [{"CPU": 8.0, "GPU": 1.0}, {"CPU": 8.0, "GPU": 2.0}, {"CPU": 64.0}], [1, 2, 0]),
        ({"gpus_per_trial": 0.6}, [{"CPU": 8.0, "GPU": 2.0}], [2]),
        ({"gpus_per_trial": 0}, [{"CPU": 8.0, "GPU": 1.0}, {"CPU": 2.0}], [8, 2]),
    ],
)
def test_a_trial_has_to_fit_on_one_node(
    asked: dict[str, float], nodes: list[dict[str, float]], slots: list[int]
) -> None:
    allocation = allocate(ResourceConfig.model_validate(asked), nodes)
    assert [allocation.slots(node) for node in nodes] == slots
    assert allocation.parallel == sum(slots)


def test_a_node_has_no_more_trials_than_run_at_all() -> None:
    allocation = allocate(ResourceConfig(parallel_trials=2), [{"CPU": 8.0}, {"CPU": 1.0}])
    assert [allocation.slots({"CPU": 8.0}), allocation.slots({"CPU": 1.0})] == [2, 1]


@pytest.mark.parametrize(
    ("asked", "node", "needs"),
    [
        (
            {"cpus_per_trial": 9, "gpus_per_trial": 1},
            {"CPU": 8.0, "GPU": 1.0},
            "9 CPU cores and 1 GPUs of one node, but there are 16 and 2 on 2",
        ),
        ({"cpus_per_trial": 3}, {"CPU": 2.0}, "3 CPU cores and 0 GPUs of one node, but there are 4 and 0 on 2 nodes"),
    ],
)
def test_what_only_all_nodes_together_have_is_not_enough(
    asked: dict[str, float], node: dict[str, float], needs: str
) -> None:
    with pytest.raises(EnvironmentProblem, match=needs):
        allocate(ResourceConfig.model_validate(asked), [node, node])
