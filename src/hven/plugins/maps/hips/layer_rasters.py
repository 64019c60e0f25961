"""Read the rasters of layers for a HiPS."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hven.plugins.hips.body_surveys import BodyLayer
from hven.plugins.maps.layer_access import DEFAULT_VALUES, choose_raster, find_layer_rasters
from hven.plugins.maps.raster_sampling import contains_places, sample_places

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from hven.plugins.maps.map_drawing import LayerRaster
    from hven.plugins.maps.map_rasters import RasterInfo
    from hven.services.face import ServiceContext
    from hven.site.auth import Principal

    Numbers = npt.NDArray[np.float64]

MAX_GRID_PLACES = 1 << 20  # places of a raster that are computed at a time
MIN_FIELD_DEGREES = 0.1


def open_body_layer(context: ServiceContext, principal: Principal, collection: str, layer_name: str) -> BodyLayer:
    """Open a layer of a collection; of several times and wavelengths, the default ones.

    Raises
    ------
    NotFoundError, ParamError
        There is no such layer.
    HvenError
        The reader may not access the raster, or it cannot be read.
    """
    raster = find_layer_rasters(context, principal, collection, [layer_name])[0]
    info, layer = raster.read_info(), raster.layer
    resource = context.site.get_published_state().resources[collection]
    colour_scale = None if info.shows_colours else raster.build_colour_scale()
    is_smooth = raster.is_interpolated()

    def read_values(lon: Numbers, lat: Numbers) -> npt.NDArray[np.float32]:
        values, is_valid = sample_places(info, lon, lat, is_smooth=is_smooth, keeps_rows=True)
        return np.where(is_valid, values, np.nan).astype(np.float32)

    def find_colours(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        is_valid = np.isfinite(values[0])
        valid_values = np.where(is_valid, values, 0)
        if colour_scale is not None:
            return colour_scale.find_colours(valid_values[0], is_valid)
        opacity = np.where(is_valid, 255, 0)
        return np.concatenate([np.rint(valid_values), opacity[np.newaxis]]).transpose(1, 2, 0).astype(np.uint8)

    west, south, east, north = info.lon_lat_bounds
    center = (west + east) / 2, (south + north) / 2
    if info.frame.kind in {"north_polar", "south_polar"}:
        center = 0.0, 90.0 if info.frame.kind == "north_polar" else -90.0
    field_degrees = min(max(east - west, north - south, MIN_FIELD_DEGREES), 180.0)
    return BodyLayer(
        body=info.frame.body.name,
        title=str(layer.title),
        description=str(layer.description),
        licence=layer.licence or resource.licence or "",
        credit=str(layer.attribution or resource.citation or ""),
        path=choose_raster(layer, DEFAULT_VALUES)[0],
        compute_state=lambda: _describe_state(raster),
        pixel_degrees=info.frame.metres_per_unit * abs(info.transform.e) / info.frame.body.metres_per_degree,
        value_range=None if colour_scale is None else (colour_scale.values[0], colour_scale.values[-1]),
        is_averaged=is_smooth,
        center=(center[0] % 360, center[1], field_degrees),
        iterate_places=lambda step: _iterate_places(info, step),
        contains_places=lambda lon, lat: contains_places(info, lon, lat),
        read_values=read_values,
        find_colours=find_colours,
    )


def _describe_state(raster: LayerRaster) -> str:
    """Describe what the pixels of a HiPS depend on."""
    info = raster.read_info()
    colours = None if info.shows_colours else raster.build_colour_scale()
    facts = info.path, info.file_state, info.frame.name, info.transform, info.bands, info.missing_values
    return repr((*facts, raster.layer.variable, raster.is_interpolated(), colours))


def _iterate_places(info: RasterInfo, step: int) -> Iterator[tuple[Numbers, Numbers]]:
    """Yield the longitudes and latitudes of every n-th pixel, and of the last ones."""
    columns, rows = (np.append(np.arange(0.5, size, step), size - 0.5) for size in (info.width, info.height))
    rows_at_a_time = max(MAX_GRID_PLACES // len(columns), 1)
    for first in range(0, len(rows), rows_at_a_time):
        column_grid, row_grid = np.meshgrid(columns, rows[first : first + rows_at_a_time])
        x = info.transform.c + info.transform.a * column_grid.ravel()
        y = info.transform.f + info.transform.e * row_grid.ravel()
        yield info.frame.convert_to_lon_lat(x, y)
