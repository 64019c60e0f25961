"""What files of collections a reader may take: one or thousands at once, by the road of all queries.

And the bytes of one that is as it was published.

Common
------
context, settings
    The site's.
principal
    The reader.
collection
    Its name, or the schema of a release.
path
    Of the file.
row
    As `find_files` found it.
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
from hven.adql.adql_writer import write_literal
from hven.formats.media import SIGNATURE_BYTES, RemoteFile, detect_medium, open_product
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
from hven.model.table import FILES_UTYPE, Column, Table, TemplateExpression, find_root
from hven.model.types import STRING
from hven.services import remote_files
from hven.services._remote_blocks import RemoteFileRanges
from hven.services.addresses import ADDRESS_CHARACTERS
from hven.site import record_sent_data
from hven.site.auth import OWNER_PRINCIPAL, can_see_whole_collection, impersonation

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from hven.formats.media import Place
    from hven.model.settings import Settings
    from hven.model.table import Template
    from hven.services.face import ServiceContext
    from hven.site import PublishedState, PublishedTable
    from hven.site.auth import Principal
    from hven.site.store import Release

LIST_COLUMNS = ("path", "url", "bytes", "sha256", "title")
FILE_COLUMNS = ("path", "url", "media_type", "bytes", "sha256", "modified")
READER_VERSION = 1  # changes with what media make of files, so that no copies are used that were made otherwise
PIECE_BYTES = 256 * 1024  # bytes of what is made, or comes from elsewhere, that are given at once
# bytes that are read at once of a file that lies here: with what the server holds of them, they stay in the processor's
# own cache (benches.md)
READ_BYTES = 160 * 1024
STATE_CHECK_BYTES = 4 << 20  # bytes after which it is looked whether a file is still what was published
FilePiece = bytes | bytearray | None  # None: what comes next must be waited for
MAX_LITERAL_PATHS = (
    4000  # paths that are asked for one by one: a look-up of each costs less than a join up to some thousands
)
_MAX_EXPLAINED_LOCKS = 20  # locked files of which each is asked why
_EMPTY_FILE_ROWS = pa.table({name: pa.nulls(0) for name in FILE_COLUMNS})
_WANTED_PATHS_TABLE = Table(schema="TAP_UPLOAD", name="wanted", columns=(Column(name="wanted_path", type=STRING),))


class FoundFiles(NamedTuple):
    """What a reader asked of files of one collection.

    Attributes
    ----------
    rows
        By path; those that are not there are in none of the two.
    refused
        Why the reader may not take a file, by path.
    access_key
        Who may keep the answer.
    record_access
        Writes down that a file was asked about or taken.
    collection
        Its name.
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
            As it was asked for.

        Raises
        ------
        NotFoundError
            There is none that the reader may know of.
        HvenError
            The reader may not take it.
        """
        if path in self.refused:
            raise self.refused[path]
        if path not in self.rows:
            message = format_message("the collection {name!r} has no file {path!r} here", self.collection, path[:200])
            raise NotFoundError(message, remedy=format_message("collections/{name}/files lists them", self.collection))
        return self.rows[path]


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginalFile:
    """The file of a row, that its reader may take.

    Attributes
    ----------
    name
        By which readers know it.
    path
        Where it is: on the disk, or on another server, where it is read by ranges.
    etag
        Of its content, and of what it is read with.
    is_public
        Everybody may take it.
    copies_directory
        Where rotated copies of its cubes are, if there are any.
    collection
        Whose file it is.
    """

    name: str
    path: Place
    etag: str
    is_public: bool
    copies_directory: Path
    collection: str


def list_files(context: ServiceContext, principal: Principal, collection: str) -> list[dict[str, Any]]:
    """List a collection's files, as far as their list is for a reader.

    Parameters
    ----------
    collection
        Of the collection.

    Returns
    -------
    rows
        `LIST_COLUMNS`, and ``direct``: where a file is taken without us, or None.

    Raises
    ------
    NotFoundError
        There are none that they may know of.
    """
    published_state = context.site.get_published_state()
    files = _find_files_table(context, principal, collection, published_state)
    text = f"SELECT {', '.join(LIST_COLUMNS)} FROM {_quote_table_name(files)} ORDER BY path"
    rows = _run_query(context, text, principal, published_state).to_pylist()
    return [{**row, "direct": find_root(row["path"], files.roots)[0].redirects_clients} for row in rows]


def list_own_paths(table: Table) -> Iterator[tuple[Template, Template]]:
    """Yield the paths of rows' own files, and what is said of these.

    Parameters
    ----------
    table
        Of files, or whose rows lead to some.

    Yields
    ------
    path, description
        In templates over the row.
    """
    if table.utype == FILES_UTYPE:
        yield (TemplateExpression('target."path"'),), (TemplateExpression('target."title"'),)
    for link in table.row_file_links:
        yield link.address, link.description
    for path in table.sample_files:
        yield path, ()


def list_file_states(context: ServiceContext, principal: Principal, collection: str) -> Iterator[tuple[str, str]]:
    """Yield the files of a collection with what tells their states, as far as these were published.

    Yields
    ------
    path, state
        In the order of the paths.

    Raises
    ------
    NotFoundError
        There are none that the reader may know of.
    """
    published_state = context.site.get_published_state()
    files = _quote_table_name(_find_files_table(context, principal, collection, published_state))
    text = f"SELECT path, bytes, modified, sha256 FROM {files} ORDER BY path"
    with query.run_query(
        text, principal, site=context.site, policies=context.policies, published_state=published_state
    ) as result:
        for batch in result.iterate_batches():
            for path, *state in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                yield path, str(state)


def find_paths_by_name(context: ServiceContext, principal: Principal, collection: str, file_name: str) -> list[str]:
    """List paths of files by their name, as far as the list of files is for a reader.

    Parameters
    ----------
    collection
        Its name.
    file_name
        What stands behind the last slash.

    Returns
    -------
    paths
        In their order.

    Raises
    ------
    NotFoundError
        There are none that they may know of.
    """
    published_state = context.site.get_published_state()
    files = _quote_table_name(_find_files_table(context, principal, collection, published_state))
    text = (
        f"SELECT path FROM {files} WHERE path = {write_literal(file_name)} OR path LIKE "
        f"{write_literal(f'%/{file_name}')} ORDER BY path"
    )
    paths: list[str] = _run_query(context, text, principal, published_state)["path"].to_pylist()
    return paths


def find_files(context: ServiceContext, principal: Principal, collection: str, paths: Sequence[str]) -> FoundFiles:
    """Ask for files of a collection by the road of all queries.

    A file that rows of the collection name is known and taken as their levels have it; one row that is locked locks it.

    Parameters
    ----------
    collection
        Of the collection, or of the schema of a release.
    paths
        Of the files.

    Returns
    -------
    found
        What there is of them for this reader.

    Raises
    ------
    NotFoundError
        The collection has no files that they may know of.
    """
    published_state = context.site.get_published_state()
    access = check_file_access(context, principal, collection, paths, published_state)
    if not access.listed and not access.policy_tables:
        raise _build_no_files_error(collection)
    rows: dict[str, dict[str, Any]] = {}
    for table, file_rows in access.listed:
        where = _describe_file_location(context, published_state.tables_by_name[table.qualified_name])
        for row in _convert_times_to_seconds(file_rows).to_pylist():
            tag = row["sha256"] or _make_state_key(row, where["collection"])
            row.update(where, tag=tag)
            rows[row["path"]] = row

    def record_access(action: str, path: str) -> None:
        if access.listed:
            files = access.listed[0][0]
            impersonation.log_file_access(
                context.site.store, principal, action, path, files, access.policy_tables, context.policies
            )

    access_key = published_state.find_access_key(
        OWNER_PRINCIPAL if access.policy_tables and not can_see_whole_collection(principal, collection) else principal,
        context.policies,
    )
    access_errors = _build_access_errors(access.locking_tables, principal)
    return FoundFiles(rows, access_errors, access_key, record_access, collection)


class FileAccess(NamedTuple):
    """Whether files of one collection may be had.

    What both their addresses and whatever leads to these ask (`check_file_access`).

    Attributes
    ----------
    listed
        Its tables of files, first the one of now, each with its rows of those that the reader may take: `FILE_COLUMNS`.
    locking_tables
        Path -> the table whose row locks it: the reader may know of the file, and not take it.
    hidden_paths
        Paths of which the reader may not know whether there is a file.
    policy_tables
        The tables whose policies say of their rows who takes the files that these name.
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
    """Ask which files of a collection a reader may take, and of which others they may know. This alone decides it.

    Parameters
    ----------
    collection, paths
        As of `find_files`.
    published_state
        The state that is asked.

    Returns
    -------
    told
        Files that are neither listed nor shut are not there, or not for this reader.
    """
    pending_paths = list(dict.fromkeys(paths))
    catalogue = published_state.get_catalogue(principal, context.policies)
    shut = dict[str, Table]()
    unseen = set[str]()
    # a file of a release is locked by what is published now, too
    of = {
        collection,
        *(
            item.release.collection
            for item in published_state.tables_by_name.values()
            if item.release and item.release.schema_name == collection
        ),
    }
    named = [
        table for table in published_state.policy_tables if table.schema in of and table.policy and table.policy.path
    ]
    if named and not can_see_whole_collection(principal, collection):
        known_tables = {table.qualified_name for table in catalogue.iterate_tables()}
        visible_paths = {
            path
            for table in named
            if table.schema == collection and table.qualified_name in known_tables
            for path in _find_visible_paths(context, table, pending_paths, principal, published_state)
        }
        unseen = {path for path in pending_paths if path not in visible_paths}
        pending_paths = [path for path in pending_paths if path in visible_paths]
        shut = _find_locked_paths(named, pending_paths, principal)
        pending_paths = [path for path in pending_paths if path not in shut]
        principal = OWNER_PRINCIPAL  # the list of all files is private
        catalogue = published_state.get_catalogue(principal, context.policies)
    files = next(
        (
            files_table
            for files_table in catalogue.iterate_tables()
            if files_table.schema == collection and files_table.utype == FILES_UTYPE
        ),
        None,
    )
    if files is None or (not pending_paths and named):
        return FileAccess([], shut, unseen.union(pending_paths), named)
    # what is published no more stays at its address as long as a release has it
    older = {item.table.qualified_name for item in published_state.tables_by_release.get(files.qualified_name, ())}
    listed = []
    for files_table in (files, *(table for table in catalogue.iterate_tables() if table.qualified_name in older)):
        if pending_paths:
            file_rows = _query_rows(
                context, files_table, pending_paths, FILE_COLUMNS, "path", principal, published_state
            )
        else:
            file_rows = _EMPTY_FILE_ROWS
        listed.append((files_table, file_rows))
        if file_rows.num_rows == len(pending_paths):
            break
        have = {*file_rows["path"].to_pylist()}
        pending_paths = [path for path in pending_paths if path not in have]
    return FileAccess(listed, shut, unseen, named)


def take_file(context: ServiceContext, principal: Principal, collection: str, path: str) -> OriginalFile:
    """Find a file of a collection, as its reader may take it; that it is taken is on record.

    Returns
    -------
    file
        As it was published.

    Raises
    ------
    NotFoundError
        There is none that they may know of.
    ForbiddenError, UnauthenticatedError, StorageUnavailableError, GoneError
        As of the file itself.
    """
    found_files = find_files(context, principal, collection, [path])
    original_file = open_original(context, principal, found_files, path)
    found_files.record_access("file taken", path)
    record_sent_data(file_collections=[collection])
    return original_file


def open_original(context: ServiceContext, principal: Principal, found_files: FoundFiles, path: str) -> OriginalFile:
    """Open one of the files that were asked for.

    Parameters
    ----------
    found_files
        As `find_files` found it.

    Returns
    -------
    file
        As it was published.

    Raises
    ------
    HvenError
        As of `take_file`.
    """
    row = found_files.get_row(path)
    place = open_file_place(context, principal, found_files.collection, row)
    state_key = remote_files.get_state_key(context, row)
    tag = " ".join(
        [
            state_key,
            *check_companion_files(context, principal, found_files.collection, path, place),
        ]
    )
    state_digest = hashlib.sha256(f"{READER_VERSION} {tag}".encode()).hexdigest()
    copies = context.site.settings.var_directory / "cubes" / found_files.collection / state_digest
    name = path.rpartition("/")[2]
    public = found_files.access_key == "public"
    return OriginalFile(
        name=name, path=place, etag=tag, is_public=public, copies_directory=copies, collection=found_files.collection
    )


def check_companion_files(
    context: ServiceContext, principal: Principal, collection: str, path: str, file_place: Place
) -> list[str]:
    """See that a reader may take what is read together with a file.

    The data that a label points to, or the label of data.

    Parameters
    ----------
    file_place
        Where it is.

    Returns
    -------
    tags
        Of these: what is made of the file changes with them.

    Raises
    ------
    NotFoundError
        One of these is none of the collection's files, as far as the reader may know.
    HvenError
        The reader may not take one, or it was changed since it was published.
    """
    with file_place.open("rb") as file:
        medium = detect_medium(path, file.read(SIGNATURE_BYTES))
    if medium is not None and not medium.is_label:
        return []
    try:
        with open_product(file_place, path.rpartition("/")[2]) as product:
            companions = product.companion_files
    except SourceError:  # of no kind that can be read: who opens it says so
        return []
    folder = path.removesuffix(file_place.name)
    paths = [
        f"{folder}{companion.name}" if companion.parent == file_place.parent else str(companion.name)
        for companion in companions
    ]
    if not paths:
        return []
    found_files = find_files(context, principal, collection, paths)
    rows = [found_files.get_row(companion_path) for companion_path in paths]
    for row in rows:
        if remote_files.find_remote_root(row) is None:
            find_file_path(context.site.settings, row)
    return [remote_files.get_state_key(context, row) for row in rows]


def find_successor_url(context: ServiceContext, url: str, release: Release, principal: Principal) -> str | None:
    """Find the file that is named now by the row which named this one in a release.

    Parameters
    ----------
    url
        Of the file.
    release
        That has it.

    Returns
    -------
    url
        As a header has it; None: there is none for this reader.
    """
    published_state = context.site.get_published_state()
    known_tables = {
        table.qualified_name: table
        for table in published_state.get_catalogue(principal, context.policies).iterate_tables()
    }
    for old in known_tables.values():
        new = known_tables.get(f"{release.collection}.{old.name}")
        if old.schema != release.schema_name or new is None or not old.primary:
            continue
        names = {*new.arrow_schema.names}
        for column in old.columns:
            if not (column.ucd or "").startswith("meta.ref.url") or not names.issuperset((*old.primary, column.name)):
                continue
            quoted_column = adql.quote_name(column.name)
            key = ", ".join(map(adql.quote_name, old.primary))
            value = write_literal(url)
            text = (
                f"SELECT TOP 1 b.{quoted_column} AS url FROM {_quote_table_name(old)} AS a JOIN "
                f"{_quote_table_name(new)} AS b USING ({key})"
            )
            successor_rows = _run_query(
                context,
                f"{text} WHERE a.{quoted_column} = {value} AND b.{quoted_column} <> {value}",
                principal,
                published_state,
            )
            if successor_rows.num_rows:
                return percent_encode(
                    str(successor_rows["url"][0].as_py()), safe=ADDRESS_CHARACTERS
                )  # nothing else goes into a header
    return None


def _make_state_key(row: dict[str, Any], collection: str) -> str:
    """Name what is in a file without checksum: others may have its size and time, so its path counts."""
    state_text = f"{collection}/{row['path']} {row['bytes']} {row['modified']}"
    return hashlib.blake2b(state_text.encode("utf-8", "surrogateescape"), digest_size=20).hexdigest()


def _find_files_table(
    context: ServiceContext, principal: Principal, collection: str, published_state: PublishedState
) -> Table:
    tables = published_state.get_catalogue(principal, context.policies).iterate_tables()
    files = next(
        (candidate for candidate in tables if candidate.schema == collection and candidate.utype == FILES_UTYPE), None
    )
    if files is None:
        raise _build_no_files_error(collection)
    return files


def _build_no_files_error(collection: str) -> NotFoundError:
    return NotFoundError(f"the collection {collection!r} has no files here", remedy="the first page lists what is here")


def _find_visible_paths(
    context: ServiceContext, table: Table, paths: Sequence[str], principal: Principal, published_state: PublishedState
) -> set[str]:
    """Return which of the paths a row has that the reader sees."""
    column = str(table.policy and table.policy.path)
    if paths:
        return {*_query_rows(context, table, paths, (column,), column, principal, published_state)[column].to_pylist()}
    return set()


def _find_locked_paths(policy_tables: Sequence[Table], paths: Sequence[str], principal: Principal) -> dict[str, Table]:
    locked_paths: dict[str, Table] = {}
    for table in policy_tables:
        if table.rights is not None and table.policy is not None:
            locked_paths |= {
                path: table
                for path in table.rights.find_restricted_values(principal, str(table.policy.path), paths)
                if path not in locked_paths
            }
    return locked_paths


def _build_access_errors(locking_tables: dict[str, Table], principal: Principal) -> dict[str, HvenError]:
    """Say why files cannot be taken."""
    errors_by_path: dict[str, HvenError] = {}
    locks_by_table = Counter(table.qualified_name for table in locking_tables.values())
    kind = UnauthenticatedError if principal.is_anonymous else ForbiddenError
    for path, table in locking_tables.items():
        # why is a question of its own for each
        rights = table.rights
        policy = table.policy
        assert rights is not None and policy is not None  # noqa: S101, PT018  (by which it is locked)
        if locks_by_table[table.qualified_name] <= _MAX_EXPLAINED_LOCKS:
            locked = rights.find_file_restriction(principal, {str(policy.path): path})
        else:
            locked = None
        until = (locked and locked.expiry_text) or format_message("somebody opens it")
        message = format_message("the file {path} is locked until {until}", path, until)
        whom = (locked and locked.contact) or policy.contact or format_message("its owner")
        remedy = format_message("ask {whom}", whom)
        errors_by_path[path] = kind(message, remedy=remedy)
    return errors_by_path


def _query_rows(
    context: ServiceContext,
    table: Table,
    paths: Sequence[str],
    columns: Sequence[str],
    column: str,
    principal: Principal,
    published_state: PublishedState,
) -> pa.Table:
    """Ask for the rows of paths: of some as everybody asks, of many by a table of them."""
    path = adql.quote_name(column)
    if len(paths) <= MAX_LITERAL_PATHS:
        if len(columns) > 1:
            top = ""
        elif len(paths) == 1:
            top = "TOP 1 "
        else:
            top = "DISTINCT "
        if len(paths) == 1:
            comparison = f"= {write_literal(paths[0])}"
        else:
            comparison = f"IN ({', '.join(map(write_literal, paths))})"
        listed = ", ".join(map(adql.quote_name, columns))
        return _run_query(
            context,
            f"SELECT {top}{listed} FROM {_quote_table_name(table)} WHERE {path} {comparison}",
            principal,
            published_state,
        )
    listed = ", ".join(f"f.{adql.quote_name(column_name)}" for column_name in columns)
    if len(columns) == 1:
        distinct = "DISTINCT "
    else:
        distinct = ""
    text = (
        f"SELECT {distinct}{listed} FROM {_quote_table_name(table)} AS f JOIN {_WANTED_PATHS_TABLE.qualified_name} "
        f"AS w ON f.{path} = w.wanted_path"
    )
    return _run_query(
        context, text, principal, published_state, pa.table({"wanted_path": pa.array(paths, pa.string())})
    )


def _quote_table_name(table: Table) -> str:
    return f"{adql.quote_name(table.schema)}.{adql.quote_name(table.name)}"


def _run_query(
    context: ServiceContext,
    text: str,
    principal: Principal,
    published_state: PublishedState,
    wanted_paths: pa.Table | None = None,
) -> pa.Table:
    if wanted_paths is None:
        uploads = None
    else:
        uploads = {_WANTED_PATHS_TABLE.qualified_name: (_WANTED_PATHS_TABLE, wanted_paths)}
    with query.run_query(
        text, principal, site=context.site, policies=context.policies, published_state=published_state, uploads=uploads
    ) as result:
        batches = [*result.iterate_batches()]
        return pa.Table.from_batches(
            batches, None if batches else pa.schema([result_column.arrow_field for result_column in result.columns])
        )


def _convert_times_to_seconds(rows: pa.Table) -> pa.Table:
    """Write when files were changed as seconds since 1970: as objects of Python, thousands of times take long."""
    at = rows.schema.get_field_index("modified")
    seconds = pc.divide(rows.column(at).cast(pa.timestamp("us")).cast(pa.int64()).cast(pa.float64()), 1e6)
    return rows.set_column(at, "modified", seconds)


def open_file_place(context: ServiceContext, principal: Principal, collection: str, row: dict[str, Any]) -> Place:
    """Find where media read a file: on the disk, or by ranges from another server.

    Parameters
    ----------
    principal
        The reader; what a file elsewhere is read with is asked for as they may take it.
    collection
        As it was asked for.

    Returns
    -------
    place
        Of the file as it was published.

    Raises
    ------
    UpstreamError, StorageUnavailableError, GoneError
        It is gone, or was changed since.
    """
    remote_state = remote_files.request_file_state(context, row, with_first_block=True)
    if remote_state is None:
        return Path(find_file_path(context.site.settings, row))
    ranges_by_path: dict[str, RemoteFileRanges | None] = {
        str(row["path"]): RemoteFileRanges(remote_files.get_remote_block_cache(context), remote_state)
    }

    def find_companion(path: str) -> RemoteFileRanges | None:
        if path not in ranges_by_path:
            found_files = find_files(context, principal, collection, [path])
            is_known = path in found_files.rows or path in found_files.refused
            if is_known:
                file = remote_files.request_file_state(context, found_files.get_row(path), with_first_block=True)
            else:
                file = None
            if file is None:
                ranges_by_path[path] = None
            else:
                ranges_by_path[path] = RemoteFileRanges(remote_files.get_remote_block_cache(context), file)
        return ranges_by_path[path]

    return RemoteFile(PurePosixPath(row["path"]), find_companion)


def find_file_path(settings: Settings, row: dict[str, Any], folder_cache: dict[str, bool] | None = None) -> str:
    """Find a file, and see that it is the one whose checksum was published.

    Parameters
    ----------
    folder_cache
        Whether a folder leads out of the site, for who asks for many of its files.

    Returns
    -------
    place
        Absolute.

    Raises
    ------
    StorageUnavailableError
        It is gone, or was changed since.
    GoneError
        It is of a release, and was replaced.
    """
    place, file_stat = _locate_file(settings, row, folder_cache)
    is_changed = not _is_unchanged(file_stat, row)
    if is_changed and row["release"] is not None:
        raise GoneError(
            f"the file {row['path']} of {row['release'].label} was replaced",
            remedy=f"collections/{row['collection']}/files/{row['path']} is what stands for it now, if it is published",
        )
    if is_changed:
        raise remote_files.build_changed_error(row)
    return place


def find_local_path(context: ServiceContext, files: PublishedTable, path: str) -> Path | None:
    """Find where a file of a collection lies, whether or not it is as it was published.

    Parameters
    ----------
    files
        The collection's table of files.

    Returns
    -------
    place
        None: on another server, gone, or out of the site.
    """
    try:
        return Path(_locate_file(context.site.settings, {"path": path, **_describe_file_location(context, files)})[0])
    except StorageUnavailableError:
        return None


def _describe_file_location(context: ServiceContext, files: PublishedTable) -> dict[str, Any]:
    """Return what places the files of a collection, or of a release of it."""
    if files.release is None:
        owner = files.table.schema
    else:
        owner = files.release.collection
    home = str(context.site.settings.collections_directory / owner)
    return {"release": files.release, "collection": owner, "home": home, "roots": files.table.roots}


def _locate_file(
    settings: Settings, row: dict[str, Any], folder_cache: dict[str, bool] | None = None
) -> tuple[str, os.stat_result]:
    place = f"{row['home']}/{row['path']}"  # for thousands, paths are texts
    if row["roots"]:
        root, below = find_root(row["path"], row["roots"])
        if root.scheme is not None:
            raise StorageUnavailableError(
                format_message("the file {path} lies on another server", row["path"]),
                remedy=format_message("take it as a whole"),
            )
        if root.address:
            place = os.path.join(row["home"], os.path.expanduser(root.address), below)  # noqa: PTH111, PTH118
    try:
        file_stat = os.lstat(place)
        linked = stat.S_ISLNK(file_stat.st_mode)
        folder = place.rpartition("/")[0]
        if folder_cache is None or linked:
            inside = None
        else:
            inside = folder_cache.get(folder)
        if inside is None:
            real = os.path.realpath(place, strict=True)
            # where no link is on the way, its name tells
            inside = real == place and any(real.startswith(f"{root}/") for root in settings.allowed_directories)
            inside = inside or any(Path(real).is_relative_to(root.resolve()) for root in settings.allowed_directories)
            file_stat = os.stat(place)  # noqa: PTH116
            if folder_cache is not None and not linked:
                folder_cache[folder] = inside
    except (OSError, ValueError):
        raise StorageUnavailableError(
            f"the file {row['path']} is not there now",
            remedy="its owner must put it back, or ingest the collection again",
        ) from None
    if not inside:
        raise StorageUnavailableError(
            f"the file {row['path']} is not there now",
            remedy="its owner must put it back: a link leads out of the site",
        )
    return place, file_stat


def create_file_reader(
    context: ServiceContext, row: dict[str, Any], path: str | None = None
) -> Callable[[int, int], Generator[FilePiece]]:
    """Return what reads bytes of a file, from one to before another.

    The one place where the bytes of files come from that leave in archives and ranges.

    Parameters
    ----------
    path
        Where `find_file_path` has just found it; None: that is asked as soon as it is read.

    Returns
    -------
    read
        Gives None before what must be waited for: what is in memory is read at once. Raises `StorageUnavailableError`
        or `UpstreamError` as soon as the file is not what was published, and before its last bytes are given.
    """
    if remote_files.find_remote_root(row) is None:
        return partial(_read_local_file, context.site.settings, row, path)
    return partial(_read_remote_file, context, row)


def _read_remote_file(context: ServiceContext, row: dict[str, Any], start: int, stop: int) -> Generator[FilePiece]:
    yield None
    file = remote_files.request_file_state(context, row)
    assert file is not None  # noqa: S101  (it was asked whether it lies here)
    places = range(start, min(stop, file.bytes), PIECE_BYTES)
    with remote_files.name_failed_file(row):
        for place in places:
            yield None
            # a whole piece each, for these are cut off at the file's end alone
            remote_block_cache = remote_files.get_remote_block_cache(context)
            (part,) = remote_block_cache.read_spans(
                file, min(PIECE_BYTES, stop - place), [place], read_ahead=stop - place > PIECE_BYTES
            )
            yield part


def _read_local_file(
    settings: Settings, row: dict[str, Any], path: str | None, start: int, stop: int
) -> Generator[FilePiece]:
    yield None
    try:
        file = os.open(path or find_file_path(settings, row), os.O_RDONLY)
    except OSError:
        raise remote_files.build_changed_error(row) from None
    try:
        looked = start
        while start < stop:
            if start >= looked:
                looked = start + STATE_CHECK_BYTES
                if not _is_unchanged(os.fstat(file), row):
                    raise remote_files.build_changed_error(row)
            byte_count = min(READ_BYTES, stop - start)
            piece: bytes | bytearray = read_cached(file, byte_count, start)
            if not piece:
                yield None
                piece = os.pread(file, byte_count, start)
            start += len(piece)
            # looked at after it was read, too: what stands in its place was not published
            if not piece or (start >= stop and not _is_unchanged(os.fstat(file), row)):
                raise remote_files.build_changed_error(row)
            yield piece
    finally:
        os.close(file)


def read_cached(file_descriptor: int, byte_count: int, start: int) -> bytearray:
    """Read what is in memory.

    Parameters
    ----------
    file_descriptor
        Its descriptor.
    byte_count, start
        Bytes, and from which.

    Returns
    -------
    piece
        Empty, if nothing is, or the machine cannot tell.
    """
    room = bytearray(byte_count)
    try:
        del room[os.preadv(file_descriptor, [room], start, os.RWF_NOWAIT) :]
    except (OSError, AttributeError):
        room.clear()
    return room


def _is_unchanged(file_stat: os.stat_result, row: dict[str, Any]) -> bool:
    return (
        stat.S_ISREG(file_stat.st_mode)
        and file_stat.st_size == row["bytes"]
        and abs(file_stat.st_mtime - row["modified"]) <= 1e-3
    )
