"""Files on other servers, as readers of media use them.

With what they ask of a path, and opened as a file that is read by ranges.
"""

from __future__ import annotations

import io
from functools import total_ordering
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol, Self, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import PurePosixPath

BUFFER_BYTES = 64 * 1024  # bytes that small reads are taken from
READ_AHEAD_BYTES = 256 * 1024  # bytes one behind the other, after which the next are expected to be wanted, too


class ByteRanges(Protocol):
    """The bytes of a file, read by ranges; they are of one state of it."""

    @property
    def length(self) -> int:
        """How many there are."""

    def read_spans(self, span_bytes: int, offsets: Sequence[int], *, read_ahead: bool = False) -> Iterator[bytes]:
        """Read as many bytes at each of these places.

        Parameters
        ----------
        span_bytes
            Of each span.
        offsets
            Their first bytes.
        read_ahead
            What lies behind them is wanted next.

        Yields
        ------
        span
            In the order of the places; less only at the file's end.
        """


class FileStat(NamedTuple):
    """What of a file's facts is asked for."""

    st_size: int


@total_ordering
class RemoteFile:
    """A file elsewhere, or its folder.

    Parameters
    ----------
    path
        In its collection.
    find_file
        Finds the bytes of a path, if there is such a file; raises what is to be said where it cannot be had.
    """

    def __init__(self, path: PurePosixPath, find_file: Callable[[str], ByteRanges | None]) -> None:
        self._path = path
        self._find_file = find_file
        self.name = path.name
        self.suffix = path.suffix

    def __str__(self) -> str:
        """Write its name: nobody else can open its path."""
        return self.name

    def __eq__(self, other: object) -> bool:
        """Compare paths."""
        return isinstance(other, RemoteFile) and self._path == other._path

    def __lt__(self, other: RemoteFile) -> bool:
        """Order by paths."""
        return self._path < other._path

    def __hash__(self) -> int:
        """Hash the path."""
        return hash(self._path)

    def __truediv__(self, name: str) -> RemoteFile:
        """Return what is below it."""
        return RemoteFile(self._path / name, self._find_file)

    @property
    def parent(self) -> RemoteFile:
        """Its folder."""
        return RemoteFile(self._path.parent, self._find_file)

    def with_suffix(self, suffix: str) -> RemoteFile:
        """Return the same with another ending.

        Parameters
        ----------
        suffix
            With its point.
        """
        return RemoteFile(self._path.with_suffix(suffix), self._find_file)

    def resolve(self) -> Self:
        """Return itself: nothing there is a link."""
        return self

    def is_file(self) -> bool:
        """Return whether it is there, for who asks."""
        return self._find_file(str(self._path)) is not None

    def is_symlink(self) -> bool:
        """Return that it is none."""
        return False

    def _require_ranges(self) -> ByteRanges:
        ranges = self._find_file(str(self._path))
        if ranges is None:
            raise FileNotFoundError(2, "No such file")
        return ranges

    def stat(self) -> FileStat:
        """Tell its size."""
        return FileStat(self._require_ranges().length)

    def open(self, _mode: str = "rb", buffering: int = BUFFER_BYTES) -> BinaryIO:
        """Open it for reading.

        Parameters
        ----------
        buffering
            Bytes that small reads are taken from; 0: as many as are usual.

        Returns
        -------
        file
            Read by ranges.
        """
        return cast("BinaryIO", RemoteFileReader(self._require_ranges(), buffering or BUFFER_BYTES))


class RemoteFileReader(io.BufferedReader):
    """A file elsewhere that is read."""

    def __init__(self, ranges: ByteRanges, buffering: int) -> None:
        super().__init__(_RemoteRawReader(ranges), buffering)
        self.read_spans = ranges.read_spans


class _RemoteRawReader(io.RawIOBase):
    """Reads what is asked for; who reads on gets what comes next in advance."""

    def __init__(self, ranges: ByteRanges) -> None:
        self._ranges = ranges
        self._position = 0
        self._sequential_bytes = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        at = max(0, offset + (0, self._position, self._ranges.length)[whence])
        if at == self._position:
            self._sequential_bytes = self._sequential_bytes
        else:
            self._sequential_bytes = 0
        self._position = at
        return at

    def readinto(self, buffer: Any) -> int:
        size = max(0, min(len(buffer), self._ranges.length - self._position))
        if not size:
            return 0
        spans = self._ranges.read_spans(size, [self._position], read_ahead=self._sequential_bytes >= READ_AHEAD_BYTES)
        part = next(iter(spans))
        buffer[: len(part)] = part
        self._position += len(part)
        self._sequential_bytes += len(part)
        return len(part)


Place = Path | RemoteFile

__all__ = ["ByteRanges", "Place", "RemoteFile"]
