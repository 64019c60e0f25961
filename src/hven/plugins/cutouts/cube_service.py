"""Views of cubes in files: ``/collections/<name>/cube/<path>`` is a page, slices as NPY, spectra as JSON."""

from __future__ import annotations

import io
import math
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import anyio
import anyio.to_thread
import numpy as np
import orjson
from starlette.responses import Response

from hven import __version__, services
from hven.formats.media import detect_product_file_format
from hven.model.errors import HvenError, ParamError, SourceError, format_message
from hven.model.params import Param
from hven.model.table import SITE_URL_EXPRESSION, LinkTemplate
from hven.model.types import INT32
from hven.plugins.cutouts import cube_views as cube
from hven.plugins.cutouts import explorable_files, rotations
from hven.plugins.cutouts.cube_page import render_cube_page
from hven.services import collection_files
from hven.services.errors import ErrorResponder
from hven.services.face import FilePages, ServiceContext, ServiceFace, create_query_route
from hven.services.params import parse_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from starlette.requests import Request
    from starlette.routing import Route

    from hven.formats.media import ArrayPart
    from hven.model.table import Table
    from hven.plugins.cutouts.cube_views import Box, CubeView
    from hven.services.face import Paged

MAX_CONCURRENT_READS = 4  # files that are read at the same time
MAX_TILE_PIXELS = 2048  # pixels along a side of a tile
MAX_POLYGON_CORNERS = 1000
BLANK_VALUE = -32768
DATA_PARAM_NAMES = {"SLICE", "SPECTRUM", "MEAN"}
ERROR_RESPONDER = ErrorResponder(
    write_document=lambda message: orjson.dumps({"message": message}), media_type="application/json"
)
PART_PARAM = Param(name="PART", description="index or name of the part of the file")
THROUGH_PARAM = Param(name="THROUGH", type=INT32, description="number of the axis along which slices are taken")
AT_PARAM = Param(name="AT", many=True, description="axis:pixel for each axis that is kept at one pixel")
SLICE_PARAM = Param(name="SLICE", type=INT32, description="number of a slice, from 1")
OVER_PARAM = Param(name="OVER", type=INT32, description="number of the slice by which the requested slice is divided")
SIZE_PARAM = Param(
    name="SIZE",
    type=INT32,
    minimum=1,
    maximum=MAX_TILE_PIXELS,
    default=str(MAX_TILE_PIXELS),
    description="maximum number of pixels along a side",
)
FORM_PARAM = Param(name="FORM", allowed=("float32", "int16"), default="float32", description="float32 or int16")


def build_cube_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the route of ``/collections/<name>/cube/<path>``."""
    read_limiter = anyio.CapacityLimiter(MAX_CONCURRENT_READS)

    def find_file(request: Request) -> collection_files.OriginalFile:
        principal = context.identify_principal(request)
        return collection_files.find_file_and_log_access(
            context, principal, request.path_params["name"], request.path_params["path"]
        )

    def answer_data(request: Request, params: services.RequestParams) -> Response:
        original_file = find_file(request)
        etag = services.compute_etag(__version__, original_file.etag, sorted(params.values.items()))
        vary = "accept, accept-encoding, authorization, cookie"
        headers = services.build_cache_headers(etag, is_public=original_file.is_public, vary=vary)
        headers["x-content-type-options"] = "nosniff"
        if services.is_unchanged(request, etag):
            return Response(status_code=304, headers=headers)
        body, extra_headers = read_cube_data(original_file, params)
        if isinstance(body, bytes):
            return Response(body, headers={**headers, **extra_headers, "content-type": "application/octet-stream"})
        json_body = orjson.dumps(body, default=lambda values: values.tolist(), option=orjson.OPT_SERIALIZE_NUMPY)
        return services.answer_with_body(request, json_body, {**headers, "content-type": "application/json"})

    def show_page(request: Request, write_page: Paged) -> Response:
        try:
            original_file = find_file(request)
            medium = detect_product_file_format(original_file.name)
            if medium is None:
                raise SourceError(format_message("Hven cannot read the format of {name}", original_file.name))
            copy_bytes = 0
            if context.is_operator(context.identify_principal(request)):
                copy_bytes = rotations.estimate_copy_bytes(original_file)
            page_values = {"medium": medium, "bytes": original_file.path.stat().st_size, "copy": copy_bytes}
            return write_page(request, context, page_values)
        except (HvenError, OSError) as error:
            return write_page(request, context, {"fault": error})

    async def answer_request(request: Request, params: services.RequestParams) -> Response:
        write_page = context.find_requested_page_writer(FACE.name, request, params)
        if write_page is not None and not DATA_PARAM_NAMES & params.values.keys():
            return await anyio.to_thread.run_sync(show_page, request, write_page)
        return await anyio.to_thread.run_sync(answer_data, request, params, limiter=read_limiter)

    return [create_query_route("/collections/{name}/cube/{path:path}", answer_request, ERROR_RESPONDER)]


def read_cube_data(
    original_file: collection_files.OriginalFile, params: services.RequestParams
) -> tuple[bytes | dict[str, Any], dict[str, str]]:
    """Read a tile, a spectrum or the description of a file, and the headers that belong to it."""
    held_pixels = dict(_parse_axis_pixel(text) for text in parse_value(params, AT_PARAM))
    with rotations.open_product_with_transposed_copies(original_file) as product:
        part = parse_value(params, PART_PARAM)
        depth_axis = parse_value(params, THROUGH_PARAM)
        cube_view = cube.build_cube_view(product, part, depth_axis, held_pixels)
        slice_number = parse_value(params, SLICE_PARAM)
        divisor_number = parse_value(params, OVER_PARAM)
        if slice_number is not None:
            return _write_tile(cube_view, params, slice_number, divisor_number)
        arrays = cube.list_related_arrays(product, cube_view.array)
        if params.read_one("SPECTRUM") is not None:
            return _read_pixel_spectra(cube_view, arrays, params), {}
        region_text = params.read_one("MEAN")
        if region_text is not None:
            return _read_region_spectra(cube_view, arrays, region_text), {}
        return {
            "file": original_file.name,
            "medium": product.medium,
            "part": cube_view.array.index,
            "beside": [array.index for array in arrays],
            **cube_view.describe_view(),
            "parts": [cube.describe_array(array) for array in cube.list_viewable_arrays(product)],
        }, {}


def _read_pixel_spectra(
    cube_view: CubeView, arrays: Sequence[ArrayPart], params: services.RequestParams
) -> dict[str, Any]:
    x, y = _parse_pixel(cube_view, params)
    parts = []
    for array in arrays:
        array_view = cube.CubeView(array, cube_view.depth_axis, cube_view.held_pixels)
        values = array_view.read_spectrum(x, y).astype(np.float64)
        parts.append({**_describe_part(array), "values": values})
    return {"x": x + 1, "y": y + 1, "place": cube_view.find_pixel_position(x, y), "parts": parts}


def _read_region_spectra(cube_view: CubeView, arrays: Sequence[ArrayPart], region_text: str) -> dict[str, Any]:
    box, is_inside = _parse_region(cube_view, region_text)
    parts = []
    for array in arrays:
        array_view = cube.CubeView(array, cube_view.depth_axis, cube_view.held_pixels)
        means, deviations, counts = array_view.compute_region_statistics(box, is_inside)
        parts.append({**_describe_part(array), "values": means, "deviation": deviations, "counts": counts})
    return {"pixels": int(is_inside.sum()), "parts": parts}


def _write_tile(
    cube_view: CubeView, params: services.RequestParams, number: int, divisor_number: int | None
) -> tuple[bytes, dict[str, str]]:
    for name, slice_number in (("SLICE", number), ("OVER", divisor_number)):
        if slice_number is not None and not 1 <= slice_number <= cube_view.depth:
            message = format_message(
                "slice {number} does not exist; the slices are numbered from 1 to {depth}",
                slice_number,
                cube_view.depth,
            )
            raise ParamError(message, name=name)
    box = (0, cube_view.width, 0, cube_view.height)
    window_text = params.read_one("WINDOW")
    if window_text:
        box = _clip_box(cube_view, _parse_numbers("WINDOW", window_text, 4))
    size = parse_value(params, SIZE_PARAM)
    values = cube_view.read_tile(number - 1, box, size)
    if divisor_number is not None:
        with np.errstate(all="ignore"):
            divisors = cube_view.read_tile(divisor_number - 1, box, size).astype(np.float64)
            values = values.astype(np.float64) / divisors
    tile: npt.NDArray[Any] = cube.to_float32(values)
    headers = {}
    if parse_value(params, FORM_PARAM) == "int16":
        is_finite = np.isfinite(tile)
        finite_values = tile[is_finite].astype(np.float64)
        low, high = (0.0, 0.0)
        if finite_values.size:
            low, high = (float(finite_values.min()), float(finite_values.max()))
        scale = (high - low) / 65_534 or 1.0
        zero = (high + low) / 2
        codes = np.where(is_finite, np.rint((tile - zero) / scale), BLANK_VALUE)
        tile = codes.astype("<i2")
        headers = {"x-scale": repr(scale), "x-zero": repr(zero)}
    npy_file = io.BytesIO()
    np.save(npy_file, tile)
    return npy_file.getvalue(), headers


def _describe_part(array: ArrayPart) -> dict[str, Any]:
    return {"index": array.index, "name": array.name, "role": array.role, "unit": array.unit or ""}


def _parse_axis_pixel(text: str) -> tuple[int, int]:
    axis, _, pixel = text.partition(":")
    if not (axis.isascii() and axis.isdigit() and pixel.isascii() and pixel.isdigit() and len(text) < 20):
        raise ParamError(
            format_message("AT={text} does not consist of an axis and a pixel", text[:40]),
            name="AT",
            remedy="write axis:pixel, such as 4:1",
        )
    return int(axis), int(pixel)


def _parse_numbers(name: str, text: str | None, count: int | None = None) -> list[float]:
    try:
        parsed_numbers = [float(part) for part in (text or "").replace(",", " ").split()]
    except ValueError:
        parsed_numbers = []
    has_wrong_count = count is not None and len(parsed_numbers) != count
    if not parsed_numbers or has_wrong_count or not all(map(math.isfinite, parsed_numbers)):
        message = format_message("{name}={text} does not contain the required numbers", name, (text or "")[:60])
        raise ParamError(message, name=name)
    return parsed_numbers


def _build_outside_image_error(cube_view: CubeView, name: str) -> ParamError:
    message = format_message(
        "this position is outside the image of {width} x {height} pixels", cube_view.width, cube_view.height
    )
    return ParamError(message, name=name)


def _parse_pixel(cube_view: CubeView, params: services.RequestParams) -> tuple[int, int]:
    x, y = (round(number) - 1 for number in _parse_numbers("SPECTRUM", params.read_one("SPECTRUM"), 2))
    if not (0 <= x < cube_view.width and 0 <= y < cube_view.height):
        raise _build_outside_image_error(cube_view, "SPECTRUM")
    return x, y


def _clip_box(cube_view: CubeView, numbers: Sequence[float]) -> Box:
    x1, x2, y1, y2 = (round(number) for number in numbers)
    x_start, x_stop = max(x1 - 1, 0), min(x2, cube_view.width)
    y_start, y_stop = max(y1 - 1, 0), min(y2, cube_view.height)
    if x_start >= x_stop or y_start >= y_stop:
        raise _build_outside_image_error(cube_view, "WINDOW")
    return x_start, x_stop, y_start, y_stop


def _parse_region(cube_view: CubeView, text: str) -> tuple[Box, npt.NDArray[np.bool_]]:
    """Parse a region: a box around it, and which pixels of the box have their centre in it."""
    from shapely import Polygon, intersects_xy  # noqa: PLC0415  (needed by few)

    kind, _, number_text = text.strip().lower().partition(" ")
    numbers = _parse_numbers("MEAN", number_text, {"box": 4, "circle": 3}.get(kind))
    is_valid = kind in {"box", "circle"}
    if kind == "polygon":
        is_valid = len(numbers) % 2 == 0 and 6 <= len(numbers) <= 2 * MAX_POLYGON_CORNERS
    if not is_valid:
        raise ParamError(
            format_message("MEAN={text} is not a region", text[:60]),
            name="MEAN",
            remedy=format_message("write box x1 x2 y1 y2, circle x y radius, or polygon x1 y1 x2 y2 x3 y3 .."),
        )
    if kind == "circle":
        centre_x, centre_y, radius = numbers[0], numbers[1], abs(numbers[2])
        xs = [centre_x - radius, centre_x + radius]
        ys = [centre_y - radius, centre_y + radius]
    elif kind == "box":
        xs, ys = (numbers[:2], numbers[2:])
    else:
        xs, ys = (numbers[::2], numbers[1::2])
    bounds = [math.ceil(min(xs)), math.floor(max(xs)), math.ceil(min(ys)), math.floor(max(ys))]
    box = _clip_box(cube_view, bounds)
    x_grid, y_grid = np.meshgrid(np.arange(box[0], box[1]) + 1.0, np.arange(box[2], box[3]) + 1.0)
    is_inside: npt.NDArray[np.bool_] = np.ones(x_grid.shape, np.bool_)
    if kind == "circle":
        is_inside = (x_grid - centre_x) ** 2 + (y_grid - centre_y) ** 2 <= radius**2
    elif kind == "polygon":
        cube_view.check_read_size(is_inside.size * cube_view.depth)
        is_inside = intersects_xy(Polygon(list(zip(xs, ys, strict=True))), x_grid, y_grid)
    if not is_inside.any():
        raise ParamError(format_message("this region contains no pixel centre"), name="MEAN")
    return box, is_inside


def _build_cube_page_links(table: Table, context: ServiceContext) -> Sequence[LinkTemplate]:
    """Link rows to the view of their own file, where that has three axes and the descriptor has no such link."""
    for link in table.effective_links:
        if any("/cube/" in part for part in link.address if isinstance(part, str)):
            return []
    prefix = (SITE_URL_EXPRESSION, f"/collections/{quote(table.schema)}/cube/")
    for path, description in collection_files.list_row_file_templates(table):
        link = LinkTemplate(
            semantics="#preview",
            address=(*prefix, *path),
            description=(explorable_files.TITLE_PREFIX, *(description or path)),
            page_text="Explore {name}",
            extension_media_types=explorable_files.list_explorable_extensions(),
            check_addresses=partial(explorable_files.compute_explorable_mask, context),
        )
        return [link]
    return []


def _list_explorer_paths(context: ServiceContext, collection: str, file_paths: Sequence[str]) -> list[str | None]:
    """List the paths of the pages that explore files; files that have no cube have none."""
    page_paths = [explorable_files.build_explorer_path(collection, path) for path in file_paths]
    verdicts = explorable_files.compute_explorable_mask(context, page_paths)
    return [path if verdict else None for path, verdict in zip(page_paths, verdicts, strict=True)]


FACE = ServiceFace(
    name="cubes",
    title="Cubes",
    file_pages=FilePages(title="Explore slices and spectra", list_page_paths=_list_explorer_paths),
    applies=lambda table: any(collection_files.list_row_file_templates(table)),
    missing_requirement="files that may be cubes",
    build_links=_build_cube_page_links,
    build_routes=build_cube_routes,
    page_writers={"cubes": render_cube_page},
)
