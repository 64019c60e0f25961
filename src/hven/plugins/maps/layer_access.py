"""Find the layers that a reader may see: those whose rasters the reader may download."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hven.model.errors import HvenError, NotFoundError, ParamError, SourceError, format_message, suggest_spelling
from hven.plugins.maps.layer_keys import format_wavelength, normalize_layer_time
from hven.plugins.maps.map_drawing import LayerRaster
from hven.plugins.maps.map_layers import ALIASES_KEY, LAYERS_KEY, OVERVIEWS_FOLDER, DimensionValues, MapLayer
from hven.services import collection_files
from hven.site import anonymize_for_referee, record_sent_data

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.model.resource import CollectionSpec
    from hven.services.face import ServiceContext
    from hven.site.auth import Principal


DEFAULT_VALUES = DimensionValues()


def list_layer_rasters(
    context: ServiceContext, principal: Principal, values: DimensionValues = DEFAULT_VALUES, layer_id: str = ""
) -> list[tuple[CollectionSpec, LayerRaster]]:
    """List the layers of all collections with their rasters, as far as a reader may see them.

    Parameters
    ----------
    values
        Time and wavelength of the rasters. Layers without these dimensions are listed for any values.
    layer_id
        Collection and name of the only layer that is wanted, with a slash between; an empty name stands for all.
    """
    rasters = []
    wanted_collection, _, wanted_layer = layer_id.partition("/")
    for name in sorted(context.site.get_published_state().resources):
        if wanted_collection not in {"", name}:
            continue
        resource = _find_map_collection(context, principal, name)
        if resource is None or (context.collections and name not in context.collections):
            continue
        for layer in resource.extensions[LAYERS_KEY]:
            if wanted_layer not in {"", layer.name}:
                continue
            try:
                raster = find_layer_rasters(context, principal, name, [layer.name], values)[0]
            except HvenError:  # the reader may not see it, or its file is missing
                continue
            rasters.append((resource, raster))
    return rasters


def _find_map_collection(context: ServiceContext, principal: Principal, name: str) -> CollectionSpec | None:
    """Find a collection with layers; for a referee who reviews it blind, without what tells who made it."""
    published_state = context.site.get_published_state()
    resource = published_state.resources.get(name)
    if resource is None or not resource.extensions.get(LAYERS_KEY):
        return None
    shown_resource = anonymize_for_referee(published_state, principal).resources[name]
    if shown_resource is resource:
        return resource
    layers = tuple(replace(layer, attribution="", legend="") for layer in resource.extensions[LAYERS_KEY])
    extensions = {LAYERS_KEY: layers, ALIASES_KEY: resource.extensions.get(ALIASES_KEY, {})}
    return replace(shown_resource, extensions={**shown_resource.extensions, **extensions})


def get_frame_aliases(context: ServiceContext, collection: str) -> Mapping[str, str]:
    """Return the aliases of frames of a collection."""
    resource = context.site.get_published_state().resources.get(collection)
    aliases: Mapping[str, str] = {} if resource is None else resource.extensions.get(ALIASES_KEY, {})
    return aliases


def find_layer_rasters(
    context: ServiceContext,
    principal: Principal,
    collection: str,
    layer_names: Sequence[str],
    values: DimensionValues = DEFAULT_VALUES,
    *,
    sends_values: bool = False,
) -> list[LayerRaster]:
    """Find the rasters of layers, with the rights of a reader to their files.

    Parameters
    ----------
    layer_names
        Names of layers of the collection.
    values
        Time and wavelength of the rasters.
    sends_values
        Whether the reader gets values of the rasters, which counts as a download.

    Raises
    ------
    NotFoundError
        The reader knows of no such collection.
    ParamError
        The reader knows of no such layer, or a layer has not this time or wavelength.
    HvenError
        The reader may not access a raster, or it has changed since it was published.
    """
    resource = _find_map_collection(context, principal, collection)
    if resource is None:
        raise build_no_maps_error(collection)
    layers: dict[str, MapLayer] = {layer.name: layer for layer in resource.extensions[LAYERS_KEY]}
    try:
        choices = [choose_raster(layers[name], values) for name in layer_names]
    except (KeyError, ParamError) as error:
        _require_known_layers(context, principal, collection, layers, layer_names)
        raise error from None
    found_files = collection_files.find_files(context, principal, collection, [path for path, _ in choices])
    known_paths = found_files.rows.keys() | found_files.refused.keys()
    is_complete = known_paths.issuperset(path for path, _ in choices)
    if not choices or not is_complete:
        _require_known_layers(context, principal, collection, layers, layer_names)
    if not is_complete:
        message = "a layer has no raster for this time and wavelength"
        raise ParamError(message, name="TIME", remedy="choose another time and wavelength")
    rasters = []
    for path, layer in choices:
        place = collection_files.locate_original_file(context, principal, found_files, path).path
        if not isinstance(place, Path):
            raise SourceError(
                f"the raster {path} is on another server", remedy="copy the raster to the directory of the collection"
            )
        if sends_values:
            found_files.record_access("coverage taken", path)
            record_sent_data(file_collections=[collection])
        overviews_directory = context.site.settings.var_directory / OVERVIEWS_FOLDER / collection
        rasters.append(LayerRaster(layer, place, resource.path.parent, overviews_directory))
    return rasters


def build_no_maps_error(collection: str) -> NotFoundError:
    """Build the error of a collection without maps that the reader knows of."""
    return NotFoundError(format_message("the collection {name} has no maps", collection[:100]))


def _require_known_layers(
    context: ServiceContext,
    principal: Principal,
    collection: str,
    layers: Mapping[str, MapLayer],
    layer_names: Sequence[str],
) -> None:
    """Refuse layers that do not exist, or of whose rasters a reader may not know; both have the same error.

    Raises
    ------
    NotFoundError
        The reader knows of no layer of the collection.
    ParamError
        The reader does not know of one of the layers.
    """
    paths = [path for layer in layers.values() for path in layer.files.values()]
    found_files = collection_files.find_files(context, principal, collection, paths)
    known_paths = found_files.rows.keys() | found_files.refused.keys()
    known_names = [name for name, layer in layers.items() if not known_paths.isdisjoint(layer.files.values())]
    if not known_names:
        raise build_no_maps_error(collection)
    for name in layer_names:
        if name not in known_names:
            remedy = suggest_spelling(name, known_names) or f"use one of {', '.join(known_names)}"
            raise ParamError(f"there is no layer {name[:60]!r}", name="LAYERS", remedy=remedy)


def choose_raster(layer: MapLayer, values: DimensionValues) -> tuple[str, MapLayer]:
    """Return the path of the raster of a time and wavelength, and the layer with the number of its band.

    Raises
    ------
    ParamError
        The layer does not have the time or the wavelength.
    """
    time = (
        _choose_dimension_value(layer.times, values.time, normalize_layer_time(values.time), "TIME")
        or layer.default_time
    )
    wavelength = _choose_dimension_value(
        layer.wavelengths, values.wavelength, format_wavelength(values.wavelength), "DIM_WAVELENGTH"
    )
    wavelength = wavelength or layer.default_wavelength
    file_value, band_value = (time, wavelength) if layer.file_dimension == "time" else (wavelength, time)
    if layer.bands:
        layer = replace(layer, band=layer.bands[band_value])
    return layer.files[file_value], layer


def _choose_dimension_value(known_values: Sequence[str], text: str, value: str | None, parameter: str) -> str:
    """Choose a value of a dimension; empty: the default, or the layer has no such dimension.

    Raises
    ------
    ParamError
        The layer does not have the value.
    """
    if not known_values or not text:
        return ""
    if value is None or value not in known_values:
        message = f"the layer has no raster for {parameter}={text[:60]}"
        raise ParamError(message, name=parameter, remedy=f"use one of {', '.join(known_values[:20])}")
    return value
