"""Serve ``/collections/NAME/TABLE/film``: the images that a search finds as a film, and the film itself as MP4."""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlencode

import anyio
import anyio.to_thread
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from starlette.routing import Route

from hven import services
from hven.adql import quote_adql_name
from hven.model import shape_columns
from hven.model.errors import HvenError, NotFoundError, ParamError, format_message
from hven.model.table import find_begin_and_end_time_columns
from hven.plugins.films.film_frames import DIFFERENCES, read_film_frame
from hven.plugins.films.film_writer import (
    MAX_FILM_SECONDS,
    can_write_films,
    check_film_deadline,
    draw_frames,
    write_film,
)
from hven.plugins.films.turned_contours import DAY_MICROSECONDS, SunContour
from hven.plugins.series.column_times import to_instants, write_instant_literal
from hven.portal.api.page_rows import build_table_address
from hven.portal.api.pages import (
    PageContent,
    PortalPages,
    TemplateContext,
    build_error_responder,
    build_page_context,
    build_page_endpoint,
)
from hven.portal.api.table_downloads import require_faultless_search
from hven.portal.api.table_pages import TablePageExtension
from hven.portal.api.table_places import find_footprint_column, find_map_frame
from hven.portal.api.table_rows import build_table_view, read_table_view
from hven.services import collection_files
from hven.services.api.files import DerivedFileStore, answer_file
from hven.services.face import wrap_endpoint_with_gates_and_errors
from hven.services.file_rows import list_file_link_columns
from hven.site import record_sent_data

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.formats.media import Place
    from hven.model.table import Table
    from hven.plugins.films.film_frames import FilmFrame
    from hven.portal.api.pages import PageContext
    from hven.portal.api.table_rows import TableView
    from hven.services.collection_files import OriginalFile
    from hven.services.face import ServiceContext
    from hven.site import Site

MIN_FRAMES, MAX_FRAMES = 2, 120
MAX_CONTOURS = 500
CONTOUR_DAYS = 3  # before the first and after the last image
SIZES = (256, 384, 512, 768)
RATES = (4, 8, 12, 24)
DEFAULT_SIZE, DEFAULT_RATE = 512, 8
FILM_PARAMETERS = ("_difference", "_contours", "_rate", "_width")
STORE_BYTES = 512 * 1024**2
READ_GRACE_SECONDS = 600.0
NO_FILE = format_message("without a file that you can take here")
FILM_VERSION = "1"  # part of each key: a change of how films are drawn needs a new number
_FILE_PATTERN = re.compile(r"/collections/([^/?#]+)/files/([^?#]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmOptions:
    """What a reader chooses of a film.

    Attributes
    ----------
    difference
        One of `DIFFERENCES`.
    contours
        Qualified name of the table of contours; empty: none.
    rate, width
        Frames a second, and pixels of a side.
    """

    difference: str
    contours: str
    rate: int
    width: int

    def list_parameters(self) -> list[tuple[str, str]]:
        """List the parameters of the address."""
        values = (self.difference, self.contours, str(self.rate), str(self.width))
        return [(name, value) for name, value in zip(FILM_PARAMETERS, values, strict=True) if value]


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmImages:
    """The images of a film, in the order of their times.

    Attributes
    ----------
    files
        The files.
    instants
        Times in microseconds since 1970.
    refused_count
        Rows whose file the reader may not take, or that have none here.
    is_cut
        Whether the search finds more rows than a film has frames.
    """

    files: Sequence[OriginalFile]
    instants: Sequence[int]
    refused_count: int
    is_cut: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmPage(TemplateContext):
    """The page of a film.

    Attributes
    ----------
    table_title, table_url
        Title of the table, and its page with this search.
    film
        Address of the film; empty if there are too few images.
    options
        What the reader has chosen.
    state
        Parameters of the search.
    contour_tables
        Names and titles of tables with contours on the Sun.
    frame_count, is_cut, max_frames
        Number of images, and whether there are more than a film can have.
    sizes, rates
        The pixels and the frames a second that readers choose from.
    left_out
        Why images are left out, and how many.
    is_remote
        Whether the images are on other servers.
    """

    template = "films/film.html"
    table_title: str
    table_url: str
    film: str
    options: FilmOptions
    state: Sequence[tuple[str, str]]
    contour_tables: Sequence[tuple[str, str]]
    frame_count: int
    is_cut: bool
    max_frames: int
    left_out: Sequence[tuple[str, int]]
    is_remote: bool
    sizes: Sequence[int] = SIZES
    rates: Sequence[int] = RATES


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route the page and the film."""
    limiter = anyio.CapacityLimiter(1)  # films that are written at a time: queries have priority

    async def show_page(page_context: PageContext) -> PageContent:
        return await anyio.to_thread.run_sync(_build_film_page, page_context)

    async def send_film(request: Request) -> Response:
        page_context = await anyio.to_thread.run_sync(build_page_context, request, context)
        body, headers = await anyio.to_thread.run_sync(_find_or_write_film, page_context, limiter=limiter)
        return answer_film(request, body, headers)

    return [
        Route(
            "/collections/{name}/{table}/film",
            build_page_endpoint(show_page, context, header_options={"allow_media": True}),
        ),
        Route(
            "/collections/{name}/{table}/film.mp4",
            wrap_endpoint_with_gates_and_errors(send_film, build_error_responder(context)),
        ),
    ]


def answer_film(request: Request, body: bytes, headers: dict[str, str]) -> Response:
    """Answer with a film, or a part of it.

    Parameters
    ----------
    request
        The request.
    body, headers
        The film as MP4, and its headers.

    Returns
    -------
    response
        The answer.
    """
    if services.is_unchanged(request, headers["etag"]):
        return services.answer_with_etag(request, headers, "video/mp4", b"")

    async def stream_nothing(_begin: int, _end: int) -> AsyncGenerator[bytes]:
        yield b""

    return answer_file(request, len(body), stream_nothing, "video/mp4", headers, body=body)


def read_film_options(page_context: PageContext) -> FilmOptions:
    """Read what a reader chooses of a film.

    Parameters
    ----------
    page_context
        The request of the reader.

    Returns
    -------
    options
        The choices.

    Raises
    ------
    ParamError
        There is no such choice.
    """
    query_params = page_context.request.query_params
    difference = query_params.get("_difference", "")
    if difference not in DIFFERENCES:
        message = format_message("{name}={value!r:.40} is not valid", "_difference", difference)
        raise ParamError(message, name="_difference", remedy="use running or base, or leave it out")
    numbers = []
    for name, choices, default in (("_rate", RATES, DEFAULT_RATE), ("_width", SIZES, DEFAULT_SIZE)):
        text = query_params.get(name) or str(default)
        if text not in map(str, choices):
            message = format_message("{name}={value!r:.40} is not valid", name, text)
            raise ParamError(message, name=name, remedy=", ".join(map(str, choices)))
        numbers.append(int(text))
    return FilmOptions(
        difference=difference, contours=query_params.get("_contours", ""), rate=numbers[0], width=numbers[1]
    )


def has_film(table: Table) -> bool:
    """Return whether the rows of a table may be images of a film: they have times and files."""
    return find_begin_and_end_time_columns(table)[0] is not None and bool(list_file_link_columns(table))


def _find_images(table_view: TableView, page_context: PageContext, *, is_taken: bool) -> FilmImages:
    """Find the images of a search, with the rights of the reader; log the access if the reader takes the film.

    Raises
    ------
    NotFoundError
        The rows of the table have no times or no files.
    TimeLimitError
        The servers of the files answer too slowly.
    """
    deadline = time.monotonic() + MAX_FILM_SECONDS
    table = require_faultless_search(table_view).table
    begin = find_begin_and_end_time_columns(table)[0]
    columns = list_file_link_columns(table)
    if begin is None or not columns:
        message = format_message("the rows of {name} have no times or no files", table.qualified_name)
        raise NotFoundError(message, remedy="choose a table of images")
    search = table_view.search.copy_with(order=((begin.name, False),))
    query = search.build_query(columns=[begin.name, columns[0].name], limit=MAX_FRAMES + 1)
    rows = table_view.runner.fetch_table(query)
    rows = rows.filter(pc.is_valid(rows.column(0)))
    is_cut = rows.num_rows > MAX_FRAMES
    rows = rows.slice(0, MAX_FRAMES)
    instants = to_instants(rows.column(0).combine_chunks(), begin).to_pylist()
    matches = [_FILE_PATTERN.search(address or "") for address in rows.column(1).to_pylist()]  # at most MAX_FRAMES
    names = [(unquote(match[1]), unquote(match[2])) if match is not None else None for match in matches]
    found = {}
    for collection in dict.fromkeys(name[0] for name in names if name is not None):
        paths = [name[1] for name in names if name is not None and name[0] == collection]
        try:
            found[collection] = collection_files.find_files(
                page_context.context, page_context.principal, collection, paths
            )
        except NotFoundError:
            continue
    files, kept_instants = [], []
    for name, instant in zip(names, instants, strict=True):
        if name is None or name[0] not in found:
            continue
        check_film_deadline(deadline)
        try:
            original_file = collection_files.locate_original_file(
                page_context.context, page_context.principal, found[name[0]], name[1]
            )
        except HvenError:  # the reader may not take it, or it is not there: the page counts it
            continue
        files.append(original_file)
        kept_instants.append(instant)
        if is_taken:
            found[name[0]].record_access("film taken", name[1])
    return FilmImages(
        files=files,
        instants=kept_instants,
        refused_count=len(names) - len(files),
        is_cut=is_cut,
    )


def list_contour_tables(page_context: PageContext) -> list[tuple[str, str]]:
    """List the tables whose rows are regions on the Sun, with times.

    Parameters
    ----------
    page_context
        The request of the reader.

    Returns
    -------
    tables
        Qualified names and titles.
    """
    tables = []
    for table in page_context.catalogue.iterate_tables():
        is_current = table.release is None and table.qualified_name in page_context.published_state.tables_by_name
        map_frame = None
        if is_current and find_footprint_column(table) is not None:
            map_frame = find_map_frame(table)
        if map_frame is not None and map_frame.said == "Carrington" and find_begin_and_end_time_columns(table)[0]:
            tables.append((table.qualified_name, table.title or table.qualified_name))
    return tables


def read_contours(page_context: PageContext, name: str, instants: Sequence[int]) -> list[SunContour]:
    """Read the contours of a table around the times of the images.

    Parameters
    ----------
    page_context
        The request of the reader.
    name
        Qualified name of the table; empty: no contours.
    instants
        Times of the images in microseconds since 1970.

    Returns
    -------
    contours
        The contours.

    Raises
    ------
    NotFoundError
        The reader has no such table of contours.
    """
    if not name:
        return []
    if name not in dict(list_contour_tables(page_context)):
        message = format_message("there is no table {name!r:.80} of contours on the Sun here", name)
        raise NotFoundError(message, remedy="choose a table from the list")
    table = next(table for table in page_context.catalogue.iterate_tables() if table.qualified_name == name)
    begin, region = find_begin_and_end_time_columns(table)[0], find_footprint_column(table)
    if begin is None or region is None:
        return []
    margin = CONTOUR_DAYS * DAY_MICROSECONDS
    time_name, region_name = quote_adql_name(begin.name), quote_adql_name(region.name)
    first, last = (write_instant_literal(end, begin) for end in (min(instants) - margin, max(instants) + margin))
    adql = (
        f"SELECT TOP {MAX_CONTOURS} {time_name}, {region_name} "
        f"FROM {quote_adql_name(table.schema)}.{quote_adql_name(table.name)} "
        f"WHERE {time_name} BETWEEN {first} AND {last} AND {region_name} IS NOT NULL ORDER BY {time_name}"
    )
    with build_table_view(page_context, table).runner.run_query(adql, row_limit=MAX_CONTOURS) as result:
        batches = list(result.iterate_batches())
    if not batches:
        return []
    rows = pa.Table.from_batches(batches)
    seen = to_instants(rows.column(0).combine_chunks(), begin).to_pylist()
    regions = shape_columns.parse_regions(rows.column(1).combine_chunks(), region.type)
    contours = []
    for row, instant in enumerate(seen):  # at most MAX_CONTOURS
        for part in range(regions.rows[row], regions.rows[row + 1]):
            for ring in range(regions.parts[part], regions.parts[part + 1]):
                corners = slice(int(regions.rings[ring]), int(regions.rings[ring + 1]))
                contours.append(
                    SunContour(
                        lon=np.asarray(regions.lon[corners]), lat=np.asarray(regions.lat[corners]), instant=instant
                    )
                )
    return contours


def _build_film_page(page_context: PageContext) -> PageContent:
    options = read_film_options(page_context)
    table_view = read_table_view(page_context, ignored_parameters=FILM_PARAMETERS)
    images = _find_images(table_view, page_context, is_taken=False)
    table = table_view.table
    left_out: dict[str, int] = {}
    if images.refused_count:
        left_out[NO_FILE] = images.refused_count
    return build_film_page(
        page_context,
        table_title=table.title or table.qualified_name,
        address=build_table_address(page_context.base, table),
        options=options,
        state=table_view.search.list_parameters(),
        frame_count=len(images.files),
        left_out=left_out,
        is_cut=images.is_cut,
        max_frames=MAX_FRAMES,
    )


def build_film_page(
    page_context: PageContext,
    *,
    table_title: str,
    address: str,
    options: FilmOptions,
    state: Sequence[tuple[str, str]],
    frame_count: int,
    left_out: Mapping[str, int],
    is_cut: bool,
    max_frames: int,
    is_remote: bool = False,
) -> PageContent:
    """Build the page of a film, and its JSON.

    Parameters
    ----------
    page_context
        The request of the reader.
    table_title, address
        Title of the table, and address of its page.
    options, state
        What the reader chose, and the parameters of the search.
    frame_count, max_frames
        Number of images, and the most that a film can have.
    left_out
        Number of images that are left out, by the messages that say why.
    is_cut
        Whether the search finds more rows than a film can have.
    is_remote
        Whether the images are on other servers.

    Returns
    -------
    page_content
        The page.
    """
    film = ""
    if frame_count >= MIN_FRAMES and can_write_films():
        film = f"{address}/film.mp4?{urlencode([*state, *options.list_parameters()])}"
    reasons = sorted(left_out.items())
    page = FilmPage(
        table_title=table_title,
        table_url=f"{address}?{urlencode(state)}" if state else address,
        film=film,
        options=options,
        state=state,
        contour_tables=list_contour_tables(page_context),
        frame_count=frame_count,
        is_cut=is_cut,
        max_frames=max_frames,
        left_out=[(page_context.translator(reason), count) for reason, count in reasons],
        is_remote=is_remote,
    )
    json_content: dict[str, Any] = {
        "film": film,
        "frames": frame_count,
        "left_out": {str(reason): count for reason, count in reasons},
        "is_cut": is_cut,
    }
    return PageContent(page=page, json_content=json_content)


def _find_or_write_film(page_context: PageContext) -> tuple[bytes, dict[str, str]]:
    """Find a film, or write it, with its headers.

    Raises
    ------
    HvenError
        There are too few images, or one cannot be drawn.
    """
    options = read_film_options(page_context)
    table_view = read_table_view(page_context, ignored_parameters=FILM_PARAMETERS)
    images = _find_images(table_view, page_context, is_taken=True)
    if len(images.files) < MIN_FRAMES:
        message = format_message("a film needs two images, and this search finds {count}", len(images.files))
        raise NotFoundError(message, remedy="choose a longer time span, or a table whose files are on this site")
    contours = read_contours(page_context, options.contours, images.instants)
    corners = [f"{contour.instant} {contour.lon.tolist()} {contour.lat.tolist()}" for contour in contours]
    facts = [FILM_VERSION, repr(options), *(file.etag for file in images.files), *map(str, images.instants), *corners]
    key = hashlib.sha256("\n".join(facts).encode()).hexdigest()
    store = open_film_store(page_context.context.site)

    def write_file(path: Path) -> None:
        named_files = [(file.path, file.name) for file in images.files]
        write_film_of_files(path, named_files, images.instants, options, contours)

    body = store.get_or_write(f"{key}.mp4", write_file).read_bytes()
    record_sent_data(file_collections=sorted({file.collection for file in images.files}))
    is_public = page_context.access_key == "public" and all(file.is_public for file in images.files)
    return body, build_film_headers(key, is_public=is_public)


def write_film_of_files(
    path: Path,
    named_files: Sequence[tuple[Place, str]],
    instants: Sequence[int],
    options: FilmOptions,
    contours: Sequence[SunContour],
) -> None:
    """Write a film of files.

    Parameters
    ----------
    path
        The film.
    named_files
        The files of its frames, with the names that stand below them.
    instants
        Their times, in microseconds since 1970.
    options
        What the reader chose.
    contours
        Contours that are drawn over the frames.
    """

    def read_frame(number: int) -> FilmFrame:
        return read_film_frame(*named_files[number], options.width)

    labels = [name for _, name in named_files]
    frames = draw_frames(read_frame, instants, labels, options.difference, contours)
    write_film(path, frames, options.rate)


def build_film_headers(key: str, *, is_public: bool) -> dict[str, str]:
    """Build the headers of a film.

    Parameters
    ----------
    key
        Name of the film in the store.
    is_public
        Whether everybody may take all of its images.
    """
    headers = services.build_cache_headers(f'"{key}"', is_public=is_public)
    return {**headers, "x-content-type-options": "nosniff", "accept-ranges": "bytes"}


def open_film_store(site: Site) -> DerivedFileStore:
    """Open the store of films of a site.

    Parameters
    ----------
    site
        The site.
    """
    directory = site.settings.var_directory / "films"
    store: DerivedFileStore = site.get_or_create(_FilmStore, directory, STORE_BYTES, READ_GRACE_SECONDS)
    return store


class _FilmStore(DerivedFileStore):
    """The store of films: the site keeps one object of each class."""


def _has_film_link(table_view: TableView, _: PageContext) -> bool | None:
    """Return whether the page of a table links to the film of its rows; None hides the link."""
    return has_film(table_view.table) or None


PAGES = PortalPages(
    build_routes=build_routes,
    template_directory=Path(__file__).parent / "pages",
    parts={"table.downloads": "film_link.html"},
)
TABLE_PAGES = TablePageExtension(compute_value=_has_film_link)
