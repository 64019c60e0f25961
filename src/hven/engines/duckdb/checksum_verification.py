"""Verify the files of a snapshot by the checksums that were computed when they were written.

Files are read here, not mapped, because reading a truncated file by a map kills the process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.engines import SnapshotVerificationResult
from hven.engines._snapshot_files import find_file_fault
from hven.engines.duckdb.snapshot_files import MANIFEST_FILE_NAME, SnapshotManifest
from hven.model.errors import StorageError, StorageUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from hven.engines import Snapshot
    from hven.engines._snapshot_files import ReadFiles


def check_files_undamaged(directory: Path, manifest: SnapshotManifest, file_names: Collection[str]) -> None:
    """Check that files are as they were written, before a new snapshot is made from them.

    Raises
    ------
    StorageError
        A file is damaged.
    """
    for name in file_names:
        recorded = manifest.checksums.get(name)
        if recorded is None:
            continue
        file_fault = find_file_fault(directory / name, recorded, {}, lambda _: None)
        if file_fault is not None:
            message = f"the snapshot file {directory / name} is damaged: {file_fault}"
            raise StorageError(message, remedy="ingest the collection again")


def verify_snapshot_files(
    directory: Path, snapshot: Snapshot, report_bytes: Callable[[int], object] | None, known_checksums: ReadFiles
) -> SnapshotVerificationResult:
    """Verify that the files of a snapshot are what was written; see `hven.engines.StorageEngine`."""
    path = directory / MANIFEST_FILE_NAME
    try:
        manifest = SnapshotManifest.read_file(path)
        manifest_record = (path.stat().st_size, snapshot.checksum)
    except StorageUnavailableError:
        raise
    except StorageError as error:
        _, _, reason = error.message.partition(f"{MANIFEST_FILE_NAME}: ")
        return SnapshotVerificationResult(faults={MANIFEST_FILE_NAME: reason or error.message})
    faults: dict[str, str] = {}
    size = 0
    recorded_checksums = dict(manifest.checksums)
    if snapshot.checksum:
        recorded_checksums[MANIFEST_FILE_NAME] = manifest_record
    unknown = []
    for name, _, part_bytes in manifest.parts:
        if name in recorded_checksums:
            continue
        unknown.append(name)
        file_fault = find_file_fault(directory / name, (part_bytes, ""), known_checksums, None)
        if file_fault is not None:
            faults[name] = file_fault
    for name, recorded in recorded_checksums.items():
        file_fault = find_file_fault(directory / name, recorded, known_checksums, report_bytes)
        size += recorded[0]
        if file_fault is not None:
            faults[name] = file_fault
    return SnapshotVerificationResult(bytes=size, files=len(recorded_checksums), faults=faults, unknown=tuple(unknown))
