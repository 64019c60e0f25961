"""Read the images of a film on one grid: north up, the Sun in the middle and of one size; and choose their colours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.formats.media import RASTER_NAME_PATTERN, open_product
from hven.model.errors import SourceError, format_message
from hven.plugins.image_regions.solar_headers import build_solar_disc_image
from hven.plugins.previews.pictures.appearance import ColourStretch, find_solar_colour_map
from hven.plugins.previews.pictures.downsampling import read_cell_means
from hven.plugins.previews.pictures.file_pictures import refuse_large_packed_file
from hven.plugins.previews.pictures.image_pictures import choose_drawn_axes
from hven.plugins.previews.pictures.raster_pictures import RASTER_FORMATS, read_raster_image

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from hven.formats.media import Place
    from hven.plugins.image_regions.disc_image import DiscImage

    Numbers = npt.NDArray[np.float64]

HALF_WIDTH_RADII = 1.25  # of the picture, in radii of the Sun
VALUE_PERCENTILES = (1.0, 99.7)
DIFFERENCE_PERCENTILE = 99.0
RUNNING, BASE = "running", "base"
DIFFERENCES = ("", RUNNING, BASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmFrame:
    """An image on the grid of the film.

    Attributes
    ----------
    values
        Shape (size, size), the first row is the top; NaN where the image has no value.
    disc
        The Sun in the image; None if the header does not say where it is.
    wavelength
        Of the channel, in the header's unit (angstrom); 0: unknown.
    """

    values: Numbers
    disc: DiscImage | None
    wavelength: float


def read_film_frame(path: Place, name: str, size: int) -> FilmFrame:
    """Read the first image of a file.

    Parameters
    ----------
    path, name
        The file, and its name for readers.
    size
        Pixels of a side of the film.

    Raises
    ------
    SourceError
        The file has no image, or is damaged.
    """
    refuse_large_packed_file(path, name)
    read_cells = _read_product_cells
    if name.lower().rpartition(".")[2] in RASTER_FORMATS:
        read_cells = _read_raster_cells
    try:
        cells, cards, shape = read_cells(path, name, size)
    except (ValueError, ArithmeticError, LookupError, TypeError, OSError, NotImplementedError) as fault:
        reason = " ".join(str(fault).split())[:200] or type(fault).__name__
        raise SourceError(format_message("{name} cannot be drawn: {reason}", name, reason)) from fault
    disc = build_solar_disc_image(cards)
    is_sun = "HPLN" in str(cards.get("CTYPE1", "")) or "SOLAR" in str(cards.get("CTYPE1", "")).upper()
    fields = [disc.x, disc.y, disc.scale_x, disc.scale_y, disc.radius, disc.lon, disc.lat, disc.roll]
    if not is_sun or not np.isfinite(np.concatenate(fields)).all() or not disc.radius[0] > 0:
        disc = None  # type: ignore[assignment]
    wavelength = cards.get("WAVELNTH")
    return FilmFrame(
        values=_map_cells_to_grid(cells, shape, disc, size),
        disc=disc,
        wavelength=float(wavelength) if isinstance(wavelength, (int, float)) else 0.0,
    )


def _read_product_cells(path: Place, name: str, size: int) -> tuple[Numbers, dict[str, Any], tuple[int, int]]:
    """Return means of cells of the first image, its cards, and its numbers of rows and columns."""
    with open_product(path, name) as product:
        array = next((part for part in product.arrays if len(part.axes) > 1 and part.role == "data"), None)
        if array is None:
            raise SourceError(format_message("{name} has no image", name))
        across, upwards = choose_drawn_axes(array)
        fixed = dict.fromkeys(set(range(len(array.axes))) - {across, upwards}, 0)
        cells, _ = read_cell_means(array, across, upwards, fixed, (size, size))
        cards: dict[str, Any] = {card.keyword: card.value for card in array.cards}
        return cells, cards, (array.shape[upwards], array.shape[across])


def _read_raster_cells(path: Place, name: str, size: int) -> tuple[Numbers, dict[str, Any], tuple[int, int]]:
    """Do the same for a picture; only JPEG 2000 and GeoTIFF have cards, which may be those of a larger original."""
    cards: dict[str, Any] = {}
    if RASTER_NAME_PATTERN.fullmatch(name):
        with open_product(path, name, includes_rasters=True) as product:
            cards = {card.keyword: card.value for part in product.arrays for card in part.cards}
    image, _ = read_raster_image(path, name, size)
    shape = image.height, image.width
    if isinstance(cards.get("NAXIS1"), int) and isinstance(cards.get("NAXIS2"), int):
        shape = cards["NAXIS2"], cards["NAXIS1"]
    image.thumbnail((2 * size, 2 * size))
    return np.asarray(image.convert("L"), np.float64)[::-1], cards, shape  # the first row of a picture is its top


def _map_cells_to_grid(cells: Numbers, shape: tuple[int, int], disc: DiscImage | None, size: int) -> Numbers:
    """Give each pixel of the film the value of the cell of the image below its centre."""
    steps = [extent / count for extent, count in zip(shape, cells.shape, strict=True)]
    places = (np.arange(size) + 0.5) / size
    if disc is None:  # the whole image, undistorted
        extent = max(shape)
        y = (1 - places)[:, None] * extent - (extent - shape[0]) / 2 + np.zeros((1, size)) - 0.5
        x = places[None, :] * extent - (extent - shape[1]) / 2 + np.zeros((size, 1)) - 0.5
    else:
        u = (2 * places[None, :] - 1) * HALF_WIDTH_RADII + np.zeros((size, 1))
        v = (1 - 2 * places[:, None]) * HALF_WIDTH_RADII + np.zeros((1, size))
        x, y = disc.to_pixels(np.zeros(u.shape, np.int64), u, v)
    rows, columns = (np.floor((pixel + 0.5) / step).astype(np.int64) for pixel, step in ((y, steps[0]), (x, steps[1])))
    is_inside = (rows >= 0) & (rows < cells.shape[0]) & (columns >= 0) & (columns < cells.shape[1])
    values = np.full((size, size), np.nan)
    values[is_inside] = cells[rows[is_inside], columns[is_inside]]
    return values


def choose_film_stretch(read_frame: Callable[[int], FilmFrame], count: int, difference: str) -> ColourStretch:
    """Choose the colours of all frames by the first, the middle and the last image.

    Parameters
    ----------
    read_frame
        Reads a frame by its number.
    count
        Number of frames.
    difference
        One of `DIFFERENCES`.
    """
    numbers = sorted({0, count // 2, count - 1})
    frames = {number: read_frame(number) for number in numbers}
    if difference and count > 1:
        others = {number: 0 if difference == BASE else max(number - 1, 0) for number in numbers[1:]}
        pairs = [frames[number].values - read_frame(other).values for number, other in others.items()]
        limit = _compute_percentiles([np.abs(pair) for pair in pairs], (DIFFERENCE_PERCENTILE,))[0] or 1.0
        return ColourStretch("linear", -limit, limit, None, "difference")
    low, high = _compute_percentiles([frame.values for frame in frames.values()], VALUE_PERCENTILES)
    colours = "gray"
    if frames[0].disc is not None:
        colours = find_solar_colour_map(frames[0].wavelength)
    return ColourStretch("asinh", low, high, VALUE_PERCENTILES, colours)


def _compute_percentiles(matrices: Sequence[Numbers], percentages: tuple[float, ...]) -> list[float]:
    values = np.concatenate([matrix[np.isfinite(matrix)] for matrix in matrices])
    if not values.size:
        return [0.0] * len(percentages)
    return [float(value) for value in np.percentile(values, percentages)]
