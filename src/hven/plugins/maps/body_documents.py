"""Describe the layers of a body, for pages with maps: ``/maps/<Body>.json``."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hven.model.errors import HvenError, NotFoundError, format_message
from hven.plugins.maps.frames import POLAR_CAP_LATITUDE_DEG
from hven.plugins.maps.tile_matrix_sets import MAX_LEVEL, TILE_PIXELS, TileMatrixSet, list_tile_matrix_sets
from hven.services.citations import find_licence_url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.resource import CollectionSpec
    from hven.plugins.maps.frames import CelestialBody
    from hven.plugins.maps.map_drawing import LayerRaster
    from hven.plugins.maps.map_layers import MapLayer
    from hven.plugins.maps.map_rasters import RasterInfo

logger = logging.getLogger("hven")


def read_layer_infos(
    rasters: Sequence[tuple[CollectionSpec, LayerRaster]],
) -> list[tuple[CollectionSpec, LayerRaster, RasterInfo]]:
    """Read the rasters of layers; those that cannot be read are left out, with a warning in the log."""
    infos = []
    for resource, raster in rasters:
        try:
            infos.append((resource, raster, raster.read_info()))
        except (HvenError, OSError) as error:
            logger.warning("layer %s of %s is not served: %s", raster.layer.name, resource.name, error)
    return infos


def build_body_list(rasters: Sequence[tuple[CollectionSpec, LayerRaster]], base_url: str) -> dict[str, Any]:
    """Build the list of bodies with layers."""
    counts = Counter(info.frame.body.name for _, _, info in read_layer_infos(rasters))
    bodies = [
        {"body": name, "title": name, "layer_count": count, "url": f"{base_url}/maps/{quote(name)}.json"}
        for name, count in sorted(counts.items())
    ]
    return {"bodies": bodies}


def build_body_document(
    rasters: Sequence[tuple[CollectionSpec, LayerRaster]], body_name: str, base_url: str
) -> dict[str, Any]:
    """Build the description of a body's layers.

    Parameters
    ----------
    rasters
        Layers that the reader may see, with their collections (`layer_access.list_layer_rasters`).
    body_name
        Name of the body.
    base_url
        Address of the site or portal.

    Raises
    ------
    NotFoundError
        The body has no layers.
    """
    infos = [item for item in read_layer_infos(rasters) if item[2].frame.body.name.lower() == body_name.lower()]
    if not infos:
        raise NotFoundError(format_message("there are no maps of {body}", body_name[:60]))
    body = infos[0][2].frame.body
    matrix_sets = list_tile_matrix_sets(body)
    frames = {matrix_set.frame.name: matrix_set.frame for matrix_set in matrix_sets}
    frames |= {info.frame.name: info.frame for _, _, info in infos if info.frame.name}
    infos.sort(key=lambda item: item[1].layer.kind != "background")
    return {
        "body": body.name,
        "radii_m": {
            "sphere": body.radius_m,
            "equatorial": body.equatorial_radius_m,
            "polar": body.polar_radius_m,
        },
        "frame": body.get_frame(0).name,
        "frames": {
            name: {
                "title": frame.title,
                "kind": frame.kind,
                "proj4": frame.proj_text,
                "units": "degrees" if frame.is_geographic else "m",
                "meters_per_unit": frame.metres_per_unit,
                "extent": frame.extent,
            }
            for name, frame in frames.items()
        },
        "tile_matrix_sets": {matrix_set.name: _describe_matrix_set(matrix_set) for matrix_set in matrix_sets},
        "layers": [_describe_layer(item, body, base_url) for item in infos],
    }


def _describe_matrix_set(matrix_set: TileMatrixSet) -> dict[str, Any]:
    levels = range(MAX_LEVEL + 1)
    west, _, _, north = matrix_set.frame.extent
    return {
        "frame": matrix_set.frame.name,
        "origin": [west, north],
        "extent": matrix_set.frame.extent,
        "tile_size": TILE_PIXELS,
        "resolutions": [matrix_set.get_resolution(level) for level in levels],
        "matrix_sizes": [[matrix_set.columns * 2**level, 2**level] for level in levels],
    }


def list_reached_matrix_sets(info: RasterInfo) -> list[TileMatrixSet]:
    """List the tile matrix sets that show something of a raster."""
    _, south, _, north = info.lon_lat_bounds
    is_reached = {"north_polar": north > POLAR_CAP_LATITUDE_DEG, "south_polar": south < -POLAR_CAP_LATITUDE_DEG}
    return [item for item in list_tile_matrix_sets(info.frame.body) if is_reached.get(item.frame.kind, True)]


def _describe_layer(
    item: tuple[CollectionSpec, LayerRaster, RasterInfo], body: CelestialBody, base_url: str
) -> dict[str, Any]:
    resource, raster, info = item
    layer = raster.layer
    name, collection = quote(layer.name), quote(resource.name)
    tiles_url = f"{base_url}/wmts/{collection}/1.0.0/{name}/default"
    reached_sets = list_reached_matrix_sets(info)
    value_url = f"{base_url}/maps/{quote(body.name)}/value?layer={collection}/{name}&lon={{lon}}&lat={{lat}}"
    if layer.licence:  # the address of the collection's licence is that of another one
        resource = replace(resource, licence=layer.licence, licence_url=layer.licence_url or None)
    licence = {"name": resource.licence, "url": find_licence_url(resource) or ""} if resource.licence else None
    colours = None if info.shows_colours else raster.build_colour_scale()
    has_legend = bool(layer.legend) or colours is not None
    return {
        "id": f"{resource.name}/{layer.name}",
        "collection": resource.name,
        "layer": layer.name,
        "title": str(layer.title),
        "description": str(layer.description),
        "group": str(layer.group),
        "kind": layer.kind,
        "frame": info.frame.name,
        "bounds": info.lon_lat_bounds,
        "tiles": {
            matrix_set.name: f"{tiles_url}/{matrix_set.name}/{{z}}/{{y}}/{{x}}.png" for matrix_set in reached_sets
        },
        "max_zoom": {matrix_set.name: _find_max_zoom(matrix_set, info) for matrix_set in reached_sets},
        "wms_url": f"{base_url}/wms/{collection}",
        "wmts_url": f"{base_url}/wmts/{collection}",
        "wcs_url": None if info.shows_colours else f"{base_url}/wcs/{collection}",
        "unit": layer.unit,
        "quantity": str(layer.quantity),
        "range": None if colours is None else [colours.values[0], colours.values[-1]],
        "colours": None if colours is None else colours.list_colour_stops(),
        "legend_url": build_legend_url(f"{base_url}/wms/{collection}", layer.name) if has_legend else None,
        "has_own_legend": bool(layer.legend),
        "attribution": get_attribution(layer, resource),
        "licence": licence,
        "times": layer.times,
        "default_time": layer.default_time or None,
        "wavelengths_um": [float(wavelength) for wavelength in layer.wavelengths],
        "default_wavelength_um": float(layer.default_wavelength) if layer.wavelengths else None,
        "value_url": None if info.shows_colours else value_url,
        "page_url": f"{base_url}/collections/{collection}",
        "file_urls": [f"{base_url}/collections/{collection}/files/{quote(path)}" for path in layer.files.values()],
    }


def get_attribution(layer: MapLayer, resource: CollectionSpec) -> str:
    """Return whom a layer is credited to: its own attribution, or the publisher of the collection."""
    return str(layer.attribution or resource.publisher or "")


def _find_max_zoom(matrix_set: TileMatrixSet, info: RasterInfo) -> int:
    """Find the first level whose pixels are not larger than those of the raster."""
    pixel_metres = abs(info.transform.e) * info.frame.metres_per_unit
    for level in range(MAX_LEVEL + 1):
        if matrix_set.get_resolution(level) * matrix_set.frame.metres_per_unit <= pixel_metres * 1.001:
            return level
    return MAX_LEVEL


def build_legend_url(wms_url: str, layer_name: str) -> str:
    """Build the address of the legend of a layer."""
    parameters = f"SERVICE=WMS&VERSION=1.3.0&REQUEST=GetLegendGraphic&LAYER={quote(layer_name)}&FORMAT=image/png"
    return f"{wms_url}?{parameters}"
