"""`backup`: a whole site in one file - descriptors, system state as of one moment, rows - that any engine and store can take back.

An archive is a tar file. Its first member says what it is, its last one has the size and SHA-256 of every other::

    hven-backup.json                     format, version of Hven, time, site, whether rows are in it
    site/hven.toml, site/collections/..  what the curators wrote; no secrets, nothing of var/
    state/TABLE.jsonl                    a row of the system state in each line
    rows/NUMBER.arrow                    a snapshot as an Arrow stream, compressed
    jobs/ID/..                           what finished jobs gave
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
from hven.model.errors import Conflict, NotFound, StorageError
from hven.site.store._database import FORMAT

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from hven.site._site import Site
    from hven.site.store import Record

ARCHIVE = 1  # format of archives
HEAD, SUMS = "hven-backup.json", "checksums.json"
LEFT_OUT = {"var", "secrets.toml", ".git"}
_CHUNK = 1 << 20


def backup(
    site: Site, path: Path, *, data: bool = True, progress: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Write an archive of a site. It may be served and ingested meanwhile: what is kept is the state of one moment.

    Parameters
    ----------
    site
        It may be served meanwhile.
    path
        A file that does not exist yet; it appears when it is whole.
    data
        False: without rows; what is published is then made again from its sources.
    progress
        Told each table, from this thread.

    Returns
    -------
    dict
        What the archive says of itself, with ``bytes``.

    Raises
    ------
    Conflict
        The file exists.
    StorageError
        It cannot be written, or rows cannot be read; no file is left.
    """
    if path.exists():
        raise Conflict(f"{path} exists", remedy="give another name, or move it away")
    label = secrets.token_hex(6)
    part = path.with_name(f".{path.name}.{label}.part")
    try:
        with part.open("xb") as file:
            part.chmod(0o600)  # accounts and readers' tables are in it
            with tarfile.open(fileobj=file, mode="w") as tar:
                written = _Written(tar, part.parent)
                head = _head(site, data)
                written.text(HEAD, json.dumps(head, indent=1))
                _site(written, site, path)
                with site.store.exported(label, rows=data) as state:
                    for name, lines in state.tables():
                        written.lines(f"state/{name}.jsonl", lines)
                _rows(written, site, state.records, progress or _silent)
                _jobs(written, site, state.jobs)
                written.text(SUMS, json.dumps(written.sums, indent=0))
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise StorageError(
            f"the backup {path} cannot be written: {why}", remedy="make room, or name a place that can be written"
        ) from error
    finally:
        site.store.unpin(label)
        part.unlink(missing_ok=True)
    return {**head, "bytes": path.stat().st_size}


def _silent(_: str) -> None:
    return


def _head(site: Site, data: bool) -> dict[str, Any]:
    return {
        "backup": ARCHIVE,
        "hven": hven.__version__,
        "store": FORMAT,
        "made": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "site": site.settings.name,
        "data": data,
    }


class _Written:
    """The archive that is being written; remembers size and checksum of every member."""

    def __init__(self, tar: tarfile.TarFile, place: Path) -> None:
        self.tar = tar
        self.place = place  # for what is as large as a table: the disk that the archive is on
        self.sums: dict[str, list[Any]] = {}

    def text(self, name: str, text: str) -> None:
        body = text.encode()
        self._add(name, BytesIO(body), len(body))

    def lines(self, name: str, lines: Iterator[str]) -> None:
        with tempfile.TemporaryFile(dir=self.place) as file:
            for line in lines:
                file.write(line.encode() + b"\n")
            self._spooled(name, file)

    def file(self, name: str, path: Path) -> None:
        with path.open("rb") as file:
            self._add(name, file, path.stat().st_size, mode=path.stat().st_mode & 0o777)

    def rows(self, name: str, schema: pa.Schema, batches: Generator[pa.RecordBatch]) -> int:
        count = 0
        with tempfile.TemporaryFile(dir=self.place) as file:
            with (
                pa.ipc.new_stream(file, schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer,
                closing(batches),
            ):
                for batch in batches:
                    writer.write_batch(batch.select(schema.names).cast(schema))
                    count += batch.num_rows
            self._spooled(name, cast("BinaryIO", file))
        return count

    def _spooled(self, name: str, file: Any) -> None:
        size = file.tell()
        file.seek(0)
        self._add(name, file, size)

    def _add(self, name: str, file: Any, size: int, *, mode: int = 0o600) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = size, mode, int(time.time())
        summed = Summed(file, size)
        self.tar.addfile(info, summed)
        self.sums[name] = [size, summed.digest]


class Summed:
    """A file whose checksum is made while it is read, exactly `size` bytes of it: files that grow are cut, those that shrink are refused."""

    def __init__(self, file: Any, size: int | None = None) -> None:
        self._file = file
        self._left = size
        self._sum = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Read on.

        Parameters
        ----------
        size
            Bytes at most; -1: all that is left.

        Returns
        -------
        data
            Bytes, which are summed up.
        """
        if self._left is not None:
            size = self._left if size < 0 else min(size, self._left)
        data: bytes = self._file.read(size)
        if self._left is not None:
            self._left -= len(data)
        self._sum.update(data)
        return data

    @property
    def digest(self) -> str:
        """SHA-256 of what was read."""
        return self._sum.hexdigest()


def _site(written: _Written, site: Site, archive: Path) -> None:
    """Add what the curators wrote, files beside descriptors too."""
    root = site.settings.directory
    skipped = {archive.resolve(), site.settings.kept.resolve()}
    for directory, names, files in os.walk(root):
        here = Path(directory)
        top = here == root
        names[:] = sorted(
            name for name in names if not (top and name in LEFT_OUT) and (here / name).resolve() not in skipped
        )
        for name in sorted(files):
            path = here / name
            if (top and name in LEFT_OUT) or path.resolve() in skipped or name.endswith(".part") or not path.is_file():
                continue
            written.file(f"site/{path.relative_to(root)}", path)


def _rows(written: _Written, site: Site, records: list[Record], progress: Callable[[str], None]) -> None:
    for record in records:
        progress(record.table.qualified)
        engine = site.engines.of(record.snapshot)
        count = written.rows(f"rows/{record.id}.arrow", record.table.arrow, _read(engine.read(record.snapshot)))
        if count != record.snapshot.rows:
            raise StorageError(
                f"{record.table.qualified} has {record.snapshot.rows:,} rows, of which {count:,} could be read",
                remedy="ingest it again",
            )


def _read(batches: Any) -> Generator[pa.RecordBatch]:
    yield from batches


def _jobs(written: _Written, site: Site, jobs: list[str]) -> None:
    root = site.settings.kept / "jobs"
    for job in jobs:
        for path in sorted((root / job).rglob("*")):
            if path.is_file():
                try:
                    written.file(f"jobs/{path.relative_to(root)}", path)
                except FileNotFoundError as error:
                    raise NotFound(
                        f"the job {job} was destroyed in this moment", remedy="run the backup again"
                    ) from error


__all__ = ["ARCHIVE", "HEAD", "SUMS", "Summed", "backup"]
