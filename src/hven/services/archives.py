"""Files of many rows as one archive, written while it is sent.

ZIP or TAR, of a size that is known beforehand, in ranges; what is refused or missing is listed.
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
from hven.model.table import find_root
from hven.services import collection_files, datalinks, remote_files, scripts
from hven.services._archive_layouts import ArchiveLayout, ArchiveMember, TarLayout, ZipLayout
from hven.services._byte_ranges import PieceStreamResponse, stream_pieces
from hven.services._checksums import CrcCache
from hven.services.addresses import list_base_urls
from hven.site import record_sent_data

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence

    import pyarrow as pa
    from starlette.requests import Request

    from hven.formats import Format, InfoElement
    from hven.model.resource import Resource
    from hven.model.table import FileRoot, Table
    from hven.query import QueryResult
    from hven.services.face import ServiceContext
    from hven.site.auth import Principal

ARCHIVE_KINDS: dict[str, tuple[Callable[[Sequence[ArchiveMember], CrcCache], ArchiveLayout], str]] = {
    "zip": (ZipLayout, "application/zip"),
    "tar": (TarLayout, "application/x-tar"),
}
TEXT_MEMBER_COUNT = 3  # members before the files
MANIFEST_COLUMNS = ("name", "bytes", "sha256", "status", "address", "reason")
STATUS_HERE, STATUS_REFUSED, STATUS_MISSING, STATUS_ELSEWHERE = "here", "refused", "missing", "elsewhere"
_FILE_PATH_PATTERN = r"/collections/([^/?#]+)/files/([^?#]+)"
_DATALINK_PATH_PATTERN = r"/datalink/([^/?#]+)\?"
_RANGE_PATTERN = re.compile(r"bytes=(\d*)-(\d*)")


class ArchiveEntry(NamedTuple):
    """A file that was asked for.

    Attributes
    ----------
    address
        Of the file.
    status
        `STATUS_HERE`, `STATUS_REFUSED`, `STATUS_MISSING` or `STATUS_ELSEWHERE`.
    reason
        Why it is not here.
    member
        Of the archive; None: it is not here.
    """

    address: str
    status: str
    reason: str = ""
    member: ArchiveMember | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivePlan:
    """What an archive will have, told beforehand.

    Attributes
    ----------
    entries
        All that was asked for.
    total_bytes
        Of the files that are here.
    owner_collections
        The collection of each file that is in it.
    collections
        From which they are.
    crc_cache
        Of the site.
    file_count
        How many are in it.
    has_remote_files
        Some lie on other servers.
    """

    entries: Sequence[ArchiveEntry]
    total_bytes: int
    owner_collections: Sequence[str]
    collections: Sequence[Resource]
    crc_cache: CrcCache
    file_count: int
    has_remote_files: bool = False


def choose_address_column(result: QueryResult, column_name: str | None) -> str:
    """Choose the column of an answer that leads to files.

    Parameters
    ----------
    result
        The answer.
    column_name
        The column that was asked for; None: what says that it leads to files, else the identifier of rows that have
        links.

    Returns
    -------
    name
        Of the column.

    Raises
    ------
    ParamError
        There is none.
    """
    names = [column.name for column in result.columns]
    if column_name is not None:
        chosen_name = next((name for name in names if name.lower() == column_name.lower()), None)
    else:
        texts = [column for column in result.columns if column.type.is_string]
        ranked = {name: at for at, name in enumerate((*scripts.ADDRESS_COLUMNS[:1], *scripts.ADDRESS_COLUMNS[2:]))}
        address_columns = [
            item for item in texts if item.name in ranked or (item.ucd or "").lower().startswith("meta.ref.url")
        ]
        likely = min(address_columns, key=lambda item: ranked.get(item.name, len(ranked)), default=None)
        if likely is not None:
            chosen_name = likely.name
        else:
            chosen_name = _find_identifier_column(result)
    if chosen_name is None:
        raise ParamError(
            format_message("{name}={value}: no column of that name leads to files", "COLUMN", (column_name or "")[:60]),
            name="COLUMN",
            remedy=format_message("there are: {names}", ", ".join(names)),
        )
    return chosen_name


def read_addresses(result: QueryResult, column: str, base_url: str) -> list[str]:
    """Read where the rows of an answer lead to.

    Parameters
    ----------
    result
        Its rows are read.
    column
        As `choose_address_column` chose it.
    base_url
        Address of the site, without a final slash.

    Returns
    -------
    addresses
        As `plan_archive` takes them.
    """
    at = next(at for at, result_column in enumerate(result.columns) if result_column.name == column)
    texts = [
        text for batch in result.iterate_batches() for text in batch.column(at).to_pylist() if text not in {None, ""}
    ]
    if column != _find_identifier_column(result):
        return list(map(str, texts))
    links = build_datalink_url(result.tables[0], base_url)
    return [links + quote(str(text), safe="") for text in texts]


def build_datalink_url(table: Table, base_url: str) -> str:
    """Return the address of lists of links of a table's rows, up to the identifier.

    Parameters
    ----------
    table
        Whose rows they are.
    base_url
        Address of the site, without a final slash.
    """
    return f"{base_url}/datalink/{quote(table.qualified_name)}?ID="


def _find_identifier_column(result: QueryResult) -> str | None:
    """Return the identifier of rows that have links, if the answer has it."""
    if len(result.tables) == 1:
        table = result.tables[0]
    else:
        table = None
    if table is not None and table.effective_links:
        key = table.identifier_column
    else:
        key = None
    return next(
        (result_column.name for result_column in result.columns if key is not None and result_column.name == key.name),
        None,
    )


def plan_archive(
    context: ServiceContext, request: Request, addresses: Iterable[str], *, include_all: bool = False
) -> ArchivePlan:
    """Look what there is behind addresses, and what of it a reader may take.

    Parameters
    ----------
    context
        The site.
    request
        Of the reader.
    addresses
        Of files of this site, of lists of links of its rows, or of files elsewhere.
    include_all
        As of `resolve_addresses`.

    Returns
    -------
    plan
        Each file once, in the order of the addresses.

    Raises
    ------
    TooLargeError
        More files, or bytes, than the limits of the site allow.
    """
    limits = context.site.settings.limits
    requested_addresses = list(dict.fromkeys(addresses))
    if len(requested_addresses) > limits.archive_files:
        raise build_too_large_error(context)
    principal = context.identify_principal(request)
    site_urls = _list_base_urls(request, context)
    file_addresses, lost = resolve_addresses(context, request, requested_addresses, include_all=include_all)
    matches = zip(
        file_addresses, map(_compile_address_pattern(site_urls, _FILE_PATH_PATTERN), file_addresses), strict=True
    )
    parts = {
        item: None if file_location is None else (unquote(file_location[1]), unquote(file_location[2]))
        for item, file_location in matches
    }
    of: dict[str, list[str]] = {}
    for file_location in parts.values():
        if file_location is not None:
            of.setdefault(file_location[0], []).append(file_location[1])
    found_by_collection = {name: _query_files(context, principal, name, paths) for name, paths in of.items()}
    names = scripts.UniqueNames()
    entries = list(lost)
    total = 0
    folders: dict[str, bool] = {}
    plain: dict[str, str] = {}
    owners: list[str] = []
    distant = _request_remote_files(context, found_by_collection)
    direct = {
        name
        for name, found_files in found_by_collection.items()
        if found_files is not None and any(item.redirects_clients for item in _list_roots(found_files))
    }
    for address, file_location in parts.items():
        if file_location is None:
            entries.append(ArchiveEntry(address, STATUS_ELSEWHERE, "it is of another site: fetch it there"))
            continue
        name, path = file_location
        found_files = found_by_collection[name]
        if found_files is None or (path not in found_files.rows and path not in found_files.refused):
            entries.append(ArchiveEntry(address, STATUS_MISSING, f"the collection {name!r} has no file {path!r} here"))
            continue
        if path in found_files.refused:
            entries.append(ArchiveEntry(address, STATUS_REFUSED, _flatten_message(found_files.refused[path])))
            continue
        row = found_files.rows[path]
        if name in direct and find_root(path, row["roots"])[0].redirects_clients:
            entries.append(ArchiveEntry(address, STATUS_ELSEWHERE, "it is on another server: fetch it by its address"))
            continue
        try:
            row = distant.get(file_location, row)
            if isinstance(row, HvenError):
                raise row
            if file_location not in distant:
                collection_files.find_file_path(context.site.settings, row, folders)
        except HvenError as error:
            entries.append(ArchiveEntry(address, STATUS_MISSING, _flatten_message(error)))
            continue
        folder, _, last = f"{row['collection']}/{path}".rpartition("/")
        owners.append(row["collection"])
        if folder not in plain:
            plain[folder] = "/".join(map(scripts.make_safe_name, folder.split("/")))
        called = names.make_unique(f"{plain[folder]}/{scripts.make_safe_name(last)}")
        read = collection_files.create_file_reader(context, row)
        taking = partial(found_files.record_access, "file taken", path)
        begin = remote_files.build_read_ahead(context, row)
        entries.append(
            ArchiveEntry(
                address,
                STATUS_HERE,
                "",
                ArchiveMember(called, row["bytes"], row["modified"], row["tag"], read, taking, begin),
            )
        )
        total += row["bytes"]
    if total > limits.archive_bytes:
        raise build_too_large_error(context, total)
    resources = context.site.get_published_state().resources
    crc_cache = context.site.get_or_create(CrcCache, context.site.settings.var_directory / "crc32")
    file_count = sum(item.member is not None for item in entries)
    return ArchivePlan(
        entries=entries,
        total_bytes=total,
        owner_collections=owners,
        crc_cache=crc_cache,
        file_count=file_count,
        has_remote_files=bool(distant),
        collections=[resources[name] for name in dict.fromkeys(owners) if name in resources],
    )


def _request_remote_files(
    context: ServiceContext, found_files: Mapping[str, collection_files.FoundFiles | None]
) -> dict[tuple[str, str], Any]:
    """Ask other servers for what the archive has of them, all at once.

    Rows with size, time and state, or why there is none.
    """
    far_off = [
        (name, found_set)
        for name, found_set in found_files.items()
        if found_set is not None and any(root.scheme for root in _list_roots(found_set))
    ]
    collection_rows = [(name, row) for name, found_set in far_off for row in found_set.rows.values()]
    remote_rows = [
        (name, row)
        for name, row in collection_rows
        if (remote_root := remote_files.find_remote_root(row)) is not None and not remote_root[0].redirects_clients
    ]
    states = remote_files.request_file_states(context, [row for _, row in remote_rows])
    return {(name, row["path"]): state for (name, row), state in zip(remote_rows, states, strict=True)}


def _list_roots(found_files: collection_files.FoundFiles) -> list[FileRoot]:
    """List the roots of files, those of each table once."""
    roots_by_id = {id(row["roots"]): row["roots"] for row in found_files.rows.values()}
    return [root for roots in roots_by_id.values() for root in roots]


def answer_archive(
    request: Request,
    plan: ArchivePlan,
    *,
    archive_kind: str,
    archive_name: str,
    site_title: str,
    readme_lines: Sequence[tuple[str, str]],
) -> Response:
    """Make the response: the archive, or a range of it.

    Parameters
    ----------
    request
        GET, HEAD or POST.
    plan
        What is in it.
    archive_kind
        One of `ARCHIVE_KINDS`.
    archive_name
        The archive, without an ending, and the folder in it.
    site_title
        Of the site.
    readme_lines
        Lines of the README.

    Returns
    -------
    response
        With its length; 304 and 416 as RFC 9110 has them.
    """
    record_sent_data(file_collections=plan.owner_collections)
    members = _list_members(plan, archive_name, site_title, readme_lines)
    packing, media_type = ARCHIVE_KINDS[archive_kind]
    packed = packing(members, plan.crc_cache)
    # the texts before the files say all of these but when they were changed
    facts = [__version__, archive_kind, *(f"{member.name} {member.sha256}" for member in members[:TEXT_MEMBER_COUNT])]
    facts += (member.sha256 for member in members if not member.has_checksum)
    times = array("d", (member.modified for member in members)).tobytes()
    tag = f'"{hashlib.sha256(" ".join(facts).encode() + times).hexdigest()[:32]}"'
    headers = {
        "etag": tag,
        "cache-control": "private, no-cache",
        "vary": "authorization, cookie",
        "accept-ranges": "bytes",
        "content-type": media_type,
        "content-disposition": f'attachment; filename="{archive_name}.{archive_kind}"',
        "content-length": str(packed.size),
        "x-content-type-options": "nosniff",
        "hven-files": str(plan.file_count),
        "hven-missing": str(len(plan.entries) - plan.file_count),
    }
    if services.is_unchanged(request, tag):
        del headers["content-length"]
        return Response(status_code=304, headers=headers)
    status = 200
    start = 0
    stop = packed.size
    range_header = request.headers.get("range", "")
    if request.method in {"GET", "HEAD"} and range_header and request.headers.get("if-range", tag) == tag:
        byte_range = _parse_range(range_header, packed.size)
        if byte_range is not None:
            status, (start, stop) = 206, byte_range
            headers["content-length"] = str(stop - start)
            headers["content-range"] = f"bytes {start}-{stop - 1}/{packed.size}"
            if start >= stop:
                headers |= {"content-range": f"bytes */{packed.size}", "content-length": "0"}
                return Response(status_code=416, headers=headers)
    if request.method == "HEAD":
        return Response(None, status, headers)
    return PieceStreamResponse(
        request, status, headers, stream_pieces(packed.write_range(start, stop), is_remote=plan.has_remote_files)
    )


def _list_members(
    plan: ArchivePlan, archive_name: str, site_title: str, readme_lines: Sequence[tuple[str, str]]
) -> list[ArchiveMember]:
    """List the members: a README, the manifest and checksums before the files."""
    files = [
        ArchiveMember(f"{archive_name}/files/{item.member.name}", *item.member[1:])
        for item in plan.entries
        if item.member is not None
    ]
    latest = max((item.modified for item in files), default=0.0)
    lines = [f"{item.sha256}  {item.name.removeprefix(f'{archive_name}/')}\n" for item in files if item.has_checksum]
    texts = {
        "README.txt": _write_readme(plan, site_title, readme_lines),
        "MANIFEST.csv": _write_manifest(plan),
        "SHA256SUMS": "".join(lines),
    }
    text_members = []
    for name, text in texts.items():
        body = text.encode()
        text_members.append(
            ArchiveMember(
                f"{archive_name}/{name}",
                len(body),
                latest,
                hashlib.sha256(body).hexdigest(),
                _create_range_reader(body),
            )
        )
    return [*text_members, *files]


def _create_range_reader(body: bytes) -> Callable[[int, int], Iterator[bytes]]:
    return lambda start, stop: iter((body[start:stop],))


def _write_manifest(plan: ArchivePlan) -> str:
    csv_text = io.StringIO()
    rows = csv.writer(csv_text, lineterminator="\n")
    rows.writerow(MANIFEST_COLUMNS)
    rows.writerows(
        ("", "", "", archive_entry.status, archive_entry.address, archive_entry.reason)
        if archive_entry.member is None
        else (
            f"files/{archive_entry.member.name}",
            archive_entry.member.size,
            archive_entry.member.sha256 if archive_entry.member.has_checksum else "",
            archive_entry.status,
            archive_entry.address,
            archive_entry.reason,
        )
        for archive_entry in plan.entries
    )
    return csv_text.getvalue()


def _write_readme(plan: ArchivePlan, site_title: str, readme_lines: Sequence[tuple[str, str]]) -> str:
    lost = len(plan.entries) - plan.file_count
    lines = [
        f"Files of {site_title}",
        "",
        *(f"{name}: {' '.join(text.split())}" for name, text in readme_lines),
        f"Files: {plan.file_count:,} of {plan.total_bytes:,} bytes",
        *([f"Not in this archive: {lost:,} that were asked for; MANIFEST.csv says why"] if lost else []),
        "",
        "MANIFEST.csv lists all files with sizes, checksums and where they come from.",
        "To check what you have: sha256sum -c SHA256SUMS",
        "",
    ]
    for collection_resource in plan.collections:
        facts = [
            ("Cite", collection_resource.citation),
            ("Bibcode", collection_resource.bibcode),
            ("DOI", collection_resource.doi),
            ("See", collection_resource.reference_url),
            ("Acknowledge", collection_resource.acknowledgement),
        ]
        licence = " ".join(text for text in (collection_resource.licence, collection_resource.licence_url) if text)
        facts.append(("Licence", licence))
        lines += [
            collection_resource.title,
            *(f"  {name}: {' '.join(text.split())}" for name, text in facts if text),
            "",
        ]
    return "\n".join(lines)


def resolve_addresses(
    context: ServiceContext, request: Request, addresses: Sequence[str], *, include_all: bool = False
) -> tuple[list[str], list[ArchiveEntry]]:
    """Follow lists of links to the rows' own files.

    Parameters
    ----------
    context
        The site.
    request
        Of the reader.
    addresses
        Of files, or of lists of links of this site.
    include_all
        All of the site's files that a list leads to, not the rows' own alone.

    Returns
    -------
    addresses
        Of files, each once.
    lost
        Lists that lead to none.
    """
    principal = context.identify_principal(request)
    site_urls = _list_base_urls(request, context)
    ids: dict[str, list[tuple[str, str]]] = {}
    match = _compile_address_pattern(site_urls, _DATALINK_PATH_PATTERN)
    file = _compile_address_pattern(site_urls, _FILE_PATH_PATTERN)
    for address in addresses:
        link_match = match(address)
        if link_match is not None:
            row_identifiers = [value for name, value in parse_qsl(split_address(address).query) if name.upper() == "ID"]
            ids.setdefault(unquote(link_match[1]), []).extend((item, address) for item in row_identifiers)
    led: dict[str, list[str]] = {}
    lost: list[ArchiveEntry] = []
    published_state = context.site.get_published_state()
    for name, identifier_pairs in ids.items():
        try:
            catalogue = published_state.get_catalogue(principal, context.policies)
            table = services.find_table(name, catalogue)
            rows = datalinks.list_row_links(
                table,
                [item for item, _ in identifier_pairs],
                principal=principal,
                site=context.site,
                policies=context.policies,
                published_state=published_state,
                base_url=site_urls[0],
            ).to_pylist()
        except HvenError as error:
            lost += [ArchiveEntry(address, STATUS_MISSING, _flatten_message(error)) for _, address in identifier_pairs]
            continue
        address_by_identifier = dict(identifier_pairs)
        for row in rows:
            is_own_file = row["semantics"] == datalinks.THIS_SEMANTICS
            if row["access_url"] is not None and (is_own_file or (include_all and file(row["access_url"]))):
                led.setdefault(address_by_identifier[row["ID"]], []).append(row["access_url"])
            elif row["access_url"] is None and row["error_message"] is not None and (is_own_file or include_all):
                lost.append(ArchiveEntry(address_by_identifier[row["ID"]], STATUS_MISSING, str(row["error_message"])))
    listed = {address for identifier_pairs in ids.values() for _, address in identifier_pairs}
    answered_addresses = {item.address for item in lost} | {*led}
    lost += [
        ArchiveEntry(item, STATUS_MISSING, "it leads to no file that is here for you")
        for item in dict.fromkeys(addresses)
        if item in listed and item not in answered_addresses
    ]
    files = (item for address in addresses for item in (led.get(address, ()) if address in listed else (address,)))
    return list(dict.fromkeys(files)), lost


def _list_base_urls(request: Request, context: ServiceContext) -> list[str]:
    """List the site's addresses, with those that it had when rows were written.

    A server at another port has the same files.
    """
    base_urls = list_base_urls(request, context.site.settings)
    published_state = context.site.get_published_state()
    return list(
        dict.fromkeys(
            [
                *base_urls,
                *sorted(published_state.ingest_site_urls),
            ]
        )
    )


def _compile_address_pattern(base_urls: Sequence[str], path_pattern: str) -> Callable[[str], re.Match[str] | None]:
    """Return what finds the parts of an address of this site."""
    return re.compile(f"(?:{'|'.join(map(re.escape, base_urls))}){path_pattern}").match


def _query_files(
    context: ServiceContext, principal: Principal, collection: str, paths: Sequence[str]
) -> collection_files.FoundFiles | None:
    try:
        return collection_files.find_files(context, principal, collection, paths)
    except NotFoundError:
        return None


def _parse_range(text: str, archive_bytes: int) -> tuple[int, int] | None:
    """Read a range of bytes; None: several, or none that is understood: then everything is sent."""
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
    return min(int(first), archive_bytes), min(int(last) + 1, archive_bytes) if last else archive_bytes


def _flatten_message(error: HvenError) -> str:
    return str(error).replace("\n", " ")


def answer_listing(
    request: Request,
    script_format: Format,
    batches: Iterator[pa.RecordBatch],
    infos: Sequence[InfoElement],
    headers: Mapping[str, str],
) -> Response:
    """Make the response of a script, or a list, of the files of several tables, written while it is sent.

    Parameters
    ----------
    request
        GET or POST.
    script_format
        As `scripts.create_script_formats` makes it.
    batches
        Addresses, and names or nulls; `scripts.MAX_SCRIPT_FILES` rows of them are taken. The first one is read before
        anything is sent.
    infos
        What stands at the beginning.
    headers
        Of the answer.

    Returns
    -------
    response
        Without its length; what fails on its way cuts the connection.

    Raises
    ------
    HvenError
        The first batch cannot be had.
    """
    begun = list(itertools.islice(batches, 1))
    ended = {"overflow": False}

    def limit_rows() -> Iterator[pa.RecordBatch]:
        remaining_rows = scripts.MAX_SCRIPT_FILES
        for batch in itertools.chain(begun, batches):
            yield batch.slice(0, remaining_rows)
            if batch.num_rows > remaining_rows:
                ended["overflow"] = True
                return
            remaining_rows -= batch.num_rows

    def write_pieces() -> Generator[bytes | None]:
        yield None  # from here on a thread waits for rows
        head = TableMetadata(columns=(), infos=infos)
        yield from script_format.write(
            head, limit_rows(), lambda: ResultStatus(row_count=scripts.MAX_SCRIPT_FILES, overflow=ended["overflow"]), {}
        )

    return PieceStreamResponse(request, 200, headers, stream_pieces(write_pieces()))


def build_too_large_error(context: ServiceContext, total_bytes: int | None = None) -> TooLargeError:
    """Make the error of an archive that the site does not write.

    Parameters
    ----------
    context
        The site.
    total_bytes
        Bytes of the files; None: there are too many.

    Returns
    -------
    error
        To be raised.
    """
    limits = context.site.settings.limits
    if total_bytes is None:
        message = format_message("an archive of this site has at most {most:,} files", limits.archive_files)
    else:
        message = format_message(
            "these files have {size:,} bytes; an archive of this site has at most {most:,}",
            total_bytes,
            limits.archive_bytes,
        )
    return TooLargeError(
        message, remedy="narrow the search, or take the files one by one, by a script for wget, curl or aria2"
    )
