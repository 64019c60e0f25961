"""Archives of the files of many rows, written while they are sent.

They are ZIP or TAR, have a size that is known beforehand, and can be requested in ranges. Files that are missing or
refused are listed.
"""

from __future__ import annotations

import csv
import hashlib
import io
from array import array
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from starlette.responses import Response

from hven import __version__, services
from hven.model.errors import HvenError, NotFoundError, TooLargeError, format_message
from hven.model.table import find_file_root_and_relative_path
from hven.plugins.archives.archive_layouts import ArchiveMember, ArchiveRangeWriter, TarRangeWriter, ZipRangeWriter
from hven.plugins.archives.crc_cache import CrcCache
from hven.plugins.archives.file_addresses import find_addressed_files, flatten_message
from hven.plugins.archives.settings import get_archive_limits
from hven.services import collection_files, remote_files, scripts
from hven.services.api.files import answer_file, stream_file_pieces
from hven.site import record_sent_data

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence

    from starlette.requests import Request

    from hven.services.face import ServiceContext

ARCHIVE_KINDS: dict[str, tuple[Callable[[Sequence[ArchiveMember], CrcCache], ArchiveRangeWriter], str]] = {
    "zip": (ZipRangeWriter, "application/zip"),
    "tar": (TarRangeWriter, "application/x-tar"),
}
TEXT_MEMBER_COUNT = 3  # members before the files
MANIFEST_COLUMNS = ("name", "bytes", "sha256", "status", "address", "reason")
STATUS_HERE = "here"
STATUS_REFUSED = "refused"
STATUS_MISSING = "missing"
STATUS_ELSEWHERE = "elsewhere"


class RequestedArchiveFile(NamedTuple):
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
    """The contents of an archive, known before it is written: a `hven.services.file_archives.FileArchive`.

    Attributes
    ----------
    context
        Service context of the site.
    entries
        All requested files.
    total_bytes
        Bytes of the files in the archive.
    owner_collections
        Collection of each file in the archive.
    has_remote_files
        Whether some of them are on other servers.
    """

    context: ServiceContext
    entries: Sequence[RequestedArchiveFile]
    total_bytes: int
    owner_collections: Sequence[str]
    has_remote_files: bool = False

    @property
    def file_count(self) -> int:
        """Number of files in the archive."""
        return len(self.owner_collections)

    @property
    def missing_count(self) -> int:
        """Number of requested files that are not in it."""
        return len(self.entries) - self.file_count

    def answer(self, request: Request, kind: str, name: str, readme_lines: Sequence[tuple[str, str]]) -> Response:
        """Build the response: the archive, or a range of it.

        Parameters
        ----------
        request
            A GET, HEAD or POST request.
        kind
            One of `ARCHIVE_KINDS`.
        name
            Name of the archive without extension, and of the folder in it.
        readme_lines
            Lines of the README.

        Returns
        -------
        response
            The archive with its length; or 304 and 416 as in RFC 9110.
        """
        record_sent_data(file_collections=self.owner_collections)
        site = self.context.site
        members = _build_archive_members(self, name, readme_lines)
        create_layout, media_type = ARCHIVE_KINDS[kind]
        layout = create_layout(members, site.get_or_create(CrcCache, site.settings.var_directory / "crc32"))
        tag = _compute_archive_tag(members, kind)
        headers = {
            "etag": tag,
            "cache-control": "private, no-cache",
            "vary": "authorization, cookie",
            "accept-ranges": "bytes",
            "content-type": media_type,
            "content-disposition": f'attachment; filename="{name}.{kind}"',
            "x-content-type-options": "nosniff",
            "hven-files": str(self.file_count),
            "hven-missing": str(self.missing_count),
        }
        if services.is_unchanged(request, tag):
            return Response(status_code=304, headers=headers)

        def stream_range(start: int, stop: int) -> AsyncGenerator[bytes | bytearray]:
            return stream_file_pieces(layout.stream_byte_range(start, stop), is_remote=self.has_remote_files)

        is_same_state = request.headers.get("if-range", tag) == tag
        allows_range = request.method in {"GET", "HEAD"} and is_same_state
        return answer_file(request, layout.size, stream_range, media_type, headers, allows_range=allows_range)


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
        As in `find_addressed_files`.

    Returns
    -------
    plan
        Each file once, in the order of the addresses.

    Raises
    ------
    TooLargeError
        There are more files, or bytes, than the limits of the site allow.
    """
    limits = get_archive_limits(context.site.settings)
    requested_addresses = list(dict.fromkeys(addresses))
    if len(requested_addresses) > limits.archive_files:
        raise build_too_many_files_error(context)
    file_by_address, missing_files = find_addressed_files(
        context, request, requested_addresses, include_all=include_all
    )
    paths_by_collection: dict[str, list[str]] = {}
    for file in file_by_address.values():
        if file is not None:
            paths_by_collection.setdefault(file[0], []).append(file[1])
    planner = _RequestedFilePlanner(context, request, paths_by_collection)
    entries = [RequestedArchiveFile(address, STATUS_MISSING, reason) for address, reason in missing_files]
    for address, file in file_by_address.items():
        if file is None:
            entries.append(
                RequestedArchiveFile(address, STATUS_ELSEWHERE, "it belongs to another site; download it there")
            )
        else:
            entries.append(planner.plan_requested_file(address, *file))
    if planner.total_bytes > limits.archive_bytes:
        message = format_message(
            "the total size of these files is {size:,} bytes; an archive on this site may contain at most "
            "{most:,} bytes",
            planner.total_bytes,
            limits.archive_bytes,
        )
        raise _build_too_large_error(message)
    return ArchivePlan(
        context=context,
        entries=entries,
        total_bytes=planner.total_bytes,
        owner_collections=planner.owner_collections,
        has_remote_files=bool(planner.remote_states),
    )


def build_too_many_files_error(context: ServiceContext) -> TooLargeError:
    """Build the error for an archive with more files than the settings of the site allow.

    Parameters
    ----------
    context
        Service context of the site.

    Returns
    -------
    error
        The error, to be raised.
    """
    max_files = get_archive_limits(context.site.settings).archive_files
    return _build_too_large_error(
        format_message("an archive on this site may contain at most {most:,} files", max_files)
    )


def _build_too_large_error(message: str) -> TooLargeError:
    remedy = "narrow the search, or download the files one by one, with a script for wget, curl or aria2"
    return TooLargeError(message, remedy=remedy)


class _RequestedFilePlanner:
    """Plans the entries of an archive, and sums up their bytes.

    Parameters
    ----------
    context
        Service context of the site.
    request
        Request of the client.
    paths_by_collection
        Paths of the requested files of each collection.
    """

    def __init__(
        self, context: ServiceContext, request: Request, paths_by_collection: Mapping[str, Sequence[str]]
    ) -> None:
        self.owner_collections: list[str] = []
        self.total_bytes = 0
        self._context = context
        self._found_by_collection: dict[str, collection_files.FoundFiles] = {}
        self._member_names = scripts.UniqueFileNameRegistry()
        self._checked_folders: dict[str, bool] = {}
        principal = context.identify_principal(request)
        for name, paths in paths_by_collection.items():
            with suppress(NotFoundError):  # the reader has no access to the collection's files
                self._found_by_collection[name] = collection_files.find_files(context, principal, name, paths)
        self.remote_states = _request_remote_file_states(context, self._found_by_collection)

    def plan_requested_file(self, address: str, collection: str, path: str) -> RequestedArchiveFile:
        """Plan the entry of a file of this site."""
        found_files = self._found_by_collection.get(collection)
        if found_files is not None and path in found_files.refused:
            return RequestedArchiveFile(address, STATUS_REFUSED, flatten_message(found_files.refused[path]))
        if found_files is None or path not in found_files.rows:
            reason = f"the collection {collection!r} has no file {path!r} here"
            return RequestedArchiveFile(address, STATUS_MISSING, reason)
        row = found_files.rows[path]
        if find_file_root_and_relative_path(path, row["roots"])[0].redirects_clients:
            return RequestedArchiveFile(
                address, STATUS_ELSEWHERE, "it is on another server; download it from its address"
            )
        try:
            if (collection, path) in self.remote_states:
                row = self.remote_states[collection, path]
                if isinstance(row, HvenError):
                    raise row
            else:
                collection_files.find_unchanged_file_path(self._context.site.settings, row, self._checked_folders)
        except HvenError as error:
            return RequestedArchiveFile(address, STATUS_MISSING, flatten_message(error))
        safe_names = map(scripts.make_safe_name, (row["collection"], *path.split("/")))
        member = ArchiveMember(
            self._member_names.make_unique("/".join(safe_names)),
            row["bytes"],
            row["modified"],
            row["tag"],
            collection_files.create_file_reader(self._context, row),
            partial(found_files.record_access, "file taken", path),
            remote_files.create_read_ahead_call(self._context, row),
        )
        self.owner_collections.append(row["collection"])
        self.total_bytes += row["bytes"]
        return RequestedArchiveFile(address, STATUS_HERE, "", member)


def _request_remote_file_states(
    context: ServiceContext, found_by_collection: Mapping[str, collection_files.FoundFiles]
) -> dict[tuple[str, str], Any]:
    """Request the states of the files on other servers, all at once.

    Returns
    -------
    states
        (collection, path) -> row with size, time and state, or the error.
    """
    remote_rows: list[tuple[str, Any]] = []
    for collection, found_files in found_by_collection.items():
        for row in found_files.rows.values():
            remote_root = remote_files.find_remote_root(row)
            if remote_root is not None and not remote_root[0].redirects_clients:
                remote_rows.append((collection, row))
    states = remote_files.complete_rows_with_remote_file_states(context, [row for _, row in remote_rows])
    return {(collection, row["path"]): state for (collection, row), state in zip(remote_rows, states, strict=True)}


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


def _build_archive_members(
    plan: ArchivePlan, archive_name: str, readme_lines: Sequence[tuple[str, str]]
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
        "README.txt": _write_readme(plan, readme_lines),
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
            checksum = ""
            if entry.member.has_checksum:
                checksum = entry.member.sha256
            file_facts = (f"files/{entry.member.name}", entry.member.size, checksum)
        writer.writerow((*file_facts, entry.status, entry.address, entry.reason))
    return csv_text.getvalue()


def _write_readme(plan: ArchivePlan, readme_lines: Sequence[tuple[str, str]]) -> str:
    settings = plan.context.site.settings
    lines = [f"Files of {settings.title or settings.name}", ""]
    lines += [f"{name}: {' '.join(text.split())}" for name, text in readme_lines]
    lines.append(f"Files: {plan.file_count:,} of {plan.total_bytes:,} bytes")
    if plan.missing_count:
        lines.append(f"Not in this archive: {plan.missing_count:,} requested files; MANIFEST.csv gives the reasons")
    lines += [
        "",
        "MANIFEST.csv lists all files with their sizes, checksums and addresses.",
        "To verify the files, run: sha256sum -c SHA256SUMS",
        "",
    ]
    resources = plan.context.site.get_published_state().resources
    for collection in dict.fromkeys(plan.owner_collections):
        resource = resources.get(collection)
        if resource is None:
            continue
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
