"""Sentences about finalists, and the numbers in them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from autockd.verdicts import Finalist, judgements, names, selection_bias, spread_text, winner_of

SEEDS = (6, 7, 8)


def finalist(
    trial: int,
    role: str,
    method: str,
    *,
    searched: float = 0.9,
    validation: Sequence[float] = (0.9, 0.9, 0.9),
    test: Sequence[float] = (),
    arm: str = "",
    was_stopped: bool = False,
) -> Finalist:
    return Finalist.model_validate(
        {
            "trial": trial,
            "role": role,
            "method": method,
            "arm": arm,
            "searched": searched,
            "was_stopped": was_stopped,
            "seeds": SEEDS[: len(validation)],
            "validation": tuple(validation),
            "test": tuple(test),
        }
    )


NONE = finalist(0, "baseline", "none", test=(0.90, 0.91, 0.92))
KD = finalist(1, "baseline", "kd", test=(0.93, 0.95, 0.91))
PRESET = finalist(2, "default", "continuation", validation=(0.92, 0.91, 0.93), test=(0.94, 0.93, 0.94))
BEST = finalist(9, "sampled", "continuation", searched=0.971, validation=(0.95, 0.96, 0.958), test=(0.94, 0.952, 0.96))
ALL = (NONE, KD, PRESET, BEST)


def test_the_best_is_compared_with_baselines_and_preset() -> None:
    assert [judgement.sentence for judgement in judgements(ALL, "accuracy", "maximize")] == [
        "best student (continuation, trial 9) against no distillation, 3 seeds: "
        "better by 4.1 points (95 % interval 3.8 to 4.4)",
        "best student (continuation, trial 9) against kd, 3 seeds: "
        "cannot be told apart: +2.1 points (95 % interval -4.3 to 8.5)",
        "best student (continuation, trial 9) against continuation preset, trial 2, 3 seeds: "
        "cannot be told apart: +1.4 points (95 % interval -1.6 to 4.4)",
    ]


def test_the_interval_is_that_of_the_paired_t_test() -> None:
    from scipy import stats

    (found, *_) = judgements(ALL, "accuracy", "maximize")
    interval = stats.ttest_rel(BEST.test, NONE.test).confidence_interval(0.95)
    assert (found.comparison.low, found.comparison.high) == pytest.approx((interval.low, interval.high))
    assert (found.trial, found.against) == (9, 0)


def test_where_less_is_better_the_signs_are_those_of_the_gain() -> None:
    one = finalist(1, "sampled", "kd", validation=(0.1, 0.1, 0.1), test=(0.10, 0.11, 0.12))
    other = finalist(0, "baseline", "none", test=(0.20, 0.212, 0.22))
    (found,) = judgements((other, one), "mse", "minimize")
    assert found.sentence.endswith("better by 0.1007 (95 % interval 0.0978 to 0.1035)")
    assert found.comparison.difference < 0


def test_a_single_seed_says_so() -> None:
    one = finalist(1, "sampled", "kd", validation=(0.9,), test=(0.9,))
    other = finalist(0, "baseline", "none", validation=(0.8,), test=(0.85,))
    (found,) = judgements((other, one), "accuracy", "maximize")
    assert found.sentence.endswith(
        "no distillation, 1 seed: cannot be told apart: +5.0 points, and one seed says nothing of chance"
    )


def test_only_seeds_that_both_came_through_with_are_paired() -> None:
    rival = NONE.model_copy(update={"seeds": (7, 8), "validation": (0.9, 0.9), "test": (0.91, 0.92)})
    (found,) = judgements((rival, BEST), "accuracy", "maximize")
    assert found.comparison.seeds == 2
    assert found.comparison.difference == pytest.approx(((0.952 - 0.91) + (0.96 - 0.92)) / 2)


def test_equal_gaps_are_equal_though_floats_round() -> None:
    one = finalist(1, "sampled", "kd", test=(0.3, 0.4, 0.7))
    other = finalist(0, "baseline", "none", test=(0.2, 0.3, 0.6))
    (found,) = judgements((other, one), "accuracy", "maximize")
    told = "cannot be told apart: +10.0 points with each of them, which leaves no spread to judge by"
    assert found.sentence.endswith(told)
    assert math.isnan(found.comparison.p_value)
    (same,) = judgements((one.model_copy(update={"trial": 0, "role": "baseline"}), one), "accuracy", "maximize")
    told = "cannot be told apart: no difference with each of them, which leaves no spread to judge by"
    assert same.sentence.endswith(told)


def test_a_gap_that_rounds_to_nothing_is_hardly_one() -> None:
    one = finalist(1, "sampled", "kd", validation=(0.9,), test=(0.9001,))
    other = finalist(0, "baseline", "none", validation=(0.8,), test=(0.9,))
    (found,) = judgements((other, one), "accuracy", "maximize")
    assert "cannot be told apart: hardly a difference, and" in found.sentence


@pytest.mark.parametrize("seeds", [(9, 10), (6, 7)])
def test_who_has_no_seed_in_common_or_no_score_is_no_rival(seeds: tuple[int, ...]) -> None:
    """An evaluation that was cut short leaves a finalist without its test scores."""
    test = (0.9, 0.91) if seeds == (9, 10) else ()
    rival = NONE.model_copy(update={"seeds": seeds, "validation": (0.9, 0.9), "test": test})
    assert [judgement.against for judgement in judgements((rival, KD, BEST), "accuracy", "maximize")] == [1]


def test_nothing_is_judged_before_the_test_split_is_open() -> None:
    closed = [one.model_copy(update={"test": ()}) for one in ALL]
    assert judgements(closed, "accuracy", "maximize") == ()
    assert selection_bias(closed, "accuracy", "maximize") is not None
    assert selection_bias((), "accuracy", "maximize") is None


def test_the_best_of_other_compared_methods_is_a_rival_too() -> None:
    arms = [
        finalist(3, "sampled", "kd", arm="kd", validation=(0.9, 0.9, 0.9), test=(0.9, 0.91, 0.9)),
        finalist(4, "sampled", "kd", arm="kd", validation=(0.8, 0.8, 0.8), test=(0.8, 0.81, 0.8)),
        finalist(5, "sampled", "dist", arm="dist", validation=(0.95, 0.95, 0.95), test=(0.95, 0.96, 0.94)),
    ]
    assert [judgement.against for judgement in judgements(arms, "accuracy", "maximize")] == [3]


@pytest.mark.parametrize(
    ("searched", "told"),
    [
        (0.971, "3 fresh seeds give 95.6 %: 1.5 points of it were luck (standard error 0.3)"),
        (0.9562, "3 fresh seeds give 95.6 %: no luck is to be seen in it"),
        (0.94, "3 fresh seeds give 95.6 %: no luck is to be seen in it"),
    ],
)
def test_the_luck_of_the_search_is_named(searched: float, told: str) -> None:
    best = BEST.model_copy(update={"searched": searched})
    found = selection_bias((NONE, best), "accuracy", "maximize")
    assert found is not None
    seen = f"the search saw {100 * searched:.1f} % on the validation split (continuation, trial 9), "
    assert found == seen + told


def test_the_luck_is_that_of_the_searchs_best_whoever_wins() -> None:
    lucky = finalist(5, "sampled", "continuation", searched=0.99, validation=(0.9, 0.9, 0.9))
    stopped = finalist(6, "default", "continuation", searched=0.999, was_stopped=True)
    assert winner_of((lucky, BEST), "maximize") == BEST
    found = selection_bias((NONE, lucky, stopped, BEST), "accuracy", "maximize")
    assert found is not None
    assert "saw 99.0 % on the validation split (continuation, trial 5)" in found
    assert found.endswith("9.0 points of it were luck (standard error 0.0)")
    assert selection_bias((NONE,), "accuracy", "maximize") is None


def test_luck_is_what_was_too_little_where_less_is_better() -> None:
    lucky = finalist(1, "sampled", "kd", searched=0.10, validation=(0.14, 0.15, 0.16))
    sober = lucky.model_copy(update={"searched": 0.2})
    told = [selection_bias((found,), "mse", "minimize") for found in (lucky, sober)]
    assert [str(text).rpartition(": ")[2] for text in told] == [
        "0.0500 of it was luck (standard error 0.0058)",
        "no luck is to be seen in it",
    ]


def test_one_seed_does_not_tell_luck_from_chance() -> None:
    once = finalist(1, "sampled", "kd", searched=0.99, validation=(0.9,), test=(0.9,))
    told = selection_bias((once,), "accuracy", "maximize")
    assert str(told).endswith("1 fresh seed gives 90.0 %: one seed does not tell luck from chance")


def test_the_luck_is_that_of_the_least_where_less_is_better() -> None:
    least, most = (finalist(trial, "sampled", "kd", searched=trial / 10) for trial in (1, 2))
    for found in (selection_bias(both, "mse", "minimize") for both in ((least, most), (most, least))):
        assert found is not None
        assert found.startswith("the search saw 0.1 on the validation split (kd, trial 1), ")


def test_two_baselines_of_one_method_are_told_apart() -> None:
    other = finalist(3, "baseline", "kd")
    assert names((NONE, KD, other)) == {0: "no distillation", 1: "kd (trial 1)", 3: "kd (trial 3)"}
    assert names((KD, finalist(3, "sampled", "kd"))) == {1: "kd", 3: "kd, trial 3"}, (
        "one baseline is told by its method"
    )


def test_a_compared_method_is_called_by_its_label() -> None:
    assert names((finalist(3, "sampled", "kd", arm="kd-std"),)) == {3: "kd-std, trial 3"}
    assert names((finalist(4, "default", "kd", arm="kd-std"),)) == {4: "kd-std preset, trial 4"}


def test_of_equal_students_the_earlier_trial_wins() -> None:
    one, other = (finalist(trial, "sampled", "kd") for trial in (3, 4))
    assert winner_of((one, other), "maximize") == winner_of((other, one), "minimize") == one


def test_spreads() -> None:
    assert spread_text((0.95, 0.96, 0.958), "accuracy") == "95.6 ± 0.5 %"
    assert spread_text((0.95,), "accuracy") == "95.0 %"
    assert spread_text((0.5, 0.6), "matthews") == "0.5500 ± 0.0707"
    assert spread_text((), "accuracy") == "-"


def test_a_student_beyond_the_studys_limits_does_not_win_and_is_a_rival_still() -> None:
    barred = BEST.model_copy(update={"is_barred": True})
    assert winner_of([NONE, KD, PRESET, barred], "maximize") == PRESET
    assert winner_of([NONE, KD, barred], "maximize") is None
