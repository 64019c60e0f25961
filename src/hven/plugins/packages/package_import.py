"""Publish a package as another site published it: rows, descriptor and files, through the steps of a promotion."""

from __future__ import annotations

import hashlib
import io
import os
import secrets
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

import hven
from hven import descriptor
from hven.descriptor.api.descriptor_sections import list_standards
from hven.ingest.api.changes import create_run_id
from hven.model.errors import ConflictError, NotFoundError, SourceError, StorageError, TooLargeError
from hven.model.table import FILES_UTYPE, table_from_json
from hven.plugins.packages.package_contents import locate_in_collection
from hven.plugins.packages.package_members import CHANGED, COMPLETENESS_MEMBER, SNAPSHOT_FORMAT, decode_path
from hven.plugins.packages.package_reader import PackageReader, create_hasher, find_path_fault
from hven.plugins.packages.snapshot_digests import combine_table_digests, compute_row_digest
from hven.plugins.promotion.collection_states import (
    CollectionState,
    PromotableCollections,
    SourceCollection,
    read_collection_state,
)
from hven.plugins.promotion.package_selection import select_packages_of
from hven.plugins.promotion.pinned_directories import create_file, explain_write_errors, is_plain_path
from hven.plugins.promotion.promotion import PromotionOptions, promote_collections
from hven.plugins.promotion.row_copies import SourceRows
from hven.plugins.promotion.transfers import read_record_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.model.table import FileRoot
    from hven.site import Site
    from hven.site.store import SnapshotRecord

MIN_FREE_DISK_BYTES = 64 * 1024**2
MAX_PART_BYTES = 1 << 30  # of a part with rows, packed or not: it is read into memory
BATCH_ROWS = 65_536
OUTSIDE_FOLDER = "package-files"


@dataclass(kw_only=True)
class ImportReport:
    """What an import did.

    Attributes
    ----------
    collection
        Name of the collection.
    run
        Id of the run; None: the site publishes the same already.
    snapshot_hash, expected_hash
        Hash of all rows that the site publishes now, and the hash that the package states.
    row_counts
        Number of rows of each table.
    notes
        What the operator has to do.
    """

    collection: str
    run: str | None = None
    snapshot_hash: str = ""
    expected_hash: str = ""
    row_counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageRows(SourceRows):
    """Rows of a table of a package."""

    reader: PackageReader
    paths: Sequence[str]

    def read_batches(self) -> Iterator[pa.RecordBatch]:
        """Yield all rows, in the types of the table.

        Raises
        ------
        SourceError
            A part is no Parquet file, or has other columns or rows than the package says.
        """
        schema = self.table.arrow_schema
        row_count = 0
        for path in self.paths:
            for batch in self._read_part(path):
                row_count += batch.num_rows
                if row_count > self.snapshot.rows:
                    break
                try:
                    yield batch.select(schema.names).cast(schema)
                except (pa.ArrowException, KeyError) as error:
                    raise self._build_error(
                        path, f"does not have the columns of {self.table.qualified_name}"
                    ) from error
        if row_count != self.snapshot.rows:
            raise self._build_error(
                self.paths[-1], f"ends after row {row_count:,}, but the package declares {self.snapshot.rows:,} rows"
            )

    def _read_part(self, path: str) -> Iterator[pa.RecordBatch]:
        packed_bytes = self.reader.members[path].size
        if packed_bytes > MAX_PART_BYTES:
            raise self._build_error(path, f"has {packed_bytes:,} bytes, more than {MAX_PART_BYTES:,}")
        try:
            file = pq.ParquetFile(io.BytesIO(b"".join(self.reader.iterate_bytes(path))))
            metadata = file.metadata
            unpacked_bytes = sum(
                metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups)
            )
            if unpacked_bytes > MAX_PART_BYTES:
                raise self._build_error(path, f"has {unpacked_bytes:,} bytes of rows, more than {MAX_PART_BYTES:,}")
            yield from file.iter_batches(BATCH_ROWS)
        except (pa.ArrowException, OSError) as error:
            raise self._build_error(path, f"is not a Parquet file that can be read: {error!s:.200}") from error

    def _build_error(self, path: str, fault: str) -> SourceError:
        return SourceError(
            f"{self.reader.path}: {path} {fault}", remedy="ask the sender for the package again; nothing was published"
        )


@dataclass(frozen=True, kw_only=True)
class PackageCollection(SourceCollection):
    """What a package contains of a collection.

    Attributes
    ----------
    reader
        The package.
    """

    reader: PackageReader

    def open_rows(self, record: SnapshotRecord) -> PackageRows:
        """Return the rows of a record.

        Parameters
        ----------
        record
            Record of a snapshot.
        """
        prefix = f"{self.reader.payload_prefix}rows/{record.table.qualified_name}/"
        paths = sorted(path for path in self.reader.members if path.startswith(prefix))
        if not paths:
            raise SourceError(f"{self.reader.path}: {prefix} is missing", remedy="ask the sender for the package again")
        return PackageRows(reader=self.reader, paths=paths, table=record.table, snapshot=record.snapshot)


class PackageSource:
    """A verified package, from which its collection is promoted: a `promotion.PromotionSource`.

    Parameters
    ----------
    reader
        The package.

    Raises
    ------
    SourceError
        It does not describe a collection, or describes what cannot be true.
    """

    def __init__(self, reader: PackageReader) -> None:
        self.reader = reader
        self.notes: list[str] = []
        self.outside_note = ""
        self._added_standards: list[Path] = []
        self._outside_directory: Path | None = None
        self.snapshot = reader.read_snapshot()
        self._checksums = reader.read_payload_checksums()
        self._check_versions()
        self._changed_paths = self._read_paths_changed_while_packing()
        descriptor_path = f"{reader.payload_prefix}collection/{self.snapshot.get('collection')}.yaml"
        if descriptor_path not in reader.members:
            raise SourceError(
                f"{reader.path} has no descriptor, because a reader without the rights of the owner made it",
                remedy="ask the owner of the site for a package",
            )
        try:
            self.name = str(self.snapshot["collection"])
            self.expected_hash = str(self.snapshot["snapshot_hash"])
            self.tables = {name: table_from_json(facts) for name, facts in self.snapshot["tables"].items()}
            self.records = {
                name: read_record_json(facts, self.tables[name], self.name)
                for name, facts in self.snapshot["records"].items()
            }
            is_own = all(table.schema == self.name for table in self.tables.values()) and bool(self.records)
            is_plain = not find_path_fault(self.name) and "/" not in self.name and not self.name.startswith(".")
            has_equal_names = all(table.qualified_name == name for name, table in self.tables.items())
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            message = (
                f"{reader.path}: snapshot.json does not describe a collection: {type(error).__name__} {error!s:.100}"
            )
            raise SourceError(message, remedy="use a package that `hven package` of the same version wrote") from error
        if not (is_own and is_plain and has_equal_names):
            raise SourceError(
                f"{reader.path}: snapshot.json contradicts itself", remedy="ask the sender for the package again"
            )

    def _check_versions(self) -> None:
        """Check that this version understands the descriptions of tables; those of others may mean something else.

        Raises
        ------
        SourceError
            Another version wrote the package.
        """
        version = self.snapshot.get("hven")
        if self.snapshot.get("format") != SNAPSHOT_FORMAT or version != hven.__version__:
            raise SourceError(
                f"{self.reader.path} was written by Hven {version!s:.40}, and this is Hven {hven.__version__}",
                remedy="use a package that `hven package` of the same version wrote; nothing was published",
            )

    def _read_paths_changed_while_packing(self) -> set[str]:
        """Find the files that were changed while they were packed, and are not usable."""
        completeness = self.reader.read_json(self.reader.payload_prefix + COMPLETENESS_MEMBER)
        try:
            paths = {str(item["path"]) for item in completeness["lacking"] if item["status"] == CHANGED}
        except (KeyError, TypeError) as error:
            message = f"{self.reader.path}: {COMPLETENESS_MEMBER} is not a report"
            raise SourceError(message, remedy="ask the sender for the package again") from error
        self.notes += [f"left out {path}: it was changed while the package was written" for path in sorted(paths)]
        return {self._add_prefix(path) for path in paths}

    def list_collections(self) -> PromotableCollections:
        """List the collection of the package."""
        return PromotableCollections([self.name], [])

    def read_collection(
        self,
        name: str,
        target: CollectionState,
        work_directory: Path,
        *,
        is_dry_run: bool,  # noqa: ARG002
    ) -> SourceCollection:
        """Unpack descriptor and files into a directory, and return what the package contains."""
        settings = target.site.settings
        with explain_write_errors(work_directory):
            work_directory.mkdir(parents=True)
            self._check_free_space(work_directory)
            self._unpack_standards(settings.directory / "standards")
            self._unpack_folder("collection/", work_directory)
            with select_packages_of(settings):
                resource = descriptor.load_descriptor(work_directory / f"{name}.yaml", settings)
            roots = next((spec.table.roots for spec in resource.tables if spec.table.utype == FILES_UTYPE), ())
            # a new directory for each run: the files of an earlier one may be published
            self._outside_directory = settings.directory / OUTSIDE_FOLDER / name / create_run_id()
            self._unpack_products(roots, work_directory, self._outside_directory)
        return PackageCollection(
            name=name,
            resource=resource,
            records=self.records,
            tables=self.tables,
            reader=self.reader,
            site_id=str(self.snapshot.get("site", "")),
        )

    def _check_free_space(self, directory: Path) -> None:
        needed_bytes = 2 * sum(
            member.size
            for path, member in self.reader.members.items()
            if not path.startswith(self._add_prefix("rows/"))
        )
        free_bytes = shutil.disk_usage(directory).free - MIN_FREE_DISK_BYTES
        if needed_bytes > free_bytes:
            raise TooLargeError(
                f"{self.reader.path} needs {needed_bytes:,} bytes for its files, but only {free_bytes:,} are free",
                remedy="free some space on the disk of the site; nothing was published",
            )

    def _add_prefix(self, folder: str) -> str:
        return self.reader.payload_prefix + folder

    def _list_folder(self, folder: str) -> Iterator[tuple[str, str]]:
        """Yield the files of a folder: path in the package, and path below the folder as the site wrote it."""
        prefix = self._add_prefix(folder)
        for path in self.reader.members:
            if path.startswith(prefix) and path not in self._changed_paths:
                place = decode_path(path.removeprefix(prefix))
                if not is_plain_path(place):
                    raise SourceError(
                        f"{self.reader.path}: the path {place!r:.200} leads out of the package or is hidden",
                        remedy="ask the sender for another package; nothing was published",
                    )
                yield path, place

    def _unpack_folder(self, folder: str, directory: Path) -> None:
        for path, place in self._list_folder(folder):
            self._unpack_file(path, directory / place)

    def _unpack_file(self, path: str, place: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        checksum = self._checksums.get(path, "")
        hasher = create_hasher(checksum)
        with create_file(place) as file:
            for chunk in self.reader.iterate_bytes(path):
                hasher.update(chunk)
                file.write(chunk)
        if hasher.hexdigest() != checksum:  # the package was verified some time ago
            raise SourceError(
                f"{self.reader.path}: {path} differs from its checksum, because the package has changed meanwhile",
                remedy="copy the package to a disk of this machine, and import that copy; nothing was published",
            )
        modified = round(self.reader.members[path].modified * 1e6) * 1000  # the table of files has microseconds
        os.utime(place, ns=(modified, modified))

    def _unpack_standards(self, directory: Path) -> None:
        """Add standards of the other site; one that this site has with other contents is never replaced."""
        for path, place in self._list_folder("standards/"):
            own_file = directory / place
            if own_file.stem in list_standards() and not own_file.exists():
                raise ConflictError(
                    f"{self.reader.path} has a standard {place}, which would replace Hven's own for all collections",
                    remedy="rename it in the package, and change its name in the descriptor; nothing was published",
                )
            if not own_file.exists():
                self._add_standard(path, own_file)
                self.notes.append(f"added {own_file}, which the descriptor needs")
            elif hashlib.sha256(own_file.read_bytes()).digest() != self._hash_member(path):
                raise ConflictError(
                    f"{own_file} differs from the standard {place} in the package",
                    remedy="rename one of them, and change its name in the descriptor; nothing was published",
                )

    def _add_standard(self, path: str, own_file: Path) -> None:
        """Write a standard that appears when it is complete."""
        part_file = own_file.with_name(f".{own_file.name}.{secrets.token_hex(3)}.part")
        try:
            self._unpack_file(path, part_file)
            os.link(part_file, own_file)
            self._added_standards.append(own_file)
        finally:
            part_file.unlink(missing_ok=True)

    def _hash_member(self, path: str) -> bytes:
        hasher = hashlib.sha256()
        for chunk in self.reader.iterate_bytes(path):
            hasher.update(chunk)
        return hasher.digest()

    def _unpack_products(self, roots: Sequence[FileRoot], directory: Path, outside_directory: Path) -> None:
        """Unpack products where the descriptor expects them, or, if that is not in its directory, elsewhere."""
        outside_roots: set[str] = set()
        for path, product_path in self._list_folder("files/"):
            place = locate_in_collection(product_path, roots)
            if place is not None:
                self._unpack_file(path, directory / place)
                continue
            self._unpack_file(path, outside_directory / product_path)
            outside_roots |= {root.address for root in roots}
        if outside_roots:
            self.outside_note = (
                f"the descriptor has its files in {', '.join(sorted(outside_roots))}; they are in {outside_directory} "
                "now: move them there, or change `files` in the descriptor"
            )

    def delete_outside_products(self) -> None:
        """Delete the products that were unpacked outside of the collection."""
        self.outside_note = ""
        if self._outside_directory is not None:
            shutil.rmtree(self._outside_directory, ignore_errors=True)
            for folder in (self._outside_directory.parent, self._outside_directory.parent.parent):
                with suppress(OSError):  # it has files of other packages
                    folder.rmdir()

    def delete_unpublished(self) -> None:
        """Delete what was unpacked outside of the work directory, because it is not published."""
        self.delete_outside_products()
        for path in self._added_standards:
            path.unlink(missing_ok=True)


def import_package(site: Site, reader: PackageReader, options: PromotionOptions) -> ImportReport:
    """Publish a verified package.

    Parameters
    ----------
    site
        The site that publishes it.
    reader
        The package; `PackageReader.verify` must have found it valid.
    options
        What the import may do with a collection that the site has already.

    Raises
    ------
    ConflictError
        The site has changes of its own, or more people would see a table.
    SourceError
        The package contradicts itself.
    StorageError
        The rows that are published differ from those of the package.
    """
    source = PackageSource(reader)
    published_ids = _list_published_ids(site, source.name)
    try:
        promotion_report = promote_collections(source, site, [source.name], options)[0]
    except BaseException:
        if _list_published_ids(site, source.name) == published_ids:
            source.delete_unpublished()
        raise
    if promotion_report.run is None:  # the products of the run that published the same are still there
        source.delete_outside_products()
    report = ImportReport(collection=source.name, run=promotion_report.run, expected_hash=source.expected_hash)
    report.notes = [note for note in (*source.notes, source.outside_note, *promotion_report.warnings) if note]
    report.row_counts, report.snapshot_hash = compute_snapshot_hash(site, source.name)
    if report.snapshot_hash != report.expected_hash:
        raise StorageError(
            f"the rows of {source.name} have the hash {report.snapshot_hash}, but the package states "
            f"{report.expected_hash}",
            remedy=f"run `hven promote {source.name} --back` or `hven rollback {source.name}`, and report the problem",
        )
    return report


def _list_published_ids(site: Site, name: str) -> dict[str, str]:
    return {table_name: record.id for table_name, record in read_collection_state(site, name).records.items()}


def compute_snapshot_hash(site: Site, name: str) -> tuple[dict[str, int], str]:
    """Read the published rows of a collection, and compute their hash.

    Parameters
    ----------
    site
        The site.
    name
        Name of the collection.

    Returns
    -------
    row_counts, snapshot_hash
        Number of rows of each table, and the hash that a package of the collection states.
    """
    state = read_collection_state(site, name)
    if not state.records:
        raise NotFoundError(f"this site publishes no rows of {name!r:.80}", remedy=f"run `hven ingest {name}` first")
    digests = {}
    row_counts = {}
    for table_name, record in state.records.items():
        rows = state.open_rows(record)
        digests[table_name] = compute_row_digest(record.table.arrow_schema, rows.read_batches())
        row_counts[table_name] = record.snapshot.rows
    return row_counts, combine_table_digests(digests)
