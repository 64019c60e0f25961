"""What leaves in one write: an answer whose rows are all in memory, and no other."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hven.dali.answer import COMPANY, Chunks


def chunks(computed, *parts):
    return Chunks(iter(parts), SimpleNamespace(computed=computed))


@pytest.mark.parametrize(
    ("computed", "parts", "first", "whole", "left"),
    [
        (True, [b"a", b"b", b"c"], b"abc", True, []),
        (False, [b"a", b"b"], b"a", False, [b"b"]),  # the second may be long in coming
        (True, [b"a", b"b" * COMPANY, b"c"], b"a" + b"b" * COMPANY, False, [b"c"]),  # enough to be sent alone
        (True, [], b"", True, []),
    ],
)
def test_the_opening(computed, parts, first, whole, left):
    made = chunks(computed, *parts)
    assert made.opening() == (first, whole)
    assert list(iter(made.following, None)) == left
