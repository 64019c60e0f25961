"""Serve ``/search/KIND/tables/SERVICE/TABLE/film``: the pictures of rows of a remote table as a film.

The pictures lie on other servers. They are requested side by side, with limits of number, bytes and time, so that a
slow or broken server costs its own pictures alone. The page requests their states, and tells which ones it leaves out.
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import anyio
import anyio.to_thread
from starlette.routing import Route

from hven.model import LruCache
from hven.model.errors import HvenError, NotFoundError, format_message
from hven.model.table import find_begin_and_end_time_columns
from hven.plugins.federated_search import remote_table_rows
from hven.plugins.federated_search.remote_products import find_row_file
from hven.plugins.federated_search.remote_table_page import PATH, read_remote_view, require_condition
from hven.plugins.federated_search.remote_thumbnails import PICTURE_SIGNATURES
from hven.plugins.films import film_pages
from hven.plugins.films.film_frames import read_film_frame
from hven.plugins.films.film_pages import FILM_PARAMETERS, FILM_VERSION, MIN_FRAMES
from hven.plugins.series.column_times import to_instants
from hven.portal.api.pages import PageContent, build_error_responder, build_page_context, build_page_endpoint
from hven.portal.api.table_downloads import require_faultless_search
from hven.services.face import wrap_endpoint_with_gates_and_errors
from hven.services.remote_files import call_concurrently
from hven.sources import http_client

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.model.table import Table
    from hven.plugins.federated_search.remote_table_page import RemoteTableView
    from hven.plugins.films.film_pages import FilmOptions
    from hven.plugins.films.turned_contours import SunContour
    from hven.portal.api.pages import PageContext
    from hven.services.face import ServiceContext
    from hven.site import Site

MAX_FRAMES = 60
MAX_PICTURE_BYTES = 8 * 1024**2
MAX_FILM_BYTES = 128 * 1024**2  # of all pictures
IDLE_TIMEOUT_SECONDS = 5.0  # without a byte
PICTURE_TIMEOUT_SECONDS = 15.0
FETCH_TIMEOUT_SECONDS = 40.0  # of all pictures
STATE_TIMEOUT_SECONDS = 10.0  # of the states of all pictures
STATE_CACHE_SECONDS = 600.0
MAX_CACHED_STATES = 5000
FILM_CACHE_SECONDS = 3600  # then the pictures are fetched again
CHECK_PIXELS = 16  # of a side: whether a picture can be read
PICTURE_COLUMN = "thumbnail_url"
FILE_COLUMNS = ("access_url", "access_format", "access_estsize")
FILE_SIGNATURES = (*PICTURE_SIGNATURES, (b"SIMPLE  =", "fits"), (b"\x00\x00\x00\x0cjP  ", "jp2"))
SMALL_FILE_FORMATS = ("image/", "application/fits")
NO_ANSWER = format_message("no answer in time")
NOT_REACHED = format_message("not reached")
TOO_LARGE = format_message("too large")
NO_PICTURE = format_message("no picture")


@dataclass(frozen=True, slots=True, kw_only=True)
class RemotePicture:
    """A picture of a row.

    Attributes
    ----------
    url
        Its address.
    instant
        Time of the row, in microseconds since 1970.
    """

    url: str
    instant: int

    @property
    def label(self) -> str:
        """The name of the file."""
        return unquote(urlsplit(self.url).path.rpartition("/")[2])[:40]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemotePictures:
    """The pictures of the rows of a search, in the order of their times.

    Attributes
    ----------
    is_cut
        Whether the search finds more rows than a film has frames.
    missing_count
        Rows without a time or a picture.
    """

    pictures: Sequence[RemotePicture]
    is_cut: bool
    missing_count: int


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route the page and the film.

    Parameters
    ----------
    context
        The service context of the site.
    """
    limiter = anyio.CapacityLimiter(1)  # films that wait for other servers at a time

    async def show_page(page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(_build_page, page_context, limiter=limiter)

    async def send_film(request: Request) -> Response:
        page_context = await anyio.to_thread.run_sync(build_page_context, request, context)
        body, headers = await anyio.to_thread.run_sync(_find_or_write_film, page_context, limiter=limiter)
        return film_pages.answer_film(request, body, headers)

    page_endpoint = build_page_endpoint(show_page, context, header_options={"allow_media": True})
    film_endpoint = wrap_endpoint_with_gates_and_errors(send_film, build_error_responder(context))
    return [Route(f"{PATH}/film", page_endpoint), Route(f"{PATH}/film.mp4", film_endpoint)]


def list_row_pages(remote_view: RemoteTableView) -> list[tuple[str, str]]:
    """List the page of the film of a search, if the rows have times and pictures.

    Parameters
    ----------
    remote_view
        The remote table and the search.

    Returns
    -------
    row_pages
        Title and address.
    """
    if _find_image_columns(remote_view.view.table) is None:
        return []
    search = remote_view.view.search.copy_with(row="", order=(), columns=(), units=(), rest=())
    query = search.write_query_string()
    return [("Film", f"{remote_view.address}/film?{query}")]


def _find_image_columns(table: Table) -> tuple[str, ...] | None:
    """Find the columns of the time and of the pictures of rows; None if rows have no times or no pictures."""
    begin, _ = find_begin_and_end_time_columns(table)
    wanted_names = {PICTURE_COLUMN, *FILE_COLUMNS}
    columns = [column for column in table.columns if not column.hidden]
    names = [column.name for column in columns if column.name.lower() in wanted_names]
    has_pictures = any(name.lower() in {PICTURE_COLUMN, FILE_COLUMNS[0]} for name in names)
    if begin is None or not has_pictures:
        return None
    return (begin.name, *names)


def _find_pictures(remote_view: RemoteTableView, page_context: PageContext) -> RemotePictures:
    """Find the pictures of the rows of a search.

    Raises
    ------
    NotFoundError
        The rows of the table have no times or no pictures.
    UserError
        The search has no condition or a fault, or the service does not answer.
    """
    require_condition(remote_view)
    table = require_faultless_search(remote_view.view).table
    names = _find_image_columns(table)
    if names is None:
        table_name = remote_view.remote_table.target.name
        message = format_message("the rows of {name} have no times or no files", table_name)
        raise NotFoundError(message, remedy="choose a table of images")
    site = page_context.context.site
    order = ((names[0], False),)
    search = remote_view.view.search.copy_with(columns=names, order=order)
    row_count = remote_table_rows.count_remote_rows(search, remote_view.remote_table, site)
    row_page = remote_table_rows.fetch_remote_page(
        search, remote_view.remote_table, site, offset=0, limit=MAX_FRAMES, row_count=row_count
    )
    page = row_page.page
    times = page.rows.column(0).combine_chunks()
    instants = to_instants(times, page.columns[0]).to_pylist()
    pictures = []
    for instant, row in zip(instants, page.rows.to_pylist(), strict=True):  # at most MAX_FRAMES
        values = {name.lower(): value for name, value in row.items()}
        url = _choose_picture_address(values)
        if instant is not None and url:
            pictures.append(RemotePicture(url=url, instant=instant))
    missing_count = len(instants) - len(pictures)
    is_cut = row_count > len(instants)
    return RemotePictures(pictures=pictures, is_cut=is_cut, missing_count=missing_count)


def _choose_picture_address(values: Mapping[str, Any]) -> str:
    """Return the file of a row if it is a small image, otherwise its thumbnail; empty: the row has no picture."""
    address = str(values.get(PICTURE_COLUMN) or "")
    address = address.strip()
    file = find_row_file(values)
    media_type = str(values.get("access_format") or "")
    if file is not None and media_type.startswith(SMALL_FILE_FORMATS):
        byte_count = file["bytes"]
        if byte_count is not None and byte_count <= MAX_PICTURE_BYTES:
            address = file["href"]
    if not address.startswith(("http://", "https://")):
        return ""
    return address


def _request_states(pictures: Sequence[RemotePicture], site: Site) -> list[str]:
    """Request the states of pictures side by side: why each one cannot be fetched; empty if it can."""
    state_cache: LruCache[tuple[float, str]] = site.get_or_create(_create_state_cache)

    def request_state(picture: RemotePicture) -> str:
        cached_state = state_cache.find(picture.url)
        if cached_state is not None and time.monotonic() - cached_state[0] < STATE_CACHE_SECONDS:
            return cached_state[1]
        state = _request_state(picture.url, site)
        state_cache.store(picture.url, (time.monotonic(), state))
        return state

    return call_concurrently(request_state, pictures, timeout_seconds=STATE_TIMEOUT_SECONDS, late_answer=NO_ANSWER)


def _request_state(url: str, site: Site) -> str:
    try:
        with http_client.stream_answer(
            "GET", url, timeout_seconds=IDLE_TIMEOUT_SECONDS, allow_private=site.settings.allow_private
        ) as answer:
            length = answer.headers.get("content-length", "")
            if answer.status != 200:
                return format_message("status {status}", answer.status)
            if length.isdecimal() and int(length) > MAX_PICTURE_BYTES:
                return TOO_LARGE
            return ""
    except http_client.NoAnswerError:
        return NO_ANSWER
    except HvenError:
        return NOT_REACHED


class _PictureFetcher:
    """Fetches pictures into a directory, with a limit of the bytes of all.

    Parameters
    ----------
    directory
        Directory of the files.
    site
        The site.
    """

    def __init__(self, directory: Path, site: Site) -> None:
        self.directory = directory
        self.site = site
        self._lock = threading.Lock()
        self._byte_count = 0

    def fetch(self, picture: RemotePicture) -> Path | None:
        """Fetch a picture; None if it cannot be fetched, or is none that a film can show."""
        try:
            body = http_client.fetch_bytes(
                picture.url,
                byte_limit=MAX_PICTURE_BYTES,
                timeout_seconds=IDLE_TIMEOUT_SECONDS,
                total_timeout_seconds=PICTURE_TIMEOUT_SECONDS,
                allow_private=self.site.settings.allow_private,
                max_attempts=1,
            )
            with self._lock:
                self._byte_count += len(body)
                byte_count = self._byte_count
            extension = next((name for begin, name in FILE_SIGNATURES if body.startswith(begin)), "")
            if not extension or byte_count > MAX_FILM_BYTES:
                return None
            stem = hashlib.sha256(picture.url.encode()).hexdigest()
            path = self.directory / f"{stem}.{extension}"
            path.write_bytes(body)
            read_film_frame(path, path.name, CHECK_PIXELS)
        except HvenError:
            return None
        return path


def _build_page(page_context: PageContext) -> PageContent:
    options = film_pages.read_film_options(page_context)
    remote_view = read_remote_view(page_context, FILM_PARAMETERS)
    found = _find_pictures(remote_view, page_context)
    states = _request_states(found.pictures, page_context.context.site)
    left_out = Counter(state for state in states if state)
    frame_count = len(found.pictures) - left_out.total()
    if found.missing_count:
        left_out[NO_PICTURE] = found.missing_count
    return film_pages.build_film_page(
        page_context,
        table_title=remote_view.remote_table.target.title,
        address=remote_view.address,
        options=options,
        state=remote_view.view.search.list_parameters(),
        frame_count=frame_count,
        left_out=left_out,
        is_cut=found.is_cut,
        max_frames=MAX_FRAMES,
        is_remote=True,
    )


def _find_or_write_film(page_context: PageContext) -> tuple[bytes, dict[str, str]]:
    """Find a film of the last hour, or fetch the pictures and write it; return it with its headers.

    Raises
    ------
    HvenError
        Too few pictures can be fetched, or the service of the rows does not answer.
    """
    options = film_pages.read_film_options(page_context)
    remote_view = read_remote_view(page_context, FILM_PARAMETERS)
    found = _find_pictures(remote_view, page_context)
    site = page_context.context.site
    states = _request_states(found.pictures, site)
    pictures = [picture for picture, state in zip(found.pictures, states, strict=True) if not state]
    instants = [picture.instant for picture in pictures]
    contours = film_pages.read_contours(page_context, options.contours, instants) if instants else []
    addresses = [f"{picture.instant} {picture.url}" for picture in pictures]
    hour = int(time.time() // FILM_CACHE_SECONDS)
    facts = [FILM_VERSION, "remote", str(hour), repr(options), *addresses, *map(str, contours)]
    key = hashlib.sha256("\n".join(facts).encode()).hexdigest()

    def write_file(path: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="hven-film-") as directory:
            fetcher = _PictureFetcher(Path(directory), site)
            files = call_concurrently(fetcher.fetch, pictures, timeout_seconds=FETCH_TIMEOUT_SECONDS)
            _write_film_of_files(path, files, pictures, options, contours)

    body = film_pages.open_film_store(site).get_or_write(f"{key}.mp4", write_file).read_bytes()
    return body, film_pages.build_film_headers(key, is_public=page_context.access_key == "public")


def _write_film_of_files(
    path: Path,
    files: Sequence[Path | None],
    pictures: Sequence[RemotePicture],
    options: FilmOptions,
    contours: Sequence[SunContour],
) -> None:
    """Write a film of the pictures that were fetched; the files of the others are None."""
    frames = [(file, picture) for file, picture in zip(files, pictures, strict=True) if file is not None]
    if len(frames) < MIN_FRAMES:
        message = format_message("a film needs two images, and this search finds {count}", len(frames))
        raise NotFoundError(message, remedy="choose a longer time span, or another table")
    named_files = [(file, picture.label) for file, picture in frames]
    instants = [picture.instant for _, picture in frames]
    film_pages.write_film_of_files(path, named_files, instants, options, contours)


def _create_state_cache() -> LruCache[tuple[float, str]]:
    return LruCache(MAX_CACHED_STATES)
