"""Files of collections: which a reader may access, one or thousands at once, and the bytes of a published file.

Common
------
context, settings
    The site; its settings.
principal
    Reader for whom the answer is built.
collection
    Name of the collection, or the schema of a release.
path
    Path of the file.
row
    Row of the file, as `find_files` found it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote as percent_encode

import pyarrow as pa
import pyarrow.compute as pc

from hven import adql, query
from hven.adql.adql_writer import write_adql_literal
from hven.formats.media import SIGNATURE_BYTES, RemotePath, detect_product_file_format, open_product
from hven.model.errors import (
    ForbiddenError,
    GoneError,
    HvenError,
    NotFoundError,
    SourceError,
    StorageUnavailableError,
    UnauthenticatedError,
    format_message,
)
from hven.model.table import FILES_UTYPE, Column, Table, TemplateExpression, find_file_root_and_relative_path
from hven.model.types import STRING
from hven.services import remote_files
from hven.services.addresses import ADDRESS_CHARACTERS
from hven.services.remote_files import RemoteFileRanges
from hven.site import record_sent_data
from hven.site.auth import OWNER_PRINCIPAL, can_see_whole_collection, impersonation

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from hven.formats.media import Place
    from hven.model.settings import Settings
    from hven.model.table import Template
    from hven.services.face import ServiceContext
    from hven.site import Catalogue, PublishedState, PublishedTable
    from hven.site.auth import Principal
    from hven.site.store import Release

LIST_COLUMNS = ("path", "url", "bytes", "sha256", "title")
FILE_COLUMNS = ("path", "url", "media_type", "bytes", "sha256", "modified")
READER_VERSION = 1  # must be increased when media read files differently, so that older copies are not used
PIECE_BYTES = 256 * 1024  # bytes of a chunk of computed or remote content
# bytes of a chunk of a local file: with the buffers of the server, they stay in the processor's cache (benches.md)
READ_BYTES = 160 * 1024
STATE_CHECK_BYTES = 4 << 20  # bytes after which it is checked again that a file has not changed
FilePiece = bytes | bytearray | None  # None: the next piece must be waited for
MAX_LITERAL_PATHS = 4000  # paths in a condition; up to some thousands, looking up each is faster than a join
_MAX_EXPLAINED_LOCKS = 20  # locked files for each of which the reason is queried
_EMPTY_FILE_ROWS = pa.table({name: pa.nulls(0) for name in FILE_COLUMNS})
_WANTED_PATHS_TABLE = Table(schema="TAP_UPLOAD", name="wanted", columns=(Column(name="wanted_path", type=STRING),))


class FoundFiles(NamedTuple):
    """Requested files of a collection.

    Attributes
    ----------
    rows
        Rows of accessible files by path; files that do not exist are in neither dictionary.
    refused
        Path -> why the reader may not access the file.
    access_key
        Key of the readers who get the same answer.
    record_access
        Logs that a file was listed or read.
    collection
        Name of the collection.
    """

    rows: dict[str, dict[str, Any]]
    refused: dict[str, HvenError]
    access_key: str
    record_access: Callable[[str, str], None]
    collection: str

    def get_row(self, path: str) -> dict[str, Any]:
        """Return the row of a file.

        Parameters
        ----------
        path
            A requested path.

        Raises
        ------
        NotFoundError
            The reader knows of no such file.
        HvenError
            The reader may not access it.
        """
        if path in self.refused:
            raise self.refused[path]
        if path not in self.rows:
            message = format_message("the collection {name!r} has no file {path!r} here", self.collection, path[:200])
            raise NotFoundError(
                message, remedy=format_message("see the list at collections/{name}/files", self.collection)
            )
        return self.rows[path]


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginalFile:
    """The file of a row, which its reader may access.

    Attributes
    ----------
    name
        Name of the file for readers.
    path
        Where it is: on the disk, or on another server, from which ranges are read.
    etag
        Entity tag of its content, and of the files that are read with it.
    is_public
        Whether everybody may access it.
    collection
        Its collection.
    state_digest
        Digest of its present state.
    var_directory
        Directory in which the site keeps what it makes of files.
    """

    name: str
    path: Place
    etag: str
    is_public: bool
    collection: str
    state_digest: str
    var_directory: Path

    def get_products_directory(self, folder: str) -> Path:
        """Return the directory of what was made of the file in its present state.

        Parameters
        ----------
        folder
            Folder of these products, one of `hven.model.plugins.PluginPackage.collection_folders`.
        """
        return self.var_directory / folder / self.collection / self.state_digest


def list_files(context: ServiceContext, principal: Principal, collection: str) -> list[dict[str, Any]]:
    """List the files of a collection that a reader may list.

    Parameters
    ----------
    collection
        Name of the collection.

    Returns
    -------
    rows
        `LIST_COLUMNS`, and ``direct``: whether clients are redirected to the file on another server.

    Raises
    ------
    NotFoundError
        The reader knows of no files.
    """
    published_state = context.site.get_published_state()
    files = _require_files_table(context, principal, collection, published_state)
    text = f"SELECT {', '.join(LIST_COLUMNS)} FROM {adql.quote_table_name(files)} ORDER BY path"
    rows: list[dict[str, Any]] = _run_query(context, text, principal, published_state).to_pylist()
    for row in rows:
        root, _ = find_file_root_and_relative_path(row["path"], files.roots)
        row["direct"] = root.redirects_clients
    return rows


def list_row_file_templates(table: Table) -> Iterator[tuple[Template, Template]]:
    """Yield templates of the paths of rows' own files, and of their descriptions.

    Parameters
    ----------
    table
        A table of files, or one whose rows lead to files.

    Yields
    ------
    path, description
        Templates over the row.
    """
    if table.utype == FILES_UTYPE:
        yield (TemplateExpression('target."path"'),), (TemplateExpression('target."title"'),)
    for link in table.row_file_links:
        yield link.address, link.description
    for path in table.row_file_templates:
        yield path, ()


def list_file_states(context: ServiceContext, principal: Principal, collection: str) -> Iterator[tuple[str, str]]:
    """Yield the files of a collection with their published states.

    Yields
    ------
    path, state
        Path and state in the order of the paths.

    Raises
    ------
    NotFoundError
        The reader knows of no files.
    """
    published_state = context.site.get_published_state()
    files = adql.quote_table_name(_require_files_table(context, principal, collection, published_state))
    text = f"SELECT path, bytes, modified, sha256 FROM {files} ORDER BY path"
    with query.run_query(
        text, principal, site=context.site, policies=context.policies, published_state=published_state
    ) as result:
        for batch in result.iterate_batches():
            for path, *state in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                yield path, str(state)


def find_paths_by_name(context: ServiceContext, principal: Principal, collection: str, file_name: str) -> list[str]:
    """List the paths of files with a name, among those that a reader may list.

    Parameters
    ----------
    collection
        Name of the collection.
    file_name
        Name of the file: the part of the path after the last slash.

    Returns
    -------
    paths
        Paths in order.

    Raises
    ------
    NotFoundError
        The reader knows of no files.
    """
    published_state = context.site.get_published_state()
    files = adql.quote_table_name(_require_files_table(context, principal, collection, published_state))
    text = (
        f"SELECT path FROM {files} WHERE path = {write_adql_literal(file_name)} OR path LIKE "
        f"{write_adql_literal(f'%/{file_name}')} ORDER BY path"
    )
    rows = _run_query(context, text, principal, published_state)
    paths: list[str] = rows["path"].to_pylist()
    return paths


def find_files(context: ServiceContext, principal: Principal, collection: str, paths: Sequence[str]) -> FoundFiles:
    """Find files of a collection, with the rights of a reader.

    A file that rows of the collection name has the access levels of these rows; one locked row locks it.

    Parameters
    ----------
    collection
        Name of the collection, or of the schema of a release.
    paths
        Paths of the files.

    Returns
    -------
    found
        The files that the reader may know of.

    Raises
    ------
    NotFoundError
        The reader knows of no files of the collection.
    """
    published_state = context.site.get_published_state()
    access = check_file_access(context, principal, collection, paths, published_state)
    if not access.listed and not access.policy_tables:
        raise _build_no_files_error(collection)
    rows: dict[str, dict[str, Any]] = {}
    for table, file_rows in access.listed:
        location = _describe_file_location(context, published_state.tables_by_name[table.qualified_name])
        for row in _convert_times_to_seconds(file_rows).to_pylist():
            tag = row["sha256"] or _make_state_key(row, location["collection"])
            row.update(location, tag=tag)
            rows[row["path"]] = row

    def record_access(action: str, path: str) -> None:
        if access.listed:
            files = access.listed[0][0]
            impersonation.log_restricted_file_access(
                context.site.store,
                principal,
                action,
                path,
                files_table=files,
                naming_tables=access.policy_tables,
                policies=context.policies,
            )

    key_principal = principal
    if access.policy_tables and not can_see_whole_collection(principal, collection):
        key_principal = OWNER_PRINCIPAL
    access_key = published_state.find_access_key(key_principal, context.policies)
    access_errors = _build_access_errors(access.locking_tables, principal)
    return FoundFiles(rows, access_errors, access_key, record_access, collection)


class FileAccess(NamedTuple):
    """Access to files of one collection, for their own addresses and for everything that leads to them.

    Attributes
    ----------
    listed
        Tables of files, the current one first, each with the rows of its accessible files: `FILE_COLUMNS`.
    locking_tables
        Path -> table whose row locks it: the reader may know of the file, but not access it.
    hidden_paths
        Paths of files whose existence the reader must not learn.
    policy_tables
        Tables whose policies decide who may access the files that their rows name.
    """

    listed: list[tuple[Table, pa.Table]]
    locking_tables: dict[str, Table]
    hidden_paths: set[str]
    policy_tables: list[Table]


def check_file_access(
    context: ServiceContext,
    principal: Principal,
    collection: str,
    paths: Sequence[str],
    published_state: PublishedState,
) -> FileAccess:
    """Check which files of a collection a reader may access, and of which they may know. Only this function decides it.

    Parameters
    ----------
    collection, paths
        As in `find_files`.
    published_state
        The state that is read.

    Returns
    -------
    access
        Files that are neither listed nor locked do not exist, or not for this reader.
    """
    pending_paths = list(dict.fromkeys(paths))
    locking_tables = dict[str, Table]()
    hidden_paths = set[str]()
    policy_tables = _list_policy_tables(published_state, collection)
    catalogue = published_state.get_catalogue(principal, context.policies)
    if policy_tables and not can_see_whole_collection(principal, collection):
        known_tables = {table.qualified_name for table in catalogue.iterate_tables()}
        visible_paths: set[str] = set()
        for table in policy_tables:
            if table.schema == collection and table.qualified_name in known_tables:
                visible_paths |= _find_visible_paths(context, table, pending_paths, principal, published_state)
        hidden_paths = {path for path in pending_paths if path not in visible_paths}
        pending_paths = [path for path in pending_paths if path in visible_paths]
        locking_tables = _find_locked_paths(policy_tables, pending_paths, principal)
        pending_paths = [path for path in pending_paths if path not in locking_tables]
        principal = OWNER_PRINCIPAL  # the list of all files is private
        catalogue = published_state.get_catalogue(principal, context.policies)
    current_table = _find_files_table(catalogue, collection)
    if current_table is None or (not pending_paths and policy_tables):
        return FileAccess([], locking_tables, hidden_paths.union(pending_paths), policy_tables)
    # a file that is no longer published keeps its address as long as a release has it
    release_items = published_state.released_tables_by_name.get(current_table.qualified_name, ())
    release_names = {item.table.qualified_name for item in release_items}
    release_tables = [table for table in catalogue.iterate_tables() if table.qualified_name in release_names]
    listed = []
    for files_table in (current_table, *release_tables):
        file_rows = _EMPTY_FILE_ROWS
        if pending_paths:
            file_rows = _query_rows_of_paths(
                context,
                files_table,
                pending_paths,
                columns=FILE_COLUMNS,
                path_column="path",
                principal=principal,
                published_state=published_state,
            )
        listed.append((files_table, file_rows))
        if file_rows.num_rows == len(pending_paths):
            break
        listed_paths = {*file_rows["path"].to_pylist()}
        pending_paths = [path for path in pending_paths if path not in listed_paths]
    return FileAccess(listed, locking_tables, hidden_paths, policy_tables)


def _list_policy_tables(published_state: PublishedState, collection: str) -> list[Table]:
    """List the tables whose policies decide on files of a collection.

    The tables of now lock the files of a release, too.
    """
    schemas = {collection}
    for item in published_state.tables_by_name.values():
        if item.release and item.release.schema_name == collection:
            schemas.add(item.release.collection)
    tables = [table for table in published_state.policy_tables if table.schema in schemas]
    return [table for table in tables if table.policy and table.policy.path]


def find_file_and_log_access(context: ServiceContext, principal: Principal, collection: str, path: str) -> OriginalFile:
    """Find a file of a collection, with the rights of its reader, and log the access.

    Returns
    -------
    file
        The file as it was published.

    Raises
    ------
    NotFoundError
        The reader knows of no such file.
    ForbiddenError, UnauthenticatedError, StorageUnavailableError, GoneError
        As for the file itself.
    """
    found_files = find_files(context, principal, collection, [path])
    original_file = locate_original_file(context, principal, found_files, path)
    found_files.record_access("file taken", path)
    record_sent_data(file_collections=[collection])
    return original_file


def locate_original_file(
    context: ServiceContext, principal: Principal, found_files: FoundFiles, path: str
) -> OriginalFile:
    """Open a file that was found.

    Parameters
    ----------
    found_files
        Result of `find_files`.

    Returns
    -------
    file
        The file as it was published.

    Raises
    ------
    HvenError
        As in `find_file_and_log_access`.
    """
    row = found_files.get_row(path)
    collection = found_files.collection
    place = open_file_place(context, principal, collection, row)
    state_key = remote_files.request_file_state_key(context, row)
    companion_tags = check_companions_and_list_etags(context, principal, collection, path, place)
    etag = " ".join([state_key, *companion_tags])
    state_digest = hashlib.sha256(f"{READER_VERSION} {etag}".encode()).hexdigest()
    return OriginalFile(
        name=path.rpartition("/")[2],
        path=place,
        etag=etag,
        is_public=found_files.access_key == "public",
        collection=collection,
        state_digest=state_digest,
        var_directory=context.site.settings.var_directory,
    )


def check_companions_and_list_etags(
    context: ServiceContext, principal: Principal, collection: str, path: str, file_place: Place
) -> list[str]:
    """Check that a reader may access the files that are read with a file: the data of a label, or the label of data.

    Parameters
    ----------
    file_place
        Where the file is.

    Returns
    -------
    tags
        Entity tags of these files, with which everything changes that is computed from the file.

    Raises
    ------
    NotFoundError
        One of them is not among the collection's files that the reader may know of.
    HvenError
        The reader may not access one, or it was changed since it was published.
    """
    with file_place.open("rb") as file:
        medium = detect_product_file_format(path, file.read(SIGNATURE_BYTES))
    if medium is not None and not medium.is_label:
        return []
    try:
        with open_product(file_place, path.rpartition("/")[2]) as product:
            companions = product.companion_files
    except SourceError:  # no known format: opening it reports that
        return []
    folder = path.removesuffix(file_place.name)
    paths = []
    for companion in companions:
        if companion.parent == file_place.parent:
            paths.append(f"{folder}{companion.name}")
        else:
            paths.append(str(companion.name))
    if not paths:
        return []
    found_files = find_files(context, principal, collection, paths)
    rows = [found_files.get_row(companion_path) for companion_path in paths]
    for row in rows:
        if remote_files.find_remote_root(row) is None:
            find_unchanged_file_path(context.site.settings, row)
    return [remote_files.request_file_state_key(context, row) for row in rows]


def find_successor_url(context: ServiceContext, url: str, release: Release, principal: Principal) -> str | None:
    """Find the file that the row now names which named a file in a release.

    Parameters
    ----------
    url
        Address of the file.
    release
        Release of the collection.

    Returns
    -------
    url
        Address of the file, encoded for a header; None if there is none for this reader.
    """
    published_state = context.site.get_published_state()
    catalogue = published_state.get_catalogue(principal, context.policies)
    known_tables = {table.qualified_name: table for table in catalogue.iterate_tables()}
    for release_table in known_tables.values():
        current_table = known_tables.get(f"{release.collection}.{release_table.name}")
        if release_table.schema != release.schema_name or current_table is None or not release_table.primary:
            continue
        current_names = {*current_table.arrow_schema.names}
        for column in release_table.columns:
            is_address = (column.ucd or "").startswith("meta.ref.url")
            if not is_address or not current_names.issuperset((*release_table.primary, column.name)):
                continue
            quoted_column = adql.quote_adql_name(column.name)
            key = ", ".join(map(adql.quote_adql_name, release_table.primary))
            url_literal = write_adql_literal(url)
            text = (
                f"SELECT TOP 1 b.{quoted_column} AS url FROM {adql.quote_table_name(release_table)} AS a JOIN "
                f"{adql.quote_table_name(current_table)} AS b USING ({key}) "
                f"WHERE a.{quoted_column} = {url_literal} AND b.{quoted_column} <> {url_literal}"
            )
            successor_rows = _run_query(context, text, principal, published_state)
            if successor_rows.num_rows:
                successor_url = str(successor_rows["url"][0].as_py())
                return percent_encode(successor_url, safe=ADDRESS_CHARACTERS)  # a header has no other characters
    return None


def _make_state_key(row: dict[str, Any], collection: str) -> str:
    """Make a key of the state of a file without checksum; its path counts, too: others may have its size and time."""
    state_text = f"{collection}/{row['path']} {row['bytes']} {row['modified']}"
    return hashlib.blake2b(state_text.encode("utf-8", "surrogateescape"), digest_size=20).hexdigest()


def _require_files_table(
    context: ServiceContext, principal: Principal, collection: str, published_state: PublishedState
) -> Table:
    files = _find_files_table(published_state.get_catalogue(principal, context.policies), collection)
    if files is None:
        raise _build_no_files_error(collection)
    return files


def _find_files_table(catalogue: Catalogue, collection: str) -> Table | None:
    for table in catalogue.iterate_tables():
        if table.schema == collection and table.utype == FILES_UTYPE:
            return table
    return None


def _build_no_files_error(collection: str) -> NotFoundError:
    return NotFoundError(
        f"the collection {collection!r} has no files here", remedy="see the list of collections on the home page"
    )


def _find_visible_paths(
    context: ServiceContext, table: Table, paths: Sequence[str], principal: Principal, published_state: PublishedState
) -> set[str]:
    """Return the paths that visible rows of a table have."""
    if not paths:
        return set()
    column = str(table.policy and table.policy.path)
    rows = _query_rows_of_paths(
        context,
        table,
        paths,
        columns=(column,),
        path_column=column,
        principal=principal,
        published_state=published_state,
    )
    return {*rows[column].to_pylist()}


def _find_locked_paths(policy_tables: Sequence[Table], paths: Sequence[str], principal: Principal) -> dict[str, Table]:
    """Find locked paths, each with the first table that locks it."""
    locked_paths: dict[str, Table] = {}
    for table in policy_tables:
        if table.rights is None or table.policy is None:
            continue
        for path in table.rights.find_values_with_restricted_files(principal, str(table.policy.path), paths):
            locked_paths.setdefault(path, table)
    return locked_paths


def _build_access_errors(locking_tables: dict[str, Table], principal: Principal) -> dict[str, HvenError]:
    """Build errors that tell why files cannot be accessed."""
    errors_by_path: dict[str, HvenError] = {}
    locks_by_table = Counter(table.qualified_name for table in locking_tables.values())
    error_class = UnauthenticatedError if principal.is_anonymous else ForbiddenError
    for path, table in locking_tables.items():
        rights = table.rights
        policy = table.policy
        assert rights is not None and policy is not None  # noqa: S101, PT018  (they lock it)
        expiry_text = ""
        contact = policy.contact
        if locks_by_table[table.qualified_name] <= _MAX_EXPLAINED_LOCKS:  # one query for each
            restriction = rights.find_file_embargo(principal, {str(policy.path): path})
            if restriction:
                expiry_text = restriction.expiry_text or ""
                contact = restriction.contact or contact
        until = expiry_text or format_message("somebody unlocks it")
        message = format_message("the file {path} is locked until {until}", path, until)
        remedy = format_message("ask {whom}", contact or format_message("its owner"))
        errors_by_path[path] = error_class(message, remedy=remedy)
    return errors_by_path


def _query_rows_of_paths(
    context: ServiceContext,
    table: Table,
    paths: Sequence[str],
    *,
    columns: Sequence[str],
    path_column: str,
    principal: Principal,
    published_state: PublishedState,
) -> pa.Table:
    """Query the rows of paths: of some by a condition, of many by a join with a table of them."""
    path = adql.quote_adql_name(path_column)
    quantifier = ""
    if len(columns) == 1:
        quantifier = "DISTINCT "
    if len(paths) > MAX_LITERAL_PATHS:
        items = ", ".join(f"f.{adql.quote_adql_name(name)}" for name in columns)
        text = (
            f"SELECT {quantifier}{items} FROM {adql.quote_table_name(table)} AS f JOIN "
            f"{_WANTED_PATHS_TABLE.qualified_name} AS w ON f.{path} = w.wanted_path"
        )
        wanted_paths = pa.table({"wanted_path": pa.array(paths, pa.string())})
        return _run_query(context, text, principal, published_state, wanted_paths)
    comparison = f"IN ({', '.join(map(write_adql_literal, paths))})"
    if len(paths) == 1:
        comparison = f"= {write_adql_literal(paths[0])}"
        quantifier = ""
        if len(columns) == 1:
            quantifier = "TOP 1 "
    items = ", ".join(map(adql.quote_adql_name, columns))
    text = f"SELECT {quantifier}{items} FROM {adql.quote_table_name(table)} WHERE {path} {comparison}"
    return _run_query(context, text, principal, published_state)


def _run_query(
    context: ServiceContext,
    query_text: str,
    principal: Principal,
    published_state: PublishedState,
    wanted_paths: pa.Table | None = None,
) -> pa.Table:
    uploads = None
    if wanted_paths is not None:
        uploads = {_WANTED_PATHS_TABLE.qualified_name: (_WANTED_PATHS_TABLE, wanted_paths)}
    with query.run_query(
        query_text,
        principal,
        site=context.site,
        policies=context.policies,
        published_state=published_state,
        uploads=uploads,
    ) as result:
        batches = [*result.iterate_batches()]
        if batches:
            return pa.Table.from_batches(batches)
        return pa.schema([column.arrow_field for column in result.columns]).empty_table()


def _convert_times_to_seconds(file_rows: pa.Table) -> pa.Table:
    """Convert times of change to seconds since 1970, because datetime objects of thousands of rows take long."""
    index = file_rows.schema.get_field_index("modified")
    times = file_rows.column(index).cast(pa.timestamp("us"))
    microseconds = times.cast(pa.int64())
    seconds = pc.divide(microseconds.cast(pa.float64()), 1e6)
    return file_rows.set_column(index, "modified", seconds)


def open_file_place(context: ServiceContext, principal: Principal, collection: str, row: dict[str, Any]) -> Place:
    """Open a file for media: on the disk, or by ranges of another server.

    Parameters
    ----------
    principal
        The reader; remote files that are read with the file are found with their rights.
    collection
        As in the request.

    Returns
    -------
    place
        The file as it was published.

    Raises
    ------
    UpstreamError, StorageUnavailableError, GoneError
        It does not exist any more, or was changed since.
    """
    remote_state = remote_files.request_unchanged_file_state(context, row, with_first_block=True)
    if remote_state is None:
        return Path(find_unchanged_file_path(context.site.settings, row))
    file_cache = remote_files.get_remote_file_cache(context)
    ranges_by_path: dict[str, RemoteFileRanges | None] = {str(row["path"]): RemoteFileRanges(file_cache, remote_state)}

    def find_companion(path: str) -> RemoteFileRanges | None:
        if path in ranges_by_path:
            return ranges_by_path[path]
        ranges = None
        found_files = find_files(context, principal, collection, [path])
        if path in found_files.rows or path in found_files.refused:
            state = remote_files.request_unchanged_file_state(context, found_files.get_row(path), with_first_block=True)
            if state is not None:
                ranges = RemoteFileRanges(file_cache, state)
        ranges_by_path[path] = ranges
        return ranges

    return RemotePath(PurePosixPath(row["path"]), find_companion)


def find_unchanged_file_path(
    settings: Settings, row: dict[str, Any], folder_cache: dict[str, bool] | None = None
) -> str:
    """Find a file on the disk, and check that it has not changed since it was published.

    Parameters
    ----------
    folder_cache
        Folder -> whether it is inside of the site, for callers that find many files of a folder.

    Returns
    -------
    path
        An absolute path.

    Raises
    ------
    StorageUnavailableError
        It does not exist any more, or was changed since.
    GoneError
        It belongs to a release, and was replaced.
    """
    place, file_stat = _locate_file(settings, row, folder_cache)
    is_changed = not _is_unchanged(file_stat, row)
    if is_changed and row["release"] is not None:
        raise GoneError(
            f"the file {row['path']} of the release {row['release'].label!r} was replaced",
            remedy=f"use the new version at collections/{row['collection']}/files/{row['path']}, if it is published",
        )
    if is_changed:
        raise remote_files.build_changed_error(row)
    return place


def find_local_path(context: ServiceContext, files: PublishedTable, path: str) -> Path | None:
    """Find a file of a collection on the disk, whether or not it is as it was published.

    Parameters
    ----------
    files
        The collection's table of files.

    Returns
    -------
    path
        None if the file is on another server, does not exist, or is outside of the site.
    """
    row = {"path": path, **_describe_file_location(context, files)}
    try:
        place, _ = _locate_file(context.site.settings, row)
    except StorageUnavailableError:
        return None
    return Path(place)


def _describe_file_location(context: ServiceContext, files: PublishedTable) -> dict[str, Any]:
    """Describe where the files of a collection, or of a release of it, are."""
    collection = files.table.schema
    if files.release is not None:
        collection = files.release.collection
    directory = context.site.settings.collections_directory / collection
    if files.resource is not None:  # the publication may pin another directory
        directory = files.resource.path.parent
    home = str(directory)
    return {"release": files.release, "collection": collection, "home": home, "roots": files.table.roots}


def _locate_file(
    settings: Settings, row: dict[str, Any], folder_cache: dict[str, bool] | None = None
) -> tuple[str, os.stat_result]:
    if {"", ".."} & {*row["path"].split("/")}:  # no ingest lists such a path; behind a root, // begins an absolute one
        raise StorageUnavailableError(
            f"the file {row['path']} is missing at the moment",
            remedy="correct its path in the list of files: a path must not have empty parts, or .. as a part",
        )
    place = f"{row['home']}/{row['path']}"  # texts, because Path objects of thousands of files take long
    if row["roots"]:
        root, path_below = find_file_root_and_relative_path(row["path"], row["roots"])
        if root.scheme is not None:
            raise StorageUnavailableError(
                format_message("the file {path} is on another server", row["path"]),
                remedy=format_message("download the whole file"),
            )
        if root.address:
            root_directory = os.path.expanduser(root.address)  # noqa: PTH111
            place = os.path.join(row["home"], root_directory, path_below)  # noqa: PTH118
    try:
        file_stat = os.lstat(place)
        is_link = stat.S_ISLNK(file_stat.st_mode)
        folder = place.rpartition("/")[0]
        is_inside = None
        if folder_cache is not None and not is_link:
            is_inside = folder_cache.get(folder)
        if is_inside is None:
            is_inside = _is_in_allowed_directories(settings, place)
            file_stat = os.stat(place)  # noqa: PTH116
            if folder_cache is not None and not is_link:
                folder_cache[folder] = is_inside
    except (OSError, ValueError):
        raise StorageUnavailableError(
            f"the file {row['path']} is missing at the moment",
            remedy="restore the file, or ingest the collection again",
        ) from None
    if not is_inside:
        raise StorageUnavailableError(
            f"the file {row['path']} is missing at the moment",
            remedy="replace the symbolic link in its path, because the link points outside the site",
        )
    return place, file_stat


def _is_in_allowed_directories(settings: Settings, place: str) -> bool:
    """Return whether a file is, with all links resolved, in one of the directories of the site."""
    real_place = os.path.realpath(place, strict=True)
    if real_place == place and any(real_place.startswith(f"{root}/") for root in settings.allowed_directories):
        return True
    real_path = Path(real_place)
    return any(real_path.is_relative_to(root.resolve()) for root in settings.allowed_directories)


def create_file_reader(
    context: ServiceContext, row: dict[str, Any], path: str | None = None
) -> Callable[[int, int], Generator[FilePiece]]:
    """Return a function that reads the bytes of a file from one position (included) to another (excluded).

    All bytes of files in archives and ranges come from here.

    Parameters
    ----------
    path
        Result of `find_unchanged_file_path`; None to call it when the first bytes are read.

    Returns
    -------
    read
        Yields None before a piece that must be waited for; what is in memory is read at once. It raises
        `StorageUnavailableError` or `UpstreamError` as soon as the file has changed, and before its last bytes.
    """
    if remote_files.find_remote_root(row) is None:
        return partial(_read_local_file, context.site.settings, row, path)
    return partial(_read_remote_file, context, row)


def _read_remote_file(context: ServiceContext, row: dict[str, Any], start: int, stop: int) -> Generator[FilePiece]:
    yield None
    file = remote_files.request_unchanged_file_state(context, row)
    assert file is not None  # noqa: S101  (the file is remote)
    file_cache = remote_files.get_remote_file_cache(context)
    with remote_files.add_file_path_to_errors(row):
        for offset in range(start, min(stop, file.bytes), PIECE_BYTES):
            yield None
            remaining_bytes = stop - offset
            # one whole piece: a span is cut off only at the end of the file
            piece_bytes = min(PIECE_BYTES, remaining_bytes)
            has_more = remaining_bytes > PIECE_BYTES
            (piece,) = file_cache.read_spans(file, piece_bytes, [offset], read_ahead=has_more)
            yield piece


def _read_local_file(
    settings: Settings, row: dict[str, Any], path: str | None, start: int, stop: int
) -> Generator[FilePiece]:
    yield None
    try:
        file = os.open(path or find_unchanged_file_path(settings, row), os.O_RDONLY)
    except OSError:
        raise remote_files.build_changed_error(row) from None
    try:
        next_check = start
        while start < stop:
            if start >= next_check:
                next_check = start + STATE_CHECK_BYTES
                if not _is_unchanged(os.fstat(file), row):
                    raise remote_files.build_changed_error(row)
            byte_count = min(READ_BYTES, stop - start)
            piece: bytes | bytearray = read_from_page_cache(file, byte_count, start)
            if not piece:
                yield None
                piece = os.pread(file, byte_count, start)
            start += len(piece)
            # checked after the last read, too, so that no changed content is sent as complete
            if not piece or (start >= stop and not _is_unchanged(os.fstat(file), row)):
                raise remote_files.build_changed_error(row)
            yield piece
    finally:
        os.close(file)


def read_from_page_cache(file_descriptor: int, byte_count: int, start: int) -> bytearray:
    """Read bytes that are in memory.

    Parameters
    ----------
    file_descriptor
        Descriptor of the file.
    byte_count, start
        Number of bytes, and the position of the first.

    Returns
    -------
    piece
        Empty, if the bytes are not in memory, or the system cannot tell.
    """
    buffer = bytearray(byte_count)
    try:
        del buffer[os.preadv(file_descriptor, [buffer], start, os.RWF_NOWAIT) :]
    except (OSError, AttributeError):
        buffer.clear()
    return buffer


def _is_unchanged(file_stat: os.stat_result, row: dict[str, Any]) -> bool:
    is_same_size = stat.S_ISREG(file_stat.st_mode) and file_stat.st_size == row["bytes"]
    return is_same_size and abs(file_stat.st_mtime - row["modified"]) <= 1e-3
