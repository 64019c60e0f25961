"""Data sets of samples, looked at: ``/series/<id>`` is a page for people.

Gives what it is as JSON, and tiles of 512 bins of time as NPY.

Tiles lie on a grid from 1970 on, so that whoever moves or comes back meets the same ones. One of lines has for each
line its lowest, mean and highest values (float32; NaN: no sample, infinity: samples without a value); one of a spectrum
has a row for each channel, or for some that stand together, of bytes: code 0 is no sample, 1 samples without a value,
and ``value = zero + scale * sinh(bend * (code - 128) / 126)``, by the headers: as many steps near the middle of the
values as at their peaks. Where channels change with time, rows are even from ``x-low`` to ``x-high`` (``x-log``: in
their logarithms), and ``x-changes`` are the bins from which on the channels are others.
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

from hven import __version__, services
from hven.model import Cache
from hven.model.errors import HvenError, NotFoundError, ParamError, format_message
from hven.model.params import Param
from hven.model.types import INT32, INT64
from hven.services import _channels as channels
from hven.services import _pyramids as pyramids
from hven.services import series
from hven.services._encoding import choose_encoding
from hven.services._latest_stretch import find_latest_stretch
from hven.services._time_texts import DAY_MICROSECONDS
from hven.services.errors import ErrorResponder
from hven.services.face import Face, ServiceContext, create_query_route
from hven.services.params import parse_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from starlette.requests import Request
    from starlette.routing import Route

    from hven.model.table import ParameterBins, Table
    from hven.services._reductions import BinRecords
    from hven.services.face import Paged
    from hven.services.series import DataSet, SampleParameter

    Numbers = npt.NDArray[Any]

BINS_PER_TILE = 512  # of a tile
MAX_PANELS, LINES_PER_PANEL = 3, 3  # that are shown first; lines of one panel
MAX_LINE_ELEMENTS = 8  # elements that are drawn as lines of their own; more are a spectrum
MAX_TILE_ROWS = 1024  # rows of a tile
MAX_SAMPLED_VALUES = 20_000  # values of a tile that are looked at
MAX_CHANNEL_CHANGES = 200  # of channels, that are told of a tile
MAX_BIN_MICROSECONDS = 10_000 * DAY_MICROSECONDS
TILE_CACHE_BYTES = 32 << 20  # bytes of tiles, of a process
ERROR_RESPONDER = ErrorResponder(
    write_document=lambda message: orjson.dumps({"message": message}), media_type="application/json"
)
PARAMETER_PARAM = Param(name="PARAMETER", description="name of the parameter that a tile shows")
WIDTH_PARAM = Param(
    name="WIDTH", type=INT64, minimum=1, maximum=MAX_BIN_MICROSECONDS, description="microseconds of a bin"
)
TILE_PARAM = Param(
    name="TILE", type=INT64, description="number of the tile: it begins at 512 WIDTH TILE microseconds since 1970"
)
ROWS_PARAM = Param(
    name="ROWS", type=INT32, minimum=1, maximum=MAX_TILE_ROWS, default="256", description="rows of a spectrum at most"
)
SHOW_PARAM = Param(
    name="SHOW", allowed=("mean", "peak"), default="mean", description="what of a bin of a spectrum: mean or peak"
)


class _TimelineRequest(series.SeriesRequest):
    face = "timelines"

    def require_data_set(self) -> DataSet:
        data_set = self.find_data_set(self.request.path_params["id"])
        if data_set is None:
            raise NotFoundError(
                format_message("there is no data set {name!r:.80} here", self.request.path_params["id"]), remedy="/hapi"
            )
        return data_set


class TileCache(Cache[tuple[bytes, dict[str, str]]]):
    """Tiles that everybody may see, as they were sent: those of first pictures are asked for again and again."""

    def __init__(self) -> None:
        super().__init__(TILE_CACHE_BYTES)


def build_routes(context: ServiceContext) -> Sequence[Route]:
    """Route ``/series/<id>``."""

    def answer_description(timeline_request: _TimelineRequest) -> Response:
        facts = orjson.dumps(_describe_data_set(timeline_request, timeline_request.require_data_set()))
        access_key = timeline_request.published_state.find_access_key(timeline_request.principal, context.policies)
        # the tag is of the bytes: in one state of the site, `latest` changes when the reductions are made
        etag = services.compute_etag(facts)
        is_public = access_key == "public" and timeline_request.principal.is_anonymous
        headers = services.build_cache_headers(etag, is_public=is_public)
        return services.answer_with_etag(timeline_request.request, headers, "application/json", facts)

    def answer_data(timeline_request: _TimelineRequest, params: services.RequestParams) -> Response:
        if params.read_one("TILE") is None:
            return answer_description(timeline_request)
        request, data_set = timeline_request.request, timeline_request.require_data_set()
        access_key = timeline_request.published_state.find_access_key(timeline_request.principal, context.policies)
        tag = services.compute_etag(
            __version__,
            timeline_request.published_state.version,
            access_key,
            timeline_request.base_url,
            data_set.id,
            data_set.change_token,
            sorted(params.values.items()),
        )
        headers = services.build_cache_headers(
            tag, is_public=access_key == "public" and timeline_request.principal.is_anonymous
        )
        if services.is_unchanged(request, tag):
            return Response(status_code=304, headers=headers)
        public = (
            access_key == "public"
            and data_set.remote is None
            and timeline_request.principal.is_anonymous
            and request.method == "GET"
        )
        tile_cache, key = (
            context.site.get_or_create(TileCache),
            (tag, choose_encoding(request.headers.get("accept-encoding", ""))),
        )
        if public:
            cached_tile = tile_cache.find(key)
        else:
            cached_tile = None
        if cached_tile is not None:
            return Response(cached_tile[0], headers=cached_tile[1])
        body, tile_headers = _build_tile(timeline_request, data_set, params)
        response = services.answer_with_body(
            request, body, {**headers, **tile_headers, "content-type": "application/octet-stream"}
        )
        if public:
            tile_cache.store(key, (bytes(response.body), dict(response.headers)), len(response.body))
        return response

    def show_page(timeline_request: _TimelineRequest, write_page: Paged) -> Response:
        try:
            data_set = timeline_request.require_data_set()
            page_values = _describe_data_set(timeline_request, data_set) | {"table": data_set.table}
        except HvenError as error:
            page_values = {"fault": error}
        return write_page(timeline_request.request, context, page_values)

    async def answer_request(request: Request, params: services.RequestParams) -> Response:
        page = context.find_page_writer(FACE.name, request, params)
        timeline_request = _TimelineRequest(request, context)
        if page is None or params.read_one("TILE") is not None:
            return await anyio.to_thread.run_sync(answer_data, timeline_request, params)
        return await anyio.to_thread.run_sync(show_page, timeline_request, page)

    return [create_query_route("/series/{id}", answer_request, ERROR_RESPONDER)]


def _describe_data_set(timeline_request: _TimelineRequest, data_set: DataSet) -> dict[str, Any]:
    """Say what a data set is: times in microseconds since 1970."""
    span = timeline_request.find_time_extent(data_set)
    drawn = [each for each in data_set.parameters if each.value_kind in {"double", "integer"}]
    pictures = [each.name for each in data_set.parameters if each.has_addresses]
    return {
        "id": data_set.id,
        "title": data_set.series.title or data_set.table.title or data_set.id,
        "description": data_set.series.description or data_set.table.description or "",
        "start": span.start,
        "stop": span.stop,
        "latest": find_latest_stretch(
            timeline_request.context, timeline_request.principal, data_set, span, timeline_request.published_state
        ),
        "rows": span.row_count,
        "cadence": round(pyramids.estimate_cadence(data_set, span)) if span.row_count else None,
        "regular": bool(data_set.series.cadence),
        "time": data_set.time.name,
        "parameters": [_describe_parameter(each) for each in drawn],
        "shown": _choose_initial_parameters(drawn),
        "pictures": pictures,
        "hapi": f"{timeline_request.base_url}/hapi" if data_set.table.is_served_by("hapi") else None,
        "das2": f"{timeline_request.base_url}/das2" if data_set.table.is_served_by("das2") else None,
        "path": data_set.series.path,
    }


def _choose_initial_parameters(parameters: Sequence[SampleParameter]) -> list[str]:
    """Choose what is shown unless something else is asked for: a spectrum, and lines.

    Those of one unit share a panel.
    """
    spectra = [parameter.name for parameter in parameters if _is_spectrum(parameter)][:1]
    panels: dict[str, list[str]] = {}
    for parameter in parameters:
        if not _is_spectrum(parameter):
            alone = math.prod(parameter.dimensions) > 1 or not parameter.column.unit
            panels.setdefault(f"\n{parameter.name}" if alone else str(parameter.column.unit), []).append(parameter.name)
    lines = [
        names[at : at + LINES_PER_PANEL] for names in panels.values() for at in range(0, len(names), LINES_PER_PANEL)
    ]
    initial_names = {*spectra, *chain.from_iterable(lines[: MAX_PANELS - len(spectra)])}
    return [parameter.name for parameter in parameters if parameter.name in initial_names]


def _describe_parameter(parameter: SampleParameter) -> dict[str, Any]:
    column = parameter.column
    count = math.prod(parameter.dimensions)
    description = {
        "name": parameter.name,
        "label": column.label or parameter.name,
        "unit": column.unit or "",
        "description": column.description or "",
        "elements": count,
        "spectrum": _is_spectrum(parameter),
    }
    return description | {
        "bins": _describe_channels(parameter.bins[-1], count)
        if parameter.bins and len(parameter.dimensions) == 1
        else None
    }


def _describe_channels(bins: ParameterBins, count: int) -> dict[str, Any] | None:
    """Say what the channels are: the same at all times, or which parameter has those of each sample."""
    description = {"name": bins.label or bins.name, "unit": bins.unit or ""}
    if isinstance(bins.centers, tuple) and len(bins.centers) == count:
        return description | {"centers": bins.centers}
    if isinstance(bins.ranges, tuple) and len(bins.ranges) == count:
        return description | {"centers": [(low + high) / 2 for low, high in bins.ranges]}
    if isinstance(bins.centers, str) and bins.centers:
        return description | {"along": bins.centers}
    return None


def _is_spectrum(parameter: SampleParameter) -> bool:
    return math.prod(parameter.dimensions) > MAX_LINE_ELEMENTS or bool(parameter.bins)


def _build_tile(
    timeline_request: _TimelineRequest, data_set: DataSet, params: services.RequestParams
) -> tuple[bytes, dict[str, str]]:
    """Make one tile, whole, whatever of it has samples."""
    names = {each.name: each for each in data_set.parameters if each.value_kind in {"double", "integer"}}
    parameter = names.get(params.read_one("PARAMETER") or "")
    width = parse_value(params, WIDTH_PARAM)
    number = parse_value(params, TILE_PARAM)
    if parameter is None or width is None:
        raise ParamError(
            format_message("a tile is that of a PARAMETER, with bins of a WIDTH"),
            name="WIDTH" if parameter else "PARAMETER",
            remedy=f"PARAMETER={' or '.join(names)[:300]}, WIDTH=60000000",
        )
    begin = number * BINS_PER_TILE * width
    span = timeline_request.find_time_extent(data_set)
    count = math.prod(parameter.dimensions)
    spectrum = _is_spectrum(parameter)
    peak = parse_value(params, SHOW_PARAM) == "peak"
    rows = parse_value(params, ROWS_PARAM)
    if spectrum and count <= channels.MAX_CHANNELS:
        along = names.get(_find_channel_parameter(parameter) or "")
    else:
        along = None
    if spectrum and along is None:
        together = -(-count // rows)
    else:
        together = 1
    # channels are put together as they come: of how many there are depends no memory
    kind = np.float32 if spectrum and parameter.column.type.datatype == "float" else np.float64
    bin_values = np.full((BINS_PER_TILE, -(-count // together) if spectrum else 3 * count), np.nan, kind)
    centers = np.full(bin_values.shape if along is not None else (BINS_PER_TILE, 0), np.nan)
    has_samples = np.zeros(BINS_PER_TILE, bool)
    if (
        span.start is not None
        and span.stop is not None
        and begin < span.stop
        and begin + BINS_PER_TILE * width > span.start
    ):
        # only what has samples: far outside, times are none that the engine knows
        low = max(begin, span.start)
        high = min(begin + BINS_PER_TILE * width, span.stop)
        asked_for = [parameter.name, *([along.name] if along is not None else [])]
        parts = pyramids.read_bins(
            timeline_request.context,
            timeline_request.principal,
            data_set,
            asked_for,
            low,
            high,
            width,
            timeline_request.published_state,
        )
        for bins in parts:
            place = bins["number"] - number * BINS_PER_TILE
            inside = (place >= 0) & (place < BINS_PER_TILE)
            if inside.all():
                tile_bins = bins
            else:
                tile_bins = bins[inside]
            has_samples[place[inside]] = True
            if spectrum:
                spectrum_values = np.asarray(tile_bins[f"{'h' if peak else 'm'} {parameter.name}"], kind)
                bin_values[place[inside]] = _group_channels(spectrum_values, together, use_peaks=peak)
                if along is not None:
                    mean, peak_channels = (
                        np.asarray(tile_bins[f"{letter} {along.name}"], np.float64) for letter in "mh"
                    )
                    # bins of several lists of channels: their mean is none of them
                    mixed = np.any(np.abs(peak_channels - mean) > 1e-6 * np.abs(peak_channels), axis=1, keepdims=True)
                    centers[place[inside]] = np.where(mixed, np.nan, mean)
            else:
                bin_values[place[inside]] = _build_lines(tile_bins, parameter.name)
    written = io.BytesIO()
    if not spectrum:
        bin_values[has_samples] = np.where(np.isnan(bin_values[has_samples]), np.inf, bin_values[has_samples])
        np.save(written, np.ascontiguousarray(bin_values.T, np.float32))
        return written.getvalue(), {}
    headers = {"x-together": str(together)}
    if along is not None:
        picture, axis, changes = channels.resample_spectra(bin_values, centers, rows, use_peaks=peak)
        bin_values = picture.T
        if axis is not None:
            headers |= dict(zip(("x-low", "x-high", "x-log"), map(repr, (*axis[:2], int(axis[2]))), strict=True))
            headers["x-changes"] = ",".join(map(str, changes[:MAX_CHANNEL_CHANGES]))
    codes, code_headers = encode_values(bin_values)
    codes[has_samples] = np.maximum(codes[has_samples], 1)
    np.save(written, np.ascontiguousarray(codes.T))
    return written.getvalue(), headers | code_headers


def _find_channel_parameter(parameter: SampleParameter) -> str | None:
    """Name the parameter that has the channels of each sample."""
    if parameter.bins and len(parameter.dimensions) == 1:
        centers = parameter.bins[-1].centers
    else:
        centers = None
    if isinstance(centers, str) and centers:
        return centers
    return None


def _build_lines(bins: BinRecords, name: str) -> Numbers:
    """Return lowest, mean and highest values of each element.

    Of vectors, of which no lowest ones are kept, three times the mean.
    """
    mean = np.asarray(bins[f"m {name}"], np.float64)
    if mean.shape[1] > 1:
        each = (mean, mean, mean)
    else:
        each = (bins[f"l {name}"], mean, bins[f"h {name}"])
    return np.stack(each, axis=2).reshape(len(bins), -1)


def _group_channels(picture: Numbers, group_size: int, *, use_peaks: bool) -> Numbers:
    """Put channels together, the elements of each bin; the last ones may be fewer."""
    if group_size == 1:
        return picture
    each = [picture[:, at::group_size] for at in range(group_size)]
    grouped = np.full(each[0].shape, np.nan if use_peaks else 0, picture.dtype)
    count = np.zeros(grouped.shape, np.int32)
    for part in each:
        of = np.s_[:, : part.shape[1]]
        if use_peaks:
            np.fmax(grouped[of], part, out=grouped[of])
        else:
            is_finite = np.isfinite(part)
            np.add(grouped[of], part, out=grouped[of], where=is_finite)
            count[of] += is_finite
    with np.errstate(invalid="ignore", divide="ignore"):
        return grouped if use_peaks else grouped / count


def encode_values(picture: Numbers) -> tuple[npt.NDArray[np.uint8], dict[str, str]]:
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
    is_finite = np.isfinite(picture)
    if is_finite.all():
        values = picture.ravel()
    else:
        values = picture[is_finite]
    if not values.size:
        return np.zeros(picture.shape, np.uint8), {"x-zero": "0", "x-scale": "0", "x-bend": "1"}
    sampled_values = values[:: max(values.size // MAX_SAMPLED_VALUES, 1)].astype(np.float64)  # tell where the middle is
    zero = float(np.median(sampled_values))
    max_deviation = max(float(values.max()) - zero, zero - float(values.min()))
    if max_deviation:
        share = float(np.median(np.abs(sampled_values - zero))) / max_deviation
    else:
        share = 0.5
    bend = 2 * math.acosh(1 / (2 * min(max(share, 1e-6), 0.4999)))
    scale = max_deviation / math.sinh(bend)
    with np.errstate(invalid="ignore", over="ignore"):  # what is no value has no code
        # floats of half the size end at 1e-38 and 1e38
        dtype = picture.dtype if 1e-30 < scale < 1e30 else np.float64
        steps = np.subtract(picture, zero, dtype=dtype)
        steps = np.arcsinh(np.divide(steps, scale or 1, out=steps), out=steps)
        codes = np.rint(np.clip(128 + steps * (126 / bend), 2, 254)).astype(np.uint8)
    codes[~is_finite] = 0
    return codes, {"x-zero": repr(zero), "x-scale": repr(scale), "x-bend": repr(bend)}


def has_data_sets(table: Table) -> bool:
    """Show tables with data sets."""
    return bool(table.series)


FACE = Face(
    name="timelines",
    title="Time series",
    description="Samples in time, looked at.",
    applies=has_data_sets,
    missing_requirement="data sets of samples in time (`series`)",
    build_routes=build_routes,
)
