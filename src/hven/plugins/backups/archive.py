"""Write a whole site into one file that any engine and any store can restore.

The file contains the descriptors, the system state of one moment, and the rows.

An archive is a tar file. Its first member describes it, its last one has the size and SHA-256 of every other::

    hven-backup.json                     format, version of Hven, time, site, whether rows are in it
    site/hven.toml, site/collections/..  what the curators wrote; no secrets, nothing of var/
    state/TABLE.jsonl                    a row of the system state in each line
    rows/NUMBER.arrow                    a snapshot as an Arrow stream, compressed
    jobs/ID/..                           results of finished jobs
    checksums.json
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import tarfile
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import pyarrow as pa

import hven
from hven.model.errors import ConflictError, NotFoundError, StorageError
from hven.plugins.backups.state_copies import StateBackupAccess
from hven.site.api.state_tables import STATE_FORMAT

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from hven.site import Site
    from hven.site.store import SnapshotRecord

ARCHIVE_FORMAT = 1  # format of archives
HEADER_MEMBER, CHECKSUMS_MEMBER = "hven-backup.json", "checksums.json"
EXCLUDED_NAMES = {"var", "secrets.toml", ".git"}
_CHUNK_BYTES = 1 << 20


def write_backup(site: Site, path: Path, *, include_rows: bool = True) -> dict[str, Any]:
    """Write an archive of a site. It contains the state of one moment.

    Parameters
    ----------
    site
        The site; it may be served and ingested meanwhile.
    path
        A file that does not exist yet; it appears when it is complete.
    include_rows
        False: without rows; after a restoration the collections are ingested from their sources again.

    Returns
    -------
    dict
        The archive's header, with ``bytes``.

    Raises
    ------
    ConflictError
        The file exists.
    StorageError
        It cannot be written, or rows cannot be read; no file is left.
    """
    if path.exists():
        raise ConflictError(f"{path} already exists", remedy="choose a different name, or move the existing file")
    label = secrets.token_hex(6)
    state_copies = site.store.get_or_create(StateBackupAccess)
    partial_path = path.with_name(f".{path.name}.{label}.part")
    try:
        with partial_path.open("xb") as file:
            partial_path.chmod(0o600)  # it contains accounts and users' tables
            with tarfile.open(fileobj=file, mode="w") as tar:
                archive_writer = _ArchiveWriter(tar, partial_path.parent)
                header = _build_header(site, include_rows)
                archive_writer.add_text(HEADER_MEMBER, json.dumps(header, indent=1))
                _add_site_files(archive_writer, site, path)
                with state_copies.pin_snapshots_and_open_export(label, include_rows=include_rows) as state:
                    for name, lines in state.iterate_tables():
                        archive_writer.add_lines(f"state/{name}.jsonl", lines)
                _add_snapshots(archive_writer, site, state.snapshot_records)
                _add_job_files(archive_writer, site, state.job_ids)
                archive_writer.add_text(CHECKSUMS_MEMBER, json.dumps(archive_writer.checksums, indent=0))
            file.flush()
            os.fsync(file.fileno())
        partial_path.replace(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        remedy = "free some space on the disk, or choose a different directory that is writable"
        raise StorageError(f"the backup {path} cannot be written: {reason}", remedy=remedy) from error
    finally:
        state_copies.unpin_snapshots(label)
        partial_path.unlink(missing_ok=True)
    return {**header, "bytes": path.stat().st_size}


def _build_header(site: Site, include_rows: bool) -> dict[str, Any]:
    time_text = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {
        "backup": ARCHIVE_FORMAT,
        "hven": hven.__version__,
        "store": STATE_FORMAT,
        "made": time_text,
        "site": site.settings.name,
        "data": include_rows,
    }


class _ArchiveWriter:
    """The archive that is being written, with size and checksum of every member so far."""

    def __init__(self, tar: tarfile.TarFile, temporary_directory: Path) -> None:
        self.tar = tar
        # files here may be as large as a table, so it is on the disk of the archive
        self.temporary_directory = temporary_directory
        self.checksums: dict[str, list[Any]] = {}

    def add_text(self, name: str, text: str) -> None:
        body = text.encode()
        self._add_member(name, BytesIO(body), len(body))

    def add_lines(self, name: str, lines: Iterator[str]) -> None:
        with tempfile.TemporaryFile(dir=self.temporary_directory) as file:
            for line in lines:
                file.write(line.encode() + b"\n")
            self._add_spooled_file(name, file)

    def add_file(self, name: str, path: Path) -> None:
        file_stat = path.stat()
        with path.open("rb") as file:
            self._add_member(name, file, file_stat.st_size, mode=file_stat.st_mode & 0o777)

    def add_rows(self, name: str, schema: pa.Schema, batches: Generator[pa.RecordBatch]) -> int:
        row_count = 0
        write_options = pa.ipc.IpcWriteOptions(compression="zstd")
        with tempfile.TemporaryFile(dir=self.temporary_directory) as file:
            with pa.ipc.new_stream(file, schema, options=write_options) as writer, closing(batches):
                for batch in batches:
                    writer.write_batch(batch.select(schema.names).cast(schema))
                    row_count += batch.num_rows
            self._add_spooled_file(name, cast("BinaryIO", file))
        return row_count

    def _add_spooled_file(self, name: str, file: Any) -> None:
        size = file.tell()
        file.seek(0)
        self._add_member(name, file, size)

    def _add_member(self, name: str, file: Any, size: int, *, mode: int = 0o600) -> None:
        info = tarfile.TarInfo(name)
        info.size = size
        info.mode = mode
        info.mtime = int(time.time())
        checksum_reader = ChecksumReader(file, size)
        self.tar.addfile(info, checksum_reader)
        self.checksums[name] = [size, checksum_reader.digest]


class ChecksumReader:
    """A file that computes its checksum while it is read, at most `remaining_bytes` bytes of it.

    A file that grows meanwhile is cut; one that shrinks is refused.
    """

    def __init__(self, file: Any, remaining_bytes: int | None = None) -> None:
        self._file = file
        self._remaining_bytes = remaining_bytes
        self._hasher = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Read the next bytes.

        Parameters
        ----------
        size
            Bytes at most; -1: all that is left.

        Returns
        -------
        data
            The bytes, which are added to the checksum.
        """
        if self._remaining_bytes is not None:
            if size < 0:
                size = self._remaining_bytes
            else:
                size = min(size, self._remaining_bytes)
        data: bytes = self._file.read(size)
        if self._remaining_bytes is not None:
            self._remaining_bytes -= len(data)
        self._hasher.update(data)
        return data

    @property
    def digest(self) -> str:
        """SHA-256 of what was read."""
        return self._hasher.hexdigest()


def _add_site_files(archive_writer: _ArchiveWriter, site: Site, archive: Path) -> None:
    """Add what the curators wrote, including files beside descriptors."""
    root = site.settings.directory
    skipped_paths = {archive.resolve(), site.settings.data_directory.resolve()}

    def is_included(path: Path) -> bool:
        is_excluded_name = path.parent == root and path.name in EXCLUDED_NAMES
        return not is_excluded_name and path.resolve() not in skipped_paths

    for directory, names, files in os.walk(root):
        directory_path = Path(directory)
        names[:] = sorted(name for name in names if is_included(directory_path / name))
        for name in sorted(files):
            path = directory_path / name
            if is_included(path) and not name.endswith(".part") and path.is_file():
                archive_writer.add_file(f"site/{path.relative_to(root)}", path)


def _add_snapshots(archive_writer: _ArchiveWriter, site: Site, records: list[SnapshotRecord]) -> None:
    for record in records:
        engine = site.engines.find_engine(record.snapshot)
        batches = (batch for batch in engine.read_rows(record.snapshot))
        row_count = archive_writer.add_rows(f"rows/{record.id}.arrow", record.table.arrow_schema, batches)
        if row_count != record.snapshot.rows:
            table_name = record.table.qualified_name
            message = f"only {row_count:,} of {record.snapshot.rows:,} rows of {table_name} could be read"
            raise StorageError(message, remedy="ingest the table again")


def _add_job_files(archive_writer: _ArchiveWriter, site: Site, job_ids: list[str]) -> None:
    root = site.settings.data_directory / "jobs"
    for job in job_ids:
        try:
            for path in sorted((root / job).rglob("*")):
                if path.is_file():
                    archive_writer.add_file(f"jobs/{path.relative_to(root)}", path)
        except FileNotFoundError as error:
            message = f"the job {job} has just been destroyed"
            raise NotFoundError(message, remedy="run the backup again") from error
