"""Pictures of time series: ``/series/<id>`` is a page, its description as JSON, and tiles of 512 time bins as NPY.

Tiles lie on a grid that begins in 1970, so that moving and returning clients get the same tiles. A tile of lines has
the minimum, mean and maximum of each line (float32; NaN: no sample, infinity: samples without a value). A tile of a
spectrum has a row of bytes for each channel, or group of channels: code 0 is no sample, 1 samples without a value. For
other codes the headers have the parameters of ``value = zero + scale * sinh(bend * (code - 128) / 126)``, which has as
many steps near the median (near 0 if the scale of the parameter is logarithmic) as near the extremes. Where channels
change with time, rows are evenly spaced from ``x-low`` to ``x-high`` (``x-log``: in their logarithms), and
``x-changes`` has the bins where the channels change.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import numpy as np
import orjson
from starlette.responses import Response

from hven import services
from hven.model import LruCache
from hven.model.errors import HvenError, NotFoundError, ParamError, format_message
from hven.model.params import Param
from hven.model.types import INT32, INT64
from hven.plugins.series import pyramids, sample_sets
from hven.plugins.series.sample_parameters import is_spectrum, list_bin_centers
from hven.plugins.series.table_series import list_table_series
from hven.plugins.series.time_texts import DAY_MICROSECONDS
from hven.plugins.series.timelines import spectrum_channels as channels
from hven.plugins.series.timelines.latest_sample_span import find_span_after_last_gap
from hven.plugins.series.timelines.series_pages import render_series_list_page, render_timeline_page
from hven.plugins.series.timelines.spectrum_pictures import build_spectrum_picture, find_channel_parameter_name
from hven.services.api.responses import choose_encoding
from hven.services.errors import ErrorResponder
from hven.services.face import ServiceContext, ServiceFace, create_query_route
from hven.services.params import parse_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt
    from starlette.requests import Request
    from starlette.routing import Route

    from hven.model.table import ParameterBins, Table
    from hven.plugins.series.reductions import BinRecords
    from hven.plugins.series.sample_parameters import SampleParameter
    from hven.plugins.series.sample_sets import SampleDataSet
    from hven.services.face import Paged

    Numbers = npt.NDArray[Any]

BINS_PER_TILE = 512
MAX_PANELS = 3  # panels that are shown first
LINES_PER_PANEL = 3  # lines of a panel that is shown first
MAX_TILE_ROWS = 1024
MAX_SAMPLED_VALUES = 20_000  # values of a tile from which its median is computed
MAX_CHANNEL_CHANGES = 200  # changes of channels that the headers of a tile list
MAX_BIN_MICROSECONDS = 10_000 * DAY_MICROSECONDS
TILE_CACHE_BYTES = 32 << 20  # bytes of tiles in the cache of a process
ERROR_RESPONDER = ErrorResponder(
    write_document=lambda message: orjson.dumps({"message": message}), media_type="application/json"
)
WIDTH_PARAM = Param(
    name="WIDTH", type=INT64, minimum=1, maximum=MAX_BIN_MICROSECONDS, description="width of a bin in microseconds"
)
TILE_PARAM = Param(
    name="TILE", type=INT64, description="number of the tile, which begins 512 * WIDTH * TILE microseconds after 1970"
)
ROWS_PARAM = Param(
    name="ROWS",
    type=INT32,
    minimum=1,
    maximum=MAX_TILE_ROWS,
    default="256",
    description="maximum number of rows of a spectrum",
)
SHOW_PARAM = Param(
    name="SHOW", allowed=("mean", "peak"), default="mean", description="value of a bin of a spectrum: mean or peak"
)


class _TimelineRequest(sample_sets.SeriesRequest):
    face = "timelines"

    def require_data_set(self) -> SampleDataSet:
        set_id = self.request.path_params["id"]
        data_set = self.find_readable_data_set(set_id)
        if data_set is None:
            raise NotFoundError(
                format_message("there is no data set {name!r:.80} here", set_id),
                remedy="see the list of data sets at /hapi",
            )
        return data_set


class TimelineTileCache(LruCache[tuple[bytes, dict[str, str]]]):
    """Responses with tiles that everybody may see; those of first pictures are requested most."""

    def __init__(self) -> None:
        super().__init__(TILE_CACHE_BYTES)


def build_timeline_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the route of ``/series/<id>``."""

    def answer_description(timeline_request: _TimelineRequest) -> Response:
        facts = orjson.dumps(_describe_data_set(timeline_request, timeline_request.require_data_set()))
        # from the bytes, because `latest` changes within one state of the site, when the reductions are built
        headers = services.build_cache_headers(services.compute_etag(facts), is_public=timeline_request.is_public)
        return services.answer_with_etag(timeline_request.request, headers, "application/json", facts)

    def answer_data(timeline_request: _TimelineRequest, params: services.RequestParams) -> Response:
        if params.read_one("TILE") is None:
            return answer_description(timeline_request)
        request = timeline_request.request
        data_set = timeline_request.require_data_set()
        headers = timeline_request.build_cache_headers(data_set, params.values.items())
        if services.is_unchanged(request, headers["etag"]):
            return Response(status_code=304, headers=headers)
        can_cache = timeline_request.is_public and data_set.remote is None and request.method == "GET"
        tile_cache = context.site.get_or_create(TimelineTileCache)
        key = (headers["etag"], choose_encoding(request.headers.get("accept-encoding", "")))
        cached_tile = None
        if can_cache:
            cached_tile = tile_cache.find(key)
        if cached_tile is not None:
            cached_body, cached_headers = cached_tile
            return Response(cached_body, headers=cached_headers)
        body, tile_headers = _build_tile(timeline_request, data_set, params)
        all_headers = {**headers, **tile_headers, "content-type": "application/octet-stream"}
        response = services.answer_with_body(request, body, all_headers)
        if can_cache:
            cached_tile = (bytes(response.body), dict(response.headers))
            tile_cache.store(key, cached_tile, len(response.body))
        return response

    def show_page(timeline_request: _TimelineRequest, write_page: Paged) -> Response:
        try:
            data_set = timeline_request.require_data_set()
            page_values = _describe_data_set(timeline_request, data_set) | {"table": data_set.table}
        except HvenError as error:
            page_values = {"fault": error}
        return write_page(timeline_request.request, context, page_values)

    async def answer_request(request: Request, params: services.RequestParams) -> Response:
        page = context.find_requested_page_writer(FACE.name, request, params)
        timeline_request = _TimelineRequest(request, context)
        if page is None or params.read_one("TILE") is not None:
            return await anyio.to_thread.run_sync(answer_data, timeline_request, params)
        return await anyio.to_thread.run_sync(show_page, timeline_request, page)

    return [create_query_route("/series/{id}", answer_request, ERROR_RESPONDER)]


def _describe_data_set(timeline_request: _TimelineRequest, data_set: SampleDataSet) -> dict[str, Any]:
    """Describe a data set for the page; times are microseconds since 1970."""
    extent = sample_sets.find_time_extent(timeline_request, data_set)
    drawn_parameters = data_set.numeric_parameters
    picture_names = [parameter.name for parameter in data_set.parameters if parameter.has_url_values]
    cadence = None
    if extent is not None and extent.row_count:
        cadence = round(data_set.estimate_cadence(extent))
    base_url = timeline_request.base_url
    table = data_set.table
    return {
        "id": data_set.id,
        "title": data_set.title,
        "description": data_set.description or "",
        "start": extent.start if extent else None,
        "stop": extent.stop if extent else None,
        "latest": find_span_after_last_gap(timeline_request, data_set, extent) if extent else None,
        "rows": extent.row_count if extent else 0,
        "cadence": cadence,
        "regular": bool(data_set.series.cadence),
        "time": data_set.time.name,
        "parameters": [_describe_parameter(parameter) for parameter in drawn_parameters],
        "shown": _choose_initial_parameters(drawn_parameters),
        "pictures": picture_names,
        "hapi": f"{base_url}/hapi" if table.is_served_by("hapi") else None,
        "das2": f"{base_url}/das2" if table.is_served_by("das2") else None,
        "path": data_set.series.path,
    }


def _choose_initial_parameters(parameters: Sequence[SampleParameter]) -> list[str]:
    """Choose the parameters that are shown first: a spectrum, and lines.

    Lines of one unit share a panel.
    """
    spectra = [parameter.name for parameter in parameters if is_spectrum(parameter)]
    initial_names = set(spectra[:1])
    lines_by_panel: dict[str, list[str]] = {}
    for parameter in parameters:
        if is_spectrum(parameter):
            continue
        panel = f"{parameter.column.unit} {parameter.scale_type}"
        if parameter.element_count > 1 or not parameter.column.unit:
            panel = f"\n{parameter.name}"
        lines_by_panel.setdefault(panel, []).append(parameter.name)
    panels = []
    for names in lines_by_panel.values():
        offsets = range(0, len(names), LINES_PER_PANEL)
        panels += [names[offset : offset + LINES_PER_PANEL] for offset in offsets]
    for names in panels[: MAX_PANELS - len(initial_names)]:
        initial_names.update(names)
    return [parameter.name for parameter in parameters if parameter.name in initial_names]


def _describe_parameter(parameter: SampleParameter) -> dict[str, Any]:
    column = parameter.column
    description: dict[str, Any] = {
        "name": parameter.name,
        "label": column.label or parameter.name,
        "unit": column.unit or "",
        "description": column.description or "",
        "elements": parameter.element_count,
        "spectrum": is_spectrum(parameter),
        "scale": parameter.scale_type,
        "bins": None,
    }
    if parameter.bins and len(parameter.dimensions) == 1:
        description["bins"] = _describe_channels(parameter.bins[-1], parameter.element_count)
    return description


def _describe_channels(bins: ParameterBins, count: int) -> dict[str, Any] | None:
    """Describe channels: the same at all times, or the parameter that has those of each sample."""
    description = {"name": bins.label or bins.name, "unit": bins.unit or "", "scale": bins.scale_type}
    if isinstance(bins.centers, str):
        return description | {"along": bins.centers}
    centers = list_bin_centers(bins)
    if len(centers) == count:
        return description | {"centers": centers}
    return None


def _build_tile(
    timeline_request: _TimelineRequest, data_set: SampleDataSet, params: services.RequestParams
) -> tuple[bytes, dict[str, str]]:
    """Build a tile and the headers that describe it."""
    parameters_by_name = {parameter.name: parameter for parameter in data_set.numeric_parameters}
    parameter = parameters_by_name.get(params.read_one("PARAMETER") or "")
    width = parse_value(params, WIDTH_PARAM)
    number = parse_value(params, TILE_PARAM)
    if parameter is None or width is None:
        raise ParamError(
            format_message("a request for a tile needs a valid PARAMETER and the WIDTH of the bins"),
            name="WIDTH" if parameter else "PARAMETER",
            remedy="write a width such as WIDTH=60000000, and set PARAMETER to one of "
            f"{', '.join(parameters_by_name)[:300]}",
        )
    use_peaks = parse_value(params, SHOW_PARAM) == "peak"
    max_rows = parse_value(params, ROWS_PARAM)
    if is_spectrum(parameter):
        channel_parameter = None
        if parameter.element_count <= channels.MAX_CHANNELS:
            channel_parameter = parameters_by_name.get(find_channel_parameter_name(parameter) or "")
        names = [parameter.name]
        if channel_parameter is not None:
            names.append(channel_parameter.name)
        parts = _read_tile_bins(timeline_request, data_set, names, number, width)
        return _write_spectrum_tile(parts, parameter, channel_parameter, max_rows=max_rows, use_peaks=use_peaks)
    parts = _read_tile_bins(timeline_request, data_set, [parameter.name], number, width)
    return _write_line_tile(parts, parameter), {}


def _read_tile_bins(
    timeline_request: _TimelineRequest,
    data_set: SampleDataSet,
    parameter_names: Sequence[str],
    tile_number: int,
    width: int,
) -> Iterator[tuple[npt.NDArray[np.int64], BinRecords]]:
    """Read the bins of a tile: their indexes in the tile, and the bins."""
    begin = tile_number * BINS_PER_TILE * width
    end = begin + BINS_PER_TILE * width
    extent = sample_sets.find_time_extent(timeline_request, data_set)
    if extent is None or begin >= extent.stop or end <= extent.start:
        return
    parts = pyramids.read_bins(
        timeline_request,
        data_set,
        parameter_names,
        # within the samples: far outside of them the engine knows no times
        start=max(begin, extent.start),
        stop=min(end, extent.stop),
        bin_microseconds=width,
    )
    for bins in parts:
        indexes = bins["number"] - tile_number * BINS_PER_TILE
        is_inside = (indexes >= 0) & (indexes < BINS_PER_TILE)
        yield indexes[is_inside], bins if is_inside.all() else bins[is_inside]


def _write_line_tile(
    bin_chunks: Iterable[tuple[npt.NDArray[np.int64], BinRecords]], parameter: SampleParameter
) -> bytes:
    """Write a tile of lines: minimum, mean and maximum of each."""
    line_count = 3 * parameter.element_count
    tile_values = np.full((BINS_PER_TILE, line_count), np.nan)
    has_samples = np.zeros(BINS_PER_TILE, bool)
    for indexes, bins in bin_chunks:
        has_samples[indexes] = True
        tile_values[indexes] = _combine_min_mean_max(bins, parameter.name)
    sampled_values = tile_values[has_samples]
    tile_values[has_samples] = np.where(np.isnan(sampled_values), np.inf, sampled_values)
    return _write_npy(np.ascontiguousarray(tile_values.T, np.float32))


def _write_spectrum_tile(
    bin_chunks: Iterable[tuple[npt.NDArray[np.int64], BinRecords]],
    parameter: SampleParameter,
    channel_parameter: SampleParameter | None,
    *,
    max_rows: int,
    use_peaks: bool,
) -> tuple[bytes, dict[str, str]]:
    """Write a tile of a spectrum, and the headers that describe its codes and channels."""
    spectra = build_spectrum_picture(
        bin_chunks, BINS_PER_TILE, parameter, channel_parameter, max_rows=max_rows, use_peaks=use_peaks
    )
    picture = spectra.values
    headers = {"x-together": str(spectra.group_size)}
    if channel_parameter is not None:
        resampled, axis, changes = channels.resample_spectra(
            picture, spectra.centers, max_rows, use_peaks=use_peaks, scale_type=parameter.bins[-1].scale_type
        )
        picture = resampled.T
        if axis is not None:
            low, high, is_logarithmic = axis
            headers |= {"x-low": repr(low), "x-high": repr(high), "x-log": repr(int(is_logarithmic))}
            headers["x-changes"] = ",".join(map(str, changes[:MAX_CHANNEL_CHANGES]))
    codes, code_headers = encode_values_as_bytes(picture, is_logarithmic=parameter.scale_type == "log")
    codes[spectra.has_samples] = np.maximum(codes[spectra.has_samples], 1)
    return _write_npy(np.ascontiguousarray(codes.T)), headers | code_headers


def _write_npy(array: npt.NDArray[Any]) -> bytes:
    npy_file = io.BytesIO()
    np.save(npy_file, array)
    return npy_file.getvalue()


def _combine_min_mean_max(bins: BinRecords, parameter_name: str) -> Numbers:
    """Return minimum, mean and maximum of each element.

    For vectors, whose minima are not kept, it is three times the mean.
    """
    mean = np.asarray(bins[f"m {parameter_name}"], np.float64)
    if mean.shape[1] > 1:
        statistics = (mean, mean, mean)
    else:
        statistics = (bins[f"l {parameter_name}"], mean, bins[f"h {parameter_name}"])
    return np.stack(statistics, axis=2).reshape(len(bins), -1)


def encode_values_as_bytes(
    picture: Numbers, *, is_logarithmic: bool = False
) -> tuple[npt.NDArray[np.uint8], dict[str, str]]:
    """Encode numbers as bytes, so that half of them lie within half of the codes.

    Parameters
    ----------
    picture
        Numbers; those that are not finite are no values.
    is_logarithmic
        Whether codes are finest at 0 instead of at the median, so that they resolve the logarithms of all numbers.

    Returns
    -------
    codes
        0 for no value, else 2 to 254.
    headers
        Headers with the parameters for decoding.
    """
    is_finite = np.isfinite(picture)
    if is_finite.all():
        values = picture.ravel()
    else:
        values = picture[is_finite]
    if not values.size:
        empty_codes = np.zeros(picture.shape, np.uint8)
        return empty_codes, {"x-zero": "0", "x-scale": "0", "x-bend": "1"}
    sampling_step = max(values.size // MAX_SAMPLED_VALUES, 1)
    sampled_values = values[::sampling_step].astype(np.float64)
    if is_logarithmic:
        zero = 0.0
    else:
        zero = float(np.median(sampled_values))
    highest = float(values.max())
    lowest = float(values.min())
    max_deviation = max(highest - zero, zero - lowest)
    share = 0.5
    if max_deviation:
        median_deviation = float(np.median(np.abs(sampled_values - zero)))
        share = median_deviation / max_deviation
    share = min(max(share, 1e-6), 0.4999)
    bend = 2 * math.acosh(1 / (2 * share))
    scale = max_deviation / math.sinh(bend)
    with np.errstate(invalid="ignore", over="ignore"):  # values that are not finite have no code
        # floats of half the size end at 1e-38 and 1e38
        dtype = picture.dtype if 1e-30 < scale < 1e30 else np.float64
        steps = np.subtract(picture, zero, dtype=dtype)
        np.divide(steps, scale or 1, out=steps)
        np.arcsinh(steps, out=steps)
        levels = np.clip(128 + steps * (126 / bend), 2, 254)
        codes = np.rint(levels).astype(np.uint8)
    codes[~is_finite] = 0
    return codes, {"x-zero": repr(zero), "x-scale": repr(scale), "x-bend": repr(bend)}


def has_data_sets(table: Table) -> bool:
    """Return whether a table has data sets."""
    return bool(list_table_series(table))


FACE = ServiceFace(
    name="timelines",
    title="Time series",
    description="Plots of time series.",
    applies=has_data_sets,
    missing_requirement="time series (`series`)",
    build_routes=build_timeline_routes,
    page_writers={"hapi": render_series_list_page, "timelines": render_timeline_page},
)
