"""What a package of a collection contains for one reader: tables, files and documents, and what it lacks."""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

import hven
from hven import adql, query
from hven.descriptor.api.descriptor_sections import list_standards
from hven.model import split_address
from hven.model.errors import ForbiddenError, HvenError, NotFoundError, StorageUnavailableError, format_message
from hven.model.table import find_file_root_and_relative_path, table_to_json
from hven.plugins.packages.package_members import (
    ELSEWHERE,
    LEFT_OUT,
    LOCKED,
    MISSING,
    SNAPSHOT_FORMAT,
    LackingItem,
    PackageMember,
    RowTable,
    encode_path,
)
from hven.plugins.packages.package_reader import find_path_fault
from hven.plugins.promotion.pinned_directories import list_own_files
from hven.plugins.promotion.row_copies import open_rows
from hven.plugins.promotion.transfers import write_record_json
from hven.portal.api.pages import build_page_context
from hven.services import collection_files, remote_files
from hven.services.citations import collect_citation_metadata
from hven.services.face import ServiceContext
from hven.site.auth import OWNER_PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from hven.model.resource import CollectionSpec
    from hven.model.table import Table
    from hven.portal.api.pages import PageContext
    from hven.services.citations import CitationMetadata
    from hven.site import PublishedState, Site
    from hven.site.auth import Principal
    from hven.site.store import SnapshotRecord

READ_BYTES = 1 << 20
PATHS_PER_QUERY = 4000
MAX_ROWS = 2**62
MAX_READ_SECONDS = 7 * 86_400.0  # of one table: a package may be sent for days
REFEREE_PREFIX = "referee:"
OWNER_GROUP = "owner"
LONGEST_PREFIX = "_2000-01-01/data/"  # between the name of the collection and a path in the package


@dataclass(frozen=True, kw_only=True)
class PackageContents:
    """The contents of a package, without the bytes.

    Attributes
    ----------
    page_context
        The published state and the catalogue, as the reader may know them.
    is_whole
        Whether the reader is the owner, so that the package has the descriptor and can be imported.
    citation
        How the collection is cited.
    records
        Published snapshots by qualified table name.
    tables
        All tables that the reader may know of.
    row_tables
        Tables whose rows are in the package.
    members
        Files beside the descriptor, and products.
    lacking
        What is known to be lacking before anything is written.
    """

    page_context: PageContext
    name: str
    is_whole: bool
    citation: CitationMetadata
    records: Mapping[str, SnapshotRecord]
    tables: Sequence[Table]
    row_tables: Sequence[RowTable]
    members: Sequence[PackageMember]
    file_tags: Mapping[str, str]
    lacking: Sequence[LackingItem]

    @property
    def site(self) -> Site:
        """The site."""
        return self.page_context.context.site

    @property
    def resource(self) -> CollectionSpec:
        """The descriptor."""
        return self.citation.resource

    def compute_identity(self, form: str) -> str:
        """Return a digest of the published state: two packages with the same digest have the same bytes.

        Parameters
        ----------
        form
            Form of the package.
        """
        facts = [
            hven.__version__,
            form,
            self.name,
            self.page_context.access_key,
            self.page_context.principal.name,
            sorted((name, self.records[name].id) for name in (table.name for table in self.row_tables)),
            [[member.path, member.size, member.modified, self.file_tags.get(member.path)] for member in self.members],
            [[item.path, item.status] for item in self.lacking],
            sorted(self.resource.hashes.items()),
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def describe_snapshot(self) -> dict[str, Any]:
        """Describe the published state for a site that imports the package."""
        return {
            "format": SNAPSHOT_FORMAT,
            "hven": hven.__version__,
            "site": self.site.store.get_site_id(),
            "collection": self.name,
            # with their policies, which are the owner's; other packages can't be imported anyway
            "tables": {table.qualified_name: table_to_json(table) for table in self.tables if self.is_whole},
            "records": {
                table.name: _describe_record(self.records[table.name], is_whole=self.is_whole)
                for table in self.row_tables
            },
        }


def _describe_record(record: SnapshotRecord, *, is_whole: bool) -> dict[str, Any]:
    facts = write_record_json(record)
    if is_whole:
        return facts
    return {key: facts[key] for key in ("id", "run", "created")}


def create_page_context(context: ServiceContext) -> PageContext:
    """Create the context of a page without a request of a client, with the address of the site.

    Parameters
    ----------
    context
        Service context whose principal is the reader.
    """
    address = split_address(context.site.settings.site_url)
    host = address.netloc
    scope = {
        "type": "http",
        "method": "GET",
        "scheme": address.scheme,
        "path": "/",
        "root_path": address.path.rstrip("/"),
        "query_string": b"",
        "headers": [(b"host", host.encode())],
        "server": (address.hostname or "localhost", address.port or 80),
        "client": ("127.0.0.1", 0),
    }
    return build_page_context(Request(scope), context)


def collect_contents(
    site: Site, name: str, principal: Principal, policies: Sequence[Any] | None = None
) -> PackageContents:
    """Collect what a package of a collection contains.

    Parameters
    ----------
    site
        The site.
    name
        Name of the collection.
    principal
        The reader, whose rights decide on rows and on each file.
    policies
        Access policies; None: those that every site has.

    Raises
    ------
    NotFoundError
        The reader knows of no such collection, or it has no published rows.
    ForbiddenError
        The reader is a referee, from whom names are hidden.
    """
    if any(group.startswith(REFEREE_PREFIX) for group in principal.groups):
        message = format_message("a referee may not download a whole collection as a package")
        raise ForbiddenError(message, remedy="ask the owner of the site for a package without names")
    options = {}
    if policies is not None:
        options = {"policies": policies}
    context = ServiceContext.create_for_principal(site, principal, **options)
    site.refresh_published_state()
    page_context = create_page_context(context)
    state = page_context.published_state
    citation = collect_citation_metadata(context, state, page_context.catalogue, name, base_url=site.settings.site_url)
    is_whole = OWNER_GROUP in principal.groups
    records = {key: record for key, record in site.published_records.items() if record.collection == name}
    tables = [
        table
        for table in page_context.catalogue.iterate_tables()
        if table.schema == name and table.owner is None and state.tables_by_name[table.qualified_name].release is None
    ]
    stored_tables = [table for table in tables if table.qualified_name in records]
    if not stored_tables:
        raise NotFoundError(
            format_message("the collection {name!r} publishes no rows of its own", name[:80]),
            remedy=format_message("run `hven ingest {name}` first", name[:80]),
        )
    collector = _ContentCollector(context, principal, state, name)
    for table in tables:
        if table.qualified_name not in records:
            reason = "its rows are computed when they are queried, so only its description is in the package"
            collector.lacking.append(LackingItem(path=table.qualified_name, status=LEFT_OUT, reason=reason))
    row_tables = [
        collector.create_row_table(table, records[table.qualified_name], is_whole=is_whole) for table in stored_tables
    ]
    collector.add_products()
    if is_whole:
        collector.add_collection_files(citation.resource)
    else:
        reason = "only the owner of the site may take the descriptor and its sources, so this package can't be imported"
        collector.lacking.append(LackingItem(path="collection/", status=LOCKED, reason=reason))
    return PackageContents(
        page_context=page_context,
        name=name,
        is_whole=is_whole,
        citation=citation,
        records=records,
        tables=tables,
        row_tables=row_tables,
        members=collector.members,
        file_tags=collector.file_tags,
        lacking=collector.lacking,
    )


class _ContentCollector:
    """Collects tables and files of a collection with the rights of a reader."""

    def __init__(self, context: ServiceContext, principal: Principal, state: PublishedState, name: str) -> None:
        self.members: list[PackageMember] = []
        self.lacking: list[LackingItem] = []
        self.file_tags: dict[str, str] = {}
        self._context = context
        self._site = context.site
        self._principal = principal
        self._state = state
        self._name = name
        self._local_paths: set[str] = set()
        self._normal_paths: set[str] = set()  # of products, to find those that differ only in their spelling

    def create_row_table(self, table: Table, record: SnapshotRecord, *, is_whole: bool) -> RowTable:
        """Create a table with all rows of a snapshot, or with the rows and columns that the reader may see."""
        created = datetime.fromisoformat(record.created).astimezone(UTC).timestamp()
        if is_whole:
            rows = open_rows(self._site, record)
            return RowTable(table=record.table, open_batches=rows.read_batches, modified=created)
        return RowTable(table=table, open_batches=partial(self._query_rows, table), modified=created)

    def _query_rows(self, table: Table) -> Iterator[pa.RecordBatch]:
        columns = ", ".join(adql.quote_adql_name(column.name) for column in table.columns)
        with query.run_query(
            f"SELECT {columns} FROM {adql.quote_table_name(table)}",
            self._principal,
            site=self._site,
            policies=self._context.policies,
            published_state=self._state,
            maxrec=MAX_ROWS,
            hard_row_limit=MAX_ROWS,
            timeout_seconds=MAX_READ_SECONDS,
        ) as result:
            for batch in result.iterate_batches():
                yield batch.cast(table.arrow_schema)

    def add_products(self) -> None:
        """Add the files that the collection publishes, each with the rights of the reader."""
        owner_context = ServiceContext.create_for_principal(self._site, OWNER_PRINCIPAL, self._context.policies)
        try:
            listed_rows = collection_files.list_files(owner_context, OWNER_PRINCIPAL, self._name)
        except NotFoundError:  # the collection has no files
            return
        paths = [row["path"] for row in listed_rows]
        urls = {row["path"]: row["url"] for row in listed_rows if row["direct"]}
        for begin in range(0, len(paths), PATHS_PER_QUERY):
            self._add_found_products(paths[begin : begin + PATHS_PER_QUERY], urls)

    def _add_found_products(self, paths: Sequence[str], urls: Mapping[str, str]) -> None:
        with suppress(NotFoundError):  # the reader knows of none of these files
            found_files = collection_files.find_files(self._context, self._principal, self._name, paths)
            for path, error in found_files.refused.items():
                self._add_lacking(path, LOCKED, error)
            local_rows = []
            remote_rows = []
            for path, row in found_files.rows.items():
                if path in urls:
                    reason = f"it is on another server: {urls[path]}"
                    item = LackingItem(path=_name_product(path), status=ELSEWHERE, reason=reason)
                    self.lacking.append(item)
                    continue
                is_local = remote_files.find_remote_root(row) is None
                if is_local:
                    self._note_local_path(row)
                fault = self._claim_package_path(path)
                if fault:
                    reason = f"no package can contain it, because it {fault}"
                    self.lacking.append(LackingItem(path=_name_product(path), status=LEFT_OUT, reason=reason))
                elif is_local:
                    local_rows.append(row)
                else:
                    remote_rows.append(row)
            remote_states = remote_files.complete_rows_with_remote_file_states(self._context, remote_rows)
            for requested_row, state in zip(remote_rows, remote_states, strict=True):
                if isinstance(state, HvenError):
                    self._add_lacking(requested_row["path"], MISSING, state)
                else:
                    self._add_product(found_files, state)
            for row in local_rows:
                self._add_product(found_files, row)

    def _claim_package_path(self, path: str) -> str:
        """Return why `hven unpack` would refuse the whole package because of this path; empty if it would not."""
        if any(part.startswith(".") for part in path.split("/")):
            return "is hidden: its path has a name that begins with a dot"
        package_path = _name_product(path)
        fault = find_path_fault(f"{self._name}{LONGEST_PREFIX}{package_path}")
        normal_path = unicodedata.normalize("NFC", package_path)
        if not fault and normal_path in self._normal_paths:
            return "has the same name as another product, written with other Unicode characters"
        self._normal_paths.add(normal_path)
        return fault

    def _add_lacking(self, path: str, status: str, error: HvenError) -> None:
        reason = str(error).replace("\n", " ")
        self.lacking.append(LackingItem(path=_name_product(path), status=status, reason=reason))

    def _note_local_path(self, row: Mapping[str, Any]) -> None:
        path = locate_in_collection(row["path"], row["roots"])
        if path is not None:
            self._local_paths.add(path)

    def _add_product(self, found_files: collection_files.FoundFiles, row: dict[str, Any]) -> None:
        read_range = collection_files.create_file_reader(self._context, row)

        def read() -> Iterator[bytes]:
            if not row["bytes"] and remote_files.find_remote_root(row) is None:
                collection_files.find_unchanged_file_path(
                    self._site.settings, row
                )  # an empty file has no piece that checks it
            return (bytes(piece) for piece in read_range(0, row["bytes"]) if piece is not None)

        path = _name_product(row["path"])
        self.file_tags[path] = row["tag"]
        self.members.append(
            PackageMember(
                path=path,
                size=row["bytes"],
                modified=row["modified"],
                read=read,
                note_download=partial(found_files.record_access, "file taken", row["path"]),
            )
        )

    def add_collection_files(self, resource: CollectionSpec) -> None:
        """Add the descriptor and the files beside it, without the products, and the standards of the site."""
        files = {f"collection/{name}": path for name, path in list_own_files(resource).items()}
        for name in self._local_paths:
            files.pop(f"collection/{name}", None)
        files |= self._list_site_standards(resource)
        for name, path in files.items():
            package_path = encode_path(name)
            if path.is_symlink():
                reason = "it is a symbolic link; packages contain no links"
                self.lacking.append(LackingItem(path=package_path, status=LEFT_OUT, reason=reason))
                continue
            status = path.stat()
            self.members.append(
                PackageMember(
                    path=package_path,
                    size=status.st_size,
                    modified=status.st_mtime,
                    read=partial(_read_file, path, package_path, status),
                )
            )

    def _list_site_standards(self, resource: CollectionSpec) -> dict[str, Path]:
        """List the standards of the site that tables of the collection follow; shipped ones are on every site."""
        directory = self._site.settings.directory / "standards"
        used_names = {spec.table.standard for spec in resource.tables}
        return {
            f"standards/{path.name}": path
            for name, path in list_standards(self._site.settings).items()
            if name in used_names and path.parent == directory
        }


def _name_product(path: str) -> str:
    return encode_path(f"files/{path}")


def locate_in_collection(path: str, roots: Sequence[Any]) -> str | None:
    """Return where a product lies in the directory of its collection.

    Parameters
    ----------
    path
        Path of the product, as the table of files has it.
    roots
        Roots of the files.

    Returns
    -------
    place
        Path relative to the directory; None if the product is outside of it.
    """
    root, path_below = find_file_root_and_relative_path(path, roots)
    if root.scheme is not None:
        return None
    place = os.path.normpath(os.path.join(root.address, path_below))  # noqa: PTH118  (a text, not a place of the disk)
    is_outside = place.startswith(("/", "~")) or place.split("/")[0] == ".."
    return None if is_outside else place


def _read_file(path: Path, package_path: str, published: os.stat_result) -> Iterator[bytes]:
    """Read a file beside the descriptor, and check that it stays as it was."""
    try:
        with path.open("rb") as file:
            while chunk := file.read(READ_BYTES):
                yield chunk
            status = os.fstat(file.fileno())
    except OSError as error:
        reason = (error.strerror or "error").lower()
        raise StorageUnavailableError(f"{package_path} cannot be read: {reason}", remedy="restore the file") from error
    if (status.st_size, status.st_mtime_ns) != (published.st_size, published.st_mtime_ns):
        message = f"{package_path} was changed while it was read"
        raise StorageUnavailableError(message, remedy="create the package again")
