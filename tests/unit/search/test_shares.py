from __future__ import annotations

import pytest

from autockd.search.shares import Shares


def test_searches_that_use_their_time_have_the_same() -> None:
    shares = Shares(90.0, 3)
    for _ in range(3):
        share = shares.next()
        assert share == pytest.approx(30.0)
        shares.use(30.0)


def test_what_one_leaves_is_for_those_after_it() -> None:
    shares = Shares(90.0, 3)
    shares.use(10.0)
    assert shares.next() == 40.0
    shares.use(40.0)
    assert shares.next() == 40.0


def test_one_that_ends_late_takes_nothing_from_those_after_it() -> None:
    shares = Shares(90.0, 3)
    shares.use(38.0)
    assert shares.next() == 30.0
    shares.use(31.0)
    assert shares.next() == 30.0


def test_one_search_has_all() -> None:
    assert Shares(90.0, 1).next() == 90.0


def test_unlimited_time_has_no_shares() -> None:
    shares = Shares(None, 2)
    shares.use(1e6)
    assert shares.next() is None
