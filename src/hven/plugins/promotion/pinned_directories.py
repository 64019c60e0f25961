"""Directories of promoted collections: the descriptor and all files, of which each publication has its own.

``promoted/<collection>/<run>`` in the directory of the target never changes once it is complete. Files that did not
change since the promotion before are hard links, so they take no space.
"""

from __future__ import annotations

import errno
import filecmp
import os
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from hven.ingest.api.publication import PINNED_DIRECTORY_KEY
from hven.model.errors import ConflictError, StorageError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from hven.model.resource import CollectionSpec
    from hven.model.settings import Settings
    from hven.site.store import SnapshotRecord

PROMOTED_FOLDER = "promoted"
INCOMPLETE_SUFFIX = ".part"
BASE_FOLDER = ".base"  # in a promoted directory: the state of the source site, with which later merges compare
FILE_LIST_NAME = "files.json"  # marks of all files, there and here
FileMark = list[Any]  # size and time of a file, or the place to which a link leads
READ_ONLY_MASK = 0o7555
MAX_COPIED_BYTES = 1 << 20  # larger files of the target's own directory are linked instead of copied


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDifference:
    """How the files of a collection differ between this site and the target, as paths in its directory."""

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether all files are equal."""
        return not (self.added or self.changed or self.removed)


def list_collection_files(directory: Path) -> dict[str, Path]:
    """List the files in the directory of a collection, without hidden ones and incomplete ones.

    Parameters
    ----------
    directory
        The directory.

    Returns
    -------
    files
        Path relative to the directory -> file or symbolic link.
    """
    files = {}
    for parent, directories, names in os.walk(directory):
        linked_directories = [name for name in directories if (Path(parent) / name).is_symlink()]
        directories[:] = sorted(
            name for name in directories if not name.startswith(".") and name not in linked_directories
        )
        for name in sorted([*names, *linked_directories]):
            if not name.startswith(".") and not name.endswith(INCOMPLETE_SUFFIX):
                path = Path(parent) / name
                files[str(path.relative_to(directory))] = path
    return files


def compare_files(
    origin: Mapping[str, Path], target: Mapping[str, Path], *, compares_contents: bool = False
) -> FileDifference:
    """Compare the files of a collection on two sites.

    Parameters
    ----------
    origin, target
        As `list_collection_files` returns them.
    compares_contents
        As for `is_same_file`.
    """
    changed = [
        name
        for name in origin
        if name in target and not is_same_file(name, origin[name], target[name], compares_contents=compares_contents)
    ]
    return FileDifference(
        added=[name for name in origin if name not in target],
        changed=changed,
        removed=[name for name in target if name not in origin],
    )


def is_same_file(name: str, first: Path, second: Path, *, compares_contents: bool = False) -> bool:
    """Compare two files. Files with the same size and time are not read, because copies keep the time.

    Parameters
    ----------
    name
        Path of both in the directories of the collection.
    first, second
        Files or symbolic links.
    compares_contents
        Read the files, also if their sizes and times are equal.
    """
    if first.is_symlink() or second.is_symlink():
        return first.is_symlink() and second.is_symlink() and locate_link(name, first) == locate_link(name, second)
    first_status = first.stat()
    second_status = second.stat()
    if first_status.st_size != second_status.st_size:
        return False
    if os.path.samestat(first_status, second_status):
        return True
    if first_status.st_mtime_ns == second_status.st_mtime_ns and not compares_contents:
        return True
    filecmp.clear_cache()  # it knows files by sizes and times, too
    return filecmp.cmp(first, second, shallow=False)


def locate_link(name: str, path: Path) -> str:
    """Return where a symbolic link leads: a path in the directory of the collection, or else an absolute path.

    Parameters
    ----------
    name
        Path of the link in the directory of the collection.
    path
        The link.
    """
    directory = path.absolute().parents[len(PurePosixPath(name).parts) - 1].resolve()
    place = path.resolve()
    return str(place.relative_to(directory) if directory in place.parents else place)


def write_link(name: str, place: str) -> str:
    """Return the text of a symbolic link, which is relative if it leads to a file of the collection.

    Parameters
    ----------
    name, place
        As `locate_link` takes and returns them.
    """
    if place.startswith("/"):
        return place
    return os.path.relpath(place, PurePosixPath(name).parent)


def is_place_in_collection(place: str, names: Iterable[str]) -> bool:
    """Return whether a path is that of a file or of a directory with files.

    Parameters
    ----------
    place
        The path.
    names
        Paths of the files.
    """
    return any(name == place or name.startswith(f"{place}/") for name in names)


def mark_file(name: str, path: Path) -> FileMark:
    """Return what shows later whether a file was changed.

    Parameters
    ----------
    name
        Path of the file in the directory of the collection.
    path
        A file or a symbolic link.
    """
    if path.is_symlink():
        return ["link", locate_link(name, path)]
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def list_changed_files(directory: Path) -> list[str]:
    """List the files of a promoted directory that were added, changed or removed there, besides descriptors.

    Parameters
    ----------
    directory
        The directory; no file of another one counts as changed.
    """
    list_path = directory / BASE_FOLDER / FILE_LIST_NAME
    if not list_path.is_file():
        return []
    expected = {name: mark["target"] for name, mark in orjson.loads(list_path.read_bytes()).items()}
    present = {name: mark_file(name, path) for name, path in list_collection_files(directory).items()}
    descriptor_names = {path.name for path in (directory / BASE_FOLDER).glob("*.yaml")}
    changed_names = {name for name in expected | present if expected.get(name) != present.get(name)}
    return sorted(changed_names - descriptor_names)


def list_own_files(resource: CollectionSpec) -> dict[str, Path]:
    """List the files of a collection of this site; the descriptor has the name that it gets on the target.

    Parameters
    ----------
    resource
        The descriptor.

    Raises
    ------
    UserError
        The descriptor includes files outside of its directory, which would not be copied.
    """
    outside_names = [name for name in resource.hashes if name.startswith("..") and "standards" not in Path(name).parts]
    if outside_names:
        raise UserError(
            f"{resource.path} includes {outside_names[0]}, which is outside the directory of the collection",
            remedy="move the file into this directory, because a promotion copies only the directory",
        )
    files = list_collection_files(resource.path.parent)
    descriptor_file = files.pop(resource.path.name)
    return {f"{resource.name}.yaml": descriptor_file, **files}


def find_own_file(resource: CollectionSpec, name: str) -> Path | None:
    """Find one of the files that `list_own_files` lists, without a search in the whole directory.

    Parameters
    ----------
    resource
        The descriptor.
    name
        Path in the directory.

    Returns
    -------
    file
        The file or symbolic link; None: there is no such file.
    """
    if name == f"{resource.name}.yaml":
        return resource.path
    if not is_plain_path(name) or name.endswith(INCOMPLETE_SUFFIX) or name == resource.path.name:
        return None
    directory = resource.path.parent
    try:
        if any((directory / parent).is_symlink() for parent in PurePosixPath(name).parents[:-1]):
            return None
        place = directory / name
        return place if place.is_symlink() or place.is_file() else None
    except OSError:  # the name is too long
        return None


def is_plain_path(name: str) -> bool:
    """Return whether a path cannot lead out of a directory, is not hidden, and has no other spelling.

    Parameters
    ----------
    name
        Path in the directory of a collection, as another site or a package writes it.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or any(part.startswith(".") for part in path.parts):
        return False
    return str(path) == name and "\0" not in name


def create_file(place: Path) -> BinaryIO:
    """Create a new file; what is there already, even a link, is an error.

    Parameters
    ----------
    place
        Path of the file.
    """
    return os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666), "wb")


@contextmanager
def explain_write_errors(directory: Path) -> Iterator[None]:
    """Say of errors inside the block which file of a directory cannot be written, and why.

    Parameters
    ----------
    directory
        The directory.

    Raises
    ------
    StorageError
        A file cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{error.filename or directory} cannot be written: {(error.strerror or str(error)).lower()}",
            remedy="free some space on this disk, or correct the permissions; nothing was published",
        ) from error


def copy_files(
    files: Mapping[str, Path],
    directory: Path,
    earlier_files: Mapping[str, Path],
    *,
    links_large_files: bool = False,
    compares_contents: bool = False,
    complete: Callable[[Path], object] | None = None,
) -> int:
    """Copy files into a new directory, which appears when it is complete and on the disk.

    Parameters
    ----------
    files
        Path in the directory -> file.
    directory
        The new directory.
    earlier_files
        Files of the target that never change: equal ones are linked.
    links_large_files
        Link files above `MAX_COPIED_BYTES`.
    compares_contents
        As for `is_same_file`.
    complete
        Called with the directory when it has all files, to add hidden ones.

    Returns
    -------
    copied
        Number of files that were copied.

    Raises
    ------
    StorageError
        A file cannot be read or written, or the disk has too little space for all of them.
    """
    partial_directory = directory.with_name(directory.name + INCOMPLETE_SUFFIX)
    copied = 0
    try:
        linked_files = {
            name: earlier_files[name]
            for name, path in files.items()
            if name in earlier_files
            and not (path.is_symlink() or earlier_files[name].is_symlink())
            and is_same_file(name, path, earlier_files[name], compares_contents=compares_contents)
        }
        if links_large_files:
            linked_files |= {
                name: path
                for name, path in files.items()
                if name not in linked_files and not path.is_symlink() and path.stat().st_size > MAX_COPIED_BYTES
            }
        partial_directory.mkdir(parents=True)
        _check_free_space(partial_directory, [path for name, path in files.items() if name not in linked_files])
        for name, path in files.items():
            new_path = partial_directory / name
            new_path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_symlink():
                place = locate_link(name, path)
                new_path.symlink_to(write_link(name, place) if is_place_in_collection(place, files) else path.resolve())
            elif name in linked_files:
                os.link(linked_files[name], new_path)
            else:
                shutil.copy2(path, new_path)
                new_path.chmod(new_path.stat().st_mode & READ_ONLY_MASK)
                _sync_to_disk(new_path)
                copied += 1
        if complete is not None:
            complete(partial_directory)
        for parent, _, _ in os.walk(partial_directory):
            _sync_to_disk(Path(parent))
        partial_directory.rename(directory)
        _sync_to_disk(directory.parent)
    except OSError as error:
        shutil.rmtree(partial_directory, ignore_errors=True)
        raise StorageError(
            f"{error.filename or directory} cannot be copied to the target: {(error.strerror or str(error)).lower()}",
            remedy="free some space on the disk of the target, or correct the permissions; nothing was published",
        ) from error
    return copied


def _check_free_space(directory: Path, paths: Iterable[Path]) -> None:
    """Check that the disk has space for files before the first one is copied.

    Raises
    ------
    OSError
        It has not.
    """
    needed_bytes = sum(path.stat().st_size for path in paths if not path.is_symlink())
    free_bytes = shutil.disk_usage(directory).free
    if needed_bytes > free_bytes:
        message = f"the files need {needed_bytes:,} bytes, but the disk has only {free_bytes:,} free bytes"
        raise OSError(errno.ENOSPC, message, str(directory))


def _sync_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def link_current_directory(settings: Settings, collection: str, pinned_directory: str, run: str) -> None:
    """Make ``collections/<name>`` a symbolic link to the directory that the publication pins.

    Servers don't read the link, so it may change after the publication. Commands such as `hven check` read it.

    Parameters
    ----------
    settings
        Settings of the target.
    collection
        Name of the collection.
    pinned_directory
        Directory relative to that of the site.
    run
        Id of the run, for the name of a directory of the target's own that is kept beside the link.
    """
    link = settings.collections_directory / collection
    link_text = os.path.relpath(settings.directory / pinned_directory, settings.collections_directory)
    if link.is_symlink() and os.readlink(link) == link_text:  # noqa: PTH115  (the text, not the path it leads to)
        return
    settings.collections_directory.mkdir(exist_ok=True)
    if link.exists() and not link.is_symlink():
        link.rename(link.with_name(f"{collection}.replaced-{run}"))
    new_link = link.with_name(f".{collection}.{run}")
    with suppress(FileNotFoundError):
        new_link.unlink()
    new_link.symlink_to(link_text)
    new_link.replace(link)


def remove_current_link(settings: Settings, collection: str, run: str) -> None:
    """Remove the link that `link_current_directory` made, and put a directory of the target's own back in its place.

    Parameters
    ----------
    settings
        Settings of the target.
    collection
        Name of the collection.
    run
        Id of the run that made the link.
    """
    link = settings.collections_directory / collection
    if link.is_symlink():
        check_linkable(settings, collection)
        link.unlink()
    replaced_directory = link.with_name(f"{collection}.replaced-{run}")
    if replaced_directory.is_dir() and not link.exists():
        replaced_directory.rename(link)


def delete_unused_directories(settings: Settings, collection: str, kept_records: Iterable[SnapshotRecord]) -> None:
    """Delete the directories that no kept snapshot of a collection pins. The caller holds the lease of the collection.

    Parameters
    ----------
    settings
        Settings of the target.
    collection
        Name of the collection.
    kept_records
        Records of all snapshots of the collection that are kept.
    """
    pins = (record.provenance.get(PINNED_DIRECTORY_KEY, "") for record in kept_records)
    pinned_names = {Path(name).name for name in pins}
    for directory in list((settings.directory / PROMOTED_FOLDER / collection).glob("*")):
        if directory.name not in pinned_names:
            shutil.rmtree(directory, ignore_errors=True)


def check_linkable(settings: Settings, collection: str) -> None:
    """Refuse a link in ``collections/`` that was not made by a promotion.

    Parameters
    ----------
    settings
        Settings of the target.
    collection
        Name of the collection.

    Raises
    ------
    ConflictError
        The directory of the collection is a link to another place.
    """
    link = settings.collections_directory / collection
    promoted_directory = (settings.directory / PROMOTED_FOLDER).resolve()
    if link.is_symlink() and not link.resolve().is_relative_to(promoted_directory):
        raise ConflictError(
            f"{link} is a symbolic link to {link.resolve()}",
            remedy="replace the link with a copy of that directory, or remove the collection from the target",
        )
