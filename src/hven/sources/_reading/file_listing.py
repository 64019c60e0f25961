"""List the files that patterns match.

One scan of their directories finds names, sizes, times and links, for all tables of a run.
"""

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

_MAX_NAME_BYTES = 255


class _ListedFile(NamedTuple):
    """A file as its directory lists it: path, directory, size, time of the last change, whether it is a link."""

    path: str
    folder: str
    byte_count: int
    mtime_ns: int
    is_link: bool


class FileListing(Sequence[DataFile]):
    """Files as one scan of their directories found them; a `DataFile` is made when a file is read.

    Parameters
    ----------
    listed_files
        The files.
    path_prefix
        What the names that people know lack at the beginning.
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
            return [self[index] for index in range(*at.indices(len(self)))]
        if at >= 0:
            place = at
        else:
            place = at + len(self)
        if place not in self._data_files:
            path = Path(self._listed_files[at].path)
            self._data_files[place] = DataFile(path=path, name=self._names[at])
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
        return sum(file.bytes_read_from_disk for file in list(self._data_files.values()))  # threads open others

    def copy_unread(self) -> FileListing:
        """Return the same files, unread. The scan is shared as long as such a listing exists."""
        other = FileListing(self._listed_files, self._path_prefix)
        other._shared_listing = self
        other._names = self._names
        return other

    def select_files(self, file_names: Collection[str]) -> FileListing:
        """Select files by name."""
        wanted_names = set(file_names)
        named_files = zip(self._listed_files, self._names, strict=True)
        selected_files = [listed_file for listed_file, name in named_files if name in wanted_names]
        return FileListing(selected_files, self._path_prefix)

    def copy_with_current_stats(self) -> FileListing:
        """Read size and time of each file again.

        Raises
        ------
        SourceError
            A file is gone.
        """
        try:
            # no Path of each
            states = [os.stat(listed_file.path) for listed_file in self._listed_files]  # noqa: PTH116
        except OSError as error:
            raise SourceError(
                f"{str(error.filename).removeprefix(self._path_prefix)} cannot be read: {error.strerror}",
                remedy="check its permissions",
            ) from error
        refreshed: list[_ListedFile] = []
        for listed_file, state in zip(self._listed_files, states, strict=True):
            refreshed.append(listed_file._replace(byte_count=state.st_size, mtime_ns=state.st_mtime_ns))
        return FileListing(refreshed, self._path_prefix)

    def to_arrow_table(self) -> pa.Table:
        """List the files as `FileListSource.list_files` does."""
        if not self._listed_files:
            return build_file_list([])
        _, _, sizes, moments, _ = zip(*self._listed_files, strict=True)
        try:
            times = np.array(moments, np.int64).astype("datetime64[ns]")
        except OverflowError:  # a time outside of the centuries of datetime64
            return build_file_list(file.copy_unread().request_version_without_reading() for file in self)
        time_texts = np.datetime_as_string(times, unit="ns", timezone="UTC")
        columns = {
            "name": pa.array(self._names, pa.string()),
            "bytes": pa.array(sizes, pa.int64()),
            "modified": pa.array(time_texts, pa.string()),
        }
        arrays = [columns.get(item.name, pa.nulls(len(sizes), item.type)) for item in FILE_LIST_SCHEMA]
        return pa.table(arrays, FILE_LIST_SCHEMA)

    def refuse_escaping_links(self, roots: Iterable[Path]) -> None:
        """Check that no file is a link that leads out of some directories.

        Raises
        ------
        SourceError
            As for `refuse_escaping_link`.
        """
        _refuse_escaping_links(self._listed_files, roots, self._path_prefix)


# listings of the runs that go on: two tables of the same files share a scan
_SHARED_LISTINGS: WeakValueDictionary[tuple[object, ...], FileListing] = WeakValueDictionary()


def find_data_files(
    options: FileOptions, directory: Path, allowed_roots: Sequence[Path] = (), run_name: str = ""
) -> FileListing:
    """Resolve the patterns to existing files, sorted within each pattern, without repetition.

    Each file is named by its path below the directory.

    Parameters
    ----------
    options
        The patterns.
    directory
        The directory of the collection.
    allowed_roots
        Directories that links may lead into, besides `directory` and those that the patterns name.
    run_name
        Calls in the same run get the files that the first one found; empty: this call belongs to no run.

    Returns
    -------
    listing
        The files.

    Raises
    ------
    SourceError
        A pattern matches nothing (the remedy names what is there); a file that it matches is a link that leads
        out of the allowed directories; a directory cannot be listed.
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
        fixed_path = _find_path_before_wildcard(pattern, directory)
        matched_files = _expand_pattern(pattern, directory)
        for ignored in options.ignore:
            matched_files = _drop_ignored_files(matched_files, ignored, directory)
        _refuse_escaping_links(matched_files, (directory, *allowed_roots, fixed_path))
        files_by_path |= {matched_file.path: matched_file for matched_file in matched_files}
    if not files_by_path:
        raise SourceError(
            f"`ignore` excludes all files that match {', '.join(options.files)}",
            remedy=f"change `ignore` ({', '.join(options.ignore)})",
        )
    return list(files_by_path.values())


def _drop_ignored_files(files: Sequence[_ListedFile], pattern: str, directory: Path) -> list[_ListedFile]:
    ignored_paths: set[str] = set()
    if "**" in pattern:
        ignored_paths = {os.fspath(path) for path in _list_glob_matches(pattern, directory)}
    remaining_files = [file for file in files if file.path not in ignored_paths]
    return [file for file in remaining_files if not _is_pattern_match(Path(file.path), pattern, directory)]


def refuse_escaping_link(path: Path, name: str, allowed_roots: Iterable[Path]) -> None:
    """Check that a file is no link that leads out of the allowed directories.

    Otherwise a user who may write beside the data could publish any file of this machine.

    Parameters
    ----------
    path
        Path of the file.
    name
        The file, for the message.
    allowed_roots
        The allowed directories.

    Raises
    ------
    SourceError
        The file is, or lies behind, a link that leads out of all of `allowed_roots`.
    """
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError):  # gone, or a loop of links: opening the file reports it
        return
    if not any(real.is_relative_to(root.resolve()) for root in allowed_roots):
        raise SourceError(
            f"{name} is a link to a file outside the collection",
            remedy=f'if this is intended, add this line to hven.toml: roots = ["{real.parent}"]',
        )


def _refuse_escaping_links(
    files: Sequence[_ListedFile], allowed_roots: Iterable[Path], path_prefix: str | None = None
) -> None:
    """Check many files as `refuse_escaping_link` checks one; each directory is resolved once."""
    real = [root.resolve() for root in allowed_roots]
    inside: dict[str, bool] = {}
    for folder in {listed_file.folder for listed_file in files}:
        real_folder = Path(folder).resolve()
        inside[folder] = any(real_folder.is_relative_to(root) for root in real)
    for listed_file in files:
        if listed_file.is_link or not inside[listed_file.folder]:
            if path_prefix is None:
                name = listed_file.path.rpartition("/")[2]
            else:
                name = listed_file.path.removeprefix(path_prefix)
            refuse_escaping_link(Path(listed_file.path), name, real)


def _find_path_before_wildcard(pattern: str, directory: Path) -> Path:
    """Find the path before the first wildcard of a pattern: the file, or the directory that is searched."""
    path = directory / Path(pattern).expanduser()
    while any(sign in str(path) for sign in "*?["):
        path = path.parent
    return path


def _expand_pattern(pattern: str, directory: Path) -> list[_ListedFile]:
    part_bytes = [len(part.encode("utf-8", "replace")) for part in pattern.split("/")]
    if "\0" in pattern or max(part_bytes) > _MAX_NAME_BYTES or len(pattern) > 16 * _MAX_NAME_BYTES:
        raise SourceError(
            f"{pattern[:60]!r} .. cannot be the name of a file",
            remedy=f"write at most {_MAX_NAME_BYTES} bytes between two slashes",
        )
    path = directory / Path(pattern).expanduser()
    if path.is_file():
        return list(_inspect_files([path]))
    if not any(sign in pattern for sign in "*?["):
        if path.is_dir():
            raise SourceError(
                f"{pattern} is a directory",
                remedy=f"write `files: {pattern.rstrip('/')}/*` to read the files in the directory",
            )
        raise SourceError(
            f"there is no file {pattern}{_format_directory_phrase(pattern, directory)}", remedy=_suggest_path(path)
        )
    anchor = directory
    relative = pattern
    if Path(pattern).is_absolute():
        anchor = Path(path.anchor)
        relative = str(path.relative_to(anchor))
    try:
        # case matters on every system, so that a site can move; the order is that of the parts of the paths
        matches = sorted(_scan_matching_files(anchor, relative), key=lambda match: match.path.replace("/", "\0"))
    except (ValueError, NotImplementedError) as error:
        raise SourceError(
            f"the file pattern {pattern!r} cannot be used: {error}",
            remedy="write `**` alone between slashes, as in `a/**/*.csv`",
        ) from error
    except OSError as error:  # a file that is not listed need not be gone
        raise SourceError(
            f"{error.filename or pattern} cannot be listed: {error.strerror}",
            remedy="check its permissions, and whether its disk is mounted",
        ) from error
    if not matches:
        raise SourceError(
            f"no file matches {pattern}{_format_directory_phrase(pattern, directory)}", remedy=_suggest_path(path)
        )
    return matches


def _scan_matching_files(anchor: Path, pattern: str) -> Iterator[_ListedFile]:
    """Find the files that match a pattern; facts that a directory tells about its entries are not read again."""
    head, _, last = pattern.rpartition("/")
    if "**" in last or not any(sign in last for sign in "*?["):
        yield from _inspect_files(item for item in anchor.glob(pattern) if item.is_file())
        return
    fits = re.compile(fnmatch.translate(last)).match
    folders: Iterable[Path] = [anchor / head]
    if any(sign in head for sign in "*?["):
        folders = anchor.glob(head)
    for folder in folders:
        text = os.fspath(folder)
        prefix = os.path.join(text, "")  # noqa: PTH118  (a text)
        if folder == Path():
            prefix = ""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(text) as entries:
            for entry in entries:
                if not fits(entry.name) or not _is_file(entry):
                    continue
                with contextlib.suppress(FileNotFoundError):  # gone since
                    yield _describe_file(prefix + entry.name, text, entry.stat(), is_link=entry.is_symlink())


def _inspect_files(paths: Iterable[Path]) -> Iterator[_ListedFile]:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            yield _describe_file(os.fspath(path), os.fspath(path.parent), path.stat(), is_link=path.is_symlink())


def _describe_file(path: str, folder: str, file_stat: os.stat_result, *, is_link: bool) -> _ListedFile:
    return _ListedFile(path, folder, file_stat.st_size, file_stat.st_mtime_ns, is_link)


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a loop of links
        return False


def _format_directory_phrase(pattern: str, directory: Path) -> str:
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
        more = ""
        if len(entry_names) > 5:
            more = " ..."
        return f"{folder} contains {', '.join(entry_names[:5])}{more}"
    return f"{folder} is empty"


def _is_pattern_match(path: Path, pattern: str, directory: Path) -> bool:
    try:
        relative = path.relative_to(directory)
    except ValueError:
        relative = path
    return relative.match(pattern)  # from the right: `*_old*` matches any file name


def _list_glob_matches(pattern: str, directory: Path) -> Iterable[Path]:
    try:
        return list(directory.glob(pattern))
    except (ValueError, NotImplementedError):
        return []
