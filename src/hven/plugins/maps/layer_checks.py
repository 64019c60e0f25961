"""Check the rasters of layers for ``hven check``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.model.errors import Fault, HvenError
from hven.plugins.maps.frames import find_frame
from hven.plugins.maps.map_drawing import LayerRaster
from hven.plugins.maps.map_layers import ALIASES_KEY, LAYERS_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hven.model.resource import CollectionSpec
    from hven.model.settings import Settings


def find_layer_faults(resource: CollectionSpec, settings: Settings) -> Iterator[Fault]:
    """Find rasters without a known frame, and colours that cannot be read. Files that are missing are left out."""
    directory = resource.path.parent
    for layer in resource.extensions[LAYERS_KEY]:
        for file_path in layer.files.values():
            path = directory / file_path
            if not path.is_file() or not any(
                path.resolve().is_relative_to(root.resolve()) for root in settings.allowed_directories
            ):
                continue
            try:
                info = LayerRaster(layer, path, directory).read_info()
                if not info.shows_colours:
                    LayerRaster(layer, path, directory).read_colours()
            except HvenError as error:
                message = f"layers.{layer.name}: {error.message}"
                yield Fault(message=message, place=layer.place, remedy=error.remedy)
    for name, frame_name in resource.extensions.get(ALIASES_KEY, {}).items():
        try:
            find_frame(frame_name)
        except HvenError as error:
            yield Fault(message=f"frame_aliases.{name}: {error.message}", remedy=error.remedy)
