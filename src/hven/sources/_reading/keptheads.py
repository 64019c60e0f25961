"""What was read of the heads of files: read side by side where a disk makes wait, and kept by size and time, so that the next run reads what changed."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zstandard

from hven.model.errors import Place, SourceError, TooLarge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hven.sources._reading.files import DataFile

LOT = 512  # files that are looked up, and written down, together
LOOK = 16  # files after which it is seen whether one waits for them
RACY = 2.0  # seconds: what changed so lately may change again without another time
DAYS = 100  # after which what nobody asked for is forgotten
MOST = 4 << 30  # bytes of the database
_LONGEST = 16 << 20  # bytes of what is kept of a file
_TABLE = "CREATE TABLE IF NOT EXISTS heads (what TEXT, path TEXT, size INTEGER, modified INTEGER, said BLOB, asked INTEGER, PRIMARY KEY (what, path)) WITHOUT ROWID"
_gates: dict[tuple[int, int], threading.BoundedSemaphore] = {}
_lock = threading.Lock()


@dataclass(slots=True)
class Heads:
    """What is said at the head of a file.

    Attributes
    ----------
    rows
        One or more, by keyword; texts, numbers, true and false, None, lists and maps of these.
    comments
        By keyword.
    """

    rows: list[dict[str, Any]]
    comments: dict[str, str] = field(default_factory=dict)


class Kept:
    """A database of heads below ``var/``; where it cannot be read or written, everything is read anew.

    Parameters
    ----------
    place
        Of the file.
    what
        Which heads they are: the same file may be read in several ways.
    """

    def __init__(self, place: Path, what: str) -> None:
        self._what, self._pack, self._unpack = what, zstandard.ZstdCompressor(1), zstandard.ZstdDecompressor()
        self._link: sqlite3.Connection | None = None
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            self._link = sqlite3.connect(place, timeout=5.0)
            self._link.executescript(f"PRAGMA journal_mode=TRUNCATE; PRAGMA synchronous=OFF; {_TABLE}")
            self._full = place.stat().st_size > MOST
        except (sqlite3.Error, OSError):
            self.close()

    def known(self, files: Sequence[DataFile]) -> dict[Path, Heads]:
        """Look files up, as they are now."""
        if self._link is None:
            return {}
        by_path = {str(file.path): file for file in files}
        marks = ", ".join("?" * len(by_path))
        found: dict[Path, Heads] = {}
        try:
            rows = self._link.execute(
                f"SELECT path, size, modified, said FROM heads WHERE what = ? AND path IN ({marks})",
                (self._what, *by_path),
            )
            for path, size, modified, said in rows:
                file = by_path[path]
                if (size, modified) == (file.stat.st_size, file.stat.st_mtime_ns):
                    one = json.loads(self._unpack.decompress(said, _LONGEST))
                    found[file.path] = Heads(one["rows"], one["comments"])
        except (sqlite3.Error, OSError, ValueError, KeyError, zstandard.ZstdError):
            return {}
        return found

    def keep(self, read: Sequence[tuple[DataFile, Heads]], asked: Sequence[DataFile]) -> None:
        """Write down what was read, and what was asked for."""
        if self._link is None:
            return
        now = time.time()
        lines = []
        for file, heads in read:
            said = json.dumps({"rows": heads.rows, "comments": heads.comments}, separators=(",", ":")).encode()
            if len(said) <= _LONGEST and file.stat.st_mtime < now - RACY and not self._full:
                fact = (file.stat.st_size, file.stat.st_mtime_ns)
                lines.append((self._what, str(file.path), *fact, self._pack.compress(said), int(now)))
        day = int(now) - 86_400
        try:
            with self._link:
                self._link.executemany("INSERT OR REPLACE INTO heads VALUES (?, ?, ?, ?, ?, ?)", lines)
                self._link.executemany(
                    "UPDATE heads SET asked = ? WHERE what = ? AND path = ? AND asked < ?",
                    [(int(now), self._what, str(file.path), day) for file in asked],
                )
        except sqlite3.Error:
            self.close()

    def tidy(self) -> None:
        """Forget what nobody asked for in a long time."""
        if self._link is not None:
            try:
                with self._link:
                    self._link.execute("DELETE FROM heads WHERE asked < ?", (int(time.time()) - DAYS * 86_400,))
            except sqlite3.Error:
                self.close()

    def close(self) -> None:
        """Close the database."""
        if self._link is not None:
            self._link.close()
            self._link = None


def heads_of(
    files: Sequence[DataFile], read: Callable[[DataFile], Heads], at_once: int, kept: Kept | None
) -> Iterator[tuple[DataFile, Heads | SourceError]]:
    """Read the heads of files, each as it is now.

    Parameters
    ----------
    read
        Reads one; `SourceError` where it cannot be read.
    at_once
        Files of one mount that are read at the same time, if one waits for them more than one works on them.
    kept
        What was read before.

    Yields
    ------
    file, heads
        In the order of the files; what is wrong with it, of one that cannot be read or that was changed meanwhile.
    """
    rest = iter(files)
    pace = _Pace()
    while lot := list(islice(rest, LOT)):
        there = pace.there(lot, at_once)
        known = kept.known(there) if kept is not None else {}
        fresh = [file for file in lot if file.path not in known]
        found = dict(zip((file.path for file in fresh), pace.all(fresh, read, at_once), strict=True))
        if kept is not None:
            good = [(file, one) for file in fresh if isinstance(one := found[file.path], Heads)]
            kept.keep(good, [file for file in there if file.path in known])
        for file in lot:
            yield file, known.get(file.path) or found[file.path]


class _Pace:
    """Reads one after the other, or side by side if that helps: threads only help who waits."""

    def __init__(self) -> None:
        self.count, self.wall, self.work = 0, 0.0, 0.0

    @property
    def waits(self) -> bool:
        """One waited longer than one worked."""
        return self.count >= LOOK and self.wall >= 2.0 * self.work

    def there(self, files: Sequence[DataFile], at_once: int) -> list[DataFile]:
        """Look at files: those of other servers side by side."""
        if isinstance(files[0].place, Path):
            return [file for file in files if file.look()]
        with ThreadPoolExecutor(at_once, "hven-heads") as pool:
            return [file for file, there in zip(files, pool.map(lambda file: file.look(), files), strict=True) if there]

    def all(self, files: Sequence[DataFile], read: Callable[[DataFile], Heads], at_once: int) -> list[Heads | SourceError]:  # fmt: skip
        found: list[Heads | SourceError] = []
        while len(found) < len(files) and (at_once < 2 or not self.waits):
            begun, worked = time.monotonic(), time.thread_time()
            found.append(_one(files[len(found)], read))
            self.count += 1
            self.wall += time.monotonic() - begun
            self.work += time.thread_time() - worked
        if rest := files[len(found) :]:
            with ThreadPoolExecutor(at_once, "hven-heads") as pool:
                found += pool.map(lambda file: _gated(file, read, at_once), rest)
        return found


def _gated(file: DataFile, read: Callable[[DataFile], Heads], at_once: int) -> Heads | SourceError:
    """Read one when fewer than so many of its mount are being read, by whichever source."""
    try:
        key = (file.stat.st_dev, at_once)
    except OSError:
        return _one(file, read)
    with _lock:
        gate = _gates.setdefault(key, threading.BoundedSemaphore(at_once))
    with gate:
        return _one(file, read)


def _one(file: DataFile, read: Callable[[DataFile], Heads]) -> Heads | SourceError:
    try:
        before = (file.stat.st_size, file.stat.st_mtime_ns)
        found = read(file)
        now = file.state()
    except OSError as error:
        why = error.strerror or type(error).__name__
        return SourceError(f"cannot be read: {why}", place=Place(file=file.name), remedy="look at its permissions")
    except SourceError as error:
        return error
    except TooLarge as error:
        return SourceError(error.message, place=Place(file=file.name), remedy=error.remedy)
    if now != before:
        return SourceError("was changed while it was read", place=Place(file=file.name), remedy="ingest again when it is whole")  # fmt: skip
    return found
