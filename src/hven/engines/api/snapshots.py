"""Files of a snapshot: their names, locks, checksums, and rows that are staged before they are written."""

from __future__ import annotations

from hven.engines._file_staging import FileStaging, SortedRows
from hven.engines._snapshot_files import (
    LOCK_FILE_NAME,
    TRANSIENT_ERRNOS,
    build_table_directory_name,
    compute_file_checksum,
    compute_text_checksum,
    find_file_fault,
    is_on_local_disk,
    is_path_absent,
    raise_if_transient_read_error,
    remove_abandoned_directory,
    sync_file,
    translate_disk_errors,
)

__all__ = [
    "LOCK_FILE_NAME",
    "TRANSIENT_ERRNOS",
    "FileStaging",
    "SortedRows",
    "build_table_directory_name",
    "compute_file_checksum",
    "compute_text_checksum",
    "find_file_fault",
    "is_on_local_disk",
    "is_path_absent",
    "raise_if_transient_read_error",
    "remove_abandoned_directory",
    "sync_file",
    "translate_disk_errors",
]
