"""Text cut into records: no pass of a regular expression goes over much at once, for it holds the interpreter."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hven.model.errors import SourceError
from hven.sources import SourceContext, csv
from hven.sources._reading.text_blocks import TextBlockReader


class Passes:
    """A regular expression that notes how many bytes it goes over at once."""

    def __init__(self, plain: re.Pattern[bytes]) -> None:
        self.plain, self.longest = plain, 0

    def _noted(self, data: bytes, start: int, stop: int) -> None:
        self.longest = max(self.longest, min(stop, len(data)) - start)

    def search(self, data: bytes, start: int, stop: int) -> re.Match[bytes] | None:
        self._noted(data, start, stop)
        return self.plain.search(data, start, stop)

    def match(self, data: bytes, start: int, stop: int) -> re.Match[bytes] | None:
        self._noted(data, start, stop)
        return self.plain.match(data, start, stop)

    def sub(self, other: bytes, data: bytes) -> bytes:
        self._noted(data, 0, len(data))
        return self.plain.sub(other, data)


@pytest.mark.parametrize(
    "data",
    [
        b'"' * 3_000_000,
        b'"' + b'""' * 1_500_000 + b'"\n',
        b'x"y,"1"\n' * 400_000,
        b'"x\n' * 1_000_000,
        b"# x\n" * 1_000_000 + b"1,2\n",
    ],
)
def test_long_rows_of_quotes_and_comments_are_gone_over_in_pieces(tmp_path: Path, data: bytes) -> None:
    """One pass over 40 MB of quotes took half a minute, and nothing else could run meanwhile."""
    (tmp_path / "a.csv").write_bytes(data)
    source = csv.open(csv.Options(files=["a.csv"]), SourceContext(directory=tmp_path))
    text = TextBlockReader(source.files[0], quote='"', comment="#")
    passes = [Passes(text.opening_quote_pattern), Passes(text.quote_run_pattern), Passes(text.comment)]
    text.opening_quote_pattern, text.quote_run_pattern, text.comment = passes
    with contextlib.suppress(SourceError):
        for _ in text.read_blocks():
            pass
    assert 0 < max(one.longest for one in passes) < 200_000


@settings(max_examples=300)
@given(st.text('"",,\n\nab ', max_size=40))
def test_where_quoted_values_end_does_not_depend_on_the_pieces(written: str) -> None:
    """Found by one expression over all of it, and by pieces of sixteen bytes."""
    data = written.encode()
    whole = re.compile(rb'(?:\A|[\n,])[ ]*"(?:[^"]+|"")*("|\Z)')
    text = object.__new__(TextBlockReader)
    with (
        mock.patch("hven.sources._reading.text_blocks.REGEX_WINDOW_BYTES", 16),
        mock.patch("hven.sources._reading.text_blocks._MAX_BLANKS_BEFORE_QUOTE", 6),
    ):
        text.set_dialect(quote='"', comment=None, delimiter=",")
        text.remainder = data
        # blanks before a quote beyond the bound are a value's
        assert "       " in written or list(text._find_quoted_values()) == [
            (*found.span(), found[1] != b"") for found in whole.finditer(data)
        ]
