"""Which files patterns mean: one look at their directories tells names, sizes, times and links, for all tables of a run."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, overload
from weakref import WeakValueDictionary

import numpy as np
import pyarrow as pa

from hven.model.errors import SourceError, nearest
from hven.sources import LISTED, listing
from hven.sources._reading.files import DataFile

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from hven.sources._reading.files import FileOptions

_LONGEST = 255  # bytes of a file's name


class _Found(NamedTuple):
    """A file as its directory has it: where it lies, its directory, bytes, time of its last change in nanoseconds, whether it is a link."""

    path: str
    folder: str
    bytes: int
    time: int
    link: bool


class Listing(Sequence[DataFile]):
    """Files as one look at their directories found them; a `DataFile` is made of those that somebody reads.

    Parameters
    ----------
    found
        The files.
    above
        What their names, as people know them, lack at the begin.
    """

    def __init__(self, found: Sequence[_Found], above: str) -> None:
        self._found, self._above = found, above
        self._made: dict[int, DataFile] = {}
        self._whole: Listing | None = None

    def __len__(self) -> int:
        return len(self._found)

    @overload
    def __getitem__(self, at: int) -> DataFile: ...

    @overload
    def __getitem__(self, at: slice) -> list[DataFile]: ...

    def __getitem__(self, at: int | slice) -> DataFile | list[DataFile]:
        if isinstance(at, slice):
            return [self[place] for place in range(*at.indices(len(self)))]
        place = at + len(self) if at < 0 else at
        if place not in self._made:
            self._made[place] = DataFile(path=Path(self._found[at].path), name=self._names[at])
        return self._made[place]

    @cached_property
    def _names(self) -> list[str]:
        return [one.path.removeprefix(self._above) for one in self._found]

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return sum(one.bytes for one in self._found)

    @property
    def progress(self) -> int:
        """Bytes that were read."""
        return sum(file.progress for file in self._made.values())

    def fresh(self) -> Listing:
        """Return the same files, none of which was read; they are known as long as somebody has some of them."""
        other = Listing(self._found, self._above)
        other._whole, other._names = self, self._names
        return other

    def only(self, names: Collection[str]) -> Listing:
        """Select files by name."""
        wanted = set(names)
        return Listing([one for one, name in zip(self._found, self._names, strict=True) if name in wanted], self._above)

    def anew(self) -> Listing:
        """Look at size and time of each again.

        Raises
        ------
        SourceError
            One is gone.
        """
        try:
            states = [os.stat(one.path) for one in self._found]  # noqa: PTH116  (no Path of each)
        except OSError as error:
            raise SourceError(
                f"{str(error.filename).removeprefix(self._above)} cannot be read: {error.strerror}",
                remedy="look at its permissions",
            ) from error
        found = [one._replace(bytes=now.st_size, time=now.st_mtime_ns) for one, now in zip(self._found, states, strict=True)]  # fmt: skip
        return Listing(found, self._above)

    def table(self) -> pa.Table:
        """List them as `FileWise.listed` does."""
        if not self._found:
            return listing([])
        _, _, sizes, moments, _ = zip(*self._found, strict=True)
        try:
            times = np.array(moments, np.int64).astype("datetime64[ns]")
        except OverflowError:  # of another century than ours
            return listing(file.fresh().listing() for file in self)
        columns = {
            "name": pa.array(self._names, pa.string()),
            "bytes": pa.array(sizes, pa.int64()),
            "modified": pa.array(np.datetime_as_string(times, unit="ns", timezone="UTC"), pa.string()),
        }
        return pa.table([columns.get(item.name, pa.nulls(len(sizes), item.type)) for item in LISTED], LISTED)

    def check_links(self, roots: Iterable[Path]) -> None:
        """Check that none of them is a link that leads out of some directories.

        Raises
        ------
        SourceError
            As `check_link`.
        """
        _check_links(self._found, roots, self._above)


# those of the runs that are under way: two tables of the same files look once
_SHARED: WeakValueDictionary[tuple[object, ...], Listing] = WeakValueDictionary()


def data_files(options: FileOptions, directory: Path, roots: Sequence[Path] = (), run: str = "") -> Listing:
    """Resolve the patterns to existing files, sorted within each pattern, none twice, each named by its path below a directory.

    Parameters
    ----------
    roots
        Directories that links may lead into, beside `directory` and what the patterns themselves name.
    run
        Who asks again in one run is given what was found first; empty: nobody does.

    Raises
    ------
    SourceError
        A pattern matches nothing (the remedy names what is there); a file that it matches is a link that leads elsewhere; a directory cannot be listed.
    """
    key = (run, directory, *roots, "", *options.files, "", *options.ignore)
    known = _SHARED.get(key) if run else None
    if known is None:
        known = Listing(_find(options, directory, roots), f"{os.fspath(directory)}/")
        if run:
            _SHARED[key] = known
    return known.fresh()


def _find(options: FileOptions, directory: Path, roots: Sequence[Path]) -> list[_Found]:
    found: dict[str, _Found] = {}
    for pattern in options.files:
        named = _named(pattern, directory)
        meant = _expand(pattern, directory)
        for ignored in options.ignore:
            deep = {os.fspath(path) for path in _quiet(ignored, directory)} if "**" in ignored else ()
            meant = [one for one in meant if one.path not in deep and not _matches(Path(one.path), ignored, directory)]
        _check_links(meant, (directory, *roots, named))
        found |= {one.path: one for one in meant}
    if not found:
        raise SourceError(
            f"no file is left of {', '.join(options.files)}", remedy=f"loosen `ignore` ({', '.join(options.ignore)})"
        )
    return list(found.values())


def check_link(path: Path, name: str, roots: Iterable[Path]) -> None:
    """Check that a file is what and where it seems to be: whoever may write beside the data could lead us to any file of this machine.

    Raises
    ------
    SourceError
        It is, or lies behind, a link that leads out of all of `roots`.
    """
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError):  # gone, or round and round: whoever opens it says so
        return
    if not any(real.is_relative_to(root.resolve()) for root in roots):
        raise SourceError(
            f"{name} is a link that leads out of the collection",
            remedy=f'if that is meant, say so in hven.toml: roots = ["{real.parent}"]',
        )


def _check_links(files: Sequence[_Found], roots: Iterable[Path], above: str | None = None) -> None:
    """Check many files as `check_link` does one; where each directory really is, is looked up once."""
    real = [root.resolve() for root in roots]
    inside = {
        folder: any(Path(folder).resolve().is_relative_to(root) for root in real)
        for folder in {one.folder for one in files}
    }
    for one in files:
        if one.link or not inside[one.folder]:
            name = one.path.rpartition("/")[2] if above is None else one.path.removeprefix(above)
            check_link(Path(one.path), name, real)


def _named(pattern: str, directory: Path) -> Path:
    """Find what a pattern names before its first sign: the file, or the directory in which it looks."""
    path = directory / Path(pattern).expanduser()
    while any(sign in str(path) for sign in "*?["):
        path = path.parent
    return path


def _expand(pattern: str, directory: Path) -> list[_Found]:
    if (
        "\0" in pattern
        or any(len(part.encode("utf-8", "replace")) > _LONGEST for part in pattern.split("/"))
        or len(pattern) > 16 * _LONGEST
    ):
        raise SourceError(
            f"no file can be called {pattern[:60]!r} ..", remedy=f"at most {_LONGEST} bytes between two slashes"
        )
    path = directory / Path(pattern).expanduser()
    if path.is_file():
        return list(_looked([path]))
    if not any(sign in pattern for sign in "*?["):
        if path.is_dir():
            raise SourceError(
                f"{pattern} is a directory", remedy=f"write `files: {pattern.rstrip('/')}/*` for the files in it"
            )
        raise SourceError(f"no file {pattern}{_where(pattern, directory)}", remedy=_nearest(path))
    anchor = Path(path.anchor) if Path(pattern).is_absolute() else directory
    relative = str(path.relative_to(anchor)) if Path(pattern).is_absolute() else pattern
    try:
        # case matters on every system, so that a site can move
        matches = sorted(_fitting(anchor, relative), key=lambda one: one.path.replace("/", "\0"))  # part by part
    except (ValueError, NotImplementedError) as error:
        raise SourceError(
            f"the file pattern {pattern!r} cannot be used: {error}", remedy="`**` must stand alone between slashes"
        ) from error
    except OSError as error:  # what is not listed is not gone
        raise SourceError(
            f"{error.filename or pattern} cannot be listed: {error.strerror}",
            remedy="look at its permissions, and whether its disk is there",
        ) from error
    if not matches:
        raise SourceError(f"no file matches {pattern}{_where(pattern, directory)}", remedy=_nearest(path))
    return matches


def _fitting(anchor: Path, pattern: str) -> Iterator[_Found]:
    """Find the files that fit a pattern; what a directory tells of its entries is not asked of each again."""
    head, _, last = pattern.rpartition("/")
    if "**" in last or not any(sign in last for sign in "*?["):
        yield from _looked(item for item in anchor.glob(pattern) if item.is_file())
        return
    fits = re.compile(fnmatch.translate(last)).match
    for folder in anchor.glob(head) if any(sign in head for sign in "*?[") else [anchor / head]:
        text = os.fspath(folder)
        begin = "" if folder == Path() else os.path.join(text, "")  # noqa: PTH118  (a text)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(text) as entries:
            for entry in entries:
                if fits(entry.name) and _is_file(entry):
                    try:
                        known = entry.stat()
                    except FileNotFoundError:  # gone since
                        continue
                    yield _Found(begin + entry.name, text, known.st_size, known.st_mtime_ns, entry.is_symlink())


def _looked(paths: Iterable[Path]) -> Iterator[_Found]:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            known = path.stat()
            yield _Found(os.fspath(path), os.fspath(path.parent), known.st_size, known.st_mtime_ns, path.is_symlink())


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link that leads round and round
        return False


def _where(pattern: str, directory: Path) -> str:
    return "" if Path(pattern).expanduser().is_absolute() else f" in {directory}"


def _nearest(path: Path) -> str:
    folder = path.parent
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    try:
        there = sorted(item.name for item in folder.iterdir())
    except OSError:
        there = []
    if near := nearest(path.name, there):
        return near
    return f"{folder} holds {', '.join(there[:5])}{' ...' if len(there) > 5 else ''}" if there else f"{folder} is empty"


def _matches(path: Path, pattern: str, directory: Path) -> bool:
    try:
        relative = path.relative_to(directory)
    except ValueError:
        relative = path
    return relative.match(pattern)  # from the right: `*_old*` meets any file name


def _quiet(pattern: str, directory: Path) -> Iterable[Path]:
    try:
        return list(directory.glob(pattern))
    except (ValueError, NotImplementedError):
        return []
