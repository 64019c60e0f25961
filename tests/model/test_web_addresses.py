"""Addresses that anybody wrote: what is none is told, and what is only shown has no parts."""

from __future__ import annotations

import pytest

from hven.model import resolve_relative_address, split_address, split_address_or_empty
from hven.model.errors import UserError

WRONG = ["https://[", "http://[::1", "//[", "http://a]b/", "http://host:port/", "http://host:99999/"]


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UserError, match="not an http or https address"):
        split_address(text)
    assert not split_address_or_empty(text).netloc


def test_parts_are_those_of_the_standard_library() -> None:
    parts = split_address("https://user@host.example:81/a/b?c=d#e")
    assert (parts.scheme, parts.hostname, parts.port, parts.path, parts.query) == (
        "https",
        "host.example",
        81,
        "/a/b",
        "c=d",
    )
    assert split_address_or_empty("/a?b") == split_address("/a?b")


def test_addresses_are_resolved() -> None:
    assert resolve_relative_address("https://host/a/", "b") == "https://host/a/b"
    with pytest.raises(UserError):
        resolve_relative_address("https://host/a/", "//[")
