"""The keys ``layers`` and ``frame_aliases`` of descriptors."""

import math
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from hven.descriptor.api.keys import CollectionDescriptorKey, CollectionKeyValue, KeyReferenceSection
from hven.descriptor.value_schema import (
    DescriptorSection,
    LocatedKeyValues,
    OneOrMore,
    RetypedText,
    Text,
)
from hven.descriptor.value_schema import LocalizedText as LocalizedTextValue
from hven.model import plugins
from hven.model.errors import Fault, TextPlace, UserError
from hven.model.resource import CollectionSpec
from hven.model.settings import Settings
from hven.model.table import LocalizedText
from hven.plugins.maps.map_layers import LAYERS_KEY, MapLayer

_NAME_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
# texts of layers, which are empty without their keys
_TEXT_KEYS = (
    *("description", "group", "quantity", "body", "frame", "variable"),
    *("unit", "legend", "licence", "licence_url", "attribution"),
)
# named and not imported: it needs the extra `maps`
CHECKS_MODULE = "hven.plugins.maps.layer_checks"


class LayerSection(
    DescriptorSection,
    short="file",
    hints={
        "files": "file",
        "raster": "file",
        "crs": "frame",
        "srs": "frame",
        "projection": "frame",
        "target": "body",
        "planet": "body",
        "bbox": "bounds",
        "hdu": "variable",
        "extension": "variable",
        "subdataset": "variable",
        "colors": "colours",
        "palette": "colours",
        "colormap": "colours",
        "license": "licence",
        "no_data": "nodata",
    },
    name="layer",
):
    """A raster that is served as a map."""

    file: Text
    "path of the raster among the collection's `files`: GeoTIFF, FITS, netCDF, PDS3, PDS4, ISIS, PNG or JPEG"
    times: dict[str, RetypedText]
    (
        "a raster for each time, for example {2010-01-01: 2010.tif, 2011-01-01: 2011.tif}; or the number of the band "
        "in `file` for each time, for example {2010-01-01: 1, 2011-01-01: 2}"
    )
    wavelengths: dict[str, RetypedText]
    (
        "for each wavelength in micrometres: a raster, or the number of a band in `file` or in each raster of `times`, "
        "for example {1.08: 12, 2.35: 96}"
    )
    title: LocalizedTextValue
    "heading. Default: the name of the layer"
    description: LocalizedTextValue
    "what the map shows"
    group: LocalizedTextValue
    "heading under which lists show this layer and similar layers, for example Minerals"
    kind: Literal["background", "overlay"]
    "'background': other maps are drawn on this one; 'overlay' (default): this map is drawn on a background"
    body: Text
    "the body, for example Mars. Default: as in the raster"
    frame: Text
    (
        "frame of the raster, for example IAU_2015:49900. Default: as in the raster. Required if the raster has no "
        "frame, has a frame of the Earth, or does not state whether its latitudes are planetographic"
    )
    bounds: OneOrMore[float]
    (
        "western, southern, eastern and northern limits of the raster in its frame, for example [-180, -90, 180, 90]. "
        "Required for pictures without coordinates"
    )
    variable: Text
    (
        "name of the netCDF variable, or of the FITS extension. Default: the only variable, or the first "
        "extension with an image"
    )
    band: Annotated[int, Field(ge=1)]
    "number of the band that is shown. Default: the first, or the first three if these are colours"
    nodata: float
    "value of pixels without data. Default: as in the raster"
    colours: OneOrMore[Text]
    (
        "colours of the values: grey, viridis, terrain or blue_red; a file in the format of `gdaldem color-relief`; or "
        "the lines of such a file as a list, for example [0 blue, 1 red]. Default: the palette of the raster, or grey"
    )
    range: OneOrMore[float]
    "values of the first and the last colour, for example [0, 0.4]. Default: the range of the colours or raster"
    legend: Text
    "path of a PNG that explains the colours, relative to the descriptor. Default: Hven draws a legend"
    smooth: bool
    (
        "whether Hven interpolates values between pixels. Default: true, unless the values are codes: whole numbers "
        "that all have a colour in `colours` or in the palette of the raster"
    )
    unit: Text
    "unit of the values (VOUnits)"
    quantity: LocalizedTextValue
    "what the values are, for example Albedo"
    licence: Text
    "name of the licence, for example CC-BY-4.0. Default: the collection's licence"
    licence_url: Text
    "address of the licence text"
    attribution: LocalizedTextValue
    "whom to credit beside the map. Default: the collection's publisher"


def _read_layers(key_value: CollectionKeyValue) -> tuple[MapLayer, ...]:
    """Read ``layers``; layers with errors are left out."""
    if not key_value.collection_context.publishes_files and key_value.value:
        first_name = next(iter(key_value.value))
        message = "layers: the collection publishes no files, so readers could not download the rasters"
        key_value.faults.add_error(message, first_name.place, 'add `files`, for example `files: "maps/*.tif"`')
    layers = []
    for name, fields in key_value.value.items():
        layer_path = f"{key_value.key_path}.{name}"
        if not _NAME_PATTERN.fullmatch(name):
            message = f"{layer_path}: a layer's name is part of addresses"
            key_value.faults.add_error(message, name.place, "use only letters, digits, '_', '.' and '-'")
            continue
        layer = _LayerKeysReader(layer_path, fields, key_value).build_map_layer(str(name))
        if layer is not None:
            layers.append(layer)
    return tuple(layers)


class _LayerKeysReader:
    """Reads the keys of a layer in a descriptor."""

    def __init__(self, layer_path: str, fields: LocatedKeyValues, key_value: CollectionKeyValue) -> None:
        self._layer_path = layer_path
        self._fields = fields
        self._faults = key_value.faults

    def build_map_layer(self, name: str) -> MapLayer | None:
        """Build the layer that the keys describe; None if its rasters are described wrongly."""
        dimensions = self._read_dimensions()
        if dimensions is None:
            return None
        missing_value = self._fields.get("nodata")
        return MapLayer(
            name=name,
            **dimensions,
            **{key: self._read_text(key) for key in _TEXT_KEYS},
            title=self._read_text("title") or name,
            bounds=self._read_ordered_numbers("bounds", 4),
            kind=self._fields.get("kind", "overlay"),
            band=self._fields.get("band"),
            missing_value=None if missing_value is None else float(missing_value),
            colours=tuple(str(text) for text in self._fields.get("colours", ())),
            value_range=self._read_ordered_numbers("range", 2),
            is_smooth=self._fields.get("smooth"),
            place=self._fields.place,
        )

    def _read_text(self, key: str) -> Any:
        """Return a text as it was read, perhaps in several languages; empty without the key."""
        text = self._fields.get(key, "")
        return text if isinstance(text, LocalizedText) else str(text).strip()

    def _read_dimensions(self) -> dict[str, Any] | None:
        """Read the rasters by time or wavelength, and the bands by the other one; None after an error."""
        values_by_dimension = {
            "time": self._read_dimension_values(
                "times", normalize_layer_time, "a time such as 2010-01-31 or 2010-01-31T12:00:00"
            ),
            "wavelength": self._read_dimension_values(
                "wavelengths", format_wavelength, "a number of micrometres, such as 1.08"
            ),
        }
        bands_by_dimension: dict[str, dict[str, int]] = {}
        files_by_dimension: dict[str, dict[str, str]] = {}
        for dimension, values in values_by_dimension.items():
            if values and all(text.isascii() and text.isdigit() for text in values.values()):
                bands_by_dimension[dimension] = {value: int(text) for value, text in values.items()}
            elif values:
                files_by_dimension[dimension] = values
        if "file" in self._fields:
            files_by_dimension["file"] = {"": str(self._fields["file"])}
        if len(files_by_dimension) != 1 or len(bands_by_dimension) > 1:
            message = f"{self._layer_path} must have rasters either in `file`, in `times` or in `wavelengths`"
            remedy = "write the paths of the rasters in only one of these keys, for example `file: PATH`"
            if len(bands_by_dimension) > 1:
                message = f"{self._layer_path} has band numbers both by time and by wavelength"
                remedy = "write the path of a raster for each time, instead of a band number"
            self._faults.add_error(message, self._fields.place, remedy)
            return None
        if bands_by_dimension and ("band" in self._fields or 0 in next(iter(bands_by_dimension.values())).values()):
            message = (
                f"{self._layer_path} has band numbers by time or wavelength, so it cannot have the key `band` or the "
                "band number 0"
            )
            self._faults.add_error(message, self._fields.place, "remove `band`, and count the bands from 1")
            return None
        (file_dimension,) = files_by_dimension
        dimensions: dict[str, Any] = {"files": files_by_dimension[file_dimension], "file_dimension": file_dimension}
        if file_dimension == "file":
            dimensions["file_dimension"] = "wavelength" if "time" in bands_by_dimension else "time"
        for bands in bands_by_dimension.values():
            dimensions["bands"] = bands
        return dimensions

    def _read_dimension_values(
        self, key: str, format_value: Callable[[str], str | None], remedy: str
    ) -> dict[str, str]:
        """Read what a key has for the values of a dimension, in their order."""
        texts = {}
        for name, text in self._fields.get(key, {}).items():
            value = format_value(str(name))
            if value is None:
                message = f"{self._layer_path}.{key}: {str(name)!r} is not a valid value"
                self._faults.add_error(message, name.place, f"write {remedy}")
                continue
            texts[value] = str(text)
        if key == "wavelengths":
            return dict(sorted(texts.items(), key=lambda item: float(item[0])))
        return dict(sorted(texts.items()))

    def _read_ordered_numbers(self, key: str, count: int) -> Any:
        """Read numbers of which each is smaller than the one in the second half that belongs to it."""
        if key not in self._fields:
            return None
        numbers = tuple(float(number) for number in self._fields[key])
        half = count // 2
        pairs = zip(numbers[:half], numbers[half:], strict=False)
        if len(numbers) != count or not all(math.isfinite(n) for n in numbers) or any(a >= b for a, b in pairs):
            remedy = "write [lowest, highest]"
            if count == 4:
                remedy = "write [west, south, east, north], with west < east and south < north"
            message = f"{self._layer_path}.{key} must be {count} numbers in order"
            self._faults.add_error(message, self._fields.places[key], remedy)
            return None
        return numbers


def normalize_layer_time(text: str) -> str | None:
    """Write a time as requests and documents have it: 2010-01-31T00:00:00Z.

    Parameters
    ----------
    text
        ``2010``, ``2010-01``, ``2010-01-31`` or a time of that day; without a zone, it is UTC.

    Returns
    -------
    time
        None if the text is no time.
    """
    completed_text = text.strip()
    if re.fullmatch(r"\d{4}(-\d\d)?", completed_text):
        completed_text += "-01" * (3 - len(completed_text.split("-")))
    try:
        moment = datetime.fromisoformat(completed_text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def format_wavelength(text: str) -> str | None:
    """Format a wavelength as documents have it, from a number of micrometres; None if it is none."""
    try:
        wavelength = float(text)
    except ValueError:
        return None
    return f"{wavelength:.9g}" if 0 < wavelength < math.inf else None


def _find_layer_faults(resource: CollectionSpec, settings: Settings) -> Iterable[Fault]:
    """Find faults of layers that need their rasters; the libraries for these are imported now."""
    try:
        checks = plugins.import_hven_module(CHECKS_MODULE, "the key `layers`")
    except UserError as error:  # the extra is not installed
        place = next((layer.place for layer in resource.extensions[LAYERS_KEY]), TextPlace())
        return [Fault(message=error.message, place=place, remedy=error.remedy)]
    faults: Iterable[Fault] = checks.find_layer_faults(resource, settings)
    return faults


LAYERS = CollectionDescriptorKey(
    value_type=dict[str, LayerSection],
    doc=(
        "rasters of planets and moons that Hven serves as maps (WMS, WMTS, WCS). Choose a name for each "
        "layer, and write the path of its raster"
    ),
    convert_value=_read_layers,
    previous_key="files",
    find_faults=_find_layer_faults,
    reference_sections=(
        KeyReferenceSection(
            "layer",
            "layer",
            parent="collection",
            example="""\
files: "maps/*"
layers:
  viking: {file: maps/viking.tif, kind: background, title: Viking MDIM 2.1}
  olivine:
    file: maps/olivine.tif
    title: {en: Olivine, fr: Olivine}
    description: Spectral index of olivine
    group: Minerals
    body: Mars
    frame: IAU_2015:49900
    bounds: [-180, -90, 180, 90]
    band: 1
    nodata: -9999
    colours: [0 blue, 0.5 white, 1 red]
    range: [0, 1]
    legend: olivine-legend.png
    smooth: true
    unit: ""
    quantity: Spectral index
    licence: CC-BY-4.0
    licence_url: https://creativecommons.org/licenses/by/4.0/
    attribution: IAS, CNES
  thickness: {file: maps/crust.nc, variable: crust_thickness}
  clouds:
    times: {2010-01-01: maps/clouds-2010.tif, 2011-01-01: maps/clouds-2011.tif}
  reflectance: {file: maps/omega.fits, wavelengths: {1.08: 12, 2.35: 96}}
""",
        ),
    ),
)


def _read_frame_aliases(key_value: CollectionKeyValue) -> dict[str, str]:
    return {str(name).upper(): str(frame) for name, frame in key_value.value.items()}


FRAME_ALIASES = CollectionDescriptorKey(
    value_type=dict[str, RetypedText],
    doc=(
        "what the frame names in old addresses mean, for example {CRS:84: IAU_2015:49900}. Without this key, Hven "
        "rejects the names of Earth frames"
    ),
    convert_value=_read_frame_aliases,
    previous_key="layers",
    reference_sections=(
        KeyReferenceSection(
            "frame aliases",
            "collection",
            keys="frame_aliases layers",
            parent="collection",
            example="""\
files: "maps/*.tif"
layers: {viking: maps/viking.tif}
frame_aliases: {"CRS:84": "IAU_2015:49900", "IAU2000:49901": "IAU_2015:49900"}
""",
        ),
    ),
)
