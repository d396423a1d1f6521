from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from autockd.config.tasks import Digits
from autockd.data.sources.raw import Indices, RawImages, Samples
from autockd.data.splits import Rows, choose_rows, stratified_sample, stratified_split
from autockd.errors import DataError


def labels(*counts: int) -> Indices:
    """As many labels of each class as said, mixed."""
    return np.random.RandomState(7).permutation(np.repeat(np.arange(len(counts)), counts))


def samples(targets: Indices) -> Samples:
    return Samples(targets, lambda rows: torch.zeros(len(rows), 1, 4, 4, dtype=torch.uint8))


def raw(train: Indices, test: Indices | None = None, classes: int | None = None) -> RawImages:
    names = tuple(f"class {index}" for index in range(classes or int(train.max()) + 1))
    return RawImages("some", names, samples(train), samples(test) if test is not None else None)


@settings(max_examples=40, deadline=None)
@given(counts=st.lists(st.integers(4, 60), min_size=2, max_size=6), share=st.floats(0.2, 0.8), seed=st.integers(0, 99))
def test_a_split_is_disjoint_complete_proportional_and_repeats(counts: list[int], share: float, seed: int) -> None:
    targets = labels(*counts)
    held = min(max(math.ceil(share * len(targets)), len(counts)), len(targets) - len(counts))
    rest, out = stratified_split(targets, held, seed)
    assert len(out) == held
    assert np.array_equal(np.sort(np.concatenate([rest, out])), np.arange(len(targets)))
    assert np.array_equal(rest, np.sort(rest))
    expected = np.array(counts) * held / len(targets)
    assert np.abs(np.bincount(targets[out], minlength=len(counts)) - expected).max() <= 1
    again = stratified_split(targets, held, seed)
    assert np.array_equal(again[0], rest)
    assert np.array_equal(again[1], out)


@given(counts=st.lists(st.integers(1, 60), min_size=1, max_size=6), limit=st.integers(1, 400), seed=st.integers(0, 99))
def test_a_sample_is_proportional_and_repeats(counts: list[int], limit: int, seed: int) -> None:
    targets = labels(*counts)
    rows = stratified_sample(targets, limit, seed)
    assert len(rows) == min(limit, len(targets))
    assert np.all(np.diff(rows) > 0)
    expected = np.array(counts) * len(rows) / len(targets)
    assert np.abs(np.bincount(targets[rows], minlength=len(counts)) - expected).max() <= len(counts) / 2
    assert np.array_equal(rows, stratified_sample(targets, limit, seed))


def test_equal_classes_give_equal_shares() -> None:
    targets = labels(50, 50, 50, 50)
    assert np.bincount(targets[stratified_sample(targets, 40, 0)]).tolist() == [10, 10, 10, 10]


def test_rare_classes_come_no_sooner_than_their_share() -> None:
    targets = labels(96, 1, 1, 1, 1)
    assert np.bincount(targets[stratified_sample(targets, 10, 0)], minlength=5).tolist() == [10, 0, 0, 0, 0]


def test_a_smaller_sample_is_part_of_a_larger_one() -> None:
    targets = labels(30, 20, 10)
    assert set(stratified_sample(targets, 7, 1)) < set(stratified_sample(targets, 23, 1))


def test_another_seed_chooses_other_rows() -> None:
    targets = labels(50, 50)
    assert not np.array_equal(stratified_split(targets, 20, 0)[1], stratified_split(targets, 20, 1)[1])
    assert not np.array_equal(stratified_sample(targets, 20, 0), stratified_sample(targets, 20, 1))


def test_without_a_test_split_one_is_taken_from_the_training_samples() -> None:
    rows = choose_rows(raw(labels(60, 40)), Digits(test_fraction=0.2, validation_fraction=0.25))
    assert sizes(rows) == (60, 20, 20)
    everything = np.concatenate([rows.train, rows.validation, rows.test])
    assert np.array_equal(np.sort(everything), np.arange(100))


def test_a_source_keeps_its_own_test_split() -> None:
    rows = choose_rows(raw(labels(60, 40), labels(5, 5)), Digits(test_fraction=0.2, validation_fraction=0.25))
    assert sizes(rows) == (75, 25, 10)
    assert np.array_equal(rows.test, np.arange(10))


def test_limits_hold_before_validation_rows_are_split_off() -> None:
    config = Digits(validation_fraction=0.25, limit_train=40, limit_test=3)
    train, test = labels(60, 40), labels(30, 30)
    rows = choose_rows(raw(train, test), config)
    assert sizes(rows) == (30, 10, 3)
    chosen = np.concatenate([rows.train, rows.validation])
    assert np.bincount(train[chosen]).tolist() == [24, 16]


def test_a_test_split_that_is_taken_from_the_training_samples_is_limited_too() -> None:
    targets = labels(60, 40)
    free, limited = (choose_rows(raw(targets), Digits(test_fraction=0.2, limit_test=limit)) for limit in (None, 5))
    assert np.bincount(targets[limited.test]).tolist() == [3, 2]
    assert set(limited.test) < set(free.test)
    assert np.array_equal(limited.train, free.train)


def test_the_seed_of_the_task_chooses_the_test_rows_of_a_limit() -> None:
    one, other = (
        choose_rows(raw(labels(60, 40), labels(30, 30)), Digits(limit_test=20, seed=seed)).test for seed in (0, 1)
    )
    assert not np.array_equal(one, other)


def test_the_test_rows_do_not_depend_on_the_training_limit() -> None:
    targets = labels(60, 40)
    free, limited = (choose_rows(raw(targets), Digits(limit_train=limit)) for limit in (None, 30))
    assert np.array_equal(free.test, limited.test)


def test_classes_with_one_image_are_named_together() -> None:
    with pytest.raises(DataError, match=r"task\.test_fraction: fewer than 2 images are left to be split of") as caught:
        choose_rows(raw(labels(20, 1, 20, 1)), Digits())
    assert "of 'class 1', 'class 3' -> add images (training, validation and test split need one each)" in str(
        caught.value
    )


def test_a_class_that_a_limit_thins_out_is_named() -> None:
    with pytest.raises(
        DataError, match=r"validation_fraction: fewer than 2 images .* of 'class 1' .*raise limit_train"
    ):
        choose_rows(raw(labels(500, 5), labels(5, 5)), Digits(limit_train=20))


def test_a_fraction_too_small_for_the_classes_is_refused() -> None:
    with pytest.raises(DataError, match=r"validation_fraction: 0\.01 splits 40 images into 39 and 1 -> choose .* 4 cl"):
        choose_rows(raw(labels(10, 10, 10, 10), labels(1, 1, 1, 1)), Digits(validation_fraction=0.01))


def test_a_fraction_that_takes_all_of_a_class_is_refused() -> None:
    with pytest.raises(DataError, match=r"validation_fraction: 0\.9 leaves no training image of 'class 1' -> lower it"):
        choose_rows(raw(labels(98, 2), labels(5, 5)), Digits(validation_fraction=0.9))


def test_a_class_without_training_images_is_named() -> None:
    with pytest.raises(DataError, match="no training image has the class 'class 1'"):
        choose_rows(raw(np.array([0, 2] * 10), np.array([0, 1, 2])), Digits())


@pytest.mark.parametrize("bad", [-1, 3])
def test_a_label_outside_the_classes_is_refused(bad: int) -> None:
    with pytest.raises(DataError, match=f"a label is {bad}, but there are 3 classes"):
        choose_rows(raw(labels(9, 9, 9), np.array([0, bad])), Digits())


def test_a_single_class_is_refused() -> None:
    with pytest.raises(DataError, match=r"1 class \('class 0'\) -> at least two"):
        choose_rows(raw(labels(20)), Digits())


def test_a_seed_beyond_32_bits_is_refused() -> None:
    with pytest.raises(ValidationError, match="less than 4294967296"):
        Digits(seed=2**32)


def sizes(rows: Rows) -> tuple[int, int, int]:
    return len(rows.train), len(rows.validation), len(rows.test)
