"""Files on other servers, as readers of media use them: with what they ask of a path, and opened as a file that is read by ranges."""

from __future__ import annotations

import io
from functools import total_ordering
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol, Self, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import PurePosixPath

BUFFER = 64 * 1024  # bytes that small reads are taken from
LONG = 256 * 1024  # bytes one behind the other, after which the next are expected to be wanted, too


class Ranges(Protocol):
    """The bytes of a file, read by ranges; they are of one state of it."""

    @property
    def length(self) -> int:
        """How many there are."""

    def spans(self, size: int, places: Sequence[int], *, going_on: bool = False) -> Iterator[bytes]:
        """Read as many bytes at each of these places.

        Parameters
        ----------
        size
            Of each span.
        places
            Their first bytes.
        going_on
            What lies behind them is wanted next.

        Yields
        ------
        span
            In the order of the places; less only at the file's end.
        """


class Stat(NamedTuple):
    """What of a file's facts is asked for."""

    st_size: int


@total_ordering
class Distant:
    """A file elsewhere, or its folder.

    Parameters
    ----------
    path
        In its collection.
    look
        Finds the bytes of a path, if there is such a file; raises what is to be said where it cannot be had.
    """

    def __init__(self, path: PurePosixPath, look: Callable[[str], Ranges | None]) -> None:
        self._path, self._look = path, look
        self.name, self.suffix = path.name, path.suffix

    def __str__(self) -> str:
        """Write its name: nobody else can open its path."""
        return self.name

    def __eq__(self, other: object) -> bool:
        """Compare paths."""
        return isinstance(other, Distant) and self._path == other._path

    def __lt__(self, other: Distant) -> bool:
        """Order by paths."""
        return self._path < other._path

    def __hash__(self) -> int:
        """Hash the path."""
        return hash(self._path)

    def __truediv__(self, name: str) -> Distant:
        """Return what is below it."""
        return Distant(self._path / name, self._look)

    @property
    def parent(self) -> Distant:
        """Its folder."""
        return Distant(self._path.parent, self._look)

    def with_suffix(self, suffix: str) -> Distant:
        """Return the same with another ending.

        Parameters
        ----------
        suffix
            With its point.
        """
        return Distant(self._path.with_suffix(suffix), self._look)

    def resolve(self) -> Self:
        """Return itself: nothing there is a link."""
        return self

    def is_file(self) -> bool:
        """Return whether it is there, for who asks."""
        return self._look(str(self._path)) is not None

    def is_symlink(self) -> bool:
        """Return that it is none."""
        return False

    def _found(self) -> Ranges:
        found = self._look(str(self._path))
        if found is None:
            raise FileNotFoundError(2, "No such file")
        return found

    def stat(self) -> Stat:
        """Tell its size."""
        return Stat(self._found().length)

    def open(self, _mode: str = "rb", buffering: int = BUFFER) -> BinaryIO:
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
        return cast("BinaryIO", Opened(self._found(), buffering or BUFFER))


class Opened(io.BufferedReader):
    """A file elsewhere that is read."""

    def __init__(self, ranges: Ranges, buffering: int) -> None:
        super().__init__(_Raw(ranges), buffering)
        self.spans = ranges.spans


class _Raw(io.RawIOBase):
    """Reads what is asked for; who reads on gets what comes next in advance."""

    def __init__(self, ranges: Ranges) -> None:
        self._ranges, self._at, self._run = ranges, 0, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        at = max(0, offset + (0, self._at, self._ranges.length)[whence])
        self._run = self._run if at == self._at else 0
        self._at = at
        return at

    def readinto(self, buffer: Any) -> int:
        size = max(0, min(len(buffer), self._ranges.length - self._at))
        if not size:
            return 0
        part = next(iter(self._ranges.spans(size, [self._at], going_on=self._run >= LONG)))
        buffer[: len(part)] = part
        self._at += len(part)
        self._run += len(part)
        return len(part)


Place = Path | Distant

__all__ = ["Distant", "Place", "Ranges"]
