"""Colours of values: named scales, and the stops of GDAL's ``color-relief`` files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import ImageColor

from hven.model.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

NAMED_SCALES = {
    "grey": ("#000000", "#ffffff"),
    "viridis": ("#440154", "#3b528b", "#21918c", "#5ec962", "#fde725"),
    "terrain": ("#2b3f8c", "#3f9fbf", "#3f9f5f", "#d9d08a", "#8a5a3c", "#ffffff"),
    "blue_red": ("#2166ac", "#f7f7f7", "#b2182b"),
}
TABLE_COLOURS = 4096  # equal steps of values, each of which has one colour
MAX_PALETTE_COLOURS = 256  # of PNG
MAX_COLOUR_ERROR = 2  # of 255, by which a channel may differ so that the colours are few enough for a palette
MAX_FILE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class ColourScale:
    """Colours of values, which are interpolated between stops.

    Attributes
    ----------
    values
        Values of the stops, ascending.
    colours
        Red, green, blue and opacity of each stop, 0 to 255.
    are_codes
        Whether each value has the colour of the nearest stop, because the values are codes.
    """

    values: tuple[float, ...]
    colours: tuple[tuple[int, int, int, int], ...]
    are_codes: bool = False

    def build_palette(self) -> NDArray[np.uint8]:
        """Return red, green, blue and opacity of the colours that pixels have, within `MAX_COLOUR_ERROR`.

        The first one is transparent, for pixels without data. There are more than `MAX_PALETTE_COLOURS` if fewer are
        not right enough.
        """
        return _build_palette_and_numbers(self)[0]

    def find_colour_numbers(self, values: NDArray[Any], is_valid: NDArray[np.bool_]) -> NDArray[Any]:
        """Look up the numbers of the colours of values in the palette."""
        _, numbers = _build_palette_and_numbers(self)
        if self.are_codes:
            middles = (np.array(self.values[1:]) + self.values[:-1]) / 2
            found = numbers.take(np.searchsorted(middles, values))
        else:
            low, high = self.values[0], self.values[-1]
            positions = np.where(is_valid, values, low).astype(np.result_type(values.dtype, np.float32), copy=False)
            positions -= low
            positions *= (TABLE_COLOURS - 1) / (high - low)
            np.clip(positions, 0, TABLE_COLOURS - 1, out=positions)
            positions += 0.5
            found = numbers.take(positions.astype(np.intp))
        found[~is_valid] = 0
        return found

    def find_colours(self, values: NDArray[Any], is_valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Look up red, green, blue and opacity of values; invalid ones are transparent."""
        return self.build_palette().take(self.find_colour_numbers(values, is_valid), axis=0)

    def list_colour_stops(self) -> list[tuple[str, float]]:
        """List the stops with their values, as colours of CSS: ``#rrggbb``, or ``#rrggbbaa`` if translucent."""
        names = ["#" + bytes(colour[: 3 if colour[3] == 255 else 4]).hex() for colour in self.colours]
        return list(zip(names, self.values, strict=True))


@lru_cache(maxsize=100)
def _build_palette_and_numbers(scale: ColourScale) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Build the palette of a scale, and the numbers of the colours: of codes, or of equal steps of values."""
    channels = np.array(scale.colours, dtype=float).T
    numbers = np.arange(len(scale.colours))
    if not scale.are_codes:
        values = np.linspace(scale.values[0], scale.values[-1], TABLE_COLOURS)
        channels = np.stack([np.interp(values, scale.values, channel) for channel in channels])
        # along the scale, by the largest change of a channel
        distances = np.insert(np.abs(np.diff(channels)).max(axis=0).cumsum(), 0, 0)
        kept_distances = np.linspace(0, distances[-1], MAX_PALETTE_COLOURS - 1)
        if kept_distances[1] > 2 * MAX_COLOUR_ERROR:
            kept_distances = distances
        channels = np.stack([np.interp(kept_distances, distances, channel) for channel in channels])
        numbers = np.searchsorted((kept_distances[1:] + kept_distances[:-1]) / 2, distances)
    palette = np.vstack([np.zeros(4), np.rint(channels.T)]).astype(np.uint8)
    return palette, (numbers + 1).astype(np.min_scalar_type(len(palette) - 1))


def read_colour_scale(
    texts: Sequence[str], directory: Path, value_range: tuple[float, float] | None, raster_range: tuple[float, float]
) -> ColourScale:
    """Read the colours of a layer.

    Parameters
    ----------
    texts
        Name of a scale, path of a file below `directory`, or lines of such a file.
    directory
        Directory of the descriptor.
    value_range
        Values of the first and the last colour; None: those of the stops, or `raster_range`.
    raster_range
        Range of the raster.

    Raises
    ------
    SourceError
        The colours cannot be read.
    """
    low, high = value_range or raster_range
    name = texts[0] if texts else "grey"
    if len(texts) <= 1 and name in NAMED_SCALES:
        names = NAMED_SCALES[name]
        values = tuple(np.linspace(low, high, len(names)).tolist())
        return ColourScale(values, tuple(_parse_colour([colour]) for colour in names))
    lines: Sequence[str] = texts
    if len(texts) == 1:
        path = (directory / name).resolve()
        if not path.is_relative_to(directory.resolve()) or not path.is_file():
            raise SourceError(
                f"there is no colour scale {name!r}", remedy=f"write {', '.join(NAMED_SCALES)}, or the path of a file"
            )
        with path.open(encoding="utf-8", errors="replace") as file:
            lines = file.read(MAX_FILE_BYTES).splitlines()
    return _parse_colour_stops(lines, raster_range, value_range)


def _parse_colour_stops(
    lines: Sequence[str], raster_range: tuple[float, float], value_range: tuple[float, float] | None
) -> ColourScale:
    """Parse lines ``value red green blue [opacity]`` or ``value name``; 50% is the middle of the raster's range."""
    stops: dict[float, tuple[int, int, int, int]] = {}
    low, high = raster_range
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith("#"):
            continue
        value_text, *colour_words = re.split(r"[\s,:]+", line.strip())
        if not value_text or value_text.lower() in {"nv", "default"}:
            continue
        try:
            if value_text.endswith("%"):
                value = low + (high - low) * float(value_text[:-1]) / 100
            else:
                value = float(value_text)
            stops[value] = _parse_colour(colour_words)
        except (ValueError, IndexError):
            message = f"line {number} of the colour scale cannot be read: {line[:60]!r}"
            raise SourceError(message, remedy="write lines such as `0.2 255 0 0` or `0.2 red`") from None
    if len(stops) < 2:
        raise SourceError("the colour scale needs at least two values", remedy="add lines such as `1 red`")
    values = np.array(sorted(stops))
    colours = tuple(stops[value] for value in sorted(stops))
    if value_range is not None:  # the stops are stretched to the range
        values = np.interp(values, (values[0], values[-1]), value_range)
    return ColourScale(tuple(values.tolist()), colours)


def _parse_colour(words: Sequence[str]) -> tuple[int, int, int, int]:
    """Parse a name, ``#rrggbb``, ``#rrggbbaa``, or three or four numbers from 0 to 255."""
    channels = ImageColor.getrgb(words[0]) if len(words) == 1 else tuple(int(word) for word in words)
    if not all(0 <= channel <= 255 for channel in channels):
        raise ValueError("the numbers of a colour must be from 0 to 255")
    red, green, blue, *opacity = channels
    return red, green, blue, opacity[0] if opacity else 255
