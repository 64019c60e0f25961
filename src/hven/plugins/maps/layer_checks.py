"""Check the rasters of layers for ``hven check``."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

from hven.model.errors import Fault, HvenError
from hven.plugins.maps.frames import find_frame
from hven.plugins.maps.legend_pictures import read_or_draw_legend
from hven.plugins.maps.map_drawing import LayerRaster
from hven.plugins.maps.map_layers import ALIASES_KEY, LAYERS_KEY, OVERVIEWS_FOLDER
from hven.plugins.maps.map_rasters import has_enough_overviews

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.model.resource import CollectionSpec
    from hven.model.settings import Settings


def find_layer_faults(resource: CollectionSpec, settings: Settings) -> Iterator[Fault]:
    """Find faults of rasters, colours and legends, and large rasters without overviews; rasters may be missing."""
    directory, overviews_directory = resource.path.parent, settings.var_directory / OVERVIEWS_FOLDER / resource.name
    for layer in resource.extensions[LAYERS_KEY]:
        bands: list[int | None] = [layer.band]
        if layer.bands:
            bands = [*{min(layer.bands.values()), max(layer.bands.values())}]
        for file_path, band in product(layer.files.values(), bands):
            path = directory / file_path
            if not path.is_file() or not any(
                path.resolve().is_relative_to(root.resolve()) for root in settings.allowed_directories
            ):
                continue
            raster = LayerRaster(replace(layer, band=band), path, directory, overviews_directory)
            try:
                info = raster.read_info()
                if not info.shows_colours:
                    raster.build_colour_scale()
                read_or_draw_legend(raster)
                if not has_enough_overviews(info):
                    message = f"layers.{layer.name}: {path.name} has {info.width:,} x {info.height:,} pixels and no "
                    message += "overviews, so maps of large areas are slow to draw"
                    remedy = f"run `hven ingest {resource.name}` to make the overviews, or convert the raster to a COG"
                    yield Fault(message=message, place=layer.place, remedy=remedy, severity="warning")
            except HvenError as error:
                message = f"layers.{layer.name}: {error.message}"
                yield Fault(message=message, place=layer.place, remedy=error.remedy)
    for name, frame_name in resource.extensions.get(ALIASES_KEY, {}).items():
        try:
            find_frame(frame_name)
        except HvenError as error:
            yield Fault(message=f"frame_aliases.{name}: {error.message}", remedy=error.remedy)
