from __future__ import annotations

import hashlib
import pickle

import pytest
import torch

from autockd.data.texts import Texts

PAIRS = Texts(("a", "bb", "ccc"), ("x", "", "zz"))


def test_samples_are_taken_in_the_order_asked_for() -> None:
    taken = PAIRS.take(torch.tensor([2, 0, 2]))
    assert taken == Texts(("ccc", "a", "ccc"), ("zz", "x", "zz"))
    assert len(taken) == 3
    assert Texts(("a", "b")).take(torch.tensor([1])) == Texts(("b",))
    assert len(PAIRS.take(torch.tensor([], dtype=torch.int64))) == 0


def test_columns_are_what_a_tokenizer_takes() -> None:
    assert PAIRS.columns == (("a", "bb", "ccc"), ("x", "", "zz"))
    assert Texts(("a", "b")).columns == (("a", "b"),)


def test_texts_are_printed_briefly() -> None:
    assert repr(PAIRS) == "Texts(3 pairs)"
    assert repr(Texts(("secret",))) == "Texts(1 sentences)"


@pytest.mark.parametrize(
    "other",
    [
        Texts(("ab", "b", "ccc"), ("x", "", "zz")),
        Texts(("abb", "", "ccc"), ("x", "", "zz")),
        Texts(("a", "bb", "ccc"), ("", "x", "zz")),
        Texts(("x", "", "zz"), ("a", "bb", "ccc")),
        Texts(("a", "bb", "ccc")),
        Texts(("a", "bb", "ccc", "x", "", "zz")),
        Texts(("bb", "a", "ccc"), ("", "x", "zz")),
    ],
)
def test_any_difference_changes_the_hash(other: Texts) -> None:
    assert other.content_hash != PAIRS.content_hash


def test_an_empty_second_text_is_not_none() -> None:
    assert Texts((), ()).content_hash != Texts(()).content_hash


def test_equal_texts_have_the_same_hash_wherever_they_come_from() -> None:
    assert Texts(("a", "bb", "ccc"), ("x", "", "zz")).content_hash == PAIRS.content_hash
    assert pickle.loads(pickle.dumps(PAIRS)).content_hash == PAIRS.content_hash
    assert Texts(("é", "\ud800")).content_hash == Texts(("é", "\ud800")).content_hash  # a lone surrogate is no error


def test_the_hash_is_of_lengths_and_bytes() -> None:
    framed = b"".join(
        len(part).to_bytes(8, "little") + part for part in (b"\2" + bytes(7) + b"\1" + bytes(7), b"\xc3\xa9a")
    )
    assert Texts(("é", "a")).content_hash == hashlib.sha256(framed).hexdigest()
