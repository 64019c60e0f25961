"""Checksums of a snapshot's files: made when it is written, computed anew to see that it still is what was published.

Files are read here, not mapped: one that was cut off under a map kills the process that reads on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.engines import Verified
from hven.engines._disk import fault
from hven.engines.duckdb.layout import MANIFEST, Manifest
from hven.model.errors import StorageError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from hven.engines import Snapshot
    from hven.engines._disk import Known


def refuse_damaged(directory: Path, manifest: Manifest, names: Collection[str]) -> None:
    """Check that some files are what was written, before anything new is made of them.

    Raises
    ------
    StorageError
        One is not.
    """
    for name in names:
        said = manifest.checksums.get(name)
        why = None if said is None else fault(directory / name, said, {}, lambda _: None)
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
        if name in unknown and (why := fault(directory / name, (count, ""), known, None)) is not None:
            faults[name] = why
    for name, one in said.items():
        why = fault(directory / name, one, known, pace)
        size += one[0]
        if why is not None:
            faults[name] = why
    return Verified(bytes=size, files=len(said), faults=faults, unknown=tuple(unknown))


__all__ = ["refuse_damaged", "verify"]
