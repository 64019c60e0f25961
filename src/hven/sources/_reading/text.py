"""Text files as blocks of whole records: decoded to UTF-8, cut where no quoted value is open, comments taken out."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hven.model import clock
from hven.model.errors import Place, SourceError
from hven.sources._reading.foreign import check_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.sources._reading.files import DataFile, Stream

BLOCK = 4 << 20
HEAD = 1 << 20
LONGEST = 64 << 20  # a record longer than this is a quote that never closes
# bytes that one pass of a regular expression goes over: it holds the interpreter's lock, and others wait
WINDOW = 1 << 17
_BLANKS = 1000  # before a quote
_UTF8 = {"utf-8", "utf_8", "utf8", "ascii", "us-ascii", "utf-8-sig"}


@dataclass(frozen=True, slots=True)
class Block:
    """Whole records.

    Attributes
    ----------
    line
        1-based number of the first line in the file.
    """

    data: bytes
    line: int


class TextFile:
    """Reads a text file once, from front to end.

    Parameters
    ----------
    quote
        The quote character within which line ends do not count, or None.
    comment
        Lines that begin with it are left out, or None.
    continued
        A backslash at the end of a line continues the record in the next one (`set`).
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
        self.stream: Stream = file.open()
        try:
            name = codecs.lookup(encoding).name
        except LookupError as error:
            raise SourceError(
                f"no encoding is called {encoding!r}", remedy="utf-8, latin-1, cp1252, utf-16 ... are known"
            ) from error
        self.decoder = None if name in _UTF8 else codecs.getincrementaldecoder(name)()
        self.line = 1
        self.ended = False
        self.rest = b""
        self.old_mac: bool | None = None
        self.set(quote=quote, comment=comment, delimiter=delimiter)

    def set(self, *, quote: str | None, comment: str | None, delimiter: str, continued: bool = False) -> None:
        """Set how records look, once the head told it."""
        self.continued = continued
        self.quote = quote.encode() if quote else None
        self.comment = (
            re.compile(rb"(?m)^[ \t]*" + re.escape(comment.encode()) + rb"[^\n]*(?:\n|\Z)") if comment else None
        )
        self.sign = comment.encode() if comment else b""
        self.mark = (self.quote or b"") + delimiter.encode()
        if self.quote:
            q, d = re.escape(self.quote), re.escape(delimiter.encode())
            self.opening = re.compile(rb"(?:\A|[\n" + d + rb"])[ ]{0,%d}" % _BLANKS + q)
            self.run = re.compile(q + rb"+")

    def head(self) -> bytes:
        """Peek at the first megabyte, cut at a line end if there is more; `blocks` reads it again."""
        if not self.rest and not self.ended:
            self.rest = self._more(HEAD).removeprefix(b"\xef\xbb\xbf")
        cut = len(self.rest) if self.ended else self.rest.rfind(b"\n") + 1 or len(self.rest)
        return self.rest[:cut]

    def begin(self) -> bytes:
        """Read the head of a file that must be text; close it if it is none.

        Raises
        ------
        SourceError
            It is empty, or something else.
        """
        head = self.head()
        if not head.strip():
            self.close()
            raise SourceError(f"{self.file.name} is empty", remedy="get the file anew, or `ignore:` it")
        try:
            check_bytes(head, self.file.name)
        except SourceError:
            self.close()
            raise
        return head

    def skip(self, offset: int) -> None:
        """Skip bytes of the head."""
        self.line += self.rest.count(b"\n", 0, offset)
        self.rest = self.rest[offset:]

    def blocks(self) -> Iterator[Block]:
        """Yield what is left in blocks of whole records, comments removed."""
        while not self.ended or self.rest:
            clock.check()
            if not self.ended and len(self.rest) < BLOCK:
                self.rest += self._more(BLOCK)
            if self.ended:
                self._closed()
            cut = len(self.rest) if self.ended else self._cut()
            if cut == 0:
                if len(self.rest) > LONGEST:
                    raise SourceError(
                        "a quoted value opens here and does not close within 64 MB"
                        if self.quote
                        else "a line is longer than 64 MB",
                        place=Place(file=self.file.name, line=self.line),
                        remedy='say `quote: ""` if quotes are ordinary characters in this file',
                    )
                self.rest += self._more(max(BLOCK, len(self.rest)))  # doubling, so that looking again stays cheap
                continue
            data, self.rest = self.rest[:cut], self.rest[cut:]
            line, self.line = self.line, self.line + data.count(b"\n")
            if self.comment is not None and (
                data.startswith((self.sign, b" ", b"\t")) or b"\n" + self.sign in data or b" " + self.sign in data
            ):
                data = b"".join(self.comment.sub(b"", part) for part in windows(data))
            if data:
                yield Block(data, line)
        self.file.finish()

    def close(self) -> None:
        """Close the file."""
        self.stream.close()

    def _cut(self) -> int:
        """Find the end of the last whole record."""
        end = self.rest.rfind(b"\n") + 1
        while self.continued and self.rest[:end].rstrip().endswith(b"\\"):
            end = self.rest.rfind(b"\n", 0, end - 1) + 1
        if self.quote is None or self.rest.find(self.quote, 0, end) < 0:
            return end
        quick = self._paired(end)
        if quick is not None:
            return quick
        cut = before = 0
        closed = True
        for start, stop, closed in self._values():  # noqa: B007  (the last one's)
            cut = self.rest.rfind(b"\n", before, start + 1) + 1 or cut
            before = stop
        return (self.rest.rfind(b"\n", before) + 1 or cut) if closed else cut

    def _values(self) -> Iterator[tuple[int, int, bool]]:
        """Yield begin and end of each quoted value, and whether it closes: after a quote that is not doubled. It begins with what stands before it."""
        data, quote = self.rest, self.quote or b""
        at = 0
        while at < len(data):
            clock.check()
            found = self.opening.search(data, at, at + WINDOW)
            if found is None:
                at += WINDOW - _BLANKS - 2
                continue
            stop = found.end()
            while True:
                sign = data.find(quote, stop)
                if sign < 0:
                    yield found.start(), len(data), False
                    return
                stop = self._past(sign)
                if (stop - sign) % 2:
                    break
            yield found.start(), stop, True
            at = stop

    def _past(self, sign: int) -> int:
        """Find the end of a row of quotes, or of as many as are looked at at once, an even number."""
        found = self.run.match(self.rest, sign, sign + WINDOW)
        return sign + 1 if found is None else found.end()

    def _paired(self, end: int) -> int | None:
        """Find the same end by whole arrays, where quotes stand as they should; None where one does not.

        Every other quote must begin a field, or follow the one before at once (a doubled quote inside a value): then they pair up.
        """
        if len(self.mark) != 2:
            return None
        bytes_ = np.frombuffer(self.rest, np.uint8, count=end)
        quotes = np.flatnonzero(bytes_ == self.mark[0])
        opening = quotes[0::2]
        before = bytes_[opening - 1]  # of a quote at 0 this is the last byte: a line end
        begins = (before == self.mark[1]) | (before == ord("\n"))
        doubled = np.zeros(len(opening), bool)
        doubled[1:] = opening[1:] == quotes[1::2][: len(opening) - 1] + 1
        if not (begins | doubled).all():
            return None
        lines = np.flatnonzero(bytes_ == ord("\n"))
        outside = np.flatnonzero(np.searchsorted(quotes, lines) % 2 == 0)
        return int(lines[outside[-1]]) + 1 if len(outside) else 0

    def _closed(self) -> None:
        """Refuse a file that ends inside a quoted value: all rows after the quote would silently be one value."""
        if self.quote is None or self.quote not in self.rest:
            return
        start, closed = 0, True
        for start, _, closed in self._values():  # noqa: B007  (the last one's)
            pass
        if closed:
            return
        start = self.rest.index(self.quote, start)
        raise SourceError(
            "a quoted value opens here and does not close before the file ends",
            place=Place(file=self.file.name, line=self.line + self.rest.count(b"\n", 0, start)),
            remedy='close it, or say `quote: ""` if quotes are ordinary characters in this file',
        )

    def _more(self, size: int) -> bytes:
        data = self.stream.read(size)
        if len(data) < size:
            self.ended = True
        if self.decoder is not None:
            try:
                data = self.decoder.decode(data, final=self.ended).encode()
            except UnicodeDecodeError as error:
                line = self.line + self.rest.count(b"\n") + data.count(b"\n", 0, error.start)
                raise SourceError(
                    f"byte 0x{data[error.start]:02x} is not {self.encoding}",
                    place=Place(file=self.file.name, line=line),
                    remedy="give the right `encoding:`",
                ) from error
        if self.old_mac is None and data:
            self.old_mac = b"\n" not in data and b"\r" in data
        return data.replace(b"\r", b"\n") if self.old_mac else data


def windows(data: bytes, quote: bytes = b"") -> Iterator[bytes]:
    """Cut bytes behind line ends into windows; not within a quoted value, unless it is far longer than a window."""
    at = 0
    while at < len(data):
        end = data.find(b"\n", at + WINDOW) + 1 or len(data)
        inside = data.count(quote, at, end) % 2 if quote else 0
        while inside and end < len(data) and end - at < 8 * WINDOW:
            more = data.find(b"\n", end) + 1 or len(data)
            inside ^= data.count(quote, end, more) % 2
            end = more
        yield data[at:end]
        at = end


def check_utf8(block: Block, name: str) -> None:
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
            place=Place(file=name, line=line),
            remedy="say `encoding: latin-1`, or whichever the file has",
        ) from error
