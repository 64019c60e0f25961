"""Layers of maps as descriptors describe them: which raster, how it is coloured, and what is told of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.errors import TextPlace

LAYERS_KEY, ALIASES_KEY = "layers", "frame_aliases"  # keys of descriptors
OVERVIEWS_FOLDER = "map_overviews"  # in `var`: overviews that Hven makes, by collection


DimensionName = Literal["time", "wavelength"]


class DimensionValues(NamedTuple):
    """Which raster of a layer is requested; empty values stand for the defaults."""

    time: str = ""
    wavelength: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapLayer:
    """A layer of the maps of a body.

    Attributes
    ----------
    name
        Name in requests.
    title, description, group, quantity
        Texts for people, which may be empty except for the title.
    files
        Value of a dimension -> path of the raster in the collection's files; a layer with one file has the value "".
    file_dimension
        The dimension of these values: ``time``, or ``wavelength`` in micrometres.
    bands
        Value of the other dimension -> number of the band in each file; empty: each file has one value.
    body, frame
        Name of the body, and of the frame of the rasters; empty: the files tell it.
    bounds
        West, south, east and north ends of the raster in its frame; None: the files tell it.
    kind
        Whether other layers are drawn above it.
    variable
        Name of the variable of netCDF, or of the extension of FITS; empty: the only one, or the first one.
    band
        Number of the band with the values, from 1; None: the first, or the first three if these are colours.
    missing_value
        Value of pixels without data; None: the files tell it.
    colours
        Colours of values: a name, a file, or stops.
    value_range
        Values that get the first and the last colour; None: those of the stops, or of the raster.
    legend
        Path of a picture that explains the colours, from the directory of the descriptor; empty: Hven draws one.
    is_smooth
        Whether values between pixels are interpolated; None: unless they are codes.
    licence, licence_url, attribution
        Empty: those of the collection.
    place
        Place in the descriptor.
    """

    name: str
    title: str
    files: Mapping[str, str] = field(hash=False)
    file_dimension: DimensionName = "time"
    bands: Mapping[str, int] = field(default_factory=dict, hash=False)
    description: str = ""
    group: str = ""
    quantity: str = ""
    body: str = ""
    frame: str = ""
    bounds: tuple[float, float, float, float] | None = None
    kind: Literal["background", "overlay"] = "overlay"
    variable: str = ""
    band: int | None = None
    missing_value: float | None = None
    colours: tuple[str, ...] = ()
    value_range: tuple[float, float] | None = None
    unit: str = ""
    legend: str = ""
    is_smooth: bool | None = None
    licence: str = ""
    licence_url: str = ""
    attribution: str = ""
    place: TextPlace = field(compare=False)

    @property
    def times(self) -> tuple[str, ...]:
        """Times of its rasters, in order; empty if it has none."""
        return self.list_values("time")

    @property
    def wavelengths(self) -> tuple[str, ...]:
        """Wavelengths of its rasters in micrometres, in order; empty if it has none."""
        return self.list_values("wavelength")

    def list_dimensions(self) -> list[tuple[str, str, tuple[str, ...], str]]:
        """List the name, unit, values and default of each dimension that the layer has."""
        dimensions = (
            ("time", "ISO8601", self.times, self.default_time),
            ("wavelength", "um", self.wavelengths, self.default_wavelength),
        )
        return [dimension for dimension in dimensions if dimension[2]]

    @property
    def default_time(self) -> str:
        """The latest time; empty if it has none."""
        return max(self.times, default="")

    @property
    def default_wavelength(self) -> str:
        """The shortest wavelength; empty if it has none."""
        return next(iter(self.wavelengths), "")

    def list_values(self, dimension: DimensionName) -> tuple[str, ...]:
        """List the values of a dimension in order; empty if the layer has no such dimension."""
        values = self.files if dimension == self.file_dimension else self.bands
        return tuple(value for value in values if value)
