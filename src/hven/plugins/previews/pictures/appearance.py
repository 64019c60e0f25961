"""Define the look of a picture (`PictureStyle`), stretches of values and colours; convert numbers to pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.floating]

PICTURE_SIZE_RANGE = (16, 2048)  # pixels of the longer side of a picture
# black, the usual colour of the channel, white: as images of the Sun are known
_SOLAR_CHANNEL_COLOURS = {
    94: "2f9e4f",
    131: "1fa3a3",
    171: "c99a1b",
    193: "b87a3f",
    195: "4f9e2f",
    211: "9c4fa6",
    284: "c9a51b",
    304: "d2431f",
    335: "3c62d6",
    1600: "a9a93c",
    1700: "cf7f7f",
}
COLOUR_MAPS: dict[str, tuple[str, ...]] = {
    "gray": ("000000", "ffffff"),
    "inverted": ("ffffff", "000000"),
    "viridis": ("440154", "472d7b", "3b528b", "2c728e", "21918c", "28ae80", "5ec962", "addc30", "fde725"),
    "magma": ("000004", "1c1044", "4f127b", "812581", "b5367a", "e55064", "fb8761", "fec287", "fcfdbf"),
    "inferno": ("000004", "1f0c48", "550f6d", "88226a", "ba3655", "e35933", "f98e09", "f9cb35", "fcffa4"),
    "difference": ("2b4fa8", "7fa3d8", "f4f4f4", "e39a7b", "b1262c"),
    **{f"sun{wave}": ("000000", colour, "ffffff") for wave, colour in _SOLAR_CHANNEL_COLOURS.items()},
}
STRETCH_NAMES = ("linear", "sqrt", "log", "asinh")
_MAX_MAP_VALUES = 16  # different values of an image that is a map of numbers
_SKEWED_MEDIAN_SHARE = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureStyle:
    """The look of a picture; what is not set is chosen by the content of the file.

    Attributes
    ----------
    size
        Pixels of the longer side, within `PICTURE_SIZE_RANGE`.
    axes
        Whether the picture has axes, the values of colours and a line that describes it.
    stretch
        One of `STRETCH_NAMES`.
    percentile
        Percentages of values that become the first and the last colour.
    colours
        One of `COLOUR_MAPS`.
    part
        Index or name of the part that is shown.
    plane
        Plane of a cube, from 1; None: the mean of some.
    show
        For OIFITS: ``vis2``, ``t3phi``, ``uv``, ``transfer``; for cubes ``spectrum``.
    diameters
        Diameters of the calibrators of a transfer function, mas, in the order of `stars`, else of the files and their
        targets. Those that are missing are points.
    stars
        Names of these calibrators; empty: all targets of the files, except those that a file calls no calibrator.
    without
        Frequencies in MHz, each as low, high, that are never chosen by default.
    note
        Licence and credit.
    """

    size: int = 800
    axes: bool = True
    stretch: str = ""
    percentile: tuple[float, float] | None = None
    colours: str = ""
    part: str | None = None
    plane: int | None = None
    show: str = ""
    diameters: tuple[float, ...] = ()
    stars: tuple[str, ...] = ()
    without: tuple[tuple[float, float], ...] = ()
    note: str = ""


@dataclass(slots=True)
class ColourStretch:
    """The conversion of values to colours.

    Attributes
    ----------
    low, high
        Values of the first and the last colour.
    percentile
        Percentages of values at `low` and `high`; None: the smallest and the largest value, or symmetric around 0.
    """

    name: str
    low: float
    high: float
    percentile: tuple[float, float] | None = None
    colour_map: str = "gray"

    @property
    def description(self) -> str:
        """The stretch in words."""
        if self.percentile is None:
            range_text = "from smallest to largest"
        else:
            range_text = "{:g} to {:g} %".format(*self.percentile)
        return f"{self.name}, {range_text}, {self.colour_map}"

    def scale_to_unit(self, values: Numbers) -> Numbers:
        """Return the positions of values between the first (0) and the last colour (1)."""
        if not self.high > self.low:
            return np.where(np.isfinite(values), 0.5, np.nan)
        share = (values - self.low) / (self.high - self.low)
        x = np.clip(share, 0.0, 1.0)
        if self.name == "sqrt":
            x = np.sqrt(x)
        if self.name == "log":
            x = np.log1p(1000.0 * x) / np.log1p(1000.0)
        if self.name == "asinh":
            x = np.arcsinh(10.0 * x) / np.arcsinh(10.0)
        return np.asarray(x)

    def to_rgba(self, values: Numbers) -> npt.NDArray[np.uint8]:
        """Return colours, shape (.., 4); missing values are transparent."""
        share = self.scale_to_unit(values)
        is_known = np.isfinite(share)
        colour_positions = np.where(is_known, share * 255.0 + 0.5, 0.0)
        colour_numbers = colour_positions.astype(np.uint8)
        colours = np.empty((*colour_numbers.shape, 4), np.uint8)
        colour_ramp = build_colour_ramp(self.colour_map)
        colours[..., :3] = colour_ramp[colour_numbers]
        colours[..., 3] = is_known * np.uint8(255)
        return colours


@cache
def build_colour_ramp(colour_map: str) -> npt.NDArray[np.uint8]:
    """Build the 256 colours of a colour map.

    Parameters
    ----------
    colour_map
        Name in `COLOUR_MAPS`.
    """
    anchor_colours = [list(bytes.fromhex(colour)) for colour in COLOUR_MAPS[colour_map]]
    anchors = np.array(anchor_colours, np.float64)
    anchor_positions = np.linspace(0.0, 255.0, len(anchors))
    positions = np.arange(256)
    channels = [np.interp(positions, anchor_positions, anchors[:, channel]) + 0.5 for channel in range(3)]
    return np.stack(channels, 1).astype(np.uint8)


def choose_stretch(
    values: Numbers, look: PictureStyle, default_colour_map: str = "gray", *, is_integer: bool = False
) -> ColourStretch:
    """Choose how values become colours.

    Parameters
    ----------
    values
        Values that are shown; those that are not finite are missing.
    look
        The requested look.
    default_colour_map
        Colour map of this kind of image, if none is requested.
    is_integer
        Whether the values are integers, which may be those of a map of numbers.
    """
    finite_values = values[np.isfinite(values)]
    if not len(finite_values):
        return ColourStretch("linear", 0.0, 0.0, None, look.colours or default_colour_map)
    lowest = float(finite_values.min())
    highest = float(finite_values.max())
    has_few_values = highest - lowest < 256 and len(np.unique(finite_values)) <= _MAX_MAP_VALUES
    is_number_map = is_integer and look.percentile is None and has_few_values
    if is_number_map:
        percentile = None
        low, high = lowest, highest
    else:
        percentile = look.percentile or (0.5, 99.5)
        low, high = map(float, np.percentile(finite_values, percentile))
    if not high > low and look.percentile is None:
        low = lowest
        high = highest
        percentile = None
    middle = float(np.median(finite_values))
    longer_side, shorter_side = max(-low, high), min(-low, high)
    has_both_signs = low < 0.0 < high and shorter_side > 0.3 * longer_side
    is_symmetric = has_both_signs and abs(middle) < 0.2 * longer_side
    if is_symmetric and look.percentile is None and not look.stretch:
        # fields and velocities: zero has the colour in the middle
        high = longer_side
        low = -high
    is_skewed = False
    if not is_number_map and not is_symmetric and high > low:
        is_skewed = (middle - low) / (high - low) < _SKEWED_MEDIAN_SHARE
    default_stretch = "asinh" if is_skewed else "linear"
    name = look.stretch or default_stretch
    return ColourStretch(name, low, high, percentile, look.colours or default_colour_map)


def find_solar_colour_map(wavelength_angstrom: float) -> str:
    """Find the colours in which a channel of the Sun is known.

    Parameters
    ----------
    wavelength_angstrom
        Wavelength of the channel in angstrom.
    """
    nearest = min(_SOLAR_CHANNEL_COLOURS, key=lambda channel: abs(channel - wavelength_angstrom))
    if abs(nearest - wavelength_angstrom) <= 2:
        return f"sun{nearest}"
    return "gray"
