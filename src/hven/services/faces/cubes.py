"""Cubes of a collection's files, looked into: ``/collections/<name>/cube/<path>`` is a page for people; gives slices as NPY, spectra and axes as JSON."""

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

from hven import __version__
from hven import services as dali
from hven.formats.media import medium_of
from hven.model.errors import HvenError, ParamError, SourceError, say
from hven.model.params import Param
from hven.model.table import SITE, Link
from hven.model.types import INT32
from hven.services import _cube as cube
from hven.services import exploring, filed, rotations
from hven.services.errors import Faults
from hven.services.face import Face, Surroundings, asking
from hven.services.params import value

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from starlette.requests import Request
    from starlette.routing import Route

    from hven.formats.media import Array
    from hven.model.table import Table
    from hven.services._cube import Box, Cube
    from hven.services.face import Paged

AT_ONCE = 4  # files that are read at the same time: others wait
LARGEST = 2048  # pixels along a side of a tile
CORNERS = 1000
BLANK = -32768
ASKING = {"SLICE", "SPECTRUM", "MEAN"}
FAULTS = Faults(write=lambda message: orjson.dumps({"message": message}), kind="application/json")
PART = Param(name="PART", description="index or name of the part of the file")
THROUGH = Param(name="THROUGH", type=INT32, description="number of the axis that is gone through")
AT = Param(name="AT", many=True, description="axis:pixel of an axis that is held")
SLICE = Param(name="SLICE", type=INT32, description="number of a slice, from 1")
OVER = Param(name="OVER", type=INT32, description="number of the slice that it is divided by")
WINDOW = Param(name="WINDOW", description="first and last x, first and last y of the part that is wanted, from 1")
SIZE = Param(
    name="SIZE", type=INT32, minimum=1, maximum=LARGEST, default=str(LARGEST), description="pixels along a side at most"
)
FORM = Param(name="FORM", allowed=("float32", "int16"), default="float32", description="float32 or int16")
SPECTRUM = Param(name="SPECTRUM", description="x and y of a pixel, from 1")
MEAN = Param(name="MEAN", description="box x1 x2 y1 y2, circle x y radius, or polygon x1 y1 x2 y2 ..")


def routes(around: Surroundings) -> Sequence[Route]:
    """Route ``/collections/<name>/cube/<path>``."""
    reading = anyio.CapacityLimiter(AT_ONCE)

    def taken(request: Request) -> filed.Original:
        return filed.taken(around, around.reader(request), request.path_params["name"], request.path_params["path"])

    def answered(request: Request, params: dali.Params) -> Response:
        found = taken(request)
        tag = dali.etag(__version__, found.etag, sorted(params.values.items()))
        vary = "accept, accept-encoding, authorization, cookie"
        headers = {**dali.caching(tag, public=found.public, vary=vary), "x-content-type-options": "nosniff"}
        if dali.unchanged(request, tag):
            return Response(status_code=304, headers=headers)
        body, more = looked(found, params)
        if isinstance(body, bytes):
            return Response(body, headers={**headers, **more, "content-type": "application/octet-stream"})
        told = orjson.dumps(body, default=lambda values: values.tolist(), option=orjson.OPT_SERIALIZE_NUMPY)
        return dali.whole(request, told, {**headers, "content-type": "application/json"})

    def shown(request: Request, page: Paged) -> Response:
        try:
            found = taken(request)
            medium = medium_of(found.name)
            if medium is None:
                raise SourceError(say("{name} is of no kind that can be looked into", found.name))
            copy = rotations.offered(found) if around.operates(around.reader(request)) else 0
            return page(request, around, {"medium": medium, "bytes": found.path.stat().st_size, "copy": copy})
        except (HvenError, OSError) as error:
            return page(request, around, {"fault": error})

    async def one(request: Request, params: dali.Params) -> Response:
        page = around.page(FACE.name, request, params)
        if page is not None and not ASKING & params.values.keys():
            return await anyio.to_thread.run_sync(shown, request, page)
        return await anyio.to_thread.run_sync(answered, request, params, limiter=reading)

    return [asking("/collections/{name}/cube/{path:path}", one, FAULTS)]


def looked(found: filed.Original, params: dali.Params) -> tuple[bytes | dict[str, Any], dict[str, str]]:
    """Look into a file: facts, a tile, or a spectrum."""
    at = dict(_pairs(text) for text in value(params, AT))
    with rotations.opened(found) as product:
        one = cube.cube_of(product, value(params, PART), value(params, THROUGH), at)
        number, over = value(params, SLICE), value(params, OVER)
        if number is not None:
            return _tile(one, params, number, over)
        parts = cube.beside(product, one.array)
        if params.one("SPECTRUM") is not None:
            x, y = _pixel(one, params)
            each = [cube.Cube(array, one.through, one.held).spectrum(x, y) for array in parts]
            told = [
                _known(array) | {"values": values.astype(np.float64)} for array, values in zip(parts, each, strict=True)
            ]
            return {"x": x + 1, "y": y + 1, "place": one.place(x, y), "parts": told}, {}
        if params.one("MEAN") is not None:
            box, inside = _region(one, str(params.one("MEAN")))
            means = [cube.Cube(array, one.through, one.held).mean(box, inside) for array in parts]
            told = [
                _known(array) | {"values": mean, "deviation": spread, "counts": count}
                for array, (mean, spread, count) in zip(parts, means, strict=True)
            ]
            return {"pixels": int(inside.sum()), "parts": told}, {}
        every = [cube.told(array) for array in cube.cubes(product)]
        return {"file": found.name, "medium": product.medium, "part": one.array.index, "beside": [array.index for array in parts], **one.facts(), "parts": every}, {}  # fmt: skip


def _tile(one: Cube, params: dali.Params, number: int, over: int | None) -> tuple[bytes, dict[str, str]]:
    for name, which in (("SLICE", number), ("OVER", over)):
        if which is not None and not 1 <= which <= one.depth:
            raise ParamError(say("there are slices 1 to {depth}, and no {number}", one.depth, which), name=name)
    given = params.one("WINDOW")
    box = _box(one, _numbers("WINDOW", given, 4)) if given else (0, one.width, 0, one.height)
    size = value(params, SIZE)
    found = one.tile(number - 1, box, size)
    if over is not None:
        with np.errstate(all="ignore"):
            found = found.astype(np.float64) / one.tile(over - 1, box, size).astype(np.float64)
    found = cube.single(found)
    headers = {}
    if value(params, FORM) == "int16":
        known = found[np.isfinite(found)].astype(np.float64)
        low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
        scale, zero = (high - low) / 65_534 or 1.0, (high + low) / 2
        whole = np.where(np.isfinite(found), np.rint((found - zero) / scale), BLANK)
        found, headers = whole.astype("<i2"), {"x-scale": repr(scale), "x-zero": repr(zero)}
    written = io.BytesIO()
    np.save(written, found)
    return written.getvalue(), headers


def _known(array: Array) -> dict[str, Any]:
    return {"index": array.index, "name": array.name, "role": array.role, "unit": array.unit or ""}


def _pairs(text: str) -> tuple[int, int]:
    axis, _, pixel = text.partition(":")
    if not (axis.isascii() and axis.isdigit() and pixel.isascii() and pixel.isdigit() and len(text) < 20):
        raise ParamError(say("AT={text} is no axis and pixel", text[:40]), name="AT", remedy="4:1")
    return int(axis), int(pixel)


def _numbers(name: str, text: str | None, count: int | None = None) -> list[float]:
    try:
        found = [float(word) for word in (text or "").replace(",", " ").split()]
    except ValueError:
        found = []
    if not found or not all(map(math.isfinite, found)) or (count is not None and len(found) != count):
        raise ParamError(say("{name}={text} has not the numbers that belong to it", name, (text or "")[:60]), name=name)
    return found


def _pixel(one: Cube, params: dali.Params) -> tuple[int, int]:
    x, y = (round(number) - 1 for number in _numbers("SPECTRUM", params.one("SPECTRUM"), 2))
    if not (0 <= x < one.width and 0 <= y < one.height):
        raise ParamError(
            say("the image has {width} x {height} pixels, and none there", one.width, one.height), name="SPECTRUM"
        )
    return x, y


def _box(one: Cube, numbers: Sequence[float]) -> Box:
    x1, x2, y1, y2 = (round(number) for number in numbers)
    box = max(x1 - 1, 0), min(x2, one.width), max(y1 - 1, 0), min(y2, one.height)
    if box[0] >= box[1] or box[2] >= box[3]:
        raise ParamError(
            say("the image has {width} x {height} pixels, and none there", one.width, one.height), name="WINDOW"
        )
    return box


def _region(one: Cube, text: str) -> tuple[Box, npt.NDArray[np.bool_]]:
    """Find which pixels have their centres in a region: a box around them, and which of it."""
    from shapely import Polygon, intersects_xy  # noqa: PLC0415  (asked by few)

    kind, _, rest = text.strip().lower().partition(" ")
    numbers = _numbers("MEAN", rest, {"box": 4, "circle": 3}.get(kind))
    if kind not in {"box", "circle", "polygon"} or (
        kind == "polygon" and (len(numbers) % 2 or not 6 <= len(numbers) <= 2 * CORNERS)
    ):
        raise ParamError(
            say("MEAN={text} is no region", text[:60]),
            name="MEAN",
            remedy=say("box x1 x2 y1 y2, circle x y radius, or polygon with three corners or more"),
        )
    if kind == "circle":
        x, y, radius = numbers
        numbers = [x, y, abs(radius)]
        box = _box(
            one,
            [
                math.ceil(x - abs(radius)),
                math.floor(x + abs(radius)),
                math.ceil(y - abs(radius)),
                math.floor(y + abs(radius)),
            ],
        )
    else:
        xs, ys = (numbers[:2], numbers[2:]) if kind == "box" else (numbers[::2], numbers[1::2])
        box = _box(one, [math.ceil(min(xs)), math.floor(max(xs)), math.ceil(min(ys)), math.floor(max(ys))])
    x_of, y_of = np.meshgrid(np.arange(box[0], box[1]) + 1.0, np.arange(box[2], box[3]) + 1.0)
    inside = np.ones(x_of.shape, np.bool_)
    if kind == "circle":
        inside = (x_of - numbers[0]) ** 2 + (y_of - numbers[1]) ** 2 <= numbers[2] ** 2
    elif kind == "polygon":
        one.afford(inside.size * one.depth)
        inside = intersects_xy(Polygon(list(zip(numbers[::2], numbers[1::2], strict=True))), x_of, y_of)
    if not inside.any():
        raise ParamError(say("no pixel has its centre in this region"), name="MEAN")
    return box, inside


def _links(table: Table, around: Surroundings) -> Sequence[Link]:
    """Lead rows to the page of their own file, where that has three axes and the descriptor has no such link."""
    if any("/cube/" in part for link in table.leads for part in link.address if isinstance(part, str)):
        return []
    home = (SITE, f"/collections/{quote(table.schema)}/cube/")
    suits = partial(exploring.find_explorable, around)
    return [
        Link(
            semantics="#preview", address=(*home, *path), description=(exploring.TITLE_PREFIX, *(about or path)),
            endings=exploring.explorable_endings(), suits=suits,
        )
        for path, about in filed.own_paths(table)
    ][:1]  # fmt: skip


FACE = Face(
    name="cubes",
    title="Cubes",
    applies=lambda table: any(filed.own_paths(table)),
    lacking="files that may be cubes",
    links=_links,
    routes=routes,
)
