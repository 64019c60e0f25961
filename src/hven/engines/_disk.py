"""Files of snapshots: locks of those who write, sizes and checksums, and what a disk says, in our words. Shared by the engines that keep files."""

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

from hven.model.errors import StorageError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LOCK = ".lock"
PASSING = {errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.EAGAIN, errno.EINTR}
CHUNK = 1 << 20
# file systems of this machine alone
DISKS = {"ext2", "ext3", "ext4", "xfs", "btrfs", "bcachefs", "zfs", "f2fs", "jfs", "tmpfs", "overlay"}
Known = dict[tuple[int, int], tuple[int, str]]
"""Files of the system (device, inode) that were read already, with their size and checksum: snapshots share files."""


def local(directory: str) -> bool:
    """Return whether a directory is on a disk of this machine: other mounts may hang whoever reads them, and whoever asks this."""
    if not directory.startswith("/"):
        return False
    found, kind, real = "", "", os.path.realpath(directory)
    with suppress(OSError), open("/proc/self/mountinfo", encoding="utf-8") as mounts:  # noqa: PTH123  (of Linux; elsewhere nothing is known)
        for line in mounts:
            own, _, system = line.partition(" - ")
            point = own.split(" ")[4].encode().decode("unicode_escape")
            if len(point) >= len(found) and f"{real}/".startswith(f"{point.rstrip('/')}/"):
                found, kind = point, system.partition(" ")[0]
    return kind in DISKS


def checksum(path: Path, pace: Callable[[int], object] | None = None) -> tuple[int, str]:
    """Read a file; return its size and checksum."""
    found, size, buffer = xxhash.xxh3_128(), 0, memoryview(bytearray(CHUNK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            found.update(buffer[:count])
            size += count
            if pace is not None:
                pace(count)
    return size, found.hexdigest()


def text_checksum(text: bytes) -> str:
    """Return the checksum of a text in memory, as that of a file."""
    return str(xxhash.xxh3_128_hexdigest(text))


def fault(path: Path, said: tuple[int, str], known: Known, pace: Callable[[int], object] | None) -> str | None:
    """Return what is wrong with a file; without `pace` it is not read."""
    size, wanted = said
    try:
        if (why := resized(path, size)) is not None:
            return why
        facts = path.stat()
        found = known.get((facts.st_dev, facts.st_ino))
        if found is None and pace is not None:
            found = known[facts.st_dev, facts.st_ino] = checksum(path, pace)
    except OSError as error:
        refuse_passing(path, error)
        return os.strerror(error.errno).lower() if error.errno else str(error)
    return (
        "its rows are not those that were written" if found is not None and wanted and found != (size, wanted) else None
    )


def resized(path: Path, size: int) -> str | None:
    """Return how the size of a file differs from what was written; None: it has that size.

    Raises
    ------
    OSError
        It cannot be looked at.
    """
    found = path.stat().st_size
    return None if found == size else f"it has {found:,} bytes, and {size:,} were written"


def refuse_passing(path: Path, error: Exception) -> None:
    """Refuse for now where the machine does not let us read a file: that says nothing of what is in it.

    Raises
    ------
    Unavailable
        It is so.
    """
    if isinstance(error, OSError) and error.errno in PASSING:
        message = f"the snapshot file {path} cannot be read now: {os.strerror(error.errno).lower()}"
        raise Unavailable(message, remedy="see that the server may read it, and has files to open left") from error


def sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def begun(directory: Path) -> int:
    """Create the directory of a staging, and return its lock: one that can be taken belongs to a process that died, and `sweep` removes it.

    A sweep may come before the lock is held. Then it is begun again.
    """
    while True:
        directory.parent.parent.stat()  # where the site is gone, it is not made anew
        try:
            directory.mkdir(parents=True, exist_ok=False)
            lock = os.open(directory / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)  # a sweep holds it until all is gone
        if os.fstat(lock).st_nlink:
            return lock
        os.close(lock)


@contextmanager
def disk(doing: str, path: Path) -> Iterator[None]:
    """Translate what the disk said into our words."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        number = error.errno if isinstance(error, OSError) else None
        full = (
            number in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
            or "No space left" in str(error)
            or "File too large" in str(error)
        )
        if full:
            message = f"the disk is full ({doing} {path})"
            raise StorageError(
                message, remedy="free some space, or let Hven keep fewer snapshots (keep_snapshots)"
            ) from error
        if not isinstance(error, OSError):
            raise
        message = f"{doing} {path} failed: {error}"
        raise StorageError(message, remedy="look at the disk and its rights") from error


def folder(qualified: str) -> str:
    """Return the directory name of a table: its qualified name, with everything unusual written as ``%XX``."""
    return (
        re.sub(r"[^a-z0-9_.-]", lambda match: "".join(f"%{byte:02X}" for byte in match.group().encode()), qualified)
        if qualified[:1] != "."
        else "%2E" + folder(qualified[1:])
    )


def gone_from(path: Path) -> bool:
    """Return whether a directory is certainly not there: not only that we may not look."""
    try:
        path.stat()
    except OSError as error:
        return error.errno in {errno.ENOENT, errno.ENOTDIR}
    return False


def cleared(path: Path) -> bool:
    """Remove a directory whose writer is gone: its lock can be taken. It is kept meanwhile, for the writer may be about to take it (`staging`)."""
    try:
        handle = os.open(path / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
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
