"""Content addresses: the same content has the same name, and different content another."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autockd.hashing import bytes_hash, content_hash, file_hash

TEXT = st.text('ab\u00e9"\\', max_size=5)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def test_content_has_a_known_address() -> None:
    """SHA-256 of the canonical text, so that addresses in old caches stay valid."""
    assert content_hash({"b": [1, 2.5, None], "a": "é"}) == (
        hashlib.sha256(rb'{"a":"\u00e9","b":[1,2.5,null]}').hexdigest()
    )


@given(st.dictionaries(TEXT, JSON, max_size=6))
def test_key_order_does_not_matter(value: dict[str, object]) -> None:
    assert content_hash(value) == content_hash(dict(reversed(list(value.items()))))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([1, 2], [2, 1]),
        ({"a": 1}, {"a": "1"}),
        ({"a": 1}, {"b": 1}),
        (True, 1),
        (1, 1.0),
        (None, "null"),
        ([], {}),
        (["ab"], ["a", "b"]),
        (0.1, 0.1 + 2**-56),
    ],
)
def test_different_content_has_different_addresses(one: object, other: object) -> None:
    assert content_hash(one) != content_hash(other)


@pytest.mark.parametrize("value", [float("nan"), [float("inf")]])
def test_numbers_that_are_none_have_no_address(value: object) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        content_hash(value)


@pytest.mark.parametrize("value", [Path("/x"), {1, 2}, b"raw"])
def test_what_is_not_plain_data_has_no_address(value: object) -> None:
    with pytest.raises(TypeError):
        content_hash(value)


def test_boundaries_between_byte_strings_count() -> None:
    assert len({bytes_hash(b"ab", b"c"), bytes_hash(b"a", b"bc"), bytes_hash(b"abc"), bytes_hash(b"abc", b"")}) == 4


@given(st.lists(st.binary(max_size=20), max_size=5), st.lists(st.binary(max_size=20), max_size=5))
def test_byte_strings_are_equal_when_their_addresses_are(one: list[bytes], other: list[bytes]) -> None:
    assert (bytes_hash(*one) == bytes_hash(*other)) == (one == other)


def test_a_view_has_the_address_of_its_bytes() -> None:
    numbers = memoryview(bytearray(range(16))).cast("I")
    assert bytes_hash(numbers) == bytes_hash(bytes(range(16)))


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1])
def test_a_file_has_the_address_of_its_bytes(tmp_path: Path, size: int) -> None:
    path = tmp_path / "data"
    content = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    path.write_bytes(content)
    assert file_hash(path) == hashlib.sha256(content).hexdigest()
