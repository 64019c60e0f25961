"""Cubes of a collection's files, looked into: ``/collections/<name>/cube/<path>`` is a page for people.

Gives slices as NPY, spectra and axes as JSON.
"""

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
from hven.formats.media import detect_medium
from hven.model.errors import HvenError, ParamError, SourceError, format_message
from hven.model.params import Param
from hven.model.table import SITE_URL_EXPRESSION, LinkTemplate
from hven.model.types import INT32
from hven.services import _cube_views as cube
from hven.services import collection_files, explorable_files, rotations
from hven.services.errors import ErrorResponder
from hven.services.face import Face, ServiceContext, create_query_route
from hven.services.params import parse_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from starlette.requests import Request
    from starlette.routing import Route

    from hven.formats.media import ArrayPart
    from hven.model.table import Table
    from hven.services._cube_views import Box, CubeView
    from hven.services.face import Paged

MAX_CONCURRENT_READS = 4  # files that are read at the same time: others wait
MAX_TILE_PIXELS = 2048  # pixels along a side of a tile
MAX_POLYGON_CORNERS = 1000
BLANK_VALUE = -32768
DATA_PARAM_NAMES = {"SLICE", "SPECTRUM", "MEAN"}
ERROR_RESPONDER = ErrorResponder(
    write_document=lambda message: orjson.dumps({"message": message}), media_type="application/json"
)
PART_PARAM = Param(name="PART", description="index or name of the part of the file")
THROUGH_PARAM = Param(name="THROUGH", type=INT32, description="number of the axis that is gone through")
AT_PARAM = Param(name="AT", many=True, description="axis:pixel of an axis that is held")
SLICE_PARAM = Param(name="SLICE", type=INT32, description="number of a slice, from 1")
OVER_PARAM = Param(name="OVER", type=INT32, description="number of the slice that it is divided by")
WINDOW_PARAM = Param(name="WINDOW", description="first and last x, first and last y of the part that is wanted, from 1")
SIZE_PARAM = Param(
    name="SIZE",
    type=INT32,
    minimum=1,
    maximum=MAX_TILE_PIXELS,
    default=str(MAX_TILE_PIXELS),
    description="pixels along a side at most",
)
FORM_PARAM = Param(name="FORM", allowed=("float32", "int16"), default="float32", description="float32 or int16")
SPECTRUM_PARAM = Param(name="SPECTRUM", description="x and y of a pixel, from 1")
MEAN_PARAM = Param(name="MEAN", description="box x1 x2 y1 y2, circle x y radius, or polygon x1 y1 x2 y2 ..")


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/collections/<name>/cube/<path>``."""
    reading = anyio.CapacityLimiter(MAX_CONCURRENT_READS)

    def find_file(request: Request) -> collection_files.OriginalFile:
        return collection_files.take_file(
            context, context.identify_principal(request), request.path_params["name"], request.path_params["path"]
        )

    def answer_data(request: Request, params: services.RequestParams) -> Response:
        original_file = find_file(request)
        tag = services.compute_etag(__version__, original_file.etag, sorted(params.values.items()))
        vary = "accept, accept-encoding, authorization, cookie"
        cache_headers = services.build_cache_headers(tag, is_public=original_file.is_public, vary=vary)
        headers = {
            **cache_headers,
            "x-content-type-options": "nosniff",
        }
        if services.is_unchanged(request, tag):
            return Response(status_code=304, headers=headers)
        body, extra_headers = read_cube_data(original_file, params)
        if isinstance(body, bytes):
            return Response(body, headers={**headers, **extra_headers, "content-type": "application/octet-stream"})
        json_body = orjson.dumps(body, default=lambda values: values.tolist(), option=orjson.OPT_SERIALIZE_NUMPY)
        return services.answer_with_body(request, json_body, {**headers, "content-type": "application/json"})

    def show_page(request: Request, write_page: Paged) -> Response:
        try:
            original_file = find_file(request)
            medium = detect_medium(original_file.name)
            if medium is None:
                raise SourceError(format_message("{name} is of no kind that can be looked into", original_file.name))
            if context.is_operator(context.identify_principal(request)):
                copy = rotations.estimate_copy_bytes(original_file)
            else:
                copy = 0
            return write_page(
                request, context, {"medium": medium, "bytes": original_file.path.stat().st_size, "copy": copy}
            )
        except (HvenError, OSError) as error:
            return write_page(request, context, {"fault": error})

    async def answer_request(request: Request, params: services.RequestParams) -> Response:
        page = context.find_page_writer(FACE.name, request, params)
        if page is not None and not DATA_PARAM_NAMES & params.values.keys():
            return await anyio.to_thread.run_sync(show_page, request, page)
        return await anyio.to_thread.run_sync(answer_data, request, params, limiter=reading)

    return [create_query_route("/collections/{name}/cube/{path:path}", answer_request, ERROR_RESPONDER)]


def read_cube_data(
    original_file: collection_files.OriginalFile, params: services.RequestParams
) -> tuple[bytes | dict[str, Any], dict[str, str]]:
    """Look into a file: facts, a tile, or a spectrum."""
    at = dict(_parse_axis_pixel(text) for text in parse_value(params, AT_PARAM))
    with rotations.open_rotated(original_file) as product:
        cube_view = cube.build_cube_view(
            product, parse_value(params, PART_PARAM), parse_value(params, THROUGH_PARAM), at
        )
        number = parse_value(params, SLICE_PARAM)
        over = parse_value(params, OVER_PARAM)
        if number is not None:
            return _write_tile(cube_view, params, number, over)
        parts = cube.list_related_arrays(product, cube_view.array)
        if params.read_one("SPECTRUM") is not None:
            x, y = _parse_pixel(cube_view, params)
            each = [
                cube.CubeView(array, cube_view.depth_axis, cube_view.held_pixels).read_spectrum(x, y) for array in parts
            ]
            part_descriptions = [
                _describe_part(array) | {"values": values.astype(np.float64)}
                for array, values in zip(parts, each, strict=True)
            ]
            pixel_position = cube_view.find_pixel_position(x, y)
            return {
                "x": x + 1,
                "y": y + 1,
                "place": pixel_position,
                "parts": part_descriptions,
            }, {}
        if params.read_one("MEAN") is not None:
            one = params.read_one("MEAN")
            box, inside = _parse_region(cube_view, str(one))
            means = [
                cube.CubeView(array, cube_view.depth_axis, cube_view.held_pixels).compute_region_statistics(box, inside)
                for array in parts
            ]
            part_descriptions = [
                _describe_part(array) | {"values": mean, "deviation": spread, "counts": count}
                for array, (mean, spread, count) in zip(parts, means, strict=True)
            ]
            return {"pixels": int(inside.sum()), "parts": part_descriptions}, {}
        all_parts = [cube.describe_array(array) for array in cube.list_cube_arrays(product)]
        return {
            "file": original_file.name,
            "medium": product.medium,
            "part": cube_view.array.index,
            "beside": [array.index for array in parts],
            **cube_view.describe_view(),
            "parts": all_parts,
        }, {}


def _write_tile(
    cube_view: CubeView, params: services.RequestParams, number: int, divisor_number: int | None
) -> tuple[bytes, dict[str, str]]:
    for name, slice_number in (("SLICE", number), ("OVER", divisor_number)):
        if slice_number is not None and not 1 <= slice_number <= cube_view.depth:
            raise ParamError(
                format_message("there are slices 1 to {depth}, and no {number}", cube_view.depth, slice_number),
                name=name,
            )
    window_text = params.read_one("WINDOW")
    if window_text:
        box = _clip_box(cube_view, _parse_numbers("WINDOW", window_text, 4))
    else:
        box = (0, cube_view.width, 0, cube_view.height)
    size = parse_value(params, SIZE_PARAM)
    tile_values = cube_view.read_tile(number - 1, box, size)
    if divisor_number is not None:
        with np.errstate(all="ignore"):
            tile_values = tile_values.astype(np.float64) / cube_view.read_tile(divisor_number - 1, box, size).astype(
                np.float64
            )
    tile_values = cube.to_float32(tile_values)
    headers = {}
    if parse_value(params, FORM_PARAM) == "int16":
        finite_values = tile_values[np.isfinite(tile_values)].astype(np.float64)
        if finite_values.size:
            low, high = (float(finite_values.min()), float(finite_values.max()))
        else:
            low, high = (0.0, 0.0)
        scale = (high - low) / 65_534 or 1.0
        zero = (high + low) / 2
        scaled_values = np.where(np.isfinite(tile_values), np.rint((tile_values - zero) / scale), BLANK_VALUE)
        tile_values = scaled_values.astype("<i2")
        headers = {"x-scale": repr(scale), "x-zero": repr(zero)}
    written = io.BytesIO()
    np.save(written, tile_values)
    return written.getvalue(), headers


def _describe_part(array: ArrayPart) -> dict[str, Any]:
    return {"index": array.index, "name": array.name, "role": array.role, "unit": array.unit or ""}


def _parse_axis_pixel(text: str) -> tuple[int, int]:
    axis, _, pixel = text.partition(":")
    if not (axis.isascii() and axis.isdigit() and pixel.isascii() and pixel.isdigit() and len(text) < 20):
        raise ParamError(format_message("AT={text} is no axis and pixel", text[:40]), name="AT", remedy="4:1")
    return int(axis), int(pixel)


def _parse_numbers(name: str, text: str | None, count: int | None = None) -> list[float]:
    try:
        parsed_numbers = [float(word) for word in (text or "").replace(",", " ").split()]
    except ValueError:
        parsed_numbers = []
    if (
        not parsed_numbers
        or not all(map(math.isfinite, parsed_numbers))
        or (count is not None and len(parsed_numbers) != count)
    ):
        raise ParamError(
            format_message("{name}={text} has not the numbers that belong to it", name, (text or "")[:60]), name=name
        )
    return parsed_numbers


def _parse_pixel(cube_view: CubeView, params: services.RequestParams) -> tuple[int, int]:
    x, y = (round(number) - 1 for number in _parse_numbers("SPECTRUM", params.read_one("SPECTRUM"), 2))
    if not (0 <= x < cube_view.width and 0 <= y < cube_view.height):
        raise ParamError(
            format_message(
                "the image has {width} x {height} pixels, and none there", cube_view.width, cube_view.height
            ),
            name="SPECTRUM",
        )
    return x, y


def _clip_box(cube_view: CubeView, numbers: Sequence[float]) -> Box:
    x1, x2, y1, y2 = (round(number) for number in numbers)
    box = max(x1 - 1, 0), min(x2, cube_view.width), max(y1 - 1, 0), min(y2, cube_view.height)
    if box[0] >= box[1] or box[2] >= box[3]:
        raise ParamError(
            format_message(
                "the image has {width} x {height} pixels, and none there", cube_view.width, cube_view.height
            ),
            name="WINDOW",
        )
    return box


def _parse_region(cube_view: CubeView, text: str) -> tuple[Box, npt.NDArray[np.bool_]]:
    """Find which pixels have their centres in a region: a box around them, and which of it."""
    from shapely import Polygon, intersects_xy  # noqa: PLC0415  (asked by few)

    kind, _, number_text = text.strip().lower().partition(" ")
    numbers = _parse_numbers("MEAN", number_text, {"box": 4, "circle": 3}.get(kind))
    if kind not in {"box", "circle", "polygon"} or (
        kind == "polygon" and (len(numbers) % 2 or not 6 <= len(numbers) <= 2 * MAX_POLYGON_CORNERS)
    ):
        raise ParamError(
            format_message("MEAN={text} is no region", text[:60]),
            name="MEAN",
            remedy=format_message("box x1 x2 y1 y2, circle x y radius, or polygon with three corners or more"),
        )
    if kind == "circle":
        x, y, radius = numbers
        numbers = [x, y, abs(radius)]
        box = _clip_box(
            cube_view,
            [
                math.ceil(x - abs(radius)),
                math.floor(x + abs(radius)),
                math.ceil(y - abs(radius)),
                math.floor(y + abs(radius)),
            ],
        )
    else:
        if kind == "box":
            xs, ys = (numbers[:2], numbers[2:])
        else:
            xs, ys = (numbers[::2], numbers[1::2])
        box = _clip_box(cube_view, [math.ceil(min(xs)), math.floor(max(xs)), math.ceil(min(ys)), math.floor(max(ys))])
    x_of, y_of = np.meshgrid(np.arange(box[0], box[1]) + 1.0, np.arange(box[2], box[3]) + 1.0)
    inside = np.ones(x_of.shape, np.bool_)
    if kind == "circle":
        inside = (x_of - numbers[0]) ** 2 + (y_of - numbers[1]) ** 2 <= numbers[2] ** 2
    elif kind == "polygon":
        cube_view.check_read_size(inside.size * cube_view.depth)
        inside = intersects_xy(Polygon(list(zip(numbers[::2], numbers[1::2], strict=True))), x_of, y_of)
    if not inside.any():
        raise ParamError(format_message("no pixel has its centre in this region"), name="MEAN")
    return box, inside


def _build_links(table: Table, context: ServiceContext) -> Sequence[LinkTemplate]:
    """Lead rows to the page of their own file, where that has three axes and the descriptor has no such link."""
    if any("/cube/" in part for link in table.effective_links for part in link.address if isinstance(part, str)):
        return []
    home = (SITE_URL_EXPRESSION, f"/collections/{quote(table.schema)}/cube/")
    suits = partial(explorable_files.find_explorable, context)
    return [
        LinkTemplate(
            semantics="#preview",
            address=(*home, *path),
            description=(explorable_files.TITLE_PREFIX, *(about or path)),
            extension_media_types=explorable_files.list_explorable_extensions(),
            check_addresses=suits,
        )
        for path, about in collection_files.list_own_paths(table)
    ][:1]


FACE = Face(
    name="cubes",
    title="Cubes",
    applies=lambda table: any(collection_files.list_own_paths(table)),
    missing_requirement="files that may be cubes",
    build_links=_build_links,
    build_routes=build_routes,
)
