"""Files of snapshots: locks of writers, sizes and checksums, and errors of the disk.

The engines that keep files share this module.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pyarrow as pa
import xxhash

from hven.model.errors import StorageError, StorageUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LOCK_FILE_NAME = ".lock"
TRANSIENT_ERRNOS = {
    errno.EACCES,
    errno.EPERM,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ESTALE,
    errno.EAGAIN,
    errno.EINTR,
}
READ_CHUNK_BYTES = 1 << 20
# file systems that are local to the machine
LOCAL_FILE_SYSTEMS = {"ext2", "ext3", "ext4", "xfs", "btrfs", "bcachefs", "zfs", "f2fs", "jfs", "tmpfs", "overlay"}
ReadFiles = dict[tuple[int, int], tuple[int, str]]
"""Files (device, inode) that were read already, with size and checksum; snapshots share files."""


def is_on_local_disk(directory: str) -> bool:
    """Return whether a directory is on a disk of this machine.

    Reading other mounts, or asking about them, may block the process.

    Parameters
    ----------
    directory
        An absolute path; for others the answer is False.
    """
    if not directory.startswith("/"):
        return False
    mount_point = ""
    file_system = ""
    real_path = os.path.realpath(directory)
    # only Linux has this file; on other systems the answer is False
    with suppress(OSError), open("/proc/self/mountinfo", encoding="utf-8") as mounts:  # noqa: PTH123
        for line in mounts:
            mount_fields, _, file_system_fields = line.partition(" - ")
            line_mount_point = mount_fields.split(" ")[4].encode().decode("unicode_escape")
            is_below = f"{real_path}/".startswith(f"{line_mount_point.rstrip('/')}/")
            if is_below and len(line_mount_point) >= len(mount_point):
                mount_point = line_mount_point
                file_system = file_system_fields.partition(" ")[0]
    return file_system in LOCAL_FILE_SYSTEMS


def compute_file_checksum(path: Path, report_bytes: Callable[[int], object] | None = None) -> tuple[int, str]:
    """Read a file; return its size and checksum.

    Parameters
    ----------
    path
        A file.
    report_bytes
        Called with the number of bytes after each chunk; None: nothing is reported.

    Returns
    -------
    size, checksum
        Bytes, and the checksum in hexadecimal digits.
    """
    hasher = xxhash.xxh3_128()
    size = 0
    buffer = memoryview(bytearray(READ_CHUNK_BYTES))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            hasher.update(buffer[:count])
            size += count
            if report_bytes is not None:
                report_bytes(count)
    return size, hasher.hexdigest()


def compute_text_checksum(text: bytes) -> str:
    """Return the checksum of bytes in memory, as it would be for a file.

    Parameters
    ----------
    text
        The bytes.
    """
    return str(xxhash.xxh3_128_hexdigest(text))


def find_file_fault(
    path: Path,
    recorded_size_and_checksum: tuple[int, str],
    known_checksums: ReadFiles,
    report_bytes: Callable[[int], object] | None,
) -> str | None:
    """Return what is wrong with a file, or None; without `report_bytes` the file is not read.

    Parameters
    ----------
    path
        A file of a snapshot.
    recorded_size_and_checksum
        Bytes and checksum that were written; an empty checksum is not compared.
    known_checksums
        Checksums of files that were read before; the file is added.
    report_bytes
        Called with the number of bytes after each chunk; None: the file is not read.
    """
    size, recorded_checksum = recorded_size_and_checksum
    try:
        size_fault = find_size_fault(path, size)
        if size_fault is not None:
            return size_fault
        file_status = path.stat()
        file_id = (file_status.st_dev, file_status.st_ino)
        actual = known_checksums.get(file_id)
        if actual is None and report_bytes is not None:
            actual = compute_file_checksum(path, report_bytes)
            known_checksums[file_id] = actual
    except OSError as error:
        raise_if_transient_read_error(path, error)
        if error.errno:
            return os.strerror(error.errno).lower()
        return str(error)
    if actual is not None and recorded_checksum and actual != (size, recorded_checksum):
        return "its rows differ from those that were written"
    return None


def find_size_fault(path: Path, recorded_bytes: int) -> str | None:
    """Return how the size of a file differs from what was written, or None if it does not.

    Raises
    ------
    OSError
        The file cannot be inspected.
    """
    actual_bytes = path.stat().st_size
    if actual_bytes == recorded_bytes:
        return None
    return f"it has {actual_bytes:,} bytes, but {recorded_bytes:,} were written"


def raise_if_transient_read_error(path: Path, error: Exception) -> None:
    """Raise if the machine does not allow to read a file for now, which says nothing about its contents.

    Parameters
    ----------
    path
        The file that was read.
    error
        The error of reading it.

    Raises
    ------
    StorageUnavailableError
        The error is one of `TRANSIENT_ERRNOS`.
    """
    if isinstance(error, OSError) and error.errno in TRANSIENT_ERRNOS:
        message = f"the snapshot file {path} cannot be read at the moment: {os.strerror(error.errno).lower()}"
        raise StorageUnavailableError(
            message, remedy="check the file's permissions and the server's limit on open files"
        ) from error


def sync_file(path: Path) -> None:
    """Make a file or the entries of a directory durable.

    Parameters
    ----------
    path
        The file or directory.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def create_locked_directory(directory: Path) -> int:
    """Create the directory of a staging, and return its lock.

    A directory whose lock is free belongs to a process that died, and `remove_abandoned_directory` removes it. That may
    happen before the lock is acquired here; then the directory is created again.
    """
    while True:
        directory.parent.parent.stat()  # raises if the site was removed, so that it is not created again
        try:
            directory.mkdir(parents=True, exist_ok=False)
            lock = os.open(directory / LOCK_FILE_NAME, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)  # a process that removes the directory holds it until all is removed
        if os.fstat(lock).st_nlink:
            return lock
        os.close(lock)


@contextmanager
def translate_disk_errors(activity: str, path: Path) -> Iterator[None]:
    """Translate errors of the disk into `StorageError`.

    Parameters
    ----------
    activity
        What is done, for the message: ``writing``.
    path
        The file or directory.

    Raises
    ------
    StorageError
        The disk is full, or refuses.
    """
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError):
            error_number = error.errno
        else:
            error_number = None
        has_full_text = "No space left" in str(error) or "File too large" in str(error)
        if has_full_text or error_number in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            message = f"the disk is full ({activity} {path})"
            raise StorageError(
                message, remedy="free some space, or let Hven keep fewer snapshots (keep_snapshots)"
            ) from error
        if not isinstance(error, OSError):
            raise
        message = f"{activity} {path} failed: {error}"
        raise StorageError(message, remedy="check the disk, and the permissions of the directory") from error


def build_table_directory_name(qualified_name: str) -> str:
    """Return the directory name of a table: its qualified name, with everything unusual written as ``%XX``.

    Parameters
    ----------
    qualified_name
        Name of the table: ``schema.name``.
    """
    if qualified_name[:1] == ".":
        return "%2E" + build_table_directory_name(qualified_name[1:])

    def encode_characters(match: re.Match[str]) -> str:
        return "".join(f"%{byte:02X}" for byte in match.group().encode())

    return re.sub(r"[^a-z0-9_.-]", encode_characters, qualified_name)


def is_path_absent(path: Path) -> bool:
    """Return whether a directory certainly does not exist, and is not only inaccessible.

    Parameters
    ----------
    path
        A directory or a file.
    """
    try:
        path.stat()
    except OSError as error:
        return error.errno in {errno.ENOENT, errno.ENOTDIR}
    return False


def remove_abandoned_directory(path: Path) -> bool:
    """Remove a directory whose writer is gone, so that its lock is free; return whether it was removed.

    The lock is held meanwhile, because a writer may be about to acquire it (`create_locked_directory`).

    Parameters
    ----------
    path
        A directory that `create_locked_directory` made.

    Returns
    -------
    removed
        False: its writer has the lock, or it is gone.
    """
    try:
        handle = os.open(path / LOCK_FILE_NAME, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True
