"""Read text files as blocks of whole records: decoded to UTF-8, cut where no quoted value is open, without comments."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hven.model import deadlines
from hven.model.errors import SourceError, TextPlace
from hven.sources._reading.format_detection import refuse_binary_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.sources._reading.data_files import DataFile, DecompressedStream

BLOCK_BYTES = 4 << 20
HEAD_BYTES = 1 << 20
MAX_RECORD_BYTES = 64 << 20  # a longer record is a quote that never closes
# a regular expression passes over this many bytes at a time: it holds the interpreter's lock while others wait
REGEX_WINDOW_BYTES = 1 << 17
_MAX_BLANKS_BEFORE_QUOTE = 1000  # before a quote
_UTF8_NAMES = {"utf-8", "utf_8", "utf8", "ascii", "us-ascii", "utf-8-sig"}


@dataclass(frozen=True, slots=True)
class TextBlock:
    """Whole records.

    Attributes
    ----------
    line
        1-based number of the first line in the file.
    """

    data: bytes
    line: int


class TextBlockReader:
    """Reads a text file once, from front to end.

    Parameters
    ----------
    quote
        The quote character within which line ends do not count, or None.
    comment
        Lines that begin with it are left out, or None.
    has_continuation_lines
        A backslash at the end of a line continues the record in the next one (`set_dialect`).
    """

    def __init__(
        self,
        file: DataFile,
        *,
        encoding: str = "utf-8",
        quote: str | None = None,
        comment: str | None = None,
        delimiter: str = ",",
    ) -> None:
        self.file = file
        self.encoding = encoding
        self.stream: DecompressedStream = file.open_stream()
        try:
            name = codecs.lookup(encoding).name
        except LookupError as error:
            raise SourceError(
                f"there is no encoding {encoding!r}",
                remedy="choose an encoding such as utf-8, latin-1, cp1252 or utf-16",
            ) from error
        if name in _UTF8_NAMES:
            self.decoder = None
        else:
            self.decoder = codecs.getincrementaldecoder(name)()
        self.line = 1
        self.is_at_end = False
        self.remainder = b""
        self.has_cr_line_ends: bool | None = None
        self.set_dialect(quote=quote, comment=comment, delimiter=delimiter)

    def set_dialect(
        self, *, quote: str | None, comment: str | None, delimiter: str, has_continuation_lines: bool = False
    ) -> None:
        """Set the layout of records, once the head has shown it."""
        self.has_continuation_lines = has_continuation_lines
        self.quote = quote.encode() if quote else None
        self.comment = (
            re.compile(rb"(?m)^[ \t]*" + re.escape(comment.encode()) + rb"[^\n]*(?:\n|\Z)") if comment else None
        )
        if comment:
            self.comment_prefix = comment.encode()
        else:
            self.comment_prefix = b""
        self.quote_and_delimiter = (self.quote or b"") + delimiter.encode()
        if self.quote:
            q = re.escape(self.quote)
            d = re.escape(delimiter.encode())
            self.opening_quote_pattern = re.compile(rb"(?:\A|[\n" + d + rb"])[ ]{0,%d}" % _MAX_BLANKS_BEFORE_QUOTE + q)
            self.quote_run_pattern = re.compile(q + rb"+")

    def peek_head(self) -> bytes:
        """Peek at the first megabyte, cut at a line end if there is more; `read_blocks` reads it again."""
        if not self.remainder and not self.is_at_end:
            self.remainder = self._read_more(HEAD_BYTES).removeprefix(b"\xef\xbb\xbf")
        if self.is_at_end:
            cut = len(self.remainder)
        else:
            cut = self.remainder.rfind(b"\n") + 1 or len(self.remainder)
        return self.remainder[:cut]

    def read_checked_head(self) -> bytes:
        """Read the head of a file that must be text; close the file if it is no text.

        Raises
        ------
        SourceError
            The file is empty, or something else.
        """
        head = self.peek_head()
        if not head.strip():
            self.close()
            raise SourceError(f"{self.file.name} is empty", remedy="download the file again, or add it to `ignore`")
        try:
            refuse_binary_file(head, self.file.name)
        except SourceError:
            self.close()
            raise
        return head

    def skip_bytes(self, offset: int) -> None:
        """Skip bytes of the head."""
        self.line += self.remainder.count(b"\n", 0, offset)
        self.remainder = self.remainder[offset:]

    def read_blocks(self) -> Iterator[TextBlock]:
        """Yield the rest in blocks of whole records, without comments."""
        while not self.is_at_end or self.remainder:
            deadlines.check_deadline()
            if not self.is_at_end and len(self.remainder) < BLOCK_BYTES:
                self.remainder += self._read_more(BLOCK_BYTES)
            if self.is_at_end:
                self._check_quotes_closed()
            if self.is_at_end:
                cut = len(self.remainder)
            else:
                cut = self._find_last_record_end()
            if cut == 0:
                if len(self.remainder) > MAX_RECORD_BYTES:
                    raise SourceError(
                        "a quoted value begins here, but its closing quote is missing in the next 64 MB"
                        if self.quote
                        else "a line is longer than 64 MB",
                        place=TextPlace(file=self.file.name, line=self.line),
                        remedy='write `quote: ""` if quotes are ordinary characters in this file',
                    )
                self.remainder += self._read_more(
                    max(BLOCK_BYTES, len(self.remainder))
                )  # doubling, so that looking again stays cheap
                continue
            data = self.remainder[:cut]
            self.remainder = self.remainder[cut:]
            line = self.line
            self.line = self.line + data.count(b"\n")
            if self.comment is not None and (
                data.startswith((self.comment_prefix, b" ", b"\t"))
                or b"\n" + self.comment_prefix in data
                or b" " + self.comment_prefix in data
            ):
                data = b"".join(self.comment.sub(b"", part) for part in split_into_line_windows(data))
            if data:
                yield TextBlock(data, line)
        self.file.read_to_end()

    def close(self) -> None:
        """Close the file."""
        self.stream.close()

    def _find_last_record_end(self) -> int:
        """Find the end of the last whole record."""
        end = self.remainder.rfind(b"\n") + 1
        while self.has_continuation_lines and self.remainder[:end].rstrip().endswith(b"\\"):
            end = self.remainder.rfind(b"\n", 0, end - 1) + 1
        if self.quote is None or self.remainder.find(self.quote, 0, end) < 0:
            return end
        quick = self._find_last_record_end_fast(end)
        if quick is not None:
            return quick
        cut = before = 0
        closed = True
        for start, stop, closed in self._find_quoted_values():  # noqa: B007  (the last one's)
            cut = self.remainder.rfind(b"\n", before, start + 1) + 1 or cut
            before = stop
        if closed:
            return self.remainder.rfind(b"\n", before) + 1 or cut
        return cut

    def _find_quoted_values(self) -> Iterator[tuple[int, int, bool]]:
        """Yield begin and end of each quoted value, and whether it closes: after a quote that is not doubled.

        The begin includes the character before the quote.
        """
        data = self.remainder
        quote = self.quote or b""
        at = 0
        while at < len(data):
            deadlines.check_deadline()
            match = self.opening_quote_pattern.search(data, at, at + REGEX_WINDOW_BYTES)
            if match is None:
                at += REGEX_WINDOW_BYTES - _MAX_BLANKS_BEFORE_QUOTE - 2
                continue
            stop = match.end()
            while True:
                sign = data.find(quote, stop)
                if sign < 0:
                    yield match.start(), len(data), False
                    return
                stop = self._find_quote_run_end(sign)
                if (stop - sign) % 2:
                    break
            yield match.start(), stop, True
            at = stop

    def _find_quote_run_end(self, sign: int) -> int:
        """Find the end of a row of quotes, or of as many as are looked at at once, an even number."""
        match = self.quote_run_pattern.match(self.remainder, sign, sign + REGEX_WINDOW_BYTES)
        if match is None:
            return sign + 1
        return match.end()

    def _find_last_record_end_fast(self, end: int) -> int | None:
        """Find the same end by whole arrays, where quotes stand as they should; None where one does not.

        Every other quote must begin a field, or follow the one before at once (a doubled quote inside a value): then
        they pair up.
        """
        if len(self.quote_and_delimiter) != 2:
            return None
        bytes_ = np.frombuffer(self.remainder, np.uint8, count=end)
        quotes = np.flatnonzero(bytes_ == self.quote_and_delimiter[0])
        opening = quotes[0::2]
        before = bytes_[opening - 1]  # of a quote at 0 this is the last byte: a line end
        begins = (before == self.quote_and_delimiter[1]) | (before == ord("\n"))
        doubled = np.zeros(len(opening), bool)
        doubled[1:] = opening[1:] == quotes[1::2][: len(opening) - 1] + 1
        if not (begins | doubled).all():
            return None
        lines = np.flatnonzero(bytes_ == ord("\n"))
        outside = np.flatnonzero(np.searchsorted(quotes, lines) % 2 == 0)
        if len(outside):
            return int(lines[outside[-1]]) + 1
        return 0

    def _check_quotes_closed(self) -> None:
        """Refuse a file that ends inside a quoted value: all rows after the quote would silently be one value."""
        if self.quote is None or self.quote not in self.remainder:
            return
        start, closed = 0, True
        for start, _, closed in self._find_quoted_values():  # noqa: B007  (the last one's)
            pass
        if closed:
            return
        start = self.remainder.index(self.quote, start)
        raise SourceError(
            "a quoted value begins here, but its closing quote is missing",
            place=TextPlace(file=self.file.name, line=self.line + self.remainder.count(b"\n", 0, start)),
            remedy='add the closing quote, or write `quote: ""` if quotes are ordinary characters in this file',
        )

    def _read_more(self, size: int) -> bytes:
        data = self.stream.read(size)
        if len(data) < size:
            self.is_at_end = True
        if self.decoder is not None:
            try:
                data = self.decoder.decode(data, final=self.is_at_end).encode()
            except UnicodeDecodeError as error:
                line = self.line + self.remainder.count(b"\n") + data.count(b"\n", 0, error.start)
                raise SourceError(
                    f"byte 0x{data[error.start]:02x} is not valid in {self.encoding}",
                    place=TextPlace(file=self.file.name, line=line),
                    remedy="write the correct `encoding:`",
                ) from error
            except UnicodeError as error:  # utf-16 or utf-32 without a byte order mark
                raise SourceError(
                    f"the file does not begin with the byte order mark of {self.encoding}",
                    place=TextPlace(file=self.file.name, line=1),
                    remedy=f"write `encoding: {self.encoding}-le` or `encoding: {self.encoding}-be`",
                ) from error
        if self.has_cr_line_ends is None and data:
            self.has_cr_line_ends = b"\n" not in data and b"\r" in data
        if self.has_cr_line_ends:
            return data.replace(b"\r", b"\n")
        return data


def split_into_line_windows(data: bytes, quote: bytes = b"") -> Iterator[bytes]:
    """Cut bytes behind line ends into windows; not within a quoted value, unless it is far longer than a window."""
    at = 0
    while at < len(data):
        end = data.find(b"\n", at + REGEX_WINDOW_BYTES) + 1 or len(data)
        if quote:
            inside = data.count(quote, at, end) % 2
        else:
            inside = 0
        while inside and end < len(data) and end - at < 8 * REGEX_WINDOW_BYTES:
            next_line_end = data.find(b"\n", end) + 1 or len(data)
            inside ^= data.count(quote, end, next_line_end) % 2
            end = next_line_end
        yield data[at:end]
        at = end


def check_utf8(block: TextBlock, name: str) -> None:
    """Check that text is UTF-8.

    Raises
    ------
    SourceError
        With line and byte, and the encoding that would fit.
    """
    try:
        block.data.decode()
    except UnicodeDecodeError as error:
        line = block.line + block.data.count(b"\n", 0, error.start)
        column = error.start - (block.data.rfind(b"\n", 0, error.start) + 1) + 1
        raise SourceError(
            f"byte 0x{block.data[error.start]:02x} (byte {column} of the line) is not UTF-8",
            place=TextPlace(file=name, line=line),
            remedy="write `encoding:` with the encoding of the file, such as latin-1",
        ) from error
