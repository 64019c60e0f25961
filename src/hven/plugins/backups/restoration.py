"""Restore an archive of `write_backup` into an empty directory and an empty store, after checking the whole archive."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import tarfile
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.model import settings as site_settings
from hven.model.errors import ConflictError, HvenError, SourceError, StorageError, UserError
from hven.model.settings import SECRETS_FILE
from hven.plugins.backups.archive import ARCHIVE_FORMAT, CHECKSUMS_MEMBER, HEADER_MEMBER, ChecksumReader
from hven.plugins.backups.state_copies import StateBackupAccess
from hven.site import Site
from hven.site.api.state_tables import STATE_FORMAT, snapshot_record_from_row, user_table_record_from_row
from hven.site.store import StateStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hven.model.settings import Settings
    from hven.site.store import SnapshotRecord

_CHUNK_BYTES = 1 << 20
_ENGINE_SETTING_PATTERN = re.compile(r"^(\s*engine\s*=\s*)([\"'])[^\"'\n]*\2", re.MULTILINE)


def verify_archive(path: Path) -> dict[str, Any]:
    """Verify an archive from end to end.

    Parameters
    ----------
    path
        Path of the archive.

    Returns
    -------
    about
        The archive's header, with ``members`` and ``bytes``.

    Raises
    ------
    SourceError
        It is no archive of Hven, or it is cut off or altered.
    UserError
        A newer Hven wrote it.
    """
    with _explain_archive_errors(path):
        return _read_and_verify(path)


def _read_and_verify(path: Path) -> dict[str, Any]:
    member_checksums: dict[str, list[Any]] = {}
    header: dict[str, Any] = {}
    expected_checksums: dict[str, Any] | None = None
    for member, file in _iterate_members(path):
        name = member.name
        if expected_checksums is not None:
            raise SourceError(f"{path} is not intact: {name!r} comes after the end of the backup")
        if not header and name != HEADER_MEMBER:
            raise SourceError(f"{path} is not a Hven backup", remedy="specify a file that `hven backup` has written")
        if name in member_checksums or not _is_valid_member_name(name):
            raise SourceError(f"{path} is not intact: it contains {name!r:.120}, which does not belong in a backup")
        checksum_reader = ChecksumReader(file)
        if name == CHECKSUMS_MEMBER:
            expected_checksums = _parse_json_member(path, name, checksum_reader.read())
            continue
        if name == HEADER_MEMBER:
            header = _parse_json_member(path, name, checksum_reader.read())
            _check_archive_version(path, header)
        while checksum_reader.read(_CHUNK_BYTES):
            pass
        member_checksums[name] = [member.size, checksum_reader.digest]
    if not header:
        raise SourceError(f"{path} is not a Hven backup", remedy="specify a file that `hven backup` has written")
    if expected_checksums is None:
        remedy = "copy the backup again; if there is no complete copy, the site cannot be restored"
        raise SourceError(f"{path} is incomplete: its end is missing", remedy=remedy)
    _compare_checksums(path, member_checksums, expected_checksums)
    return {**header, "members": len(member_checksums), "bytes": path.stat().st_size}


def _compare_checksums(path: Path, actual: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Check that the members of an archive are those that were written."""
    for name in sorted({*actual, *expected}):
        if actual.get(name) == expected.get(name):
            continue
        if name not in actual:
            difference = "is missing"
        elif name in expected:
            difference = "is different from the original"
        else:
            difference = "was added"
        message = f"{path} is not intact: {name} {difference}"
        raise SourceError(message, remedy="copy the backup again from the original")


def _check_archive_version(path: Path, header: Mapping[str, Any]) -> None:
    archive_format = header.get("backup")
    store_format = header.get("store")
    if not isinstance(archive_format, int) or not isinstance(store_format, int):
        raise SourceError(f"{path} is not a Hven backup", remedy="specify a file that `hven backup` has written")
    if archive_format > ARCHIVE_FORMAT or store_format > STATE_FORMAT:
        version = header.get("hven")
        raise UserError(
            f"{path} was written by Hven {version} (archive format {archive_format}, state format {store_format}); "
            f"this version of Hven supports archive format {ARCHIVE_FORMAT} and state format {STATE_FORMAT}",
            remedy=f"restore the backup with Hven {version} or newer",
        )


def _parse_json_member(path: Path, name: str, body: bytes) -> dict[str, Any]:
    try:
        parsed_member = json.loads(body)
    except ValueError as error:
        raise SourceError(f"{path} is not intact: {name} cannot be read") from error
    if not isinstance(parsed_member, dict):
        raise SourceError(f"{path} is not intact: {name} cannot be read")
    return parsed_member


def _is_valid_member_name(name: str) -> bool:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts:
        return False
    return name in {HEADER_MEMBER, CHECKSUMS_MEMBER} or parts[0] in {"site", "state", "rows", "jobs"}


@contextmanager
def _explain_archive_errors(path: Path) -> Iterator[None]:
    """Translate errors in an archive into plain words, wherever it breaks off."""
    try:
        yield
    except (tarfile.TarError, EOFError) as error:
        reason = str(error)
        if any(phrase in reason for phrase in ("not a", "invalid header", "empty")):
            message = f"{path} is not a Hven backup, or is damaged: {reason}"
            raise SourceError(message, remedy="specify a file that `hven backup` has written") from error
        remedy = "copy the backup again; if there is no complete copy, the site cannot be restored"
        raise SourceError(f"{path} is incomplete: {reason}", remedy=remedy) from error


def _iterate_members(path: Path) -> Iterator[tuple[tarfile.TarInfo, Any]]:
    """Yield the files of an archive, one after another."""
    try:
        archive_file = path.open("rb")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
    with archive_file, tarfile.open(fileobj=archive_file, mode="r|") as tar:
        for member in tar:
            file = None
            if member.isreg():
                file = tar.extractfile(member)
            if file is None:
                raise SourceError(f"{path} is not intact: {member.name!r:.120} is not a file")
            yield member, file


def restore_archive(path: Path, directory: Path, *, engine: str | None = None) -> dict[str, Any]:
    """Restore a site from an archive.

    Parameters
    ----------
    path
        Path of the archive.
    directory
        A directory that does not exist, or contains nothing but ``secrets.toml``. It becomes a site when everything
        is in it.
    engine
        Engine for all rows, whatever engine they were in.

    Returns
    -------
    dict
        The archive's header; the ``collections`` that must be ingested, because the archive has no rows; and as
        ``yours`` sentences about settings to review, because they belong to the place where the site was.

    Raises
    ------
    ConflictError
        The directory, or the database of the system state, is not empty.
    SourceError, UserError
        The archive cannot be restored; see `verify_archive`.
    StorageError
        The disk or a database fails. What was there before stays as it was.
    """
    if not _is_absent_or_empty_directory(directory):
        remedy = f"give a directory that does not exist, or that contains nothing but {SECRETS_FILE}"
        raise ConflictError(f"{directory} is not empty", remedy=remedy)
    header = verify_archive(path)
    # inside the directory: the user may have no right to write above it, or it may be a mount
    partial_directory = directory / f".{secrets.token_hex(3)}.part"
    is_new_directory = not directory.exists()
    moved_items: list[Path] = []
    try:
        partial_directory.mkdir(parents=True)
        if (directory / SECRETS_FILE).is_file():
            shutil.copy2(directory / SECRETS_FILE, partial_directory / SECRETS_FILE)
        restoration = _SiteRestoration(path, partial_directory, engine)
        with _explain_archive_errors(path):
            collections = restoration.restore_site()
        for item in _list_restored_items(partial_directory):
            # if a later one fails, these are moved back
            moved_items.append(item.rename(directory / item.name))  # noqa: PERF401
        moved_items.clear()
    except HvenError as error:  # the partial directory will be gone when somebody reads the message
        error.message = error.message.replace(str(partial_directory), str(directory))
        error.remedy = error.remedy.replace(str(partial_directory), str(directory))
        raise
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        message = f"{directory} cannot be created: {reason}"
        raise StorageError(message, remedy="free some space on the disk, or choose a different directory") from error
    finally:
        for item in moved_items:
            item.rename(partial_directory / item.name)
        shutil.rmtree(partial_directory, ignore_errors=True)
        if is_new_directory and directory.exists() and not any(directory.iterdir()):
            directory.rmdir()
    local_settings = _write_local_setting_notices(site_settings.load_settings(directory))
    return {
        **header,
        "collections": [] if header["data"] else collections,
        "yours": [*restoration.notices, *local_settings],
    }


def _is_absent_or_empty_directory(directory: Path) -> bool:
    if not directory.exists():
        return True
    return directory.is_dir() and all(item.name == SECRETS_FILE for item in directory.iterdir())


def _list_restored_items(partial_directory: Path) -> list[Path]:
    """List what is moved to the site's directory; its settings come last, because they make it a site."""
    items = [item for item in partial_directory.iterdir() if item.name != SECRETS_FILE]
    return sorted(items, key=lambda item: item.name == site_settings.SETTINGS_FILE)


def _write_local_setting_notices(settings: Settings) -> Iterator[str]:
    """List the settings of a restored hven.toml that belong to the place where the site was."""
    for name, setting_value, reason in site_settings.iterate_location_specific_settings(settings):
        if isinstance(setting_value, tuple):
            value_text = ", ".join(setting_value)
        else:
            value_text = setting_value
        yield f"{site_settings.SETTINGS_FILE} still has {name} = {value_text} from the original site: {reason}"


class _SiteRestoration:
    """One restoration, into a directory whose contents are moved up at the end."""

    def __init__(self, path: Path, directory: Path, engine: str | None) -> None:
        self.path = path
        self.directory = directory
        self.engine = engine
        self.rows_by_table: dict[str, list[dict[str, Any]]] = {}
        self.restored_records: dict[str, SnapshotRecord] = {}
        self.notices: list[str] = []

    def restore_site(self) -> list[str]:
        """Restore the site; return the collections that have a descriptor."""
        for member, file in _iterate_members(self.path):  # all files and the state come before the rows
            if member.name.startswith("site/"):
                self._write_member(self.directory, member, file, member.name.removeprefix("site/"))
            elif member.name.startswith("state/"):
                lines = [line for line in file.read().decode().splitlines() if line]
                self.rows_by_table[PurePosixPath(member.name).stem] = [json.loads(line) for line in lines]
            elif member.name.startswith(("rows/", "jobs/")):
                break
        settings = self._set_engine_in_settings_file(site_settings.load_settings(self.directory))
        data_directory = settings.data_directory
        with closing(StateStore(settings.var_directory, settings.store)) as store:
            store.get_or_create(StateBackupAccess).check_empty()
        with Site(settings) as site:
            try:
                self._restore_rows_and_jobs(site, data_directory)
                site.store.get_or_create(StateBackupAccess).import_rows(self.rows_by_table, self.restored_records)
            except BaseException:
                site.engines.drop_snapshots_and_list_problems(
                    record.snapshot for record in self.restored_records.values()
                )
                site.store.release_data_directory()
                raise
            for record in self.restored_records.values():
                engine = site.engines.find_engine(record.snapshot)
                engine.note_published_snapshot(record.snapshot)
        return settings.list_collections()

    def _set_engine_in_settings_file(self, settings: Settings) -> Settings:
        """Set the engine in hven.toml to the one that has the rows now."""
        if self.engine is None or settings.engine == self.engine:
            return settings
        file = self.directory / site_settings.SETTINGS_FILE
        text = file.read_text(encoding="utf-8-sig")
        first_section, separator, other_sections = text.partition("\n[")
        new_section, replacement_count = _ENGINE_SETTING_PATTERN.subn(rf'\g<1>"{self.engine}"', first_section, count=1)
        if not replacement_count:
            new_section = f'engine = "{self.engine}"\n{first_section}'
        file.write_text(f"{new_section}{separator}{other_sections}", encoding="utf-8")
        self.notices.append(f"{site_settings.SETTINGS_FILE} now has engine = {self.engine}; it was {settings.engine}")
        return site_settings.load_settings(self.directory)

    def _restore_rows_and_jobs(self, site: Site, data_directory: Path) -> None:
        records = self._build_snapshot_records_by_id()
        site_records = [record for record in records.values() if record.table.owner is None]
        for engine_name in sorted({self.engine or record.snapshot.engine for record in site_records}):
            site.engines.get_engine(engine_name)  # an engine that cannot be opened is reported before any writing
        if self.engine is not None:
            for name, resource in site.get_published_state().resources.items():
                if resource.engine not in {None, self.engine}:
                    notice = f"the descriptor of {name} has `engine: {resource.engine}`"
                    self.notices.append(f"{notice}; the next ingest moves the rows to this engine")
        for member, file in _iterate_members(self.path):
            if member.name.startswith("rows/"):
                record = records.get(PurePosixPath(member.name).stem)
                if record is None:
                    raise SourceError(f"{self.path} is not intact: it has no record of {member.name}")
                self._restore_snapshot(site, record, file)
            elif member.name.startswith("jobs/"):
                self._write_member(data_directory, member, file, member.name)
        missing_snapshots = sorted(set(records) - set(self.restored_records))
        if missing_snapshots:
            table_name = records[missing_snapshots[0]].table.qualified_name
            raise SourceError(f"{self.path} is not intact: the rows of {table_name} are missing")

    def _build_snapshot_records_by_id(self) -> dict[str, SnapshotRecord]:
        snapshot_rows = self.rows_by_table.get("snapshots", ())
        user_table_rows = self.rows_by_table.get("user_tables", ())
        stored_records = [snapshot_record_from_row(SimpleNamespace(**row)) for row in snapshot_rows]
        stored_records += [user_table_record_from_row(SimpleNamespace(**row)) for row in user_table_rows]
        return {record.id: record for record in stored_records}

    def _restore_snapshot(self, site: Site, record: SnapshotRecord, file: Any) -> None:
        """Write the rows of a snapshot to its engine, which builds indexes and statistics again."""
        if record.table.owner is not None:
            engine = site.embedded_engine
        else:
            engine = site.engines.get_engine(self.engine or record.snapshot.engine)
        schema = record.table.arrow_schema
        staging = engine.stage_snapshot(record.table, record.id)
        try:
            with pa.ipc.open_stream(file) as reader:
                for batch in reader:
                    staging.write(batch.select(schema.names).cast(schema))
            snapshot = replace(staging.finish(), engine=engine.name)
        except pa.ArrowException as error:
            staging.abandon()
            message = f"the rows of {record.table.qualified_name} cannot be read: {error}"
            raise SourceError(f"{self.path} is not intact: {message}") from error
        except BaseException:
            staging.abandon()
            raise
        self.restored_records[record.id] = replace(record, snapshot=snapshot)
        if snapshot.rows != record.snapshot.rows:
            raise SourceError(
                f"{self.path} is not intact: {record.table.qualified_name} has {snapshot.rows:,} rows, not "
                f"{record.snapshot.rows:,}"
            )

    def _write_member(self, root: Path, member: tarfile.TarInfo, file: Any, name: str) -> None:
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as out:
            shutil.copyfileobj(file, out, _CHUNK_BYTES)
        target.chmod(member.mode & 0o777)
