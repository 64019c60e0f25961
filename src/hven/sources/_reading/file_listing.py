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

from hven.model.errors import SourceError, suggest_spelling
from hven.sources import FILE_LIST_SCHEMA, build_file_list
from hven.sources._reading.data_files import DataFile

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from hven.sources._reading.data_files import FileOptions

_MAX_NAME_BYTES = 255  # bytes of a file's name


class _ListedFile(NamedTuple):
    """A file as its directory has it.

    Where it lies, its directory, bytes, time of its last change in nanoseconds, whether it is a link.
    """

    path: str
    folder: str
    byte_count: int
    mtime_ns: int
    is_link: bool


class FileListing(Sequence[DataFile]):
    """Files as one look at their directories found them; a `DataFile` is made of those that somebody reads.

    Parameters
    ----------
    listed_files
        The files.
    path_prefix
        What their names, as people know them, lack at the begin.
    """

    def __init__(self, listed_files: Sequence[_ListedFile], path_prefix: str) -> None:
        self._listed_files = listed_files
        self._path_prefix = path_prefix
        self._data_files: dict[int, DataFile] = {}
        self._shared_listing: FileListing | None = None

    def __len__(self) -> int:
        return len(self._listed_files)

    @overload
    def __getitem__(self, at: int) -> DataFile: ...

    @overload
    def __getitem__(self, at: slice) -> list[DataFile]: ...

    def __getitem__(self, at: int | slice) -> DataFile | list[DataFile]:
        if isinstance(at, slice):
            return [self[place] for place in range(*at.indices(len(self)))]
        if at < 0:
            place = at + len(self)
        else:
            place = at
        if place not in self._data_files:
            self._data_files[place] = DataFile(path=Path(self._listed_files[at].path), name=self._names[at])
        return self._data_files[place]

    @cached_property
    def _names(self) -> list[str]:
        return [listed_file.path.removeprefix(self._path_prefix) for listed_file in self._listed_files]

    @property
    def total_bytes(self) -> int:
        """Bytes of all files."""
        return sum(listed_file.byte_count for listed_file in self._listed_files)

    @property
    def bytes_read(self) -> int:
        """Bytes that were read."""
        return sum(file.progress for file in self._data_files.values())

    def copy_unread(self) -> FileListing:
        """Return the same files, none of which was read; they are known as long as somebody has some of them."""
        other = FileListing(self._listed_files, self._path_prefix)
        other._shared_listing = self
        other._names = self._names
        return other

    def select_files(self, file_names: Collection[str]) -> FileListing:
        """Select files by name."""
        wanted_names = set(file_names)
        return FileListing(
            [
                listed_file
                for listed_file, name in zip(self._listed_files, self._names, strict=True)
                if name in wanted_names
            ],
            self._path_prefix,
        )

    def refresh_stats(self) -> FileListing:
        """Look at size and time of each again.

        Raises
        ------
        SourceError
            One is gone.
        """
        try:
            # no Path of each
            states = [os.stat(listed_file.path) for listed_file in self._listed_files]  # noqa: PTH116
        except OSError as error:
            raise SourceError(
                f"{str(error.filename).removeprefix(self._path_prefix)} cannot be read: {error.strerror}",
                remedy="look at its permissions",
            ) from error
        refreshed = [
            listed_file._replace(byte_count=now.st_size, mtime_ns=now.st_mtime_ns)
            for listed_file, now in zip(self._listed_files, states, strict=True)
        ]
        return FileListing(refreshed, self._path_prefix)

    def to_arrow_table(self) -> pa.Table:
        """List them as `FileListSource.list_files` does."""
        if not self._listed_files:
            return build_file_list([])
        _, _, sizes, moments, _ = zip(*self._listed_files, strict=True)
        try:
            times = np.array(moments, np.int64).astype("datetime64[ns]")
        except OverflowError:  # of another century than ours
            return build_file_list(file.copy_unread().describe_version() for file in self)
        columns = {
            "name": pa.array(self._names, pa.string()),
            "bytes": pa.array(sizes, pa.int64()),
            "modified": pa.array(np.datetime_as_string(times, unit="ns", timezone="UTC"), pa.string()),
        }
        return pa.table(
            [columns.get(item.name, pa.nulls(len(sizes), item.type)) for item in FILE_LIST_SCHEMA], FILE_LIST_SCHEMA
        )

    def check_links(self, roots: Iterable[Path]) -> None:
        """Check that none of them is a link that leads out of some directories.

        Raises
        ------
        SourceError
            As `check_link`.
        """
        _check_links(self._listed_files, roots, self._path_prefix)


# those of the runs that are under way: two tables of the same files look once
_SHARED_LISTINGS: WeakValueDictionary[tuple[object, ...], FileListing] = WeakValueDictionary()


def find_data_files(
    options: FileOptions, directory: Path, allowed_roots: Sequence[Path] = (), run_name: str = ""
) -> FileListing:
    """Resolve the patterns to existing files, sorted within each pattern, none twice, each named by its path below a directory.

    Parameters
    ----------
    allowed_roots
        Directories that links may lead into, beside `directory` and what the patterns themselves name.
    run_name
        Who asks again in one run is given what was found first; empty: nobody does.

    Raises
    ------
    SourceError
        A pattern matches nothing (the remedy names what is there); a file that it matches is a link that leads
        elsewhere; a directory cannot be listed.
    """
    key = (run_name, directory, *allowed_roots, "", *options.files, "", *options.ignore)
    if run_name:
        shared_listing = _SHARED_LISTINGS.get(key)
    else:
        shared_listing = None
    if shared_listing is None:
        files = _find_files(options, directory, allowed_roots)
        shared_listing = FileListing(files, f"{os.fspath(directory)}/")
        if run_name:
            _SHARED_LISTINGS[key] = shared_listing
    return shared_listing.copy_unread()


def _find_files(options: FileOptions, directory: Path, allowed_roots: Sequence[Path]) -> list[_ListedFile]:
    files_by_path: dict[str, _ListedFile] = {}
    for pattern in options.files:
        fixed_path = _find_fixed_path(pattern, directory)
        matched_files = _expand_pattern(pattern, directory)
        for ignored in options.ignore:
            ignored_paths = (
                {os.fspath(path) for path in _list_glob_matches(ignored, directory)} if "**" in ignored else ()
            )
            matched_files = [
                matched_file
                for matched_file in matched_files
                if matched_file.path not in ignored_paths
                and not _is_pattern_match(Path(matched_file.path), ignored, directory)
            ]
        _check_links(matched_files, (directory, *allowed_roots, fixed_path))
        files_by_path |= {matched_file.path: matched_file for matched_file in matched_files}
    if not files_by_path:
        raise SourceError(
            f"no file is left of {', '.join(options.files)}", remedy=f"loosen `ignore` ({', '.join(options.ignore)})"
        )
    return list(files_by_path.values())


def check_link(path: Path, name: str, allowed_roots: Iterable[Path]) -> None:
    """Check that a file is what and where it seems to be.

    Whoever may write beside the data could lead us to any file of this machine.

    Raises
    ------
    SourceError
        It is, or lies behind, a link that leads out of all of `allowed_roots`.
    """
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError):  # gone, or round and round: whoever opens it says so
        return
    if not any(real.is_relative_to(root.resolve()) for root in allowed_roots):
        raise SourceError(
            f"{name} is a link that leads out of the collection",
            remedy=f'if that is meant, say so in hven.toml: roots = ["{real.parent}"]',
        )


def _check_links(files: Sequence[_ListedFile], allowed_roots: Iterable[Path], path_prefix: str | None = None) -> None:
    """Check many files as `check_link` does one; where each directory really is, is looked up once."""
    real = [root.resolve() for root in allowed_roots]
    inside = {
        folder: any(Path(folder).resolve().is_relative_to(root) for root in real)
        for folder in {listed_file.folder for listed_file in files}
    }
    for listed_file in files:
        if listed_file.is_link or not inside[listed_file.folder]:
            if path_prefix is None:
                name = listed_file.path.rpartition("/")[2]
            else:
                name = listed_file.path.removeprefix(path_prefix)
            check_link(Path(listed_file.path), name, real)


def _find_fixed_path(pattern: str, directory: Path) -> Path:
    """Find what a pattern names before its first sign: the file, or the directory in which it looks."""
    path = directory / Path(pattern).expanduser()
    while any(sign in str(path) for sign in "*?["):
        path = path.parent
    return path


def _expand_pattern(pattern: str, directory: Path) -> list[_ListedFile]:
    if (
        "\0" in pattern
        or any(len(part.encode("utf-8", "replace")) > _MAX_NAME_BYTES for part in pattern.split("/"))
        or len(pattern) > 16 * _MAX_NAME_BYTES
    ):
        raise SourceError(
            f"no file can be called {pattern[:60]!r} ..", remedy=f"at most {_MAX_NAME_BYTES} bytes between two slashes"
        )
    path = directory / Path(pattern).expanduser()
    if path.is_file():
        return list(_inspect_files([path]))
    if not any(sign in pattern for sign in "*?["):
        if path.is_dir():
            raise SourceError(
                f"{pattern} is a directory", remedy=f"write `files: {pattern.rstrip('/')}/*` for the files in it"
            )
        raise SourceError(f"no file {pattern}{_describe_directory(pattern, directory)}", remedy=_suggest_path(path))
    if Path(pattern).is_absolute():
        anchor = Path(path.anchor)
    else:
        anchor = directory
    if Path(pattern).is_absolute():
        relative = str(path.relative_to(anchor))
    else:
        relative = pattern
    try:
        # case matters on every system, so that a site can move
        matches = sorted(
            _scan_matching(anchor, relative), key=lambda match: match.path.replace("/", "\0")
        )  # part by part
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
        raise SourceError(
            f"no file matches {pattern}{_describe_directory(pattern, directory)}", remedy=_suggest_path(path)
        )
    return matches


def _scan_matching(anchor: Path, pattern: str) -> Iterator[_ListedFile]:
    """Find the files that fit a pattern; what a directory tells of its entries is not asked of each again."""
    head, _, last = pattern.rpartition("/")
    if "**" in last or not any(sign in last for sign in "*?["):
        yield from _inspect_files(item for item in anchor.glob(pattern) if item.is_file())
        return
    fits = re.compile(fnmatch.translate(last)).match
    for folder in anchor.glob(head) if any(sign in head for sign in "*?[") else [anchor / head]:
        text = os.fspath(folder)
        begin = "" if folder == Path() else os.path.join(text, "")  # noqa: PTH118  (a text)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(text) as entries:
            for entry in entries:
                if fits(entry.name) and _is_file(entry):
                    try:
                        file_stat = entry.stat()
                    except FileNotFoundError:  # gone since
                        continue
                    yield _ListedFile(
                        begin + entry.name, text, file_stat.st_size, file_stat.st_mtime_ns, entry.is_symlink()
                    )


def _inspect_files(paths: Iterable[Path]) -> Iterator[_ListedFile]:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            file_stat = path.stat()
            yield _ListedFile(
                os.fspath(path), os.fspath(path.parent), file_stat.st_size, file_stat.st_mtime_ns, path.is_symlink()
            )


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link that leads round and round
        return False


def _describe_directory(pattern: str, directory: Path) -> str:
    if Path(pattern).expanduser().is_absolute():
        return ""
    return f" in {directory}"


def _suggest_path(path: Path) -> str:
    folder = path.parent
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    try:
        entry_names = sorted(item.name for item in folder.iterdir())
    except OSError:
        entry_names = []
    near = suggest_spelling(path.name, entry_names)
    if near:
        return near
    if entry_names:
        return f"{folder} holds {', '.join(entry_names[:5])}{' ...' if len(entry_names) > 5 else ''}"
    return f"{folder} is empty"


def _is_pattern_match(path: Path, pattern: str, directory: Path) -> bool:
    try:
        relative = path.relative_to(directory)
    except ValueError:
        relative = path
    return relative.match(pattern)  # from the right: `*_old*` meets any file name


def _list_glob_matches(pattern: str, directory: Path) -> Iterable[Path]:
    try:
        return list(directory.glob(pattern))
    except (ValueError, NotImplementedError):
        return []
