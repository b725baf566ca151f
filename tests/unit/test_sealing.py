"""Seals: no bit of a sealed file or record changes unnoticed."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sealing import (
    BrokenSeal,
    is_of_earlier_format,
    open_record,
    seal,
    seal_record,
    sealed_digest,
    unseal,
)

KEY = b"a key of the tests"
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.dictionaries(st.text().filter(lambda name: name != "seal"), JSON, max_size=4)


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8 % len(changed)] ^= 1 << bit % 8
    return bytes(changed)


@given(fields=FIELDS, bit=st.integers(0, 10_000), key=st.sampled_from([None, KEY]))
def test_a_sealed_file_gives_its_content_back_and_no_bit_may_change(
    fields: dict[str, object], bit: int, key: bytes | None
) -> None:
    content = orjson.dumps(fields)
    sealed = seal(content, 3, key)
    assert unseal(sealed, 3, key) == unseal(sealed, 3, digest=sealed_digest(sealed, 3)) == content
    assert orjson.loads(sealed)["content"] == orjson.loads(content)
    with pytest.raises(BrokenSeal):
        unseal(flipped(sealed, bit), 3)


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize("depth", [100, 300, 1_000, 100_000])
def test_a_record_of_any_depth_is_refused_and_not_a_crash(depth: int) -> None:
    """orjson reads a depth that it does not write; such an announcement ended every server."""
    with pytest.raises(BrokenSeal):
        open_record(b'{"step":' + nested(depth) + b',"seal":"0000000000000000"}')


def test_what_does_not_hold_is_named() -> None:
    sealed = seal(b"{}", 3)
    for arguments, words in (
        ((sealed, 4), "it has format 3, and this millstream reads format 4"),
        ((b"rubbish", 3), "format unknown"),
        ((b'{"format":' + nested(1_000) + b"}", 3), "format unknown"),
        ((sealed, 3, KEY), "not signed with this key"),
        ((seal(b"{}", 3, KEY), 3, b"another key"), "not signed with this key"),
        ((sealed, 3, None, "0" * 64), "differs from the announced one"),
        ((sealed[:-1], 3), "differ from its seal"),
    ):
        with pytest.raises(BrokenSeal, match=words):
            unseal(*arguments)


@given(fields=FIELDS, user=st.text(), other=st.text(), bit=st.integers(0, 10_000))
def test_a_record_belongs_to_its_key_and_no_bit_may_change(
    fields: dict[str, object], user: str, other: str, bit: int
) -> None:
    wire = seal_record(fields, user)
    assert open_record(wire, user) == fields
    if other != user:
        with pytest.raises(BrokenSeal):
            open_record(wire, other)
    try:
        changed = open_record(flipped(wire, bit), user)
    except BrokenSeal:
        return
    assert changed.keys() != fields.keys(), "only a record whose field `seal` has another name is not sealed"


@pytest.mark.parametrize("wire", [b"", b"{", b"[]", b"null", b"3", b"\xff", b"[" * 100_000])
def test_a_record_that_is_no_object_is_refused(wire: bytes) -> None:
    with pytest.raises(BrokenSeal):
        open_record(wire)


def test_a_record_from_before_seals_is_accepted() -> None:
    assert open_record(b'{"step": 3}', "ann") == {"step": 3}


def test_a_whole_file_of_an_earlier_format_is_told_from_a_damaged_one() -> None:
    sealed = seal(b"{}", 3, KEY)
    assert is_of_earlier_format(sealed, 4)
    assert not is_of_earlier_format(sealed, 3)
    assert not is_of_earlier_format(sealed, 2)
    assert not is_of_earlier_format(sealed + b" ", 4)
    assert not is_of_earlier_format(b'{"format":1,"sha256":"', 4)
    assert not is_of_earlier_format(b"[]", 4)
