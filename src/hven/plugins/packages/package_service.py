"""``/packages/NAME``: a collection as a package that is written while it is sent, with the rights of the client.

A download that was interrupted is continued: ``?START=`` is the number of bytes that the client has, and the header
``If-Match`` is the ``ETag`` of the first answer.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from contextlib import ExitStack, closing, suppress
from functools import partial
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING

import anyio.to_thread
from starlette.responses import Response

from hven.model.errors import NotFoundError, OverloadedError, ParamError, PreconditionFailedError, format_message
from hven.model.params import Param
from hven.plugins.packages.package_contents import collect_contents
from hven.plugins.packages.package_journal import PackageJournal
from hven.plugins.packages.package_members import BAGIT, FORMS
from hven.plugins.packages.package_stream import TAR_MEDIA_TYPE, PackageStream
from hven.query.query_queue import current_requester
from hven.services.api.files import PieceStreamResponse, stream_file_pieces
from hven.services.errors import PLAIN_TEXT_ERRORS
from hven.services.face import ServiceContext, ServiceFace, create_query_route
from hven.services.params import parse_value
from hven.site import record_sent_data

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

    from starlette.requests import Request
    from starlette.routing import Route

    from hven import services
    from hven.plugins.packages.package_contents import PackageContents
    from hven.site import Site
    from hven.site.auth import Principal


MAX_CONCURRENT_DOWNLOADS = 3  # each reads whole tables and all products
MAX_DOWNLOADS_OF_REQUESTER = 2  # the second continues a first that has broken off, which the server may not know yet
MIN_BYTES_PER_SECOND = 64 * 1024  # that a client takes on the whole, after the first seconds
MAX_FIRST_SECONDS = 300.0
JOURNAL_FOLDER = "packages"
JOURNAL_LIFETIME_SECONDS = 7 * 86_400.0
MAX_JOURNALS = 1000  # of one account; those without an account share theirs
MAX_JOURNAL_BYTES = 256 * 1024**2  # of all journals of one account
JOURNAL_INTERVAL_BYTES = 16 * 1024**2
MAX_START_DIGITS = 18
_TAG_PATTERN = re.compile(r'"([0-9a-f]{64})-([0-9a-f]{32})"')
FORM_PARAM = Param(
    name="FORM", allowed=FORMS, default=BAGIT, description="bagit: a bag (RFC 8493); ro-crate: an RO-Crate without bag"
)


class DownloadSlots:
    """The downloads of packages that run at once on one site, in one process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._requesters: list[str] = []

    def acquire_slot(self, requester: str) -> None:
        """Take one of the slots.

        Parameters
        ----------
        requester
            Name of the account, or the address.

        Raises
        ------
        OverloadedError
            All are taken, or the requester has several.
        """
        with self._lock:
            own_count = self._requesters.count(requester)
            if own_count < MAX_DOWNLOADS_OF_REQUESTER and len(self._requesters) < MAX_CONCURRENT_DOWNLOADS:
                self._requesters.append(requester)
                return
        count = MAX_CONCURRENT_DOWNLOADS if own_count < MAX_DOWNLOADS_OF_REQUESTER else own_count
        message = format_message("{count} packages are being downloaded already", count)
        raise OverloadedError(message, remedy=format_message("try again in a few minutes"))

    def release_slot(self, requester: str) -> None:
        """Give a slot back.

        Parameters
        ----------
        requester
            As for `acquire_slot`.
        """
        with self._lock:
            self._requesters.remove(requester)


def build_package_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the route of ``/packages/NAME``."""

    async def answer_request(request: Request, params: services.RequestParams) -> Response:
        response: Response = await anyio.to_thread.run_sync(_build_response, context, request, params)
        return response

    return [create_query_route("/packages/{name}", answer_request, FACE.error_responder)]


def _build_response(context: ServiceContext, request: Request, params: services.RequestParams) -> Response:
    site = context.site
    name = request.path_params["name"]
    if context.collections and name not in context.collections:
        message = format_message("there is no collection {name!r} here", name[:80])
        raise NotFoundError(message, remedy=format_message("see the list of collections on the home page"))
    form = str(parse_value(params, FORM_PARAM))
    start = _parse_start(params.read_one("START"))
    tag_match = _TAG_PATTERN.fullmatch(request.headers.get("if-match", ""))
    if start and tag_match is None:
        message = format_message("START needs the header If-Match with the ETag of the first answer")
        raise ParamError(message, name="START", remedy=format_message("send If-Match, or leave out START"))
    if start and tag_match is not None:
        token = tag_match[2]
    else:
        token = secrets.token_hex(16)
    principal = context.identify_principal(request)
    slots = site.get_or_create(DownloadSlots)
    with ExitStack() as stack:
        requester = current_requester.get()()
        slots.acquire_slot(requester)  # even a list of the contents reads all rows of files
        release_slot = partial(slots.release_slot, requester)
        stack.callback(release_slot)
        contents = collect_contents(site, name, principal, context.policies)
        identity = contents.compute_identity(form)
        headers = _build_headers(name, contents, f'"{identity}-{token}"')
        if request.method == "HEAD":
            return Response(None, headers=headers)
        journal_name = f"{_build_prefix(principal)}{token}.jsonl"
        _delete_old_journals(site.settings.var_directory / JOURNAL_FOLDER, journal_name)
        journal = _open_journal(site, journal_name, identity, must_exist=bool(start))
        record_sent_data(file_collections=[name])
        pieces = _iterate_pieces(PackageStream(contents, form, journal), journal, start, release_slot)
        next(pieces)  # a generator that was begun gives the slot back, even if the client is gone before the first byte
        stack.pop_all()
    return PieceStreamResponse(request, 200, headers, stream_file_pieces(pieces))


def _build_headers(name: str, contents: PackageContents, tag: str) -> dict[str, str]:
    return {
        "etag": tag,
        "cache-control": "private, no-store",
        "vary": "authorization, cookie",
        "content-disposition": f'attachment; filename="{name}.tar"',
        "content-type": TAR_MEDIA_TYPE,
        "hven-lacking": str(len(contents.lacking)),
    }


def _build_prefix(principal: Principal) -> str:
    """Return how the names of the journals of an account begin."""
    name = principal.name or ""
    return f"{hashlib.sha256(name.encode()).hexdigest()[:32]}-"


def _open_journal(site: Site, name: str, identity: str, *, must_exist: bool) -> PackageJournal:
    directory = site.settings.var_directory / JOURNAL_FOLDER
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    journal = PackageJournal(directory / name, identity)
    if must_exist and not journal.is_continued:
        raise PreconditionFailedError(
            format_message("this download can't be continued: the collection has changed, or the download is too old"),
            remedy=format_message("delete the first part, and download from the beginning"),
        )
    return journal


def _parse_start(text: str | None) -> int:
    text = (text or "0").strip()
    if not (text.isascii() and text.isdecimal() and len(text) <= MAX_START_DIGITS):
        message = format_message("START={value} is not a number of bytes", text[:40])
        raise ParamError(message, name="START", remedy=format_message("send the size of the file that you have"))
    return int(text)


def _iterate_pieces(
    stream: PackageStream, journal: PackageJournal, start: int, release_slot: Callable[[], None]
) -> Generator[bytes | None]:
    """Yield the package, with a None before each piece. What follows a None runs in a thread, the journal, too.

    Raises
    ------
    TimeoutError
        The client is too slow: others wait for its slot.
    """
    sent_bytes = unwritten_bytes = 0
    client_seconds = 0.0
    try:
        yield None  # for the one who begins the generator
        with closing(stream.iterate_chunks(start)) as chunks:
            yield None  # a continued download reads all rows before its first piece
            for chunk in chunks:
                begin = monotonic()
                yield chunk
                client_seconds += monotonic() - begin
                sent_bytes += len(chunk)
                unwritten_bytes += len(chunk)
                yield None
                if client_seconds > MAX_FIRST_SECONDS + sent_bytes / MIN_BYTES_PER_SECOND:
                    raise TimeoutError(f"the client took only {sent_bytes:,} bytes in {client_seconds:,.0f} s")
                if unwritten_bytes >= JOURNAL_INTERVAL_BYTES:
                    unwritten_bytes = 0
                    journal.write_pending_lines()
    finally:
        with suppress(OSError):  # without the journal, a continued download is refused
            journal.write_pending_lines()
        release_slot()


def _delete_old_journals(directory: Path, kept_name: str) -> None:
    """Delete journals that are too old, or too many or too large for the account of the journal that is kept."""
    if not directory.is_dir():
        return
    journals = sorted(directory.glob("*.jsonl"), key=_get_time_and_size, reverse=True)
    oldest_time = time.time() - JOURNAL_LIFETIME_SECONDS
    prefix = kept_name.partition("-")[0]
    count = byte_count = 0
    for path in journals:
        if path.name == kept_name:
            continue
        modified, size = _get_time_and_size(path)
        if path.name.startswith(prefix):
            count += 1
            byte_count += size
        is_too_much = path.name.startswith(prefix) and (count > MAX_JOURNALS or byte_count > MAX_JOURNAL_BYTES)
        if is_too_much or modified < oldest_time:
            path.unlink(missing_ok=True)


def _get_time_and_size(path: Path) -> tuple[float, int]:
    try:
        status = path.stat()
    except OSError:  # another request has deleted it
        return 0.0, 0
    return status.st_mtime, status.st_size


FACE = ServiceFace(
    name="packages",
    title="Packages",
    description="A collection as one file for archives: a BagIt bag or an RO-Crate with rows, files and checksums.",
    error_responder=PLAIN_TEXT_ERRORS,
    build_routes=build_package_routes,
)
