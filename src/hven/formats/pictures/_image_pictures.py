"""Pictures of images: north up where the header tells where it is, axes with their coordinates, colours with their values; of cubes a plane or a mean."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hven.formats.pictures._appearance import Stretch, of_channel, stretched
from hven.formats.pictures._sheet import MINUS, Frame, Sheet, Ticks, moment, packed, ticks
from hven.formats.pictures._thinning import MOST, thinned
from hven.model.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

    import numpy.typing as npt

    from hven.formats.media import Array, Axis
    from hven.formats.pictures._appearance import Look
    from hven.model.sky import footprints

    Numbers = npt.NDArray[np.float64]
    Way = tuple[Literal[0, 1], bool]  # which axis (0: the one drawn across), and whether it runs backwards

PLANES = 16  # of a cube that are averaged
_FLAT = 4.0  # times as wide as high: what is flatter is stretched
_NAMES = {"RA": "right ascension", "DEC": "declination", "GLON": "galactic longitude", "GLAT": "galactic latitude", "ELON": "ecliptic longitude", "ELAT": "ecliptic latitude"}  # fmt: skip
_DISC = ("solar x", "solar y")


def axes_of(array: Array) -> tuple[int, int]:
    """Return which axes are drawn across and upwards, in the order of C."""
    kinds = [axis.kind for axis in array.axes]
    if "longitude" in kinds and "latitude" in kinds:
        x, y = kinds.index("longitude"), kinds.index("latitude")
        return (x, y) if x > y else (max(x, y), min(x, y))
    long = [at for at, axis in enumerate(array.axes) if axis.size > 1]
    last = (long if len(long) >= 2 else list(range(len(array.axes))))[-2:]
    return last[1], last[0]


def meant(axis: Axis) -> npt.NDArray[Any] | None:
    """Return what an axis' pixels stand for; None: its file does not say it, or not so that it could be read."""
    try:
        return None if axis.values is None else axis.values()
    except SourceError:
        return None


def planes(array: Array, shown: tuple[int, int], look: Look, cells: tuple[int, int]) -> tuple[Numbers, str]:
    """Read what is drawn of an image or a cube, and say what it is."""
    others = [at for at in range(len(array.axes)) if at not in shown]
    fixed = dict.fromkeys(others, 0)
    long = [at for at in others if array.axes[at].size > 1]
    depth = next((at for at in long if array.axes[at].kind != "polarization"), None)
    said = [f"polarization {_value(array, at, 0)}" for at in long if array.axes[at].kind == "polarization"]
    said += [f"first of {array.axes[at].size}" for at in long if at != depth and array.axes[at].kind != "polarization"]
    if depth is None:
        values, whole = thinned(array, *shown, fixed, cells)
        return values, ", ".join([*said, *([] if whole else ["of a part of its pixels"])])
    count = array.axes[depth].size
    if look.plane is not None or _unlike(array, depth):
        plane = min(look.plane or _chosen(array, depth, look), count) - 1
        values, _ = thinned(array, *shown, {**fixed, depth: plane}, cells)
        value = _value(array, depth, plane)
        return values, ", ".join([*said, f"plane {plane + 1} of {count}" + (f" ({value})" if value else "")])
    taken = np.unique(np.linspace(0, count - 1, min(PLANES, count)).round().astype(int))
    total, known = np.zeros(1), np.zeros(1)
    for plane in taken:
        values, _ = thinned(array, *shown, {**fixed, depth: int(plane)}, cells, MOST // len(taken))
        total, known = total + np.nan_to_num(values), known + np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.asarray(total / known)
    return mean, ", ".join([*said, f"mean of {len(taken)} of {count} planes"])


def _unlike(array: Array, depth: int) -> bool:
    """Return whether planes are images of their own: of times, of frequencies far apart."""
    axis = array.axes[depth]
    if axis.kind == "time":
        return True
    values = meant(axis) if axis.kind == "spectral" and axis.size <= PLANES else None
    known = np.empty(0) if values is None else np.asarray(values, np.float64)
    return len(known) > 1 and bool(np.nanmin(known) > 0 and np.nanmax(known) / np.nanmin(known) > 1.2)


def _chosen(array: Array, depth: int, look: Look) -> int:
    """Return the plane, from 1, of the highest frequency that is not left out; else the one in the middle."""
    axis = array.axes[depth]
    middle = (axis.size + 1) // 2
    values = meant(axis) if axis.kind == "spectral" else None
    if values is None:
        return middle
    waves = np.asarray(values, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        frequencies = 299.792458 / waves  # MHz
    taken = np.isfinite(frequencies)
    for low, high in look.without:
        taken &= ~((frequencies >= low * (1 - 1e-6)) & (frequencies <= high * (1 + 1e-6)))
    return int(np.argmax(np.where(taken, frequencies, -np.inf))) + 1 if taken.any() else middle


def _value(array: Array, at: int, pixel: int) -> str:
    axis = array.axes[at]
    values = meant(axis)
    if values is None or pixel >= len(values):
        return ""
    value = values[pixel]
    if axis.kind == "spectral":
        return wave(float(value))
    if axis.kind == "time":
        return moment(float(value))
    return str(value) if isinstance(value, str) else f"{value:.6g} {axis.unit or ''}".strip()


def wave(metres: float) -> str:
    """Write a wavelength as its field does: MHz, mm, µm, nm."""
    if not np.isfinite(metres) or metres <= 0:
        return ""
    if metres >= 3e-4:
        hertz = 299_792_458.0 / metres
        return f"{hertz / 1e9:.5g} GHz" if hertz >= 1e9 else f"{hertz / 1e6:.5g} MHz"
    return f"{metres * 1e6:.5g} µm" if metres >= 1e-6 else f"{metres * 1e9:.5g} nm"


class _Map:
    """Where an image's pixels are, and how it is turned."""

    def __init__(self, array: Array, shown: tuple[int, int]) -> None:
        self.places: footprints.Places | None = None
        self.ways: tuple[Way, Way] = ((0, False), (1, False))  # to the right, upwards
        self.sizes = array.axes[shown[0]].size, array.axes[shown[1]].size
        if array.places is None or {array.axes[at].kind for at in shown} != {"longitude", "latitude"}:
            return
        try:
            self.places = array.places()
        except Exception:  # noqa: BLE001  (wcslib has a class for each of its faults, of no common kind)
            return
        if self.places is not None:
            self._turn(self.places)

    def _turn(self, places: footprints.Places) -> None:
        middle = (np.array(self.sizes, np.float64) + 1.0) / 2.0
        lon, lat = self.native(middle + np.array([[0.0, 0.0], [0.5, 0.0], [0.0, 0.5]]))
        if not np.isfinite([lon, lat]).all():
            return
        east = (lon[1:] - lon[0] + 180.0) % 360.0 - 180.0
        north = lat[1:] - lat[0]
        east = east * np.cos(np.radians(lat[0])) * (-1.0 if places.west else 1.0)
        up: Literal[0, 1] = 1 if abs(north[1]) >= abs(north[0]) else 0
        right: Literal[0, 1] = 0 if up else 1
        side = east[right] * (-1.0 if places.of.kind == "sky" else 1.0)  # seen from inside, east is left
        self.ways = ((right, bool(side < 0)), (up, bool(north[up] < 0)))

    @property
    def turned(self) -> bool:
        return self.ways != ((0, False), (1, False))

    @property
    def size(self) -> tuple[int, int]:
        """Pixels of the image across and upwards, as it is drawn."""
        return self.sizes[self.ways[0][0]], self.sizes[self.ways[1][0]]

    def oriented(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Turn values, whose first row is the lowest, into a picture, whose first row is the highest."""
        (right, back), (_, down) = self.ways
        values = values if right == 0 else values.swapaxes(0, 1)
        values = values[:, ::-1] if back else values
        return values if down else values[::-1]

    def pixels(self, across: Numbers, up: Numbers) -> Numbers:
        """Return pixels, from 1, of places on the picture: shares of its width and height from the left lower corner."""
        made = np.empty((len(across), 2))
        for (axis, back), share in zip(self.ways, (across, up), strict=True):
            made[:, axis] = 0.5 + self.sizes[axis] * ((1.0 - share) if back else share)
        return made

    def native(self, pixels: Numbers) -> tuple[Numbers, Numbers]:
        """Return longitudes and latitudes as the header has them, degrees."""
        wcs = self.places.wcs  # type: ignore[union-attr]  # asked only where there is one
        world = wcs.all_pix2world(pixels, 1)
        return world[:, wcs.wcs.lng], world[:, wcs.wcs.lat]

    def edge(self, which: int) -> Ticks | None:
        """Mark the lower (0) or left edge (1) by longitudes and latitudes; None: they are not known there."""
        if self.places is None:
            return None
        share = np.linspace(0.0, 1.0, 257)
        still = np.zeros(257)
        # where a map of the whole sky has no corners, its middle lines tell
        for at in (still, still + 0.5):
            lon, lat = self.native(self.pixels(*((share, at) if which == 0 else (at, share))))
            values = np.unwrap(lon, period=360.0) if which == 0 else lat
            known = np.isfinite(lon) & np.isfinite(lat)
            if known.mean() > 0.9:
                break
        else:
            if known.sum() < 20:
                return None
            lon = np.where(known, lon, np.nan)
            values = np.array(lat if which else np.full(257, np.nan))
            if which == 0:
                values[known] = np.unwrap(lon[known], period=360.0)
        factor = 3600.0 if self.places.of.kind == "disc" else 1.0
        if which == 0:
            turn = 360.0 * round(float(np.nanmean(values)) / 360.0) if factor > 1 else 0.0
            values = values - turn
        values = values * factor
        marks = ticks(float(np.nanmin(values)), float(np.nanmax(values)), 6)
        places, words = [], []
        for place, word in zip(marks.places, marks.words, strict=True):
            side = np.sign(values - place)
            with np.errstate(invalid="ignore"):
                crossing = np.flatnonzero((side[1:] * side[:-1] <= 0) & np.isfinite(side[1:] * side[:-1]))
            if len(crossing):
                cell = int(crossing[0])
                step = float(values[cell + 1] - values[cell])
                beyond = float(place - values[cell]) / step if step else 0.0
                places.append(float(share[cell]) + float(share[1]) * beyond)
                whole = which == 0 and factor == 1.0 and not marks.more and not 0 <= place < 360
                words.append(f"{place % 360.0:g}" if whole else word)
        return Ticks(tuple(places), tuple(words), marks.more)

    def names(self) -> tuple[str, str]:
        """Name the axes."""
        if self.places is None:
            return "pixel", "pixel"
        if self.places.of.kind == "disc":
            return f"{_DISC[0]} (arcsec)", f"{_DISC[1]} (arcsec)"
        wcs = self.places.wcs.wcs
        words = [re.split(r"-+", str(wcs.ctype[at]))[0] for at in (wcs.lng, wcs.lat)]
        return tuple(
            f"{_NAMES.get(word, name)} (°)" for word, name in zip(words, ("longitude", "latitude"), strict=True)
        )  # type: ignore[return-value]


def drawn(array: Array, look: Look, title: str, facts: Mapping[str, Any]) -> tuple[bytes, str]:
    """Draw an image.

    Parameters
    ----------
    array
        Of two axes or more.
    look
        As it is to look.
    title
        Above it.
    facts
        Cards of its header.

    Returns
    -------
    png, words
        And what it shows.
    """
    from PIL import Image  # noqa: PLC0415  (loaded for pictures alone)

    shown = axes_of(array)
    there = _Map(array, shown)
    wide, high = there.size
    cells = np.minimum(there.sizes, look.size)
    values, said = planes(array, shown, look, (int(cells[0]), int(cells[1])))
    whole = array.dtype.kind in "iu"
    stretch = stretched(values, look, _colours(facts), whole=whole)
    if array.role == "error" and not look.colours:
        stretch = replace(stretch, colours="magma")
    if np.isfinite(values).any():
        words = _shown(array, stretch, said, there)
    else:
        words = _shown(array, replace(stretch, name="no values"), said, there)
    pixels = there.oriented(stretch.painted(values))
    limited = np.clip(wide / max(1, high), 1 / _FLAT, _FLAT)
    notes = {"Title": title, "Description": words, "Copyright": look.note, "Software": "Hven"}
    image = Image.fromarray(np.ascontiguousarray(pixels), "RGBA")
    few = whole and len(np.unique(values[np.isfinite(values)])) <= 16
    if not look.axes:
        size = (look.size, round(look.size / limited)) if limited >= 1 else (round(look.size * limited), look.size)
        image = _scaled(image, size, few=few)
        return packed(image if image.getextrema()[3][0] < 255 else image.convert("RGB"), notes), words
    sheet, frame = _page(look, float(limited))
    inner = frame.width, frame.height
    paper = Image.new("RGBA", inner, (236, 238, 241, 255))
    paper.alpha_composite(_scaled(image, inner, few=few))
    sheet.image.paste(paper.convert("RGB"), frame.box[:2])
    at = [there.edge(0), there.edge(1)]
    if at[0] is None or at[1] is None:
        at = [_counted(size, inner[which], sheet) for which, size in enumerate((wide, high))]
        names = ("pixel", "pixel")
    else:
        names = there.names()
    frame.marked(names, at[0], at[1], outward=True)
    _bar(sheet, frame, stretch, values, array.unit or "")
    lettered(sheet, frame.box, title, words, look.note)
    return sheet.png(notes), words


def _counted(size: int, room: int, sheet: Sheet) -> Ticks:
    marks = ticks(0.5, size + 0.5, max(2, int(room / (7 * sheet.letters))))
    kept = [(one, word) for one, word in zip(marks.places, marks.words, strict=True) if one == int(one)]
    return Ticks(tuple((one - 0.5) / size for one, _ in kept), tuple(word for _, word in kept), marks.more)


def _shown(array: Array, stretch: Stretch, said: str, there: _Map) -> str:
    part = f"part {array.index} {array.name}".strip()
    role = "" if array.role == "data" else array.role
    turned = "turned so that north is up" if there.turned else ""
    return ", ".join(one for one in (part, role, said, stretch.said, turned) if one)


def _colours(facts: Mapping[str, Any]) -> str:
    wave, words = facts.get("WAVELNTH"), f"{facts.get('TELESCOP')} {facts.get('INSTRUME')} {facts.get('OBSRVTRY')}"
    known = re.search(r"(?i)\b(SDO|AIA|SOHO|EIT|STEREO|SECCHI|EUVI|PROBA2|SWAP)", words)
    return of_channel(float(wave)) if isinstance(wave, int | float) and known else "gray"


def _scaled(image: Any, size: tuple[int, int], *, few: bool = False) -> Any:
    from PIL import Image  # noqa: PLC0415  (loaded already)

    size = (max(1, size[0]), max(1, size[1]))
    if image.size == size:
        return image
    larger = size[0] >= image.width and size[1] >= image.height
    blocks = few or (larger and min(size[0] / image.width, size[1] / image.height) >= 8)
    way = (
        Image.Resampling.NEAREST if blocks and larger else Image.Resampling.BICUBIC if larger else Image.Resampling.BOX
    )
    return image.resize(size, way)


def number(value: float) -> str:
    """Write a value in three digits."""
    size = abs(value)
    text = f"{value:.0f}" if 100 <= size < 1e6 else f"{value:.3g}"
    return text.replace("-", MINUS)


def _page(look: Look, ratio: float) -> tuple[Sheet, Frame]:
    """Make a sheet whose longer side is as it is to be, with a frame of the image's shape."""
    letters = int(np.clip(look.size / 52, 9, 20))
    left, right, top, bottom = int(6.6 * letters), int(7.8 * letters), int(2.6 * letters), int(7.6 * letters)
    width, height = look.size - left - right, look.size - top - bottom
    if ratio > width / height:
        height = round(width / ratio)
    else:
        width = round(height * ratio)
    width, height = max(width, 1), max(height, 1)
    sheet = Sheet(max(width + left + right, int(20 * letters)), height + top + bottom)
    sheet.letters = letters
    return sheet, Frame(sheet, (left, top, left + width, top + height), (0.0, 1.0), (0.0, 1.0))


def _bar(sheet: Sheet, frame: Frame, stretch: Stretch, values: Numbers, unit: str) -> None:
    """Draw the colours with their values."""
    from PIL import Image  # noqa: PLC0415  (loaded already)

    if not np.isfinite(values).any() or not stretch.high > stretch.low:
        return
    _, top, right, bottom = frame.box
    size = sheet.letters
    left, wide = right + size, max(6, size)
    from_low = np.linspace(stretch.high, stretch.low, max(2, bottom - top))
    strip = stretch.painted(from_low)[:, None, :3].repeat(wide, 1)
    sheet.image.paste(Image.fromarray(np.ascontiguousarray(strip), "RGB"), (left, top))
    sheet.pen.rectangle([left, top, left + wide, bottom], outline=(105, 112, 122))
    places = np.linspace(0.0, 1.0, max(3, int((bottom - top) / (4.5 * size))))
    shares = stretch.share(from_low)
    ends = np.inf
    for share in places:
        at = int(np.argmin(np.abs(shares - share)))
        y = top + at
        if y < ends - 1.3 * size:
            sheet.pen.line([(left + wide, y), (left + wide + 3, y)], fill=(38, 42, 48))
            sheet.words((left + wide + 5, y), number(float(from_low[at])), "lm", max(8, size - 1))
            ends = y
    if unit:
        sheet.words((left + wide / 2, top - 3), sheet.shortened(unit, 5 * size), "md", max(8, size - 1))


def lettered(sheet: Sheet, box: tuple[int, int, int, int], title: str, words: str, note: str) -> None:
    """Write what is above and below: a title, what it shows, whose it is."""
    size, width = sheet.letters, sheet.size[0]
    sheet.words(
        (box[0], box[1] - 0.9 * size), sheet.shortened(title, width - box[0] - 7 * size, size + 1), "ls", size + 1
    )
    small = max(8, size - 2)
    rows = [sheet.shortened(one, width - 12, small) for one in (words, note)]
    for row, text in enumerate(rows):
        y = sheet.size[1] - (1.0 + 1.4 * (1 - row)) * small
        sheet.words((6, y), text, "lm", small, (105, 112, 122))
