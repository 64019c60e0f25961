"""Checksums of a snapshot's files: made when it is written, computed anew to see that it still is what was published.

Files are read here, not mapped: one that was cut off under a map kills the process that reads on.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import xxhash

from hven.engines import Verified
from hven.engines.duckdb.layout import MANIFEST, Manifest, refuse_passing, resized
from hven.model.errors import StorageError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from hven.engines import Snapshot

CHUNK = 1 << 20
Known = dict[tuple[int, int], tuple[int, str]]
"""Files of the system (device, inode) that were read already, with their size and checksum: snapshots share files."""


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


def refuse_damaged(directory: Path, manifest: Manifest, names: Collection[str]) -> None:
    """Check that some files are what was written, before anything new is made of them.

    Raises
    ------
    StorageError
        One is not.
    """
    for name in names:
        said = manifest.checksums.get(name)
        why = None if said is None else _fault(directory / name, said, {}, lambda _: None)
        if why is not None:
            raise StorageError(
                f"the snapshot file {directory / name} is damaged: {why}", remedy="ingest the collection anew"
            )


def verify(directory: Path, snapshot: Snapshot, pace: Callable[[int], object] | None, known: Known) -> Verified:
    """Verify that the files of a snapshot are what was written; see `hven.engines.Engine`."""
    path = directory / MANIFEST
    try:
        manifest = Manifest.read(path)
        said_of_it = (path.stat().st_size, snapshot.checksum)
    except Unavailable:
        raise
    except StorageError as error:
        return Verified(faults={MANIFEST: error.message.partition(f"{MANIFEST}: ")[2] or error.message})
    faults: dict[str, str] = {}
    size = 0
    said = {**manifest.checksums, **({MANIFEST: said_of_it} if snapshot.checksum else {})}
    unknown = [name for name, _, _ in manifest.parts if name not in said]
    for name, _, count in manifest.parts:
        if name in unknown and (why := _fault(directory / name, (count, ""), known, None)) is not None:
            faults[name] = why
    for name, one in said.items():
        why = _fault(directory / name, one, known, pace)
        size += one[0]
        if why is not None:
            faults[name] = why
    return Verified(bytes=size, files=len(said), faults=faults, unknown=tuple(unknown))


def _fault(path: Path, said: tuple[int, str], known: Known, pace: Callable[[int], object] | None) -> str | None:
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


__all__ = ["Known", "checksum", "refuse_damaged", "text_checksum", "verify"]
