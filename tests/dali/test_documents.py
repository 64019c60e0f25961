"""Documents are remembered by what they were made from, and bounded by their bytes; tags and encodings."""

from __future__ import annotations

import gzip

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from hven.services import DocumentCache, answer_with_body, is_unchanged
from hven.services._content_encoding import StreamCompressor, choose_encoding


def request(method: str = "GET", **headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": method, "path": "/", "query_string": b"", "headers": raw})


def test_a_document_is_made_once() -> None:
    kept = DocumentCache()
    assert kept.get_or_build("a", lambda: b"one") == kept.get_or_build("a", lambda: b"two") == b"one"
    assert kept.get_or_build("b", lambda: b"two") == b"two"


def test_the_oldest_go_when_the_bytes_are_too_many() -> None:
    kept = DocumentCache(max_bytes=100)
    for name in "abc":
        kept.get_or_build(name, lambda: b"x" * 40)
    assert kept.total_bytes == 80
    assert kept.get_or_build("b", lambda: b"new") == b"x" * 40
    assert kept.get_or_build("a", lambda: b"new") == b"new"
    assert kept.get_or_build("huge", lambda: b"x" * 1000) == b"x" * 1000
    assert kept.total_bytes <= 100


@pytest.mark.parametrize(
    ("known", "same"),
    [('W/"a"', True), ('"a"', True), ('"x", W/"a"', True), ("*", True), ('"b"', False), ("", False), ("a", False)],
)
def test_a_tag_is_compared_weakly(known: str, same: bool) -> None:
    assert is_unchanged(request(if_none_match=known), 'W/"a"') is same


def test_only_what_is_safe_is_answered_by_not_modified() -> None:
    assert is_unchanged(request("HEAD", if_none_match='"a"'), 'W/"a"')
    assert not is_unchanged(request("POST", if_none_match='"a"'), 'W/"a"')
    assert not is_unchanged(request(), 'W/"a"')


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", None), ("identity", None), ("gzip", "gzip"), ("zstd", "zstd"), ("gzip, zstd", "zstd"), ("GZIP;q=0.8, zstd;q=0.1", "gzip"),
        ("gzip;q=0", None), ("br", None), ("gzip;q=nonsense", None), ("*", None),
    ],
)  # fmt: skip
def test_the_encoding_is_what_the_reader_likes_best(accept: str, chosen: str | None) -> None:
    assert choose_encoding(accept) == chosen


@given(st.lists(st.binary(max_size=3000), max_size=20))
def test_streams_are_read_back_whole(pieces: list[bytes]) -> None:
    for encoding, unpack in (
        ("gzip", gzip.decompress),
        ("zstd", lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data)),
    ):
        encoder = StreamCompressor(encoding)
        packed = b"".join(encoder.compress(piece) for piece in pieces) + encoder.finish()
        assert unpack(packed) == b"".join(pieces)


def test_head_tells_the_length_of_what_get_sends() -> None:
    body = b"a text that is worth packing " * 200
    for accept in ("identity", "gzip"):
        head, get = (
            answer_with_body(request(method, accept_encoding=accept), body, {"content-type": "text/plain"})
            for method in ("HEAD", "GET")
        )
        assert head.body == b""
        assert int(head.headers["content-length"]) == len(get.body)
        assert head.headers.get("content-encoding") == get.headers.get("content-encoding")
