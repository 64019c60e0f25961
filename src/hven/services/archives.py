"""Archives of the files of many rows, written while they are sent.

They are ZIP or TAR, have a size that is known beforehand, and can be requested in ranges. Files that are missing or
refused are listed.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import re
from array import array
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote

from starlette.responses import Response

from hven import __version__, services
from hven.formats import ResultStatus, TableMetadata
from hven.model import split_address
from hven.model.errors import HvenError, NotFoundError, ParamError, TooLargeError, format_message
from hven.model.table import find_file_root
from hven.services import collection_files, datalinks, remote_files, scripts
from hven.services._archive_layouts import ArchiveLayout, ArchiveMember, TarLayout, ZipLayout
from hven.services._byte_ranges import PieceStreamResponse, stream_file_pieces
from hven.services._checksums import CrcCache
from hven.services.addresses import list_base_urls
from hven.site import record_sent_data

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa
    from starlette.requests import Request

    from hven.formats import InfoElement, TableFormat
    from hven.model.resource import CollectionSpec
    from hven.model.table import FileRoot, Table
    from hven.query import QueryResult
    from hven.services.face import ServiceContext
    from hven.site import PublishedState
    from hven.site.auth import Principal

ARCHIVE_KINDS: dict[str, tuple[Callable[[Sequence[ArchiveMember], CrcCache], ArchiveLayout], str]] = {
    "zip": (ZipLayout, "application/zip"),
    "tar": (TarLayout, "application/x-tar"),
}
TEXT_MEMBER_COUNT = 3  # members before the files
MANIFEST_COLUMNS = ("name", "bytes", "sha256", "status", "address", "reason")
STATUS_HERE = "here"
STATUS_REFUSED = "refused"
STATUS_MISSING = "missing"
STATUS_ELSEWHERE = "elsewhere"
_FILE_PATH_PATTERN = r"/collections/([^/?#]+)/files/([^?#]+)"
_DATALINK_PATH_PATTERN = r"/datalink/([^/?#]+)\?"
_RANGE_PATTERN = re.compile(r"bytes=(\d*)-(\d*)")


class ArchiveEntry(NamedTuple):
    """A requested file.

    Attributes
    ----------
    address
        Address of the file.
    status
        `STATUS_HERE`, `STATUS_REFUSED`, `STATUS_MISSING` or `STATUS_ELSEWHERE`.
    reason
        Why it is not in the archive.
    member
        Member of the archive; None if the file is not in it.
    """

    address: str
    status: str
    reason: str = ""
    member: ArchiveMember | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivePlan:
    """The contents of an archive, known before it is written.

    Attributes
    ----------
    entries
        All requested files.
    total_bytes
        Bytes of the files in the archive.
    owner_collections
        Collection of each file in the archive.
    collections
        The distinct collections of these files.
    crc_cache
        Cache of checksums of the site.
    file_count
        Number of files in the archive.
    has_remote_files
        Whether some of them are on other servers.
    """

    entries: Sequence[ArchiveEntry]
    total_bytes: int
    owner_collections: Sequence[str]
    collections: Sequence[CollectionSpec]
    crc_cache: CrcCache
    file_count: int
    has_remote_files: bool = False


def choose_address_column(result: QueryResult, column_name: str | None) -> str:
    """Choose the column of a result that leads to files.

    Parameters
    ----------
    result
        Result of a query.
    column_name
        The requested column; None for a column with addresses of files, else the identifier of rows that have links.

    Returns
    -------
    name
        Name of the column.

    Raises
    ------
    ParamError
        There is no such column.
    """
    names = [column.name for column in result.columns]
    if column_name is not None:
        matching_names = [name for name in names if name.lower() == column_name.lower()]
        chosen_name = next(iter(matching_names), None)
    else:
        chosen_name = _find_address_column(result) or _find_identifier_column(result)
    if chosen_name is None:
        message = format_message(
            "{name}={value}: the result has no column of that name with links to files",
            "COLUMN",
            (column_name or "")[:60],
        )
        remedy = format_message("use one of {names}", ", ".join(names))
        raise ParamError(message, name="COLUMN", remedy=remedy)
    return chosen_name


def _find_address_column(result: QueryResult) -> str | None:
    """Find a column with addresses: by its name, else by its UCD."""
    text_columns = [column for column in result.columns if column.type.is_string]
    text_names = {column.name for column in text_columns}
    for name in (*scripts.ADDRESS_COLUMNS[:1], *scripts.ADDRESS_COLUMNS[2:]):
        if name in text_names:
            return name
    for column in text_columns:
        if (column.ucd or "").lower().startswith("meta.ref.url"):
            return column.name
    return None


def read_file_addresses(result: QueryResult, column: str, base_url: str) -> list[str]:
    """Read the addresses to which the rows of a result lead.

    Parameters
    ----------
    result
        The result, whose rows are read.
    column
        Name of the column, as `choose_address_column` chose it.
    base_url
        Address of the site, without a final slash.

    Returns
    -------
    addresses
        Addresses for `plan_archive`.
    """
    names = [result_column.name for result_column in result.columns]
    index = names.index(column)
    texts: list[str] = []
    for batch in result.iterate_batches():
        cells = batch.column(index).to_pylist()
        texts.extend(str(cell) for cell in cells if cell not in {None, ""})
    if column != _find_identifier_column(result):
        return texts
    links_url = build_datalink_url(result.tables[0], base_url)
    return [links_url + quote(text, safe="") for text in texts]


def build_datalink_url(table: Table, base_url: str) -> str:
    """Return the address of lists of links of a table's rows, up to the identifier.

    Parameters
    ----------
    table
        Table of the rows.
    base_url
        Address of the site, without a final slash.
    """
    return f"{base_url}/datalink/{quote(table.qualified_name)}?ID="


def _find_identifier_column(result: QueryResult) -> str | None:
    """Return the identifier of rows that have links, if the result has it."""
    if len(result.tables) != 1:
        return None
    table = result.tables[0]
    identifier = table.identifier_column
    if not table.effective_links or identifier is None:
        return None
    names = [result_column.name for result_column in result.columns]
    return identifier.name if identifier.name in names else None


def plan_archive(
    context: ServiceContext, request: Request, addresses: Iterable[str], *, include_all: bool = False
) -> ArchivePlan:
    """Find the files of addresses, and which of them the reader may access.

    Parameters
    ----------
    context
        Service context of the site.
    request
        Request of the client.
    addresses
        Addresses of files of this site, of lists of links of its rows, or of files elsewhere.
    include_all
        As in `resolve_datalink_addresses`.

    Returns
    -------
    plan
        Each file once, in the order of the addresses.

    Raises
    ------
    TooLargeError
        There are more files, or bytes, than the limits of the site allow.
    """
    limits = context.site.settings.limits
    requested_addresses = list(dict.fromkeys(addresses))
    if len(requested_addresses) > limits.archive_files:
        raise build_archive_too_large_error(context)
    principal = context.identify_principal(request)
    site_urls = _list_base_urls(request, context)
    file_addresses, missing_entries = resolve_datalink_addresses(
        context, request, requested_addresses, include_all=include_all
    )
    match_file_address = _compile_address_pattern(site_urls, _FILE_PATH_PATTERN)
    file_by_address: dict[str, tuple[str, str] | None] = {}
    paths_by_collection: dict[str, list[str]] = {}
    for address in file_addresses:
        address_match = match_file_address(address)
        if address_match is None:
            file_by_address[address] = None
            continue
        collection, path = unquote(address_match[1]), unquote(address_match[2])
        file_by_address[address] = (collection, path)
    for file in file_by_address.values():
        if file is not None:
            paths_by_collection.setdefault(file[0], []).append(file[1])
    found_by_collection = {}
    for name, paths in paths_by_collection.items():
        found_by_collection[name] = _query_files(context, principal, name, paths)
    planner = _ArchiveEntryPlanner(context, found_by_collection)
    entries = list(missing_entries)
    for address, file in file_by_address.items():
        if file is None:
            entries.append(ArchiveEntry(address, STATUS_ELSEWHERE, "it belongs to another site; download it there"))
        else:
            entries.append(planner.plan_entry(address, *file))
    if planner.total_bytes > limits.archive_bytes:
        raise build_archive_too_large_error(context, planner.total_bytes)
    resources = context.site.get_published_state().resources
    collections = dict.fromkeys(planner.owner_collections)
    return ArchivePlan(
        entries=entries,
        total_bytes=planner.total_bytes,
        owner_collections=planner.owner_collections,
        crc_cache=context.site.get_or_create(CrcCache, context.site.settings.var_directory / "crc32"),
        file_count=sum(entry.member is not None for entry in entries),
        has_remote_files=planner.has_remote_files,
        collections=[resources[name] for name in collections if name in resources],
    )


class _ArchiveEntryPlanner:
    """Plans the entries of an archive, and sums up their bytes.

    Parameters
    ----------
    context
        Service context of the site.
    found_by_collection
        Requested files of each collection; None if the reader has no access to the collection's files.
    """

    def __init__(
        self, context: ServiceContext, found_by_collection: Mapping[str, collection_files.FoundFiles | None]
    ) -> None:
        self.owner_collections: list[str] = []
        self.total_bytes = 0
        self._context = context
        self._found_by_collection = found_by_collection
        self._remote_states = _request_remote_file_states(context, found_by_collection)
        self._member_names = scripts.UniqueFileNames()
        self._checked_folders: dict[str, bool] = {}
        self._safe_folders: dict[str, str] = {}
        self._redirecting_collections = set()
        for name, found_files in found_by_collection.items():
            if found_files is not None and any(root.redirects_clients for root in _list_roots(found_files)):
                self._redirecting_collections.add(name)

    @property
    def has_remote_files(self) -> bool:
        """Whether some files are on other servers."""
        return bool(self._remote_states)

    def plan_entry(self, address: str, collection: str, path: str) -> ArchiveEntry:
        """Plan the entry of a file of this site."""
        found_files = self._found_by_collection[collection]
        if found_files is not None and path in found_files.refused:
            return ArchiveEntry(address, STATUS_REFUSED, _flatten_message(found_files.refused[path]))
        if found_files is None or path not in found_files.rows:
            reason = f"the collection {collection!r} has no file {path!r} here"
            return ArchiveEntry(address, STATUS_MISSING, reason)
        row = found_files.rows[path]
        if collection in self._redirecting_collections and find_file_root(path, row["roots"])[0].redirects_clients:
            return ArchiveEntry(address, STATUS_ELSEWHERE, "it is on another server; download it from its address")
        try:
            if (collection, path) in self._remote_states:
                row = self._remote_states[collection, path]
                if isinstance(row, HvenError):
                    raise row
            else:
                collection_files.find_file_path(self._context.site.settings, row, self._checked_folders)
        except HvenError as error:
            return ArchiveEntry(address, STATUS_MISSING, _flatten_message(error))
        member = ArchiveMember(
            self._make_member_name(f"{row['collection']}/{path}"),
            row["bytes"],
            row["modified"],
            row["tag"],
            collection_files.create_file_reader(self._context, row),
            partial(found_files.record_access, "file taken", path),
            remote_files.create_read_ahead_call(self._context, row),
        )
        self.owner_collections.append(row["collection"])
        self.total_bytes += row["bytes"]
        return ArchiveEntry(address, STATUS_HERE, "", member)

    def _make_member_name(self, path: str) -> str:
        folder, _, file_name = path.rpartition("/")
        if folder not in self._safe_folders:
            safe_parts = map(scripts.make_safe_name, folder.split("/"))
            self._safe_folders[folder] = "/".join(safe_parts)
        safe_name = scripts.make_safe_name(file_name)
        return self._member_names.make_unique(f"{self._safe_folders[folder]}/{safe_name}")


def _request_remote_file_states(
    context: ServiceContext, found_by_collection: Mapping[str, collection_files.FoundFiles | None]
) -> dict[tuple[str, str], Any]:
    """Request the states of the files on other servers, all at once.

    Returns
    -------
    states
        (collection, path) -> row with size, time and state, or the error.
    """
    remote_rows: list[tuple[str, Any]] = []
    for collection, found_files in found_by_collection.items():
        if found_files is None or not any(root.scheme for root in _list_roots(found_files)):
            continue
        for row in found_files.rows.values():
            remote_root = remote_files.find_remote_root(row)
            if remote_root is not None and not remote_root[0].redirects_clients:
                remote_rows.append((collection, row))
    states = remote_files.request_file_states(context, [row for _, row in remote_rows])
    states_by_file = {}
    for (collection, row), state in zip(remote_rows, states, strict=True):
        states_by_file[collection, row["path"]] = state
    return states_by_file


def _list_roots(found_files: collection_files.FoundFiles) -> list[FileRoot]:
    """List the roots of files, those of each table once."""
    roots_by_id = {id(row["roots"]): row["roots"] for row in found_files.rows.values()}
    all_roots: list[FileRoot] = []
    for roots in roots_by_id.values():
        all_roots.extend(roots)
    return all_roots


def answer_archive(
    request: Request,
    plan: ArchivePlan,
    *,
    archive_kind: str,
    archive_name: str,
    site_title: str,
    readme_lines: Sequence[tuple[str, str]],
) -> Response:
    """Build the response: the archive, or a range of it.

    Parameters
    ----------
    request
        A GET, HEAD or POST request.
    plan
        Contents of the archive.
    archive_kind
        One of `ARCHIVE_KINDS`.
    archive_name
        Name of the archive without extension, and of the folder in it.
    site_title
        Title of the site.
    readme_lines
        Lines of the README.

    Returns
    -------
    response
        The archive with its length; or 304 and 416 as in RFC 9110.
    """
    record_sent_data(file_collections=plan.owner_collections)
    members = _list_members(plan, archive_name, site_title, readme_lines)
    create_layout, media_type = ARCHIVE_KINDS[archive_kind]
    layout = create_layout(members, plan.crc_cache)
    tag = _compute_archive_tag(members, archive_kind)
    headers = {
        "etag": tag,
        "cache-control": "private, no-cache",
        "vary": "authorization, cookie",
        "accept-ranges": "bytes",
        "content-type": media_type,
        "content-disposition": f'attachment; filename="{archive_name}.{archive_kind}"',
        "content-length": str(layout.size),
        "x-content-type-options": "nosniff",
        "hven-files": str(plan.file_count),
        "hven-missing": str(len(plan.entries) - plan.file_count),
    }
    if services.is_unchanged(request, tag):
        del headers["content-length"]
        return Response(status_code=304, headers=headers)
    status = 200
    start = 0
    stop = layout.size
    range_header = request.headers.get("range", "")
    if request.method in {"GET", "HEAD"} and range_header and request.headers.get("if-range", tag) == tag:
        byte_range = _parse_range(range_header, layout.size)
        if byte_range is not None:
            status = 206
            start, stop = byte_range
            headers["content-length"] = str(stop - start)
            headers["content-range"] = f"bytes {start}-{stop - 1}/{layout.size}"
            if start >= stop:
                headers |= {"content-range": f"bytes */{layout.size}", "content-length": "0"}
                return Response(status_code=416, headers=headers)
    if request.method == "HEAD":
        return Response(None, status, headers)
    pieces = stream_file_pieces(layout.stream_byte_range(start, stop), is_remote=plan.has_remote_files)
    return PieceStreamResponse(request, status, headers, pieces)


def _compute_archive_tag(members: Sequence[ArchiveMember], archive_kind: str) -> str:
    """Compute the entity tag of an archive.

    The text members contain names and checksums of all files, but not the times of their last change.
    """
    facts = [__version__, archive_kind]
    facts += [f"{member.name} {member.sha256}" for member in members[:TEXT_MEMBER_COUNT]]
    facts += [member.sha256 for member in members if not member.has_checksum]
    times = array("d", (member.modified for member in members)).tobytes()
    digest = hashlib.sha256(" ".join(facts).encode() + times)
    return f'"{digest.hexdigest()[:32]}"'


def _list_members(
    plan: ArchivePlan, archive_name: str, site_title: str, readme_lines: Sequence[tuple[str, str]]
) -> list[ArchiveMember]:
    """List the members: a README, the manifest and checksums, then the files."""
    file_members = []
    for entry in plan.entries:
        if entry.member is not None:
            archive_path = f"{archive_name}/files/{entry.member.name}"
            file_members.append(entry.member._replace(name=archive_path))
    latest_time = max((member.modified for member in file_members), default=0.0)
    checksum_lines = [
        f"{member.sha256}  {member.name.removeprefix(f'{archive_name}/')}\n"
        for member in file_members
        if member.has_checksum
    ]
    texts = {
        "README.txt": _write_readme(plan, site_title, readme_lines),
        "MANIFEST.csv": _write_manifest(plan),
        "SHA256SUMS": "".join(checksum_lines),
    }
    text_members = []
    for name, text in texts.items():
        body = text.encode()
        member = ArchiveMember(
            f"{archive_name}/{name}",
            len(body),
            latest_time,
            hashlib.sha256(body).hexdigest(),
            _create_range_reader(body),
        )
        text_members.append(member)
    return [*text_members, *file_members]


def _create_range_reader(body: bytes) -> Callable[[int, int], Iterator[bytes]]:
    return lambda start, stop: iter((body[start:stop],))


def _write_manifest(plan: ArchivePlan) -> str:
    csv_text = io.StringIO()
    writer = csv.writer(csv_text, lineterminator="\n")
    writer.writerow(MANIFEST_COLUMNS)
    for entry in plan.entries:
        file_facts: tuple[object, ...] = ("", "", "")
        if entry.member is not None:
            checksum = entry.member.sha256 if entry.member.has_checksum else ""
            file_facts = (f"files/{entry.member.name}", entry.member.size, checksum)
        writer.writerow((*file_facts, entry.status, entry.address, entry.reason))
    return csv_text.getvalue()


def _write_readme(plan: ArchivePlan, site_title: str, readme_lines: Sequence[tuple[str, str]]) -> str:
    missing_count = len(plan.entries) - plan.file_count
    lines = [f"Files of {site_title}", ""]
    lines += [f"{name}: {' '.join(text.split())}" for name, text in readme_lines]
    lines.append(f"Files: {plan.file_count:,} of {plan.total_bytes:,} bytes")
    if missing_count:
        lines.append(f"Not in this archive: {missing_count:,} requested files; MANIFEST.csv gives the reasons")
    lines += [
        "",
        "MANIFEST.csv lists all files with their sizes, checksums and addresses.",
        "To verify the files, run: sha256sum -c SHA256SUMS",
        "",
    ]
    for resource in plan.collections:
        licence = " ".join(text for text in (resource.licence, resource.licence_url) if text)
        facts = {
            "Cite": resource.citation,
            "Bibcode": resource.bibcode,
            "DOI": resource.doi,
            "See": resource.reference_url,
            "Acknowledge": resource.acknowledgement,
            "Licence": licence,
        }
        lines.append(resource.title)
        lines += [f"  {name}: {' '.join(text.split())}" for name, text in facts.items() if text]
        lines.append("")
    return "\n".join(lines)


def resolve_datalink_addresses(
    context: ServiceContext, request: Request, addresses: Sequence[str], *, include_all: bool = False
) -> tuple[list[str], list[ArchiveEntry]]:
    """Replace lists of links by the files to which they lead.

    Parameters
    ----------
    context
        Service context of the site.
    request
        Request of the client.
    addresses
        Addresses of files, or of lists of links of this site.
    include_all
        True: all of the site's files to which a list leads; False: the rows' own files.

    Returns
    -------
    addresses
        Addresses of files, each once.
    missing_entries
        Lists that lead to no file.
    """
    principal = context.identify_principal(request)
    published_state = context.site.get_published_state()
    site_urls = _list_base_urls(request, context)
    match_list_address = _compile_address_pattern(site_urls, _DATALINK_PATH_PATTERN)
    match_file_address = _compile_address_pattern(site_urls, _FILE_PATH_PATTERN)
    identifiers_by_table = _parse_datalink_addresses(addresses, match_list_address)
    list_addresses: set[str] = set()
    for identifiers in identifiers_by_table.values():
        list_addresses.update(address for _, address in identifiers)
    files_by_list: dict[str, list[str]] = {}
    missing_entries: list[ArchiveEntry] = []
    for table_name, identifiers in identifiers_by_table.items():
        address_by_identifier = dict(identifiers)
        try:
            link_rows = _list_links(
                context,
                principal,
                published_state,
                table_name,
                [identifier for identifier, _ in identifiers],
                base_url=site_urls[0],
            )
        except HvenError as error:
            reason = _flatten_message(error)
            missing_entries += [ArchiveEntry(address, STATUS_MISSING, reason) for _, address in identifiers]
            continue
        for row in link_rows:
            list_address = address_by_identifier[row["ID"]]
            file_address = row["access_url"]
            is_own_file = row["semantics"] == datalinks.THIS_SEMANTICS
            if file_address is not None:
                if is_own_file or (include_all and match_file_address(file_address)):
                    files_by_list.setdefault(list_address, []).append(file_address)
            elif row["error_message"] is not None and (is_own_file or include_all):
                missing_entries.append(ArchiveEntry(list_address, STATUS_MISSING, str(row["error_message"])))
    answered_addresses = {entry.address for entry in missing_entries} | {*files_by_list}
    file_addresses: list[str] = []
    for address in dict.fromkeys(addresses):
        if address not in list_addresses:
            file_addresses.append(address)
            continue
        file_addresses += files_by_list.get(address, ())
        if address not in answered_addresses:
            reason = "it does not lead to a file that you may download here"
            missing_entries.append(ArchiveEntry(address, STATUS_MISSING, reason))
    return list(dict.fromkeys(file_addresses)), missing_entries


def _parse_datalink_addresses(
    addresses: Iterable[str], match_list_address: Callable[[str], re.Match[str] | None]
) -> dict[str, list[tuple[str, str]]]:
    """Parse the addresses of lists of links: table -> identifiers, each with its address."""
    identifiers_by_table: dict[str, list[tuple[str, str]]] = {}
    for address in addresses:
        list_match = match_list_address(address)
        if list_match is None:
            continue
        table_name = unquote(list_match[1])
        for name, value in parse_qsl(split_address(address).query):
            if name.upper() == "ID":
                identifiers_by_table.setdefault(table_name, []).append((value, address))
    return identifiers_by_table


def _list_links(
    context: ServiceContext,
    principal: Principal,
    published_state: PublishedState,
    table_name: str,
    identifiers: Sequence[str],
    *,
    base_url: str,
) -> list[dict[str, Any]]:
    catalogue = published_state.get_catalogue(principal, context.policies)
    link_rows = datalinks.list_row_links(
        services.find_table(table_name, catalogue),
        identifiers,
        principal=principal,
        site=context.site,
        policies=context.policies,
        published_state=published_state,
        base_url=base_url,
    )
    rows: list[dict[str, Any]] = link_rows.to_pylist()
    return rows


def _list_base_urls(request: Request, context: ServiceContext) -> list[str]:
    """List the addresses of the site, and those that it had when rows were written.

    A server at another port has the same files.
    """
    base_urls = list_base_urls(request, context.site.settings)
    earlier_urls = sorted(context.site.get_published_state().ingest_site_urls)
    return list(dict.fromkeys([*base_urls, *earlier_urls]))


def _compile_address_pattern(base_urls: Sequence[str], path_pattern: str) -> Callable[[str], re.Match[str] | None]:
    """Return a function that finds the parts of an address of this site."""
    return re.compile(f"(?:{'|'.join(map(re.escape, base_urls))}){path_pattern}").match


def _query_files(
    context: ServiceContext, principal: Principal, collection: str, paths: Sequence[str]
) -> collection_files.FoundFiles | None:
    try:
        return collection_files.find_files(context, principal, collection, paths)
    except NotFoundError:
        return None


def _parse_range(text: str, archive_bytes: int) -> tuple[int, int] | None:
    """Parse a range of bytes; return None if there are several or the range is invalid, so that everything is sent."""
    range_match = _RANGE_PATTERN.fullmatch(text.strip())
    if range_match is None or not any(range_match.groups()):
        return None
    first, last = range_match.groups()
    if not first:
        if int(last):
            return (max(archive_bytes - int(last), 0), archive_bytes)
        return (archive_bytes, archive_bytes)
    if last and int(last) < int(first):
        return None
    stop = int(last) + 1 if last else archive_bytes
    return min(int(first), archive_bytes), min(stop, archive_bytes)


def _flatten_message(error: HvenError) -> str:
    return str(error).replace("\n", " ")


def answer_listing(
    request: Request,
    script_format: TableFormat,
    batches: Iterator[pa.RecordBatch],
    infos: Sequence[InfoElement],
    headers: Mapping[str, str],
) -> Response:
    """Build the response with a script or a list of the files of several tables, written while it is sent.

    Parameters
    ----------
    request
        A GET or POST request.
    script_format
        Format, as `scripts.create_script_formats` creates it.
    batches
        Addresses, and names or nulls, of which `scripts.MAX_SCRIPT_FILES` rows are used. The first batch is read before
        anything is sent.
    infos
        Information at the begin of the document.
    headers
        Headers of the response.

    Returns
    -------
    response
        A response without a length; a later error breaks the connection.

    Raises
    ------
    HvenError
        The first batch cannot be read.
    """
    first_batches = list(itertools.islice(batches, 1))
    has_overflow = False

    def limit_rows() -> Iterator[pa.RecordBatch]:
        nonlocal has_overflow
        remaining_rows = scripts.MAX_SCRIPT_FILES
        for batch in itertools.chain(first_batches, batches):
            yield batch.slice(0, remaining_rows)
            if batch.num_rows > remaining_rows:
                has_overflow = True
                return
            remaining_rows -= batch.num_rows

    def build_status() -> ResultStatus:
        return ResultStatus(row_count=scripts.MAX_SCRIPT_FILES, overflow=has_overflow)

    def write_pieces() -> Generator[bytes | None]:
        yield None  # the rest runs in a thread, which may wait for rows
        metadata = TableMetadata(columns=(), infos=infos)
        yield from script_format.write(metadata, limit_rows(), build_status, {})

    return PieceStreamResponse(request, 200, headers, stream_file_pieces(write_pieces()))


def build_archive_too_large_error(context: ServiceContext, total_bytes: int | None = None) -> TooLargeError:
    """Build the error for an archive that exceeds the limits of the site.

    Parameters
    ----------
    context
        Service context of the site.
    total_bytes
        Bytes of the files; None if there are too many files.

    Returns
    -------
    error
        The error, to be raised.
    """
    limits = context.site.settings.limits
    if total_bytes is None:
        message = format_message("an archive on this site may contain at most {most:,} files", limits.archive_files)
    else:
        message = format_message(
            "these files contain {size:,} bytes in total; an archive on this site may contain at most {most:,}",
            total_bytes,
            limits.archive_bytes,
        )
    remedy = "narrow the search, or download the files one by one, with a script for wget, curl or aria2"
    return TooLargeError(message, remedy=remedy)
