"""Give readers of media access to files on other servers.

Such a file has the methods of a path that readers use, and opens as a file that is read by ranges.
"""

from __future__ import annotations

import io
from functools import total_ordering
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol, Self, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import PurePosixPath

BUFFER_BYTES = 64 * 1024  # that small reads are taken from
READ_AHEAD_BYTES = 256 * 1024  # read in sequence, after which the following bytes are expected to be needed, too


class RemoteFileBytes(Protocol):
    """The bytes of one state of a file, read by ranges."""

    @property
    def length(self) -> int:
        """Number of bytes."""

    def read_spans(self, span_bytes: int, offsets: Sequence[int], *, read_ahead: bool = False) -> Iterator[bytes]:
        """Read spans of one length at several offsets.

        Parameters
        ----------
        span_bytes
            Bytes of each span.
        offsets
            Offsets of the first bytes.
        read_ahead
            Whether the bytes behind the spans are needed next.

        Yields
        ------
        span
            Spans in the order of the offsets; one is shorter only at the end of the file.
        """


class FileStat(NamedTuple):
    """The facts about a file that readers use."""

    st_size: int


@total_ordering
class RemotePath:
    """A file on another server, or its folder.

    Parameters
    ----------
    path
        Path in its collection.
    find_file
        Find the bytes of a path, if there is such a file; raise an error for the reader if they cannot be had.
    """

    def __init__(self, path: PurePosixPath, find_file: Callable[[str], RemoteFileBytes | None]) -> None:
        self._path = path
        self._find_file = find_file
        self.name = path.name
        self.suffix = path.suffix

    def __str__(self) -> str:
        """Return the name: the path means nothing outside the collection."""
        return self.name

    def __eq__(self, other: object) -> bool:
        """Compare paths."""
        return isinstance(other, RemotePath) and self._path == other._path

    def __lt__(self, other: RemotePath) -> bool:
        """Order by paths."""
        return self._path < other._path

    def __hash__(self) -> int:
        """Hash the path."""
        return hash(self._path)

    def __truediv__(self, name: str) -> RemotePath:
        """Return a path below this one."""
        return RemotePath(self._path / name, self._find_file)

    @property
    def parent(self) -> RemotePath:
        """The folder of the file."""
        return RemotePath(self._path.parent, self._find_file)

    def with_suffix(self, suffix: str) -> RemotePath:
        """Return the path with another extension.

        Parameters
        ----------
        suffix
            Extension with its dot.
        """
        return RemotePath(self._path.with_suffix(suffix), self._find_file)

    def resolve(self) -> Self:
        """Return the path itself, for there are no links."""
        return self

    def is_file(self) -> bool:
        """Return whether the file exists for the current reader."""
        return self._find_file(str(self._path)) is not None

    def is_symlink(self) -> bool:
        """Return False, for there are no links."""
        return False

    def _require_file_bytes(self) -> RemoteFileBytes:
        ranges = self._find_file(str(self._path))
        if ranges is None:
            raise FileNotFoundError(2, "No such file")
        return ranges

    def stat(self) -> FileStat:
        """Return the size of the file."""
        return FileStat(self._require_file_bytes().length)

    def open(self, _mode: str = "rb", buffering: int = BUFFER_BYTES) -> BinaryIO:
        """Open the file for reading.

        Parameters
        ----------
        buffering
            Bytes that small reads are taken from; 0: the usual number.

        Returns
        -------
        file
            File that is read by ranges.
        """
        return cast("BinaryIO", RemoteFileReader(self._require_file_bytes(), buffering or BUFFER_BYTES))


class RemoteFileReader(io.BufferedReader):
    """An open file on another server."""

    def __init__(self, ranges: RemoteFileBytes, buffering: int) -> None:
        super().__init__(_RemoteRawReader(ranges), buffering)
        self.read_spans = ranges.read_spans


class _RemoteRawReader(io.RawIOBase):
    """A reader of ranges; a client that reads on gets the following bytes in advance."""

    def __init__(self, ranges: RemoteFileBytes) -> None:
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
        base_position = (0, self._position, self._ranges.length)[whence]
        at = max(0, offset + base_position)
        if at != self._position:
            self._sequential_bytes = 0
        self._position = at
        return at

    def readinto(self, buffer: Any) -> int:
        remaining_bytes = self._ranges.length - self._position
        size = max(0, min(len(buffer), remaining_bytes))
        if not size:
            return 0
        read_ahead = self._sequential_bytes >= READ_AHEAD_BYTES
        spans = self._ranges.read_spans(size, [self._position], read_ahead=read_ahead)
        part = next(iter(spans))
        buffer[: len(part)] = part
        self._position += len(part)
        self._sequential_bytes += len(part)
        return len(part)


Place = Path | RemotePath
