"""Draw images with north up, axes with coordinates and colours with values; of cubes draw a plane or a mean."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.model.errors import SourceError
from hven.plugins.previews.pictures.appearance import ColourStretch, choose_stretch, find_solar_colour_map
from hven.plugins.previews.pictures.canvas import (
    MINUS_SIGN,
    AxisTicks,
    PictureCanvas,
    PlotFrame,
    choose_ticks,
    encode_png,
    format_mjd,
)
from hven.plugins.previews.pictures.downsampling import MAX_READ_VALUES, read_cell_means

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

    import numpy.typing as npt

    from hven.formats.media import ArrayPart, Axis
    from hven.model.sky import footprints
    from hven.plugins.previews.pictures.appearance import PictureStyle

    Numbers = npt.NDArray[np.float64]
    Way = tuple[Literal[0, 1], bool]  # which axis (0: the one drawn across), and whether it runs backwards

MAX_AVERAGED_PLANES = 16  # of a cube
_MAX_ASPECT_RATIO = 4.0  # width to height; flatter images are stretched
_COORDINATE_NAMES = {
    "RA": "right ascension",
    "DEC": "declination",
    "GLON": "galactic longitude",
    "GLAT": "galactic latitude",
    "ELON": "ecliptic longitude",
    "ELAT": "ecliptic latitude",
}
_SOLAR_AXIS_NAMES = ("solar x", "solar y")


def choose_drawn_axes(array: ArrayPart) -> tuple[int, int]:
    """Choose the axes that are drawn across and upwards, counted from the slowest."""
    kinds = [axis.kind for axis in array.axes]
    if "longitude" in kinds and "latitude" in kinds:
        x = kinds.index("longitude")
        y = kinds.index("latitude")
        if x > y:
            return (x, y)
        return (max(x, y), min(x, y))
    long_axes = [axis_number for axis_number, axis in enumerate(array.axes) if axis.size > 1]
    if len(long_axes) >= 2:
        candidates = long_axes
    else:
        candidates = list(range(len(array.axes)))
    last_axes = candidates[-2:]
    return last_axes[1], last_axes[0]


def read_axis_values(axis: Axis) -> npt.NDArray[Any] | None:
    """Read the values along an axis; return None if they are unknown, or cannot be read."""
    try:
        if axis.read_values is None:
            return None
        return axis.read_values()
    except SourceError:
        return None


def read_drawn_values(
    array: ArrayPart, drawn_axes: tuple[int, int], look: PictureStyle, cells: tuple[int, int]
) -> tuple[Numbers, str]:
    """Read the drawn values of an image or a cube, and describe them."""
    other_axes = [axis_number for axis_number in range(len(array.axes)) if axis_number not in drawn_axes]
    fixed = dict.fromkeys(other_axes, 0)
    long_axes = [axis_number for axis_number in other_axes if array.axes[axis_number].size > 1]
    polarization_axes = [axis_number for axis_number in long_axes if array.axes[axis_number].kind == "polarization"]
    depth_axes = [axis_number for axis_number in long_axes if axis_number not in polarization_axes]
    depth_axis = next(iter(depth_axes), None)
    description_parts = [
        f"polarization {_format_axis_value(array, axis_number, 0)}" for axis_number in polarization_axes
    ]
    description_parts += [f"first of {array.axes[axis_number].size}" for axis_number in depth_axes[1:]]
    if depth_axis is None:
        values, is_complete = read_cell_means(array, *drawn_axes, fixed, cells)
        if not is_complete:
            description_parts.append("of a part of its pixels")
        return values, ", ".join(description_parts)
    count = array.axes[depth_axis].size
    if look.plane is not None or _has_distinct_planes(array, depth_axis):
        plane = min(look.plane or _choose_highest_frequency_plane(array, depth_axis, look), count) - 1
        values, _ = read_cell_means(array, *drawn_axes, {**fixed, depth_axis: plane}, cells)
        value = _format_axis_value(array, depth_axis, plane)
        plane_text = f"plane {plane + 1} of {count}"
        if value:
            plane_text += f" ({value})"
        return values, ", ".join([*description_parts, plane_text])
    averaged_count = min(MAX_AVERAGED_PLANES, count)
    plane_numbers = np.unique(np.linspace(0, count - 1, averaged_count).round().astype(int))
    value_limit = MAX_READ_VALUES // len(plane_numbers)
    total = np.zeros(1)
    value_counts = np.zeros(1)
    for plane in plane_numbers:
        plane_pixels = {**fixed, depth_axis: int(plane)}
        values, _ = read_cell_means(array, *drawn_axes, plane_pixels, cells, value_limit=value_limit)
        total = total + np.nan_to_num(values)
        value_counts = value_counts + np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.asarray(total / value_counts)
    return mean, ", ".join([*description_parts, f"mean of {len(plane_numbers)} of {count} planes"])


def _has_distinct_planes(array: ArrayPart, depth_axis: int) -> bool:
    """Return whether planes are separate images: of times, or of frequencies far apart."""
    axis = array.axes[depth_axis]
    if axis.kind == "time":
        return True
    if axis.kind == "spectral" and axis.size <= MAX_AVERAGED_PLANES:
        values = read_axis_values(axis)
    else:
        values = None
    if values is None:
        wavelengths = np.empty(0)
    else:
        wavelengths = np.asarray(values, np.float64)
    if len(wavelengths) < 2 or not np.nanmin(wavelengths) > 0:
        return False
    return bool(np.nanmax(wavelengths) / np.nanmin(wavelengths) > 1.2)


def _choose_highest_frequency_plane(array: ArrayPart, depth_axis: int, look: PictureStyle) -> int:
    """Choose the plane, from 1, of the highest frequency that is not left out; or else the one in the middle."""
    axis = array.axes[depth_axis]
    middle = (axis.size + 1) // 2
    if axis.kind == "spectral":
        values = read_axis_values(axis)
    else:
        values = None
    if values is None:
        return middle
    wavelengths = np.asarray(values, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        frequencies = 299.792458 / wavelengths  # MHz
    is_allowed = np.isfinite(frequencies)
    for low, high in look.without:
        is_left_out = (frequencies >= low * (1 - 1e-6)) & (frequencies <= high * (1 + 1e-6))
        is_allowed &= ~is_left_out
    if is_allowed.any():
        allowed_frequencies = np.where(is_allowed, frequencies, -np.inf)
        return int(np.argmax(allowed_frequencies)) + 1
    return middle


def _format_axis_value(array: ArrayPart, axis_number: int, pixel: int) -> str:
    axis = array.axes[axis_number]
    values = read_axis_values(axis)
    if values is None or pixel >= len(values):
        return ""
    value = values[pixel]
    if axis.kind == "spectral":
        return format_spectral_position(float(value))
    if axis.kind == "time":
        return format_mjd(float(value))
    if isinstance(value, str):
        return str(value)
    return f"{value:.6g} {axis.unit or ''}".strip()


def format_spectral_position(metres: float) -> str:
    """Format a wavelength in the unit of its field: MHz, mm, µm, nm."""
    if not np.isfinite(metres) or metres <= 0:
        return ""
    if metres >= 3e-4:
        hertz = 299_792_458.0 / metres
        if hertz >= 1e9:
            return f"{hertz / 1e9:.5g} GHz"
        return f"{hertz / 1e6:.5g} MHz"
    if metres >= 1e-6:
        return f"{metres * 1e6:.5g} µm"
    return f"{metres * 1e9:.5g} nm"


class _PictureOrientation:
    """The positions of the pixels of an image, and its orientation."""

    def __init__(self, array: ArrayPart, drawn_axes: tuple[int, int]) -> None:
        self.sky_mapping: footprints.ImageWcs | None = None
        self.orientation: tuple[Way, Way] = ((0, False), (1, False))  # to the right, upwards
        self.sizes = array.axes[drawn_axes[0]].size, array.axes[drawn_axes[1]].size
        if array.create_sky_mapping is None or {array.axes[at].kind for at in drawn_axes} != {"longitude", "latitude"}:
            return
        try:
            self.sky_mapping = array.create_sky_mapping()
        except Exception:  # noqa: BLE001  (wcslib has a class for each of its faults, of no common kind)
            return
        if self.sky_mapping is not None:
            self._find_orientation(self.sky_mapping)

    def _find_orientation(self, sky_mapping: footprints.ImageWcs) -> None:
        middle = (np.array(self.sizes, np.float64) + 1.0) / 2.0
        offsets = np.array([[0.0, 0.0], [0.5, 0.0], [0.0, 0.5]])
        lon, lat = self.compute_sky_coordinates(middle + offsets)
        if not np.isfinite([lon, lat]).all():
            return
        east = (lon[1:] - lon[0] + 180.0) % 360.0 - 180.0
        north = lat[1:] - lat[0]
        east = east * np.cos(np.radians(lat[0]))
        if sky_mapping.west_positive:
            east = -east
        up: Literal[0, 1] = 1 if abs(north[1]) >= abs(north[0]) else 0
        right: Literal[0, 1] = 0 if up else 1
        side = east[right]
        if sky_mapping.image_axes.kind == "sky":  # seen from inside, east is left
            side = -side
        self.orientation = ((right, bool(side < 0)), (up, bool(north[up] < 0)))

    @property
    def is_reoriented(self) -> bool:
        return self.orientation != ((0, False), (1, False))

    @property
    def size(self) -> tuple[int, int]:
        """Size of the image across and upwards, as it is drawn."""
        (across, _), (up, _) = self.orientation
        return self.sizes[across], self.sizes[up]

    def orient_values(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Turn values, whose first row is the lowest, into a picture, whose first row is the highest."""
        (right, is_mirrored), (_, is_flipped) = self.orientation
        if right != 0:
            values = values.swapaxes(0, 1)
        if is_mirrored:
            values = values[:, ::-1]
        if is_flipped:
            return values
        return values[::-1]

    def compute_image_pixels(self, across: Numbers, up: Numbers) -> Numbers:
        """Return pixels, from 1, of places on the picture.

        Places are shares of its width and height from the lower left corner.
        """
        pixel_positions = np.empty((len(across), 2))
        for (axis, is_backwards), share in zip(self.orientation, (across, up), strict=True):
            forward_share = 1.0 - share if is_backwards else share
            pixel_positions[:, axis] = 0.5 + self.sizes[axis] * forward_share
        return pixel_positions

    def compute_sky_coordinates(self, pixels: Numbers) -> tuple[Numbers, Numbers]:
        """Return longitudes and latitudes as in the header, degrees."""
        wcs = self.sky_mapping.wcs  # type: ignore[union-attr]  # asked only where there is one
        world = wcs.all_pix2world(pixels, 1)
        return world[:, wcs.wcs.lng], world[:, wcs.wcs.lat]

    def create_edge_ticks(self, edge_number: int) -> AxisTicks | None:
        """Create ticks of longitude or latitude for the lower (0) or left edge (1); None if they are unknown there."""
        if self.sky_mapping is None:
            return None
        share = np.linspace(0.0, 1.0, 257)
        values = self._find_edge_values(edge_number, share)
        if values is None:
            return None
        factor = 1.0
        if self.sky_mapping.image_axes.kind == "disc":
            factor = 3600.0
        if edge_number == 0 and factor > 1:
            values = values - 360.0 * round(float(np.nanmean(values)) / 360.0)
        values = values * factor
        marks = choose_ticks(float(np.nanmin(values)), float(np.nanmax(values)), 6)
        wraps = edge_number == 0 and factor == 1.0 and not marks.axis_note
        places = []
        words = []
        for tick, label in zip(marks.positions, marks.labels, strict=True):
            side = np.sign(values - tick)
            with np.errstate(invalid="ignore"):
                products = side[1:] * side[:-1]
                crossing = np.flatnonzero((products <= 0) & np.isfinite(products))
            if not len(crossing):
                continue
            cell = int(crossing[0])
            step = float(values[cell + 1] - values[cell])
            beyond = 0.0
            if step:
                beyond = float(tick - values[cell]) / step
            places.append(float(share[cell]) + float(share[1]) * beyond)
            if wraps and not 0 <= tick < 360:
                label = f"{tick % 360.0:g}"  # noqa: PLW2901  (the same longitude)
            words.append(label)
        return AxisTicks(tuple(places), tuple(words), marks.axis_note)

    def _find_edge_values(self, edge_number: int, share: Numbers) -> Numbers | None:
        """Find longitudes or latitudes along an edge, or along a middle line for maps of the whole sky."""
        for offset in (np.zeros(len(share)), np.full(len(share), 0.5)):
            if edge_number == 0:
                places = (share, offset)
            else:
                places = (offset, share)
            lon, lat = self.compute_sky_coordinates(self.compute_image_pixels(*places))
            is_known = np.isfinite(lon) & np.isfinite(lat)
            if is_known.mean() > 0.9:
                if edge_number == 0:
                    return np.unwrap(lon, period=360.0)
                return lat
        if is_known.sum() < 20:
            return None
        if edge_number != 0:
            return np.array(lat)
        values = np.full(len(share), np.nan)
        values[is_known] = np.unwrap(lon[is_known], period=360.0)
        return values

    def name_axes(self) -> tuple[str, str]:
        """Return the names of the axes."""
        if self.sky_mapping is None:
            return "pixel", "pixel"
        if self.sky_mapping.image_axes.kind == "disc":
            return f"{_SOLAR_AXIS_NAMES[0]} (arcsec)", f"{_SOLAR_AXIS_NAMES[1]} (arcsec)"
        wcs = self.sky_mapping.wcs.wcs
        longitude_word = re.split(r"-+", str(wcs.ctype[wcs.lng]))[0]
        latitude_word = re.split(r"-+", str(wcs.ctype[wcs.lat]))[0]
        longitude_name = _COORDINATE_NAMES.get(longitude_word, "longitude")
        latitude_name = _COORDINATE_NAMES.get(latitude_word, "latitude")
        return f"{longitude_name} (°)", f"{latitude_name} (°)"


def draw_image(array: ArrayPart, look: PictureStyle, title: str, facts: Mapping[str, Any]) -> tuple[bytes, str]:
    """Draw an image.

    Parameters
    ----------
    array
        Array of two axes or more.
    look
        Requested look.
    title
        Title above the image.
    facts
        Cards of the header.

    Returns
    -------
    png, words
        PNG, and what it shows.
    """
    from PIL import Image  # noqa: PLC0415  (only pictures need it)

    drawn_axes = choose_drawn_axes(array)
    mapping = _PictureOrientation(array, drawn_axes)
    width, height = mapping.size
    cells = np.minimum(mapping.sizes, look.size)
    values, plane_text = read_drawn_values(array, drawn_axes, look, (int(cells[0]), int(cells[1])))
    is_integer = array.dtype.kind in "iu"
    stretch = choose_stretch(values, look, _choose_colour_map(facts), is_integer=is_integer)
    if array.role == "error" and not look.colours:
        stretch = replace(stretch, colour_map="magma")
    if np.isfinite(values).any():
        description = _describe_image(array, stretch, plane_text, mapping)
    else:
        description = _describe_image(array, replace(stretch, name="no values"), plane_text, mapping)
    pixels = mapping.orient_values(stretch.to_rgba(values))
    limited = np.clip(width / max(1, height), 1 / _MAX_ASPECT_RATIO, _MAX_ASPECT_RATIO)
    notes = {"Title": title, "Description": description, "Copyright": look.note, "Software": "Hven"}
    image = Image.fromarray(np.ascontiguousarray(pixels), "RGBA")
    is_number_map = is_integer and len(np.unique(values[np.isfinite(values)])) <= 16
    if not look.axes:
        if limited >= 1:
            size = (look.size, round(look.size / limited))
        else:
            size = (round(look.size * limited), look.size)
        image = _scale_image(image, size, is_number_map=is_number_map)
        if image.getextrema()[3][0] == 255:
            image = image.convert("RGB")
        return encode_png(image, notes), description
    sheet, frame = _create_image_canvas(look, float(limited))
    inner = frame.width, frame.height
    paper = Image.new("RGBA", inner, (236, 238, 241, 255))
    paper.alpha_composite(_scale_image(image, inner, is_number_map=is_number_map))
    sheet.image.paste(paper.convert("RGB"), frame.box[:2])
    edge_ticks = [mapping.create_edge_ticks(0), mapping.create_edge_ticks(1)]
    if edge_ticks[0] is None or edge_ticks[1] is None:
        edge_ticks = [_create_pixel_ticks(width, inner[0], sheet), _create_pixel_ticks(height, inner[1], sheet)]
        names = ("pixel", "pixel")
    else:
        names = mapping.name_axes()
    frame.draw_axes(names, edge_ticks[0], edge_ticks[1], has_outward_ticks=True)
    _draw_colour_bar(sheet, frame, stretch, values, array.unit or "")
    draw_captions(sheet, frame.box, title, description, look.note)
    return sheet.to_png(notes), description


def _create_pixel_ticks(size: int, axis_pixels: int, sheet: PictureCanvas) -> AxisTicks:
    tick_limit = max(2, int(axis_pixels / (7 * sheet.letter_pixels)))
    marks = choose_ticks(0.5, size + 0.5, tick_limit)
    positions = []
    labels = []
    for tick, label in zip(marks.positions, marks.labels, strict=True):
        if tick == int(tick):
            positions.append((tick - 0.5) / size)
            labels.append(label)
    return AxisTicks(tuple(positions), tuple(labels), marks.axis_note)


def _describe_image(array: ArrayPart, stretch: ColourStretch, plane_text: str, mapping: _PictureOrientation) -> str:
    part = f"part {array.index} {array.name}".strip()
    if array.role == "data":
        role = ""
    else:
        role = array.role
    orientation_text = "turned so that north is up" if mapping.is_reoriented else ""
    texts = (part, role, plane_text, stretch.description, orientation_text)
    return ", ".join(text for text in texts if text)


def _choose_colour_map(facts: Mapping[str, Any]) -> str:
    wavelength = facts.get("WAVELNTH")
    instrument_text = f"{facts.get('TELESCOP')} {facts.get('INSTRUME')} {facts.get('OBSRVTRY')}"
    is_solar = re.search(r"(?i)\b(SDO|AIA|SOHO|EIT|STEREO|SECCHI|EUVI|PROBA2|SWAP)", instrument_text)
    if isinstance(wavelength, int | float) and is_solar:
        return find_solar_colour_map(float(wavelength))
    return "gray"


def _scale_image(image: Any, size: tuple[int, int], *, is_number_map: bool = False) -> Any:
    from PIL import Image  # noqa: PLC0415  (loaded already)

    size = (max(1, size[0]), max(1, size[1]))
    if image.size == size:
        return image
    larger = size[0] >= image.width and size[1] >= image.height
    magnification = min(size[0] / image.width, size[1] / image.height)
    has_blocks = is_number_map or magnification >= 8
    if has_blocks and larger:
        resampling = Image.Resampling.NEAREST
    elif larger:
        resampling = Image.Resampling.BICUBIC
    else:
        resampling = Image.Resampling.BOX
    return image.resize(size, resampling)


def format_number(value: float) -> str:
    """Format a value in three digits."""
    size = abs(value)
    if 100 <= size < 1e6:
        text = f"{value:.0f}"
    else:
        text = f"{value:.3g}"
    return text.replace("-", MINUS_SIGN)


def _create_image_canvas(look: PictureStyle, ratio: float) -> tuple[PictureCanvas, PlotFrame]:
    """Create a canvas with the requested longer side, and a frame of the shape of the image."""
    letters = int(np.clip(look.size / 52, 9, 20))
    left = int(6.6 * letters)
    right = int(7.8 * letters)
    top = int(2.6 * letters)
    bottom = int(7.6 * letters)
    width = look.size - left - right
    height = look.size - top - bottom
    if ratio > width / height:
        height = round(width / ratio)
    else:
        width = round(height * ratio)
    width = max(width, 1)
    height = max(height, 1)
    sheet_width = max(width + left + right, int(20 * letters))
    sheet = PictureCanvas(sheet_width, height + top + bottom)
    sheet.letter_pixels = letters
    box = (left, top, left + width, top + height)
    return sheet, PlotFrame(sheet, box, (0.0, 1.0), (0.0, 1.0))


def _draw_colour_bar(
    sheet: PictureCanvas, frame: PlotFrame, stretch: ColourStretch, values: Numbers, unit: str
) -> None:
    """Draw the colours with their values."""
    from PIL import Image  # noqa: PLC0415  (loaded already)

    if not np.isfinite(values).any() or not stretch.high > stretch.low:
        return
    _, top, right, bottom = frame.box
    size = sheet.letter_pixels
    left = right + size
    wide = max(6, size)
    from_low = np.linspace(stretch.high, stretch.low, max(2, bottom - top))
    strip = stretch.to_rgba(from_low)[:, None, :3].repeat(wide, 1)
    strip_image = Image.fromarray(np.ascontiguousarray(strip), "RGB")
    sheet.image.paste(strip_image, (left, top))
    sheet.pen.rectangle([left, top, left + wide, bottom], outline=(105, 112, 122))
    label_count = max(3, int((bottom - top) / (4.5 * size)))
    places = np.linspace(0.0, 1.0, label_count)
    shares = stretch.scale_to_unit(from_low)
    last_label_y = np.inf
    for share in places:
        row = int(np.argmin(np.abs(shares - share)))
        y = top + row
        if y < last_label_y - 1.3 * size:
            tick = [(left + wide, y), (left + wide + 3, y)]
            sheet.pen.line(tick, fill=(38, 42, 48))
            label = format_number(float(from_low[row]))
            sheet.draw_text((left + wide + 5, y), label, "lm", max(8, size - 1))
            last_label_y = y
    if unit:
        unit_text = sheet.shorten_text(unit, 5 * size)
        sheet.draw_text((left + wide / 2, top - 3), unit_text, "md", max(8, size - 1))


def draw_captions(
    sheet: PictureCanvas, box: tuple[int, int, int, int], title: str, description: str, note: str
) -> None:
    """Draw a title above, and a description and a note below."""
    size = sheet.letter_pixels
    width = sheet.size[0]
    shortened_title = sheet.shorten_text(title, width - box[0] - 7 * size, size + 1)
    sheet.draw_text((box[0], box[1] - 0.9 * size), shortened_title, "ls", size + 1)
    small = max(8, size - 2)
    rows = [sheet.shorten_text(caption, width - 12, small) for caption in (description, note)]
    for row, text in enumerate(rows):
        y = sheet.size[1] - (1.0 + 1.4 * (1 - row)) * small
        sheet.draw_text((6, y), text, "lm", small, (105, 112, 122))
