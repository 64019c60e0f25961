"""Checksums of a snapshot's files: made when it is written, computed anew to see that it still is what was published.

Files are read here, not mapped: one that was cut off under a map kills the process that reads on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.engines import VerificationResult
from hven.engines._snapshot_files import find_file_fault
from hven.engines.duckdb.snapshot_files import MANIFEST_FILE_NAME, SnapshotManifest
from hven.model.errors import StorageError, StorageUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from hven.engines import Snapshot
    from hven.engines._snapshot_files import ReadFiles


def check_undamaged(directory: Path, manifest: SnapshotManifest, file_names: Collection[str]) -> None:
    """Check that some files are what was written, before anything new is made of them.

    Raises
    ------
    StorageError
        One is not.
    """
    for name in file_names:
        recorded = manifest.checksums.get(name)
        if recorded is None:
            file_fault = None
        else:
            file_fault = find_file_fault(directory / name, recorded, {}, lambda _: None)
        if file_fault is not None:
            raise StorageError(
                f"the snapshot file {directory / name} is damaged: {file_fault}", remedy="ingest the collection anew"
            )


def verify_files(
    directory: Path, snapshot: Snapshot, report_bytes: Callable[[int], object] | None, known_checksums: ReadFiles
) -> VerificationResult:
    """Verify that the files of a snapshot are what was written; see `hven.engines.StorageEngine`."""
    path = directory / MANIFEST_FILE_NAME
    try:
        manifest = SnapshotManifest.read_file(path)
        manifest_record = (path.stat().st_size, snapshot.checksum)
    except StorageUnavailableError:
        raise
    except StorageError as error:
        return VerificationResult(
            faults={MANIFEST_FILE_NAME: error.message.partition(f"{MANIFEST_FILE_NAME}: ")[2] or error.message}
        )
    faults: dict[str, str] = {}
    size = 0
    recorded_checksums = {**manifest.checksums, **({MANIFEST_FILE_NAME: manifest_record} if snapshot.checksum else {})}
    unknown = [name for name, _, _ in manifest.parts if name not in recorded_checksums]
    for name, _, count in manifest.parts:
        if (
            name in unknown
            and (file_fault := find_file_fault(directory / name, (count, ""), known_checksums, None)) is not None
        ):
            faults[name] = file_fault
    for name, recorded in recorded_checksums.items():
        file_fault = find_file_fault(directory / name, recorded, known_checksums, report_bytes)
        size += recorded[0]
        if file_fault is not None:
            faults[name] = file_fault
    return VerificationResult(bytes=size, files=len(recorded_checksums), faults=faults, unknown=tuple(unknown))


__all__ = ["check_undamaged", "verify_files"]
