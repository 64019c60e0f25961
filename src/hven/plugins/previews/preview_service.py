"""Previews: ``/collections/<name>/preview/<path>`` draws a file of a collection, for readers who may access the file.

Rows with files link their previews by default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import anyio
from starlette.responses import Response

from hven import services
from hven.model.errors import NotFoundError, ParamError, SourceError, format_message
from hven.model.params import Param
from hven.model.table import SITE_URL_EXPRESSION, LinkTemplate, TemplateExpression, list_drawable_extensions
from hven.model.types import BOOLEAN, FLOAT64, INT64, ColumnType
from hven.plugins.previews import drawings
from hven.plugins.previews.pictures import (
    COLOUR_MAPS,
    FILM_MEDIA_TYPES,
    PICTURE_SIZE_RANGE,
    STRETCH_NAMES,
    PictureStyle,
    can_read_films,
    draw_no_picture_sign,
    draw_refusal_message,
)
from hven.services import collection_files
from hven.services.errors import PLAIN_TEXT_ERRORS
from hven.services.face import (
    MAX_PARAMETER_BODY_BYTES,
    PictureService,
    ServiceContext,
    ServiceFace,
    UsageExample,
    create_route,
)
from hven.services.params import parse_value, parse_values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.routing import Route

    from hven.model.params import RequestParams
    from hven.model.table import Table
    from hven.site import PublishedTable

MAX_FILES = 8  # files of one picture
MAX_CALIBRATOR_FILES = 64  # files of one picture of a night's calibrators
VARY_HEADER = "accept, accept-encoding, authorization, cookie"
UNIFORM_PICTURE_MESSAGE = "the whole picture has one colour"
MIN_AXES_PIXELS = 400  # pixels from which on a picture has axes by default
INTERVAL_TYPE = ColumnType("double", "2", "interval")
PICTURE_HEADERS = {"x-content-type-options": "nosniff", "content-security-policy": "default-src 'none'"}
PICTURE_PARAMS = (
    Param(
        name="SIZE",
        type=INT64,
        default="800",
        minimum=PICTURE_SIZE_RANGE[0],
        maximum=PICTURE_SIZE_RANGE[1],
        description="number of pixels of the longer side",
    ),
    Param(
        name="AXES",
        type=BOOLEAN,
        description="true: with axes and a caption; false: only the picture (default: true from 400 pixels on)",
    ),
    Param(name="STRETCH", allowed=STRETCH_NAMES, description="stretch from values to colours"),
    Param(
        name="PERCENTILE",
        type=INTERVAL_TYPE,
        description="two percentages: the percentiles of the values that get the first and the last colour",
    ),
    Param(name="COLOURS", allowed=tuple(COLOUR_MAPS), description="colours"),
    Param(name="PART", description="index or name of the part of the file, such as an HDU"),
    Param(name="PLANE", type=INT64, minimum=1, description="plane of a cube, from 1"),
    Param(
        name="SHOW",
        allowed=("vis2", "t3phi", "uv", "transfer", "spectrum", "image"),
        description="kind of picture, if a file has several",
    ),
    Param(
        name="WITHOUT",
        type=INTERVAL_TYPE,
        unit="MHz",
        many=True,
        description="frequencies of the planes that Hven leaves out when it chooses planes",
    ),
    Param(
        name="DIAMETER",
        type=FLOAT64,
        unit="mas",
        many=True,
        minimum=0,
        maximum=1000,
        description="diameters of calibrators, in the order of the files and their targets",
    ),
    Param(name="STAR", many=True, description="name of a calibrator, if not all targets of the files are calibrators"),
    Param(name="BESIDE", many=True, description="paths of further files that are drawn next to the first file"),
)


def build_preview_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the route of ``/collections/<name>/preview/<path>``."""
    drawing_limiter = anyio.CapacityLimiter(2)  # pictures that are drawn at a time: queries have priority

    def find_files(request: Request, name: str, paths: Sequence[str]) -> list[collection_files.OriginalFile]:
        principal = context.identify_principal(request)
        found_files = collection_files.find_files(context, principal, name, paths)
        for path in paths:
            found_files.get_row(path)
            found_files.record_access("preview taken", path)
        return [collection_files.locate_original_file(context, principal, found_files, path) for path in paths]

    async def answer_picture(request: Request) -> Response:
        params = await services.read_params(request, MAX_PARAMETER_BODY_BYTES)
        name = request.path_params["name"]
        requested_look = _read_picture_style(params)
        other_paths = parse_value(params, PICTURE_PARAMS[-1]) or ()
        paths = list(dict.fromkeys([request.path_params["path"], *other_paths]))
        max_files = MAX_CALIBRATOR_FILES if requested_look.show == "transfer" else MAX_FILES
        if len(paths) > max_files:
            message = format_message("at most {most} files can be drawn next to each other", max_files)
            raise ParamError(message, name="BESIDE")
        files = await anyio.to_thread.run_sync(find_files, request, name, paths)
        look = drawings.with_credit_note(context, name, requested_look)
        key = drawings.make_picture_key(files, look)
        # on a page, a sign stands for a thumbnail that shows nothing
        may_be_sign = look.size <= drawings.THUMBNAIL_PIXELS and _is_shown_on_page(request)
        etag = f'"{key}-judged"' if may_be_sign else f'"{key}"'
        is_public = all(file.is_public for file in files)
        cache_headers = services.build_cache_headers(etag, is_public=is_public, vary=VARY_HEADER)
        headers = {**cache_headers, **PICTURE_HEADERS}
        if services.is_unchanged(request, etag):
            return Response(status_code=304, headers=headers)
        picture_store = drawings.get_picture_store(context)
        places = [(file.path, file.name) for file in files]
        try:
            body = await anyio.to_thread.run_sync(drawings.find_picture, picture_store, key)
            if body is None:
                body = await anyio.to_thread.run_sync(
                    drawings.get_or_draw_picture, picture_store, key, places, look, limiter=drawing_limiter
                )
        except SourceError as error:
            raise NotFoundError(str(error)) from None
        if may_be_sign and not await anyio.to_thread.run_sync(drawings.is_informative, context, key, body):
            body = draw_no_picture_sign(look.size, UNIFORM_PICTURE_MESSAGE)
        return Response(body, headers=headers, media_type="image/png")

    return [create_route("/collections/{name}/preview/{path:path}", answer_picture, _respond_to_error)]


def _is_shown_on_page(request: Request) -> bool:
    """Return whether the picture is one of many on a page; a client that opens its address gets it as it is."""
    accepted = request.headers.get("accept", "")
    return "image/" in accepted and "text/html" not in accepted


def _is_image_requested(request: Request) -> bool:
    """Return whether a browser requests the picture: its Accept header names image types, those of programs do not."""
    return "image/" in request.headers.get("accept", "")


def _respond_to_error(request: Request, error: Exception) -> Response:
    """Answer an error by a picture, where a page requests an image, else by text.

    For a fault of the service the picture is a sign, because readers can do nothing about it; the request's id, which
    its owner needs, is in the metadata of the picture.
    """
    text_response = PLAIN_TEXT_ERRORS(request, error)
    if not _is_image_requested(request):
        return text_response
    size = 800
    size_text = next((text for name, text in request.query_params.items() if name.upper() == "SIZE"), "")
    if size_text.isdecimal() and len(size_text) < 5:
        size = int(size_text)
    size = min(max(size, PICTURE_SIZE_RANGE[0]), PICTURE_SIZE_RANGE[1])
    reason = bytes(text_response.body).decode()
    if text_response.status_code >= 500:
        body = draw_no_picture_sign(size, reason)
    else:
        body = draw_refusal_message(size, reason)
    headers = {"cache-control": "no-store", **PICTURE_HEADERS}
    if "retry-after" in text_response.headers:
        headers["retry-after"] = text_response.headers["retry-after"]
    return Response(body, text_response.status_code, headers, "image/png")


def _read_picture_style(params: RequestParams) -> PictureStyle:
    """Read the look of a picture; what the request leaves open is chosen by the content of the file."""
    parsed_values = parse_values(params, PICTURE_PARAMS[:-1])
    percentile = parsed_values["PERCENTILE"]
    if percentile is not None and not 0.0 <= percentile[0] < percentile[1] <= 100.0:
        message = format_message("PERCENTILE='{low:g} {high:g}' is not a range of percentages", *percentile)
        remedy = format_message("write two increasing numbers from 0 to 100, such as PERCENTILE=1 99")
        raise ParamError(message, name="PERCENTILE", remedy=remedy)
    size = parsed_values["SIZE"]
    axes = parsed_values["AXES"]
    if axes is None:
        axes = size >= MIN_AXES_PIXELS
    stretch = parsed_values["STRETCH"] or ""
    colours = parsed_values["COLOURS"] or ""
    return PictureStyle(
        size=size,
        axes=axes,
        stretch=stretch,
        percentile=percentile,
        colours=colours,
        part=parsed_values["PART"],
        plane=parsed_values["PLANE"],
        show=parsed_values["SHOW"] or "",
        without=parsed_values["WITHOUT"] or (),
        diameters=parsed_values["DIAMETER"] or (),
        stars=parsed_values["STAR"] or (),
    )


def _build_preview_links(table: Table, context: ServiceContext) -> Sequence[LinkTemplate]:  # noqa: ARG001
    """List the pictures of rows' own files, where the descriptor has none; films are their own previews."""
    known_semantics = {link.semantics for link in table.effective_links}
    moving_types = {"gif": "image/gif", **FILM_MEDIA_TYPES}
    drawable_types = {extension.removeprefix("."): "image/png" for extension in list_drawable_extensions()}
    still_types = {
        extension: media_type for extension, media_type in drawable_types.items() if extension not in moving_types
    }
    thumbnail_types = {**drawable_types}
    if can_read_films():
        thumbnail_types |= dict.fromkeys(FILM_MEDIA_TYPES, "image/png")
    prefix = (SITE_URL_EXPRESSION, f"/collections/{quote(table.schema)}/")
    thumbnail_query = f"?size={drawings.THUMBNAIL_PIXELS}"
    for path, description in collection_files.list_row_file_templates(table):
        preview_links = []
        for semantics, media_types, address in (
            ("#preview", still_types, ("preview/", *path)),
            ("#preview", moving_types, ("files/", *path)),
            ("#thumbnail", thumbnail_types, ("preview/", *path, thumbnail_query)),
        ):
            extensions = _list_possible_extensions(path[-1], media_types)
            if semantics in known_semantics or not extensions:
                continue
            preview_link = LinkTemplate(
                semantics=semantics,
                address=(*prefix, *address),
                description=description,
                extension_media_types=extensions,
            )
            preview_links.append(preview_link)
        if preview_links:
            return preview_links
    return []


def _list_possible_extensions(
    last_part: str | TemplateExpression, media_types: Mapping[str, str]
) -> tuple[tuple[str, str], ...]:
    """List the extensions, with media types, that a path may have; only its own, if its last part is a text."""
    all_extensions = sorted(media_types.items())
    if not isinstance(last_part, str):
        return tuple(all_extensions)
    path_extension = last_part.lower().rpartition(".")[2]
    return tuple((extension, media_type) for extension, media_type in all_extensions if extension == path_extension)


def _list_usage_examples(published: PublishedTable, base_url: str) -> Sequence[UsageExample]:
    """List an example of how a picture is requested."""
    url = f"{base_url}/collections/{quote(published.table.schema)}/preview/"
    command = f"curl -o picture.png '{url}PATH?size=800&stretch=asinh'"
    return [UsageExample(title=FACE.title, url=url, example=command)]


FACE = ServiceFace(
    name="previews",
    title="Previews",
    description="Pictures of the contents of files.",
    texts={"fr": {"Previews": "Aperçus"}},
    applies=lambda table: any(collection_files.list_row_file_templates(table)),
    missing_requirement="files that can be drawn",
    build_links=_build_preview_links,
    list_usage_examples=_list_usage_examples,
    build_routes=build_preview_routes,
    pictures=PictureService(
        is_informative=drawings.prepare_informative_thumbnail,
        find_thumbnail=drawings.find_stored_thumbnail,
        draw_thumbnail=drawings.draw_thumbnail,
    ),
)
