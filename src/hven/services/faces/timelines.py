"""Data sets of samples, looked at: ``/series/<id>`` is a page for people; gives what it is as JSON, and tiles of 512 bins of time as NPY.

Tiles lie on a grid from 1970 on, so that whoever moves or comes back meets the same ones. One of lines has for each line its lowest, mean and
highest values (float32; NaN: no sample, infinity: samples without a value); one of a spectrum has a row for each channel, or for some that stand
together, of bytes: code 0 is no sample, 1 samples without a value, and ``value = zero + scale * sinh(bend * (code - 128) / 126)``, by the headers:
as many steps near the middle of the values as at their peaks. Where channels change with time, rows are even from ``x-low`` to ``x-high`` (``x-log``:
in their logarithms), and ``x-changes`` are the bins from which on the channels are others.
"""

from __future__ import annotations

import io
import math
from itertools import chain
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import numpy as np
import orjson
from starlette.responses import Response

from hven import __version__
from hven import services as dali
from hven.model import Cache
from hven.model.errors import HvenError, NotFound, ParamError, say
from hven.model.params import Param
from hven.model.types import INT32, INT64
from hven.services import _channels as channels
from hven.services import _pyramids as pyramids
from hven.services import series
from hven.services._encoding import choose
from hven.services._latest_stretch import find_latest_stretch
from hven.services._stamps import DAY
from hven.services.errors import Faults
from hven.services.face import Face, Surroundings, asking
from hven.services.params import value

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from starlette.requests import Request
    from starlette.routing import Route

    from hven.model.table import Bins, Table
    from hven.services._reductions import Bins as Reduced
    from hven.services.face import Paged
    from hven.services.series import DataSet, Parameter

    Numbers = npt.NDArray[Any]

BINS = 512  # of a tile
PANELS, LINED = 3, 3  # that are shown first; lines of one panel
LINES = 8  # elements that are drawn as lines of their own; more are a spectrum
CHANNELS = 1024  # rows of a tile
SOME = 20_000  # values of a tile that are looked at
CHANGES = 200  # of channels, that are told of a tile
WIDEST = 10_000 * DAY
KEPT = 32 << 20  # bytes of tiles, of a process
FAULTS = Faults(write=lambda message: orjson.dumps({"message": message}), kind="application/json")
PARAMETER = Param(name="PARAMETER", description="name of the parameter that a tile shows")
WIDTH = Param(name="WIDTH", type=INT64, minimum=1, maximum=WIDEST, description="microseconds of a bin")
TILE = Param(
    name="TILE", type=INT64, description="number of the tile: it begins at 512 WIDTH TILE microseconds since 1970"
)
ROWS = Param(
    name="ROWS", type=INT32, minimum=1, maximum=CHANNELS, default="256", description="rows of a spectrum at most"
)
SHOW = Param(
    name="SHOW", allowed=("mean", "peak"), default="mean", description="what of a bin of a spectrum: mean or peak"
)


class _Asked(series.Asked):
    face = "timelines"

    def one(self) -> DataSet:
        found = self.named(self.request.path_params["id"])
        if found is None:
            raise NotFound(
                say("there is no data set {name!r:.80} here", self.request.path_params["id"]), remedy="/hapi"
            )
        return found


class Kept(Cache[tuple[bytes, dict[str, str]]]):
    """Tiles that everybody may see, as they were sent: those of first pictures are asked for again and again."""

    def __init__(self) -> None:
        super().__init__(KEPT)


def routes(around: Surroundings) -> Sequence[Route]:
    """Route ``/series/<id>``."""

    def describe(asked: _Asked) -> Response:
        facts = orjson.dumps(_facts(asked, asked.one()))
        reach = asked.holdings.reach(asked.who, around.policies)
        # the tag is of the bytes: in one state of the site, `latest` changes when the reductions are made
        headers = dali.caching(dali.etag(facts), public=reach == "public" and asked.who.anonymous)
        return dali.tagged(asked.request, headers, "application/json", facts)

    def answered(asked: _Asked, params: dali.Params) -> Response:
        if params.one("TILE") is None:
            return describe(asked)
        request, one = asked.request, asked.one()
        reach = asked.holdings.reach(asked.who, around.policies)
        tag = dali.etag(
            __version__, asked.holdings.version, reach, asked.base, one.id, one.changing, sorted(params.values.items())
        )
        headers = dali.caching(tag, public=reach == "public" and asked.who.anonymous)
        if dali.unchanged(request, tag):
            return Response(status_code=304, headers=headers)
        public = reach == "public" and one.far is None and asked.who.anonymous and request.method == "GET"
        kept, key = around.site.kept(Kept), (tag, choose(request.headers.get("accept-encoding", "")))
        known = kept.find(key) if public else None
        if known is not None:
            return Response(known[0], headers=known[1])
        body, more = _tile(asked, one, params)
        made = dali.whole(request, body, {**headers, **more, "content-type": "application/octet-stream"})
        if public:
            kept.keep(key, (bytes(made.body), dict(made.headers)), len(made.body))
        return made

    def drawn(asked: _Asked, page: Paged) -> Response:
        try:
            one = asked.one()
            told = _facts(asked, one) | {"table": one.table}
        except HvenError as error:
            told = {"fault": error}
        return page(asked.request, around, told)

    async def shown(request: Request, params: dali.Params) -> Response:
        page = around.page(FACE.name, request, params)
        asked = _Asked(request, around)
        if page is None or params.one("TILE") is not None:
            return await anyio.to_thread.run_sync(answered, asked, params)
        return await anyio.to_thread.run_sync(drawn, asked, page)

    return [asking("/series/{id}", shown, FAULTS)]


def _facts(asked: _Asked, one: DataSet) -> dict[str, Any]:
    """Say what a data set is: times in microseconds since 1970."""
    span = asked.span(one)
    drawn = [each for each in one.parameters if each.kind in {"double", "integer"}]
    pictures = [each.name for each in one.parameters if each.leads]
    return {
        "id": one.id,
        "title": one.series.title or one.table.title or one.id,
        "description": one.series.description or one.table.description or "",
        "start": span.start,
        "stop": span.stop,
        "latest": find_latest_stretch(asked.around, asked.who, one, span, asked.holdings),
        "rows": span.rows,
        "cadence": round(pyramids.native(one, span)) if span.rows else None,
        "regular": bool(one.series.cadence),
        "time": one.time.name,
        "parameters": [_described(each) for each in drawn],
        "shown": _first(drawn),
        "pictures": pictures,
        "hapi": f"{asked.base}/hapi" if one.table.offers("hapi") else None,
        "das2": f"{asked.base}/das2" if one.table.offers("das2") else None,
        "path": one.series.path,
    }


def _first(every: Sequence[Parameter]) -> list[str]:
    """Choose what is shown unless something else is asked for: a spectrum, and lines; those of one unit share a panel."""
    spectra = [one.name for one in every if _spectrum(one)][:1]
    panels: dict[str, list[str]] = {}
    for one in every:
        if not _spectrum(one):
            alone = math.prod(one.size) > 1 or not one.column.unit
            panels.setdefault(f"\n{one.name}" if alone else str(one.column.unit), []).append(one.name)
    lines = [names[at : at + LINED] for names in panels.values() for at in range(0, len(names), LINED)]
    shown = {*spectra, *chain.from_iterable(lines[: PANELS - len(spectra)])}
    return [one.name for one in every if one.name in shown]


def _described(one: Parameter) -> dict[str, Any]:
    column, count = one.column, math.prod(one.size)
    made = {
        "name": one.name,
        "label": column.label or one.name,
        "unit": column.unit or "",
        "description": column.description or "",
        "elements": count,
        "spectrum": _spectrum(one),
    }
    return made | {"bins": _channels(one.bins[-1], count) if one.bins and len(one.size) == 1 else None}


def _channels(bins: Bins, count: int) -> dict[str, Any] | None:
    """Say what the channels are: the same at all times, or which parameter has those of each sample."""
    made = {"name": bins.label or bins.name, "unit": bins.unit or ""}
    if isinstance(bins.centers, tuple) and len(bins.centers) == count:
        return made | {"centers": bins.centers}
    if isinstance(bins.ranges, tuple) and len(bins.ranges) == count:
        return made | {"centers": [(low + high) / 2 for low, high in bins.ranges]}
    return made | {"along": bins.centers} if isinstance(bins.centers, str) and bins.centers else None


def _spectrum(one: Parameter) -> bool:
    return math.prod(one.size) > LINES or bool(one.bins)


def _tile(asked: _Asked, one: DataSet, params: dali.Params) -> tuple[bytes, dict[str, str]]:
    """Make one tile, whole, whatever of it has samples."""
    names = {each.name: each for each in one.parameters if each.kind in {"double", "integer"}}
    parameter = names.get(params.one("PARAMETER") or "")
    width, number = value(params, WIDTH), value(params, TILE)
    if parameter is None or width is None:
        raise ParamError(
            say("a tile is that of a PARAMETER, with bins of a WIDTH"),
            name="WIDTH" if parameter else "PARAMETER",
            remedy=f"PARAMETER={' or '.join(names)[:300]}, WIDTH=60000000",
        )
    begin = number * BINS * width
    span = asked.span(one)
    count, spectrum, peak = math.prod(parameter.size), _spectrum(parameter), value(params, SHOW) == "peak"
    rows = value(params, ROWS)
    along = names.get(_along(parameter) or "") if spectrum and count <= channels.MOST else None
    together = -(-count // rows) if spectrum and along is None else 1
    # channels are put together as they come: of how many there are depends no memory
    kind = np.float32 if spectrum and parameter.column.type.datatype == "float" else np.float64
    found = np.full((BINS, -(-count // together) if spectrum else 3 * count), np.nan, kind)
    centers = np.full(found.shape if along is not None else (BINS, 0), np.nan)
    there = np.zeros(BINS, bool)
    if span.start is not None and span.stop is not None and begin < span.stop and begin + BINS * width > span.start:
        # only what has samples: far outside, times are none that the engine knows
        low, high = max(begin, span.start), min(begin + BINS * width, span.stop)
        asked_for = [parameter.name, *([along.name] if along is not None else [])]
        parts = pyramids.reduced(asked.around, asked.who, one, asked_for, low, high, width, asked.holdings)
        for bins in parts:
            place = bins["number"] - number * BINS
            inside = (place >= 0) & (place < BINS)
            taken = bins if inside.all() else bins[inside]
            there[place[inside]] = True
            if spectrum:
                shown = np.asarray(taken[f"{'h' if peak else 'm'} {parameter.name}"], kind)
                found[place[inside]] = _grouped(shown, together, peak=peak)
                if along is not None:
                    mean, most = (np.asarray(taken[f"{letter} {along.name}"], np.float64) for letter in "mh")
                    # bins of several lists of channels: their mean is none of them
                    mixed = np.any(np.abs(most - mean) > 1e-6 * np.abs(most), axis=1, keepdims=True)
                    centers[place[inside]] = np.where(mixed, np.nan, mean)
            else:
                found[place[inside]] = _lines(taken, parameter.name)
    written = io.BytesIO()
    if not spectrum:
        found[there] = np.where(np.isnan(found[there]), np.inf, found[there])
        np.save(written, np.ascontiguousarray(found.T, np.float32))
        return written.getvalue(), {}
    headers = {"x-together": str(together)}
    if along is not None:
        picture, axis, changes = channels.placed(found, centers, rows, peak=peak)
        found = picture.T
        if axis is not None:
            headers |= dict(zip(("x-low", "x-high", "x-log"), map(repr, (*axis[:2], int(axis[2]))), strict=True))
            headers["x-changes"] = ",".join(map(str, changes[:CHANGES]))
    codes, more = coded(found)
    codes[there] = np.maximum(codes[there], 1)
    np.save(written, np.ascontiguousarray(codes.T))
    return written.getvalue(), headers | more


def _along(one: Parameter) -> str | None:
    """Name the parameter that has the channels of each sample."""
    centers = one.bins[-1].centers if one.bins and len(one.size) == 1 else None
    return centers if isinstance(centers, str) and centers else None


def _lines(bins: Reduced, name: str) -> Numbers:
    """Return lowest, mean and highest values of each element; of vectors, of which no lowest ones are kept, three times the mean."""
    mean = np.asarray(bins[f"m {name}"], np.float64)
    each = (mean, mean, mean) if mean.shape[1] > 1 else (bins[f"l {name}"], mean, bins[f"h {name}"])
    return np.stack(each, axis=2).reshape(len(bins), -1)


def _grouped(picture: Numbers, together: int, *, peak: bool) -> Numbers:
    """Put channels together, the elements of each bin; the last ones may be fewer."""
    if together == 1:
        return picture
    each = [picture[:, at::together] for at in range(together)]
    found = np.full(each[0].shape, np.nan if peak else 0, picture.dtype)
    count = np.zeros(found.shape, np.int32)
    for part in each:
        of = np.s_[:, : part.shape[1]]
        if peak:
            np.fmax(found[of], part, out=found[of])
        else:
            known = np.isfinite(part)
            np.add(found[of], part, out=found[of], where=known)
            count[of] += known
    with np.errstate(invalid="ignore", divide="ignore"):
        return found if peak else found / count


def coded(picture: Numbers) -> tuple[npt.NDArray[np.uint8], dict[str, str]]:
    """Write numbers as bytes; half of them lie within half of the codes.

    Parameters
    ----------
    picture
        Numbers; what is not finite is no value.

    Returns
    -------
    codes
        0 for no value, else 2 to 254.
    headers
        That say how values are found from codes.
    """
    known = np.isfinite(picture)
    values = picture.ravel() if known.all() else picture[known]
    if not values.size:
        return np.zeros(picture.shape, np.uint8), {"x-zero": "0", "x-scale": "0", "x-bend": "1"}
    some = values[:: max(values.size // SOME, 1)].astype(np.float64)  # tell where the middle is
    zero = float(np.median(some))
    most = max(float(values.max()) - zero, zero - float(values.min()))
    share = float(np.median(np.abs(some - zero))) / most if most else 0.5
    bend = 2 * math.acosh(1 / (2 * min(max(share, 1e-6), 0.4999)))
    scale = most / math.sinh(bend)
    with np.errstate(invalid="ignore", over="ignore"):  # what is no value has no code
        # floats of half the size end at 1e-38 and 1e38
        steps = np.subtract(picture, zero, dtype=picture.dtype if 1e-30 < scale < 1e30 else np.float64)
        steps = np.arcsinh(np.divide(steps, scale or 1, out=steps), out=steps)
        codes = np.rint(np.clip(128 + steps * (126 / bend), 2, 254)).astype(np.uint8)
    codes[~known] = 0
    return codes, {"x-zero": repr(zero), "x-scale": repr(scale), "x-bend": repr(bend)}


def applies(table: Table) -> bool:
    """Show tables with data sets."""
    return bool(table.series)


FACE = Face(
    name="timelines",
    title="Time series",
    description="Samples in time, looked at.",
    applies=applies,
    lacking="data sets of samples in time (`series`)",
    routes=routes,
)
